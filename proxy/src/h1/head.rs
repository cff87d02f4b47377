//! Bytes to heads and heads to bytes (RFC 9112 §2–§5).
//!
//! The reader finds the end of a head first, looking at each byte once however the head was cut into reads; `httparse`
//! then cuts the fields, and everything that the RFC leaves to taste is decided here, strictly: CRLF only, single
//! spaces, one `Host`. Parsed heads are slices of the read buffer. Nothing here waits or touches a socket.
//!
//! Whatever is written is checked on the way out: a field value that holds CR, LF or NUL cannot split a message.

use bytes::{Buf, Bytes, BytesMut};

use super::framing::{Facts, Framing, as_upstream, refuse};
use crate::{Headers, Kind, Limits, Method, RequestHead, ResponseHead, StatusCode, Version};

/// Fields beyond this number are refused whatever [`Limits::fields`] says.
const FIELDS_MAX: usize = 256;
/// Empty lines that are forgiven in front of a request line (RFC 9112 §2.2 asks for one).
const EMPTY_LINES: u8 = 2;
/// Longest method.
const METHOD_BYTES: usize = 32;

/// A request head and what follows from it for its connection.
#[derive(Debug)]
pub(crate) struct Request {
    /// The head. Its target is in origin form (or `*`, or `host:port` for CONNECT).
    pub(crate) head: RequestHead,
    /// Where the body ends.
    pub(crate) framing: Framing,
    /// The client allows another request on this connection.
    pub(crate) keep_alive: bool,
    /// The client waits for `100 Continue` before it sends the body.
    pub(crate) expect_continue: bool,
    /// Protocol that the client offers to switch to: GET without body only, RFC 9110 §7.8.
    pub(crate) upgrade: Option<Bytes>,
    /// The target was a whole `http` URL, as a proxy gets it.
    pub(crate) absolute: bool,
    /// The client offers another protocol than HTTP/2, in whatever way. Someone between us and the client may take the
    /// connection for a tunnel whatever we answer, and what the client then says in it must not be read as requests.
    pub(crate) tunnel_offered: bool,
}

/// A response head and what follows from it for its connection.
#[derive(Debug)]
pub(crate) struct Response {
    /// The head.
    pub(crate) head: ResponseHead,
    /// 1.0 or 1.1.
    #[cfg_attr(not(test), expect(dead_code, reason = "the client acts on `keep_alive` only; the vectors check it"))]
    pub(crate) version: Version,
    /// Where the body ends.
    pub(crate) framing: Framing,
    /// The server allows another request on this connection once the body is complete.
    pub(crate) keep_alive: bool,
    /// A 1xx other than 101: the real answer is still to come.
    pub(crate) interim: bool,
    /// 101, or 2xx to CONNECT: everything behind the head is a tunnel.
    pub(crate) tunnel: bool,
}

/// Finds the empty line that ends a section of CRLF-terminated lines.
#[derive(Debug, Default)]
pub(crate) struct Block {
    /// Prefix of the buffer that was looked at.
    scanned: usize,
    /// Where the current line starts. `line <= scanned`.
    line: usize,
}

impl Block {
    /// Looks at the bytes that arrived since the last call. Gives the length of the section with its empty line.
    ///
    /// `buf` must start where it started at the last call. Faults are judged in byte order, so that the verdict does
    /// not depend on how the bytes were cut.
    pub(crate) fn find(
        &mut self,
        buf: &[u8],
        limit: usize,
        too_long: impl Fn() -> Kind,
    ) -> Result<Option<usize>, Kind> {
        for lf in memchr::memchr_iter(b'\n', &buf[self.scanned..]) {
            let at = self.scanned + lf;
            if at >= limit {
                return Err(too_long());
            }
            if at == self.line || buf[at - 1] != b'\r' {
                return Err(refuse("bare_lf", 400));
            }
            if at - 1 == self.line {
                *self = Self::default();
                return Ok(Some(at + 1));
            }
            self.line = at + 1;
        }
        if buf.len() >= limit {
            return Err(too_long());
        }
        self.scanned = buf.len();
        Ok(None)
    }

