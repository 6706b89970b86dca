//! The production-readiness report: a list of checks, each judged from facts alone.

use std::{path::PathBuf, time::SystemTime};

use crate::{
    store::Trouble,
    text::counted,
    tls::expiry::{Expiry, Left, shown},
};

/// How a check came out. Worse is greater.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Outcome {
    /// As it should be.
    Pass,
    /// Works, but would not be right in production.
    Warn,
    /// Does not work, or must not be used in production.
    Fail,
}

impl Outcome {
    /// The word for people, wherever they read it: `pass`.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Pass => "pass",
            Outcome::Warn => "warn",
            Outcome::Fail => "fail",
        }
    }
}

/// One check.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Check {
    /// Stable id: `store.writable`.
    pub id: &'static str,
    /// What is checked, in a few words.
    pub title: &'static str,
    /// How it came out.
    pub outcome: Outcome,
    /// What was found.
    pub message: String,
    /// What to do; empty when it passed.
    pub hint: String,
}

/// What is known of the file system that the data folder is on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Disk {
    /// Bytes that are free; None if that cannot be read.
    pub free: Option<u64>,
    /// Whether it is in memory, and gone after a reboot; None if that cannot be read.
    pub volatile: Option<bool>,
}

/// What is judged.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Where data is.
    pub data_dir: PathBuf,
    /// The file system there; None if it did not answer.
    pub disk: Option<Disk>,
    /// Whether the store takes writes.
    pub store_writable: bool,
    /// Why it takes none, where its medium is the reason.
    pub store_trouble: Option<Trouble>,
    /// Why the audit cannot be written; None where it can.
    pub audit_trouble: Option<String>,
    /// What this start has found wrong with the end of the audit.
    pub audit_broken: Option<String>,
    /// The entry in which an earlier start has said that it found the audit broken.
    pub audit_broken_before: Option<u64>,
    /// Whether any port is open beyond this machine.
    pub beyond_loopback: bool,
    /// What is wrong with the rule file; None: nothing, or there is none.
    pub rules_trouble: Option<String>,
    /// Instances that are registered.
    pub instances: u64,
    /// The most that are allowed.
    pub max_instances: u64,
    /// Instances that are lost.
    pub lost: u64,
    /// Files that the process may have open; None if that cannot be read.
    pub open_files: Option<u64>,
    /// Connections that the configuration allows on all listeners.
    pub max_connections: u64,
    /// Whether the control plane is on its way down.
    pub stopping: bool,
    /// Id of the key of the vault, where nobody has said that it is kept elsewhere too.
    pub key_unconfirmed: Option<String>,
    /// Whether callers have to prove who they are.
    pub auth_required: bool,
    /// How connections are encrypted; None if they are not.
    pub tls: Option<Encrypted>,
    /// The time.
    pub now: SystemTime,
}

/// What connections are encrypted with.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Encrypted {
    /// Why the files on the disk are not what is in force; None: they are.
    pub problem: Option<String>,
    /// What expires first, of each kind.
    pub expiries: Vec<Expiry>,
}

const MIB: u64 = 1024 * 1024;
/// Less free space than this is a problem now.
const DISK_FAIL: u64 = 256 * MIB;
/// Less free space than this will be a problem soon.
const DISK_WARN: u64 = 2048 * MIB;
/// What to do about a file system that says nothing.
const HANGS: &str = "look at what the data folder is on: a disk that is broken, or a network that is gone";
/// A fleet is nearly full from this share of its bound, in percent.
const NEARLY_FULL: u64 = 80;
/// Files that the process needs besides connections.
const OTHER_FILES: u64 = 64;

/// Every check, from the facts.
pub fn report(facts: &Facts) -> Vec<Check> {
    let mut checks = vec![
        phase(facts),
        writable(facts),
        space(facts),
        volatile(facts),
        audit_writable(facts),
        audit_chain(facts),
        transport(facts),
        identity(facts),
        rules(facts),
        key(facts),
        capacity(facts),
        lost(facts),
        files(facts),
    ];
    if let Some(tls) = &facts.tls {
        checks.extend([tls_files(tls), tls_expiry(tls, facts.now)]);
    }
    checks
}

