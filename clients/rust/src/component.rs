//! A named part of an instance, as the service declares it: who answers for its health, how often, and
//! how much it matters, and how it is backed up.

use std::{future::Future, num::NonZeroU32, sync::Arc, time::Duration};

use crate::{
    ActiveCheck, Check, IntoCheck,
    backup::{
        self, Backup, CaptureWriter, Evidence, Functions, Part, RestoreReader, Restored, STALLS_AFTER,
        Settings, Source,
    },
    proto::seaworthy::v1::{self as wire},
    rules::Thresholds,
};

/// How often a component reports where nothing else was said.
pub(crate) const DEFAULT_INTERVAL: Duration = Duration::from_secs(5);
/// Good reports in a row until it counts as good again, where nothing else was said.
const DEFAULT_PASS_THRESHOLD: u32 = 1;

/// A named part of an instance: a database, a cache, a disk, a dependency.
///
/// Its health is either checked, by [`check`](Component::check), or pushed by the service, with
/// [`Handle::push`](crate::Handle::push). A pushed report stands until the next one: the library
/// repeats it to the control plane at the interval.
///
/// ```
/// use seaworthy_client::{Component, checks};
///
/// let disk = Component::new("disk").check(checks::disk_space("/var/lib/orders", 1 << 30));
/// let queue = Component::new("queue").kind("kafka").essential().depends_on("disk");
/// ```
#[derive(Clone, Debug)]
#[must_use = "a component counts when it is given to the builder"]
pub struct Component {
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) essential: bool,
    pub(crate) depends_on: Vec<String>,
    pub(crate) check: Option<Check>,
    pub(crate) active_check: Option<ActiveCheck>,
    pub(crate) interval: Duration,
    pub(crate) timeout: Option<Duration>,
    pub(crate) expires_after: Option<Duration>,
    pub(crate) fail_threshold: Option<u32>,
    pub(crate) pass_threshold: u32,
    pub(crate) backup: Option<Part>,
    pub(crate) capture: Settings,
    pub(crate) without_health: bool,
}

