//! What is ruled while the fleet runs: policies, flags and breakers that were forced.
//!
//! Options, Service, Handle: the service is the one writer, of the store first and then of the [`Book`] that everybody
//! reads. Which policy decides of a call is said in the client's crate, which services and the guard share, and nothing
//! is enforced here. What instances report of what they protect is in [`observed`], and what they hold of limits that
//! all of them share in [`quotas`].

pub mod book;
mod built_in;
pub mod explain;
mod forms;
pub mod observed;
pub mod own;
pub mod quota;
pub mod quotas;
mod record;
pub mod totals;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use seaworthy_client::{flags::Flag, protect::policy::Policy};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{sleep, timeout},
};
use tracing::{debug, info};

use self::{
    book::{Book, Override, OverrideKey, Placed, PlacedFlag, Put},
    observed::Observed,
    quotas::Quotas,
};
use crate::{
    error::{Chain, Error, Kind, Reason, Result},
    store::{self, Commit, Store},
    task::drain,
    time::Clock,
};

/// Changes that wait at the most.
const QUEUE: usize = 64;
/// How long a caller waits for a change. The change itself is not bound by it.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);
/// Policies that may be put, flags, and overrides, each at the most.
pub const MOST: usize = 1000;
/// Bytes of the records of all policies together, of all flags, and of all overrides: they are told to an instance by one
/// message, and clients take 4 MiB.
pub const MOST_BYTES: usize = 5 << 18;
/// How often overrides are looked for that have ended, at the least: what could not be deleted is tried again.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How what is ruled is kept.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Policies of the configuration file.
    pub declared: Vec<Policy>,
}

type Answer<T> = oneshot::Sender<Result<T>>;

enum Command {
    Put { policy: Box<Policy>, if_revision: Option<u64>, by: String, answer: Answer<Arc<Placed>> },
    TakeBack { name: String, if_revision: Option<u64>, answer: Answer<Option<Arc<Placed>>> },
    PutFlag { flag: Box<Flag>, if_revision: Option<u64>, by: String, answer: Answer<Arc<PlacedFlag>> },
    TakeBackFlag { name: String, if_revision: Option<u64>, answer: Answer<Option<Arc<PlacedFlag>>> },
    Force { forced: Box<Override>, answer: Answer<Arc<Override>> },
    Release { key: OverrideKey, answer: Answer<bool> },
    Declare { policies: Vec<Policy> },
}

/// Writes down what is ruled. Owns the queue of changes.
#[derive(Debug)]
pub struct Service {
    handle: Handle,
    store: Store,
    commands: mpsc::Receiver<Command>,
}

/// What is ruled, for whoever asks or changes. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    clock: Clock,
    book: watch::Sender<Arc<Book>>,
    revision: watch::Sender<u64>,
    commands: mpsc::Sender<Command>,
    observed: Arc<Observed>,
    quotas: Arc<Quotas>,
}

/// Reads what is ruled from the store.
///
/// # Errors
/// The store cannot be read, or a record is damaged or from a newer build.
pub async fn open(options: Options, clock: Clock, store: Store) -> Result<(Handle, Service)> {
    let mut book = Book::default();
    book.build_in(built_in::policies());
    own::flags().into_iter().for_each(|flag| drop(book.put_flag(PlacedFlag { flag, put: None })));
    record::load(&store, &mut book).await?;
    book.declare(options.declared);
    let (commands, queue) = mpsc::channel(QUEUE);
    let revision = watch::Sender::new(book.revision);
    let handle = Handle {
        clock,
        book: watch::Sender::new(Arc::new(book)),
        revision,
        commands,
        observed: Arc::default(),
        quotas: Arc::default(),
    };
    Ok((handle.clone(), Service { handle, store, commands: queue }))
}

// === impl Service ===

impl Service {
    /// Runs until the drain begins; what was queued by then is still done.
    pub async fn run(mut self, mut drain: drain::Watch) {
        loop {
            let pause = self.until_next_expiry();
            tokio::select! {
                biased;
                () = drain.begun() => break,
                command = self.commands.recv() => match command {
                    Some(command) => self.carry_out(command).await,
                    None => break,
                },
                () = sleep(pause) => self.end_overrides().await,
            }
        }
        self.commands.close();
        while let Some(command) = self.commands.recv().await {
            self.carry_out(command).await;
        }
    }

