//! The quick way for the bulk of a stream: frames that differ from the last one in a piece of text only.
//!
//! Upstreams say the same words around every piece of an answer. Once a frame was decoded in full and meant one delta and
//! nothing else, a frame that directly follows it, with the same bytes before and behind the text, means the same delta
//! with another text: it need be neither validated outside the text nor decoded. The text itself is checked as
//! strictly as ever. Behind the text there may be padding, a string of changing random letters that the dialect's decoder
//! ignores: it is checked as a string and not compared.
//!
//! Deliberately absent: any knowledge of a dialect but the name of its padding. What makes this right is that a decoder's answer to a delta depends on
//! its state and the frame, and that a delta of these kinds leaves the state as it was. A decoder that counts what its
//! deltas bring (Responses) must not be wrapped.

use std::ops::Range;

use crate::{
    frame::Frame,
    hub::{Event, Field},
    json::{Raw, Text, string_end},
};

/// Longest text around the piece that is remembered.
const AROUND_BYTES_MAX: usize = 4096;
/// Frames that are remembered in vain before remembering ends: streams that number or date their frames never repeat.
const CREDIT: u8 = 8;

/// Kinds of deltas that repeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Grows {
    Text,
    Think,
    Args,
    Refusal,
}

/// What the last frame looked like, if it was one delta.
#[derive(Debug)]
pub(super) struct Shape {
    /// Whether the last frame had this shape.
    live: bool,
    credit: u8,
    name: String,
    before: Vec<u8>,
    /// From the text to the end of the frame, or to the padding.
    after: Vec<u8>,
    /// Behind the padding, if there is any.
    behind: Option<Vec<u8>>,
    /// Name of the frames' member that is padding.
    padding: Option<&'static str>,
    part: u32,
    grows: Grows,
}

/// What was seen of a frame that is decoded in full.
#[derive(Debug, Default)]
pub(super) struct Seen {
    events: u32,
    delta: Option<(u32, Grows, usize, usize)>,
}

impl Seen {
    /// Notes an event of the frame.
    #[inline]
    pub(super) fn event(&mut self, event: &Event<'_>) {
        self.events += 1;
        let Event::Delta { part, field, text: Text::Escaped(text) } = event else { return };
        let grows = match field {
            Field::Text => Grows::Text,
            Field::Think => Grows::Think,
            Field::Args => Grows::Args,
            Field::Refusal => Grows::Refusal,
            Field::Sig { .. } | Field::Logprobs => return,
        };
        self.delta = Some((*part, grows, text.as_ptr() as usize, text.len()));
    }
}

impl Shape {
    /// Knows nothing yet. `repeats`: deltas leave the decoder as it was. `padding`: a member of frames that it ignores.
    pub(super) fn new(repeats: bool, padding: Option<&'static str>) -> Self {
        Self {
            live: false,
            credit: if repeats { CREDIT } else { 0 },
            name: String::new(),
            before: Vec::new(),
            after: Vec::new(),
            behind: None,
            padding,
            part: 0,
            grows: Grows::Text,
        }
    }

    /// Whether frames are worth being remembered.
    #[inline]
    pub(super) fn learns(&self) -> bool {
        self.credit > 0
    }

