//! The gateway's side of interception: a call that was meant for a vendor goes through everything that a call of ours does,
//! and its answer is one that the vendor's own program understands.
//!
//! ```text
//!   head, body ─▶ Wire::read ─▶ Transcript ─▶ target? ─▶ route::plan ─▶ attempts ─▶ relay ─▶ program
//!                    │ no such chat   │ none      │ none        │ all failed
//!                    ╰────────────────┴───────────┴─────────────┴──▶ Back: the call, untouched, with what was read
//! ```
//!
//! A request of a private dialect is written once as a body of a public one ([`Transcript`]), so that routing, attempts and
//! records meet nothing new. Which hosts and paths are looked at, which model leads where, and what happens to a call that
//! comes back, is the business of those who call.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Instant,
};

use bytes::{Bytes, BytesMut};
use codecs::{
    dialect::{ClientDialect, Dialect, Transcript, cloud_code, cursor, kiro},
    frame::has_first_envelope,
    hub::{ApiError, ErrorKind, names::uuid},
    json::Raw,
};
use proxy::{Call, Fresh, Headers, Kind, RequestHead};

use super::{
    Gateway, Snapshot, Unanswered,
    attempt::malformed,
    caller::{self, Caller},
    exchange::{self, Exchange, Ledger},
    give_up, paths,
    record::Asked,
    relay, reply, scratch, understood, wire_error,
};
use crate::{store::usage::Endpoint, vendor::Ask};

/// What a call is, by the path that it came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// Antigravity: an envelope around a Gemini request. The path's verb says whether a stream is wanted, and the query
    /// in which form.
    CloudCode,
    /// Cursor: a call whose first message asks a model. Its client may keep its side open: no more is read than that
    /// message.
    Cursor(cursor::Rpc),
    /// Kiro: `GenerateAssistantResponse`.
    Kiro,
    /// A public dialect at a path of the tool's own: Copilot's three, and Gemini at Antigravity. Gemini's path is read as
    /// at our own.
    Public(Dialect),
}

/// What is said about a call that was intercepted.
pub struct Intercepted<'t> {
    /// The tool, as the log of usage names it: `antigravity`, `copilot`, `cursor`, `kiro`.
    pub tool: &'t Arc<str>,
    /// What the call is.
    pub wire: Wire,
    /// Our model, alias or combo for the tool's name of a model; `None` leaves the call to the vendor.
    pub target: &'t (dyn Fn(&str) -> Option<String> + Send + Sync),
    /// Whether a call that no provider could answer is given back, too, instead of being answered with an error.
    pub fails_open: bool,
}

/// What became of an intercepted call.
pub enum Course<'a> {
    /// It was answered, or its client left.
    Answered,
    /// It is the vendor's.
    Back(Box<Back<'a>>),
}

/// A call that nothing was done to, but that its request was read.
pub struct Back<'a> {
    /// The call; its head is beside it.
    pub call: Call<'a, Fresh>,
    /// The head as it came.
    pub head: RequestHead,
    /// What was read of the body, as it came and in order: all of it, or of Cursor's the beginning.
    pub read: Vec<Bytes>,
    /// Why.
    pub why: Why,
}

/// Why a call is given back.
#[derive(Debug, Clone, PartialEq)]
pub enum Why {
    /// No target for this name of a model.
    Unmapped(String),
    /// The body is not what this path should have. Several in a row mean that the tool has changed.
    Unreadable(String),
    /// A form of it that we do not answer: completion while one types, where every millisecond counts; and not yet, an
    /// agent's turn whose tools run in the editor while the answer waits.
    Unsupported(&'static str),
    /// A target, but nobody there who could be asked.
    NoCandidate(String),
    /// All who were asked have failed, the last one like this.
    Failed(String),
}

/// What an exchange keeps of it.
#[derive(Debug)]
pub(super) struct Seen {
    /// The model in the tool's words, which the answer repeats.
    pub model: Arc<str>,
    /// The tool's id of the conversation.
    pub conversation: Option<Arc<str>>,
    /// Facts of a request of Cursor's.
    pub facts: Option<Arc<cursor::Facts>>,
    /// A field of the answer that the tool expects.
    field: Option<(&'static str, Bytes)>,
}

impl Seen {
    /// Adds what the tool expects to see in the head of an answer.
    pub(super) fn mark(&self, headers: &mut Headers) {
        if let Some((name, value)) = &self.field {
            headers.set(name, value.clone());
        }
    }
}

impl Wire {
    /// The dialect of the answer.
    pub fn client(self) -> ClientDialect {
        match self {
            Self::CloudCode => ClientDialect::CloudCode,
            Self::Cursor(rpc) => ClientDialect::Cursor(rpc),
            Self::Kiro => ClientDialect::Kiro,
            Self::Public(dialect) => dialect.into(),
        }
    }