    async fn carry_out(&self, command: Command) {
        // Whoever asked may have gone away: what was done is seen all the same.
        match command {
            Command::Put { policy, if_revision, by, answer } => {
                drop(answer.send(self.put(*policy, if_revision, by).await));
            }
            Command::TakeBack { name, if_revision, answer } => {
                drop(answer.send(self.take_back(&name, if_revision).await));
            }
            Command::PutFlag { flag, if_revision, by, answer } => {
                drop(answer.send(self.put_flag(*flag, if_revision, by).await));
            }
            Command::TakeBackFlag { name, if_revision, answer } => {
                drop(answer.send(self.take_back_flag(&name, if_revision).await));
            }
            Command::Force { forced, answer } => drop(answer.send(self.force(*forced).await)),
            Command::Release { key, answer } => drop(answer.send(self.release(&key).await)),
            Command::Declare { policies } => {
                self.change(|book| book.declare(policies));
            }
        }
    }

    async fn put(&self, policy: Policy, if_revision: Option<u64>, by: String) -> Result<Arc<Placed>> {
        let book = self.handle.book();
        let there = book.put_policy(&policy.name);
        at_revision("policy", &policy.name, there.and_then(|placed| placed.put.as_ref()), if_revision)?;
        if there.is_none() && book.put_count() >= MOST {
            return Err(too_many("policies", Reason::TooManyPolicies));
        }
        let at = whole_millis(self.handle.clock.now().wall);
        let (key, value) = record::policy(&policy, at, &by)?;
        let others = book.policies().filter(|placed| placed.policy.name != policy.name);
        let others = others.map(|placed| Ok(record::policy(&placed.policy, at, "")?.1.len()));
        check_bytes("policies", Reason::TooManyPolicies, value.len(), others)?;
        let revision = self.store.commit_settled(Commit::new().put(key, value)).await?;
        info!(component = "policy", operation = "put policy", policy = policy.name, by, "policy put");
        Ok(self.change(|book| book.put(policy, Put { revision, at, by })))
    }

    async fn take_back(&self, name: &str, if_revision: Option<u64>) -> Result<Option<Arc<Placed>>> {
        let book = self.handle.book();
        let Some(there) = book.put_policy(name) else {
            return Err(match book.policy(name) {
                Some(_) => not_put(name),
                None => no_policy(name),
            });
        };
        at_revision("policy", name, there.put.as_ref(), if_revision)?;
        self.store.commit_settled(Commit::new().delete(record::policy_key(name))).await?;
        info!(component = "policy", operation = "delete policy", policy = name, "policy deleted");
        Ok(self.change(|book| {
            book.take_back(name);
            book.policy(name).cloned()
        }))
    }

    async fn put_flag(&self, flag: Flag, if_revision: Option<u64>, by: String) -> Result<Arc<PlacedFlag>> {
        own::check(&flag)?;
        let book = self.handle.book();
        let there = book.flag(flag.name());
        at_revision("flag", flag.name(), there.and_then(|placed| placed.put.as_ref()), if_revision)?;
        if there.is_none() && book.flags().count() >= MOST {
            return Err(too_many("flags", Reason::TooManyFlags));
        }
        let at = whole_millis(self.handle.clock.now().wall);
        let (key, value) = record::flag(&flag, at, &by)?;
        let others = book.flags().filter(|placed| placed.flag.name() != flag.name());
        let others = others.map(|placed| Ok(record::flag(&placed.flag, at, "")?.1.len()));
        check_bytes("flags", Reason::TooManyFlags, value.len(), others)?;
        let revision = self.store.commit_settled(Commit::new().put(key, value)).await?;
        info!(component = "policy", operation = "put flag", flag = flag.name(), by, "flag put");
        let put = Some(Put { revision, at, by });
        Ok(self.change(|book| book.put_flag(PlacedFlag { flag, put })))
    }

    async fn take_back_flag(&self, name: &str, if_revision: Option<u64>) -> Result<Option<Arc<PlacedFlag>>> {
        let book = self.handle.book();
        let put = book.flag(name).and_then(|placed| placed.put.as_ref());
        let Some(put) = put else { return Err(no_flag(name)) };
        at_revision("flag", name, Some(put), if_revision)?;
        self.store.commit_settled(Commit::new().delete(record::flag_key(name))).await?;
        info!(component = "policy", operation = "delete flag", flag = name, "flag deleted");
        Ok(self.change(|book| {
            book.take_back_flag(name);
            own::flag(name).map(|flag| book.put_flag(PlacedFlag { flag, put: None }))
        }))
    }

