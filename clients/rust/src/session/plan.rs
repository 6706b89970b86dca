//! What follows from the end of a session or of a try to open one: how to open the next, and when.
//! Pure: no clock, no network; randomness is handed in, except for the secret of a new registration.

use std::time::Duration;

use crate::rt::{self, backoff::Backoff};

/// Longest pause before the first try after a session that held.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Longest pause between tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Pause where hurry would be wrong: another process holds the id, or an operator removed us.
const SLOW_PAUSE: Duration = Duration::from_secs(10);
/// A session that lived this long held: the pauses begin again.
const HELD: Duration = Duration::from_secs(30);
/// Longest pause that the control plane may ask for.
const LONGEST_ASKED_PAUSE: Duration = Duration::from_secs(300);
/// What is added at random to a pause that many may be told at once, so that a fleet does not return in step.
const JITTER: f64 = 0.2;

/// A registration, and what proves that it is ours.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Registered {
    pub(crate) incarnation: u64,
    pub(crate) token: String,
}

/// How to open a session.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Opening {
    /// Register. The request id makes a repeat after a lost answer safe. The last registration, where it may
    /// live after all, lets the next take over its id at once.
    Register { request_id: String, last: Option<Registered> },
    /// Go on with what was registered.
    Resume(Registered),
}

/// Why a session, or a try to open one, ended, as far as it decides what to do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Why {
    /// The connection or the control plane went away; a registration may well live on, be it one whose
    /// answer was lost.
    Broken,
    /// The control plane cannot do it now, and has done nothing.
    Busy,
    /// There was no connection: nothing was asked.
    Unreachable,
    /// Another process took over the instance id.
    Superseded,
    /// The registration does not exist any more, says the control plane: register again.
    Gone,
    /// An operator removed the instance: register again, without hurry.
    Removed,
    /// The id belongs to an instance that lives.
    Held,
    /// The control plane will not have it as it is; only a change there helps.
    Refused,
    /// Who we are is not proved, or not allowed that; nothing was done, and what is lacking may be put in place while
    /// we wait.
    Unproven,
}

/// The end of a session, or of a try to open one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct End {
    pub(crate) why: Why,
    /// For people.
    pub(crate) message: String,
    /// When the control plane wants to see us again, if it said so.
    pub(crate) retry_after: Option<Duration>,
}

impl End {
    pub(crate) fn broken(message: impl Into<String>) -> Self {
        Self { why: Why::Broken, message: message.into(), retry_after: None }
    }
}

/// What comes next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Next {
    /// How long to wait before the next try.
    pub(crate) pause: Duration,
    /// Whether this end differs in kind from the one before.
    pub(crate) is_news: bool,
}

/// Where the attachment is between sessions.
#[derive(Debug)]
pub(crate) struct Plan {
    opening: Opening,
    backoff: Backoff,
    superseded: bool,
    /// A registration was asked for and nobody heard what became of it.
    open_ended: bool,
    last: Option<(Why, String)>,
}

impl Plan {
    pub(crate) fn new() -> Self {
        Self {
            opening: register(None),
            backoff: Backoff::new(FIRST_PAUSE, LONGEST_PAUSE),
            superseded: false,
            open_ended: false,
            last: None,
        }
    }

    /// How to open the next session.
    pub(crate) fn opening(&self) -> &Opening {
        &self.opening
    }

    /// Whether another process holds the id, as far as is known.
    pub(crate) fn is_superseded(&self) -> bool {
        self.superseded
    }

    /// Whether something may be registered of which no token is known: somebody asked for it, and the
    /// answer was lost. The lease of it runs out by itself.
    pub(crate) fn is_open_ended(&self) -> bool {
        self.open_ended
    }

    /// Notes that a session is open. The token is given where it registered anew.
    pub(crate) fn opened(&mut self, incarnation: u64, token: Option<&str>) {
        if let Some(token) = token {
            self.opening = Opening::Resume(Registered { incarnation, token: token.to_owned() });
        }
        self.superseded = false;
        self.open_ended = false;
        self.last = None;
    }

