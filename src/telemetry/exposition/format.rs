//! Which format a scraper gets, by what it accepts.

/// A format of `/metrics`.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Format {
    /// Prometheus' text format 0.0.4, which everything reads.
    #[default]
    Text,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Format {
    /// The value of the header `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Format::Text => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// The format that an `Accept` header prefers; text where it says nothing, likes both the same
    /// without naming OpenMetrics, or accepts neither.
    pub fn negotiate(accept: Option<&str>) -> Self {
        let ranges: Vec<Range> = accept.unwrap_or("*/*").split(',').filter_map(Range::parse).collect();
        let (text, _) = quality(&ranges, Format::Text);
        let (open, named) = quality(&ranges, Format::OpenMetrics);
        if open > text || (named && open > 0 && open == text) { Format::OpenMetrics } else { Format::Text }
    }

    fn media_type(self) -> (&'static str, &'static str) {
        match self {
            Format::Text => ("text", "plain"),
            Format::OpenMetrics => ("application", "openmetrics-text"),
        }
    }

    fn has_version(self, version: &str) -> bool {
        match self {
            Format::Text => version == "0.0.4",
            // What 1.0.0 adds to 0.0.1 is read by every reader of 0.0.1.
            Format::OpenMetrics => matches!(version, "1.0.0" | "0.0.1"),
        }
    }
}

/// One part of an `Accept` header.
struct Range {
    main: String,
    sub: String,
    version: Option<String>,
    /// The preference, from 0 to 1000.
    quality: u32,
}

/// How precisely a range names a format: `*/*`, `text/*`, or all of it.
#[derive(Clone, Copy, Eq, Ord, PartialEq, PartialOrd)]
enum Precision {
    Anything,
    Main,
    Named,
}

impl Range {
    fn parse(part: &str) -> Option<Self> {
        let mut pieces = part.split(';').map(|piece| piece.trim().to_ascii_lowercase());
        let media = pieces.next()?;
        let (main, sub) = media.split_once('/')?;
        let (mut version, mut quality) = (None, 1000);
        for piece in pieces {
            match piece.split_once('=') {
                Some(("version", value)) => version = Some(value.trim_matches('"').to_owned()),
                Some(("q", value)) => quality = thousandths(value)?,
                _ => {}
            }
        }
        Some(Self { main: main.to_owned(), sub: sub.to_owned(), version, quality })
    }

    fn matches(&self, format: Format) -> Option<Precision> {
        let (main, sub) = format.media_type();
        match (self.main.as_str(), self.sub.as_str()) {
            ("*", "*") => Some(Precision::Anything),
            (m, "*") if m == main => Some(Precision::Main),
            (m, s) if m == main && s == sub => {
                let right = self.version.as_deref().is_none_or(|version| format.has_version(version));
                right.then_some(Precision::Named)
            }
            _ => None,
        }
    }
}

/// `0.25` as 250. `None` for what is no preference between 0 and 1.
fn thousandths(text: &str) -> Option<u32> {
    let value: f64 = text.parse().ok().filter(|value| (0.0..=1.0).contains(value))?;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // between 0 and 1000
    let thousandths = (value * 1000.0).round() as u32;
    Some(thousandths)
}

/// How much a format is wanted, and whether it was named: the most precise range decides, among equals
/// the kindest.
fn quality(ranges: &[Range], format: Format) -> (u32, bool) {
    let matching = ranges.iter().filter_map(|range| Some((range.matches(format)?, range.quality)));
    matching.max().map_or((0, false), |(precision, quality)| (quality, precision == Precision::Named))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_decides() {
        use Format::{OpenMetrics, Text};
        let prometheus = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                          application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;q=0.4,\
                          text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        for (accept, format) in [
            (None, Text),
            (Some(""), Text),
            (Some("*/*"), Text),
            (Some(prometheus), OpenMetrics),
            (Some("text/html,application/xhtml+xml,*/*;q=0.8"), Text),
            (Some("application/openmetrics-text"), OpenMetrics),
            (Some("Application/OpenMetrics-Text; Version=\"1.0.0\""), OpenMetrics),
            (Some("application/openmetrics-text; version=2.0.0"), Text),
            (Some("application/openmetrics-text;q=0.2, text/plain;q=0.7"), Text),
            (Some("text/plain, application/openmetrics-text"), OpenMetrics),
            (Some("text/plain;q=0, */*"), OpenMetrics),
            (Some("application/openmetrics-text;q=0"), Text),
            (Some("application/openmetrics-text;q=0, */*;q=0.1"), Text),
            (Some("application/*, text/*;q=0.5"), OpenMetrics),
            (Some("text/plain;version=0.0.4"), Text),
            (Some("application/openmetrics-text;q=7"), Text),
            (Some("image/png"), Text),
            (Some(",;/=,,q="), Text),
        ] {
            assert_eq!(Format::negotiate(accept), format, "{accept:?}");
        }
    }
}
