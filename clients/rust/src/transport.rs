//! How a control plane is reached, and what proves there who calls: encryption, certificates and tokens.
//!
//! The one place that opens connections to a control plane, for the agent and for the command line alike. What is named
//! by a file is read anew for every connection, so that whatever was renewed counts from the next one on. It knows
//! nothing of sessions, and decides nothing about what somebody may do.
//!
//! Plain `http://` without a token goes by tonic's own connector. Everything else goes by the one here.

#[cfg(feature = "tls")]
mod connector;
pub(crate) mod files;
#[cfg(feature = "tls")]
mod io;
mod secret;
#[cfg(feature = "tls")]
mod tls;
mod token;
mod trouble;
#[cfg(feature = "tls")]
mod words;

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::sync::watch;
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};

#[cfg(feature = "tls")]
pub use self::tls::Tls;
pub use self::{
    secret::Secret,
    token::Token,
    trouble::{CannotConnect, Trouble},
};
use crate::rt;

/// What may be on its way to us on one stream of a connection for bulk, and on all of them.
const BULK_STREAM_WINDOW: u32 = 4 << 20;
const BULK_CONNECTION_WINDOW: u32 = 8 << 20;
/// The largest frame that such a connection takes: the default of 16 KiB is what holds uploads back, more than windows do.
const BULK_FRAME: u32 = 1 << 20;

/// The value of an `authorization` header.
type Proof = MetadataValue<Ascii>;

/// A control plane, and what is brought along to it.
#[derive(Clone, Debug)]
pub struct Transport {
    endpoint: Endpoint,
    #[cfg(feature = "tls")]
    tls: Option<Tls>,
    token: Option<Token>,
    plaintext_token: bool,
}

/// An open connection. When it is lost, calls on it open another one.
#[derive(Clone, Debug)]
pub struct Connection {
    channel: Authorized,
    trouble: Trouble,
}

/// A channel whose calls carry the token.
pub type Authorized = InterceptedService<Channel, Bearer>;

/// Puts the token of a connection on each of its calls.
#[derive(Clone, Debug)]
pub struct Bearer(Arc<Slot>);

/// The token that counts now.
#[derive(Debug)]
struct Slot(watch::Sender<Option<Proof>>);

impl Slot {
    fn empty() -> Arc<Self> {
        Arc::new(Self(watch::Sender::new(None)))
    }

    fn put(&self, proof: Option<Proof>) {
        self.0.send_replace(proof);
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(proof) = self.0.0.borrow().clone() {
            request.metadata_mut().insert("authorization", proof);
        }
        Ok(request)
    }
}

