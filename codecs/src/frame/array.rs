//! One JSON array over the whole body: its elements are the payloads.
//!
//! Gemini answers `:streamGenerateContent` like this when `alt=sse` is missing. Only brackets, strings and commas are
//! looked at; whether an element is valid JSON is for the caller to find out.

use super::{Each, Frame, FrameError, append, recycle};

/// Cuts the elements of an array.
///
/// ```text
///   Before ──'['──▶ Between ──any──▶ Inside ──',' or ']' at depth 0──▶ Between / After
/// ```
#[derive(Debug)]
pub struct JsonArray {
    limit: usize,
    state: State,
    /// The start of an element whose end has not come yet.
    element: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    Before,
    Between,
    Inside { depth: u32, string: InString },
    After,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum InString {
    No,
    Yes,
    /// Behind a backslash.
    Escape,
}

impl JsonArray {
    /// A reader at the start of a stream. `limit` bounds the longest element.
    pub fn new(limit: usize) -> Self {
        Self { limit, state: State::Before, element: Vec::new() }
    }

    /// Takes the next bytes.
    pub fn push(&mut self, chunk: &[u8], each: Each<'_>) -> Result<(), FrameError> {
        // Start of the current element's bytes in this chunk.
        let mut from = 0;
        for (at, &byte) in chunk.iter().enumerate() {
            match self.state {
                State::Before => match byte {
                    b'[' => self.state = State::Between,
                    b' ' | b'\t' | b'\r' | b'\n' | 0xEF | 0xBB | 0xBF => {}
                    _ => return Err(FrameError::NotAnArray { expected: "'['" }),
                },
                State::Between => match byte {
                    b' ' | b'\t' | b'\r' | b'\n' | b',' => {}
                    b']' => self.state = State::After,
                    _ => {
                        from = at;
                        self.state = inside(byte, 0, InString::No);
                    }
                },
                State::Inside { depth: 0, string: InString::No } if matches!(byte, b',' | b']') => {
                    self.complete(&chunk[from..at], each)?;
                    self.state = if byte == b',' { State::Between } else { State::After };
                }
                State::Inside { depth, string } => self.state = inside(byte, depth, string),
                State::After => match byte {
                    b' ' | b'\t' | b'\r' | b'\n' => {}
                    _ => return Err(FrameError::NotAnArray { expected: "the end" }),
                },
            }
        }
        match self.state {
            State::Inside { .. } => append(&mut self.element, &chunk[from..], self.limit),
            State::Before | State::Between | State::After => Ok(()),
        }
    }

    /// What has come of an unfinished element.
    pub(super) fn kept(&self) -> &[u8] {
        &self.element
    }

    /// End of input: an element that was cut off is handed out as unfinished.
    pub fn finish(&mut self, each: Each<'_>) {
        if let State::Inside { .. } = self.state {
            each(Frame { name: None, data: self.element.trim_ascii(), unfinished: true });
        }
        recycle(&mut self.element);
        self.state = State::After;
    }

    fn complete(&mut self, piece: &[u8], each: Each<'_>) -> Result<(), FrameError> {
        let data = if self.element.is_empty() {
            if piece.len() > self.limit {
                return Err(FrameError::TooLarge { limit: self.limit });
            }
            piece
        } else {
            append(&mut self.element, piece, self.limit)?;
            &self.element
        };
        each(Frame { name: None, data: data.trim_ascii(), unfinished: false });
        recycle(&mut self.element);
        Ok(())
    }
}

/// One step inside an element.
fn inside(byte: u8, depth: u32, string: InString) -> State {
    let (depth, string) = match (string, byte) {
        (InString::Escape, _) => (depth, InString::Yes),
        (InString::Yes, b'\\') => (depth, InString::Escape),
        (InString::Yes, b'"') => (depth, InString::No),
        (InString::Yes, _) => (depth, InString::Yes),
        (InString::No, b'"') => (depth, InString::Yes),
        (InString::No, b'{' | b'[') => (depth.saturating_add(1), InString::No),
        (InString::No, b'}' | b']') => (depth.saturating_sub(1), InString::No),
        (InString::No, _) => (depth, InString::No),
    };
    State::Inside { depth, string }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn run(stream: &[u8], size: usize) -> Result<Vec<(String, bool)>, FrameError> {
        let mut array = JsonArray::new(64);
        let mut seen = Vec::new();
        let mut each =
            |frame: Frame<'_>| seen.push((String::from_utf8(frame.data.to_vec()).unwrap(), frame.unfinished));
        for piece in stream.chunks(size) {
            array.push(piece, &mut each)?;
        }
        array.finish(&mut each);
        Ok(seen)
    }

    #[test]
    fn elements_come_out_whole() {
        let stream = br#" [ {"a":"],\"}{"} ,
            [1,[2]] , "x,]" ,7
            ] "#;
        for size in 1..30 {
            let seen: Vec<String> = run(stream, size).unwrap().into_iter().map(|(text, _)| text).collect();
            assert_eq!(seen, ["{\"a\":\"],\\\"}{\"}", "[1,[2]]", "\"x,]\"", "7"]);
        }
        assert_eq!(run(b"[]", 1), Ok(vec![]));
    }

    #[test]
    fn a_cut_array_shows_it() {
        assert_eq!(run(b"[{},{\"a\"", 3).unwrap(), [("{}".into(), false), ("{\"a\"".into(), true)]);
    }

    #[test]
    fn other_bodies_are_errors() {
        assert!(run(b"{}", 1).is_err());
        assert!(run(b"[1] 2", 1).is_err());
        assert!(run(&[b"[".as_slice(), &[b'1'; 65], b"]"].concat(), 10).is_err());
        assert!(run(&[b"[".as_slice(), &[b'1'; 65], b"]"].concat(), 100).is_err());
    }
}
