//! The corpus and every case of the tables, read by us and by readers that share no line with us or hyper: Python's
//! `h11`, and `llhttp` as Node runs it. The same messages, or one of the two refuses, for a reason that stands in a list
//! here. A new difference fails, and of h11, whose version is pinned, also one that is gone.
//!
//! Needs Python 3 with `venv`, and installs h11 under `target/tmp/h11`; and Node. Where one is missing its test says
//! `SKIPPED: …` and passes.

use std::{
    collections::BTreeSet,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use proxy::{Kind, Limits, Method, probe};
use serde_json::{Value, json};

use crate::{corpus, oracle, requests, responses};

const H11: &str = "h11==0.16.0";

/// Our reason word, and why we refuse what h11 takes.
const WE_REFUSE_H11: List = &[
    ("bad_chunk_extension", "control characters and open quotes: another reader may find the line's end elsewhere"),
    ("bad_chunk_size", "blanks behind a size, and more than 16 digits, which overflow elsewhere"),
    ("bad_value", "ESC and DEL: RFC 9110 5.5 allows no control characters but TAB"),
    ("bare_cr", "h11 skips it in a chunk extension"),
    ("bare_lf", "RFC 9112 2.2 permits a reader to take it for a line end; those who do not would read something else"),
    ("body", "our bound on bodies"),
    ("chunk_extension_too_long", "our bound: extensions carry nothing, and could be sent for ever"),
    ("cl_and_te", "h11 lets the coding win, as RFC 9112 6.3 permits; those who let the length win read something else"),
    ("cl_invalid", "h11 joins lists of equal lengths and counts above 64 bits"),
    ("cl_repeated", "h11 joins equal lengths, as RFC 9112 6.3 permits; so do we in answers"),
    ("expect", "RFC 9110 10.1.1: what we do not know cannot be met"),
    ("head", "our bound on heads"),
    ("host_invalid", "h11 leaves the host to its caller"),
    ("host_mismatch", "h11 leaves the host to its caller"),
    ("method", "CONNECT and TRACE: h11 leaves them to its caller"),
    ("obs_fold", "h11 unfolds; RFC 9112 5.2 permits a server to refuse"),
    ("request line", "our bound on the first line"),
    (
        "request_line",
        "methods of more than 32 bytes; and bytes behind an offer to upgrade, where h11 waits for its caller",
    ),
    ("status_line", "h11 reads any version in an answer"),
    ("target", "h11 takes every visible byte for a target and knows no forms"),
    ("te_in_http10", "h11 reads chunks in HTTP/1.0; RFC 9112 6.1 calls the framing faulty"),
    ("too_many_fields", "our bound on fields"),
    ("too_many_interim", "our bound on interim answers"),
    ("trailers", "our bound on trailers"),
    ("version", "h11 reads any version"),
];

/// Likewise for llhttp.
const WE_REFUSE_LLHTTP: List = &[
    ("bad_chunk_size", "more than 16 digits"),
    ("bare_cr", "CR in front of a request, which llhttp skips as if it were an empty line"),
    ("bare_lf", "LF in front of a request, likewise"),
    ("body", "our bound on bodies"),
    ("chunk_extension_too_long", "our bound"),
    ("expect", "llhttp leaves it to its caller"),
    ("head", "our bound on heads"),
    ("host_invalid", "llhttp leaves the host to its caller"),
    ("host_mismatch", "llhttp leaves the host to its caller"),
    ("host_missing", "llhttp leaves the host to its caller"),
    ("host_repeated", "llhttp leaves the host to its caller"),
    ("method", "CONNECT and TRACE: llhttp leaves them to its caller"),
    ("request line", "our bound on the first line"),
    ("request_line", "many empty lines in front, several spaces, HTTP/0.9, RTSP, bytes behind an offer to upgrade"),
    ("status_line", "codes below 100, NUL in a reason, other versions, an empty line in front"),
    ("target", "llhttp leaves forms and fragments to its caller"),
    ("te_in_http10", "llhttp reads chunks in HTTP/1.0"),
    ("te_invalid", "empty codings; and answers whose last coding is not chunked, which llhttp reads up to the close"),
    ("te_unsupported", "llhttp leaves other codings to its caller"),
    ("too_many_fields", "our bound on fields"),
    ("too_many_interim", "our bound on interim answers"),
    ("trailers", "our bound on trailers"),
    ("unexpected_upgrade", "llhttp leaves it to its caller whether it asked for a tunnel"),
    ("version", "llhttp reads 0.9 and 2.0"),
];

/// A part of h11's words, and why we take what it refuses.
const H11_REFUSES: List = &[
    ("no request line received", "an empty line in front of a request, which RFC 9112 2.2 asks servers to ignore"),
    ("Only Transfer-Encoding: chunked is supported", "framing fields in trailers, which we drop unread"),
    ("closes behind HTTP/1.0", "h11 knows no keep-alive in HTTP/1.0"),
];

/// Likewise for llhttp.
const LLHTTP_REFUSES: List = &[
    (
        "HPE_CLOSED_CONNECTION",
        "bytes behind a message that closes, which we leave unread; it counts Proxy-Connection as well",
    ),
    ("Content-Length can't be present with Transfer-Encoding", "framing fields in trailers, which we drop unread"),
    ("HPE_UNEXPECTED_CONTENT_LENGTH", "equal lengths in an answer, which RFC 9112 6.3 permits and origins send"),
    ("Invalid character in Content-Length", "TAB around a length, which RFC 9110 5.6.3 permits"),
    ("Request has invalid `Transfer-Encoding`", "TAB around a coding, which RFC 9110 5.6.3 permits"),
    ("Invalid character in chunk extensions", "blanks in an extension, which RFC 9112 7.1.1 permits"),
    ("HPE_INVALID_METHOD", "methods that it does not know; ours are any tokens"),
    (
        "takes what is behind an offer for a tunnel",
        "an offer that we do not take; other than HTTP/2's it closes the connection",
    ),
];

/// One input: requests, or the answer to one of that method.
struct Input {
    name: String,
    method: Option<Method>,
    bytes: Vec<u8>,
}

fn inputs() -> Vec<Input> {
    let corpus = corpus::inputs().into_iter().filter_map(|(name, input)| {
        let (method, bytes) = oracle::choice(&input)?;
        Some(Input { name: format!("corpus {name}"), method, bytes: bytes.to_vec() })
    });
    let requests = requests::inputs().into_iter().map(|(name, bytes)| Input { name, method: None, bytes });
    let responses =
        responses::inputs().into_iter().map(|(name, method, bytes)| Input { name, method: Some(method), bytes });
    corpus.chain(requests).chain(responses).collect()
}

fn runs(program: &Path, flag: &str, code: &str) -> bool {
    let status = Command::new(program).args([flag, code]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// A Python with h11, if there is Python.
fn python() -> Option<PathBuf> {
    if !runs(Path::new("python3"), "-c", "import venv, ensurepip") {
        return None;
    }
    let venv = Path::new(env!("CARGO_TARGET_TMPDIR")).join("h11");
    let python = venv.join("bin/python");
    let version = H11.split("==").nth(1).unwrap();
    if !runs(&python, "-c", &format!("import h11; assert h11.__version__ == '{version}'")) {
        assert!(Command::new("python3").args(["-m", "venv"]).arg(&venv).status().unwrap().success());
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", H11];
        assert!(Command::new(&python).args(pip).status().unwrap().success(), "{H11} cannot be installed");
    }
    Some(python)
}

fn ask(program: &Path, script: &str, inputs: &[Input]) -> Vec<Value> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/h1").join(script);
    let mut child = Command::new(program).arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let lines: Vec<String> = inputs
        .iter()
        .map(|input| {
            let hex: String = input.bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            json!({"method": input.method.as_ref().map(Method::as_str), "bytes": hex}).to_string()
        })
        .collect();
    let mut stdin = child.stdin.take().unwrap();
    let writing = std::thread::spawn(move || lines.iter().for_each(|line| writeln!(stdin, "{line}").unwrap()));
    let output = child.wait_with_output().unwrap();
    writing.join().unwrap();
    assert!(output.status.success());
    let answers: Vec<Value> =
        String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers.len(), inputs.len());
    answers
}

fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| char::from(byte)).collect()
}

