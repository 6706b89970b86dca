//! Being told to stop: by signals of the process, or by a test.

use tokio::sync::watch;

use crate::{
    error::{Error, Result},
    task::{self, OnEnd},
};

/// How often, and by what, the server was told to stop.
#[derive(Clone, Debug, Default)]
struct Asked {
    times: u32,
    cause: String,
}

/// Sees when the server is told to stop.
#[derive(Debug)]
pub struct Stop {
    asked: watch::Receiver<Asked>,
}

/// Tells a server to stop.
#[derive(Clone, Debug)]
pub struct Stopper(watch::Sender<Asked>);

impl Stopper {
    /// Asks once more: the first time to stop in order, the second time to stop now.
    pub fn ask(&self, cause: &str) {
        self.0.send_modify(|asked| {
            asked.times += 1;
            asked.cause = cause.to_owned();
        });
    }
}

impl Stop {
    /// Told by whoever holds the other end.
    pub fn by_hand() -> (Stopper, Stop) {
        let (sender, asked) = watch::channel(Asked::default());
        (Stopper(sender), Stop { asked })
    }

    /// Told by SIGTERM, SIGINT and Ctrl-C, for as long as anybody listens. They are heard on a thread of its
    /// own, whatever becomes of the runtime of the process.
    ///
    /// # Errors
    /// The operating system does not let us listen.
    pub fn on_signals() -> Result<Stop> {
        let (stopper, stop) = Self::by_hand();
        let runtime = task::small_runtime().map_err(Error::internal)?;
        let listening = {
            let _entered = runtime.enter();
            listen(stopper.clone())?
        };
        let hear = move || {
            runtime.block_on(async {
                tokio::select! {
                    () = listening => {}
                    () = stopper.0.closed() => {}
                }
            });
        };
        drop(task::thread("signals", OnEnd::Fine, hear).map_err(Error::internal)?);
        Ok(stop)
    }

    /// Another one that is told by the same.
    pub fn again(&self) -> Stop {
        Stop { asked: self.asked.clone() }
    }

    /// Waits until it is told to stop, and answers by what. Cancel safe.
    pub async fn asked(&mut self) -> String {
        self.times(1).await
    }

    /// Waits until it was told to stop so many times, and answers by what the last time. Cancel safe.
    pub async fn times(&mut self, times: u32) -> String {
        let asked = self.asked.wait_for(|asked| asked.times >= times).await.map(|asked| asked.cause.clone());
        match asked {
            Ok(cause) => cause,
            // Whoever could tell is gone, and will not.
            Err(_) => std::future::pending().await,
        }
    }
}

#[cfg(unix)]
fn listen(stopper: Stopper) -> Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::internal)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::internal)?;
    Ok(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => stopper.ask("SIGTERM"),
                _ = interrupt.recv() => stopper.ask("SIGINT"),
            }
        }
    })
}

#[cfg(windows)]
fn listen(stopper: Stopper) -> Result<impl Future<Output = ()>> {
    use tokio::signal::windows::{ctrl_break, ctrl_c, ctrl_close, ctrl_shutdown};
    let mut interrupt = ctrl_c().map_err(Error::internal)?;
    let mut stop = ctrl_break().map_err(Error::internal)?;
    let mut close = ctrl_close().map_err(Error::internal)?;
    let mut down = ctrl_shutdown().map_err(Error::internal)?;
    Ok(async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => stopper.ask("Ctrl-C"),
                _ = stop.recv() => stopper.ask("Ctrl-Break"),
                _ = close.recv() => stopper.ask("the console closes"),
                _ = down.recv() => stopper.ask("the machine shuts down"),
            }
        }
    })
}