    /// Refuses a first line of more than `limit` bytes as soon as it is certain.
    fn first_line(&self, buf: &[u8], limit: usize, too_long: impl Fn() -> Kind) -> Result<(), Kind> {
        let reach = limit.saturating_add(2);
        if self.line > 0 || buf.len() < reach || self.scanned >= reach {
            return Ok(());
        }
        match memchr::memchr(b'\n', &buf[self.scanned..reach]) {
            Some(_) => Ok(()),
            None => Err(too_long()),
        }
    }
}

/// Takes heads off a read buffer, one after the other.
#[derive(Debug, Default)]
pub(crate) struct HeadReader {
    block: Block,
    empty_lines: u8,
    /// The first line of the request head that was refused last.
    refused: Bytes,
}

impl HeadReader {
    /// Whether nothing of the next head has been seen, not even an empty line.
    pub(crate) fn is_fresh(&self) -> bool {
        self.block.scanned == 0 && self.empty_lines == 0
    }

    /// Takes the next request head off `buf`; `None` means: read on.
    ///
    /// `buf` must keep its beginning between calls. After an error the connection is of no use for reading.
    pub(crate) fn request(&mut self, buf: &mut BytesMut, limits: &Limits) -> Result<Option<Request>, Kind> {
        let Some(head) = self.request_block(buf, limits).inspect_err(|_| self.refused = line_of(buf, limits))? else {
            return Ok(None);
        };
        parse_request(&head, limits).map(Some).inspect_err(|_| self.refused = first_line(&head).0)
    }

    /// Method and path of the request that was refused last, as far as its first line can be trusted.
    pub(crate) fn refused(&self) -> Option<(Method, Bytes)> {
        let mut words = self.refused.split(|&b| b == b' ');
        let (method, target, protocol) = (words.next()?, words.next()?, words.next()?);
        let whole = words.next().is_none() && version(protocol).is_some() && target.first() == Some(&b'/');
        let end = memchr::memchr(b'?', target).unwrap_or(target.len());
        let method = Method::from_bytes(method).ok().filter(|_| whole)?;
        Some((method, self.refused.slice_ref(&target[..end])))
    }

    /// The next request head in bytes, with its empty line.
    fn request_block(&mut self, buf: &mut BytesMut, limits: &Limits) -> Result<Option<Bytes>, Kind> {
        while buf.first() == Some(&b'\r') {
            match buf.get(1) {
                None => return Ok(None),
                Some(b'\n') if self.empty_lines == EMPTY_LINES => return Err(refuse("request_line", 400)),
                Some(b'\n') => {
                    buf.advance(2);
                    self.empty_lines += 1;
                }
                Some(_) => return Err(refuse("bare_cr", 400)),
            }
        }
        match buf.first() {
            None => return Ok(None),
            Some(b'\n') => return Err(refuse("bare_lf", 400)),
            // Most likely a TLS hello on a plain port; there is no reason to wait for its end of line.
            Some(&byte) if !is_token(byte) => return Err(refuse("request_line", 400)),
            Some(_) => {}
        }
        let line_too_long = || Kind::TooLarge { what: "request line", limit: limits.request_line_bytes, status: 414 };
        self.block.first_line(buf, limits.request_line_bytes, line_too_long)?;
        let head_too_long = || Kind::TooLarge { what: "head", limit: limits.head_bytes, status: 431 };
        let Some(end) = self.block.find(buf, limits.head_bytes, head_too_long)? else {
            return Ok(None);
        };
        self.empty_lines = 0;
        Ok(Some(buf.split_to(end).freeze()))
    }

    /// Takes the next response head off `buf`; `None` means: read on. `method` is that of the request it answers.
    ///
    /// `buf` must keep its beginning between calls. All errors carry status 502.
    pub(crate) fn response(
        &mut self,
        buf: &mut BytesMut,
        limits: &Limits,
        method: &Method,
    ) -> Result<Option<Response>, Kind> {
        const START: &[u8] = b"HTTP/1.";
        let seen = buf.len().min(START.len());
        if buf[..seen] != START[..seen] {
            return Err(refuse("status_line", 502));
        }
        let too_long = || Kind::TooLarge { what: "head", limit: limits.head_bytes, status: 502 };
        let Some(end) = self.block.find(buf, limits.head_bytes, too_long).map_err(as_upstream)? else {
            return Ok(None);
        };
        let head = buf.split_to(end).freeze();
        parse_response(&head, limits, method).map(Some).map_err(as_upstream)
    }
}

