//! Why a command failed: what is written to the standard error, and which exit code follows.
//!
//! A refusal of the server keeps everything that it said: the message, each wrong field, the reason.

use std::{error::Error as StdError, fmt, io};

use tonic::{Code, Status};
use tonic_types::{ErrorInfo, StatusExt as _};

use super::{
    exit::{Ending, Exit},
    render::restore,
};
use crate::text::clean;

/// What went wrong.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The arguments do not make sense together; found after parsing.
    Usage(String),
    /// The user did not confirm.
    NotConfirmed(String),
    /// No connection, or no answer.
    Unreachable {
        /// Address of the server as the user gave it.
        server: String,
        /// Why, in a few words.
        cause: String,
    },
    /// The two ends do not trust each other, or a file for that cannot be used.
    Distrusted {
        /// Address of the server as the user gave it.
        server: String,
        /// Why, in a sentence.
        cause: String,
    },
    /// What answers there does not speak gRPC.
    WrongPort {
        /// Address of the server as the user gave it.
        server: String,
        /// What it says, if anything.
        says: String,
    },
    /// The server answered with an error.
    Refused {
        /// What was asked of it: `get instance orders/i-1`.
        action: String,
        /// Its answer.
        status: Box<Status>,
    },
    /// Something about a vault that was opened here, without a server.
    Vault {
        /// How the process ends.
        exit: Exit,
        /// What is wrong, in a sentence.
        cause: String,
    },
    /// The configuration is invalid.
    Config(crate::error::Error),
    /// The control plane could not start.
    Start(crate::error::Error),
    /// Something on this machine went wrong.
    Internal(String),
    /// It was told in the log, and the process ends so.
    Told(Exit),
    /// Nobody reads the standard output any more.
    PipeClosed,
    /// Ctrl-C.
    Interrupted,
    /// A view was told to end by another signal.
    Ended(Ending),
}

impl Failure {
    /// What a status means: an answer of the server, or a lost connection to it.
    pub(crate) fn from_status(server: &str, action: &str, status: Status) -> Self {
        if let Some(cause) = wants_encryption(&status) {
            Failure::Distrusted { server: server.to_owned(), cause }
        } else if let Some(says) = wrong_port(&status) {
            Failure::WrongPort { server: server.to_owned(), says }
        } else if is_transport(&status) {
            let cause = innermost(&status);
            Failure::Unreachable { server: server.to_owned(), cause }
        } else {
            Failure::Refused { action: action.to_owned(), status: Box::new(status) }
        }
    }

    /// How the process ends because of it.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Failure::Usage(_) => Exit::Usage,
            Failure::NotConfirmed(_) | Failure::Start(_) => Exit::No,
            Failure::Unreachable { .. } | Failure::Distrusted { .. } | Failure::WrongPort { .. } => {
                Exit::Unreachable
            }
            Failure::Refused { status, .. } => match status.code() {
                Code::NotFound => Exit::NotFound,
                Code::DeadlineExceeded => Exit::Unreachable,
                _ => Exit::Refused,
            },
            Failure::Vault { exit, .. } => *exit,
            Failure::Config(_) => Exit::Config,
            Failure::Internal(_) => Exit::Internal,
            // `seaworthy fleet list | head` has done what it was asked.
            Failure::PipeClosed => Exit::Done,
            Failure::Interrupted => Exit::Interrupted,
            Failure::Ended(ending) => Exit::Ended(*ending),
            Failure::Told(exit) => *exit,
        }
    }

    /// Whether there is nothing to say about it.
    pub(crate) fn is_quiet(&self) -> bool {
        matches!(self, Failure::Told(_) | Failure::PipeClosed | Failure::Interrupted | Failure::Ended(_))
    }
}

/// The answer of a command, where telling it went well or nobody wanted to read on: the answer stays what it
/// is.
///
/// # Errors
/// It could not be told for another reason.
pub(crate) fn told(answer: Exit, telling: Result<(), Failure>) -> Result<Exit, Failure> {
    match telling {
        Ok(()) | Err(Failure::PipeClosed) => Ok(answer),
        Err(failure) => Err(failure),
    }
}

