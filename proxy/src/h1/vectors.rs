//! Runs `tests/vectors/http1` through the pure reader: whole, byte by byte and cut in two at every place.
#![allow(clippy::unwrap_used)]

use bytes::BytesMut;
use serde_json::{Map, Value, json};

use super::framing::{Decoder, Framing, Piece, as_upstream};
use super::head::HeadReader;
use crate::{Headers, Kind, Limits, Method, Version};

const CASES: &str = include_str!("../../../tests/vectors/http1/cases.jsonl");

/// What a reader made of an input.
#[derive(Debug, PartialEq)]
struct Outcome {
    verdict: &'static str,
    fault: Option<(u16, String)>,
    messages: Vec<Value>,
    leftover: usize,
}

/// A connection's read side: heads and bodies in turn.
struct Reader {
    limits: Limits,
    heads: HeadReader,
    buf: BytesMut,
    /// `None` for requests; methods still to be answered for responses.
    methods: Option<Vec<Method>>,
    current: Option<(Map<String, Value>, Decoder, Vec<u8>)>,
    messages: Vec<Value>,
    /// Nothing more is parsed.
    stopped: bool,
}

fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|&b| char::from(b)).collect()
}

fn version(version: Version) -> &'static str {
    match version {
        Version::Http10 => "1.0",
        Version::Http11 => "1.1",
        Version::Http2 => "2",
    }
}

fn framing(framing: Framing) -> &'static str {
    match framing {
        Framing::None => "none",
        Framing::Length(_) => "length",
        Framing::Chunked => "chunked",
        Framing::UntilClose => "until_close",
    }
}

fn trailers(fields: &Headers) -> Value {
    fields.iter().map(|(name, value)| json!([latin1(name).to_ascii_lowercase(), latin1(value)])).collect()
}

impl Reader {
    fn new(methods: Option<Vec<Method>>) -> Self {
        Self {
            limits: Limits::default(),
            heads: HeadReader::default(),
            buf: BytesMut::new(),
            methods,
            current: None,
            messages: Vec::new(),
            stopped: false,
        }
    }

    fn fault(&self, kind: Kind) -> Kind {
        if self.methods.is_some() { as_upstream(kind) } else { kind }
    }

    /// Reads as far as the bytes allow.
    fn run(&mut self) -> Result<(), Kind> {
        while !self.stopped {
            if let Some((_, decoder, body)) = &mut self.current {
                match decoder.next(&mut self.buf) {
                    Err(kind) => return Err(self.fault(kind)),
                    Ok(Piece::More) => return Ok(()),
                    Ok(Piece::Data(data)) => {
                        assert!(!data.is_empty());
                        body.extend_from_slice(&data);
                    }
                    Ok(Piece::End) => self.complete(),
                }
            } else if !self.head()? {
                return Ok(());
            }
        }
        Ok(())
    }

    fn complete(&mut self) {
        let (mut message, mut decoder, body) = self.current.take().unwrap();
        assert!(decoder.is_done());
        message.insert("body".into(), latin1(&body).into());
        if let Some(fields) = decoder.trailers() {
            message.insert("trailers".into(), trailers(&fields));
        }
        let over = message["keep_alive"] == false || message.contains_key("upgrade");
        self.stopped |= over;
        self.messages.push(message.into());
    }

    fn head(&mut self) -> Result<bool, Kind> {
        let mut message = Map::new();
        let (body, keep_alive) = match &mut self.methods {
            None => {
                let Some(request) = self.heads.request(&mut self.buf, &self.limits)? else { return Ok(false) };
                message.insert("method".into(), request.head.method.as_str().into());
                message.insert("target".into(), latin1(&request.head.target).into());
                message.insert("version".into(), version(request.head.version).into());
                if request.expect_continue {
                    message.insert("expect_continue".into(), true.into());
                }
                if let Some(protocol) = request.upgrade {
                    message.insert("upgrade".into(), latin1(&protocol).into());
                }
                (request.framing, request.keep_alive)
            }
            Some(methods) => {
                let Some(method) = methods.first().cloned() else {
                    self.stopped = true;
                    return Ok(false);
                };
                let parsed = self.heads.response(&mut self.buf, &self.limits, &method)?;
                let Some(response) = parsed else { return Ok(false) };
                message.insert("status".into(), response.head.status.as_u16().into());
                message.insert("version".into(), version(response.version).into());
                if response.interim {
                    message.insert("interim".into(), true.into());
                    self.messages.push(message.into());
                    return Ok(true);
                }
                if response.tunnel {
                    message.insert("tunnel".into(), true.into());
                }
                methods.remove(0);
                (response.framing, response.keep_alive)
            }
        };
        message.insert("framing".into(), framing(body).into());
        message.insert("keep_alive".into(), keep_alive.into());
        let decoder = Decoder::new(body, &self.limits, self.limits.body_bytes as u64)?;
        self.current = Some((message, decoder, Vec::new()));
        Ok(true)
    }

