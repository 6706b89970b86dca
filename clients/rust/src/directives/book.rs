//! Which directives came, and how far each is. Pure: no clock, no tasks.
//!
//! It is bounded: 64 directives, and one that was refused for want of room. What is under way is never forgotten; where it is full,
//! what ended or was refused longest ago goes, said or not. One that comes again after that is taken for a new one; the control plane
//! has at most 64 of an instance that have not ended, so it does not ask for what went.

use std::collections::VecDeque;

use crate::proto::seaworthy::v1::{DirectiveReport, DirectiveState};

/// How many directives are remembered.
const REMEMBERED: usize = 64;
/// Of how many operations it is remembered how often they changed their mind.
const OPERATIONS: usize = 64;

/// What follows from a directive that came.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Receipt {
    /// It is to be carried out.
    New,
    /// It came before; what became of it is to be said again.
    Known,
    /// It is not carried out, and that is to be said.
    Refused,
}

/// What came.
#[derive(Debug, Default)]
pub(super) struct Book {
    entries: VecDeque<Entry>,
    /// The highest generation of each operation; the one that was seen last is last.
    generations: VecDeque<(String, u64)>,
    revision: u64,
}

#[derive(Debug)]
struct Entry {
    /// Of its last change.
    revision: u64,
    report: DirectiveReport,
}

impl Book {
    /// Notes a directive. One with a reason against it, or of a generation that is over, is refused.
    pub(super) fn receive(
        &mut self,
        id: &str,
        operation: &str,
        generation: u64,
        against: Option<String>,
    ) -> Receipt {
        if let Some(known) = self.entries.iter_mut().find(|entry| entry.report.directive_id == id) {
            self.revision += 1;
            known.revision = self.revision;
            return Receipt::Known;
        }
        // Room is made for every one: what is refused is remembered as well.
        let full = self.make_room();
        let against = self.stale(operation, generation).or(against).or(full);
        let report = DirectiveReport {
            directive_id: id.to_owned(),
            state: match against {
                None => DirectiveState::Received.into(),
                Some(_) => DirectiveState::Refused.into(),
            },
            message: against.clone().unwrap_or_default(),
            ..DirectiveReport::default()
        };
        self.revision += 1;
        self.entries.push_back(Entry { revision: self.revision, report });
        if against.is_some() { Receipt::Refused } else { Receipt::New }
    }

    /// Why this generation is over, if it is. Otherwise it is the one that counts.
    fn stale(&mut self, operation: &str, generation: u64) -> Option<String> {
        let place = self.generations.iter().position(|(known, _)| known == operation);
        let seen = place.and_then(|place| self.generations.remove(place)).map_or(0, |(_, seen)| seen);
        self.generations.push_back((operation.to_owned(), seen.max(generation)));
        if self.generations.len() > OPERATIONS {
            self.generations.pop_front();
        }
        (generation < seen).then(|| format!("of generation {generation}, and the operation is at {seen}"))
    }

    /// Forgets those that have been over for longest. A reason against another one where all are under way.
    fn make_room(&mut self) -> Option<String> {
        while self.entries.len() >= REMEMBERED {
            let over = self.entries.iter().enumerate().filter(|(_, entry)| is_over(&entry.report));
            let Some((oldest, _)) = over.min_by_key(|(_, entry)| entry.revision) else {
                return Some(format!("{REMEMBERED} directives are under way"));
            };
            self.entries.remove(oldest);
        }
        None
    }

    /// Changes one that is not over. False: there is none.
    pub(super) fn change(&mut self, id: &str, change: impl FnOnce(&mut DirectiveReport)) -> bool {
        let open = |entry: &&mut Entry| entry.report.directive_id == id && !is_over(&entry.report);
        let Some(entry) = self.entries.iter_mut().find(open) else { return false };
        self.revision += 1;
        entry.revision = self.revision;
        change(&mut entry.report);
        true
    }

    /// Whether it came and is not over.
    pub(super) fn is_open(&self, id: &str) -> bool {
        self.entries.iter().any(|entry| entry.report.directive_id == id && !is_over(&entry.report))
    }

    /// The first change after this revision, as it is now, and its revision.
    pub(super) fn after(&self, revision: u64) -> Option<(u64, DirectiveReport)> {
        let later = self.entries.iter().filter(|entry| entry.revision > revision);
        later.min_by_key(|entry| entry.revision).map(|entry| (entry.revision, entry.report.clone()))
    }

