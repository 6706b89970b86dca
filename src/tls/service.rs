//! Looks at the files again and again, and publishes what they hold.
//!
//! What is wrong is not taken: the last good ones stay in force, and the log, the figures and the readiness report say
//! so. Files that belong together are rarely changed at once, so that what does not fit is looked at twice before it
//! is told.

use std::{fmt, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    sync::{Notify, watch},
    time::sleep,
};
use tracing::{error, info, warn};

use super::{
    credentials::Credentials,
    files::{Files, Stamps},
    material::Material,
};
use crate::{
    config::{self, ClientAuth},
    error::{Chain, Error, Result},
    task::{self, drain},
    time::Clock,
};

/// Time between two looks at the files.
const EVERY: Duration = Duration::from_millis(500);
/// How long a look may take before it counts as a problem: their file system hangs.
const PATIENCE: Duration = Duration::from_secs(10);
/// Looks in a row that have to find something wrong until that is told.
const SURE: u32 = 2;
/// Looks after which what was wrong is read again, even if the files look as they did: it may have been the time.
const AGAIN: u32 = 20;

/// What to read.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which files, and whether a client must show a certificate.
    pub config: config::Tls,
    /// The time.
    pub clock: Clock,
}

/// How the reading of the files goes.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Status {
    /// Why what is on the disk now is not in force. None: it is.
    pub problem: Option<String>,
    /// Changes that were taken since the start.
    pub taken: u64,
    /// Changes that were refused since the start.
    pub refused: u64,
}

/// Gives what is in force. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    credentials: watch::Receiver<Arc<Credentials>>,
    status: watch::Receiver<Status>,
    look: Arc<Notify>,
}

impl Handle {
    /// What is in force now.
    pub fn credentials(&self) -> Arc<Credentials> {
        Arc::clone(&self.credentials.borrow())
    }

    /// Follows what is in force.
    pub fn follow(&self) -> watch::Receiver<Arc<Credentials>> {
        self.credentials.clone()
    }

    /// How the reading goes.
    pub fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    /// Has the files read at once, however they look.
    pub fn look_now(&self) {
        self.look.notify_one();
    }
}

/// Reads the files. None: nothing is to be encrypted. Blocks.
///
/// # Errors
/// `TlsUnusable`, naming the setting, the file and what is wrong.
pub fn open(options: Options) -> Result<Option<(Handle, Service)>> {
    let Options { config, clock } = options;
    let Some(files) = Files::of(&config)? else { return Ok(None) };
    let stamps = files.stamps();
    let contents = files.read()?;
    let material = Material::of(&files, &contents, clock.now().wall)?;
    tell_doubts(&material.doubts);
    let credentials = Arc::new(Credentials::of(material, config.client_auth, clock, None)?);
    let (publish, follow) = watch::channel(Arc::clone(&credentials));
    let (tell, status) = watch::channel(Status::default());
    let look = Arc::new(Notify::new());
    let reader = Reader {
        files,
        client_auth: config.client_auth,
        clock,
        credentials,
        digest: contents.digest(),
        stamps,
        wrong: 0,
        refused: None,
        since_read: 0,
    };
    let handle = Handle { credentials: follow, status, look: Arc::clone(&look) };
    Ok(Some((handle, Service { reader: Arc::new(Mutex::new(reader)), publish, tell, look })))
}

/// Looks at the files for as long as it runs.
pub struct Service {
    reader: Arc<Mutex<Reader>>,
    publish: watch::Sender<Arc<Credentials>>,
    tell: watch::Sender<Status>,
    look: Arc<Notify>,
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").field("status", &*self.tell.borrow()).finish_non_exhaustive()
    }
}

impl Service {
    /// Runs until the drain begins.
    pub async fn run(self, mut drain: drain::Watch) {
        tokio::select! {
            () = drain.begun() => {}
            () = self.follow() => {}
        }
    }

