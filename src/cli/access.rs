//! Whom a command talks to, and what proves there who calls: flags, then the environment, then a context, then the
//! default.
//!
//! What a context holds belongs to its control plane: another one is never shown its token or certificate. A token wins
//! over a certificate there; so one from further away than the certificate that was given is not shown.

use std::{env, path::PathBuf};

use clap::Args;
use seaworthy_client::{
    Tls, Token,
    transport::{Secret, Transport},
};
use tonic::transport::Endpoint;

use super::{
    contexts::{self, Contexts, Stored},
    failure::Failure,
    remote,
};

/// Where a control plane listens unless it is told otherwise.
pub(crate) const USUAL: &str = "http://127.0.0.1:50051";

/// The variable with a token. No flag: what runs with which arguments is seen by everybody on a machine.
const TOKEN: &str = "SEAWORTHY_TOKEN";
const TOKEN_FILE: &str = "SEAWORTHY_TOKEN_FILE";
const CLIENT_CERT: &str = "SEAWORTHY_CLIENT_CERT";

/// Flags of every command that talks to a control plane.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Connection options: flag, else environment, else context, else default")]
pub(crate) struct Flags {
    /// Address of the control plane, https:// or http:// [default: that of the context, else http://127.0.0.1:50051]
    #[arg(long, global = true, value_name = "URL", env = "SEAWORTHY_SERVER")]
    pub(crate) server: Option<String>,
    /// Context to use: a control plane with a token or certificate, as `login` has stored it [default: the current
    /// one; nothing of it is used where --server names another control plane]
    #[arg(long, global = true, value_name = "NAME", env = "SEAWORTHY_CONTEXT", value_parser = contexts::name)]
    pub(crate) context: Option<String>,
    /// File of the contexts [default: seaworthy/contexts.toml in $XDG_CONFIG_HOME, or in ~/.config]
    #[arg(long, global = true, value_name = "FILE", env = "SEAWORTHY_CONTEXTS_FILE")]
    pub(crate) contexts_file: Option<PathBuf>,
    /// Authorities, in PEM, that the certificate of an https:// control plane has to be issued by
    #[arg(long, global = true, value_name = "FILE", env = "SEAWORTHY_CA_CERT")]
    pub(crate) ca_cert: Option<PathBuf>,
    /// Name that this certificate has to be for [default: the host of the address]
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) server_name: Option<String>,
    /// Certificate, in PEM, that proves who calls, instead of the token of the environment or the context [default:
    /// none]
    #[arg(long, global = true, value_name = "FILE", env = CLIENT_CERT)]
    pub(crate) client_cert: Option<PathBuf>,
    /// Private key of that certificate, in PEM [default: none]
    #[arg(long, global = true, value_name = "FILE", env = "SEAWORTHY_CLIENT_KEY")]
    pub(crate) client_key: Option<PathBuf>,
    /// File with a token that proves who calls; - for the standard input, with `login` [default: none; a token itself
    /// can be in SEAWORTHY_TOKEN, never in an argument]
    #[arg(long, global = true, value_name = "FILE", env = TOKEN_FILE)]
    pub(crate) token_file: Option<PathBuf>,
}

/// Whom a command talks to, and what proves there who calls.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    /// The address as the user gave it.
    pub(crate) server: String,
    /// The context that it is of.
    pub(crate) context: Option<String>,
    ca_cert: Option<PathBuf>,
    server_name: Option<String>,
    own: Option<(PathBuf, PathBuf)>,
    token: Option<Token>,
}

impl Flags {
    /// Where the contexts are.
    ///
    /// # Errors
    /// There is no home, and no file is named.
    pub(crate) fn place(&self) -> Result<PathBuf, Failure> {
        let place = self.contexts_file.clone().or_else(contexts::usual_place);
        place.ok_or_else(|| {
            Failure::Usage(
                "there is no home folder to keep contexts in; name a file: --contexts-file".to_owned(),
            )
        })
    }

    /// What follows from the flags, the environment and the contexts.
    ///
    /// # Errors
    /// They contradict each other, or the contexts cannot be read.
    pub(crate) fn access(&self) -> Result<Access, Failure> {
        let contexts = match self.place() {
            Ok(place) => contexts::read(&place)?,
            // Who has no home has no contexts.
            Err(_) if self.context.is_none() => Contexts::default(),
            Err(failure) => return Err(failure),
        };
        choose(self, &Environment::of_process(), &contexts)
    }

    /// The token that they and the environment give. One of the environment does not go with a certificate of a flag.
    pub(crate) fn token(&self, environment: &Environment) -> Option<Token> {
        let by_flag = self.client_cert.is_some() && self.client_cert != environment.client_cert;
        let is_heeded = |file: &PathBuf| !by_flag || Some(file) != environment.token_file.as_ref();
        let file = self.token_file.clone().filter(is_heeded).map(Token::file);
        file.or_else(|| environment.token.clone().filter(|_| !by_flag))
    }

    fn own(&self) -> Result<Option<(PathBuf, PathBuf)>, Failure> {
        match (self.client_cert.clone(), self.client_key.clone()) {
            (Some(certificate), Some(key)) => Ok(Some((certificate, key))),
            (None, None) => Ok(None),
            _ => Err(Failure::Usage(
                "--client-cert and --client-key are two halves: give both, or none".to_owned(),
            )),
        }
    }
}

/// What the environment says of who calls. A flag that says the same is taken to come from there.
#[derive(Clone, Debug, Default)]
pub(crate) struct Environment {
    token: Option<Token>,
    token_file: Option<PathBuf>,
    client_cert: Option<PathBuf>,
}

