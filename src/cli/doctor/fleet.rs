//! The fleet, read as far as it has to be to be judged, and no longer than a few answers may take.

use std::time::Duration;

use seaworthy_client::proto::seaworthy::v1::{HealthState, Lifecycle, ListInstancesRequest, Service};
use tokio::time::timeout;

use super::{finding::Finding, judge, reach::Reached, unanswered};
use crate::cli::{failure::Failure, pages::Pages, remote::Remote, service};

/// Instances that are asked for at a time.
const PAGE: i32 = 1000;
/// Pages of instances that are looked at for those that were not heard yet.
const MOST_PAGES: u32 = 10;
/// All pages together may take as long as so many answers.
const ANSWERS: u32 = 3;

/// Of the instances whose health is not known: those that were not heard since the start.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Unheard {
    pub(super) instances: usize,
    /// Those that were looked at.
    pub(super) of: usize,
    /// Whether there are more, which were not looked at.
    pub(super) more: bool,
}

/// Reads it and judges it; each answer may take `wait`.
pub(super) async fn look(reached: &Reached, wait: Duration) -> Vec<Finding> {
    let remote = &reached.remote;
    let asked = async {
        let services = service::all(remote).await?.services;
        let unheard = unheard(remote, &services).await?;
        Ok::<_, Failure>((services, unheard))
    };
    let (id, title) = ("fleet.answer", "fleet can be read");
    let longest = wait.saturating_mul(ANSWERS);
    match timeout(longest, asked).await {
        Ok(Ok((services, unheard))) => judge::fleet(&services, unheard),
        Ok(Err(failure)) => vec![unanswered(id, title, &failure)],
        Err(_) => {
            let remedy = "look at the network between and at its load, or give it more time: --timeout";
            vec![Finding::fail(id, title, format!("not within {longest:?}"), remedy)]
        }
    }
}

async fn unheard(remote: &Remote, services: &[Service]) -> Result<Unheard, Failure> {
    let mut found = Unheard::default();
    // Whoever was not heard is among them.
    if services.iter().all(|service| service.counts.unwrap_or_default().unknown == 0) {
        return Ok(found);
    }
    let mut request = ListInstancesRequest {
        lifecycle: Lifecycle::Ready.into(),
        health: HealthState::Unknown.into(),
        page_size: PAGE,
        ..ListInstancesRequest::default()
    };
    let (mut client, mut pages) = (remote.fleet(), Pages::default());
    for _ in 0..MOST_PAGES {
        let page =
            remote.read("list instances", async || client.list_instances(request.clone()).await).await?;
        found.of += page.instances.len();
        found.instances += page.instances.iter().filter(|instance| !instance.confirmed).count();
        let next = pages.next(page.next_page_token)?;
        found.more = next.is_some();
        match next {
            // How many more there are of them changes nothing.
            Some(token) if found.instances == 0 => request.page_token = token,
            _ => break,
        }
    }
    Ok(found)
}
