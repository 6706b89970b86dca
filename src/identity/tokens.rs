//! Bearer tokens: made, listed, revoked, and told apart by the hash of their secret.
//!
//! Options, Service, Handle: the service is the one writer, of the store first and then of the table in memory that
//! [`Handle::bearer`] reads. A secret is in no record and in no message but the one answer to whoever asked for the
//! token. What a token's role allows is `grant`'s, and how it is carried is not known here.

mod bootstrap;
mod record;
mod table;

use std::{
    fmt,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use parking_lot::RwLock;
use tokio::{
    sync::{mpsc, oneshot},
    time::{MissedTickBehavior, interval, timeout},
};
use tracing::{debug, error, info};

use self::table::Table;
use super::{Grant, Role, Scope};
use crate::{
    error::{Chain, Error, Kind, Reason, Result},
    fleet::names::ServiceName,
    id::{BearerToken, Entropy, TokenHash},
    store::{self, Commit, Compare, Store},
    task::drain,
    time::Clock,
};

/// Changes that wait at the most.
const QUEUE: usize = 64;
/// How long a caller waits for a change. The change itself is not bound by it.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);
/// Tokens that count, at the most.
pub const MOST: usize = 10_000;
/// For how long tokens are remembered that are revoked or expired.
const REMEMBERED: Duration = Duration::from_secs(30 * 24 * 3600);
/// How often those are looked for that are not to be remembered any longer.
const FORGET_EVERY: Duration = Duration::from_secs(60);
/// Tokens that are forgotten by one commit.
const FORGOTTEN_AT_ONCE: usize = 256;

/// How tokens are kept.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the first admin's token is written if no admin's token counts; `None` makes none.
    pub bootstrap: Option<PathBuf>,
    /// What is done when a token was revoked.
    pub on_revoked: OnRevoked,
}

/// What the bearer of a token may do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Power {
    /// What a role may.
    Role(Role),
    /// To act for one service.
    Service(ServiceName),
}

impl Power {
    /// The grant that it comes to, before any rule narrows it.
    pub fn grant(&self) -> Grant {
        match self {
            Power::Role(role) => Grant::Role(*role, Scope::default()),
            Power::Service(service) => Grant::Service(service.clone()),
        }
    }
}

impl fmt::Display for Power {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Power::Role(role) => write!(f, "role {role}"),
            Power::Service(service) => write!(f, "service {service}"),
        }
    }
}

/// A token, without its secret.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Token {
    /// Its id: `tok-` and 16 characters.
    pub id: String,
    /// Its name: a DNS label, unique among the tokens that count.
    pub name: String,
    /// What its bearer may do.
    pub power: Power,
    /// When it was made.
    pub created: SystemTime,
    /// Who made it.
    pub creator: String,
    /// From when on it does not count.
    pub expires: SystemTime,
    /// When it was revoked.
    pub revoked: Option<SystemTime>,
    /// Hash of its secret.
    hash: TokenHash,
}

impl Token {
    /// Whether it counts.
    pub fn counts(&self, now: SystemTime) -> bool {
        self.revoked.is_none() && now < self.expires
    }

    /// Since when it does not count. None: it does.
    fn ended(&self, now: SystemTime) -> Option<SystemTime> {
        match self.revoked {
            Some(revoked) => Some(revoked.min(self.expires)),
            None => (now >= self.expires).then_some(self.expires),
        }
    }
}

/// A token that is wanted.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Its name.
    pub name: String,
    /// What its bearer may do.
    pub power: Power,
    /// How long it is to count.
    pub lifetime: Duration,
    /// Who wants it.
    pub creator: String,
}

/// A token as it is listed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Listed {
    /// The token.
    pub token: Arc<Token>,
    /// When it was last used, to the minute; None: not since the start.
    pub last_used: Option<SystemTime>,
}

type Answer<T> = oneshot::Sender<Result<T>>;

enum Command {
    Create { wanted: Wanted, answer: Answer<(Arc<Token>, BearerToken)> },
    Revoke { which: String, answer: Answer<Arc<Token>> },
}

