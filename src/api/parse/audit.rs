//! Which entries of the audit are asked for.

use super::{Fields, past::timestamp};
use crate::{api::proto::v1 as pb, audit::Filter};

/// Longest text of a filter, in bytes: longer than any of an entry.
const MAX_TEXT: usize = 1024;

/// The filters of a list of entries. Pages are the caller's.
pub fn filter(fields: &mut Fields, wire: &pb::ListAuditEntriesRequest) -> Filter {
    let pb::ListAuditEntriesRequest {
        page_size: _,
        page_token: _,
        after_sequence: _,
        principal,
        operation,
        object,
        start_time,
        end_time,
    } = wire;
    for (field, text) in [("principal", principal), ("operation", operation), ("object", object)] {
        if text.len() > MAX_TEXT {
            fields.wrong(field, format!("has {} bytes; at most {MAX_TEXT}", text.len()));
        }
    }
    let start = start_time.and_then(|time| timestamp(fields, "start_time", time));
    let end = end_time.and_then(|time| timestamp(fields, "end_time", time));
    if let (Some(start), Some(end)) = (start, end)
        && end <= start
    {
        fields.wrong("end_time", "is not later than start_time");
    }
    let object = object.trim_end_matches('/').to_owned();
    Filter { principal: principal.clone(), operation: operation.clone(), object, start, end }
}

/// The number in a page token.
pub fn place(fields: &mut Fields, place: &str) -> Option<u64> {
    fields.take(
        "page_token",
        place
            .parse()
            .map_err(|_| "is not a token of this list; use next_page_token of the page before, or none"),
    )
}
