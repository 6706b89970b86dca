//! Whom a check may ask: rules alone, but that `machine` is asked which addresses are this machine's. A
//! registration must not be able to make the control plane look around in
//! networks that only it can reach.
//!
//! The address that a registration came from may be asked, for it has spoken itself. Anything else has to be
//! inside a network that the operator has named. Never, whatever is named, the control plane's own ports;
//! and what is no ordinary address (loopback, link-local, where clouds keep their metadata, multicast,
//! unspecified, translated) only where a named network lies within just that range, so that `0.0.0.0/0` and
//! `fd00::/8` do not open it. Who registers over loopback may be asked there all the same.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::machine::Machine;

/// Ranges that hold no ordinary address, and what they are.
const SPECIAL: [(&str, IpNet); 21] = [
    ("unspecified", v4([0, 0, 0, 0], 8)),
    ("link-local", v4([169, 254, 0, 0], 16)),
    ("multicast", v4([224, 0, 0, 0], 4)),
    ("broadcast", v4([255, 255, 255, 255], 32)),
    (METADATA, v4([100, 100, 100, 200], 32)),
    (METADATA, v4([168, 63, 129, 16], 32)),
    (METADATA, v4([192, 0, 0, 192], 32)),
    (LOOPBACK, v4([127, 0, 0, 0], 8)),
    (LOOPBACK, v6(Ipv6Addr::LOCALHOST, 128)),
    ("unspecified", v6(Ipv6Addr::UNSPECIFIED, 128)),
    ("link-local", v6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10)),
    ("multicast", v6(Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8)),
    ("site-local", v6(Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0), 10)),
    // Whole blocks: metadata and the credentials of who runs there are at several addresses of each.
    (METADATA, v6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0), 32)),
    (METADATA, v6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0), 32)),
    ("translated", v6(Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96)),
    ("translated", v6(Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0, 0), 48)),
    ("tunnelled", v6(Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16)),
    ("tunnelled", v6(Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 32)),
    ("translated", v6(Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, 0, 0), 96)),
    // An IPv4 address written as it once was; after the two that have a meaning of their own.
    ("an embedded IPv4 address", v6(Ipv6Addr::UNSPECIFIED, 96)),
];
const METADATA: &str = "where a cloud keeps its metadata";
/// The control plane's own machine: who registers from there has that address.
const LOOPBACK: &str = "loopback";

const fn v4(octets: [u8; 4], prefix: u8) -> IpNet {
    let [a, b, c, d] = octets;
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix))
}

const fn v6(address: Ipv6Addr, prefix: u8) -> IpNet {
    IpNet::V6(Ipv6Net::new_assert(address, prefix))
}

/// What is permitted.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Whether who registers may be asked where it came from: not behind a proxy, which is whom it came from.
    pub peers: bool,
    /// Networks that the operator has named.
    pub networks: Vec<IpNet>,
    /// Where the control plane itself listens.
    pub own: Vec<SocketAddr>,
    /// The machine that it runs on.
    pub machine: Machine,
}

/// Why somebody may not be asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refused {
    /// It is a port of the control plane.
    Own(SocketAddr),
    /// It is no ordinary address, and no network within its range is named.
    Special(IpAddr, &'static str, IpNet),
    /// It is neither who registered (true) or that counts for nothing (false), nor in a network that is named.
    Outside(IpAddr, bool),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::Own(target) => {
                write!(f, "{target} is a port of the control plane itself, which is never checked")
            }
            Refused::Special(ip, what, range) => write!(
                f,
                "{ip} is {what}; it is not checked unless checks.allowed_networks names a network within {range}"
            ),
            Refused::Outside(ip, true) => write!(
                f,
                "{ip} is neither the address that the registration came from nor inside a network of \
                 checks.allowed_networks"
            ),
            Refused::Outside(ip, false) => write!(
                f,
                "{ip} is not inside a network of checks.allowed_networks, and checks.ask_peers is false"
            ),
        }
    }
}

impl Rules {
    /// Whether a name may be asked at all: nothing is looked up where nothing could be asked.
    pub fn permits_names(&self) -> bool {
        !self.networks.is_empty()
    }

