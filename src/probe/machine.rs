//! Which addresses are this machine's, by its interfaces and its routes. What follows is `permit`'s.
//!
//! Whether a socket may be bound to an address says nothing: a machine may allow any (`ip_nonlocal_bind`). Routes
//! are asked each time, for one address and at once. Interfaces know what routes do not, such as second addresses,
//! but can only be read all together, of which a machine may have very many: so what they say is kept for a while.

use std::{
    collections::HashSet,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use rustix::io::Errno;

use crate::time::{Clock, Mono};

/// How long it is gone by what the interfaces said.
const KEPT: Duration = Duration::from_secs(5);
/// Any port would do.
const DISCARD: u16 = 9;

/// Knows the addresses of the machine that this process runs on. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Machine {
    clock: Clock,
    interfaces: fn() -> io::Result<HashSet<IpAddr>>,
    is_routed_here: fn(IpAddr) -> io::Result<bool>,
    kept: Arc<Mutex<Option<Kept>>>,
}

/// What the interfaces said.
#[derive(Debug)]
struct Kept {
    addresses: HashSet<IpAddr>,
    read: Mono,
}

impl Machine {
    /// Asks the operating system.
    pub fn new(clock: Clock) -> Self {
        Self { clock, interfaces, is_routed_here, kept: Arc::default() }
    }

    /// Whether an address is one of this machine's, or that cannot be told: mostly for too many open files, and
    /// then it is not taken for somebody else's. A second address of an interface is known within 5 s of its coming.
    pub fn may_have(&self, ip: IpAddr) -> bool {
        (self.is_routed_here)(ip).unwrap_or(true) || self.is_on_interface(ip).unwrap_or(true)
    }

    fn is_on_interface(&self, ip: IpAddr) -> io::Result<bool> {
        let now = self.clock.mono();
        if let Some(kept) = self.kept.lock().as_ref().filter(|kept| now.since(kept.read) < KEPT) {
            return Ok(kept.addresses.contains(&ip));
        }
        // Nobody waits for who reads: two may do so at once.
        let addresses = (self.interfaces)()?;
        let found = addresses.contains(&ip);
        *self.kept.lock() = Some(Kept { addresses, read: now });
        Ok(found)
    }
}

fn interfaces() -> io::Result<HashSet<IpAddr>> {
    Ok(if_addrs::get_if_addrs()?.iter().map(if_addrs::Interface::ip).collect())
}

/// Whether what is sent to an address is sent from it: so with one that leads to this machine and is no
/// interface's. Nothing is sent.
fn is_routed_here(ip: IpAddr) -> io::Result<bool> {
    let any: IpAddr = if ip.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = match UdpSocket::bind((any, 0)) {
        // No such addresses at all.
        Err(error) if is(&error, &[Errno::AFNOSUPPORT, Errno::ADDRNOTAVAIL]) => return Ok(false),
        socket => socket?,
    };
    let from = socket.connect((ip, DISCARD)).and_then(|()| socket.local_addr());
    match from {
        Ok(from) => Ok(from.ip() == ip),
        Err(error) if is(&error, &NO_WAY) => Ok(false),
        Err(error) => Err(error),
    }
}

/// What is said of an address that no route leads to; the last of one that is swallowed, or lacks its interface.
const NO_WAY: [Errno; 5] =
    [Errno::NETUNREACH, Errno::HOSTUNREACH, Errno::NETDOWN, Errno::ADDRNOTAVAIL, Errno::INVAL];

fn is(error: &io::Error, any: &[Errno]) -> bool {
    error.raw_os_error().is_some_and(|code| any.contains(&Errno::from_raw_os_error(code)))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const IP: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 7));

    fn full<T>() -> io::Result<T> {
        Err(Errno::MFILE.into())
    }

    #[test]
    fn what_cannot_be_told_is_not_taken_for_somebody_elses_as_a_table() {
        type Interfaces = fn() -> io::Result<HashSet<IpAddr>>;
        type Routed = fn(IpAddr) -> io::Result<bool>;
        let rows: [(Interfaces, Routed, bool); 6] = [
            (|| Ok(HashSet::new()), |_| Ok(false), false),
            (|| Ok([IP].into()), |_| Ok(false), true),
            (|| Ok(HashSet::new()), |_| Ok(true), true),
            (full, |_| Ok(false), true),
            (|| Ok(HashSet::new()), |_| full(), true),
            (full, |_| full(), true),
        ];
        for (row, (interfaces, is_routed_here, expected)) in rows.into_iter().enumerate() {
            let machine = Machine { interfaces, is_routed_here, ..Machine::new(Clock::start()) };
            assert_eq!(machine.may_have(IP), expected, "row {row}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn interfaces_are_read_once_in_a_while_however_many_ask() {
        static READ: AtomicUsize = AtomicUsize::new(0);
        fn counted() -> io::Result<HashSet<IpAddr>> {
            match READ.fetch_add(1, Ordering::Relaxed) {
                0 => full(),
                1 => Ok(HashSet::new()),
                _ => Ok([IP].into()),
            }
        }
        let machine =
            Machine { interfaces: counted, is_routed_here: |_| Ok(false), ..Machine::new(Clock::start()) };
        let asked =
            |times: usize| -> Vec<bool> { (0..times).map(|_| machine.clone().may_have(IP)).collect() };
        // What could not be read is not kept.
        assert_eq!(asked(3), [true, false, false]);
        tokio::time::advance(KEPT - Duration::from_millis(1)).await;
        assert_eq!(asked(100), [false; 100]);
        assert_eq!(READ.load(Ordering::Relaxed), 2);
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(asked(100), [true; 100]);
        assert_eq!(READ.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn this_machine_is_known() {
        let machine = Machine::new(Clock::start());
        // The last are for documentation, and no machine's.
        for (ip, expected) in [("127.0.0.1", true), ("192.0.2.1", false), ("2001:db8::1", false)] {
            let ip: IpAddr = ip.parse().unwrap();
            assert_eq!(machine.may_have(ip), expected, "{ip}");
            // That it cannot be told would be true as well.
            assert!(is_routed_here(ip).is_ok() && interfaces().is_ok(), "{ip}");
        }
    }
}
