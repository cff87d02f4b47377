//! One request and its reply, with everything known about it, and the guard that always settles it.

use std::{
    hash::{BuildHasher, RandomState},
    ops::Range,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use codecs::{
    dialect::{ClientDialect, Context, Dialect, UrlParts},
    hub::{ApiError, Usage, recall::Kept},
    json::Raw,
    translate::Observed,
};
use proxy::{Headers, RequestHead};

use super::{
    Snapshot,
    attempt::Failure,
    intercept::Seen,
    paths::GeminiPath,
    record::{End, Record},
    signatures::Signatures,
};
use crate::{
    route::Candidate,
    settings::{KeyHash, Settings},
    telemetry::metrics::{FailureLabels, Gaps, Held, Metrics, RequestLabels},
    vendor::{Ask, Upstream},
};

/// One request, read and understood as far as routing needs.
#[derive(Debug)]
pub(super) struct Exchange {
    /// Our id of it, in a response header and in the log.
    pub id: String,
    /// The dialect of the body.
    pub asked: Dialect,
    /// The dialect of the answer: the same, but for programs whose own one is private.
    pub client: ClientDialect,
    /// What is particular about a call that was intercepted; `None` for one that was meant for us.
    pub intercepted: Option<Box<Seen>>,
    /// The client's head.
    pub head: RequestHead,
    /// The body as it came; kept for every attempt.
    pub body: Bytes,
    /// Model that the client named; empty if none.
    pub model: Arc<str>,
    /// Where the values of `model` members at the top of the body stand.
    pub model_spans: Places,
    /// Where the values of `stream` members stand.
    pub stream_spans: Places,
    /// Whether the client wants a stream.
    pub stream: bool,
    /// What is asked.
    pub ask: Ask,
    /// Whether a Gemini client wants a JSON array instead of events.
    pub json_array: bool,
    /// When the last byte of the body was there.
    pub complete: Instant,
    /// The caller's key, if it presented one.
    pub key: Option<Arc<KeyHash>>,
    /// Signatures of this caller's earlier answers.
    pub(super) memory: Memory,
    /// Settles the exchange when it ends, however it ends.
    pub ledger: Ledger,
}

impl Exchange {
    /// What the URL says besides the path.
    pub(super) fn url(&self) -> UrlParts<'_> {
        UrlParts {
            model: (self.asked == Dialect::Gemini).then_some(&*self.model),
            stream: self.stream,
            generate: self.ask == Ask::Generate,
        }
    }

    /// The dialect in which both sides may speak to each other as they are: none for a private one, and none for Copilot's
    /// chat, which reads thinking under other names.
    pub(super) fn forwards(&self) -> Option<Dialect> {
        self.client.public().filter(|_| !self.is_copilot_chat())
    }

    /// Whether the answer is a chat for Copilot.
    fn is_copilot_chat(&self) -> bool {
        self.intercepted.is_some() && self.client == ClientDialect::Public(Dialect::OpenAiChat)
    }

    /// The model's name in the client's words.
    pub(super) fn shown(&self) -> &str {
        self.intercepted.as_ref().map_or(&self.model, |seen| &seen.model)
    }

    /// Whether a chat client asked for the usage chunk. Reads the body.
    pub(super) fn wants_usage(&self) -> bool {
        Raw::parse(&self.body).is_ok_and(wants_usage)
    }

    /// Input tokens, as long as nobody has counted them: roughly four bytes to a token.
    pub(super) fn assumed_input(&self) -> u64 {
        self.body.len() as u64 / 4
    }

    /// The content type of a stream to this client.
    pub(super) fn stream_content_type(&self) -> &'static str {
        if self.json_array { "application/json" } else { self.client.stream_content_type() }
    }

    /// Lets go of the request: the answer has begun, and nobody else will be asked.
    pub(super) fn shed(&mut self) {
        self.head.headers = Headers::new();
        self.head.target = Bytes::new();
        self.head.authority = Bytes::new();
        self.body = Bytes::new();
    }

    /// Notes what was read of the request.
    pub(super) fn begin(&mut self, snapshot: &Snapshot) {
        self.ledger.assumed_input = snapshot.settings.estimate_usage.then_some(self.assumed_input());
        if let Some(record) = &mut self.ledger.record {
            let through_alias = snapshot.catalog.is_alias(&self.model);
            record.started(&self.model, through_alias, self.stream, self.body.len());
        }
    }

    /// Facts for the codecs. `include_usage` and tool names are added by those who know them.
    pub(super) fn context(&self, settings: &Settings) -> Context {
        Context {
            // Only shown until the upstream says better.
            input_tokens_estimate: self.assumed_input(),
            estimate_usage: settings.estimate_usage,
            early_calls: settings.early_calls,
            now: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs()),
            new_id: unique(),
            generate: self.ask == Ask::Generate,
            json_array: self.json_array,
            keep_riders: true,
            model: self.shown().to_owned(),
            include_usage: self.is_copilot_chat(),
            copilot: self.is_copilot_chat(),
            cursor: self.intercepted.as_ref().and_then(|seen| seen.facts.clone()),
            conversation: self.intercepted.as_ref().and_then(|seen| seen.conversation.clone()),
            ..Context::default()
        }
    }
}

