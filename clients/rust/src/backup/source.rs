//! A component's backup as the library holds it: one shape for whatever was given, with its settings.

use std::{fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

use super::{Backup, CaptureWriter, Error, Evidence, Inspection, RestoreReader, Restored};
use crate::proto::seaworthy::v1 as wire;

/// How long a component's code may do nothing, where nothing else was said.
pub(crate) const STALLS_AFTER: Duration = Duration::from_secs(3600);

/// A call of a component's code.
pub(crate) type Call<T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send>>;

/// [`Backup`] without its type. Each call owns what it needs, so that it can be a task.
pub(crate) trait Source: Send + Sync {
    fn capture(self: Arc<Self>, into: CaptureWriter) -> Call<Evidence>;
    fn restore(self: Arc<Self>, from: RestoreReader, what: Restored) -> Call<()>;
    fn quiesce(self: Arc<Self>) -> Call<()>;
    fn resume(self: Arc<Self>) -> Call<()>;
    fn inspect(self: Arc<Self>) -> Call<Inspection>;
    fn verify(self: Arc<Self>) -> Call<String>;
}

impl<B: Backup> Source for B {
    fn capture(self: Arc<Self>, mut into: CaptureWriter) -> Call<Evidence> {
        Box::pin(async move { Backup::capture(&*self, &mut into).await })
    }

    fn restore(self: Arc<Self>, mut from: RestoreReader, what: Restored) -> Call<()> {
        Box::pin(async move { Backup::restore(&*self, &mut from, &what).await })
    }

    fn quiesce(self: Arc<Self>) -> Call<()> {
        Box::pin(async move { Backup::quiesce(&*self).await })
    }

    fn resume(self: Arc<Self>) -> Call<()> {
        Box::pin(async move { Backup::resume(&*self).await })
    }

    fn inspect(self: Arc<Self>) -> Call<Inspection> {
        Box::pin(async move { Backup::inspect(&*self).await })
    }

    fn verify(self: Arc<Self>) -> Call<String> {
        Box::pin(async move { Backup::verify(&*self).await })
    }
}

/// How a component is captured.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Settings {
    pub(crate) from_each: bool,
    pub(crate) quiesces: bool,
    pub(crate) page_bytes: Option<u32>,
    pub(crate) incompressible: bool,
    pub(crate) stalls_after: Option<Duration>,
}

impl Settings {
    pub(crate) fn to_wire(self) -> wire::CaptureSettings {
        let scope = match self.from_each {
            true => wire::CaptureScope::Each,
            false => wire::CaptureScope::One,
        };
        wire::CaptureSettings {
            scope: scope.into(),
            quiesces: self.quiesces,
            page_bytes: self.page_bytes.unwrap_or_default(),
            incompressible: self.incompressible,
        }
    }
}

/// A component that can be backed up. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Part {
    pub(crate) source: Arc<dyn Source>,
    pub(crate) quiesces: bool,
    /// How long a capture, a restore or a verification of it may do nothing.
    pub(crate) stalls_after: Duration,
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Part").field("quiesces", &self.quiesces).finish_non_exhaustive()
    }
}
