//! The gateway: reads a request, plans a route, tries candidates in order and relays the first good answer.
//!
//! ```text
//!   paths ─▶ admit ─▶ body, scan ─▶ route::plan ─▶ attempt ─┬─▶ relay ─▶ client
//!                                        ▲                  │ failure wider than the request
//!                                        └── next candidate ┘
//! ```

mod admit;
mod attempt;
mod caller;
mod count_tokens;
mod demo;
mod edit;
mod exchange;
mod forwarded;
mod intercept;
mod models;
mod paths;
mod record;
mod relay;
mod reply;
mod scratch;
mod signatures;

use std::{
    future::Future,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

pub use admit::{KeyFault, client_address, new_key, presented};
use arc_swap::ArcSwap;
use attempt::Failure;
use bytes::Bytes;
use codecs::{
    dialect::Dialect,
    hub::{ApiError, ErrorKind},
};
use exchange::{Exchange, Ledger, Scanned};
pub use forwarded::was_forwarded;
pub use intercept::{Back, Course, Intercepted, Why, Wire};
pub use models::OLLAMA_VERSION;
use paths::{Miss, Operation};
use proxy::{Call, Client, Fresh, Handler, Kind, Method, RequestHead, ResponseHead, StatusCode};
use record::{Asked, Record, Sinks};
use tracing::debug;

use crate::{
    health::{Cooldown, Health, Scope},
    route::{Candidate, Catalog, cooldown::judge_broken},
    settings::{KeyHash, Settings},
    store::usage::{Endpoint, Queue},
    telemetry::metrics::Metrics,
    usage::{
        Feed, RateCard,
        live::{What, now_ms},
    },
    vendor::Ask,
};

/// What requests are decided by: one valid configuration, immutable. A request takes the one of its first moment and
/// keeps it to its end, so that a change never meets a running exchange.
#[derive(Debug)]
pub struct Snapshot {
    /// Settings.
    pub settings: Settings,
    /// Providers and aliases.
    pub catalog: Catalog,
    /// What models cost.
    pub prices: Arc<RateCard>,
    /// Who may call.
    admission: admit::Admission,
}

impl Snapshot {
    /// Builds a snapshot from valid settings. Providers that are the same in `before` stay the same here, with their
    /// counters.
    pub fn new(settings: Settings, prices: Arc<RateCard>, before: Option<&Snapshot>) -> Self {
        Self {
            catalog: Catalog::new(&settings, &prices, before.map(|before| &before.catalog)),
            admission: admit::Admission::new(&settings),
            prices,
            settings,
        }
    }

    /// The caller's key that `token` is; `None` if it is none of ours and does not look like one.
    pub fn key(&self, token: &str) -> Result<Option<&Arc<KeyHash>>, KeyFault> {
        self.admission.key(token)
    }
}

/// What all lanes share.
#[derive(Debug)]
pub struct Shared {
    /// The configuration of the next request. Replaced as a whole; reading takes no lock.
    snapshot: ArcSwap<Snapshot>,
    /// Who is cooling down.
    pub health: Health,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Where the rows of attempts go.
    pub usage: Queue,
    /// What happens, for those who watch.
    pub feed: Feed,
    /// Signatures kept for clients that drop them.
    signatures: signatures::Signatures,
    /// When the process started, in Unix seconds.
    started: u64,
    /// The process is about to end.
    draining: AtomicBool,
}

impl Shared {
    /// Builds the shared part around the first snapshot. `now` is in Unix seconds.
    pub fn new(snapshot: Snapshot, usage: Queue, now: u64) -> Self {
        Self {
            snapshot: ArcSwap::from_pointee(snapshot),
            health: Health::default(),
            signatures: signatures::Signatures::default(),
            metrics: Arc::default(),
            usage,
            feed: Feed::default(),
            started: now,
            draining: AtomicBool::new(false),
        }
    }

    /// The present configuration.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Puts a configuration in force for the next request; running ones keep theirs. What is held against a provider
    /// that has changed or gone is forgotten: a new credential must not wait for the old one's cooldown.
    pub fn publish(&self, snapshot: Arc<Snapshot>) {
        let before = self.snapshot.swap(snapshot.clone());
        for upstream in before.catalog.upstreams() {
            let stays = snapshot.catalog.upstreams().iter().any(|other| Arc::ptr_eq(other, upstream));
            if !stays {
                self.health.forget(&upstream.name);
            }
        }
    }

    /// Whether the process is about to end.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Has `/readyz` say that others should be asked from now on. Everything is served as before.
    pub fn unready(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }
}

/// Ollama's list of the models that a caller may use, as its `/api/tags` answers.
pub fn ollama_models(shared: &Shared, snapshot: &Snapshot, key: Option<&Arc<KeyHash>>) -> Vec<u8> {
    models::document((shared, snapshot, key), Dialect::Ollama)
}

/// The handler of one lane: the shared part and the lane's own upstream connections.
#[derive(Clone)]
pub struct Gateway {
    shared: Arc<Shared>,
    client: Client,
}

impl Gateway {
    /// A gateway that sends through `client`.
    pub fn new(shared: Arc<Shared>, client: Client) -> Self {
        Self { shared, client }
    }

    async fn serve(&self, mut call: Call<'_, Fresh>) {
        let head = call.take_head();
        let request_id = exchange::unique();
        let snapshot = self.shared.snapshot();
        let operation = match find(&head) {
            Ok(operation) => operation,
            Err(miss) => return missed(call, &head, miss, &request_id).await,
        };
        let dialect = operation.dialect();
        // Whoever watches this machine from itself needs no scope.
        let watched = operation == Operation::Metrics && call.peer().ip().is_loopback();
        let scopes = if watched { &[] } else { operation.scopes() };
        let admitted = snapshot.admission.check(&head, call.peer());
        let key = match admitted.and_then(|key| admit::scope(key, scopes).map(|()| key.cloned())) {
            Ok(key) => key,
            // Probes of process managers carry no key and come under any name.
            Err(_) if matches!(operation, Operation::Health | Operation::Ready) => None,
            Err(refusal) => return refused(call, dialect, refusal, &request_id).await,
        };
        match operation {
            Operation::Chat(dialect, path) => {
                let request = Incoming { head, dialect, path, ask: Ask::Chat { stream: false }, id: request_id, key };
                self.chat(call, request, &snapshot).await;
            }
            Operation::Generate => {
                let dialect = Dialect::Ollama;
                let request = Incoming { head, dialect, path: None, ask: Ask::Generate, id: request_id, key };
                self.chat(call, request, &snapshot).await;
            }
            Operation::CountTokens(dialect, path) => {
                let request = Incoming { head, dialect, path, ask: Ask::CountTokens, id: request_id, key };
                self.chat(call, request, &snapshot).await;
            }
            Operation::Models(dialect) => {
                models::list(call, (&self.shared, &snapshot, key.as_ref()), dialect).await;
            }
            Operation::Model(dialect, name) => {
                models::one(call, (&self.shared, &snapshot, key.as_ref()), dialect, &name, &request_id).await;
            }
            Operation::Show => models::show(call, (&self.shared, &snapshot, key.as_ref()), &request_id).await,
            Operation::Version => models::version(call).await,
            Operation::Running => reply::json(call, r#"{"models":[]}"#).await,
            Operation::Root => reply::document(call, StatusCode::OK, "text/plain", "Ollama is running").await,
            Operation::ResponsesSocket => {
                let error = ApiError::new(ErrorKind::Invalid, "WebSocket is not offered here: use POST with SSE");
                let mut body = Vec::new();
                dialect.encode_error(&error, &request_id, &mut body);
                reply::document(call, StatusCode::UPGRADE_REQUIRED, "application/json", body).await;
            }
            Operation::Ready if self.shared.is_draining() => {
                let text = "draining: this process is about to end\n";
                reply::document(call, StatusCode::SERVICE_UNAVAILABLE, "text/plain", text).await;
            }
            Operation::Health | Operation::Ready => reply::document(call, StatusCode::OK, "text/plain", "ok\n").await,
            Operation::Metrics => {
                let cooling = self.shared.health.cooling(Instant::now());
                self.shared.metrics.cooling.set(i64::try_from(cooling).unwrap_or(i64::MAX));
                let text = self.shared.metrics.render();
                let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
                reply::document(call, StatusCode::OK, content_type, text).await;
            }
        }
    }

    /// Chat, completion or token count: everything that has a body with a model in it.
    async fn chat(&self, call: Call<'_, Fresh>, request: Incoming, snapshot: &Snapshot) {
        // Futures of their own: one that streams has no room for what only the beginning needs.
        if let Some((call, exchange)) = self.open(call, request, snapshot).await {
            self.answer(call, exchange, snapshot).await;
        }
    }

    /// Reads the request; one that cannot be understood is answered.
    async fn open<'a>(
        &self,
        mut call: Call<'a, Fresh>,
        request: Incoming,
        snapshot: &Snapshot,
    ) -> Option<(Call<'a, Fresh>, Box<Exchange>)> {
        let shared = &*self.shared;
        let asked = |ip| request.asked(&call, ip);
        let mut ledger =
            Ledger::open(&shared.metrics, request.dialect, self.record(&call, &request.head, asked, snapshot));
        let Incoming { head, dialect, path, ask, id, key } = request;
        let json_array = path.as_ref().is_some_and(|path| path.wants_array(head.query()));
        let read = match read(&mut call, &head, snapshot.settings.max_body).await {
            Ok(body) => understood(&body, dialect, path).map(|scanned| (body, scanned)),
            Err(error) => Err(error),
        };
        let (body, scanned) = match read {
            Ok(both) => both,
            Err(error) => {
                ledger.fault(&error);
                reply::error(call, dialect, &error, &id).await;
                return None;
            }
        };
        let mut exchange = Box::new(Exchange {
            id,
            asked: dialect,
            client: dialect.into(),
            intercepted: None,
            head,
            body,
            model: scanned.model.unwrap_or_else(|| exchange::NOTHING.clone()),
            model_spans: scanned.model_spans,
            stream_spans: scanned.stream_spans,
            // Ollama streams unless told otherwise (its API documentation).
            stream: scanned.stream.unwrap_or(dialect == Dialect::Ollama) && ask != Ask::CountTokens,
            ask,
            json_array,
            complete: Instant::now(),
            memory: exchange::Memory {
                store: shared.signatures.clone(),
                caller: key.as_ref().map_or_else(|| exchange::NOTHING.clone(), |key| key.id.clone()),
            },
            key,
            ledger,
        });
        exchange.begin(snapshot);
        Some((call, exchange))
    }

    /// Finds out who may be asked, and has them asked.
    async fn answer(&self, call: Call<'_, Fresh>, mut exchange: Box<Exchange>, snapshot: &Snapshot) {
        let mut candidates = match snapshot.catalog.plan(&exchange.model, &self.shared.health, exchange.complete) {
            Ok(candidates) => candidates,
            Err(miss) => {
                let kind = if miss.disabled { ErrorKind::Permission } else { ErrorKind::NotFound };
                let mut error = ApiError::new(kind, miss.message);
                error.param = Some("model".to_owned());
                exchange.ledger.fault(&error);
                return reply::error(call, exchange.client, &error, &exchange.id).await;
            }
        };
        if let Err(refusal) = admit::narrow(exchange.key.as_ref(), &exchange.model, &mut candidates) {
            let error = refusal.error();
            exchange.ledger.fault(&error);
            return reply::error(call, exchange.client, &error, &exchange.id).await;
        }
        if exchange.ask == Ask::CountTokens {
            return count_tokens::answer(call, &mut exchange, &candidates[0], &self.client, &snapshot.settings).await;
        }
        self.route(call, exchange, &candidates, &snapshot.settings).await;
    }

    /// The record of a request, if anybody wants to know of it.
    fn record<'r>(
        &self,
        call: &Call<'_, Fresh>,
        head: &RequestHead,
        asked: impl FnOnce(IpAddr) -> Asked<'r>,
        snapshot: &Snapshot,
    ) -> Option<Box<Record>> {
        let queue = Some(&self.shared.usage).filter(|_| snapshot.settings.usage_log);
        if queue.is_none() && !self.shared.feed.is_active() {
            return None;
        }
        let sinks = Sinks { queue: queue.cloned(), feed: self.shared.feed.clone(), prices: snapshot.prices.clone() };
        let ip = client_address(head, call.peer(), &snapshot.settings.trusted_proxies);
        Some(Record::open(sinks, asked(ip)))
    }

    /// Tries the candidates in order, and tells the client if none of them can answer.
    async fn route(
        &self,
        call: Call<'_, Fresh>,
        mut exchange: Box<Exchange>,
        candidates: &[Candidate],
        settings: &Settings,
    ) {
        if let Some(unanswered) = self.ask(call, &mut exchange, candidates, settings).await {
            exchange.ledger.fault(&unanswered.failure.error);
            give_up(&mut exchange, unanswered).await;
        }
    }

    /// Tries the candidates in order. `None`: the client has been answered or has left.
    async fn ask<'a, 'c>(
        &self,
        mut call: Call<'a, Fresh>,
        exchange: &mut Exchange,
        candidates: &'c [Candidate],
        settings: &Settings,
    ) -> Option<Unanswered<'a, 'c>> {
        let shared = &*self.shared;
        let mut last: Option<(Failure, &Candidate)> = None;
        let mut attempts = 0;
        for candidate in candidates.iter().take(settings.max_attempts) {
            attempts += 1;
            let now = if attempts == 1 { exchange.complete } else { Instant::now() };
            exchange.ledger.asked(candidate, now);
            let tried = if demo::is_demo(candidate) {
                demo::answer(call, exchange, candidate, attempts, settings).await
            } else {
                attempt::attempt(call, exchange, candidate, attempts, &self.client, settings).await
            };
            match tried {
                Ok(()) => {
                    // A client that left early says nothing about the provider.
                    if exchange.ledger.is_ok() {
                        shared.health.succeeded(&candidate.upstream.name, &candidate.model);
                    } else if let Some(error) = exchange.ledger.broken() {
                        self.book(exchange, candidate, error, judge_broken(error), attempts);
                    }
                    return None;
                }
                Err((back, mut failure)) => {
                    call = back;
                    failure.conceal(&candidate.upstream);
                    let judged = (failure.scope, failure.cooldown);
                    exchange.ledger.attempt_over(&failure);
                    self.book(exchange, candidate, &failure.error, judged, attempts);
                    let over = failure.scope == Scope::Request;
                    last = Some((failure, candidate));
                    if over {
                        break;
                    }
                }
            }
        }
        last.map(|(failure, candidate)| Unanswered { call, failure, candidate, attempts })
    }

    /// Books a failed attempt: who cools down, and the metrics.
    fn book(
        &self,
        exchange: &Exchange,
        candidate: &Candidate,
        error: &ApiError,
        judged: (Scope, Cooldown),
        attempts: usize,
    ) {
        let provider = &candidate.upstream.name;
        let wait = self.shared.health.failed(provider, &candidate.model, judged, Instant::now());
        let (scope, kind) = (judged.0.name(), error.kind.name());
        exchange.ledger.attempt_failed(provider, scope, kind);
        if !wait.is_zero() {
            self.shared.feed.publish(|| cooling(candidate, wait));
        }
        debug!(id = %exchange.id, provider = %provider, model = %candidate.model, scope, kind, status = error.status,
            wait_ms = wait.as_millis() as u64, attempts, "attempt failed");
    }
}