    async fn force(&self, forced: Override) -> Result<Arc<Override>> {
        let book = self.handle.book();
        if book.forced(&forced.key).is_none() && book.overrides().count() >= MOST {
            return Err(too_many("overrides", Reason::TooManyOverrides));
        }
        let (key, value) = record::forced(&forced)?;
        let others = book.overrides().filter(|other| other.key != forced.key);
        let others = others.map(|other| Ok(record::forced(other)?.1.len()));
        check_bytes("overrides", Reason::TooManyOverrides, value.len(), others)?;
        self.store.commit_settled(Commit::new().put(key, value)).await?;
        let OverrideKey { service, operation: protected, instance } = &forced.key;
        let instance = instance.as_ref().map(ToString::to_string);
        info!(component = "policy", operation = "override breaker", %service, protected, instance, force = ?forced.force, by = forced.by, message = forced.message, "breaker forced");
        Ok(self.change(|book| book.force(forced)))
    }

    async fn release(&self, key: &OverrideKey) -> Result<bool> {
        if self.handle.book().forced(key).is_none() {
            return Ok(false);
        }
        self.store.commit_settled(Commit::new().delete(record::override_key(key))).await?;
        self.change(|book| book.release(key));
        Ok(true)
    }

    /// Takes back what has ended. It holds no longer even where the store cannot write.
    async fn end_overrides(&self) {
        let now = self.handle.clock.now().wall;
        for key in self.handle.book().expired(now) {
            let OverrideKey { service, operation: protected, .. } = &key;
            info!(component = "policy", operation = "override breaker", %service, protected, "override ended");
            self.change(|book| book.release(&key));
            let deleted = self.store.commit_settled(Commit::new().delete(record::override_key(&key))).await;
            if let Err(error) = deleted {
                // A start leaves out what has ended.
                debug!(component = "policy", operation = "override breaker", error = %Chain(&error), "the record of an override that ended was not deleted");
            }
        }
        let now = self.handle.clock.mono();
        self.handle.quotas.sweep(now);
        self.handle.observed.sweep(now);
    }

    fn until_next_expiry(&self) -> Duration {
        let now = self.handle.clock.now().wall;
        let next = self.handle.book.borrow().next_expiry();
        let left = next.map(|next| next.duration_since(now).unwrap_or(Duration::ZERO));
        left.map_or(LOOK_EVERY, |left| left.min(LOOK_EVERY))
    }

    /// Makes a change and publishes it. This is the one place that does.
    fn change<T>(&self, change: impl FnOnce(&mut Book) -> T) -> T {
        let mut book = Book::clone(&self.handle.book.borrow());
        let done = change(&mut book);
        let revision = book.revision;
        self.handle.book.send_replace(Arc::new(book));
        self.handle.revision.send_replace(revision);
        done
    }
}

// === impl Handle ===

impl Handle {
    /// All that is ruled now.
    pub fn book(&self) -> Arc<Book> {
        Arc::clone(&self.book.borrow())
    }

    /// The same, as it changes.
    pub fn watch(&self) -> watch::Receiver<Arc<Book>> {
        self.book.subscribe()
    }

    /// The revision of the book, as it rises.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }

    /// What instances report.
    pub fn observed(&self) -> &Arc<Observed> {
        &self.observed
    }

    /// What instances hold of limits that all share.
    pub fn quotas(&self) -> &Quotas {
        &self.quotas
    }

    /// The clock by which overrides end.
    pub fn wall(&self) -> SystemTime {
        self.clock.now().wall
    }

    /// The clock by which slices end.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// Puts a policy. Durable when it answers.
    ///
    /// # Errors
    /// It is not at that revision, there are too many, or the store cannot write. Cancel safe: a caller that goes away may
    /// or may not have put it.
    pub async fn put(&self, policy: Policy, if_revision: Option<u64>, by: String) -> Result<Arc<Placed>> {
        let policy = Box::new(policy);
        self.ask(|answer| Command::Put { policy, if_revision, by, answer }).await
    }

    /// Takes back a policy that was put, and answers what counts under its name now.
    ///
    /// # Errors
    /// There is none, it is not at that revision, or the store cannot write.
    pub async fn take_back(&self, name: String, if_revision: Option<u64>) -> Result<Option<Arc<Placed>>> {
        self.ask(|answer| Command::TakeBack { name, if_revision, answer }).await
    }

    /// Puts a flag. Durable when it answers.
    ///
    /// # Errors
    /// As [`put`](Self::put); or it is not what one of the control plane's own can be.
    pub async fn put_flag(
        &self,
        flag: Flag,
        if_revision: Option<u64>,
        by: String,
    ) -> Result<Arc<PlacedFlag>> {
        let flag = Box::new(flag);
        self.ask(|answer| Command::PutFlag { flag, if_revision, by, answer }).await
    }

    /// Takes back a flag, and answers what counts under its name now.
    ///
    /// # Errors
    /// As [`take_back`](Self::take_back).
    pub async fn take_back_flag(
        &self,
        name: String,
        if_revision: Option<u64>,
    ) -> Result<Option<Arc<PlacedFlag>>> {
        self.ask(|answer| Command::TakeBackFlag { name, if_revision, answer }).await
    }

