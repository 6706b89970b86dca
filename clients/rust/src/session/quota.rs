//! Asks for slices of the limits that all instances share, for as long as a session lives: before each one ends, and by how
//! much was asked of it since. No call waits for this.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, timeout};
use tracing::debug;

use crate::{
    protect::{Rules, share::Share},
    proto::seaworthy::v1::{
        AcquireQuotaRequest, InstanceRef, QuotaSlice, QuotaWant, policy_service_client::PolicyServiceClient,
    },
    rt,
    transport::Authorized,
};

/// How often it is looked whether there are new ones.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(2);
/// Limits of which slices are asked for at once: as many as the control plane takes.
const AT_ONCE: usize = 64;
/// A slice is asked for again after this part of its life.
const AGAIN_AFTER: u32 = 3;
/// Jitter of that, either way.
const JITTER: f64 = 0.1;

/// One limit that is shared, and when a slice of it is asked for again.
struct Asked {
    share: Arc<Share>,
    since: Instant,
    again: Instant,
    /// What was left out of demands so far, which are whole numbers: the next one makes up for it.
    owed: f64,
}

/// Runs until it is dropped.
pub(super) async fn keep(channel: Authorized, instance: InstanceRef, session_token: String, rules: Rules) {
    let mut client = PolicyServiceClient::new(channel);
    let mut asked: Vec<Asked> = Vec::new();
    loop {
        take_up_new(&mut asked, &rules.shares());
        let now = rt::now();
        let mut due: Vec<&mut Asked> = asked.iter_mut().filter(|it| it.again <= now).take(AT_ONCE).collect();
        if !due.is_empty() {
            let wants = due.iter_mut().map(|it| want(it, now)).collect();
            let (instance, session_token) = (Some(instance.clone()), session_token.clone());
            let request = AcquireQuotaRequest { instance, session_token, wants };
            match timeout(PATIENCE, client.acquire_quota(request)).await {
                Ok(Ok(answer)) => {
                    let slices = answer.into_inner().slices;
                    due.iter_mut().zip(slices).for_each(|(it, slice)| take(it, &slice));
                }
                Ok(Err(status)) => debug!(%status, "no slices of shared limits"),
                Err(_) => debug!("no slices of shared limits within {PATIENCE:?}"),
            }
        }
        sleep(LOOK_EVERY).await;
    }
}

/// Goes on with those that there are still, and begins with those that are new.
fn take_up_new(asked: &mut Vec<Asked>, shares: &[Arc<Share>]) {
    asked.retain(|it| shares.iter().any(|share| Arc::ptr_eq(share, &it.share)));
    for share in shares {
        if !asked.iter().any(|it| Arc::ptr_eq(share, &it.share)) {
            let now = rt::now();
            asked.push(Asked { share: Arc::clone(share), since: now, again: now, owed: 0.0 });
        }
    }
}

fn want(it: &mut Asked, now: Instant) -> QuotaWant {
    let which = it.share.which();
    let (period, since) = (it.share.period().as_secs_f64(), (now - it.since).as_secs_f64());
    let count = it.share.asked_so_far();
    QuotaWant {
        policy: which.policy.clone(),
        limit: u32::try_from(which.limit).unwrap_or(u32::MAX),
        operation: which.operation.clone(),
        demand: demand(count, since, period, &mut it.owed),
    }
}

/// What was asked in a time, for a period, in whole numbers that are right on average. None: the time is too short to say.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a share of a limit
fn demand(count: u64, since: f64, period: f64, owed: &mut f64) -> Option<u64> {
    if since < 0.1 {
        return None;
    }
    let exact = count as f64 * period / since + *owed;
    *owed = exact.fract();
    Some(exact as u64)
}

fn take(it: &mut Asked, slice: &QuotaSlice) {
    let now = rt::now();
    it.share.forget_asked();
    it.since = now;
    let ttl = slice.ttl.and_then(|ttl| Duration::try_from(ttl).ok()).unwrap_or_default();
    if slice.problem.is_empty() && !ttl.is_zero() {
        it.share.take_slice(slice.amount, ttl);
        // What one instance got too little of it is to get soon.
        let pause = if slice.amount > 0.0 { ttl / AGAIN_AFTER } else { LOOK_EVERY };
        it.again = now + rt::jittered(pause, JITTER);
    } else {
        debug!(policy = it.share.which().policy, "no slice of a shared limit: {}", slice.problem);
        it.again = now + PATIENCE;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn demand_is_what_was_asked_for_a_period() {
        for (count, since, period, said) in [
            (10, 1.0, 1.0, Some(10)),
            (10, 2.0, 1.0, Some(5)),
            (10, 2.0, 60.0, Some(300)),
            (0, 1.0, 1.0, Some(0)),
            (1, 0.01, 1.0, None),
        ] {
            assert_eq!(demand(count, since, period, &mut 0.0), said);
        }
        // Three in four seconds.
        let mut owed = 0.0;
        let said: Vec<_> = (0..4).map(|_| demand(3, 4.0, 1.0, &mut owed).unwrap()).collect();
        assert_eq!(said, [0, 1, 1, 1]);
    }
}
