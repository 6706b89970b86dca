//! The standard output: the one place of the program that writes to it.
//!
//! Knows the format that was asked for and what the terminal can show. Text that came over the wire is
//! cleaned of control characters before it is shown, so that no instance can paint a terminal.

mod screen;
pub(crate) mod table;

use std::{
    env, fmt,
    fs::File,
    io::{self, BufWriter, IsTerminal as _, Write},
    os::fd::AsFd as _,
    sync::Arc,
};

use clap::ValueEnum;
use serde::Serialize;

pub(crate) use crate::text::clean;

pub(crate) use self::screen::Screen;
use super::failure::Failure;

/// How results are written.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Format {
    /// Aligned columns, what matters most
    Table,
    /// Aligned columns, all of them, and nothing cut short
    Wide,
    /// One JSON document, in watches one object per line: the messages of the API as they are, with the
    /// contract's names (HEALTH_STATE_UNHEALTHY), every field, times in RFC 3339
    Json,
}

/// What a word says about health, and so how it is coloured.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Tone {
    Good,
    Uneasy,
    Bad,
    Unknown,
}

/// Text that may be coloured.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Text {
    pub(crate) plain: String,
    pub(crate) tone: Option<Tone>,
}

impl Text {
    /// Cleans `text`, which may have come over the wire.
    pub(crate) fn new(text: &str) -> Self {
        Self { plain: clean(text), tone: None }
    }

    /// A word about health.
    pub(crate) fn toned(text: &str, tone: Tone) -> Self {
        Self { plain: clean(text), tone: Some(tone) }
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Text::new(text)
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Text::new(&text)
    }
}

/// What the terminal can show.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Looks {
    pub(crate) colour: bool,
    pub(crate) unicode: bool,
}

impl Looks {
    fn of_stdout() -> Self {
        let terminal = io::stdout().is_terminal();
        // The CLI's own surroundings, not configuration: it asks for them as any terminal program does.
        let set = |name: &str| env::var_os(name).is_some_and(|value| !value.is_empty());
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(|name| {
            env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(|value| value.to_string_lossy().to_uppercase())
        });
        Self {
            colour: terminal && !set("NO_COLOR") && env::var_os("TERM").is_none_or(|term| term != "dumb"),
            unicode: terminal && locale.is_some_and(|name| name.contains("UTF-8") || name.contains("UTF8")),
        }
    }

    /// The text with its colour, where colours are shown.
    pub(crate) fn paint(self, text: &Text) -> String {
        let code = match text.tone {
            Some(tone) if self.colour => match tone {
                Tone::Good => "32",
                Tone::Uneasy => "33",
                Tone::Bad => "1;31",
                Tone::Unknown => "35",
            },
            _ => return text.plain.clone(),
        };
        format!("\x1b[{code}m{}\x1b[0m", text.plain)
    }

    /// The mark of a tone: ✓ ! ✗ ?, or ASCII.
    pub(crate) fn mark(self, tone: Tone) -> Text {
        let mark = match (tone, self.unicode) {
            (Tone::Good, true) => "✓",
            (Tone::Good, false) => "+",
            (Tone::Uneasy, _) => "!",
            (Tone::Bad, true) => "✗",
            (Tone::Bad, false) => "x",
            (Tone::Unknown, _) => "?",
        };
        Text::toned(mark, tone)
    }
}

/// Where results go.
pub(crate) struct Output {
    pub(crate) format: Format,
    pub(crate) looks: Looks,
    writer: Box<dyn Write>,
}

impl Output {
    /// The standard output of the process.
    pub(crate) fn stdout(format: Format) -> Self {
        Self { format, looks: Looks::of_stdout(), writer: Box::new(BufWriter::new(io::stdout())) }
    }

    /// Whether nothing is cut short.
    pub(crate) fn is_wide(&self) -> bool {
        self.format == Format::Wide
    }

    /// Whether programs read it.
    pub(crate) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// The terminal, to be drawn on as a whole; None where there is none, or programs read what is written.
    pub(crate) fn screen(&self) -> Option<Screen> {
        let terminal = io::stdout().is_terminal() && env::var_os("TERM").is_none_or(|term| term != "dumb");
        (terminal && !self.is_json()).then(Screen::new)
    }

    /// Writes a line.
    pub(crate) fn line(&mut self, line: impl fmt::Display) -> Result<(), Failure> {
        writeln!(self.writer, "{line}").map_err(broken)
    }

    /// Writes a table.
    pub(crate) fn table(&mut self, table: &table::Table) -> Result<(), Failure> {
        table.lines(self.looks).into_iter().try_for_each(|line| self.line(line))
    }

    /// Writes a JSON document, for people and programs.
    pub(crate) fn document(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        serde_json::to_writer_pretty(&mut self.writer, value).map_err(|cause| broken(cause.into()))?;
        self.line("")
    }

    /// Writes a JSON object on a line of its own, at once.
    pub(crate) fn object(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        serde_json::to_writer(&mut self.writer, value).map_err(|cause| broken(cause.into()))?;
        self.line("")?;
        self.flush()
    }

    /// Makes everything visible that was written.
    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        self.writer.flush().map_err(broken)
    }
}

/// The standard output for bytes as they are. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Raw(Arc<File>);

impl Raw {
    /// A way of its own there: whoever waits on it for a reader holds up nobody else.
    pub(crate) fn open() -> Result<Self, Failure> {
        let output = io::stdout().as_fd().try_clone_to_owned().map_err(broken)?;
        Ok(Self(Arc::new(output.into())))
    }

    /// Writes bytes at once. Blocks for as long as nobody reads them.
    pub(crate) fn write(&self, bytes: &[u8]) -> Result<(), Failure> {
        let mut output: &File = &self.0;
        output.write_all(bytes).map_err(broken)
    }
}

#[allow(clippy::needless_pass_by_value)] // so that `map_err` takes it as it is
fn broken(cause: io::Error) -> Failure {
    match cause.kind() {
        io::ErrorKind::BrokenPipe => Failure::PipeClosed,
        _ => Failure::Internal(format!("cannot write to the standard output: {cause}")),
    }
}

/// Tells a person something that is not a result. Where nobody listens it is lost, and that is fine.
pub(crate) fn note(text: impl fmt::Display) {
    drop(writeln!(io::stderr(), "{text}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_is_added_only_where_it_shows() {
        let text = Text::toned("unhealthy", Tone::Bad);
        assert_eq!(Looks { colour: false, unicode: true }.paint(&text), "unhealthy");
        assert_eq!(Looks { colour: true, unicode: true }.paint(&text), "\x1b[1;31munhealthy\x1b[0m");
    }

    #[test]
    fn a_closed_pipe_ends_quietly_and_a_full_disk_does_not() {
        let failure = |kind: io::ErrorKind| broken(kind.into());
        assert!(failure(io::ErrorKind::BrokenPipe).is_quiet());
        assert!(!failure(io::ErrorKind::StorageFull).is_quiet());
        let through_json = serde_json::Error::io(io::ErrorKind::BrokenPipe.into());
        assert!(broken(through_json.into()).is_quiet());
    }
}
