//! The control plane: the real fleet on the simulated store. Letters arrive here, and the judge hears what
//! arrived and how it was taken.

use std::{collections::BTreeMap, future::Future, pin::Pin, sync::Arc};

use super::{
    judge::Letter,
    letter::{Answer, Credentials, Message, Sender, Stream},
    world::World,
};
use crate::{
    error::{Error, Reason, Result},
    fleet::{
        Handle, Options,
        loading::Progress,
        member::Report,
        names::ServiceName,
        open,
        refusal::Refusal,
        session::{Closing, Opening, Session},
        snapshot::{Instance, Tombstone},
        spec::Spec,
        state::Claim,
    },
    id::{Entropy, SessionToken, TokenHash},
    store::simulated::Engine,
    task::{OnEnd, Task, drain, spawn},
    time::Clock,
};

/// One run of the control plane.
pub(super) struct Plane {
    pub(super) handle: Handle,
    pub(super) engine: Engine,
    pub(super) drain: drain::Signal,
    _running: Task<bool>,
    sessions: BTreeMap<Stream, (Sender, Session)>,
}

/// Who waits for something durable.
#[derive(Debug)]
pub(super) enum Asked {
    Register { from: Sender, slot: usize, request: TokenHash, claim: Claim, stream: Option<Stream> },
    Leave { from: Sender, slot: usize, stream: Option<Stream>, by: Option<Credentials> },
    Remove { slot: usize },
    Spec,
}

#[derive(Debug)]
pub(super) enum Outcome {
    Registered(Result<(Arc<Instance>, SessionToken)>),
    Removed(Result<Arc<Tombstone>>),
    Spec(Result<()>),
}

/// Something durable that is being waited for, by number.
pub(super) type Asking = Pin<Box<dyn Future<Output = (u64, Asked, Outcome)>>>;

impl World {
    /// The control plane starts on what the store holds.
    pub(super) async fn up(&mut self) -> Result<(), String> {
        if self.plane.is_some() {
            return Ok(());
        }
        let (began, clock) = (self.now(), Clock::start_at(self.wall()));
        let mut dice = self.dice.fork();
        let weather = Arc::clone(&self.disk_weather);
        let fates = Box::new(move || weather.lock().fate(&mut dice));
        let (store, engine) = self.medium.open(clock, fates);
        let entropy = Entropy::seeded(self.dice.fresh_seed());
        let options = Options { limits: self.limits };
        let opened = open(options, clock, entropy, store.clone(), &Progress::default()).await;
        let (handle, service) = opened.map_err(|error| format!("it does not start: {error}"))?;
        let (drain, watch) = drain::channel();
        let running = spawn("fleet", OnEnd::Fine, service.run(watch));
        self.judge.booted(began, self.now(), self.wall(), &handle)?;
        self.plane = Some(Plane { handle, engine, drain, _running: running, sessions: BTreeMap::new() });
        Ok(())
    }

    /// The process ends at once.
    pub(super) fn down(&mut self) {
        let Some(plane) = self.plane.take() else { return };
        let kept = self.dice.below(4);
        plane.engine.crash(kept);
        self.asking.clear();
        self.judge.died();
        for (stream, (to, _)) in plane.sessions {
            self.answer(to, Some(stream), Answer::Broken);
            self.break_stream(stream, 2);
        }
    }