    fn end(&mut self) -> Result<(), Kind> {
        if let Some((_, decoder, _)) = &mut self.current {
            let end = decoder.finish();
            end.map_err(|kind| self.fault(kind))?;
            self.complete();
        }
        Ok(())
    }
}

fn read(case: &Value, pieces: &[&[u8]], eof: bool) -> Outcome {
    let methods = case["request_methods"]
        .as_array()
        .map(|methods| methods.iter().map(|m| Method::from_bytes(m.as_str().unwrap().as_bytes()).unwrap()).collect());
    let mut reader = Reader::new(methods);
    let mut result = Ok(());
    for piece in pieces {
        reader.buf.extend_from_slice(piece);
        result = reader.run();
        if result.is_err() {
            break;
        }
    }
    if result.is_ok() && eof {
        result = reader.end();
    }
    let fault = result.err().map(|kind| match kind {
        Kind::Protocol { reason, status } => (status, reason.to_owned()),
        Kind::TooLarge { what, status, .. } => (status, what.to_owned()),
        other => panic!("unexpected {other:?}"),
    });
    let idle = reader.current.is_none() && (reader.stopped || (reader.buf.is_empty() && reader.heads.is_fresh()));
    let verdict = match (&fault, idle) {
        (Some(_), _) => "reject",
        (None, true) => "accept",
        (None, false) => "need_more",
    };
    Outcome { verdict, fault, messages: reader.messages, leftover: reader.buf.len() }
}

fn input(case: &Value) -> Vec<u8> {
    case["input"].as_str().unwrap().chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect()
}

fn cases() -> Vec<Value> {
    CASES.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn check(case: &Value, pieces: &[&[u8]]) {
    let expect = &case["expect"];
    let outcome = read(case, pieces, case["eof"].as_bool().unwrap());
    let cut: Vec<usize> = pieces.iter().map(|piece| piece.len()).collect();
    let context = || format!("{} cut as {cut:?}: {outcome:?}", case["id"]);
    assert_eq!(outcome.verdict, expect["verdict"], "{}", context());
    let fault = outcome.fault.as_ref().map(|(status, reason)| json!([status, reason]));
    let expected = expect["status"].is_u64().then(|| json!([expect["status"], expect["reason"]]));
    assert_eq!(fault, expected, "{}", context());
    assert_eq!(json!(outcome.messages), expect["messages"], "{}", context());
    if outcome.verdict == "accept" {
        assert_eq!(outcome.leftover as u64, expect["leftover"].as_u64().unwrap_or(0), "{}", context());
    }
}

#[test]
fn every_case_reads_the_same_however_it_is_cut() {
    let cases = cases();
    assert_eq!(cases.len(), 52);
    for case in &cases {
        let input = input(case);
        check(case, &[&input]);
        let bytes: Vec<&[u8]> = input.chunks(1).collect();
        check(case, &bytes);
        for cut in 1..input.len() {
            check(case, &[&input[..cut], &input[cut..]]);
        }
    }
}

#[test]
fn no_prefix_of_an_accepted_case_is_refused() {
    let mut prefixes = 0;
    for case in cases().iter().filter(|case| case["expect"]["verdict"] == "accept") {
        let input = input(case);
        for end in 0..input.len() {
            let outcome = read(case, &[&input[..end]], false);
            assert_eq!(outcome.fault, None, "{} up to {end}", case["id"]);
            prefixes += 1;
        }
    }
    assert!(prefixes > 1_000, "{prefixes}");
}
