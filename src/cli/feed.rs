//! Server-sent events as the management API sends them: a number, a name, JSON.
//!
//! Only what that API uses of the format is read: fields with one line each, `\n` or `\r\n`, comments.

use proxy::Body;
use serde_json::Value;

use super::failure::Failure;

/// Longest event, in bytes.
const EVENT_BYTES_MAX: usize = 1 << 20;

/// An event.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Event {
    /// Its number.
    pub(crate) id: Option<String>,
    /// Its name.
    pub(crate) name: String,
    /// Its payload.
    pub(crate) data: Value,
}

/// Cuts a stream of bytes into events.
#[derive(Debug, Default)]
pub(crate) struct Events {
    waiting: Vec<u8>,
}

impl Events {
    /// Takes bytes in.
    fn push(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.waiting.extend_from_slice(bytes);
        if self.waiting.len() > EVENT_BYTES_MAX + bytes.len() {
            return Err(Failure::Failed(format!("an event is longer than {EVENT_BYTES_MAX} bytes")));
        }
        Ok(())
    }

    /// The next event that is complete.
    fn take(&mut self) -> Option<Event> {
        loop {
            let end = blank_line(&self.waiting)?;
            let block: Vec<u8> = self.waiting.drain(..end).collect();
            if let Some(event) = event(&String::from_utf8_lossy(&block)) {
                return Some(event);
            }
        }
    }

    /// The next event of a body; `None` at its end.
    pub(crate) async fn next(&mut self, body: &mut Body) -> Result<Option<Event>, Failure> {
        loop {
            if let Some(event) = self.take() {
                return Ok(Some(event));
            }
            // Whoever cuts the stream: it is over, and what to do about it is the caller's business.
            match body.chunk().await {
                Ok(Some(bytes)) => self.push(&bytes)?,
                Ok(None) | Err(_) => return Ok(None),
            }
        }
    }
}

/// Where the first block ends, its blank line included.
fn blank_line(bytes: &[u8]) -> Option<usize> {
    let mut line_start = 0;
    for (at, byte) in bytes.iter().enumerate() {
        if *byte == b'\n' {
            if bytes[line_start..at].iter().all(|byte| *byte == b'\r') {
                return Some(at + 1);
            }
            line_start = at + 1;
        }
    }
    None
}

/// An event of a block; `None` if it is a comment.
fn event(block: &str) -> Option<Event> {
    let field = |name: &str| {
        let line = block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        Some(line.strip_prefix(' ').unwrap_or(line))
    };
    let data = field("data")?;
    Some(Event {
        id: field("id").map(str::to_owned),
        name: field("event").unwrap_or("message").to_owned(),
        data: serde_json::from_str(data).unwrap_or_else(|_| data.into()),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn events_are_found_however_the_stream_is_cut() {
        let stream = b": ping\n\nid: 7\nevent: request.end\ndata: {\"a\":1}\n\nevent: reset\r\ndata:x\r\n\r\ndata: cut";
        let expected = [
            Event { id: Some("7".into()), name: "request.end".into(), data: json!({"a": 1}) },
            Event { id: None, name: "reset".into(), data: json!("x") },
        ];
        for size in 1..stream.len() {
            let mut events = Events::default();
            let mut found = Vec::new();
            for piece in stream.chunks(size) {
                events.push(piece).unwrap();
                found.extend(std::iter::from_fn(|| events.take()));
            }
            assert_eq!(found, expected, "pieces of {size}");
        }
        assert!(Events::default().push(&vec![b'x'; EVENT_BYTES_MAX]).is_ok());
        let mut events = Events::default();
        events.push(&vec![b'x'; EVENT_BYTES_MAX]).unwrap();
        events.push(b"x").unwrap();
        assert!(events.push(b"x").is_err());
    }
}
