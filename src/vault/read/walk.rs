//! Walks the list of a component's chunks, from the manifest through lists of lists. Bounded by the manifest's own count of
//! levels: an entry of a list is a chunk or a list by its level alone, so that no list can lead back to itself.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;

use super::Shared;
use crate::{
    task::{self, OnEnd, Task},
    vault::{
        chunk::Entry,
        manifest::Component,
        problem::{Problem, Result},
    },
};

/// A walk over entries.
#[derive(Debug)]
pub(in crate::vault) struct Walk {
    name: String,
    /// How many bytes and chunks there are yet, by the manifest: a list that has more is none.
    bytes: u64,
    chunks: u64,
    /// What is left of each list on the way down, with the level of its entries: 0 are chunks.
    stack: Vec<(VecDeque<Entry>, u8)>,
    /// The list that is being fetched. Kept here, so that whoever gives up waiting does not begin it anew.
    fetching: Option<Task<Result<Vec<Bytes>>>>,
}

impl Walk {
    pub(in crate::vault) fn new(component: &Component) -> Self {
        // The manifest was checked when it was read.
        let entries = Entry::read_all(&component.list).unwrap_or_default();
        let Component { name, bytes, chunks, levels, .. } = component;
        Self {
            name: name.clone(),
            bytes: *bytes,
            chunks: *chunks,
            stack: vec![(entries.into(), *levels)],
            fetching: None,
        }
    }

    /// The next chunk of the component. None: that was the last. Cancel safe.
    pub(in crate::vault) async fn next(&mut self, shared: &Arc<Shared>) -> Result<Option<Entry>> {
        loop {
            let Some((entries, level)) = self.stack.last_mut() else { return Ok(None) };
            let level = *level;
            match entries.front().copied() {
                None => {
                    self.stack.pop();
                }
                Some(entry) if level == 0 => {
                    entries.pop_front();
                    let bytes = self.bytes.checked_sub(entry.length.into());
                    let chunks = self.chunks.checked_sub(1);
                    (self.bytes, self.chunks) = bytes
                        .zip(chunks)
                        .ok_or_else(|| self.damaged("has more chunks than its manifest says"))?;
                    return Ok(Some(entry));
                }
                Some(list) => {
                    let begin =
                        || task::spawn("vault list", OnEnd::Fine, Arc::clone(shared).fetch(vec![list]));
                    let fetched = self.fetching.get_or_insert_with(begin).await;
                    self.fetching = None;
                    let fetched = fetched.map_err(|ended| Problem::Internal(ended.to_string()))??.concat();
                    let below =
                        Entry::read_all(&fetched).ok_or_else(|| self.damaged("has a list that is none"))?;
                    // Taken only now: whoever gave up waiting for it begins with it again.
                    if let Some((entries, _)) = self.stack.last_mut() {
                        entries.pop_front();
                    }
                    self.stack.push((below.into(), level - 1));
                }
            }
        }
    }

    fn damaged(&self, what: &str) -> Problem {
        Problem::damaged(format!("component {}", self.name), what)
    }
}
