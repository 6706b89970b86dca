//! A client that does nothing wrong, on a connection of its own, beside one that does.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use seaworthy_client::proto::grpc::health::v1::{HealthCheckRequest, health_client::HealthClient};
use tokio::task::JoinHandle;
use tonic::{Status, transport::Endpoint};

use crate::victim::in_time;

/// Answers without which a client has not been served beside another.
const SERVED: u64 = 25;

/// Asks again and again, each time it was answered.
#[derive(Debug)]
pub struct Good {
    answers: Arc<AtomicU64>,
    asking: JoinHandle<Status>,
}

impl Good {
    /// Begins to ask.
    pub async fn start(at: SocketAddr) -> Self {
        let channel = Endpoint::from_shared(format!("http://{at}")).expect("a url").connect().await;
        let mut client = HealthClient::new(channel.expect("connected"));
        let answers = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&answers);
        let asking = tokio::spawn(async move {
            loop {
                match client.check(HealthCheckRequest::default()).await {
                    Ok(_) => counted.fetch_add(1, Ordering::Relaxed),
                    Err(refused) => return refused,
                };
            }
        });
        Self { answers, asking }
    }

    fn count(&self) -> u64 {
        self.answers.load(Ordering::Relaxed)
    }

    /// Does harm again and again until the good client was served beside it: what harm it does is `harm`'s.
    pub async fn beside<F: Future<Output = ()>>(&self, mut harm: impl FnMut() -> F) {
        let before = self.count();
        while self.count() < before + SERVED {
            in_time(harm()).await;
            tokio::task::yield_now().await;
        }
    }

    /// Waits until it was served once more, and checks that it always was.
    pub async fn is_served(&self) {
        let before = self.count();
        in_time(async {
            while self.count() < before + SERVED && !self.asking.is_finished() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        assert!(!self.asking.is_finished(), "the good client was refused, or its connection ended");
    }
}

impl Drop for Good {
    fn drop(&mut self) {
        self.asking.abort();
    }
}
