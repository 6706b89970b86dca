//! Who is at the other end, as far as an address tells.

use std::net::{IpAddr, Ipv6Addr};

/// The part of an IPv6 address that names the network, which is what a provider gives away: a /64.
const NETWORK: u128 = !0 << 64;

/// All that counts as one peer: an IPv4 address, or a /64 of IPv6, of which one machine is free to use every address.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Peer(IpAddr);

impl Peer {
    /// Whoever has this address.
    pub fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & NETWORK).into(),
            address @ IpAddr::V4(_) => address,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_as_a_table() {
        for (one, other, same) in [
            ("10.0.0.1", "10.0.0.1", true),
            ("10.0.0.1", "10.0.0.2", false),
            ("10.0.0.1", "::ffff:10.0.0.1", true),
            ("::ffff:10.0.0.1", "::ffff:10.0.0.2", false),
            ("2001:db8:0:1::1", "2001:db8:0:1:ffff:ffff:ffff:ffff", true),
            ("2001:db8:0:1::1", "2001:db8:0:2::1", false),
            ("::1", "127.0.0.1", false),
        ] {
            let of = |address: &str| Peer::of(address.parse().unwrap());
            assert_eq!(of(one) == of(other), same, "{one} and {other}");
        }
    }
}