/// Whether a status was made on this side, because the connection failed.
pub(crate) fn is_transport(status: &Status) -> bool {
    status.source().is_some()
}

/// How HTTP/2 ended, where it did.
fn broken(status: &Status) -> Option<&h2::Error> {
    let mut cause = status.source();
    loop {
        match cause?.downcast_ref::<h2::Error>() {
            Some(broken) => return Some(broken),
            None => cause = cause?.source(),
        }
    }
}

/// What a server says as it closes: it is shown only in brackets behind the reason.
fn last_words(broken: &h2::Error) -> String {
    let shown = broken.to_string();
    let said = shown.split_once("(b\"").and_then(|(_, said)| said.strip_suffix("\")"));
    said.map_or_else(String::new, clean)
}

/// Whether the other end wants TLS, as our own gRPC port does where it is encrypted; and what it said.
fn wants_encryption(status: &Status) -> Option<String> {
    let broken = broken(status)?;
    let wants = broken.is_remote() && broken.reason() == Some(h2::Reason::INADEQUATE_SECURITY);
    wants.then(|| match last_words(broken).as_str() {
        "" => "it wants TLS: write https:// instead of http://".to_owned(),
        said => said.to_owned(),
    })
}

/// Whether the other end asked for HTTP/1, as our own HTTP port does, or answered in it; and what it said.
fn wrong_port(status: &Status) -> Option<String> {
    let broken = broken(status)?;
    if broken.is_remote() && broken.reason() == Some(h2::Reason::HTTP_1_1_REQUIRED) {
        return Some(last_words(broken));
    }
    // The letters HTTP, read as the head of a frame, announce one that is far too large.
    let misread = broken.is_library() && broken.reason() == Some(h2::Reason::FRAME_SIZE_ERROR);
    misread.then(String::new)
}

/// The cause at the end of a chain, in the operating system's words where it comes from there.
pub(crate) fn innermost(error: &(dyn StdError + 'static)) -> String {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    match deepest.downcast_ref::<io::Error>() {
        Some(cause) if cause.kind() == io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        _ => deepest.to_string(),
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Usage(message)
            | Failure::NotConfirmed(message)
            | Failure::Internal(message)
            | Failure::Vault { cause: message, .. } => f.write_str(message),
            Failure::Unreachable { server, cause } => write!(
                f,
                "cannot reach the control plane at {server}: {cause}; is it running? \
                 start one with `seaworthy serve`, or name it with --server"
            ),
            Failure::Distrusted { server, cause } => write!(
                f,
                "cannot talk to the control plane at {server}: {cause}\nhint: --ca-cert says whom to trust, \
                 --server-name whose certificate it has to be, --client-cert and --client-key who calls; `seaworthy \
                 doctor` looks closer"
            ),
            Failure::WrongPort { server, says } => {
                write!(f, "{server} looks like the HTTP port, not the gRPC one")?;
                if !says.is_empty() {
                    write!(f, ": {says:?}")?;
                }
                f.write_str("; name the gRPC port with --server")?;
                // An alert of TLS looks the same from here.
                let may_be_tls = says.is_empty() && !server.starts_with("https://");
                f.write_str(if may_be_tls { ", or write https:// if TLS is spoken there" } else { "" })
            }
            Failure::Refused { action, status } => refusal(f, action, status),
            // What is not shown to callers is shown to whoever starts it, down to the operating system's words.
            Failure::Config(error) | Failure::Start(error) => write!(f, "{}", crate::error::Chain(error)),
            Failure::Told(_) => f.write_str("see the log"),
            Failure::PipeClosed => f.write_str("nobody reads the output"),
            Failure::Interrupted | Failure::Ended(_) => f.write_str("interrupted"),
        }
    }
}