    /// Whether this address may be asked for whoever registered from `peer`.
    ///
    /// # Errors
    /// Why not.
    pub fn permit(&self, target: SocketAddr, peer: Option<IpAddr>) -> Result<(), Refused> {
        let ip = target.ip().to_canonical();
        if self.own.iter().any(|own| self.reaches(*own, ip, target.port())) {
            return Err(Refused::Own(SocketAddr::new(ip, target.port())));
        }
        let is_peer = self.peers && peer.map(|peer| peer.to_canonical()) == Some(ip);
        let named = || self.networks.iter().filter(|network| network.contains(&ip));
        if let Some((what, range)) = SPECIAL.iter().find(|(_, range)| range.contains(&ip)) {
            let within = named().any(|network| range.contains(network));
            return if within || (is_peer && *what == LOOPBACK) {
                Ok(())
            } else {
                Err(Refused::Special(ip, what, *range))
            };
        }
        if is_peer || named().next().is_some() {
            return Ok(());
        }
        Err(Refused::Outside(ip, self.peers))
    }

    /// Whether a connection to this address would reach a listener. The machine is asked only where one listens
    /// on every address, and only about its port.
    fn reaches(&self, own: SocketAddr, ip: IpAddr, port: u16) -> bool {
        let listens = own.ip().to_canonical();
        let on_any = || listens.is_unspecified() && (ip.is_loopback() || self.machine.may_have(ip));
        own.port() == port && (listens == ip || on_any())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Clock;

    fn rules(networks: &[&str], own: &[&str]) -> Rules {
        Rules {
            peers: true,
            networks: networks.iter().map(|network| network.parse().unwrap()).collect(),
            own: own.iter().map(|own| own.parse().unwrap()).collect(),
            machine: Machine::new(Clock::start()),
        }
    }

    #[test]
    fn who_may_be_asked_as_a_table() {
        const PEER: &str = "10.0.0.7";
        for (target, networks, permitted) in [
            ("10.0.0.7:80", &[][..], true),
            ("[::ffff:10.0.0.7]:80", &[], true),
            ("10.0.0.8:80", &[], false),
            ("10.0.0.8:80", &["10.0.0.0/24"], true),
            ("[::ffff:10.0.0.8]:80", &["10.0.0.0/24"], true),
            ("10.0.1.8:80", &["10.0.0.0/24"], false),
            ("127.0.0.1:80", &[], false),
            ("127.0.0.1:80", &["127.0.0.0/8"], true),
            ("[::1]:80", &["127.0.0.0/8"], false),
            ("169.254.169.254:80", &["0.0.0.0/0"], false),
            ("[::ffff:169.254.169.254]:80", &["0.0.0.0/0", "::/0"], false),
            ("[64:ff9b::a9fe:a9fe]:80", &["::/0"], false),
            ("169.254.169.254:80", &["169.254.169.254/32"], true),
            ("[fe80::1]:80", &["::/0"], false),
            ("[fe80::1]:80", &["fe80::/64"], true),
            ("224.0.0.1:80", &["0.0.0.0/0"], false),
            ("255.255.255.255:80", &["0.0.0.0/0"], false),
            ("[ff02::1]:80", &["::/0"], false),
            ("0.0.0.0:80", &["0.0.0.0/0"], false),
            ("[::]:80", &["::/0"], false),
            ("8.8.8.8:80", &["0.0.0.0/0"], true),
            // However wide: not the machine of the control plane, and nothing that leads around the rules.
            ("127.0.0.1:80", &["0.0.0.0/0", "::/0"], false),
            ("[::ffff:127.0.0.1]:80", &["0.0.0.0/0", "::/0"], false),
            ("127.0.0.1:80", &["127.0.0.1/32"], true),
            ("[::1]:80", &["::/0"], false),
            ("[::1]:80", &["::1/128"], true),
            ("[64:ff9b:1::a9fe:a9fe]:80", &["::/0"], false),
            ("[2002:7f00:1::]:80", &["::/0"], false),
            ("[2001:0:7f00:1::]:80", &["::/0"], false),
            ("[2001:db8::1]:80", &["::/0"], true),
            ("[fd00:ec2::254]:80", &["fd00::/8"], false),
            ("[fd00:ec2::254]:80", &["fd00:ec2::254/128"], true),
            // Where clouds keep metadata, and the credentials of who runs there, in every family.
            ("[fd00:ec2::1]:80", &["fd00::/8"], false),
            ("[fd00:ec2::23]:80", &["fd00::/8"], false),
            ("[fd00:ec2::23]:80", &["fd00:ec2::23/128"], true),
            ("[fd20:ce::254]:80", &["fd00::/8"], false),
            ("[fd20:ce::254]:80", &["fd20:ce::/32"], true),
            ("[fd12:3456::1]:80", &["fd00::/8"], true),
            ("192.0.0.192:80", &["0.0.0.0/0"], false),
            // Other ways to write an IPv4 address, and what was local before fd00::/8 was.
            ("[::169.254.169.254]:80", &["::/0"], false),
            ("[::10.0.0.8]:80", &["::/0", "10.0.0.0/8"], false),
            ("[::ffff:0:169.254.169.254]:80", &["::/0"], false),
            ("[fec0::1]:80", &["::/0"], false),
            ("[fec0::1]:80", &["fec0::/48"], true),
            ("100.100.100.200:80", &["100.64.0.0/10"], false),
            ("168.63.129.16:80", &["0.0.0.0/0"], false),
        ] {
            let found = rules(networks, &[]).permit(target.parse().unwrap(), Some(PEER.parse().unwrap()));
            assert_eq!(found.is_ok(), permitted, "{target} {networks:?}: {found:?}");
        }
    }

    #[test]
    fn a_proxy_is_not_asked_in_place_of_who_is_behind_it() {
        let proxy: SocketAddr = "127.0.0.1:80".parse().unwrap();
        let asked = |peers, networks: &[&str]| {
            Rules { peers, ..rules(networks, &[]) }.permit(proxy, Some(proxy.ip()))
        };
        assert_eq!(asked(true, &[]), Ok(()));
        assert!(matches!(asked(false, &[]), Err(Refused::Special(..))));
        assert!(asked(false, &["0.0.0.0/0"]).is_err());
        assert_eq!(asked(false, &["127.0.0.0/8"]), Ok(()));
    }

    #[test]
    fn who_registers_from_the_same_machine_is_asked_there_and_nowhere_else_on_it() {
        let rules = rules(&["0.0.0.0/0", "::/0"], &[]);
        for (target, peer, permitted) in [
            ("127.0.0.1:80", "127.0.0.1", true),
            ("[::1]:80", "::1", true),
            ("127.0.0.2:80", "127.0.0.1", false),
            ("127.0.0.1:80", "::1", false),
            ("127.0.0.1:80", "10.0.0.7", false),
        ] {
            let found = rules.permit(target.parse().unwrap(), Some(peer.parse().unwrap()));
            assert_eq!(found.is_ok(), permitted, "{target} for {peer}: {found:?}");
        }
    }

    #[test]
    fn who_registers_from_a_special_address_is_not_asked_there() {
        let metadata: SocketAddr = "169.254.169.254:80".parse().unwrap();
        assert!(rules(&[], &[]).permit(metadata, Some(metadata.ip())).is_err());
    }

    #[test]
    fn the_control_plane_is_never_asked() {
        for (own, target, refused) in [
            ("127.0.0.1:50051", "127.0.0.1:50051", true),
            ("127.0.0.1:50051", "[::ffff:127.0.0.1]:50051", true),
            ("127.0.0.1:50051", "127.0.0.1:50052", false),
            ("127.0.0.1:50051", "127.0.0.2:50051", false),
            ("0.0.0.0:50051", "127.0.0.2:50051", true),
            ("[::]:50051", "127.0.0.1:50051", true),
            // Documentation addresses: no machine has them, whatever it lets bind to.
            ("0.0.0.0:50051", "192.0.2.1:50051", false),
            ("[::]:50051", "192.0.2.1:50051", false),
            ("[::]:50051", "[2001:db8::1]:50051", false),
        ] {
            let target: SocketAddr = target.parse().unwrap();
            let found = rules(&["0.0.0.0/0", "127.0.0.1/32"], &[own]).permit(target, Some(target.ip()));
            assert_eq!(matches!(found, Err(Refused::Own(_))), refused, "{own} {target}: {found:?}");
        }
    }
}
