//! Log probabilities of tokens, as a list that travels beside the words of a part.
//!
//! On the hub the list is JSON text in OpenAI's form, because three of the dialects that know log probabilities write it:
//! `{"token":…,"logprob":…,"bytes":[…],"top_logprobs":[{"token":…,"logprob":…,"bytes":[…]},…]}`, comma after comma,
//! without the brackets around it. Numbers keep their spelling. Decoders bring every entry into this form, so encoders
//! may copy it; unknown members do not pass.
//!
//! Deliberately absent: any check that the tokens add up to the text. Upstreams score tokens that nobody sees.

use super::{Emit, Event, Field};
use crate::json::{Raw, Text, Writer};

/// What a decoder may collect before it finds the words to it; further entries are left out.
const LIST_BYTES_MAX: usize = 32 << 20;
/// What may wait in an encoder for words; more leave without any.
pub(crate) const WAITING_BYTES_MAX: usize = 64 << 10;
/// Larger allocations are given back when a list is passed on.
const KEPT_BYTES_MAX: usize = 64 << 10;

/// A list that grows.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Logprobs {
    json: Vec<u8>,
}

/// A token with its probability.
#[derive(Debug, Clone, Copy)]
pub struct Token<'a> {
    /// The token's text.
    pub token: Text<'a>,
    /// JSON text of the natural logarithm of its probability.
    pub logprob: &'a str,
    /// Its bytes as a list of numbers. `None`: those of the text.
    pub bytes: Option<Raw<'a>>,
}

impl<'a> Token<'a> {
    /// Reads OpenAI's form; `None` for anything that is no scored token.
    pub fn read(value: Raw<'a>) -> Option<Self> {
        let logprob = value.get("logprob").filter(|number| number.as_f64().is_some())?;
        let bytes = value.get("bytes").filter(|bytes| bytes.is_array());
        Some(Self { token: value.get_text("token")?, logprob: logprob.as_str(), bytes })
    }

    fn write(&self, w: &mut Writer<'_, Vec<u8>>) {
        w.key("token").text(self.token).key("logprob").verbatim(self.logprob).key("bytes");
        if let Some(bytes) = self.bytes {
            w.raw(bytes);
            return;
        }
        let plain = self.token.plain();
        // A piece of a character has no text of its own, and its bytes are not known.
        if plain.contains(char::REPLACEMENT_CHARACTER) {
            w.null();
            return;
        }
        w.begin_array();
        for byte in plain.bytes() {
            w.number(byte.into());
        }
        w.end_array();
    }
}

impl Logprobs {
    /// Appends an entry: the token that was chosen, and the likeliest ones at its place.
    pub fn entry<'t>(&mut self, chosen: Token<'_>, top: impl Iterator<Item = Token<'t>>) {
        if self.json.len() > LIST_BYTES_MAX {
            return;
        }
        self.comma();
        let mut w = Writer::new(&mut self.json);
        w.begin_object();
        chosen.write(&mut w);
        w.key("top_logprobs").begin_array();
        for token in top {
            w.begin_object();
            token.write(&mut w);
            w.end_object();
        }
        w.end_array().end_object();
    }

    /// Appends the entries of a list in OpenAI's form, behind the first `skip` ones. Returns how many there were.
    pub fn read(&mut self, list: Option<Raw<'_>>, skip: u64) -> u64 {
        let mut seen = 0;
        for entry in list.into_iter().flat_map(Raw::elements) {
            let Some(chosen) = Token::read(entry) else { continue };
            seen += 1;
            if seen > skip {
                let top = entry.get("top_logprobs").into_iter().flat_map(Raw::elements);
                self.entry(chosen, top.filter_map(Token::read));
            }
        }
        seen
    }

    /// Appends the text of a [`Field::Logprobs`] delta.
    pub fn push(&mut self, list: Text<'_>) {
        if !list.is_empty() {
            self.comma();
            self.json.extend_from_slice(list.plain().as_bytes());
        }
    }

    fn comma(&mut self) {
        if !self.json.is_empty() {
            self.json.push(b',');
        }
    }

    /// The entries, as the text of a [`Field::Logprobs`] delta.
    pub fn text(&self) -> Text<'_> {
        // Only whole `str`s are ever appended.
        Text::Plain(std::str::from_utf8(&self.json).unwrap_or_default())
    }

    /// The entries as JSON text without brackets.
    pub fn as_bytes(&self) -> &[u8] {
        &self.json
    }

    /// Whether there is no entry.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.json.is_empty()
    }

    /// Bytes held.
    pub fn len(&self) -> usize {
        self.json.len()
    }

    /// Forgets the entries.
    pub fn clear(&mut self) {
        if self.json.capacity() > KEPT_BYTES_MAX {
            self.json = Vec::new();
        }
        self.json.clear();
    }

    /// Emits what has gathered as a delta of `part`, if there is anything.
    pub fn tell(&mut self, part: u32, emit: Emit<'_>) {
        if !self.is_empty() {
            emit(Event::Delta { part, field: Field::Logprobs, text: self.text() });
            self.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(list: &str) -> String {
        let mut logprobs = Logprobs::default();
        logprobs.read(Some(Raw::parse_str(list).unwrap()), 0);
        logprobs.text().plain().into_owned()
    }

    #[test]
    fn entries_take_the_one_form() {
        let list =
            r#"[{"token":"a\u00e9","logprob":-1.50,"top_logprobs":[{"token":"b","logprob":-2e1,"bytes":[98],"x":1}]}]"#;
        assert_eq!(
            read(list),
            r#"{"token":"a\u00e9","logprob":-1.50,"bytes":[97,195,169],"top_logprobs":[{"token":"b","logprob":-2e1,"bytes":[98]}]}"#
        );
        // Half a character: its bytes are known only if the upstream says them.
        let list =
            r#"[{"token":"\ufffd","logprob":0},{"token":"\ufffd","logprob":0,"bytes":[240,159],"top_logprobs":null}]"#;
        assert_eq!(
            read(list),
            r#"{"token":"\ufffd","logprob":0,"bytes":null,"top_logprobs":[]},{"token":"\ufffd","logprob":0,"bytes":[240,159],"top_logprobs":[]}"#
        );
    }

    #[test]
    fn nonsense_is_no_entry() {
        for list in ["[]", "{}", "null", r#"[1,{"token":"a"},{"logprob":1},{"token":"a","logprob":"-1"}]"#] {
            assert_eq!(read(list), "", "{list}");
        }
    }

    #[test]
    fn what_was_told_is_skipped() {
        let list = r#"[{"token":"a","logprob":0},{"token":"b","logprob":0}]"#;
        let mut logprobs = Logprobs::default();
        assert_eq!(logprobs.read(Some(Raw::parse_str(list).unwrap()), 1), 2);
        assert_eq!(logprobs.text().plain(), r#"{"token":"b","logprob":0,"bytes":[98],"top_logprobs":[]}"#);
        let mut told = String::new();
        logprobs.tell(3, &mut |event| told = format!("{event:?}"));
        assert!(told.contains("part: 3") && told.contains("Logprobs"), "{told}");
        logprobs.tell(3, &mut |_| panic!("nothing is left"));
    }
}
