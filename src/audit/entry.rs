//! What an entry says, and the line that it is: a JSON object whose fields have a fixed order, so that the same entry
//! is always the same bytes.
//!
//! Texts are cut to a length that fits the store. Whatever moves a cursor or is not seen is escaped, so that a line
//! can be shown as it is. Secrets are kept out by whoever calls: nothing here can tell one.

use std::{net::SocketAddr, time::SystemTime};

use serde::Deserialize;

use super::chain::{Hash, Link};
use crate::{error::Error, identity::Principal, text};

/// Longest name of a principal, in bytes.
const PRINCIPAL: usize = 256;
/// Longest address of a peer.
const PEER: usize = 64;
/// Longest operation.
const OPERATION: usize = 128;
/// Longest object.
const OBJECT: usize = 512;
/// Longest id of a request.
const REQUEST_ID: usize = 128;
/// Longest outcome.
const OUTCOME: usize = 64;
/// Longest detail.
const DETAIL: usize = 512;

/// Where in a call an entry is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stage {
    /// Before anything is done.
    Received,
    /// After it is done, or has failed.
    Completed,
    /// It was not allowed.
    Denied,
}

impl Stage {
    /// Every stage.
    pub const ALL: [Stage; 3] = [Stage::Received, Stage::Completed, Stage::Denied];

    /// The word for it, in the line and in metrics: `RECEIVED`.
    pub fn as_str(self) -> &'static str {
        match self {
            Stage::Received => "RECEIVED",
            Stage::Completed => "COMPLETED",
            Stage::Denied => "DENIED",
        }
    }
}

/// Who, and from where.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Who {
    /// As [`Principal`] is shown: `token:alice`.
    pub principal: String,
    /// `127.0.0.1:41234`; empty for the control plane itself.
    pub peer: String,
}

impl Who {
    /// A principal at an address.
    pub fn new(principal: &Principal, peer: SocketAddr) -> Self {
        Self { principal: principal.to_string(), peer: peer.to_string() }
    }
}

/// One call: who wants what to be done, and on what.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Call {
    /// Who.
    pub who: Who,
    /// What: the method's path.
    pub operation: String,
    /// On what: `service/orders`.
    pub object: String,
    /// In which call.
    pub request_id: String,
}

/// What is to be written, before it has a place in the chain.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub(super) call: Call,
    pub(super) stage: Stage,
    pub(super) outcome: String,
    pub(super) detail: String,
}

impl Draft {
    /// Before anything is done.
    pub(super) fn received(call: Call) -> Self {
        Self { call, stage: Stage::Received, outcome: String::new(), detail: String::new() }
    }

    /// After it was done, in a few words, or has failed.
    pub(super) fn completed(call: Call, outcome: Result<String, &Error>) -> Self {
        let (outcome, detail) = match outcome {
            Ok(done) => ("OK".to_owned(), done),
            Err(error) => (error.kind().as_str().to_owned(), error.reason().as_str().to_owned()),
        };
        Self { call, stage: Stage::Completed, outcome, detail }
    }

    /// It was not allowed.
    pub(super) fn denied(call: Call, why: &Error) -> Self {
        Self { stage: Stage::Denied, ..Self::completed(call, Err(why)) }
    }

    /// The line that it is after this entry.
    pub(super) fn line(&self, previous: &Link, now: SystemTime) -> String {
        let Draft { call: Call { who: Who { principal, peer }, operation, object, request_id }, .. } = self;
        let time = jiff::Timestamp::try_from(now).unwrap_or_default();
        // The writer has refused it where there is no number after that.
        let sequence = previous.sequence.saturating_add(1);
        let mut line = format!("{{\"sequence\":{sequence},\"time\":\"{time:.3}\"");
        for (name, value, most) in [
            ("principal", principal.as_str(), PRINCIPAL),
            ("peer", peer, PEER),
            ("operation", operation, OPERATION),
            ("object", object, OBJECT),
            ("request_id", request_id, REQUEST_ID),
            ("stage", self.stage.as_str(), OUTCOME),
            ("outcome", &self.outcome, OUTCOME),
            ("detail", &self.detail, DETAIL),
            ("previous_hash", &previous.hash.to_hex(), OBJECT),
        ] {
            line.push_str(",\"");
            line.push_str(name);
            line.push_str("\":\"");
            escape(&mut line, value, most);
            line.push('"');
        }
        line.push('}');
        line
    }
}

/// Appends a text as it stands between the quotes of JSON, cut to its length.
fn escape(line: &mut String, text: &str, most: usize) {
    let cut = text.len() > most;
    let mut buffer = [0; 2];
    for c in text[..text.floor_char_boundary(most)].chars().chain(cut.then_some('…')) {
        match c {
            '"' | '\\' => line.extend(['\\', c]),
            // Whatever `clean` would not show as it is.
            _ if !text::shows(c) => {
                for unit in c.encode_utf16(&mut buffer) {
                    line.push_str(&format!("\\u{unit:04x}"));
                }
            }
            c => line.push(c),
        }
    }
}

