//! Asks before something is lost: the name has to be typed, at the terminal or with `--yes NAME`.

use std::io::{self, IsTerminal as _, Write as _};

use super::failure::Failure;

/// Goes on only if the user typed `name`. `loss` says what will be lost, as a sentence.
///
/// # Errors
/// They did not, or there is nobody to ask.
pub(crate) fn confirm(name: &str, yes: Option<&str>, loss: &str) -> Result<(), Failure> {
    confirm_by("--yes", name, yes, loss)
}

/// The same, for a flag of another name.
///
/// # Errors
/// As of [`confirm`].
pub(crate) fn confirm_by(flag: &str, name: &str, given: Option<&str>, loss: &str) -> Result<(), Failure> {
    let typed = match given {
        Some(typed) => typed.to_owned(),
        None if io::stdin().is_terminal() && io::stderr().is_terminal() => ask(name, loss)?,
        None => {
            return Err(Failure::NotConfirmed(format!(
                "nothing was changed: {loss}; hint: confirm with {flag} {name}"
            )));
        }
    };
    if typed == name {
        return Ok(());
    }
    Err(Failure::NotConfirmed(format!("nothing was changed: {typed:?} was typed, but the name is {name}")))
}

fn ask(name: &str, loss: &str) -> Result<String, Failure> {
    let broken = |cause: io::Error| Failure::Internal(format!("cannot ask for confirmation: {cause}"));
    write!(io::stderr(), "{loss}.\nType {name} to go on: ").map_err(broken)?;
    let mut typed = String::new();
    io::stdin().read_line(&mut typed).map_err(broken)?;
    Ok(typed.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_name_itself_confirms() {
        assert!(confirm("orders/i-1", Some("orders/i-1"), "it ends").is_ok());
        for typed in ["orders", "yes", "", "orders/i-1 "] {
            let refused = confirm("orders/i-1", Some(typed), "it ends").unwrap_err();
            assert_eq!(refused.exit().code(), 1, "{typed:?}");
        }
    }
}