    /// The delta that a frame of the remembered shape means. A frame of another shape ends the remembered one.
    #[inline]
    pub(super) fn again<'f>(&mut self, frame: &Frame<'f>) -> Option<Event<'f>> {
        if !self.live {
            return None;
        }
        let found = self.matches(frame);
        match found {
            Some(_) => self.credit = CREDIT,
            None => self.live = false,
        }
        found
    }

    #[inline]
    fn matches<'f>(&self, frame: &Frame<'f>) -> Option<Event<'f>> {
        let (data, start) = (frame.data, self.before.len());
        if frame.unfinished || frame.name.unwrap_or_default() != self.name || !data.starts_with(&self.before) {
            return None;
        }
        let end = string_end(data, start).filter(|end| *end > start)?;
        let rest = data[end..].strip_prefix(&self.after[..])?;
        match &self.behind {
            None if !rest.is_empty() => return None,
            None => {}
            Some(behind) => {
                let length = string_end(rest, 0)?;
                if rest[length..] != behind[..] || std::str::from_utf8(&rest[..length]).is_err() {
                    return None;
                }
            }
        }
        let text = Text::Escaped(std::str::from_utf8(&data[start..end]).ok()?);
        let field = match self.grows {
            Grows::Text => Field::Text,
            Grows::Think => Field::Think,
            Grows::Args => Field::Args,
            Grows::Refusal => Field::Refusal,
        };
        Some(Event::Delta { part: self.part, field, text })
    }

    /// Remembers a frame that was decoded in full, if it was one delta whose text is a whole string of the frame. `value`
    /// is what the frame holds.
    pub(super) fn learn(&mut self, frame: &Frame<'_>, value: Raw<'_>, seen: &Seen) {
        let data = frame.data;
        let (1, Some((part, grows, at, length))) = (seen.events, seen.delta) else { return };
        let Some(start) = at.checked_sub(data.as_ptr() as usize) else { return };
        let end = start + length;
        // A member's value: a piece of a string, or of another buffer, has other neighbours.
        if frame.unfinished
            || data.get(..start).is_none_or(|before| !before.ends_with(b":\""))
            || data.get(end) != Some(&b'"')
            || data.len() - length > AROUND_BYTES_MAX
        {
            return;
        }
        self.credit -= 1;
        self.live = true;
        (self.part, self.grows) = (part, grows);
        self.name.clear();
        self.name.push_str(frame.name.unwrap_or_default());
        self.before.clear();
        self.before.extend_from_slice(&data[..start]);
        let padding =
            self.padding.and_then(|name| place(value.member(name)?, data)).filter(|padding| padding.start > end);
        let stop = padding.as_ref().map_or(data.len(), |padding| padding.start);
        self.after.clear();
        self.after.extend_from_slice(&data[end..stop]);
        match padding {
            None => self.behind = None,
            Some(padding) => {
                let behind = self.behind.get_or_insert_default();
                behind.clear();
                behind.extend_from_slice(&data[padding.end..]);
            }
        }
    }
}