/// The empty text, shared: a model that nobody named, and to the store of signatures the caller without a key.
pub(super) static NOTHING: LazyLock<Arc<str>> = LazyLock::new(|| Arc::from(""));

/// One caller's part of the store of signatures.
#[derive(Debug)]
pub(super) struct Memory {
    pub(super) store: Signatures,
    pub(super) caller: Arc<str>,
}

impl Memory {
    /// What belongs to a call in history.
    pub(super) fn recall(&self, call_id: &str) -> Option<Arc<Kept>> {
        self.store.recall(&self.caller, call_id, Instant::now())
    }

    /// Keeps what an answer said before its calls.
    pub(super) fn keep(&self, kept: Vec<Kept>) {
        if !kept.is_empty() {
            self.store.keep(&self.caller, kept, Instant::now());
        }
    }
}

/// Whether the body of a chat request asks for the usage chunk.
pub(super) fn wants_usage(body: Raw<'_>) -> bool {
    body.at(&["stream_options", "include_usage"]).and_then(Raw::as_bool).unwrap_or(false)
}

/// Byte ranges in a body. There is mostly one, which needs no memory of its own.
#[derive(Debug, Default)]
pub(super) struct Places {
    first: Option<Range<usize>>,
    more: Vec<Range<usize>>,
}

impl Places {
    fn push(&mut self, place: Range<usize>) {
        match &self.first {
            None => self.first = Some(place),
            Some(_) => self.more.push(place),
        }
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// All of them, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Range<usize>> {
        self.first.iter().chain(&self.more)
    }
}

/// What routing needs of a body: the members `model` and `stream` at its top.
#[derive(Debug, Default)]
pub(super) struct Scanned {
    /// Value of `model`.
    pub model: Option<Arc<str>>,
    /// Where its values stand.
    pub model_spans: Places,
    /// Value of `stream`.
    pub stream: Option<bool>,
    /// Where its values stand.
    pub stream_spans: Places,
}

/// Scans the top of a body. `Err` says what is wrong with the two members, if anything.
pub(super) fn scan(raw: Raw<'_>, body: &[u8]) -> Result<Scanned, (&'static str, String)> {
    let mut scanned = Scanned::default();
    for (key, value) in raw.members() {
        let span = || value.offset_in(body).map(|at| at..at + value.as_bytes().len());
        if key.is("model") {
            let model = value.as_text();
            if model.is_none() && !value.is_null() {
                return Err(("model", format!("model must be a string, not {}", value.kind().name())));
            }
            scanned.model = model.map(|text| text.plain().into());
            span().into_iter().for_each(|place| scanned.model_spans.push(place));
        } else if key.is("stream") {
            scanned.stream = value.as_bool();
            if scanned.stream.is_none() && !value.is_null() {
                return Err(("stream", format!("stream must be a boolean, not {}", value.kind().name())));
            }
            span().into_iter().for_each(|place| scanned.stream_spans.push(place));
        }
    }
    Ok(scanned)
}

/// The path's wishes over the body's, for Gemini.
pub(super) fn gemini(path: Option<GeminiPath>, scanned: &mut Scanned) {
    if let Some(path) = path {
        scanned.model = Some(path.model.into());
        scanned.stream = Some(path.stream);
        scanned.model_spans = Places::default();
        scanned.stream_spans = Places::default();
    }
}

