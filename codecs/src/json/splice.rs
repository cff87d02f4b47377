//! Byte-range edits of a JSON text: everything outside the edited spans stays as it was, byte for byte.
//!
//! ```text
//!   { "model" : "fast", "x":1.0 }                    one body
//!   ├──────────┤└─────┘├────────┤                    kept, edit, kept
//!   slice      new     slice                         three slices for one vectored write
//! ```
//!
//! Edits are found by walking validated JSON ([`Raw`]), so strings, escapes and nesting cannot mislead them. A member that
//! occurs several times is edited at every occurrence: which one counts is the reader's choice. Nothing is ever reordered
//! or printed anew. Edits must not overlap: edit an object once, and no part of a value that is replaced.

use std::ops::Range;

use bytes::Bytes;

use super::{Raw, Text, write::Sink, write::Writer};

/// Edits of one text, collected and then applied together.
#[derive(Debug)]
pub struct Splice<'a> {
    whole: &'a [u8],
    edits: Vec<Edit>,
}

/// A span and what takes its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// The span; empty = insertion.
    pub span: Range<usize>,
    /// Its replacement; empty = removal.
    pub with: Bytes,
}

impl<'a> Splice<'a> {
    /// No edits yet. All values that are edited must be parts of `whole`.
    pub fn new(whole: &'a [u8]) -> Self {
        Self { whole, edits: Vec::new() }
    }

    /// Whether nothing is to be changed.
    pub fn is_empty(&self) -> bool {
        self.edits.is_empty()
    }

    /// Replaces a value by the JSON text `with`.
    pub fn replace(&mut self, value: Raw<'a>, with: impl Into<Bytes>) {
        if let Some(start) = value.offset_in(self.whole) {
            self.edits.push(Edit { span: start..start + value.as_bytes().len(), with: with.into() });
        }
    }

    /// Replaces the bytes of `span`, which an earlier scan of the same text has found; an empty span inserts.
    pub fn replace_span(&mut self, span: Range<usize>, with: impl Into<Bytes>) {
        self.edits.push(Edit { span, with: with.into() });
    }

    /// Edits members of an object; see [`MemberEdits`].
    pub fn members(&mut self, object: Raw<'a>, edits: &MemberEdits) {
        let Some(base) = object.offset_in(self.whole).filter(|_| object.is_object()) else { return };
        let start_of = |value: &str| base + offset_of(object, value);
        let mut items = Vec::new();
        let mut found = vec![false; edits.set.len()];
        for (key, value) in object.members() {
            let key_text = match key {
                Text::Escaped(inside) | Text::Plain(inside) => inside,
            };
            let value_span = span_at(start_of(value.as_str()), value.as_str());
            // The key's token begins one byte before its inside.
            let removed = edits.removed.iter().any(|name| key.is(name));
            if let Some(at) = edits.set.iter().position(|(name, _)| key.is(name)).filter(|_| !removed) {
                found[at] = true;
                self.edits.push(Edit { span: value_span.clone(), with: edits.set[at].1.clone() });
            }
            items.push((start_of(key_text) - 1..value_span.end, removed));
        }
        let kept = items.iter().any(|(_, removed)| !removed);
        let missing = edits.set.iter().zip(&found).filter(|(_, found)| !**found).map(|(member, _)| member);
        let mut inserted = Vec::new();
        for (name, value) in missing {
            if !inserted.is_empty() {
                inserted.put(b",");
            }
            Writer::new(&mut inserted).string(name);
            inserted.put(b":");
            inserted.put(value);
        }
        if !inserted.is_empty() {
            if kept {
                inserted.put(b",");
            }
            self.edits.push(Edit { span: base + 1..base + 1, with: inserted.into() });
        }
        self.remove_items(&items);
    }

