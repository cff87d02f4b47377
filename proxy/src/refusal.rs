//! The answer to a request that could not be understood, or not be passed on: its status, and in plain words what is wrong.
//!
//! Pure. Whoever wrote the client sees it with curl or in a log; nothing of the request is repeated.

use bytes::Bytes;

use crate::{Kind, ResponseHead, StatusCode};

/// The answer, unless there is nobody left to answer.
pub(crate) fn answer(kind: &Kind) -> Option<(ResponseHead, Bytes)> {
    let (status, words) = match kind {
        Kind::Protocol { reason, status } => (*status, format!("{} ({reason})", words(reason))),
        Kind::TooLarge { status, .. } => (*status, kind.to_string()),
        Kind::Timeout(_) => (408, "the request took too long to arrive".to_owned()),
        _ => return None,
    };
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    Some(told(status, &words))
}

/// An answer of one line: the status, and why.
pub(crate) fn told(status: StatusCode, why: &str) -> (ResponseHead, Bytes) {
    let text = format!("{} {}: {why}\n", status.as_str(), status.canonical_reason().unwrap_or("Error"));
    (ResponseHead::new(status).with("content-type", "text/plain"), Bytes::from(text))
}

/// The status for a request whose server was not reached, or did not answer.
pub(crate) fn unreached(kind: &Kind) -> StatusCode {
    match kind {
        Kind::Loop(_) => StatusCode::LOOP_DETECTED,
        Kind::Refused(_) => StatusCode::FORBIDDEN,
        Kind::Timeout(_) => StatusCode::GATEWAY_TIMEOUT,
        _ => StatusCode::BAD_GATEWAY,
    }
}

/// The answer where there may be nobody left to read it: the request ended before it was complete.
pub(crate) fn cut_off() -> (ResponseHead, Bytes) {
    told(StatusCode::BAD_REQUEST, "the request ended before it was complete")
}

/// The reason word in a sentence.
fn words(reason: &str) -> &'static str {
    match reason {
        "request_line" => "the first line is not a method, a target and a version",
        "version" => "this version of HTTP is not spoken here",
        "method" => "this method is not served here",
        "target" => "the target of the request is not a path",
        "host_missing" => "there is no host field",
        "host_repeated" => "there is more than one host field",
        "host_invalid" => "the host field is not a host and port",
        "host_mismatch" => "the host field and the target name different hosts",
        "bad_field" | "bad_name" => "a field's name is malformed",
        "bad_value" => "a field's value holds a character that it must not",
        "obs_fold" => "a field is folded over several lines",
        "bare_cr" => "there is a CR that no LF follows",
        "bare_lf" => "a line ends with a bare LF",
        "too_many_fields" => "there are too many fields",
        "cl_invalid" => "content-length is not a number",
        "cl_repeated" | "cl_conflict" => "content-length stands there more than once",
        "cl_and_te" => "content-length and transfer-encoding exclude each other",
        "te_unsupported" => "of transfer codings only chunked is understood",
        "te_invalid" => "transfer-encoding is not chunked alone",
        "te_in_http10" => "HTTP/1.0 has no transfer-encoding",
        "expect" => "only 100-continue can be expected",
        "bad_chunk_size" | "bad_chunk_extension" | "chunk_extension_too_long" | "chunk_data_end" => {
            "the chunks of the body are malformed"
        }
        "unanswered" => "the request was understood, but something broke here before it was answered",
        _ => "the request is malformed",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::Phase;

    #[test]
    fn every_refusal_says_what_is_wrong() {
        for (kind, expected) in [
            (
                Kind::Protocol { reason: "host_missing", status: 400 },
                "400 Bad Request: there is no host field (host_missing)\n",
            ),
            (
                Kind::Protocol { reason: "new_one", status: 400 },
                "400 Bad Request: the request is malformed (new_one)\n",
            ),
            (
                Kind::TooLarge { what: "head", limit: 9, status: 431 },
                "431 Request Header Fields Too Large: head exceeds 9 bytes\n",
            ),
            (Kind::Timeout(Phase::Head), "408 Request Timeout: the request took too long to arrive\n"),
        ] {
            let (head, text) = answer(&kind).unwrap();
            assert_eq!((head.headers.text("content-type"), &text[..]), (Some("text/plain"), expected.as_bytes()));
        }
        assert!(answer(&Kind::Closed).is_none());
    }
}
