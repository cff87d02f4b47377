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

    /// What has come of an unfinished line.
    pub(super) fn kept(&self) -> &[u8] {
        &self.line
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn run(stream: &[u8], size: usize, limit: usize) -> Result<Vec<(String, bool)>, FrameError> {
        let mut lines = NdJson::new(limit);
        let mut seen = Vec::new();
        let mut each =
            |frame: Frame<'_>| seen.push((String::from_utf8(frame.data.to_vec()).unwrap(), frame.unfinished));
        for piece in stream.chunks(size) {
            lines.push(piece, &mut each)?;
        }
        lines.finish(&mut each);
        Ok(seen)
    }

    #[test]
    fn lines_are_trimmed_and_empty_ones_skipped() {
        for size in 1..20 {
            let seen = run(b"{\"a\":1}\r\n\n \t\r\n  {}  \n[]", size, 64).unwrap();
            assert_eq!(seen, [("{\"a\":1}".into(), false), ("{}".into(), false), ("[]".into(), true)]);
        }
    }

    #[test]
    fn too_long_is_an_error_however_it_comes() {
        for size in [1, 10, 100] {
            assert_eq!(run(&[b'x'; 65], size, 64), Err(FrameError::TooLarge { limit: 64 }));
            assert_eq!(run(&[b'x'; 64], size, 64).unwrap().len(), 1);
        }
    }
}
