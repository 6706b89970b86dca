//! One component: its instance is asked to send it, and what it sends is waited for. An instance that goes away in the middle is
//! waited for as well: it, another life of it, or another instance where any would do, captures anew, and what is in the vault
//! already is not stored again.

use std::time::Duration;

use tokio::time::sleep;

use super::{
    Shared,
    hold::send,
    plan::{self, Capture, Plan, Wish},
    tickets::TransferKey,
    upload::{Received, Waiting},
};
use crate::{
    fleet::{
        directive::Ask,
        directives::{Ended, Gone, Sent},
        registration::Cut,
    },
    operation::{Run, StepHandle},
    vault::{self, Component, Intake},
};

/// How often a component is captured anew.
const ATTEMPTS: u32 = 3;
/// How long an instance that went away is waited for.
const BACK_WITHIN: Duration = Duration::from_mins(1);
/// How often it is looked for.
const LOOK: Duration = Duration::from_millis(500);
/// How long the last word of a directive, and the last of an upload, may be apart.
const LAST_WORD: Duration = Duration::from_secs(30);

/// Why an attempt came to nothing.
enum Failed {
    /// It would again.
    ForGood(String),
    /// Whoever was asked cannot be heard now.
    Gone {
        cause: String,
        /// Whether the same life of it may be asked again once it is there again: it was not the one that would not begin.
        same: bool,
    },
}

/// Captures a component, and answers it as a manifest has it: complete, or with why it is not.
pub(super) async fn capture(
    shared: &Shared,
    run: &Run,
    intake: &Intake,
    capture: Capture,
    once: bool,
) -> Component {
    let mut component =
        Component::new(capture.component.to_string(), &capture.kind, capture.key.id.to_string());
    let name = format!("capture {}/{}", capture.key, capture.component);
    let step = match run.add_step(&name, 0) {
        Ok(step) => step,
        Err(error) => return component.failed(error.to_string()),
    };
    match attempts(shared, run, intake, capture, &step, once).await {
        Ok((by, Received { captured, evidence })) => {
            component.instance = by.key.id.to_string();
            captured.fill(&mut component);
            component.evidence = evidence;
            // That the operation was taken over shows at its next change.
            step.succeed().ok();
        }
        Err(cause) => {
            step.fail(&cause).ok();
            component = component.failed(cause);
        }
    }
    component
}

async fn attempts(
    shared: &Shared,
    run: &Run,
    intake: &Intake,
    mut capture: Capture,
    step: &StepHandle,
    once: bool,
) -> Result<(Capture, Received), String> {
    let mut attempt = 1;
    loop {
        step.start().map_err(|error| error.to_string())?;
        match try_once(shared, run, intake, &capture, step).await {
            Ok(received) => return Ok((capture, received)),
            Err(Failed::ForGood(cause)) => return Err(cause),
            // Another moment is not the one that the others were held for.
            Err(Failed::Gone { cause, .. }) if once || attempt == ATTEMPTS => return Err(cause),
            Err(Failed::Gone { cause, same }) => {
                let message = format!("{}: {cause}; waiting for it to come back", capture.key);
                run.event("", &message).map_err(|error| error.to_string())?;
                capture = back(shared, &capture, same).await.ok_or(cause)?;
                attempt += 1;
            }
        }
    }
}

/// Waits until somebody is there again who has the component: whoever has gone counts as well, where it may be the `same` life of it.
async fn back(shared: &Shared, gone: &Capture, same: bool) -> Option<Capture> {
    let wish = Wish {
        components: vec![gone.component.clone()],
        instances: if gone.any_instance { Vec::new() } else { vec![gone.key.id.clone()] },
        without: Vec::new(),
    };
    let found = async {
        loop {
            sleep(LOOK).await;
            let Plan { captures, missing: _ } =
                plan::plan(&shared.fleet, &gone.key.service, &wish).await.unwrap_or_default();
            let is_same = |one: &Capture| (&one.key, one.incarnation) == (&gone.key, gone.incarnation);
            if let Some(found) = captures.into_iter().find(|one| same || !is_same(one)) {
                return found;
            }
        }
    };
    tokio::time::timeout(BACK_WITHIN, found).await.ok()
}

async fn try_once(
    shared: &Shared,
    run: &Run,
    intake: &Intake,
    capture: &Capture,
    step: &StepHandle,
) -> Result<Received, Failed> {
    let for_good = |error: crate::error::Error| Failed::ForGood(error.to_string());
    let from = TransferKey { key: capture.key.clone(), incarnation: capture.incarnation };
    let cut = match capture.settings.cut {
        Cut::Content => vault::Cut::Content,
        Cut::Pages(size) => vault::Cut::Pages(size.get()),
    };
    let as_it_is = shared.stores_as_it_is(capture.settings.incompressible);
    let expected = shared.uploads.expect(from, intake.clone(), cut, as_it_is, step.clone());
    let mut waiting = expected.map_err(for_good)?;
    let ask = Ask::Capture { component: capture.component.clone(), ticket: waiting.ticket.clone() };
    let to = (&capture.key, capture.incarnation);
    // An instance that is gone by now is no error of this backup yet.
    let mut sent = send(shared, run, to, shared.options.begin_within, ask)
        .map_err(|error| Failed::Gone { cause: error.to_string(), same: true })?;
    wait(shared.options.idle, &mut waiting, &mut sent).await
}

async fn wait(idle: Duration, waiting: &mut Waiting, sent: &mut Sent) -> Result<Received, Failed> {
    loop {
        let storing = waiting.arrival.borrow_and_update().storing;
        tokio::select! {
            biased;
            done = &mut waiting.done => return received(done, sent).await,
            ended = sent.ended() => return match ended {
                Ended::Done(_) => {
                    // What it sent last may still be on its way.
                    match tokio::time::timeout(LAST_WORD, &mut waiting.done).await {
                        Ok(done) => received(done, sent).await,
                        Err(_) => Err(Failed::ForGood("it says that it is done, and has not finished its upload".to_owned())),
                    }
                }
                Ended::Failed(report) => Err(Failed::ForGood(report.message)),
                Ended::Refused(report) => Err(Failed::ForGood(format!("it was refused: {}", report.message))),
                Ended::Gone(why) => {
                    Err(Failed::Gone { cause: why.to_string(), same: matches!(why, Gone::Lost) })
                }
                Ended::Expired => {
                    Err(Failed::Gone { cause: "it did not begin in time".to_owned(), same: false })
                }
            },
            // Each byte that comes begins the wait anew; and where the vault is slow, that is not the instance's fault.
            Ok(()) = waiting.arrival.changed() => {}
            () = sleep(idle), if !storing => {
                return Err(Failed::ForGood(format!("nothing has come of it for {} s", idle.as_secs())));
            }
        }
    }
}

/// What came of it, once the instance has said that its part is done.
async fn received(
    done: Result<Result<Received, crate::error::Error>, tokio::sync::oneshot::error::RecvError>,
    sent: &mut Sent,
) -> Result<Received, Failed> {
    let received = match done {
        Ok(Ok(received)) => received,
        Ok(Err(error)) => return Err(Failed::ForGood(error.to_string())),
        Err(_) => return Err(Failed::ForGood("its upload was given up".to_owned())),
    };
    // It was finished by length and digest; what the instance says of its own end is for its own log.
    if let Ok(Ended::Failed(report)) = tokio::time::timeout(LAST_WORD, sent.ended()).await {
        return Err(Failed::ForGood(report.message));
    }
    Ok(received)
}
