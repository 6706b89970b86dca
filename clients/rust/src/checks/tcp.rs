//! A dependency that takes TCP connections.

use tokio::net::TcpStream;

use crate::{Check, Report, rules::port};

/// Checks that a TCP connection to `address` (`host:port`, an IPv6 address in brackets) can be opened; it is
/// closed at once.
/// Unhealthy where it cannot. How long to wait is the component's timeout.
pub fn tcp(address: impl Into<String>) -> Check {
    let address = address.into();
    if port::host_and_port(&address).is_none() {
        return Check::invalid(format!("is for `{address}`; it must be like host:port"));
    }
    Check::new(move || connect(address.clone()))
}

/// Connects once.
async fn connect(address: String) -> Report {
    match TcpStream::connect(&address).await {
        Ok(_) => Report::healthy(),
        Err(error) => Report::unhealthy(format!("cannot connect to {address}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::HealthState;

    #[tokio::test]
    async fn a_listener_is_healthy_until_it_is_gone() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let check = tcp(address.clone());
        assert_eq!(check.run().await, Report::healthy());
        drop(listener);
        let gone = check.run().await;
        assert_eq!(gone.state(), HealthState::Unhealthy);
        assert!(gone.message().starts_with(&format!("cannot connect to {address}: ")), "{}", gone.message());
    }

    #[test]
    fn addresses_as_a_table() {
        for (address, right) in [
            ("127.0.0.1:80", true),
            ("[::1]:80", true),
            ("payments:7001", true),
            ("payments", false),
            (":80", false),
            ("payments:0", false),
            ("payments:99999", false),
            ("payments:+80", false),
            ("::1", false),
            ("::1:80", false),
        ] {
            assert_eq!(tcp(address).problem().is_none(), right, "{address}");
        }
    }
}
