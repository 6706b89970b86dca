//! Tells systemd how the server is doing (`Type=notify`). Without `NOTIFY_SOCKET` nothing is sent; a
//! message that cannot be sent is logged and changes nothing.

use std::time::Duration;

use sd_notify::NotifyState;
use tracing::warn;

/// The server serves.
pub fn ready() {
    send(&NotifyState::Ready);
}

/// The server has begun to stop.
pub fn stopping() {
    send(&NotifyState::Stopping);
}

/// One line for `systemctl status`.
pub fn status(text: &str) {
    // A line break would begin another message.
    send(&NotifyState::Status(&text.replace(['\n', '\r'], " ")));
}

/// Asks for patience: systemd waits at least this long for the next message.
pub fn extend_timeout(pause: Duration) {
    send(&NotifyState::ExtendTimeoutUsec(u32::try_from(pause.as_micros()).unwrap_or(u32::MAX)));
}

fn send(state: &NotifyState<'_>) {
    if let Err(cause) = sd_notify::notify(std::slice::from_ref(state)) {
        warn!(%cause, message_to_systemd = %state, "cannot notify systemd");
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::{env, os::unix::net::UnixDatagram, process::Command};

    use super::*;

    /// Runs in a process of its own, because the socket is named by the environment.
    #[test]
    #[ignore = "run by systemd_hears_each_message"]
    fn speak() {
        ready();
        status("serving\nREADY=0");
        extend_timeout(Duration::from_secs(2));
        extend_timeout(Duration::MAX);
        stopping();
    }

    #[test]
    fn systemd_hears_each_message() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "telemetry::notify::tests::speak", "--ignored"])
            .env("NOTIFY_SOCKET", &path)
            .output()
            .unwrap();
        assert!(child.status.success());
        let mut buffer = [0; 128];
        let mut heard = || {
            let length = socket.recv(&mut buffer).unwrap();
            String::from_utf8(buffer[..length].to_vec()).unwrap()
        };
        for expected in [
            "READY=1\n",
            "STATUS=serving READY=0\n",
            "EXTEND_TIMEOUT_USEC=2000000\n",
            "EXTEND_TIMEOUT_USEC=4294967295\n",
            "STOPPING=1\n",
        ] {
            assert_eq!(heard(), expected);
        }
    }
}
