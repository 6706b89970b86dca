//! Writes figures for Prometheus, as its text format 0.0.4 or as OpenMetrics 1.0.
//!
//! A family is built when somebody asks, from numbers that the rooms keep themselves: there is no
//! registry and nothing global.

mod format;

use std::{borrow::Cow, fmt::Write as _};

pub use self::format::Format;
use super::histogram::Snapshot;

/// All figures of one name.
#[derive(Clone, Debug)]
pub struct Family {
    name: &'static str,
    help: &'static str,
    unit: Option<&'static str>,
    samples: Samples,
}

#[derive(Clone, Debug)]
enum Samples {
    Counter(Vec<(Labels, f64)>),
    Gauge(Vec<(Labels, f64)>),
    Histogram(Vec<(Labels, Snapshot)>),
}

/// Names and values that tell the figures of a family apart.
#[derive(Clone, Debug, Default)]
pub struct Labels(Vec<(&'static str, Cow<'static, str>)>);

impl Labels {
    /// No labels: the family has one figure.
    pub fn none() -> Self {
        Self::default()
    }

    /// Adds a label. Values may be any text.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<Cow<'static, str>>) -> Self {
        self.0.push((name, value.into()));
        self
    }
}

impl<V: Into<Cow<'static, str>>, const N: usize> From<[(&'static str, V); N]> for Labels {
    fn from(labels: [(&'static str, V); N]) -> Self {
        Self(labels.into_iter().map(|(name, value)| (name, value.into())).collect())
    }
}

impl Family {
    /// A number that only rises. `name` is without `_total` and without the unit; both are added.
    pub fn counter(
        name: &'static str,
        help: &'static str,
        samples: impl IntoIterator<Item = (Labels, f64)>,
    ) -> Self {
        Self { name, help, unit: None, samples: Samples::Counter(samples.into_iter().collect()) }
    }

    /// A number that rises and falls. `name` is without the unit, which is added.
    pub fn gauge(
        name: &'static str,
        help: &'static str,
        samples: impl IntoIterator<Item = (Labels, f64)>,
    ) -> Self {
        Self { name, help, unit: None, samples: Samples::Gauge(samples.into_iter().collect()) }
    }

    /// Durations by buckets. `name` is without the unit: `seconds` is added.
    pub fn histogram(
        name: &'static str,
        help: &'static str,
        samples: impl IntoIterator<Item = (Labels, Snapshot)>,
    ) -> Self {
        let samples = Samples::Histogram(samples.into_iter().collect());
        Self { name, help, unit: Some("seconds"), samples }
    }

    /// Sets the unit: a base unit in the plural, such as `seconds` or `bytes`.
    #[must_use]
    pub fn unit(mut self, unit: &'static str) -> Self {
        self.unit = Some(unit);
        self
    }

    /// The name with its unit, without `_total`.
    pub fn full_name(&self) -> String {
        self.unit.map_or_else(|| self.name.to_owned(), |unit| format!("{}_{unit}", self.name))
    }
}

/// Writes families in their order. Each name must occur once; a family without figures is left out.
pub fn render(families: &[Family], format: Format) -> String {
    let mut page = Page { text: String::with_capacity(families.len() * 256), format };
    families.iter().for_each(|family| page.family(family));
    if format == Format::OpenMetrics {
        page.text.push_str("# EOF\n");
    }
    page.text
}

struct Page {
    text: String,
    format: Format,
}

impl Page {
    fn family(&mut self, family: &Family) {
        let name = family.full_name();
        match &family.samples {
            Samples::Counter(samples) if !samples.is_empty() => {
                let total = format!("{name}_total");
                // The text format names the figure, OpenMetrics the family.
                self.head(if self.format == Format::Text { &total } else { &name }, "counter", family);
                samples.iter().for_each(|(labels, value)| self.sample(&total, labels, None, *value));
            }
            Samples::Gauge(samples) if !samples.is_empty() => {
                self.head(&name, "gauge", family);
                samples.iter().for_each(|(labels, value)| self.sample(&name, labels, None, *value));
            }
            Samples::Histogram(samples) if !samples.is_empty() => {
                self.head(&name, "histogram", family);
                samples.iter().for_each(|(labels, snapshot)| self.histogram(&name, labels, snapshot));
            }
            Samples::Counter(_) | Samples::Gauge(_) | Samples::Histogram(_) => {}
        }
    }

    fn head(&mut self, name: &str, kind: &str, family: &Family) {
        self.line(&["# HELP ", name, " ", &self.escaped_help(family.help)]);
        self.line(&["# TYPE ", name, " ", kind]);
        if let (Format::OpenMetrics, Some(unit)) = (self.format, family.unit) {
            self.line(&["# UNIT ", name, " ", unit]);
        }
    }

    fn escaped_help<'a>(&self, help: &'a str) -> Cow<'a, str> {
        match self.format {
            Format::OpenMetrics => escaped(help),
            // Here quotation marks stand for themselves.
            Format::Text if help.contains(['\\', '\n']) => {
                help.replace('\\', "\\\\").replace('\n', "\\n").into()
            }
            Format::Text => help.into(),
        }
    }

    fn histogram(&mut self, name: &str, labels: &Labels, snapshot: &Snapshot) {
        let bucket = format!("{name}_bucket");
        for (bound, count) in &snapshot.cumulative {
            self.sample(&bucket, labels, Some(*bound), precise(*count));
        }
        self.sample(&bucket, labels, Some(f64::INFINITY), precise(snapshot.count));
        self.sample(&format!("{name}_sum"), labels, None, snapshot.sum);
        self.sample(&format!("{name}_count"), labels, None, precise(snapshot.count));
    }

    fn sample(&mut self, name: &str, labels: &Labels, bound: Option<f64>, value: f64) {
        self.text.push_str(name);
        let mut separator = '{';
        for (label, text) in &labels.0 {
            self.label(separator, label, &escaped(text));
            separator = ',';
        }
        if let Some(bound) = bound {
            self.label(separator, "le", &self.shown_bound(bound));
            separator = ',';
        }
        if separator == ',' {
            self.text.push('}');
        }
        self.line(&[" ", &number(value)]);
    }

    fn label(&mut self, separator: char, name: &str, value: &str) {
        // Writing into a string cannot fail.
        write!(self.text, "{separator}{name}=\"{value}\"").ok();
    }

    /// OpenMetrics wants whole bounds with a fraction: `1.0`.
    fn shown_bound(&self, bound: f64) -> String {
        match self.format {
            Format::OpenMetrics if bound.is_finite() => format!("{bound:?}"),
            Format::OpenMetrics | Format::Text => number(bound),
        }
    }

    fn line(&mut self, parts: &[&str]) {
        parts.iter().for_each(|part| self.text.push_str(part));
        self.text.push('\n');
    }
}

fn escaped(text: &str) -> Cow<'_, str> {
    if text.contains(['\\', '"', '\n']) {
        text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n").into()
    } else {
        text.into()
    }
}

fn number(value: f64) -> String {
    if value.is_infinite() {
        return if value > 0.0 { "+Inf".to_owned() } else { "-Inf".to_owned() };
    }
    value.to_string()
}

#[allow(clippy::cast_precision_loss)] // exact to 2^53
fn precise(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests;
