//! Reading the configuration again while running, on SIGHUP.
//!
//! What may change at once does; what cannot is named in the log. A configuration that is wrong changes
//! nothing: the last good one stays in force, and the log says what is wrong.

use std::sync::Arc;

use tokio::sync::watch;
use tracing::{error, info, warn};

use crate::{
    api::declared,
    audit, checks,
    config::{self, Config, Reloaded},
    error::{Chain, Error, Result},
    fleet,
    guard::access::AccessLog,
    policy,
    probe::permit::Rules,
    task,
    telemetry::log::LogHandle,
    tls,
};

/// Reads the configuration again, given the one in force.
pub type Source = Arc<dyn Fn(&Config) -> Result<Reloaded> + Send + Sync>;

/// What takes on new values.
pub(super) struct Reload {
    pub(super) source: Source,
    pub(super) live: watch::Sender<Arc<Config>>,
    pub(super) fleet: fleet::Handle,
    pub(super) checks: checks::Handle,
    /// Reads its files again as well.
    pub(super) tls: Option<tls::Handle>,
    pub(super) audit: audit::Handle,
    pub(super) access: AccessLog,
    pub(super) policies: policy::Handle,
    pub(super) log: LogHandle,
}

impl Reload {
    /// Runs for as long as the process may be asked.
    ///
    /// # Errors
    /// The operating system does not let us listen.
    #[cfg(unix)]
    pub(super) fn run(self) -> Result<impl Future<Output = ()>> {
        use tokio::signal::unix::{SignalKind, signal};
        let mut hangup = signal(SignalKind::hangup()).map_err(Error::internal)?;
        Ok(async move {
            while hangup.recv().await.is_some() {
                if let Some(tls) = &self.tls {
                    tls.look_now();
                }
                self.once().await;
            }
        })
    }

    /// There is no such signal here.
    ///
    /// # Errors
    /// None.
    #[cfg(not(unix))]
    pub(super) fn run(self) -> Result<impl Future<Output = ()>> {
        Ok(async move {
            let _kept = self;
            std::future::pending::<()>().await;
        })
    }

    async fn once(&self) {
        let (source, current) = (Arc::clone(&self.source), Arc::clone(&self.live.borrow()));
        match task::blocking("reload", move || source(&current)).await {
            Ok(Ok(reloaded)) => self.apply(reloaded),
            Ok(Err(wrong)) => {
                error!(component = "config", operation = "reload", error = %Chain(&wrong), "the configuration is wrong; the last good one stays in force");
            }
            Err(ended) => {
                error!(component = "config", operation = "reload", error = %ended, "could not read the configuration again");
            }
        }
    }

    fn apply(&self, reloaded: Reloaded) {
        let Reloaded { config, changed_keys, needs_restart } = reloaded;
        if changed_keys.contains(&"log_level")
            && let Err(wrong) = self.log.set_level(&config.log_level)
        {
            warn!(component = "config", operation = "reload", error = %Chain(&wrong), "the log level stays as it was");
        }
        self.fleet.set_limits(config.fleet.max_instances.get(), config.fleet.max_services.get());
        self.audit.configure(audit_limits(&config));
        self.access.set_sample(config.access_log.sample);
        self.checks.configure(|options| configure_checks(options, &config));
        let declared =
            declared::policies(&config.policies).and_then(|declared| self.policies.declare(declared));
        if let Err(wrong) = declared {
            warn!(component = "config", operation = "reload", error = %Chain(&wrong), "the policies of the file stay as they were");
        }
        self.live.send_replace(Arc::new(config));
        info!(component = "config", operation = "reload", changed = ?changed_keys, "configuration read again");
        if !needs_restart.is_empty() {
            warn!(component = "config", operation = "reload", keys = ?needs_restart, "these values count only after a restart");
        }
    }
}

/// What the audit keeps, and of what.
pub(super) fn audit_limits(config: &Config) -> audit::Limits {
    let config::Audit { file: _, retention, max_entries, enrolments } = &config.audit;
    audit::Limits { retention: *retention, max_entries: max_entries.get() as u64, enrolments: *enrolments }
}

/// Takes over how checks are made; where the server itself listens stays.
pub(super) fn configure_checks(options: &mut checks::Options, config: &Config) {
    let (peers, networks) = (config.checks.ask_peers, config.checks.allowed_networks.clone());
    options.max_concurrent = config.checks.max_concurrent.get();
    let (own, machine) = (options.rules.own.clone(), options.rules.machine.clone());
    options.rules = Arc::new(Rules { peers, networks, own, machine });
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{probe::machine::Machine, time::Clock};

    #[test]
    fn what_checks_may_ask_changes_and_the_own_ports_stay_closed() {
        let own = "127.0.0.1:50051".parse().unwrap();
        let machine = Machine::new(Clock::start());
        let rules = Rules { peers: true, networks: Vec::new(), own: vec![own], machine };
        let request_timeout = Duration::from_secs(30);
        let rules = Arc::new(rules);
        let mut options = checks::Options { max_concurrent: 128, asks: true, rules, request_timeout };
        let mut config = Config::default();
        config.checks.max_concurrent = std::num::NonZeroUsize::MIN;
        config.checks.allowed_networks = vec!["10.1.0.0/16".parse().unwrap()];
        configure_checks(&mut options, &config);
        assert_eq!(options.max_concurrent, 1);
        assert!(options.rules.permit("10.1.2.3:80".parse().unwrap(), None).is_ok());
        assert!(options.rules.permit(own, Some(own.ip())).is_err());
    }
}