fn parse_request(block: &Bytes, limits: &Limits) -> Result<Request, Kind> {
    let (line, fields_at) = first_line(block);
    let bad = || refuse("request_line", 400);
    let method_end = memchr::memchr(b' ', &line).ok_or_else(bad)?;
    let rest = line.slice(method_end + 1..);
    let target_end = memchr::memchr(b' ', &rest).ok_or_else(bad)?;
    let method = &line[..method_end];
    if method.is_empty() || method.len() > METHOD_BYTES || !method.iter().all(|&b| is_token(b)) {
        return Err(bad());
    }
    let method = Method::from_bytes(method).map_err(|_| bad())?;
    let version = version(&rest[target_end + 1..]).ok_or_else(bad)?.ok_or_else(|| refuse("version", 505))?;
    let headers = parse_fields(block, fields_at, limits.fields)?;
    let facts = Facts::of(&headers);
    let absolute = rest.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"http://"));
    let (target, authority) = target(rest.slice(..target_end), &method, &facts, version)?;
    let framing = facts.request(version)?;
    if let Framing::Length(length) = framing
        && length > limits.body_bytes as u64
    {
        return Err(super::framing::too_large(limits.body_bytes as u64));
    }
    let expect_continue = match &facts.expect {
        // HTTP/1.0 knows no interim answers: the field is ignored there (RFC 9110 §10.1.1).
        Some(value) if version == Version::Http11 => {
            if !value.eq_ignore_ascii_case(b"100-continue") {
                return Err(refuse("expect", 417));
            }
            !matches!(framing, Framing::None | Framing::Length(0))
        }
        _ => false,
    };
    let upgradable = version == Version::Http11 && method == Method::GET && framing == Framing::None;
    let upgrade = facts.upgrade().filter(|_| upgradable).cloned();
    Ok(Request {
        keep_alive: facts.persistent(version),
        absolute,
        tunnel_offered: facts.offers_tunnel(),
        head: RequestHead { method, target, authority, version, headers },
        framing,
        expect_continue,
        upgrade,
    })
}

fn parse_response(block: &Bytes, limits: &Limits, method: &Method) -> Result<Response, Kind> {
    let (line, fields_at) = first_line(block);
    let bad = || refuse("status_line", 502);
    if line.len() < 12 || line[8] != b' ' || !matches!(line.get(12), None | Some(b' ')) {
        return Err(bad());
    }
    let version = version(&line[..8]).ok_or_else(bad)?.ok_or_else(|| refuse("version", 502))?;
    let status = StatusCode::from_bytes(&line[9..12]).map_err(|_| bad())?;
    // The reason phrase is dropped, but it must not hide control characters.
    if line[12..].iter().any(|&b| b == 127 || (b < 32 && b != b'\t')) {
        return Err(if line[12..].contains(&b'\r') { refuse("bare_cr", 502) } else { bad() });
    }
    let headers = parse_fields(block, fields_at, limits.fields)?;
    let facts = Facts::of(&headers);
    let framing = facts.response(method, status, version)?;
    let tunnel = status == StatusCode::SWITCHING_PROTOCOLS || (*method == Method::CONNECT && status.is_success());
    Ok(Response {
        head: ResponseHead { status, headers },
        version,
        framing,
        keep_alive: !tunnel && framing != Framing::UntilClose && facts.persistent(version),
        interim: status.is_informational() && !tunnel,
        tunnel,
    })
}

/// The first line of a head that is not complete, if the line is.
fn line_of(buf: &[u8], limits: &Limits) -> Bytes {
    let reach = buf.len().min(limits.request_line_bytes.saturating_add(2));
    let line = memchr::memchr(b'\n', &buf[..reach]).and_then(|lf| buf[..lf].strip_suffix(b"\r"));
    line.map(Bytes::copy_from_slice).unwrap_or_default()
}

