//! A backup that is two functions.

use std::{future::Future, sync::Arc};

use super::{
    CaptureWriter, Error, Evidence, Inspection, RestoreReader, Restored,
    source::{Call, Source},
};

/// One that captures and one that restores. Each owns its end of the transfer.
pub(crate) struct Functions<C, R> {
    pub(crate) capture: C,
    pub(crate) restore: R,
}

impl<C, CF, R, RF> Source for Functions<C, R>
where
    C: Fn(CaptureWriter) -> CF + Send + Sync + 'static,
    CF: Future<Output = Result<Evidence, Error>> + Send + 'static,
    R: Fn(RestoreReader, Restored) -> RF + Send + Sync + 'static,
    RF: Future<Output = Result<(), Error>> + Send + 'static,
{
    fn capture(self: Arc<Self>, into: CaptureWriter) -> Call<Evidence> {
        Box::pin((self.capture)(into))
    }

    fn restore(self: Arc<Self>, from: RestoreReader, what: Restored) -> Call<()> {
        Box::pin((self.restore)(from, what))
    }

    fn quiesce(self: Arc<Self>) -> Call<()> {
        Box::pin(async { Ok(()) })
    }

    fn resume(self: Arc<Self>) -> Call<()> {
        Box::pin(async { Ok(()) })
    }

    fn inspect(self: Arc<Self>) -> Call<Inspection> {
        Box::pin(async { Ok(Inspection::unknown()) })
    }

    fn verify(self: Arc<Self>) -> Call<String> {
        Box::pin(async { Ok(String::new()) })
    }
}
