//! Lists that come in pages: on to their end, and no further than a list can go.

use super::failure::Failure;

/// Pages of one list at the most: millions of entries.
const MOST: usize = 10_000;

/// How far a list was read.
#[derive(Debug, Default)]
pub(crate) struct Pages {
    read: usize,
    last: String,
}

impl Pages {
    /// What to ask for the next page by, given what the last one said; None where that was the end.
    ///
    /// # Errors
    /// The list would go on for ever.
    pub(crate) fn next(&mut self, token: String) -> Result<Option<String>, Failure> {
        if token.is_empty() {
            return Ok(None);
        }
        self.read += 1;
        if self.last == token {
            let same = "the control plane answers a list with the same page again and again; update it, and look \
                        at what is between";
            return Err(Failure::Internal(same.to_owned()));
        }
        if self.read >= MOST {
            let long =
                format!("the list of the control plane did not end after {MOST} pages; ask for less of it");
            return Err(Failure::Internal(long));
        }
        self.last.clone_from(&token);
        Ok(Some(token))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_ends_where_it_says_so() {
        let mut pages = Pages::default();
        assert_eq!(pages.next("a".to_owned()).unwrap().as_deref(), Some("a"));
        assert_eq!(pages.next("b".to_owned()).unwrap().as_deref(), Some("b"));
        assert_eq!(pages.next(String::new()).unwrap(), None);
    }

    #[test]
    fn a_page_that_comes_again_and_a_list_without_end_are_given_up() {
        let mut pages = Pages::default();
        pages.next("a".to_owned()).unwrap();
        assert!(pages.next("a".to_owned()).unwrap_err().to_string().contains("same page again"));
        let mut pages = Pages::default();
        let in_circles = (0..).map(|page| pages.next((page % 2).to_string()));
        assert_eq!(in_circles.take_while(Result::is_ok).count(), MOST - 1);
    }
}
