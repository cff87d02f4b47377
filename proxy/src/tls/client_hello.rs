//! Reads a TLS ClientHello without taking it: who is asked for, and with which protocols. Pure: bytes in, verdict out.
//!
//! ```text
//!                 ┌────────────────── more bytes ──────────────────┐
//!                 ▼                                                │
//!   First ──0x16──▶ Records: header ─▶ fragment ─▶ header ─▶ … ────┤
//!     │                 │                              handshake complete ──▶ Hello
//!     └─ other ──▶ NotTls  └─ against the rules ──▶ Reject
//! ```
//!
//! The caller keeps the bytes, all of them from the first one, and shows them again when more have come; whoever takes the
//! connection over must see the hello again. A byte is looked at once: the sniffer remembers how far it was. The verdict
//! does not depend on how the bytes were cut into reads, nor the handshake message into records, and it never changes when
//! more bytes follow. A hello may sit in many records, and even its first four bytes may be cut apart.
//!
//! Deadlines are the caller's: here is no clock.

use std::{fmt, ops::Range};

/// Largest handshake message, bytes. Real hellos have 200 to 2,000.
const MESSAGE_MAX: usize = 16_384;
/// Largest payload of a record (RFC 8446 §5.1), bytes.
const RECORD_MAX: usize = 16_384;
/// Most bytes that are looked at: a hello in records of one byte needs six times its size.
pub const HELLO_BYTES_MAX: usize = 24_576;

const RECORD_HEADER: usize = 5;
const HANDSHAKE_HEADER: usize = 4;
const CONTENT_HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const EXTENSION_SERVER_NAME: u16 = 0;
const EXTENSION_ALPN: u16 = 16;
const EXTENSION_ECH: u16 = 0xfe0d;

/// What the bytes so far are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sniff {
    /// Undecided; at [`HELLO_BYTES_MAX`] at the latest it is decided.
    NeedMore,
    /// A ClientHello, whole.
    Hello(Hello),
    /// Something else than TLS.
    NotTls(NotTls),
    /// TLS that no client of good faith sends.
    Reject(Reject),
}

/// What a ClientHello says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hello {
    /// The name asked for, in lower case. `None` if there is none, or an address stands in its place. Under ECH this is the
    /// outer name.
    pub server_name: Option<Box<str>>,
    /// Protocol ids in the client's order, GREASE left out; at most 64 KiB together, as sent.
    pub alpn: Vec<Box<[u8]>>,
    /// Whether an `encrypted_client_hello` is there. Browsers send one that means nothing, so it decides nothing.
    pub ech: bool,
    /// Whether a value of RFC 8701 is among ciphers or extensions: for statistics.
    pub grease: bool,
    /// Length of the hello in the bytes shown, records included. What follows belongs to whoever takes over.
    pub length: usize,
}

/// What else may talk to a TLS port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotTls {
    /// A request line of HTTP/1.
    PlainHttp,
    /// The preface of HTTP/2.
    PlainH2,
    /// A hello of 1995.
    Sslv2,
    /// Anything else.
    Other,
}

/// Which rule was broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reject {
    /// The end came before the hello was whole.
    Truncated,
    /// A record of another kind in the middle of the handshake message.
    InterleavedRecord,
    /// A later record of another major version.
    BadRecord,
    /// A record above 16,384 bytes.
    RecordOverflow,
    /// An empty handshake record.
    EmptyFragment,
    /// Another handshake message.
    NotClientHello,
    /// A message above 16,384 bytes, or a hello that needs more than [`HELLO_BYTES_MAX`].
    TooLarge,
    /// Lengths that contradict each other, or a field outside of its range.
    Malformed,
    /// An extension twice.
    DuplicateExtension,
    /// Several names, or none that a host could have.
    ServerName,
}