/// Writes tokens down. Owns the queue of changes.
#[derive(Debug)]
pub struct Service {
    handle: Handle,
    store: Store,
    entropy: Entropy,
    commands: mpsc::Receiver<Command>,
}

/// The tokens, for whoever asks or changes. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    shared: Arc<Shared>,
    commands: mpsc::Sender<Command>,
}

/// What is done when a token was revoked.
#[derive(Clone)]
pub struct OnRevoked(Arc<dyn Fn() + Send + Sync>);

impl OnRevoked {
    /// Does this.
    pub fn new(what: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Arc::new(what))
    }
}

impl fmt::Debug for OnRevoked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnRevoked")
    }
}

#[derive(Debug)]
struct Shared {
    clock: Clock,
    table: RwLock<Table>,
    /// Told of each token that does not count any more before its time.
    on_revoked: OnRevoked,
}

/// Reads the tokens from the store, and sees that there is an admin's where one is asked for.
///
/// # Errors
/// The store cannot be read, or a record is damaged or from a newer build.
pub async fn open(
    options: Options,
    clock: Clock,
    entropy: Entropy,
    store: Store,
) -> Result<(Handle, Service)> {
    let table = RwLock::new(record::load(&store).await?);
    let (sender, commands) = mpsc::channel(QUEUE);
    let Options { bootstrap, on_revoked } = options;
    let shared = Shared { clock, table, on_revoked };
    let handle = Handle { shared: Arc::new(shared), commands: sender };
    let service = Service { handle: handle.clone(), store, entropy, commands };
    if let Some(file) = bootstrap
        && let Err(error) = bootstrap::provide(&service, file).await
    {
        error!(component = "identity", operation = "start", error = %Chain(&error), "no admin's token counts, and none could be made");
    }
    Ok((handle, service))
}

// === impl Service ===

impl Service {
    /// Runs until the drain begins; what was queued by then is still done.
    pub async fn run(mut self, mut drain: drain::Watch) {
        let mut ticks = interval(FORGET_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = drain.begun() => break,
                command = self.commands.recv() => match command {
                    Some(command) => self.carry_out(command).await,
                    None => break,
                },
                _ = ticks.tick() => self.forget().await,
            }
        }
        self.commands.close();
        while let Some(command) = self.commands.recv().await {
            self.carry_out(command).await;
        }
    }

    async fn carry_out(&self, command: Command) {
        match command {
            Command::Create { wanted, answer } => {
                let made = self.create(wanted).await;
                // Whoever asked may have gone away: the token is listed, and can be revoked.
                drop(answer.send(made));
            }
            Command::Revoke { which, answer } => drop(answer.send(self.revoke(&which).await)),
        }
    }

    async fn create(&self, wanted: Wanted) -> Result<(Arc<Token>, BearerToken)> {
        self.handle.shared.table.read().check_room(self.handle.shared.clock.now().wall)?;
        let secret = self.entropy.bearer_token()?;
        let token = self.write_new(wanted, &secret).await?;
        Ok((token, secret))
    }

    async fn write_new(&self, wanted: Wanted, secret: &BearerToken) -> Result<Arc<Token>> {
        let Wanted { name, power, lifetime, creator } = wanted;
        let now = self.handle.shared.clock.now().wall;
        self.handle.shared.table.read().check_new(&name, now)?;
        let id = self.entropy.name("tok")?;
        let token = Token {
            id,
            name,
            power,
            created: now,
            creator,
            expires: now + lifetime,
            revoked: None,
            hash: secret.hash(),
        };
        let key = record::key(&token.id);
        let commit = Commit::new().require(Compare::Absent(key.clone())).put(key, record::encode(&token)?);
        self.store.commit_settled(commit).await?;
        let token = Arc::new(token);
        self.handle.shared.table.write().put(Arc::clone(&token));
        info!(
            component = "identity",
            operation = "create token",
            token = token.id,
            name = token.name,
            creator = token.creator,
            "token made"
        );
        Ok(token)
    }

    async fn revoke(&self, which: &str) -> Result<Arc<Token>> {
        let now = self.handle.shared.clock.now().wall;
        let found = self.handle.shared.table.read().named(which, now).ok_or_else(|| missing(which))?;
        if found.revoked.is_some() {
            return Ok(found);
        }
        let token = Arc::new(Token { revoked: Some(now), ..(*found).clone() });
        let commit = Commit::new().put(record::key(&token.id), record::encode(&token)?);
        self.store.commit_settled(commit).await?;
        self.handle.shared.table.write().put(Arc::clone(&token));
        (self.handle.shared.on_revoked.0)();
        info!(
            component = "identity",
            operation = "revoke token",
            token = token.id,
            name = token.name,
            "token revoked"
        );
        Ok(token)
    }

    /// Forgets those that have not counted for long. What cannot be deleted now is at the next turn.
    async fn forget(&self) {
        let now = self.handle.shared.clock.now().wall;
        let old = self.handle.shared.table.read().ended_before(now, REMEMBERED, FORGOTTEN_AT_ONCE);
        if old.is_empty() {
            return;
        }
        let commit = old.iter().fold(Commit::new(), |commit, id| commit.delete(record::key(id)));
        match self.store.commit_settled(commit).await {
            Ok(_) => {
                let mut table = self.handle.shared.table.write();
                old.iter().for_each(|id| table.remove(id));
            }
            Err(error) => {
                debug!(component = "identity", operation = "forget tokens", error = %Chain(&error), "could not forget old tokens");
            }
        }
    }
}

