//! How an active check stands in the record of its instance. Records from before there were any have none.

use std::{num::NonZeroU16, time::Duration};

use serde::{Deserialize, Serialize};

use super::{damaged, millis};
use crate::{
    error::Result,
    fleet::registration::ActiveCheck,
    probe::{Ask, Host},
};

#[derive(Deserialize, Serialize)]
pub(super) struct CheckRecord {
    ask: AskRecord,
    /// Empty: the peer that registered.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    host: String,
    port: NonZeroU16,
    interval_ms: u64,
    timeout_ms: u64,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum AskRecord {
    Grpc {
        #[serde(default, skip_serializing_if = "String::is_empty")]
        service: String,
    },
    Http {
        path: String,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        expected: Vec<u16>,
    },
    Tcp,
}

pub(super) fn record(check: &ActiveCheck) -> CheckRecord {
    let ActiveCheck { ask, host, port, interval, timeout } = check;
    CheckRecord {
        ask: match ask {
            Ask::Grpc { service } => AskRecord::Grpc { service: service.clone() },
            Ask::Http { path, expected } => {
                AskRecord::Http { path: path.clone(), expected: expected.clone() }
            }
            Ask::Tcp => AskRecord::Tcp,
        },
        host: host.to_string(),
        port: *port,
        interval_ms: millis(*interval),
        timeout_ms: millis(*timeout),
    }
}

pub(super) fn of(store_key: &str, stored: CheckRecord) -> Result<ActiveCheck> {
    let CheckRecord { ask, host, port, interval_ms, timeout_ms } = stored;
    // A schedule cannot stand still.
    if interval_ms == 0 || timeout_ms == 0 {
        return Err(damaged(store_key, "components.check.interval_ms"));
    }
    Ok(ActiveCheck {
        ask: match ask {
            AskRecord::Grpc { service } => Ask::Grpc { service },
            AskRecord::Http { path, expected } => Ask::Http { path, expected },
            AskRecord::Tcp => Ask::Tcp,
        },
        host: Host::parse(&host).map_err(|_| damaged(store_key, "components.check.host"))?,
        port,
        interval: Duration::from_millis(interval_ms),
        timeout: Duration::from_millis(timeout_ms),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        fleet::{
            record::{decode_instance, encode_instance, instance_key},
            testing::{birth, key, registration, start},
        },
        store::Entry,
    };

    #[test]
    fn a_check_is_read_as_it_was_written_and_records_without_one_are_still_read() {
        let hosts = ["", "10.0.0.7", "db.internal"].map(|host| Host::parse(host).unwrap());
        let asks = [
            Ask::Grpc { service: "orders".into() },
            Ask::Http { path: "/health?full".into(), expected: vec![200, 204] },
            Ask::Tcp,
        ];
        let mut registered = registration(&key("orders", "i-1"));
        let plain = registered.components[0].clone();
        for (ask, host) in asks.into_iter().zip(hosts) {
            let mut component = plain.clone();
            component.check = Some(Box::new(ActiveCheck {
                ask,
                host,
                port: NonZeroU16::new(8080).unwrap(),
                interval: Duration::from_secs(10),
                timeout: Duration::from_millis(500),
            }));
            registered.components = registered.components.iter().cloned().chain([component]).collect();
        }
        let registered = Arc::new(registered);
        let birth_of = |registration| birth(registration, 1, start().wall);
        let birth = birth_of((*registered).clone());
        let value = encode_instance(&birth).unwrap();
        let text = String::from_utf8(value.to_vec()).unwrap();
        // Builds before this one refuse it: they would have it report itself.
        assert!(text.starts_with("{\"version\":2,"), "{text}");
        let unchecked = encode_instance(&birth_of(registration(&registered.key))).unwrap();
        assert!(unchecked.starts_with(b"{\"version\":1,"));
        // The first component has none, as all have in records of builds before this one.
        assert_eq!(text.matches("\"check\"").count(), 3, "{text}");
        let entry = Entry { key: instance_key(&registered.key), value, revision: 1 };
        assert_eq!(decode_instance(&entry).unwrap().registration, registered);
        let damaged = text.replace("\"interval_ms\":10000", "\"interval_ms\":0");
        assert_ne!(damaged, text);
        assert!(decode_instance(&Entry { value: damaged.into(), ..entry }).is_err());
    }
}
