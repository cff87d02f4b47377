//! Server-sent events (WHATWG HTML §9.2), read byte-wise and leniently.
//!
//! Deliberately absent: `id` and `retry` (nobody reconnects), UTF-8 decoding (JSON strings are cut at JSON structure, never
//! at network chunks), and any judgement of the data. U+2028, U+2029, NEL and FF are text here, not line ends.
//!
//! An event whose lines all lie in the pushed chunk and which has one `data` line costs no copy. What is unfinished at the
//! end of a chunk is kept in three buffers, so that no byte is looked at twice however the stream is cut:
//!
//! ```text
//!   …\n event: x \n data: a \n da|
//!             └name┘     └data┘└line┘      the chunk ends here
//! ```

use super::{Each, Frame, FrameError, append, recycle};

const BOM: &[u8] = b"\xEF\xBB\xBF";

/// Cuts server-sent events.
#[derive(Debug)]
pub struct Sse {
    limit: usize,
    /// The start of a line whose end has not come yet.
    line: Vec<u8>,
    /// Name of the current event, kept from an earlier chunk; empty = none.
    name: Vec<u8>,
    /// Data of the current event, kept from an earlier chunk or joined from several lines.
    data: Vec<u8>,
    /// Whether `data` holds the data of the current event (which may be empty).
    has_data: bool,
    /// The last chunk ended in CR: an LF at the start of the next one belongs to it.
    skip_lf: bool,
    /// No line has been read yet: it may start with a byte order mark.
    first_line: bool,
}

/// What is known of the current event and lies in the current chunk.
#[derive(Default)]
struct Here<'c> {
    name: Option<&'c [u8]>,
    data: Option<&'c [u8]>,
}

impl Sse {
    /// A reader at the start of a stream. `limit` bounds the longest line and the longest data.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            line: Vec::new(),
            name: Vec::new(),
            data: Vec::new(),
            has_data: false,
            skip_lf: false,
            first_line: true,
        }
    }

    /// Takes the next bytes.
    pub fn push(&mut self, chunk: &[u8], each: Each<'_>) -> Result<(), FrameError> {
        let mut here = Here::default();
        let mut at = 0;
        if self.skip_lf && !chunk.is_empty() {
            self.skip_lf = false;
            at = usize::from(chunk[0] == b'\n');
        }
        while let Some(length) = line_length(&chunk[at..]) {
            let (start, end) = (at, at + length);
            at = end + 1;
            if chunk[end] == b'\r' {
                match chunk.get(at) {
                    Some(b'\n') => at += 1,
                    Some(_) => {}
                    None => self.skip_lf = true,
                }
            }
            let piece = &chunk[start..end];
            if self.line.is_empty() {
                if length > self.limit {
                    return Err(FrameError::TooLarge { limit: self.limit });
                }
                self.line_end(piece, &mut here, each)?;
            } else {
                append(&mut self.line, piece, self.limit)?;
                self.kept_line_end(each)?;
            }
        }
        append(&mut self.line, &chunk[at..], self.limit)?;
        self.keep(here)
    }

    /// What has come of an unfinished event: a line, its name, its data.
    pub(super) fn kept(&self) -> [&[u8]; 3] {
        [&self.line, &self.name, if self.has_data { &self.data } else { b"" }]
    }

    /// End of input: an event without its blank line is handed out all the same (proxies cut the last one).
    pub fn finish(&mut self, each: Each<'_>) -> Result<(), FrameError> {
        if !self.line.is_empty() {
            self.kept_line_end(each)?;
        }
        if self.has_data {
            each(Frame { name: text(&self.name), data: &self.data, unfinished: true });
        }
        self.reset();
        Ok(())
    }

    /// Handles a complete line of the current chunk.
    #[inline]
    fn line_end<'c>(&mut self, mut line: &'c [u8], here: &mut Here<'c>, each: Each<'_>) -> Result<(), FrameError> {
        if self.first_line {
            self.first_line = false;
            line = line.strip_prefix(BOM).unwrap_or(line);
        }
        if line.is_empty() {
            self.dispatch(here, each);
            return Ok(());
        }
        match field(line) {
            Field::Data(value) => match (self.has_data, here.data) {
                (false, None) => here.data = Some(value),
                (_, first) => {
                    if let Some(first) = first {
                        append(&mut self.data, first, self.limit)?;
                        here.data = None;
                        self.has_data = true;
                    }
                    append(&mut self.data, b"\n", self.limit)?;
                    append(&mut self.data, value, self.limit)?;
                }
            },
            Field::Event(value) => {
                self.name.clear();
                here.name = Some(value);
            }
            Field::Other => {}
        }
        Ok(())
    }

    /// Handles a complete line that began in an earlier chunk and stands in `self.line`.
    /// Such a line is the first of its chunk, so that nothing else of the event can lie in the chunk.
    fn kept_line_end(&mut self, each: Each<'_>) -> Result<(), FrameError> {
        let mut line = std::mem::take(&mut self.line);
        let mut mine = Here::default();
        let result = self.line_end(&line, &mut mine, each);
        match mine {
            Here { data: Some(value), .. } => {
                // The usual case of a long event that trickles in: the line's buffer becomes the data's, without a copy
                // of more than the field name.
                let value_at = line.len() - value.len();
                line.drain(..value_at);
                std::mem::swap(&mut self.data, &mut line);
                self.has_data = true;
            }
            Here { name: Some(value), .. } => {
                self.name.extend_from_slice(value);
            }
            _ => {}
        }
        recycle(&mut line);
        self.line = line;
        result
    }

    /// An empty line: the event is complete.
    #[inline]
    fn dispatch(&mut self, here: &mut Here<'_>, each: Each<'_>) {
        let here = std::mem::take(here);
        if let Some(data) = here.data {
            let name = here.name.unwrap_or(&self.name);
            each(Frame { name: text(name), data, unfinished: false });
        } else if self.has_data {
            let name = here.name.unwrap_or(&self.name);
            each(Frame { name: text(name), data: &self.data, unfinished: false });
        }
        if self.has_data || !self.name.is_empty() {
            self.reset();
        }
    }

    /// Copies what is known of the current event out of a chunk that is about to go away.
    fn keep(&mut self, here: Here<'_>) -> Result<(), FrameError> {
        if let Some(name) = here.name {
            self.name.clear();
            append(&mut self.name, name, self.limit)?;
        }
        if let Some(data) = here.data {
            append(&mut self.data, data, self.limit)?;
            self.has_data = true;
        }
        Ok(())
    }

    fn reset(&mut self) {
        recycle(&mut self.name);
        recycle(&mut self.data);
        self.has_data = false;
    }
}

