//! The log: lines on standard error, as JSON for machines or in a form for people, with a level that can
//! be changed while the server runs. Whoever logs never waits for whoever reads.

mod json;
mod lines;

use std::{
    fmt,
    io::{self, IsTerminal as _},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tracing::{Dispatch, dispatcher};
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    fmt::{self as human, writer::BoxMakeWriter},
    layer::SubscriberExt as _,
    reload,
};

use self::lines::Lines;
use crate::{
    config::{LogFormat, parse_filter},
    error::{Error, Result},
};

/// Libraries that say a lot, kept at `info` unless they are named.
const LIBRARIES: &str = "h2=info,hyper=info,hyper_util=info,tower=info,tonic=info";

/// Changes the level of a running log. Cheap to clone.
#[derive(Clone)]
pub struct LogHandle {
    filter: reload::Handle<EnvFilter, Registry>,
    level: Arc<Mutex<String>>,
    // None where somebody else does the writing.
    lines: Option<Lines>,
}

/// Makes the log of this process. Call it once, before anything is logged.
///
/// `level` is a level or a filter as [`parse_filter`] reads it.
///
/// # Errors
/// The level is wrong, the process has a log already, or the operating system gives no thread to write it.
pub fn install(level: &str, format: LogFormat) -> Result<LogHandle> {
    let lines = Lines::to(io::stderr()).map_err(Error::internal)?;
    let (dispatch, mut handle) = build(level, Shape::on_stderr(format), lines.writer())?;
    handle.lines = Some(lines);
    dispatcher::set_global_default(dispatch).map_err(Error::internal)?;
    Ok(handle)
}

/// How lines look, with `auto` decided.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    /// One JSON object per line.
    Json,
    /// For people.
    Human {
        /// Whether colours may be used; `NO_COLOR` still forbids them.
        colours: bool,
    },
}

impl Shape {
    /// How lines look on the standard error of this process.
    pub fn on_stderr(format: LogFormat) -> Self {
        let terminal = io::stderr().is_terminal();
        match format {
            LogFormat::Json => Shape::Json,
            LogFormat::Auto if !terminal => Shape::Json,
            LogFormat::Auto | LogFormat::Human => Shape::Human { colours: terminal },
        }
    }
}

/// Says something on the standard error as one JSON line, whatever the log of the process leaves out, and
/// where there is none yet.
///
/// # Errors
/// None in practice: the level that is asked for is a level.
pub fn once_as_json(say: impl FnOnce()) -> Result<()> {
    let (dispatch, _handle) = build("error", Shape::Json, BoxMakeWriter::new(io::stderr))?;
    dispatcher::with_default(&dispatch, say);
    Ok(())
}

/// A log that writes to `writer` and is nobody's yet: for servers that run inside another program, as
/// in tests. The handle works as long as the dispatch is kept.
///
/// # Errors
/// The level is wrong.
pub fn build(level: &str, shape: Shape, writer: BoxMakeWriter) -> Result<(Dispatch, LogHandle)> {
    let (filter, reload) = reload::Layer::new(read(level)?);
    let lines = match shape {
        Shape::Json => json::JsonLines::new(writer).boxed(),
        // Colours need a terminal and, which the layer itself looks up, no NO_COLOR.
        Shape::Human { colours: true } => human::layer().with_writer(writer).boxed(),
        Shape::Human { colours: false } => human::layer().with_writer(writer).with_ansi(false).boxed(),
    };
    let dispatch = Dispatch::new(Registry::default().with(filter).with(lines));
    Ok((dispatch, LogHandle { filter: reload, level: Arc::new(Mutex::new(level.to_owned())), lines: None }))
}

fn read(level: &str) -> Result<EnvFilter> {
    let wrong = |wrong| Error::field("log_level", wrong);
    parse_filter(level).map_err(wrong)?;
    // Whoever asks for a bare level wants what Seaworthy does, not each frame of its libraries.
    let bare = ["debug", "trace"].contains(&level.trim().to_lowercase().as_str());
    let filter = if bare { format!("{level},{LIBRARIES}") } else { level.to_owned() };
    parse_filter(&filter).map_err(wrong)
}

impl LogHandle {
    /// Changes the level, and answers the one that counted before.
    ///
    /// # Errors
    /// It is neither a level nor a filter.
    pub fn set_level(&self, level: &str) -> Result<String> {
        let filter = read(level)?;
        let mut current = self.level.lock();
        self.filter.reload(filter).map_err(Error::internal)?;
        Ok(std::mem::replace(&mut current, level.to_owned()))
    }

    /// Lines that were dropped, because nobody took them in time.
    pub fn dropped(&self) -> u64 {
        self.lines.as_ref().map_or(0, Lines::dropped)
    }

    /// Waits until what was logged is written, for `longest` at the most. Blocks its thread: for the end of
    /// the process.
    pub fn flush(&self, longest: Duration) {
        if let Some(lines) = &self.lines {
            lines.flush(longest);
        }
    }

    /// The level or filter that counts.
    pub fn level(&self) -> String {
        self.level.lock().clone()
    }
}

impl fmt::Debug for LogHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogHandle").field("level", &self.level()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