/// Counts an exchange in and, when it is dropped, out: also when the client left or a codec failed.
#[derive(Debug)]
pub(super) struct Ledger {
    metrics: Arc<Metrics>,
    client: Dialect,
    /// Who answers, if somebody was asked.
    upstream: Option<Arc<Upstream>>,
    /// `ok`, an error kind, or `gone` until somebody knows better.
    outcome: &'static str,
    usage: Option<(Usage, bool)>,
    /// Whether `error` broke an answer off that the client has seen the beginning of.
    broken: bool,
    /// Gaps of the stream.
    pub gaps: Gaps,
    first_token: Option<Duration>,
    added: Option<Duration>,
    /// The error that the answer ended with.
    error: Option<ApiError>,
    /// Bytes of the body that the client got.
    bytes_out: u64,
    /// Input tokens to assume where an answer is cut off before it says how many; `None` if nothing is to be assumed.
    assumed_input: Option<u64>,
    /// For the log and those who watch, if there are any.
    record: Option<Box<Record>>,
}

impl Ledger {
    /// Opens the books.
    pub(super) fn open(metrics: &Arc<Metrics>, client: Dialect, record: Option<Box<Record>>) -> Self {
        metrics.in_flight.inc();
        Self {
            metrics: metrics.clone(),
            client,
            upstream: None,
            outcome: "gone",
            usage: None,
            broken: false,
            gaps: Gaps::default(),
            first_token: None,
            added: None,
            error: None,
            bytes_out: 0,
            assumed_input: None,
            record,
        }
    }

    /// Counts a stream whose beginning is held back, until what is returned is dropped.
    pub(super) fn holding(&self) -> Held {
        Held::on(&self.metrics.holding)
    }

    /// Notes who is asked from `now` on, and so who answers.
    pub(super) fn asked(&mut self, candidate: &Candidate, now: Instant) {
        self.upstream = Some(candidate.upstream.clone());
        if let Some(record) = &mut self.record {
            record.asked(candidate, now);
        }
    }

    /// Notes a failed attempt.
    pub(super) fn attempt_failed(&self, provider: &str, scope: &'static str, kind: &'static str) {
        let labels = FailureLabels { provider: provider.to_owned(), scope, kind };
        self.metrics.failures.get_or_create(&labels).inc();
    }

    /// Writes the row of an attempt after which the next candidate may be asked.
    pub(super) fn attempt_over(&mut self, failure: &Failure) {
        if let Some(record) = &mut self.record {
            record.failed(&failure.error, failure.scope);
        }
    }

    /// Notes an error that the client got.
    pub(super) fn fault(&mut self, error: &ApiError) {
        self.outcome = error.kind.name();
        self.error = Some(error.clone());
    }

    /// Takes it out of the books of usage: nobody was asked, and somebody else answers.
    pub(super) fn withdraw(&mut self) {
        self.outcome = "passed";
        self.record = None;
    }

    /// Notes how it ended.
    pub(super) fn outcome(&mut self, outcome: &'static str) {
        self.outcome = outcome;
    }

    /// Notes an error that broke an answer off behind its beginning.
    pub(super) fn broke(&mut self, error: &ApiError) {
        self.fault(error);
        self.broken = true;
    }

    /// Why the answer broke off behind its beginning, if it did.
    pub(super) fn broken(&self) -> Option<&ApiError> {
        self.error.as_ref().filter(|_| self.broken)
    }

    /// Whether it has ended well.
    pub(super) fn is_ok(&self) -> bool {
        self.outcome == "ok"
    }

    /// Notes what was seen of the answer.
    pub(super) fn observed(&mut self, observed: &Observed) {
        if let Some(usage) = observed.usage {
            self.counted(usage, observed.estimated);
        }
    }

    /// Notes token counts, and whether they are an estimate.
    pub(super) fn counted(&mut self, usage: Usage, estimated: bool) {
        self.usage = Some((usage, estimated));
    }

    /// Notes what was seen of an answer that was cut off. Its provider will want money for what it has said; where it did
    /// not come to say how much that is, it is assumed.
    pub(super) fn cut_off(&mut self, observed: &Observed) {
        self.observed(observed);
        let Some(input) = self.assumed_input.filter(|_| observed.content) else { return };
        let said = observed.output_chars.div_ceil(4);
        let known = observed.usage.filter(Usage::is_known);
        let mut usage = known.unwrap_or(Usage { uncached: input, ..Usage::default() });
        if known.is_none() || usage.output < said {
            usage.output = usage.output.max(said);
            self.usage = Some((usage, true));
        }
    }

    /// Notes the time to the first content, and our own share of the way to it.
    pub(super) fn first_content(&mut self, since_request: Duration, added: Duration) {
        self.first_token = Some(since_request);
        self.added = Some(added);
        if let Some(record) = &self.record {
            record.first(since_request);
        }
    }