    /// What follows from this end of a session that lived this long (zero: it did not open), for a
    /// random number from 0 up to 1.
    pub(crate) fn after(&mut self, end: &End, lived: Duration, random: f64) -> Next {
        if lived >= HELD {
            self.backoff.reset();
        }
        // Only an answer of its own closes it again: a later refusal says nothing about the one before.
        self.open_ended |= matches!((&self.opening, end.why), (Opening::Register { .. }, Why::Broken));
        let backoff = self.backoff.next(random);
        let pause = match end.why {
            Why::Broken | Why::Busy | Why::Unreachable => backoff,
            Why::Gone => {
                self.opening = register(self.last_registered());
                backoff
            }
            Why::Removed => {
                self.opening = register(None);
                SLOW_PAUSE
            }
            Why::Superseded => {
                self.opening = register(None);
                self.superseded = true;
                SLOW_PAUSE
            }
            Why::Unproven => unhurried(None, random),
            Why::Held if self.superseded => SLOW_PAUSE,
            Why::Held => backoff,
            Why::Refused => {
                // Whether the token or the registration was wrong: a new registration is the cure.
                self.opening = register(self.last_registered());
                SLOW_PAUSE
            }
        };
        let asked = end.retry_after.map(|asked| stretched(asked.min(LONGEST_ASKED_PAUSE), random));
        let pause = match (end.why, asked) {
            // Said with regard to the holder's lease, which may end earlier: ask now and then.
            (Why::Held, Some(asked)) => pause.max(asked.min(LONGEST_PAUSE)),
            // The control plane knows better than our default how long a removal should last.
            (Why::Removed, Some(asked)) => backoff.max(asked),
            // Never sooner than the backoff: one that says "at once" each time must not make us spin.
            (_, Some(asked)) => pause.max(asked),
            (_, None) => pause,
        };
        let this = Some((end.why, end.message.clone()));
        let is_news = self.last != this;
        self.last = this;
        Next { pause, is_news }
    }

    fn last_registered(&self) -> Option<Registered> {
        match &self.opening {
            Opening::Register { last, .. } => last.clone(),
            Opening::Resume(registered) => Some(registered.clone()),
        }
    }
}

/// The pause where only a change of what proves who we are helps, and none shorter than was asked for, for a random number
/// from 0 up to 1.
pub(crate) fn unhurried(asked: Option<Duration>, random: f64) -> Duration {
    stretched(SLOW_PAUSE.max(asked.unwrap_or_default().min(LONGEST_ASKED_PAUSE)), random)
}

fn stretched(pause: Duration, random: f64) -> Duration {
    pause.mul_f64(1.0 + JITTER * random.clamp(0.0, 1.0))
}

