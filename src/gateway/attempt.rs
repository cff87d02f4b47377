//! One try at one candidate: prepare → send → judge. What is answered is relayed; what failed comes back with the call
//! untouched, so that the next candidate can have it.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use codecs::{
    dialect::{Context, Dialect, openai_responses::echo::Echo},
    hub::{ApiError, ErrorKind},
    json::{JsonError, Raw},
    translate::translate_recalling,
};
use proxy::{Call, Client, Fresh, Headers, Kind, Method, Outbound, Phase, Response, ResponseHead};

use super::{
    edit,
    exchange::{Exchange, wants_usage},
    relay, scratch,
};
use crate::{
    health::{Cooldown, Scope},
    route::{Candidate, cooldown::judge},
    settings::{Settings, Unsupported},
    vendor::{Ask, Upstream},
};

/// Bodies from this size on are translated outside the lane's workers.
const BIG_BODY_BYTES: usize = 256 * 1024;
/// An error answer is read up to this size, and no longer than this.
const ERROR_BODY_BYTES: usize = 64 * 1024;
const ERROR_BODY_TIME: Duration = Duration::from_secs(10);

/// How bytes get from the upstream to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Speed {
    /// Same dialect: as they came.
    Forward,
    /// Through the hub.
    Translate,
}

/// Why an attempt failed.
#[derive(Debug)]
pub(super) struct Failure {
    /// In words and numbers.
    pub error: ApiError,
    /// How far it reaches.
    pub scope: Scope,
    /// How long to stay away.
    pub cooldown: Cooldown,
    /// The upstream's own answer, if it speaks the client's dialect: passed on as it is when nothing else is left.
    pub verbatim: Option<(ResponseHead, Bytes)>,
}

impl Failure {
    /// A failure that the table judges.
    pub(super) fn judged(error: ApiError) -> Self {
        let (scope, cooldown) = judge(&error);
        Self { error, scope, cooldown, verbatim: None }
    }

    /// Blots out the provider's secrets, which some vendors quote: what failed may be shown to the client and logged.
    pub(super) fn conceal(&mut self, upstream: &Upstream) {
        self.error.message = upstream.masked(&self.error.message).into_owned();
        if let Some((_, body)) = &mut self.verbatim {
            *body = upstream.masked_bytes(std::mem::take(body));
        }
    }

    /// A failure on the way to or from the upstream.
    pub(super) fn wire(error: &proxy::Error) -> Self {
        let kind = match &error.kind {
            Kind::Timeout(_) => ErrorKind::Timeout,
            _ => ErrorKind::Api,
        };
        let reached = !matches!(
            error.kind,
            Kind::Resolve(_)
                | Kind::Connect(_)
                | Kind::Egress(_)
                | Kind::Tls(_)
                | Kind::Timeout(Phase::Connect | Phase::Tls)
        );
        let mut api = ApiError::new(kind, format!("the provider cannot be reached: {}", error.kind));
        if reached {
            api.message = format!("the provider's answer failed: {}", error.kind);
        }
        api.status = Some(if kind == ErrorKind::Timeout { 504 } else { 502 });
        let scope = if reached { Scope::Model } else { Scope::Network };
        Self { error: api, scope, cooldown: Cooldown::Fixed(Duration::from_secs(15)), verbatim: None }
    }
}

/// What an attempt came to: the exchange is over, or the call comes back with the reason.
pub(super) type Outcome<'a> = Result<(), (Call<'a, Fresh>, Failure)>;

/// A request as it leaves, and what its answer needs.
struct Prepared {
    request: Outbound,
    /// How the answer comes back.
    speed: Speed,
    /// Facts for the codecs, where the request has been translated.
    context: Option<Box<Context>>,
    /// Names of what was left out.
    dropped: Vec<String>,
    /// Whether the upstream is asked for a stream.
    stream: bool,
}

/// Whether signatures and the reasoning that needs them go along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Riders {
    Sent,
    Stripped,
}