/// A message of theirs, with the names sorted as ours are.
fn shown(message: &Value) -> Value {
    let mut fields: Vec<(String, String)> = serde_json::from_value(message["fields"].clone()).unwrap();
    fields.sort_by(|(a, _), (b, _)| a.cmp(b));
    // Others give the target as it came; the origin form is ours.
    let start = message["start"].as_str().unwrap();
    let authority = ["http://", "https://"].into_iter().find_map(|scheme| {
        start.get(..scheme.len()).filter(|s| s.eq_ignore_ascii_case(scheme)).map(|_| &start[scheme.len()..])
    });
    let start = match authority.map(|rest| rest.find(['/', '?']).map_or("", |at| &rest[at..])) {
        None => start.to_owned(),
        Some(path) if path.starts_with('/') => path.to_owned(),
        Some(rest) => format!("/{rest}"),
    };
    json!([message["method"], start, lowered(fields), message["body"]])
}

/// h11 gives codings in lower case and one of several equal lengths.
fn lowered(fields: Vec<(String, String)>) -> Vec<(String, String)> {
    let mut fields: Vec<_> = fields
        .into_iter()
        .map(|(name, value)| match name.as_str() {
            "transfer-encoding" => (name, value.to_ascii_lowercase()),
            _ => (name, value),
        })
        .collect();
    fields.dedup_by(|a, b| a == b && a.0 == "content-length");
    fields
}