/// An entry, as its line says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entry {
    /// Its number.
    pub sequence: u64,
    /// When it was written.
    pub time: SystemTime,
    /// Who did what, on what.
    pub call: Call,
    /// Where in the call.
    pub stage: Stage,
    /// `OK`, or the code of the failure. Empty for RECEIVED.
    pub outcome: String,
    /// Why it failed, or what was done.
    pub detail: String,
    /// The hash of the entry before.
    pub previous_hash: Hash,
}

#[derive(Deserialize)]
struct Fields {
    sequence: u64,
    time: jiff_time::Time,
    principal: String,
    peer: String,
    operation: String,
    object: String,
    request_id: String,
    stage: String,
    outcome: String,
    detail: String,
    previous_hash: String,
}

/// Reads the time of a line.
mod jiff_time {
    use serde::{Deserialize, Deserializer, de::Error as _};

    pub(super) struct Time(pub(super) jiff::Timestamp);

    impl<'de> Deserialize<'de> for Time {
        fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
            String::deserialize(input)?.parse().map(Time).map_err(D::Error::custom)
        }
    }
}

impl Entry {
    /// Reads a line. None: it is not the line of an entry.
    pub fn read(line: &str) -> Option<Self> {
        let Fields {
            sequence,
            time: jiff_time::Time(time),
            principal,
            peer,
            operation,
            object,
            request_id,
            stage,
            outcome,
            detail,
            previous_hash,
        } = serde_json::from_str(line).ok()?;
        Some(Self {
            sequence,
            time: time.into(),
            call: Call { who: Who { principal, peer }, operation, object, request_id },
            stage: Stage::ALL.into_iter().find(|known| known.as_str() == stage)?,
            outcome,
            detail,
            previous_hash: Hash::from_hex(previous_hash).ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::audit::chain::hash;

    fn call(object: &str) -> Call {
        Call {
            who: Who { principal: "token:alice".into(), peer: "127.0.0.1:1".into() },
            operation: "/seaworthy.v1.FleetService/PutService".into(),
            object: object.into(),
            request_id: "r-1".into(),
        }
    }

    fn at() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_007)
    }

    #[test]
    fn a_line_has_its_fields_in_order_and_its_time_in_milliseconds() {
        let line = Draft::received(call("service/orders")).line(&Link::START, at());
        let zeros = "0".repeat(64);
        assert_eq!(
            line,
            format!(
                r#"{{"sequence":1,"time":"2023-11-14T22:13:20.007Z","principal":"token:alice","peer":"127.0.0.1:1","operation":"/seaworthy.v1.FleetService/PutService","object":"service/orders","request_id":"r-1","stage":"RECEIVED","outcome":"","detail":"","previous_hash":"{zeros}"}}"#
            )
        );
    }

    #[test]
    fn what_strangers_write_stays_on_its_line_and_reads_back() {
        let object = "a\x1b[2J\n\"b\\\u{202e}\u{e0041}é";
        let line = Draft::received(call(object)).line(&Link::START, at());
        assert!(line.contains(r#""a\u001b[2J\u000a\"b\\\u202e\udb40\udc41é""#), "{line}");
        assert_eq!(Entry::read(&line).unwrap().call.object, object);
    }

    #[test]
    fn what_is_long_is_cut_and_says_so() {
        let line = Draft::received(call(&"é".repeat(10_000))).line(&Link::START, at());
        let object = Entry::read(&line).unwrap().call.object;
        assert_eq!((object.chars().count(), object.ends_with("é…")), (OBJECT / 2 + 1, true));
    }

    #[test]
    fn the_longest_line_is_bounded() {
        let long = "\u{1}".repeat(10_000);
        let who = Who { principal: long.clone(), peer: long.clone() };
        let call = Call { who, operation: long.clone(), object: long.clone(), request_id: long.clone() };
        let draft = Draft { call, stage: Stage::Completed, outcome: long.clone(), detail: long };
        let line = draft.line(&Link { sequence: u64::MAX - 1, hash: hash("a") }, at());
        assert!((8_000..super::super::LONGEST_LINE).contains(&line.len()), "{}", line.len());
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(sequence in 0..u64::MAX, object in ".{0,60}", detail in ".{0,60}") {
            let previous = Link { sequence, hash: hash(&object) };
            let draft = Draft::completed(call(&object), Ok(detail.clone()));
            let entry = Entry::read(&draft.line(&previous, at())).unwrap();
            prop_assert_eq!(entry.sequence, sequence + 1);
            prop_assert_eq!(entry.previous_hash, previous.hash);
            prop_assert_eq!((entry.call, entry.detail, entry.time), (call(&object), detail, at()));
        }

        #[test]
        fn no_line_makes_it_panic(line in "\\PC{0,80}") {
            prop_assert!(Entry::read(&line).is_none());
        }
    }
}