/// A call that all who were asked have failed to answer.
struct Unanswered<'a, 'c> {
    call: Call<'a, Fresh>,
    /// The last failure.
    failure: Failure,
    /// Whose it is.
    candidate: &'c Candidate,
    /// How many were asked.
    attempts: usize,
}

/// A request whose body has not been read yet.
struct Incoming {
    head: RequestHead,
    dialect: Dialect,
    path: Option<paths::GeminiPath>,
    ask: Ask,
    id: String,
    /// The caller's key, if it has one.
    key: Option<Arc<KeyHash>>,
}

impl Incoming {
    /// What the record says of it.
    fn asked(&self, call: &Call<'_, Fresh>, ip: IpAddr) -> Asked<'_> {
        Asked {
            id: &self.id,
            dialect: self.dialect,
            endpoint: match self.ask {
                Ask::Chat { .. } => Endpoint::Chat,
                Ask::Generate => Endpoint::Generate,
                Ask::CountTokens => Endpoint::CountTokens,
            },
            key: self.key.as_ref().map(|key| key.name.clone()),
            ip,
            caller: caller::caller(&self.head.headers),
            received: call.received(),
        }
    }
}

impl Handler for Gateway {
    fn handle<'a>(&'a self, call: Call<'a, Fresh>) -> impl Future<Output = ()> + Send + 'a {
        self.serve(call)
    }