    /// Reads a request.
    fn read(self, head: &RequestHead, body: &Bytes) -> Result<Read, ApiError> {
        match self {
            Self::CloudCode => {
                let (transcript, completes) = transcribed(body, |raw| {
                    let purpose = cloud_code::request::purpose(raw);
                    let completes = purpose.is_some_and(|purpose| purpose.plain().starts_with("tab"));
                    Ok((cloud_code::request::transcribe(raw)?, completes))
                })?;
                let stream = head.path().ends_with(b":streamGenerateContent");
                let unsupported = completes.then_some("completion while one types");
                let array = stream && !paths::wants_events(head.query());
                Ok(Read { unsupported, ..Read::new(transcript, stream, array) })
            }
            Self::Cursor(rpc) => {
                let (transcript, facts) = cursor::request::transcribe(body, rpc)?;
                // Its answer may have calls that the client answers on the same stream.
                let unsupported = (facts.two_way && facts.has_tools).then_some("a turn of an agent with tools");
                Ok(Read { facts: Some(Arc::new(facts)), unsupported, ..Read::new(transcript, true, false) })
            }
            Self::Kiro => Ok(Read::new(transcribed(body, kiro::request::transcribe)?, true, false)),
            Self::Public(dialect) => public(dialect, head, body),
        }
    }
}

/// A request that was read.
struct Read {
    asked: Dialect,
    body: Bytes,
    scanned: exchange::Scanned,
    json_array: bool,
    conversation: Option<String>,
    facts: Option<Arc<cursor::Facts>>,
    /// What it is, where we do not answer such a one.
    unsupported: Option<&'static str>,
}

impl Read {
    fn new(transcript: Transcript, stream: bool, json_array: bool) -> Self {
        let Transcript { dialect, body, model, conversation } = transcript;
        let scanned =
            exchange::Scanned { model: Some(model.into()), stream: Some(stream), ..exchange::Scanned::default() };
        Self { asked: dialect, body: body.into(), scanned, json_array, conversation, facts: None, unsupported: None }
    }
}

fn transcribed<T>(body: &Bytes, transcribe: fn(Raw<'_>) -> Result<T, ApiError>) -> Result<T, ApiError> {
    scratch::read(body, |raw| transcribe(raw.map_err(|error| malformed(&error))?))
}

fn public(dialect: Dialect, head: &RequestHead, body: &Bytes) -> Result<Read, ApiError> {
    let path = match dialect {
        Dialect::Gemini => match super::find(head) {
            Ok(paths::Operation::Chat(Dialect::Gemini, path)) => path,
            _ => return Err(ApiError::no_such_path("this path is none of Gemini's")),
        },
        _ => None,
    };
    let json_array = path.as_ref().is_some_and(|path| path.wants_array(head.query()));
    let scanned = understood(body, dialect, path)?;
    Ok(Read {
        asked: dialect,
        body: body.clone(),
        scanned,
        json_array,
        conversation: None,
        facts: None,
        unsupported: None,
    })
}

impl Gateway {
    /// Answers a call that was meant for a vendor, or gives it back.
    ///
    /// The head may have been taken out of the call already; it is `head` that counts.
    pub async fn intercept<'a>(
        &self,
        mut call: Call<'a, Fresh>,
        head: RequestHead,
        intercepted: Intercepted<'_>,
    ) -> Course<'a> {
        let snapshot = self.shared.snapshot();
        let client = intercepted.wire.client();
        let id = exchange::unique();
        let raw = match received(intercepted.wire, &mut call, snapshot.settings.max_body).await {
            Ok(raw) => raw,
            Err(error) => {
                // What was read is lost: nobody else can be asked.
                reply::error(call, client, &wire_error(&error), &id).await;
                return Course::Answered;
            }
        };
        let back = |call, head, why| Course::Back(Box::new(Back { call, head, read: vec![raw.clone()], why }));
        let read = match read(intercepted.wire, &head, &raw, snapshot.settings.max_body) {
            Ok(read) => read,
            Err(error) => return back(call, head, Why::Unreadable(error.message)),
        };
        let named = read.scanned.model.clone().unwrap_or_else(|| exchange::NOTHING.clone());
        let Some(target) = (intercepted.target)(&named) else {
            return back(call, head, Why::Unmapped(named.as_ref().to_owned()));
        };
        if let Some(what) = read.unsupported {
            return back(call, head, Why::Unsupported(what));
        }
        let mut exchange = Box::new(self.intercepted(&call, &head, &intercepted, read, (id, named, target), &snapshot));
        let candidates = snapshot.catalog.plan(&exchange.model, &self.shared.health, exchange.complete);
        let candidates = match candidates {
            Ok(candidates) => candidates,
            Err(miss) if intercepted.fails_open => {
                exchange.ledger.withdraw();
                return back(call, head, Why::NoCandidate(miss.message));
            }
            Err(miss) => {
                let error = ApiError::new(ErrorKind::NotFound, miss.message);
                exchange.ledger.fault(&error);
                reply::error(call, client, &shielded(&error), &exchange.id).await;
                return Course::Answered;
            }
        };
        let unanswered = self.ask(call, &mut exchange, &candidates, &snapshot.settings).await;
        let Some(unanswered) = unanswered else { return Course::Answered };
        exchange.ledger.fault(&unanswered.failure.error);
        if intercepted.fails_open {
            let Unanswered { call, failure, .. } = unanswered;
            return back(call, head, Why::Failed(failure.error.message));
        }
        give_up(&mut exchange, unanswered).await;
        Course::Answered
    }

