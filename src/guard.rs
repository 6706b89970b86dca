//! The chain of layers that every RPC passes, and the table that says what applies to which.
//!
//! Layers are tower layers, not interceptors: an interceptor never sees the answer. Nothing here knows
//! what an RPC means; that is `api`'s.

pub mod access;
pub mod active;
pub mod answers;
pub mod bounds;
pub mod caller;
pub mod check;
pub mod closing;
pub mod deadline;
pub mod drain;
pub mod goodbye;
pub mod permission;
pub mod proof;
pub mod proofs;
pub mod protect;
pub mod protection;
pub mod questions;
pub mod record;
pub mod rpc;
pub mod shares;
pub mod status;
pub mod subscriptions;
pub mod transfers;

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use tower::{
    ServiceBuilder,
    layer::util::{Identity, Stack},
};

use self::{
    access::AccessLog,
    active::{Active, ActiveLayer},
    answers::{Answers, AnswersLayer},
    bounds::{Bounds, UPLOAD_MESSAGE},
    caller::{Connection, Identify},
    check::CheckLayer,
    closing::ClosingLayer,
    deadline::DeadlineLayer,
    drain::Gate,
    permission::Permit,
    proofs::Proofs,
    protect::ProtectLayer,
    protection::Protection,
    questions::QuestionsLayer,
    record::{RecordLayer, Recorder},
    shares::{Share, Shares},
};
use crate::{audit, identity::authenticator::Authenticator, time::Clock};

/// Domain of every `google.rpc.ErrorInfo` that we send.
pub const ERROR_DOMAIN: &str = seaworthy_client::rules::errors::DOMAIN;

/// What the layers share with the rest of the server. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Guard {
    /// Counts and times every RPC.
    pub recorder: Arc<Recorder>,
    /// Tells who calls.
    pub authenticator: Authenticator,
    /// Says which requests are logged.
    pub access: AccessLog,
    /// Where what is not allowed is written down, once it is there: nobody is let in before.
    pub audit: Arc<OnceLock<audit::Handle>>,
    /// Refuses new work while the server drains.
    pub gate: Gate,
    /// Knows how many requests are being answered.
    pub active: Active,
    /// Policies in force for RPCs.
    pub protection: Protection,
    /// Bounds what is held for others.
    pub held: Held,
    /// The same, for connections that are for much data at once: they take nothing from the others.
    pub bulk: Held,
    /// Bytes of the largest message that is taken.
    pub max_message_bytes: usize,
    /// How long a unary RPC may take.
    pub request_timeout: Duration,
    /// The time.
    pub clock: Clock,
}

/// Bounds the bytes that the server holds for those at the other ends. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Held {
    /// Of answers that are under way.
    pub answers: Shares,
    /// Of messages that are coming.
    pub questions: Shares,
}

impl Held {
    /// Nothing is held yet.
    pub fn new(answers: Bounds, questions: Bounds) -> Self {
        Self { answers: Shares::new(answers), questions: Shares::new(questions) }
    }
}

/// The layers, outermost first.
type Layers = Stack<
    DeadlineLayer,
    Stack<
        ProtectLayer,
        Stack<
            ClosingLayer,
            Stack<
                QuestionsLayer,
                Stack<
                    AnswersLayer,
                    Stack<
                        ActiveLayer,
                        Stack<
                            CheckLayer<Gate>,
                            Stack<
                                CheckLayer<Permit>,
                                Stack<CheckLayer<Identify>, Stack<RecordLayer, Identity>>,
                            >,
                        >,
                    >,
                >,
            >,
        >,
    >,
>;

impl Guard {
    fn permit(&self) -> Permit {
        Permit::new(self.authenticator.clone(), self.gate.clone(), Arc::clone(&self.audit))
    }

    /// Puts the chain together for one connection. The order is the design; each line says why it
    /// stands where it does.
    pub fn layers(
        &self,
        connection: Connection,
        proofs: Arc<Proofs>,
        answers: Answers,
        questions: Share,
    ) -> ServiceBuilder<Layers> {
        ServiceBuilder::new()
            // Outermost, so that refusals of every layer below are counted and logged too.
            .layer(RecordLayer::new(Arc::clone(&self.recorder), self.access.clone(), self.clock))
            // Who calls comes before every decision about the call.
            .layer(CheckLayer::new(Identify::new(connection.clone(), proofs)))
            // Whether it may, before anything is told or spent: also whether the server drains.
            .layer(CheckLayer::new(self.permit()))
            // A draining server refuses before it spends anything on the call.
            .layer(CheckLayer::new(self.gate.clone()))
            // From here on shutdown waits for the call.
            .layer(ActiveLayer::new(self.active.clone()))
            // Around everything that makes bytes, so that none are under way uncounted.
            .layer(AnswersLayer::new(answers))
            // Around everything that reads messages, and inside of what tells the refusal.
            .layer(QuestionsLayer::new(
                questions,
                self.max_message_bytes.max(UPLOAD_MESSAGE),
                self.request_timeout,
            ))
            // Inside of what waits for the call, so that streams which do not listen end the wait.
            .layer(ClosingLayer::new(connection))
            // Rate limits (global, operation, caller), permits and the circuit breaker, in this order:
            // after the active-request guard, so that shutdown sees what waits for a permit; before the
            // deadline, so that waiting for a permit has a bound of its own.
            .layer(ProtectLayer::new(self.protection.clone()))
            // Innermost, so that the time is the handler's.
            .layer(DeadlineLayer::new(self.request_timeout))
    }
}
