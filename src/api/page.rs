//! Pages: sizes and opaque tokens.
//!
//! A token is the place of the last item of the page before, so a page costs the same wherever it is,
//! and stays right while items come and go.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::parse::Fields;

/// Items in a page that asks for no size.
const DEFAULT_SIZE: usize = 100;
/// Most items in a page.
const MAX_SIZE: usize = 1000;
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
