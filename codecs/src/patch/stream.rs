//! Edits of a stream whose dialect is the client's.
//!
//! The framing is read only to find the payloads: line ends, field prefixes, spacing, comments and unknown events are
//! written back as they came. Bytes leave event by event; what is not JSON leaves unchanged. A JSON array stream (Gemini
//! without `alt=sse`) is copied.

use std::ops::Range;

use bytes::BytesMut;

use super::ReplyEdits;
use crate::{
    dialect::Dialect,
    frame::{FRAME_BYTES_MAX, Framing},
    json::{Raw, write::Sink},
};

/// Patches one stream.
#[derive(Debug)]
pub struct StreamPatch {
    dialect: Dialect,
    framing: Framing,
    edits: ReplyEdits,
    /// Raw bytes of the event (SSE) or row (NDJSON) that is not complete yet.
    block: Vec<u8>,
    /// Start of the current line in `block`.
    line: usize,
    /// The last byte was a CR that ended a line: an LF that follows belongs to it.
    after_cr: bool,
    /// Bytes are copied from now on: there is nothing to edit, or an event was larger than the limit.
    copy: bool,
}

impl StreamPatch {
    /// A patcher at the start of a stream.
    pub fn new(dialect: Dialect, framing: Framing, edits: ReplyEdits) -> Self {
        let copy = edits.is_empty() || !matches!(framing, Framing::Sse | Framing::NdJson);
        Self { dialect, framing, edits, block: Vec::new(), line: 0, after_cr: false, copy }
    }

    /// Takes the next bytes and appends what may leave.
    pub fn push(&mut self, mut chunk: &[u8], out: &mut BytesMut) {
        if self.copy {
            out.put(chunk);
            return;
        }
        if std::mem::take(&mut self.after_cr) && chunk.first() == Some(&b'\n') {
            chunk = &chunk[1..];
            if self.block.is_empty() {
                out.put(b"\n");
            } else {
                self.block.push(b'\n');
                self.line = self.block.len();
            }
        }
        let mut at = self.block.len();
        self.block.extend_from_slice(chunk);
        let block = std::mem::take(&mut self.block);
        let (mut start, mut line) = (0, self.line);
        while let Some(length) = self.line_end(&block[at..]) {
            let end = at + length;
            at = end + 1;
            if block[end] == b'\r' {
                match block.get(at) {
                    Some(b'\n') => at += 1,
                    Some(_) => {}
                    None => self.after_cr = true,
                }
            }
            if self.framing == Framing::NdJson || end == line {
                self.event(&block[start..at], out);
                start = at;
            }
            line = at;
        }
        self.block = block;
        self.block.drain(..start);
        self.line = line - start;
        if self.block.len() > FRAME_BYTES_MAX {
            self.finish(out);
            self.copy = true;
        }
    }

    /// End of input: what has not left yet.
    pub fn finish(&mut self, out: &mut BytesMut) {
        let block = std::mem::take(&mut self.block);
        self.line = 0;
        self.event(&block, out);
    }

    fn line_end(&self, text: &[u8]) -> Option<usize> {
        match self.framing {
            Framing::NdJson => memchr::memchr(b'\n', text),
            _ => memchr::memchr2(b'\n', b'\r', text),
        }
    }

    /// Writes one event, edited.
    fn event(&mut self, block: &[u8], out: &mut BytesMut) {
        let spans = if self.framing == Framing::NdJson { vec![trimmed(block)] } else { data_spans(block) };
        let edited = match spans.as_slice() {
            [] => None,
            [span] => self.payload(&block[span.clone()], &spans),
            _ => {
                let lines: Vec<&[u8]> = spans.iter().map(|span| &block[span.clone()]).collect();
                self.payload(&lines.join(&b'\n'), &spans)
            }
        };
        let mut at = 0;
        for (span, with) in edited.into_iter().flatten() {
            out.put(&block[at..span.start]);
            out.put(&with);
            at = span.end;
        }
        out.put(&block[at..]);
    }