impl Component {
    /// A component whose health is pushed. The name is a DNS label, unique in the instance.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            kind: String::new(),
            essential: false,
            depends_on: Vec::new(),
            check: None,
            active_check: None,
            interval: DEFAULT_INTERVAL,
            timeout: None,
            expires_after: None,
            fail_threshold: None,
            pass_threshold: DEFAULT_PASS_THRESHOLD,
            backup: None,
            capture: Settings::default(),
            without_health: false,
        }
    }

    /// What kind of thing it is, free text of up to 63 characters: `sqlite`, `redis`, `disk`.
    pub fn kind(mut self, kind: impl Into<String>) -> Self {
        self.kind = kind.into();
        self
    }

    /// Says that the instance is useless without it: while it is unhealthy, so is the instance. A
    /// problem of any other component makes the instance degraded.
    pub fn essential(mut self) -> Self {
        self.essential = true;
        self
    }

    /// Names another component of this instance that this one needs. Where both have problems, the one
    /// that is needed is shown as the cause.
    pub fn depends_on(mut self, component: impl Into<String>) -> Self {
        self.depends_on.push(component.into());
        self
    }

    /// Gives it a check: an async function, or one of the ready-made [`checks`](crate::checks). It is
    /// called at once and then at the [`interval`](Component::interval), never twice at a time. A check
    /// that panics or does not answer in time is unhealthy.
    pub fn check(mut self, check: impl IntoCheck) -> Self {
        self.check = Some(check.into_check());
        self
    }

    /// Lets the control plane find out how it is, by asking over the network. The service then says nothing
    /// of it: it cannot be pushed, and is not part of the [local health](crate::Handle::health). How often it
    /// is asked is the check's own [`interval`](ActiveCheck::interval).
    ///
    /// ```
    /// use seaworthy_client::{ActiveCheck, Component};
    ///
    /// let api = Component::new("api").essential().active_check(ActiveCheck::http(8080, "/health"));
    /// ```
    pub fn active_check(mut self, check: ActiveCheck) -> Self {
        self.active_check = Some(check);
        self
    }

    /// How often it is checked, or repeated where it is pushed. Default 5 s; 1 s to 1 h.
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// How long its check may take. Default: the interval.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// How old a pushed report may become. After that the component is unhealthy until the next one is
    /// pushed: a watchdog for a loop that pushes as it goes. Default: it stands for ever.
    pub fn expires_after(mut self, age: Duration) -> Self {
        self.expires_after = Some(age);
        self
    }

    /// How many bad reports in a row make it count as bad. Default: 3 where it is checked; 1 where it
    /// is pushed, for who pushes has already decided. 1 to 100.
    pub fn fail_threshold(mut self, reports: u32) -> Self {
        self.fail_threshold = Some(reports);
        self
    }

    /// How many good reports in a row make it count as good again. Default 1; 1 to 100.
    pub fn pass_threshold(mut self, reports: u32) -> Self {
        self.pass_threshold = reports;
        self
    }

    /// Says that nobody reports its health, so that it does not count there: for what is only backed up. It cannot be pushed, and
    /// is not part of the [local health](crate::Handle::health). Default: a component of which nothing is heard is unknown.
    pub fn without_health(mut self) -> Self {
        self.without_health = true;
        self
    }

    /// Lets the control plane capture and restore it: by a [`Backup`] of the service's own, or a ready-made one as
    /// [`backup::File`].
    pub fn backup(self, backup: impl Backup) -> Self {
        self.backed_up_by(backup)
    }

    /// The same by two async functions, where there is nothing more to say: one writes the whole state, the other reads it
    /// to the end and puts it in place. What they answer means what it does for [`Backup`].
    ///
    /// ```
    /// use seaworthy_client::{Component, backup::Evidence};
    /// use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    ///
    /// let flags = Component::new("flags").backup_with(
    ///     |mut into| async move {
    ///         into.write_all(b"dark-mode\n").await?;
    ///         Ok(Evidence::new().with("flags", 1))
    ///     },
    ///     |mut from, _| async move {
    ///         let mut flags = String::new();
    ///         from.read_to_string(&mut flags).await?;
    ///         println!("{flags}"); // only now put in place
    ///         Ok(())
    ///     },
    /// );
    /// ```
    pub fn backup_with<CF, RF>(
        self,
        capture: impl Fn(CaptureWriter) -> CF + Send + Sync + 'static,
        restore: impl Fn(RestoreReader, Restored) -> RF + Send + Sync + 'static,
    ) -> Self
    where
        CF: Future<Output = Result<Evidence, backup::Error>> + Send + 'static,
        RF: Future<Output = Result<(), backup::Error>> + Send + 'static,
    {
        self.backed_up_by(Functions { capture, restore })
    }

    /// Whether this process says how it is.
    pub(crate) fn is_own(&self) -> bool {
        self.active_check.is_none() && !self.without_health
    }

    fn backed_up_by(mut self, source: impl Source + 'static) -> Self {
        self.backup = Some(Part { source: Arc::new(source), quiesces: false, stalls_after: STALLS_AFTER });
        self
    }

    /// Says that each instance has a state of its own, so that each is captured. Default: all share one, and a capture of any
    /// is enough.
    pub fn capture_from_each(mut self) -> Self {
        self.capture.from_each = true;
        self
    }

    /// Says that its state is written in pages of this many bytes, in place and never shifted, as databases do: then a changed page
    /// costs about that in the next backup. A power of two, 4 KiB to 1 MiB. Default: it is cut by content.
    pub fn pages(mut self, bytes: u32) -> Self {
        self.capture.page_bytes = Some(bytes);
        self
    }

    /// Says that its state is compressed or encrypted already, so that nobody tries. Default: what can be compressed is.
    pub fn incompressible(mut self) -> Self {
        self.capture.incompressible = true;
        self
    }

    /// Says that it can hold still ([`Backup::quiesce`]) while other components of the service are captured. Default: it is
    /// never asked.
    pub fn quiesces(mut self) -> Self {
        self.capture.quiesces = true;
        self
    }

    /// After how long its capture, its restore or its verification counts as hung: when it has neither moved a byte nor answered. It is
    /// dropped then, and has failed. Default 1 h; 5 min to 24 h. More is for what works long on what it has read; a restore is given up by
    /// the control plane, whatever is said here, when nothing of it was asked for in 75 minutes, or nothing said of it for 150 minutes
    /// after all of it had come.
    pub fn stalls_after(mut self, time: Duration) -> Self {
        self.capture.stalls_after = Some(time);
        self
    }

    /// What directives about it work with.
    pub(crate) fn part(&self) -> Option<Part> {
        let Settings { quiesces, stalls_after, .. } = self.capture;
        let stalls_after = stalls_after.unwrap_or(STALLS_AFTER);
        self.backup.clone().map(|part| Part { quiesces, stalls_after, ..part })
    }

    fn capabilities(&self) -> Vec<i32> {
        let health = [wire::Capability::Health.into()].into_iter().filter(|_| !self.without_health);
        let backup = [wire::Capability::Backup.into(), wire::Capability::Restore.into()];
        health.chain(backup.into_iter().filter(|_| self.backup.is_some())).collect()
    }

    pub(crate) fn thresholds(&self) -> Thresholds {
        // The builder refuses zero; before that it counts as one.
        let reports = |number| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
        let default = if self.check.is_some() || self.active_check.is_some() {
            Thresholds::DEFAULT.fail
        } else {
            NonZeroU32::MIN
        };
        Thresholds { fail: self.fail_threshold.map_or(default, reports), pass: reports(self.pass_threshold) }
    }

    pub(crate) fn to_wire(&self) -> wire::Component {
        let Thresholds { fail, pass } = self.thresholds();
        wire::Component {
            name: self.name.clone(),
            kind: self.kind.clone(),
            essential: self.essential,
            depends_on: self.depends_on.clone(),
            capabilities: self.capabilities(),
            report_interval: match &self.active_check {
                None => self.interval.try_into().ok(),
                // It follows the check's.
                Some(_) => None,
            },
            fail_threshold: fail.get(),
            pass_threshold: pass.get(),
            check: self.active_check.as_ref().map(ActiveCheck::to_wire),
            capture: self.backup.as_ref().map(|_| self.capture.to_wire()),
        }
    }
}
