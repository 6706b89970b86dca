//! Opens the connections of a channel: reads the files, connects, shakes hands. Called by the channel each time that it
//! needs a connection, the first or a later one.

use std::{
    error::Error,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::Uri;
use hyper_util::{client::legacy::connect::HttpConnector, rt::TokioIo};
use tonic::codegen::Service;

use super::{
    Slot, Tls, Token, Transport,
    io::{Encrypted, Io},
    proof,
    trouble::{Said, Trouble},
};

/// What is spoken over TLS.
const PROTOCOL: &str = "h2";

type Failed = Box<dyn Error + Send + Sync>;

/// Opens connections to one control plane.
pub(super) struct Connector {
    tcp: HttpConnector,
    tls: Option<Tls>,
    token: Option<Token>,
    slot: Arc<Slot>,
    trouble: Trouble,
}

impl Connector {
    pub(super) fn new(transport: &Transport, slot: Arc<Slot>, trouble: Trouble) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(transport.endpoint.get_connect_timeout());
        // Without one, what is wrong with an encrypted control plane is that nobody said whom to trust.
        let encrypted = transport.endpoint.uri().scheme_str() == Some("https");
        let tls = encrypted.then(|| transport.tls.clone().unwrap_or_default());
        Self { tcp, tls, token: transport.token.clone(), slot, trouble }
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Io>;
    type Error = Failed;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Failed>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        self.tcp.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        self.trouble.forget();
        let (tls, token) = (self.tls.clone(), self.token.clone());
        let (slot, trouble) = (Arc::clone(&self.slot), self.trouble.clone());
        let tcp = self.tcp.call(uri.clone());
        Box::pin(async move {
            let said = |words: String| -> Failed { Box::new(Said(words)) };
            slot.put(proof(token).await.map_err(said)?);
            let prepared = match &tls {
                Some(tls) => Some(tls.prepare(uri.host().unwrap_or_default(), PROTOCOL).await.map_err(said)?),
                None => None,
            };
            let stream = tcp.await?.into_inner();
            let Some(prepared) = prepared else { return Ok(TokioIo::new(Io::Plain(stream))) };
            let stream = prepared.handshake(stream).await.map_err(said)?;
            let (about, shown) = (prepared.about, prepared.shown);
            let encrypted = Encrypted { stream, about, shown, trouble, heard: false };
            Ok(TokioIo::new(Io::Encrypted(Box::new(encrypted))))
        })
    }
}
