//! The way of a request: rules, row, right, rate, query, body, repetition, handler, answer.

use std::time::{Duration, Instant};

use aws_lc_rs::digest;
use bytes::Bytes;
use proxy::{Call, Committed, Fresh, Kind, Method, RequestHead, ResponseHead, StatusCode};
use serde_json::{Map, Value};
use tracing::debug;

use super::{
    Api, Payload, Problem, Reply, Request,
    auth::{Caller, Capability, Principal},
    idempotency::{Begun, Kept},
    limits::Kind as Rate,
    route::{Body, Content, Route},
    router::{self, Found},
    schema::{Needs, Schema},
};
use crate::{store::new_id, usage::live::now_ms};

/// Silence in a stream of events after which a comment is sent.
const PING: Duration = Duration::from_secs(15);
/// Longest `X-Request-Id` and `Idempotency-Key` that is taken, in bytes.
const WORD_BYTES: usize = 255;
/// Shortest `Idempotency-Key`, in bytes.
const KEY_BYTES: usize = 8;

impl Api {
    /// Whether a request is for the management API. `GET /api/tags` is Ollama's as well: who may not manage gets the
    /// gateway's answer.
    pub fn wants(&self, caller: &Caller<'_>) -> bool {
        let Ok(path) = std::str::from_utf8(caller.head.path()) else { return false };
        if !router::is_ours(path) {
            return false;
        }
        let reads = matches!(caller.head.method, Method::GET | Method::HEAD);
        if path.trim_end_matches('/') != "/api/tags" || !reads {
            return true;
        }
        self.auth().decide(caller, &self.live().snapshot(), super::route::ADMIN, now_ms()).is_ok()
    }

    /// Answers a request.
    pub async fn serve(&self, mut call: Call<'_, Fresh>) {
        let head = call.take_head();
        let id = request_id(&head);
        let method = head.method.clone();
        let path = String::from_utf8_lossy(head.path()).into_owned();
        let outcome = self.answered(&mut call, head, &id).await;
        let (status, code) = match &outcome {
            Ok(answered) => (answered.reply.status, ""),
            Err(refused) => (refused.problem.status, refused.problem.code),
        };
        debug!(%id, %method, path, status, code, "management request");
        let is_head = method == Method::HEAD;
        match outcome {
            Ok(answered) => self.send(call, answered, &id, is_head).await,
            Err(Refused { problem, allow }) => {
                let (mut head, document) = problem.answer(&id);
                if let Some(allow) = allow {
                    head = head.with("allow", allow);
                }
                let head = common(head, &id).with("content-type", JSON);
                drop(call.respond(head, Bytes::from(document.to_string())).await);
            }
        }
    }

    /// Everything but the sending.
    async fn answered(&self, call: &mut Call<'_, Fresh>, head: RequestHead, id: &str) -> Result<Answered, Refused> {
        let now = now_ms();
        let snapshot = self.live().snapshot();
        let (peer, local) = (call.peer(), call.local());
        let caller = Caller { head: &head, peer, local };
        let path = std::str::from_utf8(head.path()).unwrap_or_default();
        let (route, params) = match router::find(&head.method, path) {
            Found::Route(route, params) => (route, params),
            missed => {
                // The rules hold for what is not there, too.
                self.auth().decide(&caller, &snapshot, Capability::Public, now).map_err(Problem::from)?;
                return missed_answer(missed, &head);
            }
        };
        let principal = self.auth().decide(&caller, &snapshot, route.capability, now).map_err(Problem::from)?;
        self.auth().touch(&principal, self.live().store()).await;
        let who = match &principal {
            Principal::Nobody => format!("none:{}", caller.address(&snapshot.settings)),
            known => known.actor(),
        };
        let streams = route.replies.iter().any(|(_, content)| matches!(content, Content::Events));
        let rate = if route.changes { Rate::Change } else { Rate::Read };
        self.shared.limits.admit(&who, rate, Instant::now())?;
        let permit = if streams { Some(self.shared.limits.stream(&who)?) } else { None };
        let query = parse_query(route, head.query())?;
        let key = idempotency_key(route, &head)?;
        let bytes = read(call, route, &head).await?;
        let body = understood(route, &bytes)?;
        let request = Request {
            id: id.to_owned(),
            route,
            head,
            peer,
            local,
            params,
            query,
            body,
            bytes: if matches!(route.body, Body::Long(_)) { bytes.clone() } else { Bytes::new() },
            principal,
            snapshot,
            now_ms: now,
        };
        let repeated = match key {
            None => None,
            Some(key) => {
                match self.shared.repeats.begin(&who, &key, fingerprint(&request.head, &bytes), Instant::now())? {
                    Begun::Again(kept) => return Ok(Answered { reply: kept.reply(), permit }),
                    Begun::New(guard) => guard,
                }
            }
        };
        drop(bytes);
        let handled = (route.handler)(self, &request);
        let result = if route.changes {
            // What has begun is brought to an end, also for a caller that has left.
            handled.await
        } else {
            tokio::select! {
                result = handled => result,
                () = call.gone() => Err(Problem::new(499, "client_gone", "the client has left")),
            }
        };
        if let Err(problem) = &result {
            debug_assert!(
                problem.status == 499 || route.problems().contains(&problem.status),
                "{} is not said to answer {problem:?}",
                route.operation
            );
        }
        let reply = result?;
        debug_assert!(is_declared(route, &reply), "{} answers otherwise than it says", route.operation);
        if let (Some(guard), Some(kept)) = (repeated, Kept::of(&reply)) {
            guard.finish(kept);
        }
        Ok(Answered { reply, permit })
    }