/// The worst of all checks.
pub fn worst(checks: &[Check]) -> Outcome {
    checks.iter().map(|check| check.outcome).max().unwrap_or(Outcome::Pass)
}

fn check(id: &'static str, title: &'static str, judged: (Outcome, String, &str)) -> Check {
    let (outcome, message, hint) = judged;
    let hint = if outcome == Outcome::Pass { String::new() } else { hint.to_owned() };
    Check { id, title, outcome, message, hint }
}

fn phase(facts: &Facts) -> Check {
    let judged = if facts.stopping {
        (Outcome::Fail, "it is stopping".to_owned(), "wait for its successor, or start it again")
    } else {
        (Outcome::Pass, "it serves".to_owned(), "")
    };
    check("server.running", "control plane serves", judged)
}

fn writable(facts: &Facts) -> Check {
    let judged = match (facts.store_writable, facts.store_trouble) {
        (true, _) => (Outcome::Pass, "the store takes writes".to_owned(), ""),
        (false, None) => (
            Outcome::Fail,
            "the store takes no writes; reading goes on".to_owned(),
            "it is closing: start the control plane again",
        ),
        (false, Some(trouble)) => {
            let message =
                format!("the store takes no writes: {trouble}; reading goes on, writing resumes by itself");
            (Outcome::Fail, message, trouble.remedy())
        }
    };
    check("store.writable", "store takes writes", judged)
}

fn key(facts: &Facts) -> Check {
    let hint = "keep a copy of the key elsewhere, look at the copy with `seaworthy key show --key-file COPY`, then say so with `seaworthy key confirm`";
    let judged = match &facts.key_unconfirmed {
        None => (Outcome::Pass, "the key of the vault is kept elsewhere too".to_owned(), ""),
        Some(id) => (
            Outcome::Fail,
            format!(
                "nobody has said that the key {id} is kept elsewhere than on this machine: with the machine every backup would be lost"
            ),
            hint,
        ),
    };
    check("vault.key", "key of backups is kept elsewhere", judged)
}

fn space(facts: &Facts) -> Check {
    let dir = facts.data_dir.display();
    let hint = "free space, or move the data folder with --data-dir while the control plane is stopped";
    let judged = match facts.disk.map(|disk| disk.free) {
        None => (Outcome::Fail, format!("the file system of {dir} does not answer"), HANGS),
        Some(None) => (Outcome::Warn, format!("cannot tell how much space is free in {dir}"), hint),
        Some(Some(free)) => {
            let outcome = match free {
                0..DISK_FAIL => Outcome::Fail,
                DISK_FAIL..DISK_WARN => Outcome::Warn,
                _ => Outcome::Pass,
            };
            (outcome, format!("{} MiB are free in {dir}", free / MIB), hint)
        }
    };
    check("store.space", "disk has space", judged)
}

fn volatile(facts: &Facts) -> Check {
    let dir = facts.data_dir.display();
    let judged = match facts.disk.map(|disk| disk.volatile) {
        None => (Outcome::Warn, format!("the file system of {dir} does not answer"), HANGS),
        Some(None) => (
            Outcome::Warn,
            format!("cannot tell what {dir} is on"),
            "see that the folder is on a disk: what is in memory is gone after a reboot",
        ),
        Some(Some(true)) => (
            Outcome::Warn,
            format!("{dir} is in memory"),
            "put the data folder on a disk: a reboot forgets the fleet",
        ),
        Some(Some(false)) => (Outcome::Pass, format!("{dir} is on a disk"), ""),
    };
    check("store.durable", "data survives a reboot", judged)
}

fn audit_writable(facts: &Facts) -> Check {
    let judged = match (&facts.audit_trouble, facts.store_writable) {
        (Some(trouble), _) => (Outcome::Fail, format!("changes are refused: {trouble}")),
        (None, false) => (Outcome::Fail, "changes are refused: the store takes no writes".to_owned()),
        (None, true) => (Outcome::Pass, "what is done is written down".to_owned()),
    };
    let hint = "see that store and audit.file can be written; changes are taken again by themselves";
    check("audit.writable", "audit can be written", (judged.0, judged.1, hint))
}