    /// Removes the elements of an array for which `keep` is false, and says how many.
    pub fn retain(&mut self, array: Raw<'a>, mut keep: impl FnMut(Raw<'a>) -> bool) -> usize {
        let Some(base) = array.offset_in(self.whole).filter(|_| array.is_array()) else { return 0 };
        let items: Vec<_> = array
            .elements()
            .map(|value| (span_at(base + offset_of(array, value.as_str()), value.as_str()), !keep(value)))
            .collect();
        self.remove_items(&items);
        items.iter().filter(|(_, removed)| *removed).count()
    }

    /// Removes items of a container together with the commas that have lost their purpose.
    fn remove_items(&mut self, items: &[(Range<usize>, bool)]) {
        let mut at = 0;
        while at < items.len() {
            if !items[at].1 {
                at += 1;
                continue;
            }
            let run = items[at..].iter().take_while(|(_, removed)| *removed).count();
            let last = at + run - 1;
            let span = if let Some((next, _)) = items.get(last + 1) {
                items[at].0.start..next.start
            } else if at > 0 {
                items[at - 1].0.end..items[last].0.end
            } else {
                items[at].0.start..items[last].0.end
            };
            self.edits.push(Edit { span, with: Bytes::new() });
            at = last + 1;
        }
    }

    /// The edits in the order of the text.
    pub fn into_edits(mut self) -> Vec<Edit> {
        // Stable: insertions at one place keep their order, and come before the removal that starts there.
        self.edits.sort_by_key(|edit| (edit.span.start, edit.span.end));
        debug_assert!(self.edits.windows(2).all(|pair| pair[0].span.end <= pair[1].span.start), "edits overlap");
        self.edits
    }

    /// The edited text as slices for one vectored write. `body` is the text that was given to [`Splice::new`].
    pub fn slices(self, body: &Bytes) -> Vec<Bytes> {
        debug_assert_eq!(self.whole, body.as_ref());
        let edits = self.into_edits();
        let mut slices = Vec::with_capacity(2 * edits.len() + 1);
        let mut at = 0;
        for Edit { span, with } in edits {
            slices.extend([body.slice(at..span.start), with].into_iter().filter(|slice| !slice.is_empty()));
            at = span.end;
        }
        slices.extend(Some(body.slice(at..)).filter(|slice| !slice.is_empty()));
        slices
    }

    /// Appends the edited text to `out`.
    pub fn write(self, out: &mut impl Sink) {
        let whole = self.whole;
        let mut at = 0;
        for Edit { span, with } in self.into_edits() {
            out.put(&whole[at..span.start]);
            out.put(&with);
            at = span.end;
        }
        out.put(&whole[at..]);
    }
}

/// What happens to the members of one object.
#[derive(Debug, Clone, Default)]
pub struct MemberEdits {
    set: Vec<(String, Bytes)>,
    removed: Vec<String>,
}

impl MemberEdits {
    /// Nothing happens.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether nothing happens.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.removed.is_empty()
    }

    /// The member gets the JSON text `value`, at every occurrence; where there is none, it becomes the first member. The
    /// last word for a name counts.
    pub fn set(&mut self, name: &str, value: impl Into<Bytes>) -> &mut Self {
        self.forget(name);
        self.set.push((name.to_owned(), value.into()));
        self
    }

    /// The member gets a string.
    pub fn set_string(&mut self, name: &str, value: &str) -> &mut Self {
        let mut token = Vec::with_capacity(value.len() + 2);
        Writer::new(&mut token).string(value);
        self.set(name, token)
    }

    /// The member goes, at every occurrence.
    pub fn remove(&mut self, name: &str) -> &mut Self {
        self.forget(name);
        self.removed.push(name.to_owned());
        self
    }

    fn forget(&mut self, name: &str) {
        self.set.retain(|(set, _)| set != name);
        self.removed.retain(|removed| removed != name);
    }
}

/// Offset of `part` inside the text of `whole`, of which it is a slice.
fn offset_of(whole: Raw<'_>, part: &str) -> usize {
    part.as_ptr() as usize - whole.as_str().as_ptr() as usize
}