    async fn send(&self, call: Call<'_, Fresh>, answered: Answered, id: &str, is_head: bool) {
        let Answered { reply, permit } = answered;
        let status = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut head = common(ResponseHead::new(status), id);
        for (name, value) in reply.headers {
            head = head.with(name, value);
        }
        // The client may be gone whenever something is sent; there is nobody left to tell.
        match reply.payload {
            Payload::Empty => drop(call.respond(head, Bytes::new()).await),
            Payload::Json(document) => {
                let body = Bytes::from(document.to_string());
                drop(call.respond(head.with("content-type", JSON), body).await);
            }
            Payload::Bytes(media, body) => drop(call.respond(head.with("content-type", media), body).await),
            Payload::Stream(media, _) if is_head => {
                drop(call.respond(head.with("content-type", media), Bytes::new()).await);
            }
            Payload::Events(_) if is_head => {
                drop(call.respond(head.with("content-type", EVENTS), Bytes::new()).await);
            }
            Payload::Stream(media, mut pieces) => {
                let Ok(mut call) = call.commit(head.with("content-type", media), Bytes::new()).await else { return };
                // Dropping an answer that is not finished cuts it.
                while let Ok(piece) = pieces.next().await {
                    match piece {
                        Some(piece) => {
                            if call.send(piece).await.is_err() {
                                return;
                            }
                        }
                        None => return drop(call.finish(None).await),
                    }
                }
            }
            Payload::Events(pieces) => {
                let head = head.with("content-type", EVENTS).with("x-accel-buffering", "no");
                let first = Bytes::from_static(b": hello\n\n");
                if let Ok(call) = call.commit(head, first).await {
                    self.events(call, pieces).await;
                }
            }
        }
        drop(permit);
    }

    /// Sends events until the client leaves or the gateway drains.
    async fn events(&self, mut call: Call<'_, Committed>, mut pieces: Box<dyn super::Pieces>) {
        let mut draining = self.shared.draining.clone();
        loop {
            let piece = tokio::select! {
                piece = pieces.next() => piece,
                () = call.gone() => return,
                _ = draining.wait_for(|draining| *draining) => Ok(None),
                () = tokio::time::sleep(PING) => Ok(Some(Bytes::from_static(b": ping\n\n"))),
            };
            match piece {
                Ok(Some(piece)) => {
                    if call.send(piece).await.is_err() {
                        return;
                    }
                }
                Ok(None) | Err(_) => return drop(call.finish(None).await),
            }
        }
    }
}

const JSON: &str = "application/json; charset=utf-8";
const EVENTS: &str = "text/event-stream; charset=utf-8";

/// A request that was done.
struct Answered {
    reply: Reply,
    /// The place among the caller's streams.
    permit: Option<super::limits::Permit>,
}

/// A request that was not done.
struct Refused {
    problem: Box<Problem>,
    allow: Option<String>,
}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        Self { problem: Box::new(problem), allow: None }
    }
}

/// The answer for a path without a row.
fn missed_answer(missed: Found, head: &RequestHead) -> Result<Answered, Refused> {
    let path = String::from_utf8_lossy(head.path()).into_owned();
    match missed {
        Found::Method(allow) if head.method == Method::OPTIONS => {
            // No fields of CORS: pages of others may not ask.
            Ok(Answered { reply: Reply::empty().with("allow", allow), permit: None })
        }
        Found::Method(allow) => {
            let message = format!("{path} does not take {}: use {allow}", head.method);
            Err(Refused { problem: Box::new(Problem::new(405, "method_not_allowed", message)), allow: Some(allow) })
        }
        _ => Err(Problem::not_found(format!("{} {path} here", head.method)).into()),
    }
}

