//! Holds: components that stand still for a while, so that what is captured of them is of one moment. Whoever began to hold goes on
//! again, whatever happens: when it is told to, when the time is over, when another one cannot hold, when the agent ends. What
//! is captured meanwhile is not known here.
//!
//! A hold is a task of its own that ends by itself: it needs nobody to end it, only somebody to end it earlier. A component never goes
//! on while its own hook is still about to hold it: that would leave it held for ever. Where the hook blocks its thread, so
//! that nobody can end it, the component goes on when it is done, and cannot be held again before.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::{
    sync::{oneshot, watch},
    time::{Instant, sleep_until, timeout},
};
use tracing::warn;

use super::job::{Outcome, answer};
use crate::{
    backup::{self, Part},
    proto::seaworthy::v1::DirectiveReport,
    rt,
};

/// The longest hold.
const LONGEST: Duration = Duration::from_secs(600);
/// How long a component may take to go on.
const RESUME_PATIENCE: Duration = Duration::from_secs(30);
/// How many holds are remembered.
const REMEMBERED: usize = 64;

/// Holds that last, and some that have ended.
#[derive(Debug, Default)]
pub(super) struct Holds {
    holds: BTreeMap<String, Hold>,
    begun: u64,
}

#[derive(Debug)]
struct Hold {
    /// In the order in which they began.
    number: u64,
    directive: String,
    components: Vec<String>,
    /// Ends it. Dropped, it ends as well, and did not last.
    release: Option<oneshot::Sender<()>>,
    ended: watch::Receiver<Option<Ended>>,
}

/// How a hold ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Ended {
    /// Whether it lasted until it was released.
    held: bool,
    /// Who could not go on, and why.
    trouble: String,
    /// Whether somebody's hook is still at work.
    late: bool,
}

/// A hook that runs.
type Hook = rt::Task<Result<(), backup::Error>>;

/// A hold that is being released. `None`: nobody knows of it.
pub(super) type Resumed = Option<watch::Receiver<Option<Ended>>>;

impl Holds {
    /// Begins to hold. The time runs from now on. What is answered tells when all hold still, or that they do not.
    ///
    /// # Errors
    /// Why nobody is even asked.
    pub(super) fn begin(
        &mut self,
        runtime: &tokio::runtime::Handle,
        directive: &str,
        hold_id: String,
        parts: Vec<(String, Part)>,
        lease: Duration,
    ) -> Result<oneshot::Receiver<Result<(), String>>, String> {
        if lease.is_zero() {
            return Err("a hold takes a time".to_owned());
        }
        if self.holds.contains_key(&hold_id) {
            return Err(format!("hold `{hold_id}` has been"));
        }
        if let Some((name, _)) = parts.iter().find(|(_, part)| !part.quiesces) {
            return Err(format!("component `{name}` cannot hold still"));
        }
        let components: Vec<String> = parts.iter().map(|(name, _)| name.clone()).collect();
        for hold in self.holds.values().filter(|hold| !hold.is_over()) {
            if let Some(name) = components.iter().find(|name| hold.components.contains(name)) {
                return Err(format!("component `{name}` holds still already"));
            }
        }
        self.forget_some();
        let until = rt::now() + lease.min(LONGEST);
        let (release, released) = oneshot::channel();
        let (quiesced, wait) = oneshot::channel();
        let (tell, ended) = watch::channel(None);
        // It ends by itself: when the time is over, and 30 s for each component later at the most; later only where a hook blocks.
        rt::spawn_detached(runtime, hold(parts, until, released, quiesced, tell));
        self.begun += 1;
        let (number, directive) = (self.begun, directive.to_owned());
        self.holds.insert(hold_id, Hold { number, directive, components, release: Some(release), ended });
        Ok(wait)
    }

    /// Ends a hold that somebody waits for.
    pub(super) fn release(&mut self, hold_id: &str) -> Resumed {
        let hold = self.holds.get_mut(hold_id)?;
        if let Some(release) = hold.release.take() {
            // Where nobody hears it, it has ended.
            release.send(()).ok();
        }
        Some(hold.ended.clone())
    }

    /// Ends the hold that this directive asked for.
    pub(super) fn abandon(&mut self, directive: &str) {
        for hold in self.holds.values_mut().filter(|hold| hold.directive == directive) {
            hold.release = None;
        }
    }

    /// Ends all of them. They stay known until they are over, so that none is undone in the midst of another.
    pub(super) fn abandon_all(&mut self) {
        for hold in self.holds.values_mut() {
            hold.release = None;
        }
    }

    fn forget_some(&mut self) {
        while self.holds.len() >= REMEMBERED {
            let over = self.holds.iter().filter(|(_, hold)| hold.is_over());
            let oldest = over.min_by_key(|(_, hold)| hold.number).map(|(id, _)| id.clone());
            // There are fewer components than that, so some are over.
            let Some(oldest) = oldest else { return };
            self.holds.remove(&oldest);
        }
    }
}

impl Hold {
    /// Whether nothing of it is at work any more.
    fn is_over(&self) -> bool {
        self.ended.borrow().as_ref().is_some_and(|ended| !ended.late)
    }
}