fn audit_chain(facts: &Facts) -> Check {
    let hint = "run `seaworthy audit verify`, and compare with the exported file: somebody has written to the data folder";
    let judged = match (&facts.audit_broken, facts.audit_broken_before) {
        (Some(found), _) => (Outcome::Fail, format!("the audit is not as it was written: {found}"), hint),
        (None, Some(entry)) => {
            (Outcome::Warn, format!("an earlier start has found the audit broken, says entry {entry}"), hint)
        }
        (None, None) => (Outcome::Pass, "its newest entry is as it was written".to_owned(), hint),
    };
    check("audit.chain", "audit is as it was written", judged)
}

fn transport(facts: &Facts) -> Check {
    let judged = match (&facts.tls, facts.beyond_loopback) {
        (Some(_), _) => (Outcome::Pass, "gRPC and HTTP are encrypted".to_owned(), ""),
        (None, false) => (Outcome::Pass, "ports are open on this machine only".to_owned(), ""),
        (None, true) => (
            Outcome::Fail,
            "ports are open beyond this machine, without encryption".to_owned(),
            "set tls.cert_file and tls.key_file (`seaworthy certs init` makes some), listen on loopback behind a proxy \
             that terminates TLS, or keep the network private",
        ),
    };
    check("transport.private", "traffic is private", judged)
}

fn identity(facts: &Facts) -> Check {
    let judged = if facts.auth_required {
        (Outcome::Pass, "callers prove who they are by a certificate or a token".to_owned(), "")
    } else {
        let outcome = if facts.beyond_loopback { Outcome::Fail } else { Outcome::Warn };
        (
            outcome,
            "callers are not authenticated: whoever reaches the port may call".to_owned(),
            "set auth.required = true; until then let only trusted processes reach the ports",
        )
    };
    check("identity.authenticated", "callers prove who they are", judged)
}

fn rules(facts: &Facts) -> Check {
    let judged = match &facts.rules_trouble {
        None => (Outcome::Pass, "the rules in force are those of the file".to_owned(), ""),
        Some(trouble) => (
            Outcome::Fail,
            format!("{trouble}; the last good rules stay in force"),
            "correct the file; it is read again by itself",
        ),
    };
    check("auth.rules", "rules can be used", judged)
}

fn tls_files(tls: &Encrypted) -> Check {
    let judged = match &tls.problem {
        None => (Outcome::Pass, "they are in force as they are on the disk".to_owned(), ""),
        Some(problem) => (
            Outcome::Fail,
            format!("{problem}; the last good ones are in force"),
            "put files there that belong together; they are read within a second",
        ),
    };
    check("tls.files", "files of TLS are usable", judged)
}

/// Judged by what is worst.
fn tls_expiry(tls: &Encrypted, now: SystemTime) -> Check {
    let worst = tls.expiries.iter().max_by_key(|one| one.left(now));
    let judged = match worst.map(|one| (one, one.kind.words(), one.left(now))) {
        None | Some((_, _, Left::Enough)) => {
            let first = tls.expiries.iter().min_by_key(|one| one.not_after);
            let message = first.map(|first| format!("nothing expires before {}", shown(first.not_after)));
            (Outcome::Pass, message.unwrap_or_default(), "")
        }
        Some((one, what, Left::Little)) => {
            (Outcome::Warn, format!("{what} expires at {}", shown(one.not_after)), RENEW)
        }
        Some((one, what, Left::NotYet)) => (
            Outcome::Fail,
            format!("{what} is valid from {} on, which is not yet", shown(one.not_before)),
            "see the clocks of this machine and of the authority",
        ),
        Some((one, what, Left::None)) => {
            (Outcome::Fail, format!("{what} expired at {}", shown(one.not_after)), RENEW)
        }
    };
    check("tls.expiry", "nothing of TLS expires soon", judged)
}

/// What to do about what expires.
const RENEW: &str = "renew it in its file, which is read again by itself";