/// The first line without its CRLF, and where the fields start. The block is known to end in an empty line.
fn first_line(block: &Bytes) -> (Bytes, usize) {
    let lf = memchr::memchr(b'\n', block).unwrap_or(block.len());
    (block.slice(..lf.saturating_sub(1)), lf + 1)
}

/// Outer `None`: not a version at all; inner `None`: a version that we do not speak.
fn version(text: &[u8]) -> Option<Option<Version>> {
    match text {
        b"HTTP/1.1" => Some(Some(Version::Http11)),
        b"HTTP/1.0" => Some(Some(Version::Http10)),
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor] if major.is_ascii_digit() && minor.is_ascii_digit() => {
            Some(None)
        }
        _ => None,
    }
}

/// Checks the target and brings it into origin form; gives the authority beside it (RFC 9112 §3.2).
fn target(raw: Bytes, method: &Method, facts: &Facts, version: Version) -> Result<(Bytes, Bytes), Kind> {
    let bad = || refuse("target", 400);
    if raw.is_empty() {
        return Err(refuse("request_line", 400));
    }
    if raw.iter().any(|&b| !(0x21..=0x7e).contains(&b) || b == b'#') {
        return Err(bad());
    }
    match facts.hosts {
        0 if version == Version::Http11 => return Err(refuse("host_missing", 400)),
        0 | 1 => {}
        _ => return Err(refuse("host_repeated", 400)),
    }
    if !is_host(&facts.host) {
        return Err(refuse("host_invalid", 400));
    }
    let host = facts.host.clone();
    if *method == Method::CONNECT {
        let port = memchr::memrchr(b':', &raw).map(|colon| &raw[colon + 1..]).unwrap_or_default();
        if port.is_empty() || !port.iter().all(u8::is_ascii_digit) || !is_host(&raw) {
            return Err(bad());
        }
        // Java leaves out the port that is the scheme's own.
        let bare = memchr::memrchr(b':', &raw).map_or(&raw[..], |colon| &raw[..colon]);
        if facts.hosts == 1 && !raw.eq_ignore_ascii_case(&host) && !bare.eq_ignore_ascii_case(&host) {
            return Err(refuse("host_mismatch", 400));
        }
        return Ok((raw.clone(), raw));
    }
    match raw[0] {
        b'/' => return Ok((raw, host)),
        b'*' if raw.len() == 1 && *method == Method::OPTIONS => return Ok((raw, host)),
        _ => {}
    }
    let scheme = [&b"http://"[..], b"https://"]
        .into_iter()
        .find(|scheme| raw.len() > scheme.len() && raw[..scheme.len()].eq_ignore_ascii_case(scheme))
        .ok_or_else(bad)?
        .len();
    let end = raw[scheme..].iter().position(|b| matches!(b, b'/' | b'?')).map_or(raw.len(), |at| scheme + at);
    let authority = raw.slice(scheme..end);
    if authority.is_empty() || !is_host(&authority) {
        return Err(bad());
    }
    if facts.hosts == 1 && !authority.eq_ignore_ascii_case(&host) {
        return Err(refuse("host_mismatch", 400));
    }
    let path = match raw.get(end) {
        None => Bytes::from_static(b"/"),
        Some(b'/') => raw.slice(end..),
        Some(_) => Bytes::from([b"/", &raw[end..]].concat()),
    };
    Ok((path, authority))
}

/// Whether a host and port hold only what may stand there (RFC 3986 §3.2.2), less the comma, which joins lists.
pub(crate) fn is_host(host: &[u8]) -> bool {
    host.iter().all(|&b| b.is_ascii_alphanumeric() || b"-._~%!$&'()*+;=:[]".contains(&b))
}