    /// Forces a breaker. Durable when it answers.
    ///
    /// # Errors
    /// There are too many, or the store cannot write.
    pub async fn force(&self, forced: Override) -> Result<Arc<Override>> {
        let forced = Box::new(forced);
        self.ask(|answer| Command::Force { forced, answer }).await
    }

    /// Forces it no longer. False: it was not forced.
    ///
    /// # Errors
    /// The store cannot write.
    pub async fn release(&self, key: OverrideKey) -> Result<bool> {
        self.ask(|answer| Command::Release { key, answer }).await
    }

    /// Takes these policies from the configuration file in place of those before.
    ///
    /// # Errors
    /// Too much is being changed at once.
    pub fn declare(&self, policies: Vec<Policy>) -> Result<()> {
        self.commands.try_send(Command::Declare { policies }).map_err(|refused| busy(&refused))
    }

    async fn ask<T>(&self, command: impl FnOnce(Answer<T>) -> Command) -> Result<T> {
        let (answer, answered) = oneshot::channel();
        self.commands.try_send(command(answer)).map_err(|refused| busy(&refused))?;
        match timeout(ANSWER_DEADLINE, answered).await {
            Ok(answer) => answer.unwrap_or_else(|_| Err(stopping())),
            Err(_) => Err(Error::new(
                Kind::Unavailable,
                Reason::StoreUnavailable,
                format!(
                    "the change was not written within {ANSWER_DEADLINE:?}; read it before you repeat it"
                ),
            )
            .retry_after(Duration::from_secs(1))),
        }
    }
}

/// A time as records keep it.
fn whole_millis(time: SystemTime) -> SystemTime {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    SystemTime::UNIX_EPOCH
        + Duration::from_secs(since.as_secs())
        + Duration::from_millis(u64::from(since.subsec_millis()))
}

fn busy(refused: &mpsc::error::TrySendError<Command>) -> Error {
    match refused {
        mpsc::error::TrySendError::Full(_) => {
            store::refused(format_args!("has {QUEUE} changes of policies waiting already"))
        }
        mpsc::error::TrySendError::Closed(_) => stopping(),
    }
}

/// Whether what was put is what the caller has seen.
fn at_revision(what: &str, name: &str, put: Option<&Put>, wanted: Option<u64>) -> Result<()> {
    let current = put.map_or(0, |put| put.revision);
    match wanted {
        Some(wanted) if wanted != current => {
            let message = format!(
                "{what} {name} is at revision {current}, not at {wanted}; read it again, and put your change on top"
            );
            let error = Error::new(Kind::FailedPrecondition, Reason::RevisionMismatch, message);
            Err(error.with("current_revision", current.to_string()))
        }
        _ => Ok(()),
    }
}

/// There is no policy of this name.
pub fn no_policy(name: &str) -> Error {
    let message = format!("there is no policy {name:?}; list them");
    Error::new(Kind::NotFound, Reason::PolicyNotFound, message).with("policy", name)
}

/// There is no flag of this name that was put.
pub fn no_flag(name: &str) -> Error {
    let message = format!("there is no flag {name:?} that was put; list them");
    Error::new(Kind::NotFound, Reason::FlagNotFound, message).with("flag", name)
}

fn not_put(name: &str) -> Error {
    let message = format!(
        "policy {name:?} was not put while running: one of the same name that you put counts in its place, and one of the configuration file is changed there"
    );
    Error::new(Kind::FailedPrecondition, Reason::PolicyNotPut, message).with("policy", name)
}

fn too_many(what: &str, reason: Reason) -> Error {
    let message = format!("there are {MOST} {what} already, which is the most; delete some");
    Error::new(Kind::ResourceExhausted, reason, message)
}

/// Whether so many bytes more are not too many.
fn check_bytes(
    what: &str,
    reason: Reason,
    more: usize,
    others: impl Iterator<Item = Result<usize>>,
) -> Result<()> {
    let all = others.sum::<Result<usize>>()? + more;
    if all <= MOST_BYTES {
        return Ok(());
    }
    let message =
        format!("all {what} together would take {all} bytes, and {MOST_BYTES} are the most; delete some");
    Err(Error::new(Kind::ResourceExhausted, reason, message))
}

fn stopping() -> Error {
    let message = "the control plane is stopping; retry on another one or later";
    Error::new(Kind::Unavailable, Reason::ServerDraining, message).retry_after(Duration::from_secs(1))
}

#[cfg(test)]
mod tests;