// === impl Handle ===

impl Handle {
    /// The token of this hash, if it counts.
    #[inline]
    pub fn bearer(&self, hash: &TokenHash) -> Option<Arc<Token>> {
        let now = self.shared.clock.now().wall;
        self.shared.table.read().bearer(hash, now)
    }

    /// Makes a token. Durable when it answers, and then its secret is known to nobody else.
    ///
    /// # Errors
    /// A token that counts has the name, there are too many, or the store cannot write. Cancel safe: a caller that
    /// goes away may or may not have made it.
    pub async fn create(&self, wanted: Wanted) -> Result<(Arc<Token>, BearerToken)> {
        self.ask(|answer| Command::Create { wanted, answer }).await
    }

    /// Revokes the token of an id, or of a name among those that count. One that is revoked stays so.
    ///
    /// # Errors
    /// There is none, or the store cannot write.
    pub async fn revoke(&self, which: &str) -> Result<Arc<Token>> {
        let which = which.to_owned();
        self.ask(|answer| Command::Revoke { which, answer }).await
    }

    /// Up to `limit` tokens after a place, by name and id, and whether there are more. `ended`: also those that do
    /// not count any more.
    pub fn list(&self, after: Option<&str>, limit: usize, ended: bool) -> (Vec<Listed>, bool) {
        let now = self.shared.clock.now().wall;
        self.shared.table.read().list(after, limit, ended, now)
    }

    /// How many tokens count now.
    pub fn count(&self) -> usize {
        let now = self.shared.clock.now().wall;
        self.shared.table.read().count(now)
    }

    async fn ask<T>(&self, command: impl FnOnce(Answer<T>) -> Command) -> Result<T> {
        let (answer, answered) = oneshot::channel();
        self.commands.try_send(command(answer)).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(_) => {
                store::refused(format_args!("has {QUEUE} changes of tokens waiting already"))
            }
            mpsc::error::TrySendError::Closed(_) => stopping(),
        })?;
        match timeout(ANSWER_DEADLINE, answered).await {
            Ok(answer) => answer.unwrap_or_else(|_| Err(stopping())),
            Err(_) => Err(Error::new(
                Kind::Unavailable,
                Reason::StoreUnavailable,
                format!("the change was not written within {ANSWER_DEADLINE:?}; list the tokens before you repeat it"),
            )
            .retry_after(Duration::from_secs(1))),
        }
    }
}

fn missing(which: &str) -> Error {
    let message = format!("there is no token {which:?}; list them, the revoked and expired ones too");
    Error::new(Kind::NotFound, Reason::TokenNotFound, message).with("token", which)
}

fn stopping() -> Error {
    let message = "the control plane is stopping; retry on another one or later";
    Error::new(Kind::Unavailable, Reason::ServerDraining, message).retry_after(Duration::from_secs(1))
}

#[cfg(test)]
mod tests;
