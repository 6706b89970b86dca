//! Describes an instance and attaches it. Everything is checked in one place, when it is attached, and
//! every problem is named at once.

mod names;
mod reach;
mod validate;

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use tokio::sync::{oneshot, watch};

#[cfg(feature = "tls")]
use crate::Tls;
use crate::{
    Agent, Component, Handle, Lifecycle, ServiceSpec, Status, Token,
    agent::keeper::Keeper,
    check::runner::{self, Pace},
    directives::Directives,
    health::{Identity, board::Board},
    proto::seaworthy::v1::Registration,
    rt,
    ruled::Ruled,
    transport::Transport,
};

/// Describes an instance. Made by [`Agent::builder`].
#[derive(Clone, Debug)]
#[must_use = "nothing happens before `attach`"]
pub struct Builder {
    control_plane: String,
    service: String,
    instance_id: Option<String>,
    version: String,
    zone: String,
    address: String,
    labels: BTreeMap<String, String>,
    spec: ServiceSpec,
    lease_ttl: Option<Duration>,
    lifecycle: Lifecycle,
    components: Vec<Component>,
    #[cfg(feature = "tls")]
    tls: Option<Tls>,
    token: Option<Token>,
    plaintext_token: bool,
}

/// Why an instance cannot be attached. All of it is known at once; an absent control plane is not among
/// it.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum AttachError {
    /// What was given to the builder is not right.
    #[error("cannot attach: {}", problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Invalid {
        /// Everything that is wrong.
        problems: Vec<Problem>,
    },
    /// `attach` was called outside of a tokio runtime.
    #[error("cannot attach: no tokio runtime; call attach from within one")]
    NoRuntime,
}

/// One thing that is wrong with what was given to the builder.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problem {
    /// Which field: `components[1].name`.
    pub field: String,
    /// What is wrong, and what would be right.
    pub problem: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.field, self.problem)
    }
}

impl Builder {
    pub(crate) fn new(control_plane: String, service: String) -> Self {
        Self {
            control_plane,
            service,
            instance_id: None,
            version: String::new(),
            zone: String::new(),
            address: String::new(),
            labels: BTreeMap::new(),
            spec: ServiceSpec::new(),
            lease_ttl: None,
            lifecycle: Lifecycle::Ready,
            components: Vec::new(),
            #[cfg(feature = "tls")]
            tls: None,
            token: None,
            plaintext_token: false,
        }
    }

    /// Id of this instance, unique in its service: letters, digits, `.`, `_` and `-`, up to 128.
    /// Default: host name, process id and a random part, so that every process has its own.
    pub fn instance_id(mut self, id: impl Into<String>) -> Self {
        self.instance_id = Some(id.into());
        self
    }