/// Cuts the field lines of `block` behind `at`. The block is known to end in an empty line and to hold no bare LF.
pub(crate) fn parse_fields(block: &Bytes, at: usize, limit: usize) -> Result<Headers, Kind> {
    // Most heads fit the small array; the large one costs kilobytes of stack to initialise.
    let mut small = [httparse::EMPTY_HEADER; 32];
    if let Some(result) = cut_fields(block, at, limit, &mut small) {
        return result;
    }
    let mut large = [httparse::EMPTY_HEADER; FIELDS_MAX];
    cut_fields(block, at, limit, &mut large).unwrap_or_else(|| Err(refuse("too_many_fields", 431)))
}

/// `None`: the array is too small.
fn cut_fields<'b>(
    block: &'b Bytes,
    at: usize,
    limit: usize,
    array: &mut [httparse::Header<'b>],
) -> Option<Result<Headers, Kind>> {
    let fields = match httparse::parse_headers(&block[at..], array) {
        Ok(httparse::Status::Complete((_, fields))) => fields,
        Err(httparse::Error::TooManyHeaders) => return None,
        Ok(httparse::Status::Partial) | Err(_) => return Some(Err(diagnose(&block[at..]))),
    };
    if fields.len() > limit {
        return Some(Err(refuse("too_many_fields", 431)));
    }
    let mut headers = Headers::with_capacity(fields.len());
    for field in fields.iter() {
        headers.append(block.slice_ref(field.name.as_bytes()), block.slice_ref(field.value));
    }
    Some(Ok(headers))
}

/// Names the first fault of a field section that `httparse` refused.
fn diagnose(section: &[u8]) -> Kind {
    for line in section.split(|&b| b == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            continue;
        }
        if matches!(line[0], b' ' | b'\t') {
            return refuse("obs_fold", 400);
        }
        let (name, value) = match memchr::memchr(b':', line) {
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &b""[..]),
        };
        if name.contains(&b'\r') || value.contains(&b'\r') {
            return refuse("bare_cr", 400);
        }
        if name.is_empty() || name.len() == line.len() || !name.iter().all(|&b| is_token(b)) {
            return refuse("bad_name", 400);
        }
        if value.iter().any(|&b| b == 127 || (b < 32 && b != b'\t')) {
            return refuse("bad_value", 400);
        }
    }
    refuse("bad_field", 400)
}

/// Whether `byte` may stand in a method or a field name (`tchar`, RFC 9110 §5.6.2).
pub(crate) fn is_token(byte: u8) -> bool {
    const TABLE: [bool; 256] = {
        let mut table = [false; 256];
        let marks = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
        let mut at = 0;
        while at < marks.len() {
            table[marks[at] as usize] = true;
            at += 1;
        }
        table
    };
    TABLE[byte as usize]
}

