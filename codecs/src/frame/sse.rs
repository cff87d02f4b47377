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
        while let Some(length) = memchr::memchr2(b'\n', b'\r', &chunk[at..]) {
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

    /// End of input: an event without its blank line is handed out all the same (proxies cut the last one).
    pub fn finish(&mut self, each: Each<'_>) {
        if !self.line.is_empty() && self.kept_line_end(each).is_err() {
            return;
        }
        if self.has_data {
            each(Frame { name: text(&self.name), data: &self.data, unfinished: true });
        }
        self.reset();
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
    std::str::from_utf8(name).ok().filter(|name| !name.is_empty())
}