/// Where the inside of a string stands.
fn place(string: Raw<'_>, data: &[u8]) -> Option<Range<usize>> {
    let start = string.offset_in(data)? + 1;
    Some(start..start + string.as_text()?.len())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn frame(data: &str) -> Frame<'_> {
        Frame { name: None, data: data.as_bytes(), unfinished: false }
    }

    /// Teaches the shape of `data`, whose text is `text`.
    fn taught(data: &str, text: &str) -> Shape {
        let mut shape = Shape::new(true, Some("pad"));
        let at = data.find(text).unwrap_or_default();
        let mut seen = Seen::default();
        seen.event(&Event::Delta { part: 3, field: Field::Text, text: Text::Escaped(&data[at..at + text.len()]) });
        shape.learn(&frame(data), Raw::parse_str(data).unwrap(), &seen);
        shape
    }

    #[test]
    fn the_same_shape_is_the_same_delta() {
        let mut shape = taught(r#"{"a":1,"t":"hello","b":null}"#, "hello");
        for text in ["x", r#"a \" b"#, r#"\u00e9 \n é"#, " "] {
            let data = format!(r#"{{"a":1,"t":"{text}","b":null}}"#);
            let expected = Event::Delta { part: 3, field: Field::Text, text: Text::Escaped(text) };
            assert_eq!(shape.again(&frame(&data)), Some(expected));
        }
    }

    #[test]
    fn anything_else_ends_it() {
        for other in [
            r#"{"a":2,"t":"hello","b":null}"#,
            r#"{"a":1,"t":"","b":null}"#,
            r#"{"a":1,"t":"x","t":"y","b":null}"#,
            r#"{"a":1,"t":"x\","b":null}"#,
            r#"{"a":1,"t":"x\q","b":null}"#,
            "{\"a\":1,\"t\":\"x\ty\",\"b\":null}",
            r#"{"a":1,"t":"x","b":null} "#,
            r#"{"a":1,"t":"b":null}"#,
            "[DONE]",
            "",
        ] {
            let mut shape = taught(r#"{"a":1,"t":"hello","b":null}"#, "hello");
            assert_eq!(shape.again(&frame(other)), None, "{other}");
            assert_eq!(shape.again(&frame(r#"{"a":1,"t":"hello","b":null}"#)), None, "live after {other}");
        }
        let mut shape = taught(r#"{"t":"hello"}"#, "hello");
        assert_eq!(shape.again(&Frame { name: None, data: b"{\"t\":\"\xC3\"}", unfinished: false }), None);
        let mut shape = taught(r#"{"t":"hello"}"#, "hello");
        assert_eq!(shape.again(&Frame { name: Some("x"), data: b"{\"t\":\"a\"}", unfinished: false }), None);
    }

    #[test]
    fn padding_may_change_and_nothing_else() {
        let padded = r#"{"a":1,"t":"hello","pad":"x7Kq","b":null}"#;
        for (text, pad) in [("x", "x7Kq"), (r#"a \" b"#, ""), ("y", r"\u00e9 long"), ("z", "é")] {
            let data = format!(r#"{{"a":1,"t":"{text}","pad":"{pad}","b":null}}"#);
            let expected = Event::Delta { part: 3, field: Field::Text, text: Text::Escaped(text) };
            assert_eq!(taught(padded, "hello").again(&frame(&data)), Some(expected), "{data}");
        }
        for other in [
            r#"{"a":1,"t":"x","pad":"y","b":1}"#,
            r#"{"a":1,"t":"x","pad":"y"}"#,
            r#"{"a":1,"t":"x","pad":7,"b":null}"#,
            r#"{"a":1,"t":"x","pad":"\q","b":null}"#,
            r#"{"a":1,"t":"x","pad":"y","t":"z","b":null}"#,
            r#"{"a":1,"t":"x","bad":"y","b":null}"#,
            r#"{"a":1,"t":"x","pad":"","b":null"#,
        ] {
            assert_eq!(taught(padded, "hello").again(&frame(other)), None, "{other}");
        }
        let broken =
            Frame { name: None, data: b"{\"a\":1,\"t\":\"x\",\"pad\":\"\xC3\",\"b\":null}", unfinished: false };
        assert_eq!(taught(padded, "hello").again(&broken), None);
        // Before the text, deeper, or no string: compared like everything else.
        for data in [r#"{"pad":"a","t":"hello"}"#, r#"{"t":"hello","x":{"pad":"a"}}"#, r#"{"t":"hello","pad":["a"]}"#] {
            let mut shape = taught(data, "hello");
            assert!(shape.again(&frame(data)).is_some(), "{data}");
            assert_eq!(shape.again(&frame(&data.replace("\"a\"", "\"b\""))), None, "{data}");
        }
    }

    #[test]
    fn a_piece_of_a_string_is_no_shape() {
        for (data, text) in [(r#"{"t":"hello"}"#, "ello"), (r#"{"t":"hello"}"#, "hell"), (r#"["hello"]"#, "hello")] {
            assert!(!taught(data, text).live, "{data} {text}");
        }
    }

    #[test]
    fn remembering_in_vain_ends() {
        let mut shape = Shape::new(true, None);
        let data = r#"{"t":"hello"}"#;
        for _ in 0..CREDIT {
            assert!(shape.learns());
            let mut seen = Seen::default();
            seen.event(&Event::Delta { part: 0, field: Field::Text, text: Text::Escaped(&data[6..11]) });
            shape.learn(&frame(data), Raw::parse_str(data).unwrap(), &seen);
            assert_eq!(shape.again(&frame("{}")), None);
        }
        assert!(!shape.learns());
    }
}
