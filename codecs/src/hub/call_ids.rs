//! Ids of the tool calls of one answer: the upstream's own where they are usable, minted ones elsewhere.
//!
//! Clients pair results with calls by id alone, so an id may be used once per conversation: ids that the request's
//! history holds already, or that came earlier in the same answer, are replaced.

use std::{collections::HashSet, sync::Arc};

use super::ids;
use crate::{dialect::Context, json::Text};

/// Hands out the ids of one answer's calls, in their order.
#[derive(Debug)]
pub struct CallIds {
    history: Arc<HashSet<String>>,
    given: HashSet<String>,
    /// Core of the answer's id, from which ids are minted.
    stem: String,
    next: u32,
}

impl CallIds {
    /// Ids for an answer whose own id is not known yet.
    pub fn new(context: &Context) -> Self {
        Self { history: context.used_ids.clone(), given: HashSet::new(), stem: context.new_id.clone(), next: 0 }
    }

    /// Takes the answer's id as the stem of minted ids; an empty one is ignored.
    pub fn answer_id(&mut self, id: Text<'_>) {
        if !id.is_empty() {
            let id = id.plain();
            // No more than what a minted id shows of it.
            let core = ids::core(&id);
            self.stem.clear();
            self.stem.extend(core.chars().take(ids::SLUG_CHARS));
        }
    }

    /// The id of the next call, whose upstream id is `own`.
    pub fn assign(&mut self, own: Option<Text<'_>>) -> String {
        self.assign_as(self.next, own)
    }

    /// [`assign`](Self::assign) for the call that the upstream counts as its `n`-th: calls may become known out of order.
    pub fn assign_as(&mut self, n: u32, own: Option<Text<'_>>) -> String {
        self.next += 1;
        let own = own.map(|id| id.plain().into_owned()).filter(|id| !id.is_empty() && self.is_free(id));
        let id = own.unwrap_or_else(|| self.minted(n));
        self.given.insert(id.clone());
        id
    }

    /// Number of calls so far.
    pub fn count(&self) -> u32 {
        self.next
    }

    fn minted(&self, n: u32) -> String {
        let id = ids::minted(&ids::slug(&self.stem), n);
        if self.is_free(&id) {
            return id;
        }
        (2u32..).map(|k| format!("{id}_{k}")).find(|id| self.is_free(id)).unwrap_or(id)
    }

    fn is_free(&self, id: &str) -> bool {
        !self.history.contains(id) && !self.given.contains(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_kept_minted_or_replaced() {
        let used = HashSet::from(["call_0".to_owned(), "call_abc_4".to_owned()]);
        let mut ids = CallIds::new(&Context { used_ids: Arc::new(used), new_id: "local".into(), ..Context::default() });
        assert_eq!(ids.assign(None), "call_local_0");
        ids.answer_id(Text::Plain("chatcmpl-abc"));
        ids.answer_id(Text::EMPTY);
        assert_eq!(ids.assign(Some(Text::Plain("own"))), "own");
        assert_eq!(ids.assign(Some(Text::Plain("call_0"))), "call_abc_2", "used in history");
        assert_eq!(ids.assign(Some(Text::Plain("own"))), "call_abc_3", "used in this answer");
        assert_eq!(ids.assign(Some(Text::EMPTY)), "call_abc_4_2", "even the minted id is taken");
        assert_eq!(ids.count(), 5);
    }
}
