//! Log lines as flat JSON objects: time, level, target and message, then the fields of the event and of
//! the spans around it, side by side. Of fields with the same name the innermost is kept.
//!
//! `tracing-subscriber` has a JSON format of its own; it nests spans in lists, in which log stores
//! cannot search by `instance` or `trace_id`.

use std::{
    fmt::{Debug, Write as _},
    io::Write as _,
};

use serde_json::Value;
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
    span,
};
use tracing_subscriber::{
    Layer,
    fmt::{
        MakeWriter as _,
        format::Writer,
        time::{FormatTime as _, SystemTime},
        writer::BoxMakeWriter,
    },
    layer::Context,
    registry::LookupSpan,
};

/// Names that every line has; a field of the same name gets an underscore behind it.
const RESERVED: [&str; 3] = ["timestamp", "level", "target"];
const TYPICAL_LINE: usize = 512;

/// Writes every event as a line.
pub(super) struct JsonLines {
    writer: BoxMakeWriter,
}

impl JsonLines {
    pub(super) fn new(writer: BoxMakeWriter) -> Self {
        Self { writer }
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for JsonLines {
    fn on_new_span(&self, attributes: &span::Attributes<'_>, id: &span::Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            let mut fields = Fields::default();
            attributes.record(&mut fields);
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &span::Id, record: &span::Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            record.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(outer) = span.extensions().get::<Fields>() {
                fields.add_missing(outer);
            }
        }
        let metadata = event.metadata();
        let line = line(metadata.level().as_str(), metadata.target(), &fields);
        // A log that cannot be written has nobody to tell.
        self.writer.make_writer_for(metadata).write_all(&line).ok();
    }
}

fn line(level: &str, target: &str, fields: &Fields) -> Vec<u8> {
    let mut timestamp = String::with_capacity(32);
    SystemTime.format_time(&mut Writer::new(&mut timestamp)).ok();
    let mut line = Vec::with_capacity(TYPICAL_LINE);
    member(&mut line, "timestamp", &timestamp.into());
    member(&mut line, "level", &level.into());
    member(&mut line, "target", &target.into());
    let (message, others): (Vec<_>, Vec<_>) = fields.0.iter().partition(|(name, _)| *name == "message");
    for (name, value) in message.into_iter().chain(others) {
        if RESERVED.contains(name) {
            member(&mut line, &format!("{name}_"), value);
        } else {
            member(&mut line, name.strip_prefix("r#").unwrap_or(name), value);
        }
    }
    line.extend_from_slice(b"}\n");
    line
}

fn member(line: &mut Vec<u8>, name: &str, value: &Value) {
    line.push(if line.is_empty() { b'{' } else { b',' });
    // Writing a string or a plain value into memory cannot fail.
    serde_json::to_writer(&mut *line, name).ok();
    line.push(b':');
    serde_json::to_writer(&mut *line, value).ok();
}

/// Fields in the order in which they were recorded, each name once.
#[derive(Debug, Default)]
struct Fields(Vec<(&'static str, Value)>);

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        let name = field.name();
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, place)) => *place = value,
            None => self.0.push((name, value)),
        }
    }

    fn add_missing(&mut self, outer: &Fields) {
        for (name, value) in &outer.0 {
            if self.0.iter().all(|(known, _)| known != name) {
                self.0.push((name, value.clone()));
            }
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let mut text = String::new();
        write!(text, "{value:?}").ok();
        self.put(field, text.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON has no NaN and no infinity.
        let value = if value.is_finite() { value.into() } else { value.to_string().into() };
        self.put(field, value);
    }
}
