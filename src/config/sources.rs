//! The sources beside the file: environment variables and flags. Neither is read from the process
//! here except by [`Environment::of_process`], so that tests bring their own.

use std::{
    collections::BTreeMap,
    env,
    ffi::{OsStr, OsString},
    path::PathBuf,
};

use super::{draft::Draft, key::Key, keys::KEYS, origin::Origin};

const PREFIX: &str = "SEAWORTHY_";

/// The variable that names the configuration file.
pub const CONFIG_VARIABLE: &str = "SEAWORTHY_CONFIG";

/// Variables that begin like ours and that others read: the command line, and the tests of other
/// programs, which hand them on to the server that they start.
const OTHER_VARIABLES: [&str; 12] = [
    CONFIG_VARIABLE,
    "SEAWORTHY_BIN",
    "SEAWORTHY_CA_CERT",
    "SEAWORTHY_CLIENT_CERT",
    "SEAWORTHY_CLIENT_KEY",
    "SEAWORTHY_CONTEXT",
    "SEAWORTHY_CONTEXTS_FILE",
    "SEAWORTHY_OUTPUT",
    "SEAWORTHY_SERVER",
    "SEAWORTHY_TIMEOUT",
    "SEAWORTHY_TOKEN",
    "SEAWORTHY_TOKEN_FILE",
];

/// The environment variables whose names begin with `SEAWORTHY_`.
#[derive(Clone, Debug, Default)]
pub struct Environment(BTreeMap<String, OsString>);

impl Environment {
    /// Those of this process.
    pub fn of_process() -> Self {
        env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value))).collect()
    }

    pub(super) fn write(&self, draft: &mut Draft) {
        for (name, value) in &self.0 {
            let key = KEYS.iter().find(|key| key.variable() == *name);
            match (key, value.to_str()) {
                (Some(key), Some(text)) => {
                    draft.write(key, text, Origin::Environment(name.clone()));
                }
                (Some(key), None) => {
                    draft.illegible(key, &Origin::Environment(name.clone()));
                }
                (None, _) if is_foreign(name, value) => {}
                (None, _) => {
                    let known: Vec<_> = KEYS.iter().map(Key::variable).collect();
                    let known = known.iter().map(String::as_str).chain(OTHER_VARIABLES);
                    draft.unknown("variable", name, "environment", known);
                }
            }
        }
    }
}

impl<N: Into<String>, V: Into<OsString>> FromIterator<(N, V)> for Environment {
    /// Takes the variables that begin with `SEAWORTHY_` and leaves the others.
    fn from_iter<I: IntoIterator<Item = (N, V)>>(variables: I) -> Self {
        let variables = variables.into_iter().map(|(name, value)| (name.into(), value.into()));
        Self(variables.filter(|(name, _): &(String, _)| name.starts_with(PREFIX)).collect())
    }
}

/// Whether a variable is read elsewhere, or was put there by Kubernetes.
///
/// For a Kubernetes Service named `seaworthy` (or `seaworthy-…`) every pod of the namespace gets
/// `SEAWORTHY_SERVICE_HOST`, `SEAWORTHY_PORT=tcp://…` and their like. They are nobody's mistake.
fn is_foreign(name: &str, value: &OsStr) -> bool {
    let is_url = value.to_str().is_some_and(|text| text.contains("://"));
    let is_part = ["_PROTO", "_PORT", "_ADDR"].iter().any(|end| name.ends_with(end));
    OTHER_VARIABLES.contains(&name)
        || name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.ends_with("_PORT") && is_url
        || name.contains("_PORT_") && (is_url || is_part)
}

/// What was said on the command line. `None` where nothing was.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs)] // KEYS says what each means
pub struct Flags {
    /// The configuration file.
    pub config: Option<PathBuf>,
    pub data_dir: Option<PathBuf>,
    pub grpc_listen: Option<String>,
    pub http_listen: Option<String>,
    pub metrics_listen: Option<String>,
    pub ready_file: Option<PathBuf>,
    pub log_level: Option<String>,
    pub log_format: Option<String>,
    pub insecure: Option<bool>,
    pub probe_listen: Option<String>,
    pub tls_cert: Option<PathBuf>,
    pub tls_key: Option<PathBuf>,
    pub tls_client_ca: Option<PathBuf>,
    pub auth: Option<bool>,
}

impl Flags {
    /// What was said for a key.
    fn value(&self, flag: &str) -> Option<OsString> {
        match flag {
            "data-dir" => self.data_dir.clone().map(Into::into),
            "grpc-listen" => self.grpc_listen.clone().map(Into::into),
            "http-listen" => self.http_listen.clone().map(Into::into),
            "metrics-listen" => self.metrics_listen.clone().map(Into::into),
            "ready-file" => self.ready_file.clone().map(Into::into),
            "log-level" => self.log_level.clone().map(Into::into),
            "log-format" => self.log_format.clone().map(Into::into),
            "insecure" => self.insecure.map(|truth| truth.to_string().into()),
            "probe-listen" => self.probe_listen.clone().map(Into::into),
            "tls-cert" => self.tls_cert.clone().map(Into::into),
            "tls-key" => self.tls_key.clone().map(Into::into),
            "tls-client-ca" => self.tls_client_ca.clone().map(Into::into),
            "auth" => self.auth.map(|truth| truth.to_string().into()),
            _ => None,
        }
    }

    pub(super) fn write(&self, draft: &mut Draft) {
        for key in KEYS {
            let Some((flag, value)) = key.flag.and_then(|flag| Some((flag, self.value(flag)?))) else {
                continue;
            };
            match value.to_str() {
                Some(text) => draft.write(key, text, Origin::Flag(flag)),
                None => draft.illegible(key, &Origin::Flag(flag)),
            }
        }
    }
}

/// The configuration file and who named it.
#[derive(Debug)]
pub(super) struct NamedFile {
    pub(super) path: PathBuf,
    pub(super) origin: Origin,
}

/// The file to read: the flag's, else the environment's, else none.
pub(super) fn config_file(flags: &Flags, environment: &Environment) -> Option<NamedFile> {
    if let Some(path) = &flags.config {
        return Some(NamedFile { path: path.clone(), origin: Origin::Flag("config") });
    }
    let path = environment.0.get(CONFIG_VARIABLE).filter(|path| !path.is_empty())?;
    Some(NamedFile { path: path.into(), origin: Origin::Environment(CONFIG_VARIABLE.to_owned()) })
}
