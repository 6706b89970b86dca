//! What people are told, on the standard error: what runs where, what to try next, and at the moment at
//! which it happens, that the control plane went away or came back.

use std::{fmt::Display, io::Write as _, net::SocketAddr, path::Path, time::Duration};

use seaworthy_client::{Handle, LeaveOutcome, Status, shutdown::Report};

/// Writes a line.
pub(crate) fn say(line: impl Display) {
    // Who closed the standard error does not want to hear it.
    drop(writeln!(std::io::stderr(), "{line}"));
}

/// What runs where, and what to try next.
pub(crate) fn greet(
    handle: &Handle,
    control_plane: &str,
    at: SocketAddr,
    database: &Path,
    interval: Duration,
) {
    let (id, database) = (handle.instance_id(), database.display());
    say(format_args!(
        "orders {} serves\n  \
         orders    http://{at}/orders\n  \
         health    http://{at}/health\n  \
         database  {database}\n  \
         instance  orders/{id}, attaching to {control_plane}\n\n\
         try next, in another terminal:\n  \
         curl http://{at}/health\n  \
         curl -H 'content-type: application/json' -d '{{\"item\": \"anchor\", \"quantity\": 2}}' http://{at}/orders\n  \
         seaworthy health orders --server {control_plane}\n  \
         mv {database} {database}.away   # unhealthy within {interval:?}; move it back, and it recovers\n\n\
         Ctrl-C leaves the fleet and ends it\n",
        env!("CARGO_PKG_VERSION")
    ));
}

/// Tells every change of the attachment, until the agent has left.
pub(crate) async fn attachment(handle: Handle) {
    let id = handle.instance_id();
    let mut status = handle.status();
    let (mut told, mut attached_before) = (None, false);
    loop {
        let now = status.borrow_and_update().clone();
        let line = match now {
            // On the way to one of the others.
            Status::Connecting => None,
            Status::Attached { incarnation } => {
                let again = if attached_before { " again" } else { "" };
                attached_before = true;
                Some(format!("attached{again} as orders/{id}, incarnation {incarnation}"))
            }
            Status::Waiting { last_error, .. } => {
                Some(format!("not attached: {last_error}; orders are taken all the same, and it tries again"))
            }
            Status::Superseded { message, .. } => {
                Some(format!("another process holds the id orders/{id}: {message}"))
            }
            Status::Left => return,
            // A status that is newer than this program has no words for.
            _ => None,
        };
        // Each try that fails like the one before is no news.
        if let Some(line) = line.filter(|line| told.as_ref() != Some(line)) {
            say(&line);
            told = Some(line);
        }
        if status.changed().await.is_err() {
            return;
        }
    }
}

/// How the end went.
pub(crate) fn stopped(report: &Report) {
    say(report);
    say(match report.left {
        Some(LeaveOutcome::Deregistered) => "left the fleet",
        Some(LeaveOutcome::NotRegistered) => "ended; it was not registered",
        _ => "ended; the control plane could not be told, and will count this instance as lost",
    });
}
