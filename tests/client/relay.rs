//! A network that a test can take away: carries bytes between an address of its own and a server.

use std::{net::SocketAddr, sync::Arc};

use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    task::{JoinHandle, JoinSet},
};

/// Carries nothing while it is closed: connections are refused, and those that were open are cut.
pub(crate) struct Relay {
    address: SocketAddr,
    /// Never listens: it keeps the port ours while nobody else does.
    _held: Arc<TcpSocket>,
    carrying: Option<JoinHandle<()>>,
}

impl Relay {
    /// Refuses connections for now.
    pub(crate) fn closed() -> Self {
        let held = socket("127.0.0.1:0".parse().expect("an address"));
        let address = held.local_addr().expect("it is bound");
        Self { address, _held: Arc::new(held), carrying: None }
    }

    /// Carries to this server.
    pub(crate) fn to(server: SocketAddr) -> Self {
        let mut relay = Self::closed();
        relay.open(server);
        relay
    }

    /// Where clients find it, the same for as long as it lives.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Carries to this server from now on.
    pub(crate) fn open(&mut self, server: SocketAddr) {
        let listener = socket(self.address).listen(64).expect("the port is ours");
        self.carrying = Some(tokio::spawn(carry(listener, server)));
    }

    /// Cuts every connection, and answers once that is done.
    pub(crate) async fn cut(&mut self) {
        if let Some(carrying) = self.carrying.take() {
            carrying.abort();
            // Aborted, as was asked.
            carrying.await.ok();
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if let Some(carrying) = &self.carrying {
            carrying.abort();
        }
    }
}

fn socket(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_reuseport(true).expect("the port can be shared");
    socket.bind(address).expect("the port is ours");
    socket
}

/// Owns the connections: whoever ends it cuts them.
async fn carry(listener: TcpListener, server: SocketAddr) {
    let mut connections = JoinSet::new();
    loop {
        let (mut near, _) = listener.accept().await.expect("a connection");
        connections.spawn(async move {
            let Ok(mut far) = TcpStream::connect(server).await else { return };
            tokio::io::copy_bidirectional(&mut near, &mut far).await.ok();
        });
    }
}