    async fn follow(&self) {
        // After a look that did not come to its end it is not known what was found last.
        let mut is_unsure = false;
        loop {
            let is_asked = tokio::select! {
                () = self.look.notified() => true,
                () = sleep(EVERY) => is_unsure,
            };
            is_unsure = false;
            let reader = Arc::clone(&self.reader);
            let looking = task::blocking("tls files", move || reader.lock().look(is_asked));
            let mut looking = std::pin::pin!(looking);
            let looked = tokio::select! {
                looked = &mut looking => looked,
                () = sleep(PATIENCE) => {
                    self.refuse("their file system does not answer".to_owned());
                    is_unsure = true;
                    looking.await
                }
            };
            match looked {
                Ok(Look::Same) => {}
                Ok(Look::AsInForce) => self.settle(),
                Ok(Look::Taken(credentials)) => self.take(credentials),
                Ok(Look::Refused(wrong)) => self.refuse(Chain(&wrong).to_string()),
                Err(ended) => {
                    is_unsure = true;
                    self.refuse(ended.to_string());
                }
            }
        }
    }

    fn take(&self, credentials: Arc<Credentials>) {
        self.publish.send_replace(credentials);
        self.tell.send_modify(|status| {
            status.problem = None;
            status.taken += 1;
        });
        info!(
            component = "tls",
            operation = "reload",
            "certificates, authorities and revocation lists read again"
        );
    }

    /// What is on the disk is what is in force: it was put back.
    fn settle(&self) {
        let was_wrong = self.tell.send_if_modified(|status| status.problem.take().is_some());
        if was_wrong {
            info!(
                component = "tls",
                operation = "reload",
                "the files of TLS are again those that are in force"
            );
        }
    }

    /// Tells what is wrong with a change.
    fn refuse(&self, problem: String) {
        error!(
            component = "tls",
            operation = "reload",
            error = problem,
            "the files of TLS are not usable; the last good ones stay in force"
        );
        self.tell.send_modify(|status| {
            status.problem = Some(problem);
            status.refused += 1;
        });
    }
}

/// What a look at the files has found.
#[derive(Debug)]
enum Look {
    /// Nothing that has to be told.
    Same,
    /// What was read is what is in force.
    AsInForce,
    /// Something new, and good.
    Taken(Arc<Credentials>),
    /// Something that is wrong, for as long as one has to look to be sure.
    Refused(Error),
}

/// Knows what is in force, and what the files looked like when they were read.
struct Reader {
    files: Files,
    client_auth: ClientAuth,
    clock: Clock,
    credentials: Arc<Credentials>,
    digest: blake3::Hash,
    stamps: Stamps,
    /// Looks in a row that found something wrong and were not told.
    wrong: u32,
    /// What was told to be wrong, and how the files looked.
    refused: Option<(Stamps, String)>,
    since_read: u32,
}

impl Reader {
    /// Looks at the files, and reads them if they look different, or if that is asked for. Blocks.
    fn look(&mut self, is_asked: bool) -> Look {
        // Before they are read: what changes meanwhile is seen by the next look.
        let stamps = self.files.stamps();
        self.since_read += 1;
        let is_due = self.refused.is_some() && self.since_read >= AGAIN;
        if stamps == self.stamps && self.wrong == 0 && !is_due && !is_asked {
            return Look::Same;
        }
        self.stamps = stamps;
        self.since_read = 0;
        match self.read() {
            Ok(None) => {
                self.wrong = 0;
                self.refused = None;
                Look::AsInForce
            }
            Ok(Some((digest, credentials))) => {
                self.wrong = 0;
                self.refused = None;
                self.digest = digest;
                self.credentials = Arc::clone(&credentials);
                Look::Taken(credentials)
            }
            Err(error) => {
                self.wrong += 1;
                if self.wrong < SURE && !is_asked {
                    return Look::Same;
                }
                self.wrong = 0;
                let found = Some((stamps, error.to_string()));
                let is_known = self.refused == found && !is_asked;
                self.refused = found;
                if is_known { Look::Same } else { Look::Refused(error) }
            }
        }
    }