impl Environment {
    /// That of this process.
    pub(crate) fn of_process() -> Self {
        let variable = |name| env::var_os(name).filter(|value| !value.is_empty());
        Self {
            token: variable(TOKEN).map(|_| Token::env(TOKEN)),
            token_file: variable(TOKEN_FILE).map(PathBuf::from),
            client_cert: variable(CLIENT_CERT).map(PathBuf::from),
        }
    }
}

/// Chooses.
///
/// # Errors
/// What was given contradicts itself.
pub(crate) fn choose(
    flags: &Flags,
    environment: &Environment,
    contexts: &Contexts,
) -> Result<Access, Failure> {
    let named = flags.context.as_ref().or(contexts.current.as_ref());
    let context = named.map(|name| Ok::<_, Failure>((name, contexts.named(name)?))).transpose()?;
    let used = match (context, &flags.server) {
        (Some((_, stored)), Some(server)) if !is_same(&stored.server, server) => match &flags.context {
            Some(name) => {
                return Err(Failure::Usage(format!(
                    "--server {server} is not the control plane of context {name}, which is {}: leave one of them out",
                    stored.server
                )));
            }
            None => None,
        },
        (context, _) => context,
    };
    let (context, stored) = match used {
        Some((name, stored)) => (Some(name.clone()), stored.clone()),
        None => (None, Stored::default()),
    };
    let own = flags.own()?;
    // On the other side a token wins over a certificate: one that was kept must not overrule one that was given.
    let kept = stored.token.filter(|_| own.is_none()).map(|token| Token::new(token.reveal()));
    let server = flags.server.clone().or_else(|| context.is_some().then_some(stored.server));
    Ok(Access {
        server: server.unwrap_or_else(|| USUAL.to_owned()),
        context,
        ca_cert: flags.ca_cert.clone().or(stored.ca_cert),
        server_name: flags.server_name.clone().or(stored.server_name),
        own: own.or_else(|| stored.client_cert.zip(stored.client_key)),
        token: flags.token(environment).or(kept),
    })
}

/// Whether two addresses are one.
fn is_same(one: &str, other: &str) -> bool {
    fn bare(server: &str) -> &str {
        server.strip_prefix("http://").unwrap_or(server).trim_end_matches('/')
    }
    bare(one).eq_ignore_ascii_case(bare(other))
}

impl Access {
    /// A control plane that asks for nothing.
    pub(crate) fn plain(server: &str) -> Self {
        let server = server.to_owned();
        Self { server, context: None, ca_cert: None, server_name: None, own: None, token: None }
    }

    /// The same with this token instead.
    pub(crate) fn with_token(&self, token: Option<&Secret>) -> Self {
        Self { token: token.map(|token| Token::new(token.reveal())), ..self.clone() }
    }

    /// What a context is to remember of it, beside a token. Paths count from wherever the next command is run.
    pub(crate) fn stored(&self) -> Stored {
        let absolute = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
        let (client_cert, client_key) =
            self.own.as_ref().map(|(certificate, key)| (absolute(certificate), absolute(key))).unzip();
        Stored {
            server: self.server.clone(),
            ca_cert: self.ca_cert.as_ref().map(absolute),
            server_name: self.server_name.clone(),
            client_cert,
            client_key,
            token: None,
        }
    }

    /// The same for a look at whoever is there: it trusts anybody, and shows nothing.
    pub(crate) fn tls_to_look(&self) -> Tls {
        let tls = Tls::new().without_verification();
        match &self.server_name {
            Some(name) => tls.server_name(name),
            None => tls,
        }
    }

    /// Whom to trust and what to show over TLS.
    pub(crate) fn tls(&self) -> Tls {
        let mut tls = Tls::new();
        if let Some(authorities) = &self.ca_cert {
            tls = tls.ca_file(authorities);
        }
        if let Some(name) = &self.server_name {
            tls = tls.server_name(name);
        }
        if let Some((certificate, key)) = &self.own {
            tls = tls.identity(certificate, key);
        }
        tls
    }

    /// The host that the certificate of the control plane has to be for.
    pub(crate) fn name<'a>(&'a self, host: &'a str) -> &'a str {
        self.server_name.as_deref().unwrap_or(host)
    }

    /// Whether the control plane is talked to in secret.
    pub(crate) fn is_encrypted(&self) -> bool {
        self.server.starts_with("https://")
    }

    /// The way to the control plane.
    ///
    /// # Errors
    /// What was given cannot be right.
    pub(crate) fn transport(&self, tune: impl FnOnce(Endpoint) -> Endpoint) -> Result<Transport, Failure> {
        let (endpoint, _) = remote::endpoint(&self.server)?;
        let mut transport = Transport::new(tune(endpoint));
        if self.is_encrypted() {
            transport = transport.tls(self.tls());
        } else if let Some(flag) =
            [("--ca-cert", self.ca_cert.is_some()), ("--client-cert", self.own.is_some())]
                .into_iter()
                .find_map(|(flag, given)| given.then_some(flag))
        {
            return Err(Failure::Usage(format!(
                "{flag} proves nothing over http://; write --server https://…, not {}",
                self.server
            )));
        }
        if let Some(token) = &self.token {
            transport = transport.token(token.clone());
        }
        match transport.problems().into_iter().next() {
            None => Ok(transport),
            Some((field, problem)) => {
                let flag = match field {
                    "tls" if problem.contains("authority") => "--ca-cert",
                    "tls" => "--server-name",
                    "token" => "the token",
                    _ => "--server",
                };
                Err(Failure::Usage(format!("{flag} {problem} (for {})", self.server)))
            }
        }
    }
}

#[cfg(test)]
mod tests;
