//! A bearer token, and where it comes from (RFC 6750).

use std::{
    env,
    path::{Path, PathBuf},
};

use super::{Proof, Secret, read};

/// Longest token, in bytes: headers have to fit what the control plane takes of all of them.
const LONGEST: usize = 4096;

/// What proves to a control plane who calls, by being known to nobody else. Made by `seaworthy token create`. It
/// never shows itself.
#[derive(Clone, Debug)]
pub struct Token(Source);

#[derive(Clone, Debug)]
enum Source {
    Given(Secret),
    File(PathBuf),
    Variable(String),
}

impl Token {
    /// This token. Prefer a file: what is in it can be renewed while the process runs.
    pub fn new(secret: impl Into<String>) -> Self {
        Self(Source::Given(Secret::new(secret)))
    }

    /// The token in this file, read anew for every connection. An agent notices within seconds that the file has
    /// changed, and goes over to a new connection.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self(Source::File(path.into()))
    }

    /// The token in this environment variable, like `SEAWORTHY_TOKEN`.
    pub fn env(variable: impl Into<String>) -> Self {
        Self(Source::Variable(variable.into()))
    }

    /// Whether it can be one, as far as can be told without reading a file.
    pub(super) fn check(&self) -> Result<(), String> {
        match &self.0 {
            Source::File(_) => Ok(()),
            Source::Given(_) | Source::Variable(_) => self.read().map(drop),
        }
    }

    /// The file that it is in, if it is.
    pub(super) fn path(&self) -> Option<&Path> {
        match &self.0 {
            Source::File(path) => Some(path),
            Source::Given(_) | Source::Variable(_) => None,
        }
    }

    /// The token as it is now.
    #[doc(hidden)]
    pub fn read(&self) -> Result<Secret, String> {
        let (text, place) = match &self.0 {
            Source::Given(secret) => (secret.reveal().to_owned(), "what was given".to_owned()),
            Source::File(path) => {
                let bytes = read(path, "the token file", 4 * LONGEST as u64)?;
                (String::from_utf8(bytes).unwrap_or_default(), path.display().to_string())
            }
            Source::Variable(name) => {
                // A client's own surroundings, which its owner has named.
                let value = env::var_os(name).ok_or_else(|| format!("is not there: {name} is not set"))?;
                (value.into_string().unwrap_or_default(), format!("the environment variable {name}"))
            }
        };
        let token = text.trim();
        if !is_token(token) {
            return Err(format!(
                "is no token: {place} must have 1 to {LONGEST} letters, digits and -._~+/= in one line"
            ));
        }
        Ok(Secret::new(token))
    }

    /// The header that says it.
    pub(super) fn proof(&self) -> Result<Proof, String> {
        let said = format!("Bearer {}", self.read()?.reveal());
        // Cannot fail for what is a token.
        let mut proof: Proof = said.parse().map_err(|_| "is no token".to_owned())?;
        // Nobody between keeps it in a table, and no log shows it.
        proof.set_sensitive(true);
        Ok(proof)
    }
}

/// RFC 6750, 2.1: `b64token`.
fn is_token(text: &str) -> bool {
    let body = text.trim_end_matches('=');
    (1..=LONGEST).contains(&text.len())
        && !body.is_empty()
        && body.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_as_a_table() {
        for (text, good) in [
            ("swt_abc-._~+/09==", true),
            (" swt_abc\n", true),
            ("", false),
            ("==", false),
            ("a b", false),
            ("a\r\nx-evil: 1", false),
            ("tök", false),
        ] {
            assert_eq!(Token::new(text).check().is_ok(), good, "{text:?}");
        }
        assert!(Token::new("a".repeat(4096)).check().is_ok());
        assert!(Token::new("a".repeat(4097)).check().is_err());
    }

    #[test]
    fn it_never_shows_itself() {
        let token = Token::new("swt_hidden");
        let proof = token.proof().expect("a token");
        let wrong = Token::new("swt_hidden wrong").check().expect_err("two words");
        for shown in [format!("{token:?}"), format!("{proof:?}"), format!("{:?}", token.read()), wrong] {
            assert!(!shown.contains("hidden"), "{shown}");
        }
        assert_eq!(proof.to_str().expect("text"), "Bearer swt_hidden");
    }

    #[test]
    fn a_file_is_read_each_time_and_named_where_it_cannot_be() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("token");
        let token = Token::file(&path);
        assert!(token.check().is_ok(), "it may come later");
        let missing = token.read().expect_err("no file");
        assert!(missing.contains("the token file") && missing.contains("token: No such file"), "{missing}");
        for secret in ["one", "two"] {
            std::fs::write(&path, format!("{secret}\n")).expect("written");
            assert_eq!(token.read().expect("a token").reveal(), secret);
        }
        std::fs::write(&path, "a".repeat(20_000)).expect("written");
        assert!(token.read().expect_err("too long").contains("more than"));
    }

    #[test]
    fn a_variable_that_is_not_set_is_named() {
        let wrong = Token::env("SEAWORTHY_TEST_NOT_SET").check().expect_err("not set");
        assert_eq!(wrong, "is not there: SEAWORTHY_TEST_NOT_SET is not set");
    }
}
