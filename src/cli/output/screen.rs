//! A terminal that is drawn on as a whole, again and again: on its alternate screen, so that what stood there
//! comes back at the end, whatever the end is.
//!
//! Knows lines, not what they say: whoever draws cuts them to the size.

use std::io::{self, Write as _};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

use super::broken;
use crate::cli::failure::Failure;

/// Where the terminal does not tell its size.
const USUAL: Size = Size { width: 80, height: 24 };

/// Alternate screen, no cursor, no wrapping of lines: what is wider than it looks is cut by the terminal.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l";
const LEAVE: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";
/// Around a frame, so that terminals that can show it at once do.
const BEGIN: &str = "\x1b[?2026h\x1b[H";
const END: &str = "\x1b[J\x1b[?2026l";

/// Of a terminal, in characters.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Size {
    pub(crate) width: usize,
    pub(crate) height: usize,
}

/// The terminal, while it is drawn on. It is as before once this is dropped.
#[derive(Debug)]
pub(crate) struct Screen {
    /// How the terminal treated what is typed, to be put back.
    typed: Option<Termios>,
    entered: bool,
}

impl Screen {
    /// Nothing is changed before the first frame.
    pub(super) fn new() -> Self {
        Self { typed: None, entered: false }
    }

    /// Whether there is a picture on it.
    pub(crate) fn is_drawn(&self) -> bool {
        self.entered
    }

    /// Its size now.
    pub(crate) fn size(&self) -> Size {
        match tcgetwinsize(io::stdout()) {
            Ok(size) if size.ws_col > 0 && size.ws_row > 0 => {
                Size { width: size.ws_col.into(), height: size.ws_row.into() }
            }
            _ => USUAL,
        }
    }

    /// Shows these lines and nothing else; those below the lower edge are left out.
    ///
    /// # Errors
    /// Nobody reads it any more.
    pub(crate) fn draw(&mut self, lines: &[String]) -> Result<(), Failure> {
        let mut frame = String::new();
        if !self.entered {
            self.entered = true;
            self.typed = quiet();
            frame.push_str(ENTER);
        }
        frame.push_str(BEGIN);
        let height = self.size().height;
        for (number, line) in lines.iter().take(height).enumerate() {
            if number > 0 {
                frame.push_str("\r\n");
            }
            // Before the line: after one that fills its row it would take the last character away.
            frame.push_str("\x1b[2K");
            frame.push_str(line);
        }
        if lines.len() < height {
            frame.push_str("\r\n");
            frame.push_str(END);
        } else {
            frame.push_str(END.trim_start_matches("\x1b[J"));
        }
        show(&frame).map_err(broken)
    }

    /// Puts everything back, until the next frame.
    pub(crate) fn leave(&mut self) {
        if !self.entered {
            return;
        }
        self.entered = false;
        // Where the terminal is gone there is nothing to put back. Once the picture is gone, all is as before.
        if let Some(typed) = self.typed.take() {
            tcsetattr(io::stdin(), OptionalActions::Flush, &typed).ok();
        }
        drop(show(LEAVE));
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.leave();
    }
}

fn show(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// What is typed is not shown, for it would stand in the picture. Ctrl-C and its kin still work.
fn quiet() -> Option<Termios> {
    let before = tcgetattr(io::stdin()).ok()?;
    let mut quiet = before.clone();
    quiet.local_modes.remove(LocalModes::ECHO);
    tcsetattr(io::stdin(), OptionalActions::Now, &quiet).ok()?;
    Some(before)
}