    /// The exchange of a call whose target is known.
    fn intercepted(
        &self,
        call: &Call<'_, Fresh>,
        head: &RequestHead,
        intercepted: &Intercepted<'_>,
        read: Read,
        (id, named, target): (String, Arc<str>, String),
        snapshot: &Snapshot,
    ) -> Exchange {
        let shared = &*self.shared;
        let Read { asked, body, scanned, json_array, conversation, facts, .. } = read;
        let asks = |ip| Asked {
            id: &id,
            dialect: asked,
            endpoint: Endpoint::Chat,
            key: None,
            ip,
            caller: Caller { family: Some(intercepted.tool.clone()), ..caller::caller(&head.headers) },
            received: call.received(),
        };
        let record = self.record(call, head, asks, snapshot);
        let client = intercepted.wire.client();
        let mut own = head.clone();
        strip(&mut own.headers);
        let mut exchange = Exchange {
            asked,
            client,
            intercepted: Some(Box::new(Seen {
                model: named,
                conversation: conversation.map(Arc::from),
                facts,
                field: field(client, head, &id),
            })),
            head: own,
            body,
            model: target.into(),
            model_spans: scanned.model_spans,
            stream_spans: scanned.stream_spans,
            stream: scanned.stream.unwrap_or(false),
            ask: Ask::Chat { stream: false },
            json_array,
            complete: Instant::now(),
            memory: exchange::Memory { store: shared.signatures.clone(), caller: intercepted.tool.clone() },
            key: None,
            ledger: Ledger::open(&shared.metrics, asked, record),
            id,
        };
        exchange.begin(snapshot);
        exchange
    }
}

/// The body: all of it, or the first message of a stream whose client waits for an answer before it goes on.
async fn received(wire: Wire, call: &mut Call<'_, Fresh>, limit: usize) -> Result<Bytes, Kind> {
    if !matches!(wire, Wire::Cursor(_)) {
        return call.body(limit).await.map_err(|error| error.kind);
    }
    let mut read = BytesMut::new();
    // What is no envelope is not waited for.
    while let (true, Ok(false)) = (read.len() <= limit, has_first_envelope(&read, limit)) {
        match call.chunk().await.map_err(|error| error.kind)? {
            Some(chunk) => read.extend_from_slice(&chunk),
            None => break,
        }
    }
    Ok(read.freeze())
}

/// Reads a request; a panic of a codec is the end of nothing but this attempt.
fn read(wire: Wire, head: &RequestHead, raw: &Bytes, limit: usize) -> Result<Read, ApiError> {
    let plain = relay::inflate::whole(&head.headers, raw, limit)
        .map_err(|error| ApiError::new(ErrorKind::Invalid, error.to_string()))?;
    catch_unwind(AssertUnwindSafe(|| wire.read(head, &plain)))
        .unwrap_or_else(|_| Err(ApiError::new(ErrorKind::Api, "the request could not be read")))
}

/// An error in words that the tool does not take for one of its own account: 401 logs its user out, 402 and 403 tell of a
/// quota or a plan, 404 of a model that the tool has chosen from its own list.
pub(super) fn shielded(error: &ApiError) -> ApiError {
    let kind = match error.kind {
        ErrorKind::Auth | ErrorKind::Billing | ErrorKind::Permission | ErrorKind::NotFound => ErrorKind::Api,
        other => other,
    };
    ApiError { kind, status: None, ..error.clone() }
}

/// The field by which a tool finds the call in its own log.
fn field(client: ClientDialect, head: &RequestHead, id: &str) -> Option<(&'static str, Bytes)> {
    match client {
        ClientDialect::Kiro => Some(("x-amzn-requestid", uuid(id).into())),
        ClientDialect::Public(_) | ClientDialect::Cursor(_) => {
            Some(("x-request-id", head.headers.get("x-request-id")?.clone()))
        }
        ClientDialect::CloudCode => None,
    }
}

/// Beginnings of the fields that say who, where and with which licence the tool is. They are for its vendor alone.
const OWN: [&str; 16] = [
    "authorization",
    "cookie",
    "x-cursor-",
    "x-session-id",
    "x-client-key",
    "x-amz",
    "amz-sdk-",
    "x-goog-",
    "x-github-",
    "copilot-",
    "editor-",
    "vscode-",
    "x-vscode-",
    "openai-intent",
    "x-initiator",
    "x-interaction-",
];

/// Takes them out.
fn strip(headers: &mut Headers) {
    let begins =
        |name: &[u8], own: &str| name.get(..own.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(own.as_bytes()));
    headers.retain(|name, _| !OWN.iter().any(|own| begins(name, own)));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_for_the_vendor_alone_goes_no_further() {
        let mut headers = Headers::new();
        let gone = [
            "Authorization",
            "Cookie",
            "X-Cursor-Checksum",
            "x-session-id",
            "X-Client-Key",
            "X-Amz-Target",
            "x-amzn-codewhisperer-profile-arn",
            "Amz-Sdk-Invocation-Id",
            "X-Goog-User-Project",
            "X-GitHub-Api-Version",
            "Copilot-Integration-Id",
            "Editor-Version",
            "VScode-MachineId",
            "OpenAI-Intent",
            "X-Initiator",
            "X-Interaction-Id",
        ];
        let stays = ["Content-Type", "Accept", "User-Agent", "anthropic-version", "x-am"];
        for name in gone.into_iter().chain(stays) {
            headers.append(name, "1");
        }
        strip(&mut headers);
        let left: Vec<_> = headers.iter().map(|(name, _)| String::from_utf8_lossy(name).into_owned()).collect();
        assert_eq!(left, stays);
    }

    #[test]
    fn errors_of_our_account_are_none_of_the_tools() {
        let error = |kind| ApiError { status: Some(401), ..ApiError::new(kind, "why") };
        for kind in [ErrorKind::Auth, ErrorKind::Billing, ErrorKind::Permission, ErrorKind::NotFound] {
            let shown = shielded(&error(kind));
            assert_eq!((shown.kind, shown.status, shown.message.as_str()), (ErrorKind::Api, None, "why"));
        }
        for kind in [ErrorKind::RateLimit, ErrorKind::Invalid, ErrorKind::TooLarge, ErrorKind::Overloaded] {
            assert_eq!(shielded(&error(kind)).kind, kind);
        }
    }
}