fn span_at(start: usize, text: &str) -> Range<usize> {
    start..start + text.len()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn edited(text: &str, edits: &MemberEdits) -> String {
        let raw = Raw::parse_str(text).unwrap();
        let mut splice = Splice::new(text.as_bytes());
        splice.members(raw, edits);
        let slices = splice.slices(&Bytes::copy_from_slice(text.as_bytes())).concat();
        let mut splice = Splice::new(text.as_bytes());
        splice.members(raw, edits);
        let mut written = Vec::new();
        splice.write(&mut written);
        assert_eq!(slices, written);
        String::from_utf8(slices).unwrap()
    }

    #[test]
    fn edits_by_span_touch_nothing_else() {
        let body = Bytes::from_static(b"{\"a\":1.0,\"model\":\"x\",\"b\":[ ]}");
        let mut splice = Splice::new(&body);
        splice.replace_span(17..20, &b"\"yy\""[..]);
        splice.replace_span(1..1, &b"\"s\":true,"[..]);
        assert_eq!(splice.slices(&body).concat(), b"{\"s\":true,\"a\":1.0,\"model\":\"yy\",\"b\":[ ]}");
        assert_eq!(Splice::new(&body).slices(&body), vec![body.clone()]);
    }

    #[test]
    fn only_the_value_changes() {
        let text = r#"{ "a":[1.0,{"model":"x"}], "model" : "fast" ,"b":"\"model\":\"y\""}"#;
        let got = edited(text, MemberEdits::new().set_string("model", "vendor/\"real\""));
        assert_eq!(got, r#"{ "a":[1.0,{"model":"x"}], "model" : "vendor/\"real\"" ,"b":"\"model\":\"y\""}"#);
    }

    #[test]
    fn every_occurrence_changes_however_its_name_is_spelled() {
        let got = edited(r#"{"model":1,"mod\u0065l":{"x":2}}"#, MemberEdits::new().set("model", "7"));
        assert_eq!(got, r#"{"model":7,"mod\u0065l":7}"#);
    }

    #[test]
    fn a_missing_member_becomes_the_first() {
        assert_eq!(edited(r#"{ "a":1}"#, MemberEdits::new().set("b", "2").set("c", "3")), r#"{"b":2,"c":3, "a":1}"#);
        assert_eq!(edited("{ }", MemberEdits::new().set("b", "2")), r#"{"b":2 }"#);
    }

    #[test]
    fn removals_take_their_commas() {
        let text = r#"{ "a":1 , "b":2, "c":3 }"#;
        for (names, want) in [
            (&["a"][..], r#"{ "b":2, "c":3 }"#),
            (&["b"], r#"{ "a":1 , "c":3 }"#),
            (&["c"], r#"{ "a":1 , "b":2 }"#),
            (&["a", "b"], r#"{ "c":3 }"#),
            (&["b", "c"], r#"{ "a":1 }"#),
            (&["a", "c"], r#"{ "b":2 }"#),
            (&["a", "b", "c"], "{  }"),
        ] {
            let mut edits = MemberEdits::new();
            names.iter().for_each(|name| {
                edits.remove(name);
            });
            assert_eq!(edited(text, &edits), want);
        }
        assert_eq!(edited(r#"{"a":1}"#, MemberEdits::new().set("b", "2").remove("a")), r#"{"b":2}"#);
    }

    #[test]
    fn elements_can_go() {
        let text = "[1, 2,3 ,4]";
        let raw = Raw::parse_str(text).unwrap();
        for (kept, want) in [("14", "[1, 4]"), ("23", "[2,3]"), ("", "[]"), ("1234", text)] {
            let mut splice = Splice::new(text.as_bytes());
            let gone = splice.retain(raw, |value| kept.contains(value.as_str()));
            assert_eq!(gone, 4 - kept.len());
            let mut out = Vec::new();
            splice.write(&mut out);
            assert_eq!(String::from_utf8(out).unwrap(), want);
        }
    }

    proptest! {
        /// The output parses, and says what a parser's own map says after the same edits.
        #[test]
        fn edits_mean_what_they_say(
            members in prop::collection::vec(("[abc]", "(1|\"x\"|\\[1, 2\\]|\\{\"a\":0\\})"), 0..6),
            set in prop::collection::btree_map("[abcd]", 0u8..9, 0..3),
            removed in prop::collection::btree_set("[ab]", 0..2),
            space in "[ \n]{0,2}",
        ) {
            let body: Vec<_> =
                members.iter().map(|(name, value)| format!("{space}\"{name}\"{space}:{value}{space}")).collect();
            let text = format!("{{{}}}", body.join(","));
            let mut expected: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&text).unwrap();
            let mut edits = MemberEdits::new();
            for (name, value) in &set {
                edits.set(name, value.to_string());
                expected.insert(name.clone(), (*value).into());
            }
            for name in &removed {
                edits.remove(name);
                expected.remove(name);
            }
            let got = edited(&text, &edits);
            prop_assert_eq!(serde_json::from_str::<serde_json::Map<_, _>>(&got).unwrap(), expected, "{}", got);
        }
    }
}
