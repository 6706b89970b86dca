//! A terminal that is drawn on as a whole, again and again: on its alternate screen, so that what stood there
//! comes back at the end, whatever the end is.
//!
//! Knows lines, not what they say: whoever draws cuts them to the size.

use std::{
    io::{self, Write as _},
    panic::{set_hook, take_hook},
    sync::Once,
};

use parking_lot::Mutex;
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

/// How the terminal was before the picture that is on it. Not in the [`Screen`], for a process has one terminal and
/// a panic has to find it.
static BEFORE: Mutex<Option<Before>> = Mutex::new(None);

#[derive(Debug)]
struct Before {
    /// How the terminal treated what is typed.
    typed: Option<Termios>,
}

/// The terminal, while it is drawn on. It is as before once this is dropped.
#[derive(Debug)]
pub(crate) struct Screen(());

impl Screen {
    /// Nothing is changed before the first frame.
    pub(super) fn new() -> Self {
        Self(())
    }

    /// Whether there is a picture on it.
    pub(crate) fn is_drawn(&self) -> bool {
        BEFORE.lock().is_some()
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
        if !self.is_drawn() {
            leave_on_panic();
            let before = Before { typed: quiet() };
            *BEFORE.lock() = Some(before);
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
        leave();
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.leave();
    }
}

fn leave() {
    let Some(Before { typed }) = BEFORE.lock().take() else { return };
    // Where the terminal is gone there is nothing to put back. Once the picture is gone, all is as before.
    if let Some(typed) = typed {
        tcsetattr(io::stdin(), OptionalActions::Flush, &typed).ok();
    }
    drop(show(LEAVE));
}

/// What a panic says would go with the picture that it is said on: the picture goes first.
fn leave_on_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let tell = take_hook();
        set_hook(Box::new(move |panic| {
            leave();
            tell(panic);
        }));
    });
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

#[cfg(test)]
mod tests {
    use std::{
        env::current_exe,
        fs::File,
        io::Read as _,
        num::NonZero,
        process::{Command, Stdio},
    };

    use rustix::{
        fs::{Mode, OFlags},
        pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    };

    use super::*;

    #[test]
    #[ignore = "it draws on the terminal; the test below runs it on one of its own"]
    #[should_panic(expected = "nobody has thought of this")]
    fn a_view_that_panics() {
        let mut screen = Screen::new();
        screen.draw(&["a picture".to_owned()]).unwrap();
        panic!("nobody has thought of this");
    }

    #[test]
    fn what_a_panic_says_stays_on_the_terminal() {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let slave = rustix::fs::open(name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
        let end = || Stdio::from(slave.try_clone().unwrap());
        let (_, path) = concat!(module_path!(), "::a_view_that_panics").split_once("::").unwrap();
        let mut command = Command::new(current_exe().unwrap());
        command.args(["--exact", path, "--ignored", "--nocapture"]);
        let mut child = command.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        // Else the terminal would never end.
        drop((command, slave));
        let (mut said, mut bytes) = (Vec::new(), [0; 4096]);
        let mut master = File::from(master);
        while let Ok(read @ 1..) = master.read(&mut bytes) {
            said.extend_from_slice(&bytes[..read]);
        }
        assert!(child.wait().unwrap().success());
        let cells = |number| NonZero::new(number).unwrap();
        let mut emulator = vt100::Parser::new(cells(24), cells(100), 0);
        emulator.process(&said);
        let picture = emulator.screen().contents();
        assert!(
            picture.contains("nobody has thought of this") && !picture.contains("a picture"),
            "{picture}"
        );
        assert!(!emulator.screen().alternate_screen() && !emulator.screen().hide_cursor());
        assert!(String::from_utf8_lossy(&said).contains("a picture"), "it was drawn");
    }
}
