//! Optional behaviours of the control plane, turned on and off by its own flags while it runs. Those of the guard follow them
//! by themselves (`guard::protection`).

use std::sync::Arc;

use tracing::info;

use crate::{
    checks,
    policy::{self, own::Behaviour},
    task::drain,
};

/// Follows the flags until the drain begins.
pub(super) async fn follow(policies: policy::Handle, checks: checks::Handle, mut drain: drain::Watch) {
    let mut book = policies.watch();
    let mut asked = true;
    loop {
        let asks = Behaviour::ActiveChecks.is_on(&Arc::clone(&book.borrow_and_update()));
        if asks != asked {
            info!(
                component = "policy",
                operation = "flag",
                flag = Behaviour::ActiveChecks.flag(),
                on = asks,
                "behaviour changed"
            );
            checks.configure(|options| options.asks = asks);
            asked = asks;
        }
        tokio::select! {
            biased;
            () = drain.begun() => return,
            changed = book.changed() => if changed.is_err() {
                return;
            },
        }
    }
}
