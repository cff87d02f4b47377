//! NDJSON: one JSON value per line.
//!
//! Lines end in LF; CR and blanks around a line are cut off, empty lines skipped, the last line may lack its LF.

use super::{Each, Frame, FrameError, append, recycle};

/// Cuts lines.
#[derive(Debug)]
pub struct NdJson {
    limit: usize,
    /// The start of a line whose end has not come yet.
    line: Vec<u8>,
}

impl NdJson {
    /// A reader at the start of a stream. `limit` bounds the longest line.
    pub fn new(limit: usize) -> Self {
        Self { limit, line: Vec::new() }
    }

    /// Takes the next bytes.
    pub fn push(&mut self, chunk: &[u8], each: Each<'_>) -> Result<(), FrameError> {
        let mut at = 0;
        while let Some(length) = memchr::memchr(b'\n', &chunk[at..]) {
            let piece = &chunk[at..at + length];
            at += length + 1;
            if self.line.is_empty() {
                if length > self.limit {
                    return Err(FrameError::TooLarge { limit: self.limit });
                }
                emit(piece, false, each);
            } else {
                append(&mut self.line, piece, self.limit)?;
                emit(&self.line, false, each);
                recycle(&mut self.line);
            }
        }
        append(&mut self.line, &chunk[at..], self.limit)
    }

    /// End of input.
    pub fn finish(&mut self, each: Each<'_>) {
        emit(&self.line, true, each);
        recycle(&mut self.line);
    }
}

fn emit(line: &[u8], unfinished: bool, each: Each<'_>) {
    let data = line.trim_ascii();
    if !data.is_empty() {
        each(Frame { name: None, data, unfinished });
    }
}