    /// A letter arrives at the control plane.
    pub(super) fn arrives(&mut self, message: Message) -> Result<(), String> {
        self.close_sessions();
        let Some(plane) = &mut self.plane else {
            if let Some(from) = message.from() {
                self.answer(from, None, Answer::Broken);
            }
            return Ok(());
        };
        let now = self.clock.mono();
        match message {
            Message::Register { from, slot, request, claim, stream } => {
                let handle = plane.handle.clone();
                let registration = (*self.slots[slot].registration).clone();
                let request = TokenHash::of(&request.to_string());
                let claim = Claim { token: claim, request: Some(request) };
                self.judge.asked(&registration.key);
                let asked = Asked::Register { from, slot, request, claim, stream };
                self.ask(asked, async move {
                    Outcome::Registered(handle.register(registration, claim, "peer").await)
                });
            }
            Message::Leave { from, slot, credentials } => {
                let handle = plane.handle.clone();
                let key = self.slots[slot].registration.key.clone();
                self.judge.removing(&key);
                let Credentials { incarnation, token } = credentials;
                self.ask(Asked::Leave { from, slot, stream: None, by: Some(credentials) }, async move {
                    Outcome::Removed(handle.deregister(key, incarnation, token, String::new()).await)
                });
            }
            Message::StreamLeave { from, stream } => {
                let Some((_, session)) = plane.sessions.get(&stream) else {
                    self.answer(from, None, Answer::Broken);
                    return Ok(());
                };
                let handle = plane.handle.clone();
                let key = session.instance.registration.key.clone();
                let (slot, incarnation) = (self.clients[from.who].slot, session.instance.incarnation);
                self.judge.removing(&key);
                self.ask(Asked::Leave { from, slot, stream: Some(stream), by: None }, async move {
                    Outcome::Removed(handle.session_leave(key, incarnation, String::new()).await)
                });
            }
            Message::Resume { from, slot, stream, credentials } => {
                let answer = match self.open_stream(slot, stream, from, credentials, Opening::Resumed)? {
                    None => Answer::Resumed,
                    Some(error) => refused(&error),
                };
                self.answer(from, Some(stream), answer);
            }
            Message::StreamBeat { from, stream } => {
                let answer = match plane.sessions.get(&stream) {
                    None => Answer::Broken,
                    Some((_, session)) => {
                        plane.handle.session_heard(session);
                        self.judge.heard_on_stream(now, session, &[], None)?;
                        Answer::Acknowledged
                    }
                };
                self.answer(from, Some(stream), answer);
            }
            Message::StreamReport { from, stream, reports, lifecycle } => {
                let answer = match plane.sessions.get(&stream) {
                    None => Answer::Broken,
                    Some((_, session)) => {
                        let parts = parts(&reports);
                        match plane.handle.session_report(session, reports, lifecycle) {
                            Ok(_) => {
                                self.judge.heard_on_stream(now, session, &parts, lifecycle)?;
                                Answer::Reported(lifecycle)
                            }
                            Err(error) if error.reason() == Reason::LifecycleOrder => {
                                self.judge.touched_on_stream(now, session, lifecycle)?;
                                refused(&error)
                            }
                            Err(error) => refused(&error),
                        }
                    }
                };
                self.answer(from, Some(stream), answer);
            }
            Message::StreamEnd { stream } => {
                if let Some((_, session)) = plane.sessions.remove(&stream) {
                    plane.handle.close_session(&session);
                }
            }
            Message::Beat { from, slot, credentials } => {
                let key = &self.slots[slot].registration.key;
                let Credentials { incarnation, token } = credentials;
                let taken =
                    plane.handle.heartbeat(key.service.as_str(), key.id.as_str(), incarnation, &token);
                let taken =
                    taken.map_err(|refusal: Refusal| refusal.about(key.service.as_str(), key.id.as_str()));
                let letter = Letter { parts: &[], lifecycle: None, proves: true };
                self.judge.heard(now, key, credentials, letter, taken.as_ref().err())?;
                let answer = taken.map_or_else(|error| refused(&error), |()| Answer::Acknowledged);
                self.answer(from, None, answer);
            }
            Message::Report { from, slot, credentials, reports, lifecycle } => {
                let key = &self.slots[slot].registration.key;
                let parts = parts(&reports);
                let Credentials { incarnation, token } = credentials;
                let taken = plane.handle.report(key, incarnation, &token, |_| Ok(reports), lifecycle);
                let letter = Letter { parts: &parts, lifecycle, proves: true };
                self.judge.heard(now, key, credentials, letter, taken.as_ref().err())?;
                let answer = taken.map_or_else(|error| refused(&error), |_| Answer::Reported(lifecycle));
                self.answer(from, None, answer);
            }
        }
        Ok(())
    }

    /// Opens a session for a stream; answers why not.
    pub(super) fn open_stream(
        &mut self,
        slot: usize,
        stream: Stream,
        from: Sender,
        credentials: Credentials,
        opening: Opening,
    ) -> Result<Option<Error>, String> {
        let now = self.clock.mono();
        let Some(plane) = &mut self.plane else { return Ok(None) };
        let key = &self.slots[slot].registration.key;
        let Credentials { incarnation, token } = credentials;
        let opened = plane.handle.open_session(key, incarnation, &token, opening, false);
        let letter = Letter { parts: &[], lifecycle: None, proves: opening == Opening::Resumed };
        self.judge.heard(now, key, credentials, letter, opened.as_ref().err())?;
        match opened {
            Ok((session, _)) => {
                plane.sessions.insert(stream, (from, session));
                Ok(None)
            }
            Err(error) => Ok(Some(error)),
        }
    }

    /// Ends the streams whose session the registry has ended.
    fn close_sessions(&mut self) {
        let Some(plane) = &mut self.plane else { return };
        let mut closed = Vec::new();
        plane.sessions.retain(|stream, (to, session)| {
            let Ok(closing) = session.closing.try_recv() else { return true };
            plane.handle.close_session(session);
            closed.push((*stream, *to, closing));
            false
        });
        for (stream, to, closing) in closed {
            let reason = match closing {
                Closing::Superseded | Closing::StaleIncarnation => Reason::StaleIncarnation,
                Closing::Removed(_) => Reason::InstanceRemoved,
            };
            self.answer(to, Some(stream), Answer::Refused(reason, None));
            self.break_stream(stream, 2);
        }
    }

    pub(super) fn remove(&mut self, slot: usize) {
        let Some(plane) = &self.plane else { return };
        let (handle, key) = (plane.handle.clone(), self.slots[slot].registration.key.clone());
        self.judge.removing(&key);
        self.ask(Asked::Remove { slot }, async move {
            Outcome::Removed(handle.remove(key, None, "by hand".into()).await)
        });
    }

    pub(super) fn put_spec(&mut self, name: ServiceName, spec: Option<Spec>) {
        let Some(plane) = &self.plane else { return };
        let handle = plane.handle.clone();
        self.ask(Asked::Spec, async move {
            match spec {
                Some(spec) => Outcome::Spec(handle.put_service(name, spec, None).await.map(drop)),
                None => Outcome::Spec(handle.delete_service(name, None).await.map(drop)),
            }
        });
    }

    fn ask(&mut self, asked: Asked, doing: impl Future<Output = Outcome> + 'static) {
        let number = self.fresh();
        self.asking.push(Box::pin(async move { (number, asked, doing.await) }));
    }
}

fn parts(reports: &[Report]) -> Vec<usize> {
    reports.iter().map(|report| report.component).collect()
}

pub(super) fn refused(error: &Error) -> Answer {
    Answer::Refused(error.reason(), error.retry_pause())
}