impl Reject {
    /// The alert that says so (RFC 8446 §6), by its number.
    pub fn alert(self) -> u8 {
        match self {
            Self::NotClientHello | Self::InterleavedRecord => 10, // unexpected_message
            Self::RecordOverflow => 22,
            Self::TooLarge => 47, // illegal_parameter
            Self::Truncated
            | Self::BadRecord
            | Self::EmptyFragment
            | Self::Malformed
            | Self::DuplicateExtension
            | Self::ServerName => 50, // decode_error
        }
    }
}

impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "ended before the hello was whole",
            Self::InterleavedRecord => "another record inside the hello",
            Self::BadRecord => "a record of another version",
            Self::RecordOverflow => "a record is too large",
            Self::EmptyFragment => "an empty record",
            Self::NotClientHello => "no client hello",
            Self::TooLarge => "the hello is too large",
            Self::Malformed => "the hello is malformed",
            Self::DuplicateExtension => "an extension is there twice",
            Self::ServerName => "the server name is none",
        })
    }
}

/// Where a sniffer is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    /// The first byte, and those behind it that tell plain protocols apart, are awaited.
    First,
    /// A record header begins at `at`.
    Header,
    /// Inside of a record, of which `left` bytes are awaited.
    Fragment { left: usize },
    /// Decided.
    Done(Sniff),
}

/// Looks at the beginning of a connection.
#[derive(Debug, Clone)]
pub struct Sniffer {
    state: State,
    /// Bytes before this were looked at.
    at: usize,
    /// Pieces of the handshake message that were complete when they were left, as places in the bytes shown.
    ///
    /// At most one per record, and records need six bytes: 4,096 of them.
    pieces: Vec<Range<usize>>,
    /// Bytes of the message seen.
    seen: usize,
    /// The message's first bytes: its type and length.
    header: [u8; HANDSHAKE_HEADER],
    /// Records begun.
    records: usize,
}

impl Default for Sniffer {
    fn default() -> Self {
        Self::new()
    }
}

impl Sniffer {
    /// One for a new connection.
    pub fn new() -> Self {
        Self { state: State::First, at: 0, pieces: Vec::new(), seen: 0, header: [0; 4], records: 0 }
    }

    /// Looks at all bytes of the connection so far: those of the last call, and what has come since.
    pub fn look(&mut self, bytes: &[u8]) -> Sniff {
        let bytes = &bytes[..bytes.len().min(HELLO_BYTES_MAX)];
        loop {
            let next = match &self.state {
                State::Done(verdict) => return verdict.clone(),
                State::First => first(bytes),
                State::Header => self.record_header(bytes),
                State::Fragment { left } => self.fragment(bytes, *left),
            };
            match next {
                Step::Wait if bytes.len() >= HELLO_BYTES_MAX => self.decide(Sniff::Reject(Reject::TooLarge)),
                Step::Wait => return Sniff::NeedMore,
                Step::Go(state) => self.state = state,
            }
        }
    }

    /// The connection has ended.
    pub fn end(&mut self) -> Sniff {
        if !matches!(self.state, State::Done(_)) {
            self.decide(Sniff::Reject(Reject::Truncated));
        }
        self.look(&[])
    }

    fn decide(&mut self, verdict: Sniff) {
        self.state = State::Done(verdict);
        self.pieces = Vec::new();
    }

