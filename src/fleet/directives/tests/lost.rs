//! Restores at instances that are lost, and perhaps come back.

use super::*;
use crate::fleet::{
    directive::{Restore, Ticket},
    names::ComponentName,
};

fn restore() -> Restore {
    Restore {
        component: ComponentName::parse("database").unwrap(),
        ticket: Ticket::of("swx_1".to_owned()),
        backup_id: String::new(),
        source_component: String::new(),
        length: 1,
        evidence: Default::default(),
        verify: false,
    }
}

/// Another one would begin in the middle of it: what became of it is asked for instead.
#[tokio::test(start_paused = true)]
async fn a_restore_goes_on_at_an_instance_that_was_lost_and_what_became_of_it_is_heard() {
    for same_stream in [false, true] {
        let mut setting = Setting::new();
        let mut session = setting.attached();
        let mut directive = setting.directive();
        directive.ask = Ask::Restore(restore());
        let mut sent = setting.asks.send(&setting.key, 1, directive).unwrap();
        assert_eq!(setting.carried(&mut session), ["d-1"]);
        setting.said(&session, "d-1", State::Started);
        advance(Duration::from_secs(60)).await;
        while setting.fleet.shared.state.write().tick(setting.now(), 8).more {}
        assert_eq!(sent.ended().await, Ended::Gone(Gone::Lost));
        let mut again = task::spawn(sent.heard_again());
        assert_pending!(again.poll());
        if !same_stream {
            drop(session);
            session = setting.attached();
        }
        assert_eq!(setting.carried(&mut session), ["d-1"], "and no cancel");
        setting.said(&session, "d-1", State::Started);
        assert_ready!(again.poll());
        drop(again);
        setting.said(&session, "d-1", State::Done);
        assert!(matches!(sent.ended().await, Ended::Done(_)));
        assert_eq!(setting.carried(&mut session), [""; 0]);
    }
}

/// Whoever does not wait for it any longer wants it to stop.
#[tokio::test(start_paused = true)]
async fn a_restore_that_nobody_waits_for_is_cancelled_at_an_instance_that_was_lost() {
    let mut setting = Setting::new();
    let mut session = setting.attached();
    let mut directive = setting.directive();
    directive.ask = Ask::Restore(restore());
    let mut sent = setting.asks.send(&setting.key, 1, directive).unwrap();
    assert_eq!(setting.carried(&mut session), ["d-1"]);
    advance(Duration::from_secs(60)).await;
    while setting.fleet.shared.state.write().tick(setting.now(), 8).more {}
    assert_eq!(sent.ended().await, Ended::Gone(Gone::Lost));
    drop(sent);
    drop(session);
    let mut session = setting.attached();
    assert_eq!(setting.carried(&mut session), ["d-1-cancel"]);
}