impl Transport {
    /// The control plane at this endpoint, `http://` or `https://`. Timeouts are the endpoint's.
    pub fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            #[cfg(feature = "tls")]
            tls: None,
            token: None,
            plaintext_token: false,
        }
    }

    /// Whom to trust, and the client's own certificate.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// The token that every call carries.
    #[must_use]
    pub fn token(mut self, token: Token) -> Self {
        self.token = Some(token);
        self
    }

    /// Lets the token go over plain `http://` beyond loopback, where whoever is on the way can read it.
    #[must_use]
    pub fn allow_plaintext_token(mut self) -> Self {
        self.plaintext_token = true;
        self
    }

    /// The same, for connections that carry much in few messages. How much it may send at once is up to the other end.
    pub(crate) fn for_bulk(&self) -> Self {
        let endpoint = self.endpoint.clone();
        let endpoint = endpoint
            .initial_stream_window_size(BULK_STREAM_WINDOW)
            .initial_connection_window_size(BULK_CONNECTION_WINDOW)
            .max_frame_size(BULK_FRAME);
        Self { endpoint, ..self.clone() }
    }

    /// What is wrong with it, as far as can be told without a file or a connection: the field, and what would be right.
    pub fn problems(&self) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        let uri = self.endpoint.uri();
        let encrypted = uri.scheme_str() == Some("https");
        self.tls_problems(encrypted, &mut found);
        if let Some(token) = &self.token {
            if let Err(problem) = token.check() {
                found.push(("token", problem));
            }
            let exposed = !encrypted && !self.plaintext_token && !is_loopback(uri.host().unwrap_or_default());
            if exposed {
                let problem = "would go over plain http:// for everybody on the way to read; use https://, or \
                               allow it where the network itself is encrypted";
                found.push(("token", problem.to_owned()));
            }
        }
        found
    }

    #[cfg(feature = "tls")]
    fn tls_problems(&self, encrypted: bool, found: &mut Vec<(&'static str, String)>) {
        match &self.tls {
            None if encrypted => found.push(("tls", tls::NO_AUTHORITY.to_owned())),
            None => {}
            Some(_) if !encrypted => {
                let problem = "is plain http://, where certificates prove nothing; write https://";
                found.push(("control_plane", problem.to_owned()));
            }
            Some(tls) => found.extend(tls.problems().into_iter().map(|problem| ("tls", problem))),
        }
    }

    #[cfg(not(feature = "tls"))]
    fn tls_problems(&self, encrypted: bool, found: &mut Vec<(&'static str, String)>) {
        if encrypted {
            found.push(("control_plane", "is https://, which needs the feature `tls`".to_owned()));
        }
    }

    /// Files that it reads for every connection.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let mut paths: Vec<PathBuf> = Vec::new();
        #[cfg(feature = "tls")]
        paths.extend(self.tls.iter().flat_map(Tls::files).map(Path::to_owned));
        paths.extend(self.token.as_ref().and_then(Token::path).map(Path::to_owned));
        paths
    }

    /// Where it leads.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The secret of the token as it is now, for what is asked beside gRPC.
    ///
    /// # Errors
    /// Its file or variable cannot be used; the words say why.
    pub fn secret(&self) -> Result<Option<Secret>, String> {
        self.token.as_ref().map(Token::read).transpose()
    }

    /// Reads the files and opens a connection, within the endpoint's timeout. Cancel safe.
    ///
    /// # Errors
    /// A file cannot be used, nobody is there, or the two do not trust each other.
    pub async fn connect(&self) -> Result<Connection, CannotConnect> {
        let (slot, trouble) = (Slot::empty(), Trouble::default());
        let channel = self.open(&slot, &trouble).await?;
        Ok(Connection { channel: InterceptedService::new(channel, Bearer(slot)), trouble })
    }

    #[cfg(feature = "tls")]
    async fn open(&self, slot: &Arc<Slot>, trouble: &Trouble) -> Result<Channel, CannotConnect> {
        // However the endpoint came to be checked: nothing is said in the clear to one that should be encrypted.
        let encrypted = self.endpoint.uri().scheme_str() == Some("https");
        if self.tls.is_none() && self.token.is_none() && !encrypted {
            return Ok(self.endpoint.connect().await?);
        }
        let connector = connector::Connector::new(self, Arc::clone(slot), trouble.clone());
        Ok(self.endpoint.connect_with_connector(connector).await?)
    }

    #[cfg(not(feature = "tls"))]
    async fn open(&self, slot: &Arc<Slot>, _: &Trouble) -> Result<Channel, CannotConnect> {
        if self.endpoint.uri().scheme_str() == Some("https") {
            return Err(CannotConnect::because("https:// needs the feature `tls`"));
        }
        slot.put(proof(self.token.clone()).await.map_err(CannotConnect::because)?);
        Ok(self.endpoint.connect().await?)
    }
}

impl Connection {
    /// A channel for generated clients.
    pub fn channel(&self) -> Authorized {
        self.channel.clone()
    }

    /// What is known to be wrong with the connection.
    pub fn trouble(&self) -> &Trouble {
        &self.trouble
    }
}

/// Reads the token, where there is one.
async fn proof(token: Option<Token>) -> Result<Option<Proof>, String> {
    let Some(token) = token else { return Ok(None) };
    let read = rt::blocking(move || token.proof()).await;
    read.map_err(|_| "the token could not be read".to_owned())?.map(Some)
}

/// Whether a host is this machine, by an address or by the name that everybody has for it.
pub fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.eq_ignore_ascii_case("localhost") || bare.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

/// Reads a file that holds no more than what belongs into it.
fn read(path: &Path, what: &str, most: u64) -> Result<Vec<u8>, String> {
    use std::io::Read as _;
    let cannot = |cause| format!("cannot read {what} {}: {cause}", path.display());
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(cannot)?;
    file.take(most + 1).read_to_end(&mut bytes).map_err(cannot)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > most) {
        return Err(format!("cannot read {what} {}: it has more than {most} bytes", path.display()));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