fn refusal(f: &mut fmt::Formatter<'_>, action: &str, status: &Status) -> fmt::Result {
    let details = status.get_error_details();
    write!(f, "cannot {action}: {}", clean(status.message()))?;
    match details.error_info() {
        Some(info) => write!(f, " [{}]", clean(&info.reason))?,
        None => write!(f, " [{:?}]", status.code())?,
    }
    let message = status.message();
    for wrong in details.bad_request().map(|wrong| wrong.field_violations.as_slice()).unwrap_or_default() {
        // A single wrong field is in the message already.
        if message != format!("{}: {}", wrong.field, wrong.description) {
            write!(f, "\n  {}: {}", clean(&wrong.field), clean(&wrong.description))?;
        }
    }
    let unmet = details.precondition_failure().map(|unmet| unmet.violations.as_slice()).unwrap_or_default();
    for unmet in unmet {
        if message != unmet.description {
            write!(f, "\n  {}: {}", clean(&unmet.subject), clean(&unmet.description))?;
        }
    }
    if let Some(guards) = details.error_info().and_then(|info| info.metadata.get("guards")) {
        let flags = restore::flags(guards.split(',').filter_map(restore::guard_by));
        if !flags.is_empty() {
            write!(
                f,
                "\nhint: `seaworthy restore plan` shows what stands in the way; to restore all the same: {flags}"
            )?;
        }
    }
    if let Some(hint) = hint(status.code(), details.error_info()) {
        write!(f, "\nhint: {hint}")?;
    }
    if let Some(pause) = details.retry_info().and_then(|retry| retry.retry_delay) {
        write!(f, "\nhint: try again in {pause:?}")?;
    }
    Ok(())
}