/// The fields that every answer has.
fn common(head: ResponseHead, id: &str) -> ResponseHead {
    head.with("x-request-id", id.to_owned())
        .with("cache-control", "no-store, no-transform")
        .with("x-content-type-options", "nosniff")
        .with("referrer-policy", "no-referrer")
        .with("content-security-policy", "default-src 'none'; frame-ancestors 'none'")
}

/// The client's id of the request, if it may stand in a log, or one of ours.
fn request_id(head: &RequestHead) -> String {
    let given = head.headers.text("x-request-id").filter(|id| is_word(id));
    given.map_or_else(|| format!("req_{}", new_id()), str::to_owned)
}

fn is_word(text: &str) -> bool {
    (1..=WORD_BYTES).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn idempotency_key(route: &Route, head: &RequestHead) -> Result<Option<String>, Problem> {
    let Some(value) = head.headers.get("idempotency-key").filter(|_| route.changes) else { return Ok(None) };
    let text = std::str::from_utf8(value).ok().filter(|text| is_word(text) && text.len() >= KEY_BYTES);
    match text {
        Some(text) => Ok(Some(text.to_owned())),
        None => {
            let message = format!("Idempotency-Key must have {KEY_BYTES} to {WORD_BYTES} visible ASCII characters");
            Err(Problem::new(400, "bad_header", message).param("Idempotency-Key"))
        }
    }
}

/// What makes two requests the same.
fn fingerprint(head: &RequestHead, body: &[u8]) -> [u8; 32] {
    let mut hash = digest::Context::new(&digest::SHA256);
    for part in [head.method.as_str().as_bytes(), b" ", &head.target, b"\n", body] {
        hash.update(part);
    }
    let mut out = [0; 32];
    out.copy_from_slice(hash.finish().as_ref());
    out
}

/// Reads and checks the query parameters.
fn parse_query(route: &Route, query: Option<&[u8]>) -> Result<Vec<(&'static str, String)>, Problem> {
    let mut found: Vec<(&'static str, String)> = Vec::new();
    for (name, value) in url::form_urlencoded::parse(query.unwrap_or_default()) {
        let Some(param) = route.query.iter().find(|param| param.name == name) else {
            if route.any_query {
                continue;
            }
            let known: Vec<_> = route.query.iter().map(|param| param.name).collect();
            let known = if known.is_empty() { "it takes none".to_owned() } else { format!("use {}", known.join(", ")) };
            return Err(Problem::query(name.clone(), format!("there is no parameter `{name}`: {known}")));
        };
        if found.iter().any(|(known, _)| *known == param.name) {
            return Err(Problem::query(name.clone(), format!("the parameter `{name}` stands there twice")));
        }
        // The schema is that of the value that the text stands for.
        let read = match param.schema {
            Schema::Integer(..) => value.parse::<i64>().map_or(Value::Null, Value::from),
            Schema::Number(_) => value.parse::<f64>().map_or(Value::Null, Value::from),
            _ => Value::String(value.clone().into_owned()),
        };
        if let Err(problem) = param.schema.check(&read, Needs::Marked) {
            let expected = problem.message.replacen("the body", &format!("the parameter `{name}`"), 1);
            return Err(Problem::query(name, expected));
        }
        found.push((param.name, value.into_owned()));
    }
    Ok(found)
}

/// Reads the body, if the route has one.
async fn read(call: &mut Call<'_, Fresh>, route: &Route, head: &RequestHead) -> Result<Bytes, Problem> {
    if matches!(route.body, Body::None) {
        return Ok(Bytes::new());
    }
    let unsupported =
        || Problem::new(415, "unsupported_media_type", "the body must be JSON: send Content-Type: application/json");
    let media = head.headers.get("content-type");
    if media.is_some_and(|media| !is_json(media)) {
        return Err(unsupported());
    }
    if head.headers.get("content-encoding").is_some_and(|coding| !coding.eq_ignore_ascii_case(b"identity")) {
        return Err(Problem::new(415, "unsupported_media_type", "the body must not be compressed"));
    }
    let body = call.body(route.body_bytes).await.map_err(|error| match error.kind {
        Kind::TooLarge { .. } => {
            Problem::new(413, "too_large", format!("the body may have {} bytes at most", route.body_bytes))
        }
        Kind::Timeout(_) => Problem::new(408, "timeout", "the body did not come in time"),
        kind => Problem::new(400, "bad_request", format!("the body cannot be read: {kind}")),
    })?;
    // Forms of web pages cannot say that they are JSON.
    if !body.is_empty() && media.is_none() {
        return Err(unsupported());
    }
    Ok(body)
}

/// `application/json` and its kin, with any parameters.
fn is_json(media: &[u8]) -> bool {
    let name = media.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii().to_ascii_lowercase();
    name == b"application/json" || (name.starts_with(b"application/") && name.ends_with(b"+json"))
}

/// Parses the body and holds it to its form.
fn understood(route: &Route, bytes: &[u8]) -> Result<Value, Problem> {
    let parsed = || -> Result<Value, Problem> {
        serde_json::from_slice(bytes).map_err(|error| {
            let message = match bytes.is_empty() {
                true => "a JSON body is needed".to_owned(),
                false => format!("the body is not JSON: {error}"),
            };
            Problem::new(400, "bad_json", message)
        })
    };
    let (value, form, needs) = match route.body {
        Body::None | Body::Long(_) => return Ok(Value::Null),
        Body::Optional(_) if bytes.is_empty() => return Ok(Value::Object(Map::new())),
        Body::Value(schema) => {
            let value = parsed()?;
            schema.check(&value, Needs::Marked)?;
            return Ok(value);
        }
        Body::Json(form) | Body::Optional(form) => (parsed()?, form, Needs::Marked),
        Body::Merge(form) => (parsed()?, form, Needs::Nothing),
        Body::Made(form) => (parsed()?, form(), Needs::Nothing),
    };
    Schema::Object(form).check(&value, needs)?;
    Ok(value)
}

/// Whether an answer is one that the row lists.
fn is_declared(route: &Route, reply: &Reply) -> bool {
    route.replies.iter().filter(|(status, _)| *status == reply.status).any(|(_, content)| {
        match (content, &reply.payload) {
            (Content::Empty, Payload::Empty) | (Content::Events, Payload::Events(_)) => true,
            (Content::Json(schema), Payload::Json(document)) => match schema.check(document, Needs::Marked) {
                Ok(()) => true,
                Err(problem) => {
                    tracing::error!(
                        operation = route.operation,
                        message = problem.message,
                        "an answer is not as declared"
                    );
                    false
                }
            },
            (Content::Other(known), Payload::Bytes(media, _) | Payload::Stream(media, _)) => known.contains(media),
            _ => false,
        }
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::api::{
        route::{Param, ROUTE},
        schema::{Object, line, needed},
    };

    const FORM: Object = Object { name: "Form", members: &[needed("a", line(3), "")] };
    const BODY: Route = Route {
        query: &[
            Param { name: "limit", schema: Schema::Integer(1, 10), help: "" },
            Param { name: "q", schema: line(3), help: "" },
        ],
        body: Body::Json(&FORM),
        ..ROUTE
    };

    #[test]
    fn queries_are_held_to_the_table() {
        let query = |text: &str| parse_query(&BODY, Some(text.as_bytes())).map_err(|problem| problem.param.unwrap());
        assert_eq!(query("limit=3&q=a%20b"), Ok(vec![("limit", "3".to_owned()), ("q", "a b".to_owned())]));
        assert_eq!(query(""), Ok(Vec::new()));
        for (text, param) in
            [("limit=0", "limit"), ("limit=x", "limit"), ("q=abcd", "q"), ("z=1", "z"), ("q=1&q=2", "q")]
        {
            assert_eq!(query(text), Err(param.to_owned()), "{text}");
        }
    }

    #[test]
    fn bodies_are_held_to_their_form() {
        let code = |text: &[u8]| understood(&BODY, text).map_err(|problem| problem.code);
        assert!(code(br#"{"a":"x"}"#).is_ok());
        for (text, expected) in [
            (&b""[..], "bad_json"),
            (b"{", "bad_json"),
            (b"\xff", "bad_json"),
            (b"[]", "invalid_value"),
            (b"{}", "field_required"),
            (br#"{"a":"x","b":1}"#, "unknown_field"),
        ] {
            assert_eq!(code(text), Err(expected));
        }
        assert!(understood(&Route { body: Body::Merge(&FORM), ..BODY }, b"{}").is_ok());
        assert!(understood(&Route { body: Body::Optional(&FORM), ..BODY }, b"").is_ok());
        assert!(code("[".repeat(10_000).as_bytes()).is_err());
    }

    #[test]
    fn json_has_several_names() {
        for name in ["application/json", "Application/JSON; charset=utf-8", "application/merge-patch+json"] {
            assert!(is_json(name.as_bytes()), "{name}");
        }
        for name in ["text/plain", "application/x-www-form-urlencoded", "", "text/plain; application/json"] {
            assert!(!is_json(name.as_bytes()), "{name}");
        }
    }
}