    fn record_header(&mut self, bytes: &[u8]) -> Step {
        let rest = bytes.get(self.at..).unwrap_or_default();
        let first = self.records == 0;
        // Judged byte by byte: the verdict may not depend on how many came together.
        if rest.first().is_some_and(|&kind| kind != CONTENT_HANDSHAKE) {
            return Step::reject(Reject::InterleavedRecord);
        }
        if rest.get(1).is_some_and(|&major| major != 3) {
            return if first { Step::done(Sniff::NotTls(NotTls::Other)) } else { Step::reject(Reject::BadRecord) };
        }
        let &[_, _, _, high, low, ..] = rest else {
            return Step::Wait;
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        if length > RECORD_MAX {
            return Step::reject(Reject::RecordOverflow);
        }
        if length == 0 {
            return Step::reject(Reject::EmptyFragment);
        }
        self.records += 1;
        self.at += RECORD_HEADER;
        Step::Go(State::Fragment { left: length })
    }

    fn fragment(&mut self, bytes: &[u8], left: usize) -> Step {
        let end = bytes.len().min(self.at + left);
        if end <= self.at {
            return Step::Wait;
        }
        let piece = self.at..end;
        for (place, &byte) in self.header.iter_mut().skip(self.seen).zip(&bytes[piece.clone()]) {
            *place = byte;
        }
        self.at = end;
        self.seen += piece.len();
        let left = left - piece.len();
        match self.pieces.last_mut().filter(|last| last.end == piece.start) {
            Some(last) => last.end = piece.end,
            None => self.pieces.push(piece),
        }
        if self.header[0] != CLIENT_HELLO {
            return Step::reject(Reject::NotClientHello);
        }
        if self.seen >= HANDSHAKE_HEADER {
            let length =
                usize::from(self.header[1]) << 16 | usize::from(self.header[2]) << 8 | usize::from(self.header[3]);
            if length > MESSAGE_MAX {
                return Step::reject(Reject::TooLarge);
            }
            if self.seen >= HANDSHAKE_HEADER + length {
                return Step::done(self.complete(bytes, length));
            }
        }
        Step::Go(if left == 0 { State::Header } else { State::Fragment { left } })
    }

    /// All `length` bytes of the message are there.
    fn complete(&self, bytes: &[u8], length: usize) -> Sniff {
        let surplus = self.seen - HANDSHAKE_HEADER - length;
        let joined;
        let message = match self.pieces.as_slice() {
            [one] => &bytes[one.clone()],
            many => {
                joined = many.iter().flat_map(|piece| &bytes[piece.clone()]).copied().collect::<Vec<u8>>();
                &joined
            }
        };
        let body = &message[HANDSHAKE_HEADER..HANDSHAKE_HEADER + length];
        match parse(body) {
            Ok(hello) => Sniff::Hello(Hello { length: self.at - surplus, ..hello }),
            Err(reject) => Sniff::Reject(reject),
        }
    }
}

enum Step {
    Wait,
    Go(State),
}

impl Step {
    fn done(verdict: Sniff) -> Self {
        Self::Go(State::Done(verdict))
    }

    fn reject(reject: Reject) -> Self {
        Self::done(Sniff::Reject(reject))
    }
}

const METHODS: [&[u8]; 9] =
    [b"GET ", b"POST ", b"PUT ", b"HEAD ", b"DELETE ", b"OPTIONS ", b"PATCH ", b"CONNECT ", b"TRACE "];
const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n";

/// Tells TLS from what else is known.
fn first(bytes: &[u8]) -> Step {
    let not_tls = |what| Step::done(Sniff::NotTls(what));
    match bytes {
        [] => Step::Wait,
        [CONTENT_HANDSHAKE, ..] => Step::Go(State::Header),
        // A two-byte length with its top bit set, then the message type.
        [high, ..] if high & 0x80 != 0 => match bytes.get(2) {
            None => Step::Wait,
            Some(&CLIENT_HELLO) => not_tls(NotTls::Sslv2),
            Some(_) => not_tls(NotTls::Other),
        },
        _ if METHODS.iter().any(|method| bytes.starts_with(method)) => not_tls(NotTls::PlainHttp),
        _ if bytes.starts_with(H2_PREFACE) => not_tls(NotTls::PlainH2),
        _ if H2_PREFACE.starts_with(bytes) || METHODS.iter().any(|method| method.starts_with(bytes)) => Step::Wait,
        _ => not_tls(NotTls::Other),
    }
}

/// Takes fields off the front of a message.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Reject> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Reject::Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn u8(&mut self) -> Result<u8, Reject> {
        Ok(self.take(1)?[0])
    }

    fn u16(&mut self) -> Result<u16, Reject> {
        let bytes = self.take(2)?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    /// A vector with a length of one byte in front.
    fn short(&mut self) -> Result<&'a [u8], Reject> {
        let length = self.u8()?;
        self.take(length.into())
    }

    /// A vector with a length of two bytes in front.
    fn long(&mut self) -> Result<&'a [u8], Reject> {
        let length = self.u16()?;
        self.take(length.into())
    }
}

