//! Heads between the `http` types of the `h2` crate and ours. Pure.
//!
//! The crate has already refused malformed pseudo headers, connection fields and bad lengths; what it lets through and
//! a gateway must not is refused here: requests without or with two authorities, odd targets, too many fields.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, request};

use crate::h1::chunked::FORBIDDEN_TRAILERS;
use crate::h1::framing::refuse;
use crate::h1::head::{is_framing, is_host};
use crate::{Headers, Kind, Limits, Method, RequestHead, ResponseHead, Version};

/// A request head out of the crate's parts. Names and values share one allocation.
pub(crate) fn request(parts: request::Parts, limits: &Limits) -> Result<RequestHead, Kind> {
    let request::Parts { method, uri, headers: fields, .. } = parts;
    if matches!(method, Method::CONNECT | Method::TRACE) {
        return Err(refuse("method", 405));
    }
    if fields.len() > limits.fields {
        return Err(refuse("too_many_fields", 431));
    }
    let authority = uri.authority().map(|authority| authority.as_str().as_bytes());
    let mut hosts = fields.get_all(http::header::HOST).iter();
    let host = hosts.next().map(HeaderValue::as_bytes);
    if hosts.next().is_some() {
        return Err(refuse("host_repeated", 400));
    }
    let authority = match (authority, host) {
        (Some(authority), Some(host)) if !authority.eq_ignore_ascii_case(host) => {
            return Err(refuse("host_mismatch", 400));
        }
        (Some(authority), _) | (None, Some(authority)) => authority,
        (None, None) => return Err(refuse("host_missing", 400)),
    };
    if authority.is_empty() || !is_host(authority) {
        return Err(refuse("host_invalid", 400));
    }
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    let form = target.starts_with('/') || (target == "*" && method == Method::OPTIONS);
    if !form || target.bytes().any(|b| !(0x21..=0x7e).contains(&b) || b == b'#') {
        return Err(refuse("target", 400));
    }
    let mut arena = Arena::for_head(&fields, authority.len() + target.len());
    let authority = arena.add(authority);
    let target = arena.add(target.as_bytes());
    let spans = arena.fields(&fields);
    let (arena, mut headers) = (arena.bytes.freeze(), Headers::with_capacity(spans.len()));
    for (name, value) in spans {
        headers.append(arena.slice(name), arena.slice(value));
    }
    Ok(RequestHead {
        method,
        target: arena.slice(target),
        authority: arena.slice(authority),
        version: Version::Http2,
        headers,
    })
}

type Span = std::ops::Range<usize>;

/// One buffer for everything a head holds.
struct Arena {
    bytes: BytesMut,
}

impl Arena {
    fn for_head(fields: &HeaderMap, more: usize) -> Self {
        let size: usize = fields.iter().map(|(name, value)| name.as_str().len() + value.len() + 2).sum();
        Self { bytes: BytesMut::with_capacity(size + more) }
    }

    fn add(&mut self, piece: &[u8]) -> Span {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(piece);
        start..self.bytes.len()
    }

    fn fields(&mut self, fields: &HeaderMap) -> Vec<(Span, Span)> {
        let mut spans = Vec::with_capacity(fields.len());
        for name in fields.keys() {
            if name == http::header::COOKIE {
                // Clients split it for better compression; everybody else expects one line (RFC 9113 §8.2.3).
                let name_span = self.add(name.as_str().as_bytes());
                let start = self.bytes.len();
                for value in fields.get_all(name) {
                    if self.bytes.len() > start {
                        self.bytes.extend_from_slice(b"; ");
                    }
                    self.bytes.extend_from_slice(value.as_bytes());
                }
                spans.push((name_span, start..self.bytes.len()));
                continue;
            }
            for value in fields.get_all(name) {
                let name = self.add(name.as_str().as_bytes());
                spans.push((name, self.add(value.as_bytes().trim_ascii())));
            }
        }
        spans
    }
}

/// Fields of an answer, as slices of one allocation. More than `most` are a fault of `status`.
pub(crate) fn received(map: &HeaderMap, most: usize, status: u16) -> Result<Headers, Kind> {
    if map.len() > most {
        return Err(refuse("too_many_fields", status));
    }
    let size = map.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    let mut block = BytesMut::with_capacity(size);
    let mut headers = Headers::with_capacity(map.len());
    for (name, value) in map {
        block.extend_from_slice(name.as_str().as_bytes());
        let name = block.split().freeze();
        block.extend_from_slice(value.as_bytes());
        headers.append(name, block.split().freeze());
    }
    Ok(headers)
}

