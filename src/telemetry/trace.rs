//! The trace that a request belongs to, as W3C Trace Context writes it in the header `traceparent`.
//!
//! Spans are not collected or exported here; the ids go into the log and on to the next hop.

use std::fmt;

use crate::{error::Result, id::Entropy};

/// One position in a trace. Shown as a `traceparent` of version 00.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct TraceContext {
    /// The trace.
    pub trace_id: TraceId,
    /// The span within it that calls, or that does the work.
    pub span_id: SpanId,
    /// Whether the caller records the trace.
    pub sampled: bool,
}

/// Id of a trace, never all zero. Shown as 32 lower-case hexadecimal digits.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub struct TraceId([u8; 16]);

/// Id of a span, never all zero. Shown as 16 lower-case hexadecimal digits.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub struct SpanId([u8; 8]);

/// Length of a `traceparent` of version 00.
const LENGTH: usize = 55;

impl TraceContext {
    /// Reads the header `traceparent`. `None` for what the standard tells to ignore; the request then
    /// begins a trace of its own.
    pub fn parse(header: &str) -> Option<Self> {
        let bytes = header.as_bytes();
        let fixed = bytes.get(..LENGTH)?;
        let [version] = hex(&fixed[..2])?;
        // A later version may go on after another dash; this one must end.
        let ends_well = match version {
            0xff => false,
            0 => bytes.len() == LENGTH,
            _ => bytes.get(LENGTH).is_none_or(|next| *next == b'-'),
        };
        if !ends_well || fixed[2] != b'-' || fixed[35] != b'-' || fixed[52] != b'-' {
            return None;
        }
        let (trace_id, span_id, [flags]) = (hex(&fixed[3..35])?, hex(&fixed[36..52])?, hex(&fixed[53..])?);
        (trace_id != [0; 16] && span_id != [0; 8]).then_some(Self {
            trace_id: TraceId(trace_id),
            span_id: SpanId(span_id),
            sampled: flags & 1 == 1,
        })
    }

    /// A new trace.
    ///
    /// # Errors
    /// The operating system's generator failed.
    pub fn root(entropy: &Entropy, sampled: bool) -> Result<Self> {
        Ok(Self { trace_id: TraceId(not_zero(entropy.bytes()?)), span_id: new_span(entropy)?, sampled })
    }

    /// A new span in the same trace.
    ///
    /// # Errors
    /// The operating system's generator failed.
    pub fn child(&self, entropy: &Entropy) -> Result<Self> {
        Ok(Self { span_id: new_span(entropy)?, ..*self })
    }
}

fn new_span(entropy: &Entropy) -> Result<SpanId> {
    Ok(SpanId(not_zero(entropy.bytes()?)))
}

/// All zero means "none" on the wire, so the one draw in 2^64 becomes another id.
fn not_zero<const N: usize>(mut bytes: [u8; N]) -> [u8; N] {
    if bytes == [0; N] {
        bytes[N - 1] = 1;
    }
    bytes
}

/// Lower-case hexadecimal digits, two for each byte.
fn hex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = value(pair[0])? << 4 | value(pair[1])?;
    }
    Some(bytes)
}

fn show_hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-{:02x}", self.trace_id, self.span_id, u8::from(self.sampled))
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show_hex(&self.0, f)
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show_hex(&self.0, f)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show_hex(&self.0, f)
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show_hex(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    #[test]
    fn the_rules_of_the_standard_hold() {
        for (header, sampled) in [
            (format!("00-{TRACE}-{SPAN}-01"), Some(true)),
            (format!("00-{TRACE}-{SPAN}-00"), Some(false)),
            (format!("00-{TRACE}-{SPAN}-03"), Some(true)),
            (format!("00-{TRACE}-{SPAN}-fe"), Some(false)),
            (format!("01-{TRACE}-{SPAN}-01"), Some(true)),
            (format!("cc-{TRACE}-{SPAN}-01-what-the-future-brings"), Some(true)),
            (format!("cc-{TRACE}-{SPAN}-01-"), Some(true)),
            (format!("cc-{TRACE}-{SPAN}-01.what"), None),
            (format!("00-{TRACE}-{SPAN}-01-more"), None),
            (format!("00-{TRACE}-{SPAN}-01-"), None),
            (format!("ff-{TRACE}-{SPAN}-01"), None),
            (format!("0-{TRACE}-{SPAN}-01"), None),
            (format!("00-{TRACE}-{SPAN}-1"), None),
            (format!("00-{TRACE}-{SPAN}"), None),
            (format!("00-{}-{SPAN}-01", TRACE.to_uppercase()), None),
            (format!("00-{}-{SPAN}-01", &TRACE[1..]), None),
            (format!("00-{TRACE}0-{SPAN}-01"), None),
            (format!("00-{TRACE}-{SPAN}-0G"), None),
            (format!("0x-{TRACE}-{SPAN}-01"), None),
            (format!("00_{TRACE}-{SPAN}-01"), None),
            (format!("00-{}-{SPAN}-01", "0".repeat(32)), None),
            (format!("00-{TRACE}-{}-01", "0".repeat(16)), None),
            (format!(" 00-{TRACE}-{SPAN}-01"), None),
            (String::new(), None),
        ] {
            assert_eq!(TraceContext::parse(&header).map(|context| context.sampled), sampled, "{header}");
        }
    }

    #[test]
    fn a_child_stays_in_the_trace() {
        let entropy = Entropy::seeded(1);
        let root = TraceContext::root(&entropy, true).unwrap();
        let child = root.child(&entropy).unwrap();
        assert_eq!((child.trace_id, child.sampled), (root.trace_id, true));
        assert_ne!(child.span_id, root.span_id);
        assert_eq!(not_zero([0; 8]), [0, 0, 0, 0, 0, 0, 0, 1]);
    }

    #[test]
    fn a_known_header_is_written_as_it_was_read() {
        let header = format!("00-{TRACE}-{SPAN}-01");
        let context = TraceContext::parse(&header).unwrap();
        assert_eq!(context.to_string(), header);
        assert_eq!(context.trace_id.to_string(), TRACE);
        assert_eq!(context.span_id.to_string(), SPAN);
    }

    proptest! {
        #[test]
        fn what_is_made_reads_back(seed: u64, sampled: bool) {
            let context = TraceContext::root(&Entropy::seeded(seed), sampled).unwrap();
            prop_assert_eq!(TraceContext::parse(&context.to_string()), Some(context));
        }

        #[test]
        fn no_header_makes_it_panic(header in "(00-[0-9a-f-]{50,56})|\\PC*") {
            if let Some(context) = TraceContext::parse(&header) {
                prop_assert_eq!(&header[3..52], &context.to_string()[3..52]);
            }
        }
    }
}
