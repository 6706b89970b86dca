//! Who the caller is to the control plane.

use std::time::{Duration, SystemTime};

use seaworthy_client::proto::seaworthy::v1::{GetIdentityRequest, Identity};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::finding::Finding;
use crate::cli::{
    failure::{Failure, hint},
    output::clean,
    remote::Remote,
    render::identity,
};

const ID: &str = "identity.caller";
const TITLE: &str = "control plane knows who calls";
/// Less than this is soon over.
const SOON: Duration = Duration::from_secs(3 * 24 * 3600);

/// Asks who this is.
pub(super) async fn look(remote: &Remote, now: SystemTime) -> Finding {
    let mut system = remote.system();
    match remote.call("ask who this is", system.get_identity(GetIdentityRequest {})).await {
        Ok(answer) => judge(&answer.identity.unwrap_or_default(), now),
        Err(Failure::Refused { status, .. }) if status.code() == Code::Unimplemented => {
            let found = "it cannot tell: it is older than identities";
            Finding::warn(ID, TITLE, found, "update the control plane")
        }
        Err(Failure::Refused { status, .. }) => refused(&status),
        Err(failure) => Finding::fail(ID, TITLE, failure.to_string(), "look at its log, and ask again"),
    }
}

/// The control plane does not answer this caller.
pub(super) fn refused(status: &Status) -> Finding {
    let details = status.get_error_details();
    let remedy = hint(status.code(), details.error_info());
    let found = format!("it refuses ({:?}): {}", status.code(), clean(status.message()));
    Finding::fail(
        ID,
        TITLE,
        found,
        remedy.unwrap_or_else(|| "do what it says, and look at its log".to_owned()),
    )
}

fn judge(who: &Identity, now: SystemTime) -> Finding {
    let found = identity::in_words(who);
    let end = who.expire_time.and_then(|time| SystemTime::try_from(time).ok());
    if end.is_some_and(|end| end.duration_since(now).unwrap_or_default() < SOON) {
        let remedy = "renew it: `seaworthy token create` and `seaworthy login`, or a new certificate";
        return Finding::warn(ID, TITLE, format!("{found}, which is soon"), remedy);
    }
    Finding::pass(ID, TITLE, found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::readiness::Outcome;

    #[test]
    fn a_proof_that_ends_soon_is_warned_of() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let who = |left: u64| Identity {
            name: "token:alice".into(),
            expire_time: Some((now + Duration::from_secs(left)).into()),
            ..Identity::default()
        };
        assert_eq!(judge(&who(10 * 24 * 3600), now).outcome, Outcome::Pass);
        assert_eq!(judge(&who(3600), now).outcome, Outcome::Warn);
        assert_eq!(
            judge(&Identity { name: "local".into(), ..Identity::default() }, now).outcome,
            Outcome::Pass
        );
    }
}
