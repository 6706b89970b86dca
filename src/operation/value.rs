//! What an operation is: plain values, as they are told and as they are written down.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::{id::Ordered, store::Revision, time::Clock};

/// Letters of what was asked for: 128 bits.
const ASKED: usize = 32;

/// What an operation does.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Takes a backup.
    Backup,
    /// Gives the state of components back.
    Restore,
    /// Looks whether a backup could be restored.
    Verify,
}

impl Kind {
    /// Its name, in sentences and in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Backup => "backup",
            Kind::Restore => "restore",
            Kind::Verify => "verify",
        }
    }
}

/// Where an operation is in its life.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Written down, and waits for its turn.
    Pending,
    /// Under way.
    Running,
    /// Somebody cancelled it, and it has not ended yet.
    Cancelling,
    /// Done, all of it.
    Succeeded,
    /// Done in part.
    Partial,
    /// Not done.
    Failed,
    /// Ended because somebody cancelled it.
    Cancelled,
}

impl State {
    /// Whether nothing changes any more.
    pub fn is_final(self) -> bool {
        match self {
            State::Pending | State::Running | State::Cancelling => false,
            State::Succeeded | State::Partial | State::Failed | State::Cancelled => true,
        }
    }

    /// Its name, in sentences and in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Pending => "pending",
            State::Running => "running",
            State::Cancelling => "cancelling",
            State::Succeeded => "succeeded",
            State::Partial => "partial",
            State::Failed => "failed",
            State::Cancelled => "cancelled",
        }
    }
}

/// Where a step is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    /// Not begun.
    Pending,
    /// Under way.
    Running,
    /// Done.
    Succeeded,
    /// Not done.
    Failed,
    /// There was no need for it, or something before it failed.
    Skipped,
}

impl StepState {
    /// Whether it changes no more.
    pub fn is_final(self) -> bool {
        match self {
            StepState::Pending | StepState::Running => false,
            StepState::Succeeded | StepState::Failed | StepState::Skipped => true,
        }
    }
}

/// A part of an operation that has an outcome of its own.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Step {
    /// What is done; unique in the operation.
    pub name: String,
    /// Where it is.
    pub state: StepState,
    /// Bytes that it has done. Never falls.
    pub done_bytes: u64,
    /// Bytes that there are to do. 0: not known.
    pub total_bytes: u64,
    /// When it began.
    #[serde(rename = "started_ms", with = "millis::maybe", default, skip_serializing_if = "Option::is_none")]
    pub started: Option<SystemTime>,
    /// When it ended.
    #[serde(rename = "ended_ms", with = "millis::maybe", default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<SystemTime>,
    /// What it does now, or why it failed, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// How far an operation is, over all of its steps.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Progress {
    /// Bytes done. Never falls.
    pub done_bytes: u64,
    /// Bytes there are to do. 0: not known.
    pub total_bytes: u64,
    /// Bytes that were written for it. Never falls.
    pub stored_bytes: u64,
    /// Bytes done in each of the last seconds, on average. Not in the record.
    #[serde(skip)]
    pub bytes_per_second: u64,
    /// How long it takes still, at this rate. None: not known. Not in the record.
    #[serde(skip)]
    pub remaining: Option<Duration>,
}

/// Something that happened in an operation.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Event {
    /// Its number within the operation, from 1.
    pub sequence: u64,
    /// When.
    #[serde(rename = "at_ms", with = "millis")]
    pub at: SystemTime,
    /// The step that it belongs to. Empty: the operation as a whole.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub step: String,
    /// What happened, for people.
    pub message: String,
}

/// A long-running record.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Operation {
    /// Its id, which sorts by time.
    pub id: Ordered,
    /// What it does.
    pub kind: Kind,
    /// The service that it is about, by a name that whoever began it has checked.
    pub service: String,
    /// Where it is in its life.
    pub state: State,
    /// Who asked for it.
    pub created_by: String,
    /// The request id of the call that began it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub request_id: String,
    /// What that call asked for, as [`asked`] makes it of it. Empty: not known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub asked: String,
    /// Its parts, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<Step>,
    /// How far it is.
    pub progress: Progress,
    /// What happened, oldest first; the last [`MOST_EVENTS`](super::MOST_EVENTS).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<Event>,
    /// When it was written down.
    #[serde(rename = "created_ms", with = "millis")]
    pub created: SystemTime,
    /// When it began.
    #[serde(rename = "started_ms", with = "millis::maybe", default, skip_serializing_if = "Option::is_none")]
    pub started: Option<SystemTime>,
    /// When it ended.
    #[serde(rename = "ended_ms", with = "millis::maybe", default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<SystemTime>,
    /// Why it did not succeed. Empty while it may yet, and where it did.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub cause: String,
    /// The backup that it makes, restores or verifies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup_id: Option<Ordered>,
    /// The final report, line by line.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub report: Vec<String>,
    /// The revision of its record. Not in the record.
    #[serde(skip)]
    pub revision: Revision,
}

impl Operation {
    /// The same without steps, events and report, as lists have it.
    #[must_use]
    pub fn lean(&self) -> Self {
        Self {
            id: self.id,
            kind: self.kind,
            service: self.service.clone(),
            state: self.state,
            created_by: self.created_by.clone(),
            request_id: self.request_id.clone(),
            asked: self.asked.clone(),
            steps: Vec::new(),
            progress: self.progress,
            events: Vec::new(),
            created: self.created,
            started: self.started,
            ended: self.ended,
            cause: self.cause.clone(),
            backup_id: self.backup_id,
            report: Vec::new(),
            revision: self.revision,
        }
    }
}

/// How an operation ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// All of it is done.
    Succeeded,
    /// A part of it is done.
    Partial {
        /// What is missing and why, in one sentence.
        cause: String,
    },
    /// It is not done.
    Failed {
        /// Why, in one sentence.
        cause: String,
    },
    /// It ended because somebody cancelled it.
    Cancelled,
}

/// What a call asks for, in a few letters: the same for its repeat, and another for whatever else is asked for. `parts` are what
/// it says, each in its place.
pub fn asked<'a>(parts: impl IntoIterator<Item = &'a str>) -> String {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        // With its length: so no two lists are the same bytes.
        hasher.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
    }
    hasher.finalize().to_hex()[..ASKED].to_owned()
}

/// The time now, as records keep it: what is told is what is read after a restart.
pub(super) fn moment(clock: Clock) -> SystemTime {
    millis::time(millis::of(&clock.now().wall))
}

/// Times as records keep them: whole milliseconds since 1970.
mod millis {
    use std::time::{Duration, SystemTime};

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn of(time: &SystemTime) -> u64 {
        let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    pub(super) fn time(millis: u64) -> SystemTime {
        // A clock that is far off must not make a record that nobody can read.
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(millis)).unwrap_or(SystemTime::UNIX_EPOCH)
    }

    pub(super) fn serialize<S: Serializer>(at: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
        of(at).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SystemTime, D::Error> {
        u64::deserialize(deserializer).map(time)
    }

    pub(super) mod maybe {
        use super::{Deserialize, Deserializer, Serialize, Serializer, SystemTime, of, time};

        #[allow(clippy::ref_option)] // as serde calls it
        pub(in super::super) fn serialize<S: Serializer>(
            at: &Option<SystemTime>,
            serializer: S,
        ) -> Result<S::Ok, S::Error> {
            at.as_ref().map(of).serialize(serializer)
        }

        pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
            deserializer: D,
        ) -> Result<Option<SystemTime>, D::Error> {
            Ok(Option::deserialize(deserializer)?.map(time))
        }
    }
}