    /// Notes bytes that the client got.
    pub(super) fn sent(&mut self, bytes: u64) {
        self.bytes_out += bytes;
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        let metrics = &self.metrics;
        metrics.in_flight.dec();
        match &self.upstream {
            Some(upstream) => {
                let books = &upstream.books;
                books.finished(metrics, self.client, self.outcome);
                if let Some((usage, estimated)) = self.usage {
                    books.count_tokens(metrics, &usage, estimated);
                }
                if let Some(time) = self.first_token {
                    books.first_token(metrics, time);
                }
            }
            None => {
                let labels =
                    RequestLabels { client: self.client.name(), provider: String::new(), outcome: self.outcome };
                metrics.requests.get_or_create(&labels).inc();
            }
        }
        if let Some(time) = self.added {
            metrics.added.observe(time.as_secs_f64());
        }
        self.gaps.flush(&metrics.gap);
        if let Some(record) = self.record.take() {
            record.settle(&End {
                outcome: self.outcome,
                error: self.error.as_ref(),
                usage: self.usage,
                first: self.first_token,
                added: self.added,
                bytes_out: self.bytes_out,
            });
        }
    }
}

/// All pairs of digits of base36, the low one first: half as many divisions.
const PAIRS: [[u8; 2]; 36 * 36] = {
    const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let mut pairs = [[0; 2]; 36 * 36];
    let mut at = 0;
    while at < pairs.len() {
        pairs[at] = [DIGITS[at % 36], DIGITS[at / 36]];
        at += 1;
    }
    pairs
};

/// 24 characters of base36 that no other call in this process returns, and that are unlikely to be met elsewhere.
pub(super) fn unique() -> String {
    static STATE: AtomicU64 = AtomicU64::new(0);
    static SEED: std::sync::OnceLock<u64> = std::sync::OnceLock::new();
    // Ids need not be secret. The keys of std's hash maps come from the system's randomness; the cryptographic
    // generator would spend a tenth of a second on its own seed, in the first request.
    let seed = *SEED.get_or_init(|| RandomState::new().hash_one(SystemTime::now()));
    let count = STATE.fetch_add(1, Ordering::Relaxed);
    let mut digits = [0u8; 24];
    // Two mixed words: the second one holds the counter itself, so that two ids can never be equal.
    for (half, word) in digits.chunks_mut(12).zip([mix(seed ^ count), mix(!seed).wrapping_add(count)]) {
        let mut rest = word;
        for pair in half.chunks_mut(2) {
            pair.copy_from_slice(&PAIRS[(rest % (36 * 36)) as usize]);
            rest /= 36 * 36;
        }
    }
    // Digits are ASCII.
    std::str::from_utf8(&digits).unwrap_or_default().to_owned()
}

/// The finaliser of SplitMix64.
fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn ids_do_not_repeat() {
        let ids: std::collections::HashSet<_> = (0..10_000).map(|_| unique()).collect();
        assert_eq!(ids.len(), 10_000);
        assert!(ids.iter().all(|id| id.len() == 24 && id.bytes().all(|b| b.is_ascii_alphanumeric())));
    }

    #[test]
    fn the_scan_finds_every_occurrence() {
        let body = br#"{"model":"a", "x":{"model":"no"}, "stream":true,"model" : "b"}"#;
        let scanned = scan(Raw::parse(body).unwrap(), body).unwrap();
        assert_eq!(scanned.model.as_deref(), Some("b"));
        assert_eq!(scanned.stream, Some(true));
        let texts: Vec<_> = scanned.model_spans.iter().map(|span| &body[span.clone()]).collect();
        assert_eq!(texts, [&b"\"a\""[..], b"\"b\""]);
        for (body, expected) in [
            (&br#"{"model":1}"#[..], "model must be a string, not a number"),
            (br#"{"stream":"yes"}"#, "stream must be a boolean, not a string"),
        ] {
            assert_eq!(scan(Raw::parse(body).unwrap(), body).unwrap_err().1, expected);
        }
        let body = br#"{"model":null,"stream":null}"#;
        assert_eq!(scan(Raw::parse(body).unwrap(), body).unwrap().stream, None);
    }

    #[test]
    fn a_dropped_ledger_is_counted() {
        let metrics = Arc::new(Metrics::default());
        drop(Ledger::open(&metrics, Dialect::Gemini, None));
        let text = metrics.render();
        assert!(text.contains("client=\"gemini\",provider=\"\",outcome=\"gone\"} 1"), "{text}");
        assert!(text.contains("flow_router_in_flight 0"), "{text}");
    }
}