fn register(last: Option<Registered>) -> Opening {
    // Without randomness there is no secret; a registration without one is still right, only a lost
    // answer costs the wait for its lease.
    Opening::Register { request_id: rt::random_hex::<16>().unwrap_or_default(), last }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(why: Why) -> End {
        End { why, message: "words".to_owned(), retry_after: None }
    }

    fn attached() -> Plan {
        let mut plan = Plan::new();
        plan.opened(7, Some("token"));
        plan
    }

    #[test]
    fn what_follows_from_an_end_of_a_session_as_a_table() {
        for (why, resumes, proves, slow, superseded) in [
            (Why::Broken, true, true, false, false),
            (Why::Busy, true, true, false, false),
            (Why::Unreachable, true, true, false, false),
            (Why::Gone, false, true, false, false),
            (Why::Removed, false, false, true, false),
            (Why::Superseded, false, false, true, true),
            (Why::Refused, false, true, true, false),
            (Why::Unproven, true, true, true, false),
        ] {
            let mut plan = attached();
            let next = plan.after(&end(why), Duration::ZERO, 1.0);
            let slow_pause = if why == Why::Unproven { SLOW_PAUSE.mul_f64(1.2) } else { SLOW_PAUSE };
            assert_eq!(matches!(plan.opening(), Opening::Resume(_)), resumes, "{why:?}");
            let last = proves.then(|| Registered { incarnation: 7, token: "token".to_owned() });
            assert_eq!(plan.last_registered(), last, "{why:?}");
            // However often it is asked again.
            plan.after(&end(Why::Refused), Duration::ZERO, 1.0);
            assert_eq!(plan.last_registered(), last, "{why:?}");
            assert_eq!(next.pause, if slow { slow_pause } else { FIRST_PAUSE }, "{why:?}");
            assert_eq!(plan.is_superseded(), superseded, "{why:?}");
        }
    }

    #[test]
    fn a_lost_answer_is_repeated_with_the_same_request_id_and_a_new_registration_has_its_own() {
        let mut plan = Plan::new();
        let first = plan.opening().clone();
        plan.after(&end(Why::Broken), Duration::ZERO, 0.5);
        plan.after(&end(Why::Held), Duration::ZERO, 0.5);
        assert_eq!(*plan.opening(), first);
        plan.opened(1, Some("token"));
        plan.after(&end(Why::Gone), Duration::ZERO, 0.5);
        assert!(matches!(plan.opening(), Opening::Register { .. }));
        assert_ne!(*plan.opening(), first);
    }

    #[test]
    fn a_registration_stays_open_ended_until_a_session_opens_as_a_table() {
        for (why, open_ended) in [
            (Why::Broken, true),
            (Why::Busy, false),
            (Why::Unreachable, false),
            (Why::Gone, false),
            (Why::Removed, false),
            (Why::Superseded, false),
            (Why::Held, false),
            (Why::Refused, false),
            (Why::Unproven, false),
        ] {
            let mut plan = Plan::new();
            plan.after(&end(why), Duration::ZERO, 0.5);
            assert_eq!(plan.is_open_ended(), open_ended, "{why:?}");
            plan.after(&end(Why::Broken), Duration::ZERO, 0.5);
            plan.after(&end(why), Duration::ZERO, 0.5);
            assert!(plan.is_open_ended(), "{why:?}");
            plan.opened(1, Some("token"));
            plan.after(&end(why), Duration::ZERO, 0.5);
            assert!(!plan.is_open_ended(), "{why:?}");
        }
    }

    #[test]
    fn a_resumed_session_keeps_its_token() {
        let mut plan = attached();
        plan.after(&end(Why::Broken), Duration::ZERO, 0.5);
        plan.opened(7, None);
        assert_eq!(
            *plan.opening(),
            Opening::Resume(Registered { incarnation: 7, token: "token".to_owned() })
        );
    }

    #[test]
    fn only_a_session_that_held_begins_the_pauses_again() {
        let mut plan = attached();
        let pauses = |plan: &mut Plan, lived| {
            (0..4).map(|_| plan.after(&end(Why::Broken), lived, 1.0).pause.as_millis()).collect::<Vec<_>>()
        };
        assert_eq!(pauses(&mut plan, Duration::from_secs(29)), [100, 200, 400, 800]);
        assert_eq!(pauses(&mut plan, HELD), [100, 100, 100, 100]);
    }

    #[test]
    fn a_pause_that_was_asked_for_is_kept_within_reason() {
        for (why, asked, least, most) in [
            (Why::Broken, 3, 3_000, 3_600),
            (Why::Broken, 0, 0, 100),
            (Why::Broken, 1_000_000, 300_000, 360_000),
            (Why::Removed, 2, 2_000, 2_400),
            (Why::Superseded, 1, 10_000, 10_000),
            (Why::Held, 15, 10_000, 10_000),
            (Why::Held, 2, 2_000, 2_400),
        ] {
            for random in [0.0, 0.5, 1.0] {
                let end = End { retry_after: Some(Duration::from_secs(asked)), ..end(why) };
                let pause = attached().after(&end, Duration::ZERO, random).pause.as_millis();
                assert!((least..=most).contains(&pause), "{why:?} asked {asked}s: {pause}ms");
            }
        }
    }

    #[test]
    fn who_waits_for_another_proof_does_not_come_back_in_step_and_not_before_it_was_asked_to() {
        for (asked, random, milliseconds) in [
            (None, 0.0, 10_000),
            (None, 0.5, 11_000),
            (None, 1.0, 12_000),
            (Some(1), 0.5, 11_000),
            (Some(60), 0.0, 60_000),
            (Some(60), 1.0, 72_000),
            (Some(1_000_000), 1.0, 360_000),
        ] {
            let retry_after = asked.map(Duration::from_secs);
            let pause = Duration::from_millis(milliseconds);
            assert_eq!(unhurried(retry_after, random), pause, "{asked:?} {random}");
            let unproven = End { retry_after, ..end(Why::Unproven) };
            assert_eq!(
                attached().after(&unproven, Duration::ZERO, random).pause,
                pause,
                "{asked:?} {random}"
            );
        }
    }

    #[test]
    fn zero_pauses_that_are_asked_for_again_and_again_do_not_make_it_spin() {
        let mut plan = attached();
        let end = End { retry_after: Some(Duration::ZERO), ..end(Why::Broken) };
        let total: Duration = (0..20).map(|_| plan.after(&end, Duration::from_secs(1), 0.5).pause).sum();
        assert!(total > Duration::from_secs(60));
    }

    #[test]
    fn an_instance_that_was_superseded_stays_so_until_it_is_attached_again() {
        let mut plan = attached();
        assert!(plan.after(&end(Why::Superseded), Duration::ZERO, 0.1).is_news);
        let held = plan.after(&end(Why::Held), Duration::ZERO, 0.1);
        assert_eq!(held, Next { pause: SLOW_PAUSE, is_news: true });
        assert!(!plan.after(&end(Why::Held), Duration::ZERO, 0.1).is_news);
        assert!(plan.is_superseded());
        plan.opened(9, Some("other"));
        assert!(!plan.is_superseded());
    }
}
