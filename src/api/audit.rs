//! `SystemService/ListAuditEntries`.

use super::{
    convert::audit as convert,
    page::{self, Room},
    parse::{self, Fields},
    proto::v1 as pb,
};
use crate::{
    audit::{Ends, Handle, Read},
    error::Result,
};

/// A page of entries, read from the store.
pub(super) async fn list(
    audit: &Handle,
    wire: pb::ListAuditEntriesRequest,
) -> Result<pb::ListAuditEntriesResponse> {
    let mut fields = Fields::default();
    let size = page::size(&mut fields, wire.page_size);
    let place = page::after(&mut fields, &wire.page_token);
    let place = place.and_then(|place| parse::audit::place(&mut fields, &place));
    let filter = parse::audit::filter(&mut fields, &wire);
    fields.check()?;
    let mut room = Room::new(size);
    let mut entries = Vec::new();
    let read = audit.page(place.unwrap_or(wire.after_sequence), &filter, |kept| {
        let entry = convert::entry(kept);
        room.take(&entry);
        entries.push(entry);
        !room.is_full()
    });
    let Read { ends: Ends { anchor, newest }, next } = read.await?;
    Ok(pb::ListAuditEntriesResponse {
        entries,
        next_page_token: next.map(|next| page::token(&next.to_string())).unwrap_or_default(),
        newest_sequence: newest.sequence,
        newest_hash: newest.hash.to_hex().to_string(),
        oldest_sequence: anchor.sequence + 1,
        anchor_hash: anchor.hash.to_hex().to_string(),
    })
}
