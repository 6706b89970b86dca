//! An instance that keeps some bytes, for tests that back them up and restore them.

use std::sync::Arc;

use parking_lot::Mutex;
use seaworthy_client::{
    Agent, Component,
    backup::{CaptureWriter, Evidence, RestoreReader, Restored},
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::harness::TestServer;

/// What an instance keeps.
pub(crate) type Kept = Arc<Mutex<Vec<u8>>>;

/// An instance that keeps some bytes, which it sends and takes.
pub(crate) async fn keeper(server: &TestServer, service: &str, id: &str, kept: &Kept) -> Agent {
    let (from, to) = (Arc::clone(kept), Arc::clone(kept));
    let component = Component::new("database").backup_with(
        move |mut into: CaptureWriter| {
            let bytes = from.lock().clone();
            async move {
                into.write_all(&bytes).await?;
                Ok(Evidence::new())
            }
        },
        move |mut from: RestoreReader, _: Restored| {
            let to = Arc::clone(&to);
            async move {
                let mut bytes = Vec::new();
                from.read_to_end(&mut bytes).await?;
                *to.lock() = bytes;
                Ok(())
            }
        },
    );
    let builder = Agent::builder(server.url(), service).instance_id(id);
    let agent = builder.component(component.without_health()).attach().unwrap();
    agent.attached().await.unwrap();
    agent
}