/// Writes a status line. HTTP/1.1 is named whatever the client speaks (RFC 9110 §2.5).
pub(crate) fn write_status(out: &mut BytesMut, status: StatusCode) {
    if status == StatusCode::OK {
        out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
        return;
    }
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.extend_from_slice(b" ");
    out.extend_from_slice(status.canonical_reason().unwrap_or("").as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Writes a request line. Bytes that would end or split the line are left out of the target.
pub(crate) fn write_request_line(out: &mut BytesMut, method: &Method, target: &[u8]) {
    out.extend_from_slice(method.as_str().as_bytes());
    out.extend_from_slice(b" ");
    if target.iter().all(|&b| (0x21..=0x7e).contains(&b)) {
        out.extend_from_slice(target);
    } else {
        out.extend(target.iter().copied().filter(|b| (0x21..=0x7e).contains(b)));
    }
    out.extend_from_slice(b" HTTP/1.1\r\n");
}

/// Writes one field. A name that is no token makes the field vanish; CR, LF and NUL are taken out of the value.
pub(crate) fn write_field(out: &mut BytesMut, name: &[u8], value: &[u8]) {
    if name.is_empty() || !name.iter().all(|&b| is_token(b)) {
        return;
    }
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    if memchr::memchr3(b'\r', b'\n', 0, value).is_none() {
        out.extend_from_slice(value);
    } else {
        out.extend(value.iter().copied().filter(|b| !matches!(b, b'\r' | b'\n' | 0)));
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes all fields but those that belong to the connection that carries them.
pub(crate) fn write_fields(out: &mut BytesMut, headers: &Headers) {
    for (name, value) in headers.iter() {
        if !is_framing(name) {
            write_field(out, name, value);
        }
    }
}

/// Writes `content-length`.
pub(crate) fn write_length(out: &mut BytesMut, length: u64) {
    out.extend_from_slice(b"content-length: ");
    let mut digits = [0; 20];
    let mut at = digits.len();
    let mut rest = length;
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
    out.extend_from_slice(b"\r\n");
}

/// Fields that say how one connection cuts its messages; never copied from one leg to the other (RFC 9110 §7.6.1).
pub(crate) fn is_framing(name: &[u8]) -> bool {
    match name.len() {
        7 => name.eq_ignore_ascii_case(b"upgrade"),
        10 => name.eq_ignore_ascii_case(b"connection") || name.eq_ignore_ascii_case(b"keep-alive"),
        14 => name.eq_ignore_ascii_case(b"content-length"),
        16 => name.eq_ignore_ascii_case(b"proxy-connection"),
        17 => name.eq_ignore_ascii_case(b"transfer-encoding"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn request(input: &[u8]) -> Result<Option<Request>, Kind> {
        HeadReader::default().request(&mut BytesMut::from(input), &Limits::default())
    }

    fn reason(input: &[u8]) -> (&'static str, u16) {
        match request(input) {
            Err(Kind::Protocol { reason, status }) => (reason, status),
            Err(Kind::TooLarge { what, status, .. }) => (what, status),
            other => panic!("not refused: {other:?}"),
        }
    }

    #[test]
    fn targets_are_brought_into_origin_form() {
        for (line, target, authority) in [
            ("GET /a?b=c", "/a?b=c", "h:1"),
            ("GET http://H:1/a", "/a", "H:1"),
            ("GET https://h:1", "/", "h:1"),
            ("GET http://h:1?q", "/?q", "h:1"),
            ("OPTIONS *", "*", "h:1"),
            ("CONNECT h:1", "h:1", "h:1"),
        ] {
            let parsed = request(format!("{line} HTTP/1.1\r\nHost: h:1\r\n\r\n").as_bytes()).unwrap().unwrap();
            assert_eq!(parsed.head.target, target, "{line}");
            assert_eq!(parsed.head.authority, authority, "{line}");
        }
    }

    #[test]
    fn odd_targets_and_hosts_are_refused() {
        for (line, host, expected) in [
            ("GET *", "h", "target"),
            ("GET h:1", "h", "target"),
            ("GET /a#b", "h", "target"),
            ("GET /\u{e9}", "h", "target"),
            ("GET http://u@h/", "h", "target"),
            ("GET ftp://h/", "h", "target"),
            ("GET http:///", "h", "target"),
            ("CONNECT /", "h", "target"),
            ("CONNECT h:", "h", "target"),
            ("GET /", "a b", "host_invalid"),
            ("GET /", "a,b", "host_invalid"),
            ("GET /", "u@a", "host_invalid"),
        ] {
            let input = format!("{line} HTTP/1.1\r\nHost: {host}\r\n\r\n");
            assert_eq!(reason(input.as_bytes()), (expected, 400), "{input:?}");
        }
    }

    #[test]
    fn first_bytes_that_can_be_no_request_are_refused_at_once() {
        assert_eq!(reason(b"\x16\x03\x01"), ("request_line", 400));
        assert_eq!(reason(b"\n"), ("bare_lf", 400));
        assert_eq!(reason(b"\rG"), ("bare_cr", 400));
        assert_eq!(reason(b"\r\n\r\n\r\n"), ("request_line", 400));
        assert!(request(b"\r\n\r\n\r").unwrap().is_none());
    }

    #[test]
    fn lines_and_heads_are_bounded_to_the_byte() {
        let limits = Limits { request_line_bytes: 20, head_bytes: 60, ..Limits::default() };
        let parse = |input: &[u8]| HeadReader::default().request(&mut BytesMut::from(input), &limits);
        let status = |input: &[u8]| match parse(input) {
            Err(Kind::TooLarge { status, .. }) => status,
            other => panic!("not refused: {other:?}"),
        };
        let line = |n: usize| format!("GET /{} HTTP/1.1", "a".repeat(n - 14));
        assert!(parse(format!("{}\r\nHost: a\r\n\r\n", line(20)).as_bytes()).unwrap().is_some());
        assert_eq!(status(format!("{}\r\nHost: a\r\n\r\n", line(21)).as_bytes()), 414);
        assert!(parse(line(21).as_bytes()).unwrap().is_none(), "the 22nd byte may still be missing its LF");
        assert_eq!(status("G".repeat(22).as_bytes()), 414);
        let head = |n: usize| format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", "a".repeat(n - 26));
        assert!(parse(head(60).as_bytes()).unwrap().is_some());
        assert_eq!(status(head(61).as_bytes()), 431);
        assert_eq!(status(&head(61).as_bytes()[..60]), 431);
    }

    #[test]
    fn the_field_bound_is_exact() {
        let head = |n: usize| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(n - 1));
        assert_eq!(request(head(100).as_bytes()).unwrap().unwrap().head.headers.len(), 100);
        assert_eq!(reason(head(101).as_bytes()), ("too_many_fields", 431));
        assert_eq!(reason(head(300).as_bytes()), ("too_many_fields", 431));
    }

    #[test]
    fn fields_are_slices_of_the_buffer_and_keep_their_case() {
        let mut buf = BytesMut::from("GET / HTTP/1.1\r\nHost: a\r\nX-Key:  v w \r\n\r\nrest");
        let base = buf.as_ptr() as usize;
        let parsed = HeadReader::default().request(&mut buf, &Limits::default()).unwrap().unwrap();
        let (name, value) = parsed.head.headers.iter().nth(1).unwrap();
        assert_eq!((&name[..], &value[..]), (&b"X-Key"[..], &b"v w"[..]));
        assert_eq!(name.as_ptr() as usize - base, 25);
        assert_eq!(&buf[..], b"rest");
    }

    #[test]
    fn a_large_announced_body_is_refused_before_it_is_read() {
        let input = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 67108865\r\n\r\n";
        assert_eq!(reason(input), ("body", 413));
    }

    #[test]
    fn responses_are_as_strict() {
        let parse =
            |input: &str| HeadReader::default().response(&mut BytesMut::from(input), &Limits::default(), &Method::GET);
        for bad in [
            "ICY 200 OK\r\n\r\n",
            "HTTP/1.1 20\r\n\r\n",
            "HTTP/1.1 099 x\r\n\r\n",
            "HTTP/1.1  200\r\n\r\n",
            "HTTP/2.0 200\r\n\r\n",
            "HTTP/1.2 200\r\n\r\n",
            "HTTP/1.1 200 a\x01b\r\n\r\n",
            "\r\nHTTP/1.1 200 OK\r\n\r\n",
        ] {
            assert!(matches!(parse(bad), Err(Kind::Protocol { status: 502, .. })), "{bad:?}");
        }
        let old = parse("HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n").unwrap().unwrap();
        assert!(!old.keep_alive);
        assert!(parse("HTTP/1.1 20").unwrap().is_none());
    }

    #[test]
    fn nothing_written_can_split_a_message() {
        let mut headers = Headers::new();
        headers.append("X-A", "1\r\nX-Evil: 2\0");
        headers.append("bad name", "x");
        headers.append("Transfer-Encoding", "chunked");
        headers.append("Keep-Alive", "5");
        let mut out = BytesMut::new();
        write_fields(&mut out, &headers);
        assert_eq!(&out[..], b"X-A: 1X-Evil: 2\r\n");
        out.clear();
        write_request_line(&mut out, &Method::GET, b"/a b\r\n");
        assert_eq!(&out[..], b"GET /ab HTTP/1.1\r\n");
        out.clear();
        write_length(&mut out, u64::MAX);
        write_length(&mut out, 0);
        assert_eq!(&out[..], b"content-length: 18446744073709551615\r\ncontent-length: 0\r\n");
        out.clear();
        write_status(&mut out, StatusCode::from_u16(599).unwrap());
        assert_eq!(&out[..], b"HTTP/1.1 599 \r\n");
    }
}