    /// Edits of a payload as spans of the block. `spans`: where the lines of the payload stand in the block.
    fn payload(&mut self, payload: &[u8], spans: &[Range<usize>]) -> Option<Vec<(Range<usize>, bytes::Bytes)>> {
        let root = Raw::parse(payload).ok()?;
        let edits = self.edits.value(self.dialect, root, payload).into_edits();
        // A value that is edited is one token or lies in one line, unless somebody breaks lines inside it: then hands off.
        edits.into_iter().map(|edit| Some((place(edit.span, spans)?, edit.with))).collect()
    }
}

/// Where a span of the joined payload stands in the block.
fn place(span: Range<usize>, spans: &[Range<usize>]) -> Option<Range<usize>> {
    let mut start = 0;
    for line in spans {
        let end = start + line.len();
        if span.start <= end {
            let moved = line.start + span.start - start;
            return (span.end <= end).then_some(moved..moved + span.len());
        }
        start = end + 1;
    }
    None
}

fn trimmed(block: &[u8]) -> Range<usize> {
    let start = block.len() - block.trim_ascii_start().len();
    start..start + block.trim_ascii().len()
}

/// Where the values of the `data` lines stand in a block.
fn data_spans(block: &[u8]) -> Vec<Range<usize>> {
    let mut spans = Vec::new();
    let mut line = if block.starts_with(b"\xEF\xBB\xBF") { 3 } else { 0 };
    while line < block.len() {
        let end = memchr::memchr2(b'\n', b'\r', &block[line..]).map_or(block.len(), |length| line + length);
        if block[line..end].starts_with(b"data:") {
            let value = line + b"data:".len();
            spans.push(value + usize::from(block.get(value) == Some(&b' ') && value < end)..end);
        }
        line = end + 1;
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(framing: Framing, stream: &str, size: usize) -> String {
        let edits = ReplyEdits { model: Some("alias".into()), usage_pad: 5, ..ReplyEdits::default() };
        let dialect = if framing == Framing::NdJson { Dialect::Ollama } else { Dialect::OpenAiChat };
        let mut patch = StreamPatch::new(dialect, framing, edits);
        let mut out = BytesMut::new();
        for piece in stream.as_bytes().chunks(size) {
            patch.push(piece, &mut out);
        }
        patch.finish(&mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn only_the_named_spans_change() {
        let stream = "\u{feff}data: {\"model\" : \"m\"}\r\n\r\n: {\"model\":\"m\"}\n\nevent: x\rdata:{\"model\":\"m\",\"a\":1.0}\r\r\
             data: [DONE]\n\ndata: {\"usage\":{\"prompt_tokens\":1}}\n\ndata: {\"model\":\"cut\"}";
        let want = stream
            .replace("data: {\"model\" : \"m\"}", "data: {\"model\" : \"alias\"}")
            .replace("data:{\"model\":\"m\"", "data:{\"model\":\"alias\"")
            .replace("\"prompt_tokens\":1", "\"prompt_tokens\":6")
            .replace("\"cut\"", "\"alias\"");
        for size in 1..40 {
            assert_eq!(run(Framing::Sse, stream, size), want, "pieces of {size}");
        }
    }

    #[test]
    fn a_payload_over_several_lines_keeps_them() {
        let stream = "data: {\"id\":1,\ndata:  \"model\":\ndata: \"m\"\r\ndata: }\n\n";
        for size in [1, 5, 100] {
            assert_eq!(run(Framing::Sse, stream, size), stream.replace("\"m\"", "\"alias\""));
        }
        let broken = "data: {\"usage\":{\"prompt_tokens\":1,\ndata: \"x\":[\ndata: 1]}}\n\n";
        assert_eq!(run(Framing::Sse, broken, 100), broken.replace("\":1", "\":6"));
    }

    #[test]
    fn rows_are_patched() {
        let stream = "{\"model\":\"m\"}\r\n\n {\"model\":\"m\"} \n{\"model\":\"m\"}";
        for size in [1, 4, 100] {
            assert_eq!(run(Framing::NdJson, stream, size), stream.replace("\"m\"", "\"alias\""));
        }
    }
}
