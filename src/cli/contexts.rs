//! Contexts: control planes by name, each with what proves there who calls. In one file, which only its owner can read.
//!
//! Which of them a command uses is decided in `access`.

mod text;

use std::{
    collections::BTreeMap,
    env, fs, io,
    path::{Path, PathBuf},
};

use seaworthy_client::transport::Secret;

use super::{
    failure::Failure,
    private::{self, Existing, Readers, exposed},
};

/// Where it is below a folder of configurations.
const PLACE: &str = "seaworthy/contexts.toml";

/// All that is stored.
#[derive(Clone, Debug, Default)]
pub(crate) struct Contexts {
    /// The one that is used where none is named.
    pub(crate) current: Option<String>,
    pub(crate) stored: BTreeMap<String, Stored>,
}

/// One control plane, and what proves there who calls.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stored {
    pub(crate) server: String,
    pub(crate) ca_cert: Option<PathBuf>,
    pub(crate) server_name: Option<String>,
    pub(crate) client_cert: Option<PathBuf>,
    pub(crate) client_key: Option<PathBuf>,
    pub(crate) token: Option<Secret>,
}

impl Stored {
    /// What proves who calls, in a word or two; never the proof itself.
    pub(crate) fn proof(&self) -> &'static str {
        match (&self.client_cert, &self.token) {
            (Some(_), Some(_)) => "certificate, token",
            (Some(_), None) => "certificate",
            (None, Some(_)) => "token",
            (None, None) => "none",
        }
    }
}

impl Contexts {
    /// The context of a name.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn named(&self, name: &str) -> Result<&Stored, Failure> {
        self.stored.get(name).ok_or_else(|| self.unknown(name))
    }

    /// What to say where there is no such context.
    pub(crate) fn unknown(&self, name: &str) -> Failure {
        let known: Vec<&str> = self.stored.keys().map(String::as_str).collect();
        let known = match known.as_slice() {
            [] => "there is none yet: `seaworthy login NAME --server URL` makes one".to_owned(),
            known => format!("there are {}", known.join(", ")),
        };
        Failure::Usage(format!("there is no context {name:?}; {known}"))
    }
}

/// What a context may be called: what needs no quotes anywhere.
pub(crate) fn name(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if (1..=63).contains(&text.len()) && text.chars().all(fits) {
        return Ok(text.to_owned());
    }
    Err("write 1 to 63 letters, digits, `.`, `_` or `-`".to_owned())
}

/// Where the file is, unless another is named. None: there is no home.
pub(crate) fn usual_place() -> Option<PathBuf> {
    // The command line's own surroundings, as any program of a terminal asks for them.
    let folder = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let configurations =
        folder("XDG_CONFIG_HOME").or_else(|| folder("HOME").map(|home| home.join(".config")));
    configurations.map(|folder| folder.join(PLACE))
}

/// Reads them. Where there is no file there are none.
///
/// # Errors
/// Others can read it, or it is not what it should be.
pub(crate) fn read(path: &Path) -> Result<Contexts, Failure> {
    let cannot = |cause: &io::Error| unusable(path, format!("cannot be read: {cause}"));
    let mut file = match fs::File::open(path) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(Contexts::default()),
        opened => opened.map_err(|cause| cannot(&cause))?,
    };
    if let Some(mode) = exposed(&file.metadata().map_err(|cause| cannot(&cause))?) {
        let problem = format!(
            "holds tokens and has mode {mode:04o}, so that others can read or change it; run: chmod 600 '{}'",
            path.display()
        );
        return Err(unusable(path, problem));
    }
    let text = io::read_to_string(&mut file).map_err(|cause| cannot(&cause))?;
    text::parse(&text).map_err(|problem| unusable(path, problem))
}

/// Writes them, whole or not at all.
///
/// # Errors
/// It cannot be written.
pub(crate) fn write(path: &Path, contexts: &Contexts) -> Result<(), Failure> {
    let cannot = |cause: io::Error| unusable(path, format!("cannot be written: {cause}"));
    if let Some(folder) = path.parent() {
        private::make_folder(folder).map_err(cannot)?;
    }
    private::write(path, text::show(contexts).as_bytes(), Readers::Owner, Existing::IsReplaced)
        .map_err(cannot)
}

fn unusable(path: &Path, problem: String) -> Failure {
    Failure::Config(crate::error::Error::field(format!("contexts file {}", path.display()), problem))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_is_written_is_read_by_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config/seaworthy/contexts.toml");
        assert!(read(&path).unwrap().stored.is_empty(), "no file, no contexts");
        let prod = Stored {
            server: "https://h:1".into(),
            token: Some(Secret::new("swt_hidden")),
            ..Stored::default()
        };
        let contexts =
            Contexts { current: Some("prod".into()), stored: BTreeMap::from([("prod".into(), prod)]) };
        write(&path, &contexts).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let again = read(&path).unwrap();
        assert_eq!(again.named("prod").unwrap().token.as_ref().unwrap().reveal(), "swt_hidden");
        assert!(!format!("{again:?}").contains("hidden"));
        for mode in [0o604, 0o640, 0o660] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let refused = read(&path).unwrap_err();
            let told = refused.to_string();
            assert!(told.contains("run: chmod 600 '") && !told.contains("hidden"), "{told}");
            assert_eq!(refused.exit().code(), 64);
        }
    }

    #[test]
    fn names_need_no_quotes() {
        for good in ["prod", "eu-1.example_2"] {
            assert!(name(good).is_ok(), "{good}");
        }
        for bad in ["", "a b", "a/b", "ä", &"x".repeat(64)] {
            assert!(name(bad).is_err(), "{bad:?}");
        }
    }
}