    /// What is in the files. None: what is in force.
    fn read(&self) -> Result<Option<(blake3::Hash, Arc<Credentials>)>> {
        let contents = self.files.read()?;
        let digest = contents.digest();
        if digest == self.digest {
            return Ok(None);
        }
        let material = Material::of(&self.files, &contents, self.clock.now().wall)?;
        // A start takes what it has; where something good is in force, what does not count now is no successor.
        if let Some(not_now) = &material.not_now {
            let is_in_force = self.credentials.counts_at(self.clock.now().wall);
            if is_in_force {
                return Err(self.files.cert().unusable(not_now));
            }
        }
        tell_doubts(&material.doubts);
        let new = Credentials::of(material, self.client_auth, self.clock, Some(&self.credentials))?;
        Ok(Some((digest, Arc::new(new))))
    }
}

fn tell_doubts(doubts: &[String]) {
    for doubt in doubts {
        warn!(component = "tls", doubt, "it works, and is probably not meant so");
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::tls::{
        Kind,
        pki::{self, Authority, Leaf},
    };

    struct Watched {
        authority: Authority,
        dir: tempfile::TempDir,
        files: pki::Files,
        handle: Handle,
        service: Service,
    }

    impl Watched {
        fn new() -> Self {
            let (authority, dir) = (Authority::new("ours"), tempfile::tempdir().unwrap());
            let files = pki::Files::new(dir.path(), &authority);
            let config = config::Tls {
                cert_file: Some(files.cert.clone()),
                key_file: Some(files.key.clone()),
                client_ca_file: Some(files.client_ca.clone()),
                crl_file: Some(files.crl.clone()),
                client_auth: ClientAuth::Optional,
            };
            let (handle, service) = open(Options { config, clock: Clock::start() }).unwrap().unwrap();
            Self { authority, dir, files, handle, service }
        }

        /// So many looks in a row: what each found.
        fn looks<const N: usize>(&self) -> [&'static str; N] {
            std::array::from_fn(|_| match self.service.reader.lock().look(false) {
                Look::Same => "same",
                Look::AsInForce => "as in force",
                Look::Taken(_) => "taken",
                Look::Refused(_) => "refused",
            })
        }

        fn renew(&self) -> pki::Issued {
            self.authority.issue(&Leaf::server())
        }
    }

    #[test]
    fn what_changes_is_taken_once_and_what_does_not_fit_is_looked_at_twice() {
        let watched = Watched::new();
        assert_eq!(watched.looks(), ["same", "same"]);
        watched.files.renew(&watched.renew());
        assert_eq!(watched.looks(), ["taken", "same"]);

        // The key comes first, and its certificate before anybody is sure.
        let next = watched.renew();
        pki::put(&watched.files.key, &next.key);
        assert_eq!(watched.looks(), ["same"]);
        pki::put(&watched.files.cert, &next.cert);
        assert_eq!(watched.looks(), ["taken", "same"]);

        // It never comes: told once, and taken once it is there.
        let next = watched.renew();
        pki::put(&watched.files.key, &next.key);
        assert_eq!(watched.looks(), ["same", "refused", "same", "same"]);
        pki::put(&watched.files.cert, &next.cert);
        assert_eq!(watched.looks(), ["taken", "same"]);

        // What is wrong and put back.
        let crl = fs::read_to_string(&watched.files.crl).unwrap();
        fs::remove_file(&watched.files.crl).unwrap();
        assert_eq!(watched.looks(), ["same", "refused", "same"]);
        pki::put(&watched.files.crl, &crl);
        assert_eq!(watched.looks(), ["as in force", "same"]);

        // Written anew with what was in it: that is no change.
        pki::put(&watched.files.crl, &crl);
        assert_eq!(watched.looks(), ["as in force", "same"]);
    }

    #[test]
    fn what_does_not_count_now_is_no_successor_of_what_does() {
        let watched = Watched::new();
        for (begins, ends) in [(3600, 7200), (-7200, -3600)] {
            watched.files.renew(&watched.authority.issue(&Leaf::server().between(begins, ends)));
            assert_eq!(watched.looks(), ["same", "refused"]);
        }
        // Now and then it is read again: it may be its time.
        assert!(watched.looks::<25>().iter().all(|look| *look == "same"), "what is known is not told again");
    }

    #[test]
    #[cfg(unix)]
    fn a_link_that_leads_elsewhere_is_a_change() {
        // As Kubernetes swaps a folder of secrets: a link to a folder is replaced at once.
        let (authority, dir) = (Authority::new("ours"), tempfile::tempdir().unwrap());
        let folder = |name: &str| {
            let folder = dir.path().join(name);
            fs::create_dir(&folder).unwrap();
            pki::Files::new(&folder, &authority);
        };
        let lead_to = |name: &str| {
            std::os::unix::fs::symlink(name, dir.path().join("new")).unwrap();
            fs::rename(dir.path().join("new"), dir.path().join("data")).unwrap();
        };
        folder("one");
        folder("two");
        lead_to("one");
        for file in ["cert.pem", "key.pem"] {
            let link = dir.path().join(file);
            std::os::unix::fs::symlink(format!("data/{file}"), link).unwrap();
        }
        let config = config::Tls {
            cert_file: Some(dir.path().join("cert.pem")),
            key_file: Some(dir.path().join("key.pem")),
            ..config::Tls::default()
        };
        let (_handle, service) = open(Options { config, clock: Clock::start() }).unwrap().unwrap();
        assert!(matches!(service.reader.lock().look(false), Look::Same));
        lead_to("two");
        assert!(matches!(service.reader.lock().look(false), Look::Taken(_)));
    }

    #[test]
    fn clients_are_verified_by_the_same_where_nothing_changed_about_them() {
        let watched = Watched::new();
        let clients = |look| match look {
            Look::Taken(credentials) => credentials.clients.clone().unwrap(),
            other => panic!("{other:?}"),
        };
        let before = watched.handle.credentials().clients.clone().unwrap();
        watched.files.renew(&watched.renew());
        let after = clients(watched.service.reader.lock().look(false));
        assert!(Arc::ptr_eq(&before, &after));
        pki::put(&watched.files.crl, &watched.authority.revokes(&[], 3600));
        let after = clients(watched.service.reader.lock().look(false));
        assert!(!Arc::ptr_eq(&before, &after));
    }

    #[tokio::test]
    async fn it_publishes_what_is_good_and_keeps_it_when_something_is_wrong() {
        let watched = Watched::new();
        let Watched { authority, dir: _dir, files, handle, service } = watched;
        let (_signal, drain) = drain::channel();
        let _running = task::spawn("tls", task::OnEnd::Fine, service.run(drain));
        let mut status = handle.status.clone();
        let mut until = async |wanted: fn(&Status) -> bool| {
            let reached = tokio::time::timeout(Duration::from_secs(20), status.wait_for(wanted)).await;
            reached.expect("in time").expect("it runs").clone()
        };
        let ends = |handle: &Handle| {
            let credentials = handle.credentials();
            credentials.expiries.iter().find(|one| one.kind == Kind::Server).unwrap().not_after
        };
        let first = ends(&handle);
        files.renew(&authority.issue(&Leaf::server().between(-60, 7200)));
        until(|status| status.taken == 1).await;
        let second = ends(&handle);
        assert!(second < first);

        pki::put(&files.cert, "nothing");
        let wrong = until(|status| status.problem.is_some()).await;
        assert!(wrong.problem.is_some_and(|problem| problem.contains("cert.pem (tls.cert_file)")));
        assert_eq!((wrong.taken, wrong.refused, ends(&handle)), (1, 1, second));

        // Whoever asks need not wait for a file to look different.
        handle.look_now();
        until(|status| status.refused == 2).await;
        files.renew(&authority.issue(&Leaf::server().between(-60, 3600)));
        let good = until(|status| status.problem.is_none()).await;
        assert_eq!((good.taken, good.refused), (2, 2));
        assert!(ends(&handle) < second);
    }
}