fn capacity(facts: &Facts) -> Check {
    let Facts { instances, max_instances, .. } = facts;
    let full = instances * 100 >= max_instances * NEARLY_FULL;
    let outcome = if full { Outcome::Warn } else { Outcome::Pass };
    let message = format!("{instances} of {} registered", counted(*max_instances, "instance"));
    check("fleet.capacity", "fleet has room", (outcome, message, "raise fleet.max_instances"))
}

fn lost(facts: &Facts) -> Check {
    let outcome = if facts.lost > 0 { Outcome::Warn } else { Outcome::Pass };
    let message = match facts.lost {
        0 => "no instance is lost".to_owned(),
        1 => "1 instance is lost".to_owned(),
        many => format!("{many} instances are lost"),
    };
    check(
        "fleet.heard",
        "every instance is heard",
        (outcome, message, "see `seaworthy fleet list --lifecycle lost`"),
    )
}

fn files(facts: &Facts) -> Check {
    let wanted = facts.max_connections + OTHER_FILES;
    let hint = "raise the limit of open files (LimitNOFILE=, ulimit -n), or lower grpc.max_connections or http.max_connections";
    let judged = match facts.open_files {
        None => (Outcome::Warn, "cannot tell how many files may be open".to_owned(), hint),
        Some(allowed) => {
            let outcome = if allowed < wanted { Outcome::Warn } else { Outcome::Pass };
            (outcome, format!("{allowed} files may be open, {wanted} are wanted for all connections"), hint)
        }
    };
    check("limits.files", "enough files may be open", judged)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::tls::Kind;

    fn good() -> Facts {
        Facts {
            data_dir: "data".into(),
            disk: disk(Some(100 * DISK_WARN), Some(false)),
            store_writable: true,
            store_trouble: None,
            audit_trouble: None,
            audit_broken: None,
            audit_broken_before: None,
            beyond_loopback: false,
            rules_trouble: None,
            instances: 10,
            max_instances: 1000,
            lost: 0,
            open_files: Some(100_000),
            max_connections: 1000,
            stopping: false,
            key_unconfirmed: None,
            auth_required: false,
            tls: None,
            now: SystemTime::UNIX_EPOCH + 100 * DAY,
        }
    }

    const DAY: Duration = Duration::from_secs(24 * 3600);

    /// Encrypted with what counts for 90 days, of which so many are left.
    #[allow(clippy::unnecessary_wraps)] // as facts have it
    fn tls(left: i64, problem: Option<&str>) -> Option<Encrypted> {
        let begun = u32::try_from(90 - left).unwrap();
        let not_before = good().now - begun * DAY;
        let one = |kind, not_after| Expiry { kind, not_before, not_after };
        let expiries =
            vec![one(Kind::Server, not_before + 90 * DAY), one(Kind::ClientCa, not_before + 3650 * DAY)];
        Some(Encrypted { problem: problem.map(str::to_owned), expiries })
    }

    #[allow(clippy::unnecessary_wraps)] // as facts have it
    fn disk(free: Option<u64>, volatile: Option<bool>) -> Option<Disk> {
        Some(Disk { free, volatile })
    }

    fn outcome(facts: &Facts, id: &str) -> Outcome {
        report(facts).into_iter().find(|check| check.id == id).unwrap().outcome
    }

    #[test]
    fn each_check_can_fail() {
        for (id, facts, expected) in [
            ("server.running", Facts { stopping: true, ..good() }, Outcome::Fail),
            ("auth.rules", Facts { rules_trouble: Some("bad".to_owned()), ..good() }, Outcome::Fail),
            ("vault.key", Facts { key_unconfirmed: Some("ab".to_owned()), ..good() }, Outcome::Fail),
            ("store.writable", Facts { store_writable: false, ..good() }, Outcome::Fail),
            ("store.space", Facts { disk: disk(Some(MIB), Some(false)), ..good() }, Outcome::Fail),
            ("store.space", Facts { disk: disk(Some(DISK_FAIL), Some(false)), ..good() }, Outcome::Warn),
            ("store.space", Facts { disk: disk(None, Some(false)), ..good() }, Outcome::Warn),
            ("store.space", Facts { disk: None, ..good() }, Outcome::Fail),
            ("store.durable", Facts { disk: disk(Some(DISK_WARN), Some(true)), ..good() }, Outcome::Warn),
            ("store.durable", Facts { disk: disk(Some(DISK_WARN), None), ..good() }, Outcome::Warn),
            ("store.durable", Facts { disk: None, ..good() }, Outcome::Warn),
            ("audit.writable", Facts { audit_trouble: Some("full".into()), ..good() }, Outcome::Fail),
            ("audit.writable", Facts { store_writable: false, ..good() }, Outcome::Fail),
            ("audit.chain", Facts { audit_broken: Some("cut".into()), ..good() }, Outcome::Fail),
            ("audit.chain", Facts { audit_broken_before: Some(7), ..good() }, Outcome::Warn),
            ("transport.private", Facts { beyond_loopback: true, ..good() }, Outcome::Fail),
            ("identity.authenticated", Facts { beyond_loopback: true, ..good() }, Outcome::Fail),
            ("fleet.capacity", Facts { instances: 800, ..good() }, Outcome::Warn),
            ("fleet.heard", Facts { lost: 1, ..good() }, Outcome::Warn),
            ("limits.files", Facts { open_files: Some(1024), ..good() }, Outcome::Warn),
            ("tls.files", Facts { tls: tls(60, Some("no key")), ..good() }, Outcome::Fail),
            ("tls.files", Facts { tls: tls(60, None), ..good() }, Outcome::Pass),
            ("tls.expiry", Facts { tls: tls(60, None), ..good() }, Outcome::Pass),
            ("tls.expiry", Facts { tls: tls(13, None), ..good() }, Outcome::Warn),
            ("tls.expiry", Facts { tls: tls(-1, None), ..good() }, Outcome::Fail),
            (
                "tls.expiry",
                Facts { tls: tls(60, None), now: SystemTime::UNIX_EPOCH, ..good() },
                Outcome::Fail,
            ),
        ] {
            assert_eq!(outcome(&facts, id), expected, "{id}");
        }
    }

    #[test]
    fn who_may_hear_and_who_may_call_as_a_table() {
        use Outcome::{Fail, Pass, Warn};
        for (beyond_loopback, encrypted, auth_required, private, authenticated) in [
            (false, false, false, Pass, Warn),
            (false, false, true, Pass, Pass),
            (false, true, false, Pass, Warn),
            (true, false, false, Fail, Fail),
            (true, false, true, Fail, Pass),
            (true, true, false, Pass, Fail),
            (true, true, true, Pass, Pass),
        ] {
            let tls = encrypted.then(|| tls(60, None)).flatten();
            let facts = Facts { beyond_loopback, tls, auth_required, ..good() };
            let case = (beyond_loopback, encrypted, auth_required);
            assert_eq!(outcome(&facts, "transport.private"), private, "{case:?}");
            assert_eq!(outcome(&facts, "identity.authenticated"), authenticated, "{case:?}");
        }
    }

    #[test]
    fn a_store_in_trouble_says_which_and_what_to_do() {
        let facts = Facts { store_writable: false, store_trouble: Some(Trouble::DiskFull), ..good() };
        let check = writable(&facts);
        assert!(check.message.contains("the disk is full"), "{}", check.message);
        assert_eq!(check.hint, "free space on the disk of the data folder");
    }

    #[test]
    fn every_check_that_does_not_pass_says_what_to_do() {
        let bad = Facts {
            disk: disk(Some(0), Some(true)),
            store_writable: false,
            audit_broken: Some("cut".into()),
            beyond_loopback: true,
            rules_trouble: Some("bad".to_owned()),
            key_unconfirmed: Some("ab".to_owned()),
            instances: 1000,
            lost: 5,
            open_files: None,
            stopping: true,
            ..good()
        };
        for check in report(&bad) {
            assert_ne!(check.outcome, Outcome::Pass, "{}", check.id);
            assert!(!check.hint.is_empty(), "{}", check.id);
        }
        assert_eq!(worst(&report(&bad)), Outcome::Fail);
        // Nobody is authenticated, and the report does not pretend otherwise.
        assert_eq!(worst(&report(&good())), Outcome::Warn);
        assert!(
            report(&good()).iter().all(|check| (check.outcome == Outcome::Pass) == check.hint.is_empty())
        );
    }
}