    /// Forgets all. Revisions go on.
    pub(super) fn forget(&mut self) {
        self.entries.clear();
        self.generations.clear();
    }
}

fn is_over(report: &DirectiveReport) -> bool {
    matches!(report.state(), DirectiveState::Done | DirectiveState::Failed | DirectiveState::Refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finish(book: &mut Book, id: &str) -> bool {
        book.change(id, |report| report.set_state(DirectiveState::Done))
    }

    fn said(book: &Book, mut after: u64) -> Vec<(String, DirectiveState)> {
        let mut said = Vec::new();
        while let Some((revision, report)) = book.after(after) {
            after = revision;
            said.push((report.directive_id.clone(), report.state()));
        }
        said
    }

    #[test]
    fn what_comes_again_is_said_again_and_not_carried_out() {
        let mut book = Book::default();
        assert_eq!(book.receive("a", "op", 1, None), Receipt::New);
        assert_eq!(book.receive("b", "op", 1, None), Receipt::New);
        assert!(finish(&mut book, "a") && !finish(&mut book, "a"), "what is over stays as it is");
        let (told, _) = book.after(1).expect("a change");
        assert_eq!(said(&book, told), [("a".into(), DirectiveState::Done)]);
        assert_eq!(book.receive("a", "op", 1, None), Receipt::Known);
        let all = [("b".into(), DirectiveState::Received), ("a".into(), DirectiveState::Done)];
        assert_eq!(said(&book, 0), all, "a new session hears all of it");
        assert!(book.is_open("b") && !book.is_open("a") && !book.is_open("c"));
    }

    #[test]
    fn a_generation_that_is_over_is_refused() {
        let mut book = Book::default();
        assert_eq!(book.receive("a", "op", 2, None), Receipt::New);
        assert_eq!(book.receive("b", "op", 1, None), Receipt::Refused);
        assert_eq!(book.receive("c", "other", 1, None), Receipt::New);
        assert_eq!(book.receive("d", "op", 2, None), Receipt::New);
        assert_eq!(book.receive("e", "op", 3, Some("too late".into())), Receipt::Refused);
        assert_eq!(
            book.receive("f", "op", 2, None),
            Receipt::Refused,
            "the one before was seen all the same"
        );
        let (_, report) = book.after(1).expect("b");
        assert_eq!(report.message, "of generation 1, and the operation is at 2");
    }

    #[test]
    fn it_is_bounded() {
        let mut book = Book::default();
        for n in 0..REMEMBERED {
            assert_eq!(book.receive(&format!("d{n}"), "op", 1, None), Receipt::New);
        }
        assert_eq!(book.receive("more", "op", 1, None), Receipt::Refused);
        assert!(finish(&mut book, "d7"));
        assert_eq!(book.receive("next", "op", 1, None), Receipt::New);
        for n in 0..1000 {
            book.receive(&format!("x{n}"), &format!("op{n}"), 1, None);
        }
        assert!(book.entries.len() <= REMEMBERED + 1, "{}", book.entries.len());
        assert_eq!(book.generations.len(), OPERATIONS);
        assert!(book.is_open("d0"), "what is under way is not forgotten");
    }

    #[test]
    fn what_is_refused_takes_no_room_for_ever() {
        let mut book = Book::default();
        assert_eq!(book.receive("new", "op", 2, None), Receipt::New);
        for n in 0..1000 {
            assert_eq!(book.receive(&format!("old{n}"), "op", 1, None), Receipt::Refused);
            assert_eq!(book.receive(&format!("late{n}"), "op", 2, Some("too late".into())), Receipt::Refused);
        }
        assert!(book.entries.len() <= REMEMBERED + 1, "{}", book.entries.len());
        assert!(book.is_open("new"));
        let (_, report) = book.after(book.revision - 1).expect("the last one");
        assert_eq!(report.message, "too late", "its own reason is said, full or not");
    }

    #[test]
    fn what_ended_first_is_forgotten_first_however_early_it_came() {
        let mut book = Book::default();
        for n in 0..REMEMBERED {
            book.receive(&format!("d{n}"), "op", 1, None);
        }
        for n in (0..REMEMBERED).rev() {
            assert!(finish(&mut book, &format!("d{n}")));
        }
        assert_eq!(book.receive("next", "op", 1, None), Receipt::New);
        assert_eq!(book.receive("d0", "op", 1, None), Receipt::Known, "it has only just ended");
        assert_eq!(book.receive("d63", "op", 1, None), Receipt::New, "it is forgotten");
    }
}