/// Makes the request for `candidate`.
fn prepare(
    exchange: &Exchange,
    candidate: &Candidate,
    settings: &Settings,
    riders: Riders,
) -> Result<Prepared, ApiError> {
    let upstream = &candidate.upstream;
    let Some(origin) = upstream.origin.clone() else {
        return Err(ApiError::new(ErrorKind::Api, format!("the base URL of provider {} is invalid", upstream.name)));
    };
    let stream = exchange.stream || upstream.provider.stream_only;
    let same = exchange.forwards() == Some(upstream.dialect());
    let ask = if same && exchange.ask == Ask::Generate { Ask::Generate } else { Ask::Chat { stream } };
    let query = match (same, exchange.json_array) {
        (true, false) => exchange.head.query(),
        (true, true) => Some(&b"alt=json"[..]),
        (false, _) => None,
    };
    let mut request = Outbound::new(origin, Method::POST, upstream.target(ask, &candidate.model, query));
    request.connect_timeout = Some(upstream.connect);
    request.head_timeout = upstream.first_byte;
    let speed = if same { Speed::Forward } else { Speed::Translate };
    // A client that talked to another vendor before: the hub knows what is whose.
    if same && riders == Riders::Sent && !exchange.asked.holds_riders(&exchange.body) {
        request.headers = upstream.forwarded(&exchange.head.headers);
        request.body = edit::forwarded(exchange, &candidate.model, stream, upstream.quirks(&candidate.model))?;
        return Ok(Prepared { request, speed, context: None, dropped: Vec::new(), stream });
    }
    let mut context = Box::new(exchange.context(settings));
    let mut target = upstream.encode_target(&candidate.model, stream, settings.adjust_max_tokens && !same);
    target.strip_riders = riders == Riders::Stripped;
    let read = |raw: Result<Raw<'_>, JsonError>| {
        let raw = raw.map_err(|e| malformed(&e))?;
        context.include_usage |= wants_usage(raw);
        if exchange.asked == Dialect::OpenAiResponses {
            context.echo = Some(Arc::new(Echo::of(raw)));
        }
        let recall = |call_id: &str| exchange.memory.recall(call_id);
        translate_recalling(exchange.asked, upstream.dialect(), raw, &exchange.url(), &target, &recall)
    };
    let encode = || scratch::read(&exchange.body, read);
    let encoded = if exchange.body.len() >= BIG_BODY_BYTES { off_lane(encode) } else { encode() }?;
    if settings.unsupported == Unsupported::Refuse && !encoded.dropped.is_empty() {
        let names = encoded.dropped.join(", ");
        let message =
            format!("the provider {} has no place for: {names} (setting unsupported = \"refuse\")", upstream.name);
        return Err(ApiError::unsupported(message));
    }
    request.headers = match speed {
        Speed::Forward => upstream.forwarded(&exchange.head.headers),
        Speed::Translate => upstream.headers(&encoded.betas),
    };
    let body: Bytes = encoded.body.into();
    request.body = upstream.finishing(&candidate.model).apply(&body)?;
    context.tools = encoded.tools.into();
    context.used_ids = encoded.used_ids.into();
    Ok(Prepared { request, speed, context: Some(context), dropped: encoded.dropped, stream })
}

/// Whether an upstream refused a request because of a signature that it does not accept.
fn refuses_signature(failure: &Failure) -> bool {
    let message = failure.error.message.to_lowercase();
    failure.scope == Scope::Request
        && message.contains("signature")
        && ["invalid", "corrupted", "thinking", "thought"].iter().any(|word| message.contains(word))
}

/// The error for a body that is not JSON: what and where.
pub(super) fn malformed(error: &JsonError) -> ApiError {
    ApiError::new(
        ErrorKind::Invalid,
        format!("the request body is not valid JSON: {} at byte {}", error.what, error.at),
    )
}

/// Runs CPU-heavy work without holding up the other tasks of this worker.
fn off_lane<T>(work: impl FnOnce() -> T) -> T {
    match tokio::runtime::Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(tokio::runtime::RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
    }
}

/// Tries `candidate`. Returns `Ok` when the client has been answered or has left.
pub(super) async fn attempt<'a>(
    mut call: Call<'a, Fresh>,
    exchange: &mut Exchange,
    candidate: &Candidate,
    attempts: usize,
    client: &Client,
    settings: &Settings,
) -> Outcome<'a> {
    let mut riders = Riders::Sent;
    loop {
        match ask(&mut call, exchange, candidate, attempts, client, settings, riders).await {
            Asked::Answered(answer) => return relay::relay(call, exchange, answer).await,
            Asked::Left => return Ok(()),
            // The model or the account has changed since the signatures were made: once more without them, and without
            // the reasoning that is worth nothing unsigned.
            Asked::Failed(failure) if riders == Riders::Sent && refuses_signature(&failure) => {
                riders = Riders::Stripped;
            }
            Asked::Failed(failure) => return Err((call, *failure)),
        }
    }
}

/// What came of asking. In boxes: what it holds moves through several futures, and an answer stays as long as a stream does.
enum Asked<'c> {
    /// A good answer has begun.
    Answered(Box<relay::Answer<'c>>),
    /// The client left.
    Left,
    /// It did not come to an answer, or to no good one.
    Failed(Box<Failure>),
}

