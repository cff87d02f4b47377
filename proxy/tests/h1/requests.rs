//! What clients may send that a proxy can be attacked with, case by case, named by the section of RFC 9112 (or 9110) that
//! rules it. Every faulty input is followed by a request for `/smuggled`, which neither handler nor upstream may see.

use crate::relay::{Relay, chunked, request, requests_in, statuses};

/// Follows every faulty request, in the same write.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
/// Follows every good one: is the next message found where it starts?
const NEXT: &str = "GET /next HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

/// How a case ends.
#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    /// The server goes on: the next request is served.
    Open,
    /// The server closes, and does not read what follows.
    Closed,
    /// The client ends its side; the server answers what was complete.
    HalfClosed,
}

struct Case {
    section: &'static str,
    name: &'static str,
    input: Vec<u8>,
    /// What the upstream is asked.
    asked: Vec<&'static str>,
    statuses: Vec<u16>,
    /// Part of what is wrong with a body, if the head was good.
    fault: &'static str,
    end: End,
}

fn case(section: &'static str, name: &'static str, input: impl Into<Vec<u8>>) -> Case {
    let input = input.into();
    Case { section, name, input, asked: Vec::new(), statuses: Vec::new(), fault: "", end: End::Closed }
}

/// A head that is refused.
fn refused(section: &'static str, name: &'static str, status: u16, input: impl Into<Vec<u8>>) -> Case {
    Case { statuses: vec![status], ..case(section, name, input) }
}

/// A good head with a body that is refused.
fn spoilt(section: &'static str, name: &'static str, fault: &'static str, input: impl Into<Vec<u8>>) -> Case {
    let status = if fault.starts_with("TooLarge") { 413 } else { 400 };
    let status = if fault.contains("trailers") || fault.contains("too_many_fields") { 431 } else { status };
    Case { statuses: vec![status], fault, ..case(section, name, input) }
}

