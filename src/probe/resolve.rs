//! Names to addresses, by the operating system's resolver. It blocks a thread for as long as it likes, so
//! few may run at a time, and one that nobody waits for any more still counts until it is back.

use std::{
    io,
    net::{IpAddr, ToSocketAddrs as _},
    sync::Arc,
};

use tokio::sync::Semaphore;

use crate::task;

/// Names that are looked up at once.
const AT_ONCE: usize = 16;
/// Addresses of one name that are looked at.
const MAX_ADDRESSES: usize = 64;

/// Looks names up. Cheap to clone; clones share the bound.
#[derive(Clone, Debug)]
pub struct Resolver(Arc<Semaphore>);

impl Default for Resolver {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE)))
    }
}

impl Resolver {
    /// Every address of a name, in the resolver's order; never none. Waits for its turn for as long as the
    /// caller does. Cancel safe.
    ///
    /// # Errors
    /// The name has no address, too many, or cannot be looked up.
    pub async fn addresses(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let permit = Arc::clone(&self.0).acquire_owned().await.map_err(io::Error::other)?;
        let name = name.to_owned();
        let found = task::blocking("resolve", move || {
            // Given back when the resolver is, not when the caller goes.
            let _permit = permit;
            let found = (name.as_str(), 0).to_socket_addrs()?;
            let addresses = found.map(|address| address.ip().to_canonical()).take(MAX_ADDRESSES + 1);
            Ok::<_, io::Error>(addresses.collect())
        });
        let found: Vec<IpAddr> = found.await.map_err(io::Error::other)??;
        match found.len() {
            0 => Err(io::Error::other("it has no address")),
            // All of them have to be permitted, so all of them have to be seen.
            count if count > MAX_ADDRESSES => Err(io::Error::other("it has too many addresses")),
            _ => Ok(found),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_name_of_this_machine_has_its_addresses_and_nonsense_has_none() {
        let resolver = Resolver::default();
        let found = resolver.addresses("localhost").await.unwrap();
        assert!(found.iter().all(IpAddr::is_loopback), "{found:?}");
        assert!(resolver.addresses("nobody.invalid").await.is_err());
    }
}