/// Where the first line ends. Every other line is empty, and not worth a search.
#[inline]
fn line_length(text: &[u8]) -> Option<usize> {
    match text.first()? {
        b'\n' => Some(0),
        _ => memchr::memchr2(b'\n', b'\r', text),
    }
}

enum Field<'c> {
    Data(&'c [u8]),
    Event(&'c [u8]),
    /// A comment, `id`, `retry` or something unknown.
    Other,
}

#[inline]
fn field(line: &[u8]) -> Field<'_> {
    if let Some(value) = line.strip_prefix(b"data:") {
        Field::Data(value.strip_prefix(b" ").unwrap_or(value))
    } else if let Some(value) = line.strip_prefix(b"event:") {
        Field::Event(value.strip_prefix(b" ").unwrap_or(value))
    } else {
        match line {
            b"data" => Field::Data(b""),
            b"event" => Field::Event(b""),
            _ => Field::Other,
        }
    }
}

fn text(name: &[u8]) -> Option<&str> {
    if name.is_empty() { None } else { std::str::from_utf8(name).ok() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    type Seen = Vec<(Option<String>, Vec<u8>, bool)>;

    fn run(pieces: &mut dyn Iterator<Item = &[u8]>, limit: usize) -> Result<Seen, FrameError> {
        let mut sse = Sse::new(limit);
        let mut seen = Vec::new();
        let mut each = |frame: Frame<'_>| {
            seen.push((frame.name.map(str::to_owned), frame.data.to_vec(), frame.unfinished));
        };
        for piece in pieces {
            sse.push(piece, &mut each)?;
        }
        sse.finish(&mut each)?;
        Ok(seen)
    }

    fn whole(stream: &str) -> Vec<(Option<String>, String, bool)> {
        let seen = run(&mut [stream.as_bytes()].into_iter(), 1 << 20).unwrap();
        for size in [1, 2, 3, 7] {
            assert_eq!(run(&mut stream.as_bytes().chunks(size), 1 << 20).unwrap(), seen, "pieces of {size}");
        }
        seen.into_iter().map(|(name, data, cut)| (name, String::from_utf8(data).unwrap(), cut)).collect()
    }

    fn event(name: &str, data: &str) -> (Option<String>, String, bool) {
        ((!name.is_empty()).then(|| name.to_owned()), data.to_owned(), false)
    }

    #[test]
    fn line_ends_may_be_mixed() {
        for stream in ["event: e\ndata: x\n\ndata: y\n\n", "event: e\r\ndata: x\r\n\r\ndata: y\r\n\r\n"] {
            assert_eq!(whole(stream), [event("e", "x"), event("", "y")]);
        }
        assert_eq!(whole("event: e\rdata: x\r\rdata: y\r\r"), [event("e", "x"), event("", "y")]);
        assert_eq!(whole("event: e\r\ndata: x\r\n\ndata: y\n\r\n"), [event("e", "x"), event("", "y")]);
    }

    #[test]
    fn a_byte_order_mark_is_skipped_once() {
        assert_eq!(whole("\u{feff}data: x\n\n\u{feff}data: y\n\ndata:z\n\n"), [event("", "x"), event("", "z")]);
    }

    #[test]
    fn data_lines_join_and_one_space_goes() {
        assert_eq!(whole("data: a\ndata:b\ndata\ndata:  c\n\n"), [event("", "a\nb\n\n c")]);
        assert_eq!(whole("data\n\n"), [event("", "")]);
    }

    #[test]
    fn comments_ids_and_unknown_fields_are_nothing() {
        assert_eq!(whole(": hi\n\nid: 1\nretry: 5\ndatum: x\ndata: x\n: c\n\n: bye\n\n"), [event("", "x")]);
    }

    #[test]
    fn an_event_without_data_only_resets_its_name() {
        assert_eq!(whole("event: ping\n\ndata: x\n\n"), [event("", "x")]);
        assert_eq!(whole("event: a\nevent: b\ndata: x\nevent\n\n"), [event("", "x")]);
        assert_eq!(whole("event: a\nevent: b\ndata: x\n\n"), [event("b", "x")]);
    }

    #[test]
    fn unicode_line_ends_are_text() {
        assert_eq!(
            whole("data: a\u{2028}b\u{2029}c\u{85}d\u{c}e\n\n"),
            [event("", "a\u{2028}b\u{2029}c\u{85}d\u{c}e")]
        );
    }

    #[test]
    fn the_last_event_may_lack_its_blank_line() {
        for stream in ["data: x", "data: x\n", "data: x\r"] {
            assert_eq!(whole(stream), [(None, "x".to_owned(), true)]);
        }
        assert_eq!(whole("data: x\n\nevent: e\n"), [event("", "x")]);
    }

    #[test]
    fn a_complete_event_is_a_slice_of_the_chunk() {
        let chunk = b"data: {}\n\n";
        let mut sse = Sse::new(64);
        sse.push(chunk, &mut |frame| assert_eq!(frame.data.as_ptr(), chunk[6..].as_ptr())).unwrap();
    }

    #[test]
    fn too_long_is_an_error_however_it_comes() {
        let line = format!("data: {}\n\n", "x".repeat(100));
        let lines = format!("data: {0}\ndata: {0}\n\n", "x".repeat(40));
        let cut = lines.trim_end();
        for stream in [line.as_bytes(), lines.as_bytes(), cut.as_bytes(), "x".repeat(100).as_bytes()] {
            for size in [1, 9, 1000] {
                assert_eq!(run(&mut stream.chunks(size), 64), Err(FrameError::TooLarge { limit: 64 }));
            }
        }
    }

    /// Another way to the same events: line by line, over the whole text.
    fn naive(stream: &[u8]) -> Seen {
        let mut lines: Vec<Vec<u8>> = vec![Vec::new()];
        let mut at = 0;
        while at < stream.len() {
            match stream[at] {
                b'\r' | b'\n' => {
                    at += usize::from(stream[at..].starts_with(b"\r\n"));
                    lines.push(Vec::new());
                }
                byte => lines.last_mut().unwrap().push(byte),
            }
            at += 1;
        }
        let ends = lines.len() - 1;
        let (mut seen, mut name, mut data) = (Vec::new(), None, None::<Vec<u8>>);
        for (number, line) in lines.iter().enumerate() {
            let line = if number == 0 { line.strip_prefix(BOM).unwrap_or(line) } else { line };
            if line.is_empty() && number < ends {
                if let Some(data) = data.take() {
                    seen.push((name.take(), data, false));
                }
                name = None;
                continue;
            }
            let colon = line.iter().position(|&b| b == b':').unwrap_or(line.len());
            let value = line.get(colon + 1..).unwrap_or_default();
            let value = value.strip_prefix(b" ").unwrap_or(value);
            match &line[..colon] {
                b"data" => {
                    data = Some(match data.take() {
                        Some(before) => [&before, &b"\n"[..], value].concat(),
                        None => value.to_vec(),
                    });
                }
                b"event" => name = String::from_utf8(value.to_vec()).ok().filter(|name| !name.is_empty()),
                _ => {}
            }
        }
        seen.extend(data.map(|data| (name, data, true)));
        seen
    }

    fn stream() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            4 => Just(b"\n".to_vec()),
            2 => Just(b"\r".to_vec()),
            2 => Just(b"\r\n".to_vec()),
            4 => Just(b"data: ".to_vec()),
            1 => Just(b"data".to_vec()),
            2 => Just(b"event:".to_vec()),
            1 => Just(b":".to_vec()),
            1 => Just(b"\xEF\xBB\xBF".to_vec()),
            3 => "[a-z:é ]{0,5}".prop_map(String::into_bytes),
            1 => prop::collection::vec(any::<u8>(), 0..4),
        ];
        prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn any_cutting_gives_what_the_naive_reader_sees(stream in stream(), sizes in prop::collection::vec(1usize..9, 1..9)) {
            let mut rest = stream.as_slice();
            let mut pieces = Vec::new();
            for &size in sizes.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (piece, tail) = rest.split_at(size.min(rest.len()));
                pieces.push(piece);
                rest = tail;
            }
            let expected = naive(&stream);
            prop_assert_eq!(&run(&mut pieces.into_iter(), 1 << 20).unwrap(), &expected);
            prop_assert_eq!(&run(&mut [stream.as_slice()].into_iter(), 1 << 20).unwrap(), &expected);
        }
    }
}
