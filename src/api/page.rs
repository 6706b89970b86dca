//! Pages: sizes and opaque tokens.
//!
//! A page ends where it has as many items as were asked for, or where it is large: a message that a
//! client refuses for its size would be a list that cannot be read.
//!
//! A token is the place of the last item of the page before, so a page costs the same wherever it is,
//! and stays right while items come and go.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use prost::Message;

use super::parse::Fields;

/// Items in a page that asks for no size.
const DEFAULT_SIZE: usize = 100;
/// Most items in a page.
const MAX_SIZE: usize = 1000;
/// A message is full from here on, in bytes. The item that fills it may be an instance with everything at
/// its limits, about 1.5 MiB: together that is well below what clients take (4 MiB by default).
pub const FULL: usize = 1024 * 1024;
/// Marks our tokens, and the version of what is in them.
const MARK: &str = "p1:";

/// How many items a page has: 0 means the default, too many mean the most.
pub fn size(fields: &mut Fields, asked: i32) -> usize {
    match usize::try_from(asked) {
        Ok(0) => DEFAULT_SIZE,
        Ok(asked) => asked.min(MAX_SIZE),
        Err(_) => {
            fields.wrong("page_size", format!("is {asked}; use 0 for the default, or up to {MAX_SIZE}"));
            DEFAULT_SIZE
        }
    }
}

/// The place after which the page begins. None: from the beginning.
pub fn after(fields: &mut Fields, token: &str) -> Option<String> {
    if token.is_empty() {
        return None;
    }
    let place = URL_SAFE_NO_PAD.decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    match place.as_deref().and_then(|place| place.strip_prefix(MARK)) {
        Some(place) => Some(place.to_owned()),
        None => {
            fields.wrong(
                "page_token",
                "is not a token of ours; use next_page_token of the page before, or none",
            );
            None
        }
    }
}

/// The token of the page that begins after this place.
pub fn token(place: &str) -> String {
    URL_SAFE_NO_PAD.encode(format!("{MARK}{place}"))
}

/// What still fits into a message.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    items: usize,
    bytes: usize,
}

impl Room {
    /// Room for so many items, or for [`FULL`] bytes of them.
    pub fn new(items: usize) -> Self {
        Self { items, bytes: FULL }
    }

    /// Takes the room that an item needs.
    pub fn take(&mut self, item: &impl Message) {
        self.items = self.items.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(item.encoded_len());
    }

    /// Whether nothing more fits.
    pub fn is_full(&self) -> bool {
        self.items == 0 || self.bytes == 0
    }
}

/// As many of the items as fit into one page, and whether any are left.
pub fn fill<M: Message>(size: usize, items: impl IntoIterator<Item = M>) -> (Vec<M>, bool) {
    let mut items = items.into_iter();
    let mut room = Room::new(size);
    let mut page = Vec::new();
    while !room.is_full() {
        let Some(item) = items.next() else { return (page, false) };
        room.take(&item);
        page.push(item);
    }
    let cut = items.next().is_some();
    (page, cut)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_comes_back_and_others_are_refused() {
        let mut fields = Fields::default();
        assert_eq!(after(&mut fields, &token("orders/i-1")), Some("orders/i-1".to_owned()));
        assert_eq!(after(&mut fields, ""), None);
        assert!(fields.check().is_ok());
        for bad in ["x", "!!!", "b3JkZXJz"] {
            let mut fields = Fields::default();
            assert_eq!(after(&mut fields, bad), None);
            assert_eq!(fields.check().unwrap_err().violations()[0].field, "page_token");
        }
    }

    #[test]
    fn a_page_ends_where_it_is_large() {
        for (items, bytes, size, taken, cut) in [
            (10, 10, 100, 10, false),
            (10, 10, 10, 10, false),
            (11, 10, 10, 10, true),
            (5, FULL / 2, 100, 2, true),
            (5, FULL / 2 - 100, 100, 3, true),
            (1, 2 * FULL, 100, 1, false),
            (2, 2 * FULL, 100, 1, true),
            (0, 0, 100, 0, false),
        ] {
            let page = fill(size, (0..items).map(|_| vec![0_u8; bytes]));
            assert_eq!((page.0.len(), page.1), (taken, cut), "{items} of {bytes} bytes, up to {size}");
        }
    }

    #[test]
    fn sizes_as_a_table() {
        for (asked, size_of_page, good) in
            [(0, 100, true), (1, 1, true), (1000, 1000, true), (i32::MAX, 1000, true), (-1, 100, false)]
        {
            let mut fields = Fields::default();
            assert_eq!(size(&mut fields, asked), size_of_page);
            assert_eq!(fields.check().is_ok(), good);
        }
    }
}