/// RFC 8446 §4.1.2, behind the handshake header.
fn parse(body: &[u8]) -> Result<Hello, Reject> {
    let mut fields = Fields(body);
    let mut hello = Hello::default();
    // The version of TLS 1.3 hellos too; anything else stopped existing with SSL 3.
    if fields.u8()? != 3 {
        return Err(Reject::Malformed);
    }
    fields.take(1 + 32)?; // minor version, random
    let session = fields.short()?;
    let ciphers = fields.long()?;
    let compressions = fields.short()?;
    if session.len() > 32 || ciphers.is_empty() || ciphers.len() % 2 != 0 || compressions.is_empty() {
        return Err(Reject::Malformed);
    }
    hello.grease = ciphers.chunks_exact(2).any(is_grease);
    if fields.0.is_empty() {
        return Ok(hello);
    }
    let extensions = fields.long()?;
    if !fields.0.is_empty() {
        return Err(Reject::Malformed);
    }
    read_extensions(extensions, &mut hello)?;
    Ok(hello)
}

fn read_extensions(extensions: &[u8], hello: &mut Hello) -> Result<(), Reject> {
    let mut kinds = Vec::new();
    let mut rest = Fields(extensions);
    while !rest.0.is_empty() {
        let kind = rest.u16()?;
        let content = rest.long()?;
        kinds.push(kind);
        match kind {
            EXTENSION_SERVER_NAME => hello.server_name = server_name(content)?,
            EXTENSION_ALPN => hello.alpn = alpn(content)?,
            EXTENSION_ECH => hello.ech = true,
            _ => hello.grease |= is_grease(&kind.to_be_bytes()),
        }
    }
    kinds.sort_unstable();
    if kinds.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(Reject::DuplicateExtension);
    }
    Ok(())
}

/// RFC 6066 §3.
fn server_name(content: &[u8]) -> Result<Option<Box<str>>, Reject> {
    let mut fields = Fields(content);
    let mut list = Fields(fields.long()?);
    if !fields.0.is_empty() {
        return Err(Reject::Malformed);
    }
    let kind = list.u8().map_err(|_| Reject::ServerName)?;
    let name = list.long()?;
    if kind != 0 || !list.0.is_empty() {
        return Err(Reject::ServerName);
    }
    let name = std::str::from_utf8(name).map_err(|_| Reject::ServerName)?;
    // An address is no name (RFC 6066); clients that send one mean none.
    if name.contains(':') || name.parse::<std::net::Ipv4Addr>().is_ok() {
        return Ok(None);
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let label_ok = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(allowed)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if name.len() > 253 || !name.split('.').all(label_ok) {
        return Err(Reject::ServerName);
    }
    Ok(Some(name.to_ascii_lowercase().into()))
}

/// RFC 7301 §3.1.
fn alpn(content: &[u8]) -> Result<Vec<Box<[u8]>>, Reject> {
    let mut fields = Fields(content);
    let mut list = Fields(fields.long()?);
    if !fields.0.is_empty() || list.0.is_empty() {
        return Err(Reject::Malformed);
    }
    let mut ids = Vec::new();
    while !list.0.is_empty() {
        let id = list.short()?;
        if id.is_empty() {
            return Err(Reject::Malformed);
        }
        if !is_grease(id) {
            ids.push(id.into());
        }
    }
    Ok(ids)
}

/// RFC 8701: 0x0a0a, 0x1a1a, … 0xfafa.
fn is_grease(value: &[u8]) -> bool {
    matches!(value, [high, low] if high == low && high & 0x0f == 0x0a)
}