/// Sends the request and waits for the head of its answer. A future of its own, so that a stream that is relayed has no room
/// for what only this needs.
async fn ask<'c>(
    call: &mut Call<'_, Fresh>,
    exchange: &Exchange,
    candidate: &'c Candidate,
    attempts: usize,
    client: &Client,
    settings: &'c Settings,
    riders: Riders,
) -> Asked<'c> {
    let prepared = match prepare(exchange, candidate, settings, riders) {
        Ok(prepared) => prepared,
        Err(error) => return Asked::Failed(Box::new(Failure::judged(error))),
    };
    let Prepared { request, speed, context, dropped, stream } = prepared;
    let sent = tokio::select! {
        biased;
        sent = client.send(request) => sent,
        // Dropping the other future closes the upstream's connection, or resets its stream.
        () = call.gone() => return Asked::Left,
    };
    let response = match sent {
        Ok(response) => response,
        Err(error) => return Asked::Failed(Box::new(Failure::wire(&error))),
    };
    if response.head.status.is_success() {
        let answer = relay::Answer { response, speed, context, dropped, stream, candidate, attempts, settings };
        return Asked::Answered(Box::new(answer));
    }
    tokio::select! {
        biased;
        failure = refused(response, exchange, candidate) => Asked::Failed(Box::new(failure)),
        () = call.gone() => Asked::Left,
    }
}

/// Reads an error answer.
async fn refused(response: Response, exchange: &Exchange, candidate: &Candidate) -> Failure {
    let Response { head, mut body, .. } = response;
    if !(400..600).contains(&head.status.as_u16()) {
        // Not for the client: it would send its request, and the key to this gateway, wherever the provider points.
        let message = format!("the provider answered with status {}: is its base_url right?", head.status.as_u16());
        return Failure::judged(ApiError { status: Some(502), ..ApiError::new(ErrorKind::Api, message) });
    }
    let dialect = candidate.upstream.dialect();
    let read = tokio::time::timeout(ERROR_BODY_TIME, body.collect(ERROR_BODY_BYTES)).await;
    let bytes = read.ok().and_then(Result::ok);
    let readable = bytes.and_then(|bytes| relay::inflate::whole(&head.headers, &bytes, ERROR_BODY_BYTES).ok());
    // The status alone says something too; but what cannot be read as a whole is not passed on.
    // What a provider says of our account, a program that asked somebody else would take for its own.
    let own = exchange.forwards() == Some(dialect) && exchange.intercepted.is_none();
    let verbatim = own && readable.is_some();
    let plain = readable.unwrap_or_default();
    let mut error = dialect.decode_error(head.status.as_u16(), &plain);
    error.status = Some(head.status.as_u16());
    error.retry_after = retry_after(&head.headers).or(error.retry_after);
    let mut failure = Failure::judged(error);
    if verbatim {
        let mut own = ResponseHead::new(head.status);
        own.headers = head.headers;
        relay::pass(&mut own.headers);
        own.headers.remove("content-encoding");
        failure.verbatim = Some((own, plain));
    }
    failure
}

/// Seconds until a retry makes sense, from the fields that vendors use.
pub(super) fn retry_after(headers: &Headers) -> Option<f64> {
    let milliseconds = headers.text("retry-after-ms").and_then(|text| text.trim().parse::<f64>().ok());
    if let Some(milliseconds) = milliseconds.filter(|ms| ms.is_finite() && *ms >= 0.0) {
        return Some(milliseconds / 1000.0);
    }
    let text = headers.text("retry-after")?.trim();
    if let Ok(seconds) = text.parse::<f64>() {
        return (seconds.is_finite() && seconds >= 0.0).then_some(seconds);
    }
    let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    Some(date.duration_since(jiff::Timestamp::now()).as_secs_f64().max(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_times_in_all_spellings() {
        let of = |name: &str, value: &str| {
            let mut headers = Headers::new();
            headers.append(name.to_owned(), value.to_owned());
            retry_after(&headers)
        };
        assert_eq!(of("Retry-After", "7"), Some(7.0));
        assert_eq!(of("retry-after-ms", "1500"), Some(1.5));
        assert_eq!(of("retry-after", "soon"), None);
        assert_eq!(of("retry-after", "-1"), None);
        assert_eq!(of("retry-after", "Wed, 21 Oct 2015 07:28:00 GMT"), Some(0.0));
        assert!(of("retry-after", "Fri, 01 Jan 2100 00:00:00 GMT").is_some_and(|seconds| seconds > 1e9));
    }
}
