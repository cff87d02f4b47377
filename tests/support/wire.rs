//! HTTP/1 messages as both scripts read them: heads with order and case kept, bodies by length, in chunks or to the end.

use tokio::{io::AsyncReadExt, net::TcpStream};

/// A head: its first line and its fields as they came.
#[derive(Debug, Clone, Default)]
pub(crate) struct Head {
    pub(crate) first: String,
    pub(crate) fields: Vec<(String, String)>,
}

impl Head {
    /// The value of the first field of that name.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Names in order and case.
    pub(crate) fn names(&self) -> Vec<&str> {
        self.fields.iter().map(|(name, _)| name.as_str()).collect()
    }

    fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let mut lines = text.split("\r\n");
        let first = lines.next().unwrap_or_default().to_owned();
        let fields = lines.filter_map(|line| line.split_once(':'));
        Self { first, fields: fields.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect() }
    }

    fn body(&self) -> Rest {
        let chunked =
            self.get("transfer-encoding").is_some_and(|value| value.to_ascii_lowercase().ends_with("chunked"));
        match self.get("content-length").and_then(|value| value.parse().ok()) {
            // These have no body, and need not say so.
            _ if self.first.starts_with("HTTP/1.1 204") || self.first.starts_with("HTTP/1.1 304") => Rest::Nothing,
            _ if chunked => Rest::Chunks,
            Some(length) => Rest::Length(length),
            // These end with their heads.
            None if [" 204 ", " 304 "].iter().any(|status| self.first.contains(status)) => Rest::Nothing,
            None => Rest::Close,
        }
    }
}

/// What is left of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rest {
    Length(usize),
    Chunks,
    Close,
    Nothing,
}

/// Reads messages off a socket.
#[derive(Debug)]
pub(crate) struct Reader {
    buf: Vec<u8>,
    pub(crate) rest: Rest,
}

impl Reader {
    pub(crate) fn new() -> Self {
        Self { buf: Vec::new(), rest: Rest::Nothing }
    }

    /// One read; false at the end of the stream. A reset counts as one.
    async fn fill(&mut self, io: &mut TcpStream) -> bool {
        self.buf.reserve(64 * 1024);
        matches!(io.read_buf(&mut self.buf).await, Ok(n) if n > 0)
    }

    /// The next head; `None` when the peer closed instead.
    pub(crate) async fn head(&mut self, io: &mut TcpStream) -> Option<Head> {
        loop {
            if let Some(end) = self.buf.windows(4).position(|window| window == b"\r\n\r\n") {
                let head = Head::parse(&self.buf[..end]);
                self.buf.drain(..end + 4);
                self.rest = head.body();
                return Some(head);
            }
            if !self.fill(io).await {
                return None;
            }
        }
    }

    /// The next piece of the body: one chunk, or what one read brought. `Ok(None)`: the body is complete. `Err`: the
    /// peer closed before it was.
    pub(crate) async fn piece(&mut self, io: &mut TcpStream) -> Result<Option<Vec<u8>>, ()> {
        loop {
            match self.rest {
                Rest::Nothing | Rest::Length(0) => {
                    self.rest = Rest::Nothing;
                    return Ok(None);
                }
                Rest::Length(left) if !self.buf.is_empty() => {
                    let n = left.min(self.buf.len());
                    self.rest = Rest::Length(left - n);
                    return Ok(Some(self.buf.drain(..n).collect()));
                }
                Rest::Close if !self.buf.is_empty() => return Ok(Some(std::mem::take(&mut self.buf))),
                Rest::Chunks => {
                    if let Some(chunk) = self.chunk() {
                        if chunk.is_empty() {
                            self.rest = Rest::Nothing;
                            return Ok(None);
                        }
                        return Ok(Some(chunk));
                    }
                }
                Rest::Length(_) | Rest::Close => {}
            }
            if !self.fill(io).await {
                let clean = self.rest == Rest::Close;
                self.rest = Rest::Nothing;
                return if clean { Ok(None) } else { Err(()) };
            }
        }
    }

    /// A whole chunk out of the buffer; the empty one is the last.
    fn chunk(&mut self) -> Option<Vec<u8>> {
        let line = self.buf.windows(2).position(|window| window == b"\r\n")?;
        let size = std::str::from_utf8(&self.buf[..line]).unwrap();
        let size = usize::from_str_radix(size.split(';').next().unwrap().trim(), 16).unwrap();
        let end = line + 2 + size + 2;
        if self.buf.len() < end {
            return None;
        }
        let chunk = self.buf[line + 2..end - 2].to_vec();
        self.buf.drain(..end);
        Some(chunk)
    }

    /// The rest of the body, and whether it was complete.
    pub(crate) async fn body(&mut self, io: &mut TcpStream) -> (Vec<u8>, bool) {
        let mut body = Vec::new();
        loop {
            match self.piece(io).await {
                Ok(Some(piece)) => body.extend_from_slice(&piece),
                Ok(None) => return (body, true),
                Err(()) => return (body, false),
            }
        }
    }

    /// Waits until the peer has closed, throwing away what it sends.
    pub(crate) async fn closed(&mut self, io: &mut TcpStream) {
        while self.fill(io).await {
            self.buf.clear();
        }
    }
}

/// One chunk of a chunked body.
pub(crate) fn chunk(bytes: &[u8]) -> Vec<u8> {
    let mut out = format!("{:x}\r\n", bytes.len()).into_bytes();
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
    out
}