    /// Version of the software, up to 128 characters.
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.version = version.into();
        self
    }

    /// Failure domain it runs in, up to 63 characters: `eu-west-1a`.
    pub fn zone(mut self, zone: impl Into<String>) -> Self {
        self.zone = zone.into();
        self
    }

    /// Where others reach it, `host:port`. Shown in service discovery.
    pub fn address(mut self, address: impl Into<String>) -> Self {
        self.address = address.into();
        self
    }

    /// Adds a label; at most 32, keys up to 63 and values up to 256 bytes.
    pub fn label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(key.into(), value.into());
        self
    }

    /// Declares what the service needs and promises. Replaces what was declared before, by
    /// [`depends_on`](Builder::depends_on) too.
    pub fn spec(mut self, spec: ServiceSpec) -> Self {
        self.spec = spec;
        self
    }

    /// Names a service without which this one cannot do its work.
    pub fn depends_on(mut self, service: impl Into<String>) -> Self {
        self.spec = self.spec.depends_on(service);
        self
    }

    /// Adds a component; at most 64.
    pub fn component(mut self, component: Component) -> Self {
        self.components.push(component);
        self
    }

    /// How long the lease lives without a sign of life. Default: what the control plane thinks right
    /// (15 s); 2 s to 10 min.
    pub fn lease_ttl(mut self, ttl: Duration) -> Self {
        self.lease_ttl = Some(ttl);
        self
    }

    /// Begins as [`Lifecycle::Starting`]: not ready until the service says
    /// [`set_lifecycle(Lifecycle::Ready)`](Handle::set_lifecycle). Default: ready at once.
    pub fn starting(mut self) -> Self {
        self.lifecycle = Lifecycle::Starting;
        self
    }

    /// Whom to trust at an `https://` control plane, and the certificate that this instance shows there. Needed where
    /// the address is `https://`.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// The token that proves to the control plane whose instance this is. Made by
    /// `seaworthy token create NAME --role service --service SERVICE`.
    pub fn token(mut self, token: Token) -> Self {
        self.token = Some(token);
        self
    }

    /// Lets the token go over plain `http://` beyond loopback. Whoever is on the way can read and use it, unless the
    /// network itself is encrypted. Default: such an attachment is refused.
    pub fn allow_plaintext_token(mut self) -> Self {
        self.plaintext_token = true;
        self
    }

    /// Attaches the instance. Returns at once: connecting, checking and reporting go on in the
    /// background, on the current tokio runtime, whether or not the control plane is there.
    ///
    /// # Errors
    /// Something that was given cannot be right, or there is no tokio runtime.
    pub fn attach(self) -> Result<Agent, AttachError> {
        let transport = validate::checked(&self)?;
        let runtime = tokio::runtime::Handle::try_current().map_err(|_| AttachError::NoRuntime)?;
        let instance_id = self.instance_id.clone().unwrap_or_else(names::instance_id);
        let identity = Identity {
            service: self.service.clone(),
            instance_id: instance_id.clone(),
            version: self.version.clone(),
        };
        let registration = Arc::new(self.registration(instance_id));
        let parts = self.components.iter().filter_map(|it| Some((it.name.clone(), it.part()?))).collect();
        let directives = Directives::new(&transport, &runtime, &registration, parts);
        // What the control plane checks is not this process's to say.
        let own: Vec<Component> = self.components.into_iter().filter(Component::is_own).collect();
        let board = Board::new(Arc::new(identity), self.lifecycle, &own);
        let (status, watched) = watch::channel(Status::Connecting);
        let (stop, stopped) = oneshot::channel();
        let checks = run_components(&board, own);
        let ruled = Ruled::new(&registration.service, &registration.instance_id);
        ruled.operations.set_lifecycle(self.lifecycle);
        let (told, rule) = (board.clone(), ruled.clone());
        let keeper = Keeper { transport, registration, board: told, ruled: rule, status, checks, directives };
        // It ends by itself, soon after the agent is dropped: dropping leaves.
        rt::spawn_detached(&runtime, keeper.run(stopped));
        Ok(Agent::new(Handle::new(board, ruled, watched), stop))
    }

    fn registration(&self, instance_id: String) -> Registration {
        Registration {
            service: self.service.clone(),
            instance_id,
            version: self.version.clone(),
            zone: self.zone.clone(),
            address: self.address.clone(),
            labels: self.labels.clone().into_iter().collect(),
            components: self.components.iter().map(Component::to_wire).collect(),
            declared_spec: self.spec.to_wire(),
            lease_ttl: self.lease_ttl.and_then(|ttl| ttl.try_into().ok()),
            // Filled in when it registers.
            lifecycle: 0,
        }
    }
}

fn run_components(board: &Board, components: Vec<Component>) -> Vec<rt::Task<()>> {
    let phase = rt::random();
    let run = |(position, component): (usize, Component)| {
        let Component { interval, timeout, check, expires_after, .. } = component;
        let pace = Pace { interval, timeout: timeout.unwrap_or(interval), phase };
        match check {
            Some(check) => rt::spawn(runner::run_check(board.clone(), position, check, pace)),
            None => rt::spawn(runner::repeat_pushed(board.clone(), position, expires_after, pace)),
        }
    };
    components.into_iter().enumerate().map(run).collect()
}
