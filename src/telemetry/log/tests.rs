//! What lands in the log, and what changing its level does.

use std::io::Write;

use serde_json::Value;
use tracing::{debug, error, info, info_span};

use super::*;

/// Keeps what was written.
#[derive(Clone, Default)]
struct Paper(Arc<Mutex<Vec<u8>>>);

impl Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Paper {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().clone()).unwrap()
    }

    fn lines(&self) -> Vec<Value> {
        self.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

fn log(level: &str, shape: Shape) -> (Paper, Dispatch, LogHandle) {
    let paper = Paper::default();
    let writer = paper.clone();
    let (dispatch, handle) = build(level, shape, BoxMakeWriter::new(move || writer.clone())).unwrap();
    (paper, dispatch, handle)
}

#[test]
fn fields_of_event_and_spans_lie_side_by_side() {
    let (paper, dispatch, _handle) = log("info", Shape::Json);
    dispatcher::with_default(&dispatch, || {
        let outer = info_span!("rpc", operation = "Register", trace_id = "abc", instance = "outer");
        let _outer = outer.enter();
        let inner = info_span!("fleet", component = "fleet", instance = tracing::field::Empty);
        let _inner = inner.enter();
        inner.record("instance", "inner");
        error!(duration_ms = 1.5, retried = true, count = 3, level = "mine", "took\n\"long\"");
    });
    let text = paper.text();
    assert!(text.starts_with("{\"timestamp\":\"20") && text.ends_with("}\n"), "{text}");
    let mut line = paper.lines().remove(0);
    line.as_object_mut().unwrap().remove("timestamp");
    assert_eq!(
        line,
        serde_json::json!({
            "level": "ERROR",
            "target": "seaworthy::telemetry::log::tests",
            "message": "took\n\"long\"",
            "duration_ms": 1.5,
            "retried": true,
            "count": 3,
            "level_": "mine",
            "component": "fleet",
            "instance": "inner",
            "operation": "Register",
            "trace_id": "abc",
        })
    );
    assert_eq!(text.matches("\"instance\"").count(), 1);
    assert!(text.find("\"message\"") < text.find("\"duration_ms\""), "{text}");
}

#[test]
fn not_a_number_is_still_json() {
    let (paper, dispatch, _handle) = log("info", Shape::Json);
    dispatcher::with_default(&dispatch, || info!(ratio = f64::NAN));
    assert_eq!(paper.lines()[0]["ratio"], "NaN");
}

#[test]
fn the_level_changes_while_it_runs() {
    let (paper, dispatch, handle) = log("warn", Shape::Json);
    dispatcher::with_default(&dispatch, || {
        info!("unheard");
        assert_eq!(handle.set_level("info,seaworthy::telemetry=debug").unwrap(), "warn");
        debug!("heard");
        assert_eq!(handle.set_level("error").unwrap(), "info,seaworthy::telemetry=debug");
        info!("unheard again");
    });
    let lines = paper.lines();
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0]["message"], "heard");
    assert_eq!(handle.level(), "error");
}

#[test]
fn a_wrong_level_changes_nothing() {
    let (_paper, _dispatch, handle) = log("info", Shape::Json);
    let error = handle.set_level("loud").unwrap_err();
    assert_eq!(error.violations()[0].field, "log_level");
    assert_eq!(handle.level(), "info");
}

#[test]
fn people_get_no_colours_without_a_terminal() {
    let (paper, dispatch, _handle) = log("info", Shape::Human { colours: false });
    dispatcher::with_default(&dispatch, || info!(instance = "i-1", "registered"));
    let text = paper.text();
    assert!(text.contains("INFO") && text.contains("registered instance=\"i-1\""), "{text}");
    assert!(!text.contains('\u{1b}'), "{text}");
}
