//! What upstreams may answer that a proxy can be attacked with, case by case, named by the section of RFC 9112 (or 9110)
//! that rules it: what the caller of our client gets, and whether the connection is used again.

use std::time::Duration;

use proxy::{Client, ClientConfig, Kind, Method, Origin, Outbound};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// A step that takes longer than this has failed.
const PATIENCE: Duration = Duration::from_secs(20);
/// The answer to the request behind each case; nothing of the first answer may be taken for it.
const SECOND: &str = "HTTP/1.1 203 Second\r\nContent-Length: 6\r\n\r\nsecond";

/// What the caller gets.
#[derive(Debug, Clone, PartialEq)]
enum Got {
    /// Status and body.
    Answer(u16, &'static str),
    /// The reason word of a breach of the protocol.
    Breach(&'static str),
    /// A bound was hit.
    TooLarge,
    /// The connection ended inside the message.
    Cut,
}

/// What becomes of the connection.
#[derive(Debug, Clone, Copy, PartialEq)]
enum After {
    /// It carries the next request.
    Reused,
    /// We close it; the next request goes over another.
    Dropped,
    /// The upstream closes it behind the answer.
    Ends,
}

struct Case {
    section: &'static str,
    name: &'static str,
    method: Method,
    answer: Vec<u8>,
    got: Got,
    after: After,
}

fn case(section: &'static str, name: &'static str, answer: impl Into<Vec<u8>>, got: Got, after: After) -> Case {
    Case { section, name, method: Method::GET, answer: answer.into(), got, after }
}

/// Read to its end, and the connection goes on.
fn good(
    section: &'static str,
    name: &'static str,
    answer: impl Into<Vec<u8>>,
    status: u16,
    body: &'static str,
) -> Case {
    case(section, name, answer, Got::Answer(status, body), After::Reused)
}

/// Read to its end, and the connection is over.
fn last(
    section: &'static str,
    name: &'static str,
    answer: impl Into<Vec<u8>>,
    status: u16,
    body: &'static str,
) -> Case {
    case(section, name, answer, Got::Answer(status, body), After::Dropped)
}

/// Refused.
fn bad(section: &'static str, name: &'static str, reason: &'static str, answer: impl Into<Vec<u8>>) -> Case {
    case(section, name, answer, Got::Breach(reason), After::Dropped)
}

/// Ended by the upstream in the middle.
fn cut(section: &'static str, name: &'static str, answer: impl Into<Vec<u8>>) -> Case {
    case(section, name, answer, Got::Cut, After::Ends)
}

fn to(method: Method, case: Case) -> Case {
    Case { method, ..case }
}

fn ok(fields: &[&str], body: &str) -> String {
    let fields: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
    format!("HTTP/1.1 200 OK\r\n{fields}\r\n{body}")
}

fn chunked(body: &str) -> String {
    ok(&["Transfer-Encoding: chunked"], body)
}

fn two() -> String {
    ok(&["Content-Length: 2"], "ok")
}

/// RFC 9112 §2, §4, §5: lines, status, fields.
fn heads() -> Vec<Case> {
    let line = |line: &str| format!("{line}\r\nContent-Length: 2\r\n\r\nok");
    let many = |n: usize| (0..n).map(|n| format!("X-{n}: v\r\n")).collect::<String>();
    vec![
        good("4", "a status line", two(), 200, "ok"),
        good("4", "no reason, no space", line("HTTP/1.1 200"), 200, "ok"),
        good("4", "no reason", line("HTTP/1.1 200 "), 200, "ok"),
        good("4", "a reason above ASCII", line("HTTP/1.1 200 \u{e9}t\u{e9}"), 200, "ok"),
        good("4", "a status that nobody knows", line("HTTP/1.1 799 x"), 799, "ok"),
        bad("4", "two digits", "status_line", line("HTTP/1.1 20 OK")),
        bad("4", "four digits", "status_line", line("HTTP/1.1 2000 OK")),
        bad("4", "a status below 100", "status_line", line("HTTP/1.1 099 OK")),
        bad("4", "a signed status", "status_line", line("HTTP/1.1 +20 OK")),
        bad("4", "two spaces", "status_line", line("HTTP/1.1  200 OK")),
        bad("4", "TAB in front of the status", "status_line", line("HTTP/1.1\t200 OK")),
        bad("4", "NUL in the reason", "status_line", line("HTTP/1.1 200 O\0K")),
        bad("4", "CR in the reason", "bare_cr", line("HTTP/1.1 200 O\rK")),
        bad("2.3", "HTTP/2.0", "status_line", line("HTTP/2.0 200 OK")),
        bad("2.3", "HTTP/1.2", "version", line("HTTP/1.2 200 OK")),
        bad("2.3", "HTTP/0.9", "status_line", "ok"),
        bad("2.3", "another protocol", "status_line", line("ICY 200 OK")),
        bad("2.2", "an empty line in front", "status_line", ["\r\n", &two()].concat()),
        bad("2.2", "bare LF ends the status line", "bare_lf", "HTTP/1.1 200 OK\nContent-Length: 2\r\n\r\nok"),
        bad("2.2", "bare LF as the empty line", "bare_lf", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\nok"),
        bad("2.2", "bare CR in a value", "bare_cr", ok(&["X: 1\rY: 2", "Content-Length: 2"], "ok")),
        bad("5.1", "a space in front of the colon", "bad_name", ok(&["Content-Length : 2"], "ok")),
        bad("5.1", "no colon", "bad_name", ok(&["X"], "")),
        bad("5.2", "a folded value", "obs_fold", ok(&["X: 1", " 2", "Content-Length: 2"], "ok")),
        bad("5.2", "a folded length", "obs_fold", ok(&["Content-Length:", " 2"], "ok")),
        bad("5.5", "NUL in a value", "bad_value", ok(&["X: a\0b"], "")),
        good("5.4", "100 fields", ok(&[many(99).trim_end(), "Content-Length: 2"], "ok"), 200, "ok"),
        bad("5.4", "101 fields", "too_many_fields", ok(&[many(101).trim_end()], "")),
        case("5.4", "a head of more than 64 KiB", ok(&[&"x".repeat(65_536)], ""), Got::TooLarge, After::Dropped),
        cut("8", "a head cut short", "HTTP/1.1 200 OK\r\nContent-Le"),
    ]
}

/// RFC 9112 §6 and §7: where a body ends.
fn bodies() -> Vec<Case> {
    let te = "Transfer-Encoding: chunked";
    let length = |value: &str| ok(&[&format!("Content-Length:{value}")], "ok");
    let coding = |value: &str| ok(&[&format!("Transfer-Encoding:{value}")], "2\r\nok\r\n0\r\n\r\n");
    let line = |size: &str| chunked(&format!("{size}\r\nok\r\n0\r\n\r\n"));
    vec![
        bad("6.1", "length and coding", "cl_and_te", ok(&["Content-Length: 2", te], "2\r\nok\r\n0\r\n\r\n")),
        bad("6.1", "coding and length", "cl_and_te", ok(&[te, "Content-Length: 2"], "2\r\nok\r\n0\r\n\r\n")),
        bad("6.1", "a coding in HTTP/1.0", "te_in_http10", chunked("0\r\n\r\n").replacen("1.1", "1.0", 1)),
        bad("6.1", "two coding lines", "te_invalid", ok(&[te, te], "0\r\n\r\n")),
        bad("6.1", "chunked twice", "te_invalid", coding(" chunked, chunked")),
        bad("6.1", "chunked is not last", "te_invalid", coding(" chunked, gzip")),
        bad("6.1", "identity", "te_invalid", coding(" identity")),
        bad("6.1", "a coding that we cannot undo", "te_unsupported", coding(" gzip, chunked")),
        bad("6.1", "an empty coding", "te_invalid", coding("")),
        bad("6.1", "chunked behind VT", "bad_value", coding(" \x0bchunked")),
        good("6.1", "chunked in capitals", coding(" Chunked"), 200, "ok"),
        good("6.3", "two equal lengths", ok(&["Content-Length: 2", "Content-Length: 2"], "ok"), 200, "ok"),
        bad("6.3", "two different lengths", "cl_conflict", ok(&["Content-Length: 2", "Content-Length: 1"], "ok")),
        bad("6.3", "two spellings of a length", "cl_conflict", ok(&["Content-Length: 2", "Content-Length: 02"], "ok")),
        bad("6.3", "a list of lengths", "cl_invalid", length(" 2, 2")),
        bad("6.3", "no length", "cl_invalid", length("")),
        bad("6.3", "a plus sign", "cl_invalid", length(" +2")),
        bad("6.3", "a minus sign", "cl_invalid", length(" -2")),
        bad("6.3", "hexadecimal", "cl_invalid", length(" 0x2")),
        bad("6.3", "above 64 bits", "cl_invalid", length(" 18446744073709551618")),
        cut("8", "a body cut short", length(" 3")),
        case("6.3", "up to the close", ok(&[], "ok"), Got::Answer(200, "ok"), After::Ends),
        case("6.3", "up to the close in HTTP/1.0", "HTTP/1.0 200 OK\r\n\r\nok", Got::Answer(200, "ok"), After::Ends),
        good("7.1", "chunks", chunked("1\r\no\r\n1\r\nk\r\n0\r\n\r\n"), 200, "ok"),
        good("7.1.1", "an extension", line("2;a=\"b\""), 200, "ok"),
        good("7.1.2", "trailers that frame", chunked("2\r\nok\r\n0\r\nContent-Length: 9\r\n\r\n"), 200, "ok"),
        bad("7.1", "0x", "bad_chunk_size", line("0x2")),
        bad("7.1", "a space behind the size", "bad_chunk_size", line("2 ")),
        bad("7.1", "17 digits", "bad_chunk_size", line("00000000000000002")),
        bad("7.1", "bare LF behind a size", "bare_lf", chunked("2\nok\r\n0\r\n\r\n")),
        bad("7.1", "too much data", "chunk_data_end", chunked("1\r\nok\r\n0\r\n\r\n")),
        bad("7.1", "bare LF behind data", "chunk_data_end", chunked("2\r\nok\n0\r\n\r\n")),
        bad("7.1.1", "an open quote in an extension", "bad_chunk_extension", line("2;a=\"")),
        bad("7.1.1", "a long extension", "chunk_extension_too_long", line(&format!("2;{}", "e".repeat(256)))),
        bad("7.1.2", "a folded trailer", "obs_fold", chunked("0\r\nX: 1\r\n 2\r\n\r\n")),
        cut("8", "no last chunk", chunked("2\r\nok\r\n")),
        cut("8", "no line behind the last chunk", chunked("2\r\nok\r\n0\r\n")),
        cut("8", "a chunk cut short", chunked("3\r\nok")),
    ]
}

/// Answers that have no body whatever they say, and what lies behind an answer.
fn ends() -> Vec<Case> {
    let status = |line: &str, fields: &str, body: &str| format!("HTTP/1.1 {line}\r\n{fields}\r\n{body}");
    let interim = "HTTP/1.1 100 Continue\r\nX: y\r\n\r\n";
    let evil = "HTTP/1.1 200 Evil\r\nContent-Length: 4\r\n\r\nevil";
    vec![
        to(Method::HEAD, good("9110 9.3.2", "HEAD with a length", ok(&["Content-Length: 9"], ""), 200, "")),
        to(Method::HEAD, good("9110 9.3.2", "HEAD with a coding", chunked(""), 200, "")),
        to(Method::HEAD, good("9110 9.3.2", "HEAD without framing", ok(&[], ""), 200, "")),
        to(Method::HEAD, last("9110 9.3.2", "HEAD with a body", two(), 200, "")),
        to(
            Method::HEAD,
            bad("6.1", "HEAD with length and coding", "cl_and_te", {
                ok(&["Content-Length: 2", "Transfer-Encoding: chunked"], "")
            }),
        ),
        good("6.3", "204 with a length", status("204 No Content", "Content-Length: 5\r\n", ""), 204, ""),
        good("6.3", "204 with a coding", status("204 No Content", "Transfer-Encoding: chunked\r\n", ""), 204, ""),
        last("6.3", "204 with a body", status("204 No Content", "Content-Length: 4\r\n", "evil"), 204, ""),
        good("6.3", "304 with a length", status("304 Not Modified", "Content-Length: 5\r\n", ""), 304, ""),
        last("6.3", "304 with a body", status("304 Not Modified", "Content-Length: 4\r\n", "evil"), 304, ""),
        good("9110 15.2", "100 in front", [interim, &two()].concat(), 200, "ok"),
        good("9110 15.2", "eight interim answers", [interim.repeat(8), two()].concat(), 200, "ok"),
        bad("9110 15.2", "nine interim answers", "too_many_interim", [interim.repeat(9), two()].concat()),
        bad("6.3", "100 with a body", "status_line", {
            ["HTTP/1.1 100 Continue\r\nContent-Length: 4\r\n\r\nevil", &two()].concat()
        }),
        bad("9110 15.2", "103 with both framings", "cl_and_te", {
            ["HTTP/1.1 103 x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n", &two()].concat()
        }),
        bad("9110 15.2.2", "101 that nobody asked for", "unexpected_upgrade", {
            status("101 Switching Protocols", "Connection: upgrade\r\nUpgrade: websocket\r\n", evil)
        }),
        bad("9110 15.2.2", "101 behind 100", "unexpected_upgrade", {
            [interim, "HTTP/1.1 101 x\r\n\r\n", &two()].concat()
        }),
        last("9.2", "two answers to one request", [&two()[..], evil].concat(), 200, "ok"),
        last("9.2", "chunks and a second answer", [&chunked("2\r\nok\r\n0\r\n\r\n")[..], evil].concat(), 200, "ok"),
        last("9.2", "an empty answer and a second one", [&ok(&["Content-Length: 0"], "")[..], evil].concat(), 200, ""),
        last("9.2", "an empty line behind an answer", [&two()[..], "\r\n"].concat(), 200, "ok"),
        last("9.6", "close", ok(&["Connection: close", "Content-Length: 2"], "ok"), 200, "ok"),
        last("9.6", "close among others", ok(&["Connection: X,CLOSE", "Content-Length: 2"], "ok"), 200, "ok"),
        last("9.3", "HTTP/1.0", two().replacen("1.1", "1.0", 1), 200, "ok"),
        good(
            "9.3",
            "HTTP/1.0 with keep-alive",
            ok(&["Connection: keep-alive", "Content-Length: 2"], "ok").replacen("1.1", "1.0", 1),
            200,
            "ok",
        ),
    ]
}

/// Every case in bytes, by name, with the method that is answered.
pub(crate) fn inputs() -> Vec<(String, Method, Vec<u8>)> {
    [heads(), bodies(), ends()]
        .into_iter()
        .flatten()
        .map(|case| (format!("RFC {} {} (answer)", case.section, case.name), case.method, latin1(&case.answer)))
        .collect()
}

/// Reads one request without a body.
async fn head(io: &mut TcpStream) -> bool {
    let mut read = Vec::new();
    while !read.ends_with(b"\r\n\r\n") {
        if !matches!(io.read_buf(&mut read).await, Ok(n) if n > 0) {
            return false;
        }
    }
    true
}

/// The upstream's side. True: the second request came over the first connection.
async fn upstream(listener: &TcpListener, case: &Case) -> bool {
    let (mut io, _) = listener.accept().await.unwrap();
    assert!(head(&mut io).await, "the client left without asking");
    let answer = latin1(&case.answer);
    // Who refuses a head does not wait for the rest of it.
    let _ = io.write_all(&answer).await;
    if case.after == After::Ends {
        let _ = io.shutdown().await;
    }
    let again = head(&mut io).await;
    if !again {
        (io, _) = listener.accept().await.unwrap();
        assert!(head(&mut io).await);
    }
    io.write_all(SECOND.as_bytes()).await.unwrap();
    again
}

/// What is above ASCII stands for one byte.
fn latin1(text: &[u8]) -> Vec<u8> {
    String::from_utf8_lossy(text).chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect()
}

async fn ask(client: &Client, origin: &Origin, method: Method) -> Got {
    let answer = async {
        let mut response = client.send(Outbound::new(origin.clone(), method, "/")).await?;
        let body = response.body.collect(usize::MAX).await?;
        Ok::<_, proxy::Error>((response.head.status.as_u16(), body))
    };
    match answer.await {
        Ok((status, body)) => Got::Answer(status, String::from_utf8_lossy(&body).into_owned().leak()),
        Err(error) => match error.kind {
            Kind::Protocol { reason, status: 502 } => Got::Breach(reason),
            Kind::TooLarge { .. } => Got::TooLarge,
            Kind::Closed => Got::Cut,
            other => panic!("{other:?}"),
        },
    }
}

async fn check(case: Case) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = Origin::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    let client = Client::new(ClientConfig::default()).unwrap();
    let at = format!("RFC {} {}", case.section, case.name);
    let caller = async {
        let first = ask(&client, &origin, case.method.clone()).await;
        (first, ask(&client, &origin, Method::GET).await)
    };
    let both = async { tokio::join!(upstream(&listener, &case), caller) };
    let (reused, (first, second)) =
        tokio::time::timeout(PATIENCE, both).await.unwrap_or_else(|_| panic!("{at}: stuck"));
    assert_eq!(first, case.got, "{at}");
    assert_eq!(second, Got::Answer(203, "second"), "{at}: the next answer is not the next request's");
    assert_eq!(reused, case.after == After::Reused, "{at}: reused");
}

/// All cases, so that one failure does not hide the next.
async fn walk(cases: Vec<Case>) {
    let mut failed = 0;
    for case in cases {
        let name = format!("RFC {} {}", case.section, case.name);
        if tokio::spawn(check(case)).await.is_err() {
            eprintln!("failed: {name}");
            failed += 1;
        }
    }
    assert_eq!(failed, 0, "cases failed; each is named above");
}

#[tokio::test]
async fn sections_2_to_5_heads() {
    walk(heads()).await;
}

#[tokio::test]
async fn sections_6_and_7_bodies() {
    walk(bodies()).await;
}

#[tokio::test]
async fn section_9_ends() {
    walk(ends()).await;
}
