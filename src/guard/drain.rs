//! Refuses new RPCs while the fleet is being loaded and while the server drains, except those that must be
//! answered even then.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use http::Request;
use tonic::Status;

use super::{
    check::Check,
    rpc::{Rpc, RpcId, WhileDraining, WhileLoading},
    status::status,
};
use crate::{
    error::{Error, Kind, Reason},
    fleet::loading::Progress,
};

/// When a refused caller should try again: by then another server answers, or this one is back.
const COME_BACK: Duration = Duration::from_secs(1);
/// What it is told.
const REFUSAL: &str = "the control plane is stopping; retry on another one or later";

/// Opens when the fleet is loaded, and is shut when the server stops accepting requests. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Gate {
    position: Arc<AtomicU8>,
    progress: Progress,
}

const LOADING: u8 = 0;
const OPEN: u8 = 1;
const SHUT: u8 = 2;

impl Gate {
    /// Refuses what needs the fleet, which is being loaded.
    pub fn loading(progress: Progress) -> Self {
        Self { position: Arc::new(AtomicU8::new(LOADING)), progress }
    }

    /// The fleet is loaded: refuses nothing.
    pub fn open(&self) {
        self.position.store(OPEN, Ordering::Release);
    }

    /// Refuses from now on.
    pub fn shut(&self) {
        self.position.store(SHUT, Ordering::Release);
    }

    /// Whether the fleet is being loaded, and with it all that says who may do what. Then what to say.
    pub fn is_loading(&self) -> Option<Error> {
        (self.position.load(Ordering::Acquire) == LOADING).then(|| self.progress.refusal())
    }

    /// What is said to this RPC instead of an answer, if it is refused.
    fn refuses(&self, rpc: Option<&Rpc>) -> Option<Status> {
        match self.position.load(Ordering::Acquire) {
            OPEN => None,
            LOADING => {
                let answered = rpc.is_some_and(|rpc| rpc.loading == WhileLoading::Answered);
                (!answered).then(|| status(&self.progress.refusal()))
            }
            _ => {
                let answered = rpc.is_some_and(|rpc| rpc.draining == WhileDraining::Answered);
                (!answered).then(|| goodbye(REFUSAL))
            }
        }
    }
}

impl Check for Gate {
    fn check<A>(&self, request: &mut Request<A>) -> Result<(), Box<Status>> {
        let rpc = request.extensions().get::<RpcId>();
        self.refuses(rpc.map(|id| id.rpc())).map_or(Ok(()), |refusal| Err(Box::new(refusal)))
    }
}

/// What callers are told who have to go: where to is up to them.
pub(super) fn goodbye(message: &str) -> Status {
    status(&Error::new(Kind::Unavailable, Reason::ServerDraining, message).retry_after(COME_BACK))
}