/// Waits until all hold still.
pub(super) async fn quiesced(quiesced: oneshot::Receiver<Result<(), String>>) -> Outcome {
    match quiesced.await {
        Ok(Ok(())) => Outcome::done(),
        Ok(Err(why)) => Outcome::Failed(why),
        Err(_) => Outcome::Failed("it was stopped: the runtime ends".to_owned()),
    }
}

/// Waits until all have gone on.
pub(super) async fn resumed(hold: Resumed) -> Outcome {
    let unknown = || Ended { held: false, trouble: "no such hold is known".to_owned(), late: false };
    let Ended { held, trouble, .. } = match hold {
        None => unknown(),
        Some(mut hold) => match hold.wait_for(Option::is_some).await {
            Ok(ended) => ended.clone().unwrap_or_else(unknown),
            Err(_) => unknown(),
        },
    };
    Outcome::Done(DirectiveReport { held, message: trouble, ..DirectiveReport::default() })
}

/// One hold, from its beginning to its end.
async fn hold(
    parts: Vec<(String, Part)>,
    until: Instant,
    mut released: oneshot::Receiver<()>,
    quiesced: oneshot::Sender<Result<(), String>>,
    ended: watch::Sender<Option<Ended>>,
) {
    let mut asked = Asked::default();
    let still = tokio::select! {
        biased;
        () = sleep_until(until) => Err("not all held still before the time was over".to_owned()),
        _ = &mut released => Err("it was ended before all held still".to_owned()),
        still = hold_still(&parts, &mut asked) => still,
    };
    let (held, failed) = match still {
        // Who asked may have gone; then it ends like any other.
        Ok(()) => {
            quiesced.send(Ok(())).ok();
            let held = lasts(until, released).await;
            if !held {
                warn!("components that held still go on by themselves: nobody told them to in time");
            }
            (held, None)
        }
        Err(why) => (false, Some((quiesced, why))),
    };
    let Gone { trouble, late } = go_on(asked).await;
    if let Some((quiesced, why)) = failed {
        quiesced.send(Err(why)).ok();
    }
    ended.send_replace(Some(Ended { held, trouble: trouble.clone(), late: late.is_some() }));
    if let Some(mut late) = late {
        // As long as the hook blocks; nobody could end it earlier.
        if let Err(why) = answer("hook", &mut late).await {
            warn!("after a hold, a late component does not go on: {why}");
        }
        ended.send_replace(Some(Ended { held, trouble, late: false }));
    }
}

/// Whether it is released before its time is over.
async fn lasts(until: Instant, released: oneshot::Receiver<()>) -> bool {
    tokio::select! {
        biased;
        () = sleep_until(until) => false,
        released = released => released.is_ok(),
    }
}

/// Who was asked to hold still.
#[derive(Default)]
struct Asked {
    parts: Vec<(String, Part)>,
    /// What the last of them still does for it.
    at_work: Option<Hook>,
}

/// Asks one after the other to hold still, and notes whom it asked.
async fn hold_still(parts: &[(String, Part)], asked: &mut Asked) -> Result<(), String> {
    for (name, part) in parts {
        asked.parts.push((name.clone(), part.clone()));
        let work = asked.at_work.insert(rt::spawn(Arc::clone(&part.source).quiesce()));
        let answered = answer("hook", work).await;
        asked.at_work = None;
        answered.map_err(|why| format!("`{name}` does not hold still: {why}"))?;
    }
    Ok(())
}

/// Who has gone on.
struct Gone {
    /// Who could not, and why.
    trouble: String,
    /// Goes on when the hook that was to hold it is done.
    late: Option<Hook>,
}

/// Lets all go on, the last one first.
async fn go_on(Asked { parts, mut at_work }: Asked) -> Gone {
    let (mut trouble, mut late) = (Vec::new(), None);
    for (name, part) in parts.into_iter().rev() {
        let waits = at_work.is_some();
        let mut work = rt::spawn(go_on_after(at_work.take(), part));
        match timeout(RESUME_PATIENCE, answer("hook", &mut work)).await {
            Ok(Ok(())) => {}
            Ok(Err(why)) => trouble.push(format!("`{name}` does not go on: {why}")),
            Err(_) => {
                trouble.push(format!("`{name}` did not go on within {RESUME_PATIENCE:?}"));
                // Any other is dropped here.
                if waits {
                    late = Some(work);
                }
            }
        }
    }
    let trouble = trouble.join("; ");
    if !trouble.is_empty() {
        warn!("after a hold, {trouble}");
    }
    Gone { trouble, late }
}

/// Lets one go on, once the hook that was to hold it still is done.
async fn go_on_after(at_work: Option<Hook>, part: Part) -> Result<(), backup::Error> {
    let Some(hook) = at_work else { return part.source.resume().await };
    hook.stopped().await;
    // Nobody may wait for it any more.
    let gone_on = timeout(RESUME_PATIENCE, part.source.resume()).await;
    gone_on.unwrap_or_else(|_| Err(format!("it did not within {RESUME_PATIENCE:?}").into()))
}

#[cfg(test)]
mod tests;