/// Fields that came behind a body, as [`received`]; `None` if there is none that may stand there.
pub(crate) fn received_trailers(map: HeaderMap, most: usize, status: u16) -> Result<Option<Headers>, Kind> {
    strip(map).map(|map| received(&map, most, status)).transpose()
}

/// Trailers for the crate; `None` if there is none that may stand behind a body.
pub(crate) fn trailers(headers: &Headers) -> Option<HeaderMap> {
    strip(fields(headers))
}

/// Leaves only those fields that may stand behind a body.
fn strip(mut trailers: HeaderMap) -> Option<HeaderMap> {
    for name in FORBIDDEN_TRAILERS {
        trailers.remove(*name);
    }
    Some(trailers).filter(|trailers| !trailers.is_empty())
}

/// A response for the crate. Fields that HTTP/2 forbids, or that would be malformed, vanish.
pub(crate) fn response(head: &ResponseHead, content_length: Option<u64>) -> http::Response<()> {
    let mut response = http::Response::new(());
    *response.status_mut() = head.status;
    *response.headers_mut() = fields(&head.headers);
    if let Some(length) = content_length {
        response.headers_mut().insert(http::header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    response
}

/// Fields for the crate: lower-cased names, values shared without a copy.
pub(crate) fn fields(headers: &Headers) -> HeaderMap {
    let mut map = HeaderMap::with_capacity(headers.len() + 1);
    for (name, value) in headers.iter().filter(|(name, _)| !is_framing(name)) {
        append(&mut map, name, value);
    }
    map
}

/// Adds a field, unless it is none: HTTP/1 leaves the same ones out.
pub(super) fn append(map: &mut HeaderMap, name: &[u8], value: &Bytes) {
    let value = HeaderValue::from_maybe_shared(value.clone());
    if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), value) {
        map.append(name, value);
    }
}

/// Fields of one HTTP/1 connection, which HTTP/2 forbids (RFC 9113 §8.2.2).
pub(crate) fn is_of_connection(name: &[u8]) -> bool {
    is_framing(name) && !name.eq_ignore_ascii_case(b"content-length")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::StatusCode;

    fn parts(uri: &str, fields: &[(&str, &str)]) -> request::Parts {
        let mut request = http::Request::builder().uri(uri);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn reason(uri: &str, fields: &[(&str, &str)]) -> &'static str {
        match request(parts(uri, fields), &Limits::default()) {
            Err(Kind::Protocol { reason, .. }) => reason,
            other => panic!("not refused: {other:?}"),
        }
    }

    #[test]
    fn heads_become_ours() {
        let fields = [("x-a", "1"), ("cookie", "a=b"), ("x-a", " 2 "), ("cookie", "c=d")];
        let head = request(parts("http://h:1/p?q", &fields), &Limits::default()).unwrap();
        assert_eq!((&head.target[..], &head.authority[..]), (&b"/p?q"[..], &b"h:1"[..]));
        assert_eq!(head.headers.text("cookie"), Some("a=b; c=d"));
        assert_eq!(head.headers.all("x-a").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(request(parts("/p", &[("host", "h")]), &Limits::default()).unwrap().authority, "h");
    }

    #[test]
    fn doubtful_heads_are_refused() {
        assert_eq!(reason("/p", &[]), "host_missing");
        assert_eq!(reason("/p", &[("host", "a"), ("host", "a")]), "host_repeated");
        assert_eq!(reason("http://a/p", &[("host", "b")]), "host_mismatch");
        assert_eq!(reason("http://u@a/p", &[]), "host_invalid");
        assert_eq!(reason("http://a/p\u{e9}", &[]), "target");
        let many: Vec<_> = (0..101).map(|_| ("x", "y")).collect();
        assert_eq!(reason("http://a/p", &many), "too_many_fields");
    }

    #[test]
    fn answers_lose_what_http2_forbids() {
        let head = ResponseHead::new(StatusCode::OK)
            .with("Connection", "close")
            .with("transfer-encoding", "chunked")
            .with("X-A", "1")
            .with("x-bad", "a\r\nb");
        let answer = response(&head, Some(5));
        assert_eq!(answer.headers().len(), 2);
        assert_eq!(answer.headers()["x-a"], "1");
        assert_eq!(answer.headers()["content-length"], "5");
    }
}