fn ours(message: &probe::Message) -> Value {
    let mut fields: Vec<_> =
        message.headers.iter().map(|(name, value)| (latin1(name).to_ascii_lowercase(), latin1(value))).collect();
    fields.sort_by(|(a, _), (b, _)| a.cmp(b));
    json!([message.method.as_str(), latin1(&message.start), lowered(fields), latin1(&message.body)])
}

fn reason(fault: &Kind) -> &'static str {
    match fault {
        Kind::Protocol { reason, .. } => reason,
        Kind::TooLarge { what, .. } => what,
        other => panic!("{other:?}"),
    }
}

#[test]
fn h11_frames_as_we_do_or_one_of_us_refuses() {
    let Some(python) = python() else {
        // Past the capture of the harness: a green run must show it.
        return writeln!(std::io::stderr(), "SKIPPED: h11: there is no python3 with venv").unwrap();
    };
    let (we, they) = compare(&python, "h11_reader.py", WE_REFUSE_H11, H11_REFUSES);
    for (word, why) in WE_REFUSE_H11 {
        assert!(we.contains(word), "no input shows any more that we refuse `{word}` and h11 does not ({why})");
    }
    for (part, why) in H11_REFUSES {
        assert!(they.contains(part), "no input shows any more that h11 refuses `{part}` and we do not ({why})");
    }
}

#[test]
fn llhttp_frames_as_we_do_or_one_of_us_refuses() {
    let node = Path::new("node");
    if !runs(node, "-e", "process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)") {
        return writeln!(std::io::stderr(), "SKIPPED: llhttp: there is no Node 20").unwrap();
    }
    compare(node, "node_reader.js", WE_REFUSE_LLHTTP, LLHTTP_REFUSES);
}

type List = &'static [(&'static str, &'static str)];

/// Fails on differences that are in no list; gives those entries that were seen.
fn compare(
    program: &Path,
    script: &str,
    we_refuse: List,
    they_refuse: List,
) -> (BTreeSet<&'static str>, BTreeSet<&'static str>) {
    let inputs = inputs();
    let (mut agreed, mut failed) = (0, Vec::new());
    let (mut we, mut they) = (BTreeSet::new(), BTreeSet::new());
    for (input, answer) in inputs.iter().zip(ask(program, script, &inputs)) {
        let limits = Limits::default();
        let transcript = match &input.method {
            None => probe::requests(&[&input.bytes], &limits),
            Some(method) => probe::answer(method, &[&input.bytes], &limits),
        };
        let mine: Vec<Value> = transcript.messages.iter().map(ours).collect();
        let theirs: Vec<Value> = answer["messages"].as_array().unwrap().iter().map(shown).collect();
        let both = mine.len().min(theirs.len());
        let fault = transcript.fault.as_ref().map(reason);
        let same = mine[..both] == theirs[..both];
        match (fault, answer["fault"].as_str()) {
            (Some(_), Some(_)) | (None, None) if same && mine.len() == theirs.len() => agreed += 1,
            // They refused a beginning whose rest we wait for, or what is behind a message that closes: nobody read more.
            (None, Some(_)) if same && mine.len() == theirs.len() => agreed += 1,
            (Some(reason), _) if same && theirs.len() >= mine.len() => {
                if !we_refuse.iter().any(|(word, _)| *word == reason) {
                    failed.push(format!("we alone refuse `{reason}`: {}", input.name));
                }
                we.insert(reason);
            }
            (_, Some(words)) if same && mine.len() >= theirs.len() => {
                match they_refuse.iter().find(|(part, _)| words.contains(part)) {
                    Some((part, _)) => drop(they.insert(*part)),
                    None => failed.push(format!("they alone refuse `{words}`: {}", input.name)),
                }
            }
            _ => failed.push(format!("{}: we read {mine:?} and {fault:?}, they {answer}", input.name)),
        }
    }
    assert!(failed.is_empty(), "{} differences:\n{}", failed.len(), failed.join("\n"));
    assert!(agreed > 200, "{agreed} of {}", inputs.len());
    (we, they)
}