/// Requests that are served, and the connection goes on.
fn served(section: &'static str, name: &'static str, input: impl Into<Vec<u8>>, asked: &[&'static str]) -> Case {
    Case { statuses: vec![200; asked.len()], asked: asked.to_vec(), end: End::Open, ..case(section, name, input) }
}

/// Requests that are served, and nothing behind them.
fn last(section: &'static str, name: &'static str, input: impl Into<Vec<u8>>, asked: &[&'static str]) -> Case {
    Case { end: End::Closed, ..served(section, name, input, asked) }
}

fn raw(line: &str) -> String {
    format!("{line}\r\nHost: a\r\n\r\n")
}

fn get(fields: &[&str]) -> String {
    request("GET /", fields, "")
}

fn post(fields: &[&str], body: &str) -> String {
    request("POST /p", fields, body)
}

/// RFC 9112 §2: how messages are parsed.
fn lines() -> Vec<Case> {
    let fields = |text: &str| format!("GET / HTTP/1.1\r\nHost: a\r\n{text}");
    vec![
        refused("2.2", "bare LF ends the request line", 400, "GET / HTTP/1.1\nHost: a\r\n\r\n"),
        refused("2.2", "bare LF ends a field", 400, fields("X: 1\nY: 2\r\n\r\n")),
        refused("2.2", "bare LF as the empty line", 400, fields("\n")),
        refused("2.2", "LF CR LF as the empty line", 400, fields("X: 1\n\r\n")),
        refused("2.2", "a head of bare LF", 400, "GET / HTTP/1.1\nHost: a\n\n"),
        refused("2.2", "bare CR ends the request line", 400, "GET / HTTP/1.1\rHost: a\r\n\r\n"),
        refused("2.2", "CR CR LF ends the request line", 400, "GET / HTTP/1.1\r\r\nHost: a\r\n\r\n"),
        refused("2.2", "bare CR inside a value", 400, fields("X: 1\rTransfer-Encoding: chunked\r\n\r\n")),
        refused("2.2", "CR CR LF ends a field", 400, fields("X: 1\r\r\n\r\n")),
        refused("2.2", "bare CR in front of a name", 400, fields("\rX: 1\r\n\r\n")),
        refused("2.2", "bare CR in front of a request", 400, "\rGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        refused("2.2", "bare LF in front of a request", 400, "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        refused("2.2", "space in front of a request", 400, " GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        refused("2.2", "white space in front of the first field", 400, "GET / HTTP/1.1\r\n Host: a\r\n\r\n"),
        refused("2.2", "three empty lines in front", 400, ["\r\n\r\n\r\n", &get(&[])].concat()),
        served("2.2", "an empty line in front", ["\r\n", &get(&[])].concat(), &["GET /"]),
        served("2.2", "two empty lines in front", ["\r\n\r\n", &get(&[])].concat(), &["GET /"]),
        served("2.2", "an empty line between two", [&get(&[]), "\r\n", &get(&[])].concat(), &["GET /", "GET /"]),
        refused("2.2", "a TLS hello", 400, "\x16\x03\x01\x02\x00\x01\x00\x01\u{0}"),
        refused("2.2", "NUL in the request line", 400, raw("GET /\0 HTTP/1.1")),
        refused("2.2", "bytes above ASCII as a method", 400, raw("G\u{cb}T / HTTP/1.1")),
        refused("2.3", "HTTP/1.2", 505, raw("GET / HTTP/1.2")),
        refused("2.3", "HTTP/2.0 without its preface", 505, raw("GET / HTTP/2.0")),
        refused("2.3", "HTTP/0.9", 505, raw("GET / HTTP/0.9")),
        refused("2.3", "HTTP/0.9 as it was", 400, "GET /\r\n\r\n"),
        refused("2.3", "two digits behind the dot", 400, raw("GET / HTTP/1.10")),
        refused("2.3", "two digits in front of the dot", 400, raw("GET / HTTP/01.1")),
        refused("2.3", "a comma for the dot", 400, raw("GET / HTTP/1,1")),
        refused("2.3", "a lower-case name", 400, raw("GET / http/1.1")),
        refused("2.3", "a space inside", 400, raw("GET / HTTP/ 1.1")),
        refused("2.3", "another protocol", 400, raw("GET / RTSP/1.0")),
    ]
}

/// RFC 9112 §3: request line, target, host.
fn request_lines() -> Vec<Case> {
    let host = |text: &str| format!("GET / HTTP/1.1\r\n{text}\r\n\r\n");
    vec![
        refused("3", "two spaces behind the method", 400, raw("GET  / HTTP/1.1")),
        refused("3", "two spaces behind the target", 400, raw("GET /  HTTP/1.1")),
        refused("3", "a space behind the version", 400, raw("GET / HTTP/1.1 ")),
        refused("3", "TAB between the words", 400, raw("GET\t/ HTTP/1.1")),
        refused("3", "VT between the words", 400, raw("GET /\x0bHTTP/1.1")),
        refused("3", "four words", 400, raw("GET / HTTP/1.1 HTTP/1.1")),
        refused("3", "no target", 400, raw("GET HTTP/1.1")),
        refused("3", "an empty target", 400, raw("GET  HTTP/1.1")),
        refused("3", "a method that is no token", 400, raw("GE(T / HTTP/1.1")),
        refused("3", "a method with a colon", 400, raw("GET: / HTTP/1.1")),
        refused("3", "a method of 33 bytes", 400, raw(&format!("{} / HTTP/1.1", "M".repeat(33)))),
        served("3", "methods have case", request("get /", &[], ""), &["get /"]),
        served("3", "a method that nobody knows", request("QUERY /q", &["Content-Length: 1"], "x"), &["QUERY /q x"]),
        refused("3", "a request line of 8,193 bytes", 414, raw(&format!("GET /{} HTTP/1.1", "a".repeat(8_179)))),
        refused("3.2", "a fragment", 400, raw("GET /a#b HTTP/1.1")),
        refused("3.2", "a raw space", 400, raw("GET /a b HTTP/1.1")),
        refused("3.2", "DEL", 400, raw("GET /a\x7f HTTP/1.1")),
        refused("3.2", "bytes above ASCII", 400, raw("GET /\u{e9} HTTP/1.1")),
        served(
            "3.2",
            "escapes are passed on as they are",
            get(&[]).replace("GET /", "GET /%0d%0a%00?a=%20"),
            &["GET /%0d%0a%00?a=%20"],
        ),
        served("3.2.1", "two slashes are a path", request("GET //evil/x", &[], ""), &["GET //evil/x"]),
        served("3.2.2", "absolute form", request("GET http://a/x?y", &[], ""), &["GET /x?y"]),
        served("3.2.2", "absolute form, capitals", request("GET HTTP://A/x", &[], ""), &["GET /x"]),
        served("3.2.2", "absolute form without a path", request("GET http://a?y", &[], ""), &["GET /?y"]),
        last("3.2.2", "absolute form without a host in 1.0", "GET http://b/x HTTP/1.0\r\n\r\n", &["GET /x"]),
        refused("3.2.2", "absolute form of another host", 400, raw("GET http://b/ HTTP/1.1")),
        refused("3.2.2", "absolute form of another port", 400, raw("GET http://a:81/ HTTP/1.1")),
        refused("3.2.2", "absolute form, two hosts", 400, "GET http://a/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
        refused("3.2.2", "absolute form, an empty host field", 400, "GET http://a/ HTTP/1.1\r\nHost:\r\n\r\n"),
        refused("3.2.2", "absolute form with a user", 400, raw("GET http://a@b/ HTTP/1.1")),
        refused("3.2.2", "absolute form with a backslash", 400, raw("GET http://a\\@b/ HTTP/1.1")),
        refused("3.2.2", "absolute form without a host", 400, raw("GET http:/// HTTP/1.1")),
        refused("3.2.2", "another scheme", 400, raw("GET ftp://a/ HTTP/1.1")),
        refused("3.2.2", "a scheme alone", 400, raw("GET http: HTTP/1.1")),
        refused("3.2.3", "authority form without CONNECT", 400, raw("GET a:80 HTTP/1.1")),
        refused("3.2.3", "CONNECT", 405, request("CONNECT a:80", &[], "").replace("Host: a", "Host: a:80")),
        refused("3.2.3", "CONNECT without a port", 400, raw("CONNECT a HTTP/1.1")),
        refused("3.2.3", "CONNECT to another host", 400, raw("CONNECT b:80 HTTP/1.1")),
        refused("3.2.4", "asterisk form without OPTIONS", 400, raw("GET * HTTP/1.1")),
        served("3.2.4", "asterisk form", request("OPTIONS *", &[], ""), &["OPTIONS *"]),
        refused("3.2.4", "more than an asterisk", 400, raw("OPTIONS *x HTTP/1.1")),
        refused("3.2", "no host", 400, "GET / HTTP/1.1\r\n\r\n"),
        refused("3.2", "two hosts", 400, host("Host: a\r\nHost: a")),
        refused("3.2", "two different hosts", 400, host("Host: a\r\nX: y\r\nhost: b")),
        refused("3.2", "a list of hosts", 400, host("Host: a, b")),
        refused("3.2", "a host with a path", 400, host("Host: a/b")),
        refused("3.2", "a host with a user", 400, host("Host: x@a")),
        refused("3.2", "a host with a space", 400, host("Host: a b")),
        refused("3.2", "a host with a quote", 400, host("Host: a\"")),
        refused("3.2", "a host with a backslash", 400, host("Host: a\\b")),
        refused("3.2", "a host above ASCII", 400, host("Host: \u{e9}")),
        refused("3.2", "a space between host and colon", 400, host("Host : a")),
        served("3.2", "a host and port", host("Host: a:1"), &["GET /"]),
        served("3.2", "an address of version 6", host("Host: [::1]:80"), &["GET /"]),
        served("3.2", "an empty host", host("Host:"), &["GET /"]),
        refused("9110 9.3.8", "TRACE", 405, raw("TRACE / HTTP/1.1")),
    ]
}

/// RFC 9112 §5: fields.
fn fields() -> Vec<Case> {
    let many = |n: usize| (0..n).map(|n| format!("X-{n}: v\r\n")).collect::<String>();
    let smuggle = "Transfer-Encoding: chunked";
    vec![
        refused("5.1", "a space in front of the colon", 400, get(&["X : 1"])),
        refused("5.1", "a TAB in front of the colon", 400, get(&["X\t: 1"])),
        refused("5.1", "a coding with a space in front of the colon", 400, get(&["Transfer-Encoding : chunked"])),
        refused("5.1", "a length with a space in front of the colon", 400, get(&["Content-Length : 5"])),
        refused("5.1", "no name", 400, get(&[": 1"])),
        refused("5.1", "no colon", 400, get(&["X"])),
        refused("5.1", "NUL in a name", 400, get(&["X\0Y: 1"])),
        refused("5.1", "a name that is no token", 400, get(&["X(Y): 1"])),
        refused("5.1", "a name above ASCII", 400, get(&["X\u{e9}: 1"])),
        refused("5.1", "a TAB in front of a name", 400, get(&["X: 1", "\tY: 2"])),
        refused("5.2", "a folded value", 400, get(&["X: 1", " 2"])),
        refused("5.2", "a value folded with TAB", 400, get(&["X: 1", "\t2"])),
        refused("5.2", "a folded coding", 400, post(&["Transfer-Encoding:", " chunked"], "0\r\n\r\n")),
        refused("5.2", "a folded length", 400, post(&["Content-Length: 1", " 0"], "abc")),
        refused("5.2", "a line of white space", 400, get(&["X: 1", " "])),
        refused("5.5", "NUL in a value", 400, get(&["X: a\0b"])),
        refused("5.5", "ESC in a value", 400, get(&["X: a\x1bb"])),
        refused("5.5", "VT in a value", 400, get(&["X: a\x0bb"])),
        refused("5.5", "DEL in a value", 400, get(&["X: a\x7fb"])),
        served("5.5", "bytes above ASCII in a value", get(&["X: caf\u{e9}"]), &["GET /"]),
        served("5.5", "TAB and empty values", get(&["X: a\tb", "Y:", "Z: \t "]), &["GET /"]),
        served("5.1", "a field that only looks like a coding", post(&["Transfer_Encoding: chunked"], ""), &["POST /p"]),
        served("5.1", "a coding in another field's value", post(&[&format!("X: {smuggle}")], ""), &["POST /p"]),
        served("5.4", "100 fields", get(&[many(99).trim_end()]), &["GET /"]),
        refused("5.4", "101 fields", 431, get(&[many(100).trim_end()])),
        refused("5.4", "a head of more than 64 KiB", 431, get(&[&format!("X: {}", "v".repeat(65_536))])),
    ]
}

/// RFC 9112 §6: where a body ends.
fn lengths() -> Vec<Case> {
    let te = "Transfer-Encoding: chunked";
    let length = |value: &str| post(&[&format!("Content-Length:{value}")], "abc");
    let coding = |value: &str| post(&[&format!("Transfer-Encoding:{value}")], "3\r\nabc\r\n0\r\n\r\n");
    vec![
        refused("6.1", "length and coding", 400, post(&["Content-Length: 4", te], "0\r\n\r\n")),
        refused("6.1", "coding and length", 400, post(&[te, "Content-Length: 4"], "0\r\n\r\n")),
        refused("6.1", "coding and a length of zero", 400, post(&[te, "Content-Length: 0"], "0\r\n\r\n")),
        refused("6.1", "coding and an unreadable length", 400, post(&[te, "Content-Length: x"], "0\r\n\r\n")),
        refused("6.1", "a coding in HTTP/1.0", 400, post(&[te], "0\r\n\r\n").replace("HTTP/1.1", "HTTP/1.0")),
        refused("6.1", "two coding lines", 400, post(&[te, te], "0\r\n\r\n")),
        refused(
            "6.1",
            "a second coding line of identity",
            400,
            post(&[te, "Transfer-Encoding: identity"], "0\r\n\r\n"),
        ),
        refused("6.1", "an empty second coding line", 400, post(&[te, "Transfer-Encoding:"], "0\r\n\r\n")),
        refused("6.1", "chunked twice", 400, coding(" chunked, chunked")),
        refused("6.1", "chunked is not last", 400, coding(" chunked, gzip")),
        refused("6.1", "identity behind chunked", 400, coding(" chunked, identity")),
        refused("6.1", "identity", 400, coding(" identity")),
        refused("6.1", "a coding that is not chunked", 400, coding(" gzip")),
        refused("6.1", "a coding that we cannot undo", 501, coding(" gzip, chunked")),
        refused("6.1", "an empty coding", 400, coding("")),
        refused("6.1", "chunked with a comma behind", 400, coding(" chunked,")),
        refused("6.1", "chunked with a comma in front", 400, coding(" ,chunked")),
        refused("6.1", "chunked with a parameter", 400, coding(" chunked;q=1")),
        refused("6.1", "chunked in quotes", 400, coding(" \"chunked\"")),
        refused("6.1", "chunked with a prefix", 400, coding(" xchunked")),
        refused("6.1", "chunked with a suffix", 400, coding(" chunkedx")),
        refused("6.1", "chunked behind VT", 400, coding(" \x0bchunked")),
        refused("6.1", "chunked behind NUL", 400, coding(" \0chunked")),
        refused("6.1", "chunked behind a byte above ASCII", 400, coding(" \u{a0}chunked")),
        served("6.1", "chunked in capitals", coding(" CHUNKED"), &["POST /p abc"]),
        served("6.1", "chunked between TABs", coding("\tchunked\t"), &["POST /p abc"]),
        refused("6.3", "two equal lengths", 400, post(&["Content-Length: 3", "Content-Length: 3"], "abc")),
        refused("6.3", "two different lengths", 400, post(&["Content-Length: 3", "Content-Length: 0"], "abc")),
        refused("6.3", "a list of equal lengths", 400, length(" 3, 3")),
        refused("6.3", "a list of lengths", 400, length(" 3,0")),
        refused("6.3", "no length", 400, length("")),
        refused("6.3", "a plus sign", 400, length(" +3")),
        refused("6.3", "a minus sign", 400, length(" -3")),
        refused("6.3", "hexadecimal", 400, length(" 0x3")),
        refused("6.3", "a fraction", 400, length(" 3.0")),
        refused("6.3", "an exponent", 400, length(" 3e0")),
        refused("6.3", "two numbers", 400, length(" 3 0")),
        refused("6.3", "a number in quotes", 400, length(" \"3\"")),
        refused("6.3", "an underscore", 400, length(" 0_3")),
        refused("6.3", "other digits", 400, length(" \u{0663}")),
        refused("6.3", "above 64 bits", 400, length(" 18446744073709551619")),
        refused("6.3", "above the bound", 413, length(" 9223372036854775807")),
        served("6.3", "a length", length(" 3"), &["POST /p abc"]),
        served("6.3", "leading zeros", length(" 003"), &["POST /p abc"]),
        served("6.3", "a length between blanks", length("\t 3 \t"), &["POST /p abc"]),
        served("6.3", "no framing, no body", post(&[], ""), &["POST /p"]),
        served("6.3", "a GET with a body", request("GET /g", &["Content-Length: 3"], "abc"), &["GET /g abc"]),
        served(
            "6.3",
            "a request as a body",
            post(&[&format!("Content-Length: {}", SMUGGLED.len())], SMUGGLED),
            &["POST /p GET /smuggled HTTP/1.1\r\nHost: a"],
        ),
        Case {
            statuses: vec![400],
            fault: "Closed",
            end: End::HalfClosed,
            ..case("8", "a body cut short", length(" 4"))
        },
        Case { end: End::HalfClosed, ..case("8", "a head cut short", "POST /p HTTP/1.1\r\nHost: a\r\nContent-Le") },
    ]
}

/// RFC 9112 §7.1: the chunked coding.
fn chunks() -> Vec<Case> {
    let size = |text: &str| chunked(&format!("{text}\r\nhello\r\n0\r\n\r\n"));
    let data = |text: &str| chunked(&format!("5\r\n{text}0\r\n\r\n"));
    let trailers = |text: &str| chunked(&format!("5\r\nhello\r\n0\r\n{text}\r\n\r\n"));
    let hello = &["POST /c hello"];
    let long = format!("{:x};{}\r\n", 1, "e".repeat(255));
    vec![
        served("7.1", "chunks", chunked("3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"), hello),
        served(
            "7.1",
            "sizes in either case",
            chunked("0A\r\n0123456789\r\n0b\r\n0123456789a\r\n0\r\n\r\n"),
            &["POST /c 01234567890123456789a"],
        ),
        served("7.1", "16 digits", size("0000000000000005"), hello),
        served("7.1", "a last chunk of many zeros", chunked("5\r\nhello\r\n0000\r\n\r\n"), hello),
        served("7.1", "no chunk but the last", chunked("0\r\n\r\n"), &["POST /c"]),
        spoilt("7.1", "17 digits", "bad_chunk_size", size("00000000000000005")),
        spoilt("7.1", "a size that overflows", "bad_chunk_size", size("10000000000000005")),
        spoilt("7.1", "the largest size", "TooLarge", size("ffffffffffffffff")),
        spoilt("7.1", "a size above the bound", "TooLarge", size("4000001")),
        spoilt("7.1", "0x", "bad_chunk_size", size("0x5")),
        spoilt("7.1", "a plus sign", "bad_chunk_size", size("+5")),
        spoilt("7.1", "a minus sign", "bad_chunk_size", size("-5")),
        spoilt("7.1", "a space in front", "bad_chunk_size", size(" 5")),
        spoilt("7.1", "a space behind", "bad_chunk_size", size("5 ")),
        spoilt("7.1", "a TAB behind", "bad_chunk_size", size("5\t")),
        spoilt("7.1", "an underscore", "bad_chunk_size", size("0_5")),
        spoilt("7.1", "a letter behind", "bad_chunk_size", size("5g")),
        spoilt("7.1", "NUL behind", "bad_chunk_size", size("5\0")),
        spoilt("7.1", "no size", "bad_chunk_size", size("")),
        spoilt("7.1", "an extension without a size", "bad_chunk_size", size(";a")),
        spoilt("7.1", "bare LF behind a size", "bare_lf", chunked("5\nhello\r\n0\r\n\r\n")),
        spoilt("7.1", "bare CR behind a size", "bare_cr", chunked("5\rhello\r\n0\r\n\r\n")),
        spoilt("7.1", "CR CR LF behind a size", "bare_cr", chunked("5\r\r\nhello\r\n0\r\n\r\n")),
        spoilt("7.1", "bare LF behind data", "chunk_data_end", data("hello\n")),
        spoilt("7.1", "bare CR behind data", "chunk_data_end", data("hello\r")),
        spoilt("7.1", "nothing behind data", "chunk_data_end", data("hello")),
        spoilt("7.1", "too much data", "chunk_data_end", data("hello!\r\n")),
        spoilt("7.1", "too little data", "chunk_data_end", data("hell\r\n")),
        spoilt("7.1", "bare LF behind the last chunk", "bare_lf", chunked("0\n\r\n")),
        spoilt("7.1", "bare LF ends the body", "bare_lf", chunked("0\r\n\n")),
        Case {
            statuses: vec![400],
            fault: "Closed",
            end: End::HalfClosed,
            ..case("8", "no last chunk", chunked("5\r\nhello\r\n"))
        },
        Case {
            statuses: vec![400],
            fault: "Closed",
            end: End::HalfClosed,
            ..case("8", "no last line", chunked("0\r\n"))
        },
        served("7.1.1", "an extension", size("5;a=b;c"), hello),
        served("7.1.1", "a quoted extension", size("5;a=\"b;c\""), hello),
        served("7.1.1", "an extension of the last chunk", chunked("5\r\nhello\r\n0;a\r\n\r\n"), hello),
        spoilt("7.1.1", "bare LF in an extension", "bare_lf", size("5;a\nb")),
        spoilt("7.1.1", "bare CR in an extension", "bare_cr", size("5;a\rb")),
        spoilt(
            "7.1.1",
            "a line end in a quoted extension",
            "bad_chunk_extension",
            size("5;a=\"\r\nhello\r\n0\r\n\r\n\""),
        ),
        spoilt("7.1.1", "bytes above ASCII in an extension", "bad_chunk_extension", size("5;\u{e9}")),
        spoilt("7.1.1", "a comma in an extension", "bad_chunk_extension", size("5;a,b")),
        served("7.1.1", "bytes above ASCII and a comma in quotes", size("5;a=\"\u{e9},\\\"\""), hello),
        spoilt("7.1.1", "NUL in an extension", "bad_chunk_extension", size("5;a\0b")),
        spoilt(
            "7.1.1",
            "an extension of 257 bytes",
            "chunk_extension_too_long",
            size(&format!("5;{}", "e".repeat(256))),
        ),
        spoilt("7.1.1", "extensions of more than 16 KiB", "chunk_extension_too_long", {
            chunked(&format!("{}0\r\n\r\n", format!("{long}x\r\n").repeat(65)))
        }),
        served("7.1.2", "trailers are not passed on", trailers("X-Sum: 1"), hello),
        served("7.1.2", "trailers do not frame", trailers("Content-Length: 99\r\nTransfer-Encoding: gzip"), hello),
        served("7.1.2", "trailers name no host", trailers("Host: evil"), hello),
        spoilt("7.1.2", "a folded trailer", "obs_fold", trailers("X: 1\r\n 2")),
        spoilt("7.1.2", "bare LF in trailers", "bare_lf", trailers("X: 1\nY: 2")),
        spoilt("7.1.2", "bare CR in trailers", "bare_cr", trailers("X: 1\rY: 2")),
        spoilt("7.1.2", "a space in front of the colon", "bad_name", trailers("X : 1")),
        spoilt("7.1.2", "a request instead of trailers", "bad_name", trailers("GET /smuggled HTTP/1.1")),
        spoilt("7.1.2", "trailers of more than 8 KiB", "trailers", trailers(&format!("X: {}", "v".repeat(8_192)))),
        spoilt("7.1.2", "101 trailers", "too_many_fields", trailers(&"X: 1\r\n".repeat(101))),
    ]
}

/// RFC 9112 §9 and what RFC 9110 says of connections: which requests are there at all.
fn connections() -> Vec<Case> {
    let upgrade = |protocol: &str| get(&["Connection: Upgrade", &format!("Upgrade: {protocol}")]);
    let expect = |path: &str| {
        let fields = ["Expect: 100-continue", &format!("Content-Length: {}", SMUGGLED.len())];
        request(&format!("POST {path}"), &fields, "")
    };
    let unread = |length: usize| request("POST /unread", &[&format!("Content-Length: {length}")], SMUGGLED);
    let three = [get(&[]), chunked("1\r\nx\r\n0\r\n\r\n"), post(&["Content-Length: 1"], "y")].concat();
    vec![
        served("9.3", "three in one write", three, &["GET /", "POST /c x", "POST /p y"]),
        last("9.6", "close", get(&["Connection: close"]), &["GET /"]),
        last("9.6", "close among others", get(&["Connection: X, ClOsE , keep-alive"]), &["GET /"]),
        last("9.6", "close in a second line", get(&["Connection: keep-alive", "Connection: close"]), &["GET /"]),
        last("9.3", "HTTP/1.0", "GET / HTTP/1.0\r\nHost: a\r\n\r\n", &["GET /"]),
        served(
            "9.3",
            "HTTP/1.0 with keep-alive",
            "GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
            &["GET /"],
        ),
        served("9110 7.6.1", "a proxy's connection field says nothing", get(&["Proxy-Connection: close"]), &["GET /"]),
        served("9110 7.6.1", "host is named as a hop's field", get(&["Connection: host"]), &["GET /"]),
        served(
            "9110 7.6.1",
            "framing is named as a hop's field",
            post(&["Connection: content-length, transfer-encoding", "Content-Length: 1"], "x"),
            &["POST /p x"],
        ),
        Case {
            statuses: vec![200],
            end: End::Open,
            ..case("9.3", "a small body that nobody reads", unread(SMUGGLED.len()))
        },
        Case { statuses: vec![200], ..case("9.3", "a large body that nobody reads", unread(1 << 20)) },
        Case {
            statuses: vec![200],
            end: End::Open,
            ..case("9.3", "chunks that nobody reads", {
                let body = format!("{:x}\r\n{SMUGGLED}\r\n0\r\n\r\n", SMUGGLED.len());
                request("POST /unread", &["Transfer-Encoding: chunked"], &body)
            })
        },
        Case {
            statuses: vec![200],
            ..case("9.3", "faulty chunks that nobody reads", {
                request("POST /unread", &["Transfer-Encoding: chunked"], &format!("0x0\r\n\r\n{SMUGGLED}"))
            })
        },
        served(
            "9110 10.1.1",
            "the body comes without waiting",
            [&expect("/p"), SMUGGLED].concat(),
            &["POST /p GET /smuggled HTTP/1.1\r\nHost: a"],
        ),
        Case {
            statuses: vec![200],
            ..case("9110 10.1.1", "a waiting client is refused unread", {
                request("POST /unread", &["Expect: 100-continue", "Content-Length: 1000"], "")
            })
        },
        refused("9110 10.1.1", "another expectation", 417, post(&["Expect: 200-ok", "Content-Length: 0"], "")),
        last(
            "9110 10.1.1",
            "an expectation in HTTP/1.0",
            expect("/p").replace("1.1", "1.0") + SMUGGLED,
            &["POST /p GET /smuggled HTTP/1.1\r\nHost: a"],
        ),
        served("9110 9.3.2", "HEAD", request("HEAD /h", &[], ""), &["HEAD /h"]),
        served("9110 9.3.2", "HEAD with a body", request("HEAD /h", &["Content-Length: 1"], "x"), &["HEAD /h x"]),
        last("9110 7.8", "a WebSocket is not opened", upgrade("websocket"), &["GET /"]),
        last("9110 7.8", "an upgrade that connection does not name", get(&["Upgrade: websocket"]), &["GET /"]),
        last(
            "9110 7.8",
            "an upgrade behind a body",
            post(&["Upgrade: x", "Connection: upgrade", "Content-Length: 1"], "y"),
            &["POST /p y"],
        ),
        last("9110 7.8", "a list of protocols", upgrade("h2c, websocket"), &["GET /"]),
        served(
            "9110 7.8",
            "HTTP/2 is not taken",
            get(&["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk"]),
            &["GET /"],
        ),
        Case {
            end: End::HalfClosed,
            ..served("9.6", "a half-closed client is answered", post(&["Content-Length: 1"], "x"), &["POST /p x"])
        },
        Case {
            statuses: vec![200],
            end: End::Open,
            ..case("11.1", "an answer cannot be split", request("GET /split", &[], ""))
        },
    ]
}

impl Case {
    /// What is sent: the input, where what is above ASCII stands for one byte, and what follows it.
    fn wire(&self) -> Vec<u8> {
        let text = String::from_utf8_lossy(&self.input);
        let byte = |c: char| u8::try_from(u32::from(c)).map_or_else(|_| c.to_string().into_bytes(), |b| vec![b]);
        let mut wire: Vec<u8> = text.chars().flat_map(byte).collect();
        wire.extend_from_slice(match self.end {
            End::Open => NEXT.as_bytes(),
            End::Closed => SMUGGLED.as_bytes(),
            End::HalfClosed => b"",
        });
        wire
    }
}

/// Every case in bytes, by name.
pub(crate) fn inputs() -> Vec<(String, Vec<u8>)> {
    [lines(), request_lines(), fields(), lengths(), chunks(), connections()]
        .into_iter()
        .flatten()
        .map(|case| (format!("RFC {} {}", case.section, case.name), case.wire()))
        .collect()
}

async fn check(case: &Case) {
    let relay = Relay::start().await;
    let at = format!("RFC {} {}", case.section, case.name);
    let asked_behind = (case.end == End::Open).then_some("GET /next");
    let answers = relay.talk(&case.wire(), case.end == End::HalfClosed).await;
    let mut wanted = case.statuses.clone();
    wanted.extend(asked_behind.map(|_| 200));
    assert_eq!(statuses(&answers), wanted, "{at}: {answers:?}");
    let asked: Vec<&str> = case.asked.iter().copied().chain(asked_behind).collect();
    assert_eq!(requests_in(&relay.told()), asked, "{at}");
    let faults = relay.faults();
    assert_eq!(faults.len(), usize::from(!case.fault.is_empty()), "{at}: {faults:?}");
    assert!(faults.iter().all(|fault| fault.contains(case.fault)), "{at}: {faults:?}");
    // Whoever is refused is told so in words, and that it is over.
    if case.statuses.last().is_some_and(|status| *status >= 400) {
        let (head, words) = answers.split_once("\r\n\r\n").unwrap();
        assert!(head.contains("content-type: text/plain") && words.contains(": "), "{at}: {answers:?}");
    }
    if case.end == End::Closed && !answers.is_empty() {
        assert!(answers.contains("connection: close\r\n"), "{at}: {answers:?}");
    }
    assert!(!answers.contains("\nset-cookie"), "{at}: {answers:?}");
}

/// All cases, so that one failure does not hide the next.
async fn walk(cases: Vec<Case>) {
    let mut failed = 0;
    for case in cases {
        let name = format!("RFC {} {}", case.section, case.name);
        if tokio::spawn(async move { check(&case).await }).await.is_err() {
            eprintln!("failed: {name}");
            failed += 1;
        }
    }
    assert_eq!(failed, 0, "cases failed; each is named above");
}

#[tokio::test]
async fn section_2_lines() {
    walk(lines()).await;
}

#[tokio::test]
async fn section_3_request_line_target_and_host() {
    walk(request_lines()).await;
}

#[tokio::test]
async fn section_5_fields() {
    walk(fields()).await;
}

#[tokio::test]
async fn section_6_lengths() {
    walk(lengths()).await;
}

#[tokio::test]
async fn section_7_chunks() {
    walk(chunks()).await;
}

#[tokio::test]
async fn section_9_connections() {
    walk(connections()).await;
}