/// What to do where it is in doubt who calls, or whether that is enough.
pub(crate) fn hint(code: Code, info: Option<&ErrorInfo>) -> Option<String> {
    // The token of an instance's session is not what is lacking here.
    let ours = info.is_none_or(|info| info.reason == "UNAUTHENTICATED" || info.reason == "PERMISSION_DENIED");
    match code {
        Code::Unauthenticated if ours => Some(
            "prove who you are: `seaworthy login` stores a token that counts; or give one by --token-file or \
             SEAWORTHY_TOKEN, or a certificate by --client-cert and --client-key"
                .to_owned(),
        ),
        Code::PermissionDenied if ours => {
            let needs = info.and_then(|info| info.metadata.get("needs")).map(|role| clean(role));
            let role = match needs {
                Some(role) => format!("it takes the role {role}"),
                None => "it takes another role".to_owned(),
            };
            Some(format!("{role}: ask an admin for a token of it; `seaworthy whoami` shows who you are"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tonic_types::ErrorDetails;

    use super::*;

    #[test]
    fn every_code_of_the_server_has_an_exit_code() {
        let exit = |code| Failure::from_status("s", "a", Status::new(code, "m")).exit().code();
        for number in 1..=16 {
            let expected = match Code::from_i32(number) {
                Code::NotFound => 3,
                Code::DeadlineExceeded => 4,
                _ => 5,
            };
            assert_eq!(exit(Code::from_i32(number)), expected, "{number}");
        }
    }

    #[test]
    fn failures_of_this_side_have_exit_codes() {
        let unreachable = Failure::Unreachable { server: "http://h:1".into(), cause: "gone".into() };
        let table = [
            (Failure::Usage(String::new()), 2),
            (Failure::NotConfirmed(String::new()), 1),
            (unreachable, 4),
            (Failure::Distrusted { server: "https://h:1".into(), cause: "expired".into() }, 4),
            (Failure::WrongPort { server: "http://h:1".into(), says: String::new() }, 4),
            (Failure::Config(crate::error::Error::field("grpc.listen", "is odd")), 64),
            (Failure::Start(crate::error::Error::field("data_dir", "is a file")), 1),
            (Failure::Internal(String::new()), 70),
            (Failure::PipeClosed, 0),
            (Failure::Interrupted, 130),
        ];
        for (failure, code) in table {
            assert_eq!(failure.exit().code(), code, "{failure:?}");
        }
    }

    #[test]
    fn a_closed_pipe_does_not_change_the_answer_and_a_full_disk_does() {
        for answer in [Exit::Done, Exit::No] {
            assert_eq!(told(answer, Ok(())).ok(), Some(answer));
            assert_eq!(told(answer, Err(Failure::PipeClosed)).ok(), Some(answer));
            assert!(told(answer, Err(Failure::Internal("disk full".to_owned()))).is_err());
        }
    }

    #[test]
    fn a_lost_connection_is_no_refusal() {
        let status = Status::from_error(Box::new(io::Error::from(io::ErrorKind::ConnectionRefused)));
        let failure = Failure::from_status("http://h:1", "list instances", status);
        assert_eq!(failure.exit(), Exit::Unreachable);
        assert_eq!(
            failure.to_string(),
            "cannot reach the control plane at http://h:1: connection refused; is it running? start one \
             with `seaworthy serve`, or name it with --server"
        );
    }

    #[test]
    fn a_guard_in_the_way_is_named_with_what_forces_it() {
        let metadata = [("guards".to_owned(), "not-empty,serving".to_owned())];
        let mut details = ErrorDetails::with_error_info("RESTORE_GUARDED", "seaworthy.dev", metadata);
        details.add_bad_request_violation("serving:orders/i-1/database", "it works");
        details.add_bad_request_violation("not-empty:orders/i-1/database", "it holds 12 rows");
        let status = Status::with_error_details(Code::FailedPrecondition, "guards stand in the way", details);
        let failure = Failure::from_status("http://h:1", "restore orders", status);
        assert_eq!(failure.exit(), Exit::Refused);
        let told = failure.to_string();
        assert!(told.contains("\n  serving:orders/i-1/database: it works\n"), "{told}");
        assert!(told.ends_with("to restore all the same: --force not-empty --force serving"), "{told}");
    }

    #[test]
    fn who_is_not_known_or_may_not_is_told_what_to_do() {
        let told = |code, reason: &str, metadata: &[(&str, &str)]| {
            let metadata = metadata.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
            let metadata: std::collections::HashMap<_, _> = metadata.collect();
            let details = ErrorDetails::with_error_info(reason, "seaworthy.dev", metadata);
            let failure = Failure::from_status("s", "ask", Status::with_error_details(code, "no", details));
            assert_eq!(failure.exit(), Exit::Refused);
            failure.to_string()
        };
        let unknown = told(Code::Unauthenticated, "UNAUTHENTICATED", &[]);
        assert!(unknown.contains("`seaworthy login`") && unknown.contains("--token-file"), "{unknown}");
        let denied = told(Code::PermissionDenied, "PERMISSION_DENIED", &[("needs", "operator")]);
        assert!(denied.contains("it takes the role operator"), "{denied}");
        // That of an instance, which nobody logs in with.
        let session = told(Code::Unauthenticated, "SESSION_TOKEN_INVALID", &[]);
        assert!(!session.contains("hint"), "{session}");
    }

    #[test]
    fn a_refusal_names_every_field_and_the_reason() {
        let mut details = ErrorDetails::new();
        details
            .set_error_info("INVALID_FIELD", "seaworthy.dev", std::collections::HashMap::new())
            .add_bad_request_violation("name", "is empty")
            .add_bad_request_violation("spec.budget", "asks for \x1b[31mtoo much")
            .set_retry_info(Some(Duration::from_secs(2)));
        let status =
            Status::with_error_details(Code::InvalidArgument, "name: is empty (and 1 more)", details);
        assert_eq!(
            Failure::from_status("s", "put service orders", status).to_string(),
            "cannot put service orders: name: is empty (and 1 more) [INVALID_FIELD]\n  name: is empty\n  \
             spec.budget: asks for �[31mtoo much\nhint: try again in 2s"
        );
    }
}