    fn refusal(&self, method: &Method, path: &str, status: StatusCode, told: &str) -> Option<(&'static str, Bytes)> {
        let operation = paths::operation(method, path, Dialect::OpenAiChat, false).ok()?;
        let chats = matches!(operation, Operation::Chat(..) | Operation::Generate | Operation::CountTokens(..));
        chats.then(|| {
            // A version or coding that we do not speak is answered with 5xx and is the client's choice all the same.
            let kind =
                if status.is_server_error() { ErrorKind::Invalid } else { ErrorKind::of_status(status.as_u16()) };
            let mut body = Vec::with_capacity(256);
            let error = ApiError::new(kind, format!("the request cannot be read: {told}"));
            operation.dialect().encode_error(&error, &exchange::unique(), &mut body);
            ("application/json", body.into())
        })
    }
}

/// The operation that a head asks for.
fn find(head: &RequestHead) -> Result<Operation, Miss> {
    let path = std::str::from_utf8(head.path()).map_err(|_| Miss::NotFound)?;
    let upgrade = head.headers.text("upgrade").is_some_and(|value| value.eq_ignore_ascii_case("websocket"));
    paths::operation(&head.method, path, paths::speaks(&head.headers), upgrade)
}

/// Reads the body, unpacked.
async fn read(call: &mut Call<'_, Fresh>, head: &RequestHead, limit: usize) -> Result<Bytes, ApiError> {
    let body = call.body(limit).await.map_err(|error| wire_error(&error.kind))?;
    if !head.headers.contains("content-encoding") {
        return Ok(body);
    }
    relay::inflate::whole(&head.headers, &body, limit).map_err(|error| {
        let kind = match error {
            relay::inflate::InflateError::TooLarge(_) => ErrorKind::TooLarge,
            _ => ErrorKind::Invalid,
        };
        ApiError::new(kind, format!("the request body cannot be read: {error}"))
    })
}

/// The answer to a client whose body we could not read.
fn wire_error(kind: &Kind) -> ApiError {
    let (error, status) = match kind {
        Kind::TooLarge { .. } => (ErrorKind::TooLarge, None),
        // Not the kind `timeout`: that is a provider's.
        Kind::Timeout(_) => (ErrorKind::Invalid, Some(reply::TOO_SLOW)),
        _ => (ErrorKind::Invalid, None),
    };
    ApiError { status, ..ApiError::new(error, format!("the request body cannot be read: {kind}")) }
}

/// Checks the body and finds what routing needs.
fn understood(body: &Bytes, dialect: Dialect, path: Option<paths::GeminiPath>) -> Result<Scanned, ApiError> {
    let mut scanned = scratch::read(body, |raw| {
        let raw = raw.map_err(|error| attempt::malformed(&error))?;
        if !raw.is_object() {
            let found = raw.kind().name();
            let message = format!("the request body must be a JSON object, not {found}");
            return Err(ApiError::new(ErrorKind::Invalid, message));
        }
        exchange::scan(raw, body).map_err(|(param, message)| ApiError::invalid(param, message))
    })?;
    if dialect == Dialect::Gemini {
        exchange::gemini(path, &mut scanned);
    }
    Ok(scanned)
}

async fn refused(call: Call<'_, Fresh>, dialect: Dialect, refusal: admit::Refusal, request_id: &str) {
    reply::error(call, dialect, &refusal.error(), request_id).await;
}

async fn missed(call: Call<'_, Fresh>, head: &RequestHead, miss: Miss, request_id: &str) {
    let path = String::from_utf8_lossy(head.path()).into_owned();
    let dialect = paths::likely(&path, paths::speaks(&head.headers));
    let (error, allow) = match miss {
        Miss::NotFound => (ApiError::no_such_path(format!("there is no {} {path} here", head.method)), None),
        Miss::Method(allow) => {
            let message = format!("{path} does not take {}: use {allow}", head.method);
            let code = Some("method_not_supported".to_owned());
            (ApiError { code, ..ApiError::new(ErrorKind::Invalid, message) }, Some(allow))
        }
    };
    let Some(allow) = allow else { return reply::error(call, dialect, &error, request_id).await };
    let mut body = Vec::new();
    dialect.encode_error(&error, request_id, &mut body);
    let head =
        ResponseHead::new(StatusCode::METHOD_NOT_ALLOWED).with("content-type", "application/json").with("allow", allow);
    drop(call.respond(head, body.into()).await);
}

/// The event that a candidate is left alone for a while.
fn cooling(candidate: &Candidate, wait: Duration) -> What {
    let wait = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
    What::ProviderState {
        provider: candidate.upstream.name.clone(),
        state: "cooling",
        until_ms: Some(now_ms().saturating_add(wait)),
    }
}

/// Tells the client that nobody could answer: the last candidate's reason.
async fn give_up(exchange: &mut Exchange, unanswered: Unanswered<'_, '_>) {
    let Unanswered { call, failure, candidate, attempts } = unanswered;
    match failure.verbatim {
        Some((head, body)) => {
            exchange.ledger.sent(body.len() as u64);
            let head = reply::mark(head, exchange, candidate, attempts);
            drop(call.respond(head, body).await);
        }
        None => {
            let head = reply::mark(ResponseHead::new(StatusCode::OK), exchange, candidate, attempts);
            let error =
                if exchange.intercepted.is_some() { intercept::shielded(&failure.error) } else { failure.error };
            reply::error_with(call, exchange.client, &error, &exchange.id, head).await;
        }
    }
}
