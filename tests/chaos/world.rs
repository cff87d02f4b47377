//! A router whose numbers are written down before the faults and compared behind them.

use std::{
    collections::HashMap,
    fs,
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use codecs::dialect::Dialect;
use flow_router::store::usage::{Filter, Names, Outcome, UsageRow, list};
use rusqlite::{Connection, OpenFlags};

use crate::{
    support::{
        Answer, Client, PATIENCE, Router, Upstream,
        router::{command, provider},
        speech,
    },
    view::{View, view},
};

/// Who asks whom, client first: every dialect forwarded, and one pair translated each way.
pub(crate) const PAIRS: [(Dialect, Dialect); 7] = [
    (Dialect::OpenAiChat, Dialect::OpenAiChat),
    (Dialect::OpenAiResponses, Dialect::OpenAiResponses),
    (Dialect::Anthropic, Dialect::Anthropic),
    (Dialect::Gemini, Dialect::Gemini),
    (Dialect::Ollama, Dialect::Ollama),
    (Dialect::OpenAiChat, Dialect::Anthropic),
    (Dialect::Anthropic, Dialect::OpenAiChat),
];

/// Requests that make the program reach its usual size.
const WARM: usize = 20;
/// How much a process may have grown for the good: arenas, caches, its database's pages.
const GROWTH: usize = 32 << 20;

/// A router under faults.
pub(crate) struct World {
    pub(crate) router: Router,
    /// Answers well, before, between and behind the faults.
    _good: Upstream,
    before: Marks,
    growth: usize,
}

/// What a process holds.
#[derive(Debug, Clone, Copy)]
struct Marks {
    /// Open descriptors, those of pooled connections to providers left out.
    files: usize,
    /// Resident bytes.
    resident: usize,
}

/// One request of a case.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) client: Dialect,
    pub(crate) stream: bool,
    /// `provider/name`; the name is how its row is found.
    pub(crate) model: String,
}

impl Ask {
    pub(crate) fn new(client: Dialect, stream: bool, model: impl Into<String>) -> Self {
        Self { client, stream, model: model.into() }
    }

    /// What goes over the wire: path and body.
    pub(crate) fn wire(&self) -> (String, String) {
        let Self { client, stream, model } = self;
        (speech::path(*client, model, *stream), speech::request(*client, model, *stream))
    }

    pub(crate) async fn answer(&self, addr: SocketAddr) -> Answer {
        let (path, body) = self.wire();
        Client::post(addr, &path, body).await
    }

    /// Asks, and reads the answer as a client does.
    pub(crate) async fn view(&self, addr: SocketAddr) -> View {
        view(self.client, self.stream, &self.answer(addr).await)
    }
}

/// The gauges of a router at one moment.
#[derive(Debug)]
pub(crate) struct Gauges(String);

impl Gauges {
    pub(crate) async fn of(addr: SocketAddr) -> Self {
        Self(Client::get(addr, "/metrics").await.text())
    }

    /// The value of a line that begins like this.
    #[track_caller]
    pub(crate) fn get(&self, line: &str) -> usize {
        let found = self.0.lines().find_map(|other| other.strip_prefix(line)).and_then(|rest| rest.trim().parse().ok());
        found.unwrap_or_else(|| panic!("`{line}` is not in\n{}", self.0))
    }

    pub(crate) fn upstream(&self, protocol: &str, state: &str) -> usize {
        self.get(&format!("flow_router_upstream_connections{{lane=\"0\",protocol=\"{protocol}\",state=\"{state}\"}}"))
    }

    /// Connections that wait in the pool.
    pub(crate) fn idle(&self) -> usize {
        self.upstream("http1", "idle") + self.upstream("http2", "idle")
    }

    /// Client connections, that of the scrape left out.
    pub(crate) fn clients(&self) -> usize {
        self.get("flow_router_client_connections{lane=\"0\"}").saturating_sub(1)
    }

    /// Whether nothing runs, nothing waits and nothing is held, with `sitting` client connections open.
    fn is_quiet(&self, sitting: usize) -> bool {
        let zero = ["flow_router_in_flight", "flow_router_holding"];
        let zero_of_lane = ["flow_router_upstream_connecting", "flow_router_upstream_streams"];
        zero.iter().all(|name| self.get(name) == 0)
            && zero_of_lane.iter().all(|name| self.get(&format!("{name}{{lane=\"0\"}}")) == 0)
            && self.get("flow_router_http_requests_open{lane=\"0\"}") == 1
            && self.upstream("http1", "in_use") + self.upstream("http2", "in_use") == 0
            && self.clients() == sitting
    }
}

impl World {
    /// Starts a router with this configuration, has it serve a little, and writes its numbers down.
    pub(crate) async fn start(config: &str, flags: &[&str]) -> Self {
        Self::start_with(config, flags, None).await
    }

    /// Likewise, with so many descriptors at most.
    pub(crate) async fn start_with(config: &str, flags: &[&str], descriptors: Option<usize>) -> Self {
        let good = Upstream::start(|mut conn| async move {
            while let Some(asked) = conn.asked().await {
                answer_well(&mut conn, Dialect::OpenAiChat, asked.json()["stream"] == true).await;
            }
        })
        .await;
        let config = config.to_owned() + &provider("good", Dialect::OpenAiChat, &good);
        let flags = [&["--lanes", "1", "--log", "warn"], flags].concat();
        let router = match descriptors {
            None => Router::start_with(&config, &flags),
            Some(most) => {
                let dir = tempfile::tempdir().unwrap();
                Router::start_as(limited(dir.path(), most), dir, &config, &flags)
            }
        };
        let mut world = Self { router, _good: good, before: Marks { files: 0, resident: 0 }, growth: GROWTH };
        for _ in 0..WARM {
            world.serves().await;
        }
        let idle = world.quiet(0).await.idle();
        // The scrape's own connection may be closing still: what comes back must not be more than the fewest seen.
        let pid = world.router.pid();
        let mut files = usize::MAX;
        for _ in 0..3 {
            Gauges::of(world.router.addr).await;
            files = files.min(open_files(pid));
        }
        world.before = Marks { files: files - idle, resident: resident_bytes(pid) };
        world
    }

    /// Lets the process grow by more than usual.
    pub(crate) fn may_grow(mut self, bytes: usize) -> Self {
        self.growth = bytes;
        self
    }

    /// What clients see who ask this, `width` at a time; in the order of the asks.
    pub(crate) async fn views(&self, width: usize, asks: impl IntoIterator<Item = &Ask>) -> Vec<View> {
        let addr = self.addr();
        let asks = asks.into_iter().cloned();
        side_by_side(width, asks.map(|ask| async move { ask.view(addr).await })).await
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.router.addr
    }

    /// Asserts that good requests are answered well, streamed and not, translated and not.
    pub(crate) async fn serves(&self) {
        for client in [Dialect::OpenAiChat, Dialect::Anthropic] {
            for stream in [false, true] {
                assert_eq!(Ask::new(client, stream, "good/ok").view(self.addr()).await, View::Whole);
            }
        }
    }

    /// Waits until nothing runs any more but `sitting` idle connections of clients.
    pub(crate) async fn quiet(&self, sitting: usize) -> Gauges {
        let since = Instant::now();
        loop {
            let gauges = Gauges::of(self.addr()).await;
            if gauges.is_quiet(sitting) {
                return gauges;
            }
            assert!(since.elapsed() < PATIENCE, "it does not become quiet:\n{}", gauges.0);
        }
    }

    /// Resident bytes more than before.
    pub(crate) fn grown(&self) -> usize {
        resident_bytes(self.router.pid()).saturating_sub(self.before.resident)
    }

    /// Asserts that nothing was left behind, that it still serves, and that it ends in order. Returns what was booked, by
    /// the name of the model.
    pub(crate) async fn over(mut self) -> Rows {
        self.serves().await;
        let since = Instant::now();
        loop {
            let idle = self.quiet(0).await.idle();
            let files = open_files(self.router.pid());
            if files <= self.before.files + idle {
                break;
            }
            assert!(since.elapsed() < PATIENCE, "{files} descriptors, {idle} of them idle; before: {:?}", self.before);
        }
        // The allocator gives pages back while it works.
        while self.grown() > self.growth {
            assert!(since.elapsed() < PATIENCE, "memory grew by {} bytes", self.grown());
            self.serves().await;
        }
        let log = self.router.log();
        assert!(!log.contains("panicked"), "{log}");
        self.router.terminate();
        assert!(self.router.ended().await.success(), "{}", self.router.log());
        Rows::read(&self.router)
    }
}

/// The program, with so many descriptors at most. The shell makes way for it.
fn limited(dir: &Path, descriptors: usize) -> Command {
    let plain = command(dir);
    let mut limited = Command::new("sh");
    limited.arg("-c").arg(format!("ulimit -n {descriptors} && exec \"$0\" \"$@\"")).arg(plain.get_program());
    limited.env_clear().envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?)))).stdin(Stdio::null());
    limited
}

/// What was booked, by the name of the model.
#[derive(Debug)]
pub(crate) struct Rows(HashMap<String, Vec<UsageRow>>);

impl Rows {
    fn read(router: &Router) -> Self {
        let file = router.data_dir().join("db/data.sqlite");
        let conn = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
        let (mut rows, mut from, mut names) = (HashMap::<_, Vec<_>>::new(), None, Names::default());
        loop {
            let page = list(&conn, &mut names, &Filter::default(), from, 1_000).unwrap();
            for logged in page.rows {
                let name = logged.row.model.as_deref().unwrap_or_default().to_owned();
                rows.entry(name).or_default().push(logged.row);
            }
            from = page.next;
            if from.is_none() {
                break;
            }
        }
        Self(rows)
    }

    /// All rows of a model.
    pub(crate) fn of(&self, model: &str) -> &[UsageRow] {
        let name = model.rsplit('/').next().unwrap_or(model);
        self.0.get(name).map_or(&[], Vec::as_slice)
    }

    /// The only row of a model.
    #[track_caller]
    pub(crate) fn one(&self, model: &str) -> &UsageRow {
        let rows = self.of(model);
        assert_eq!(rows.len(), 1, "{model}: {rows:#?}");
        &rows[0]
    }

    /// Asserts that the row of a request says what its client saw.
    #[track_caller]
    pub(crate) fn agree(&self, ask: &Ask, view: &View) {
        let row = self.one(&ask.model);
        let tokens = (row.tokens_in, row.tokens_out);
        let what = format!("{ask:?} {view:?} {row:?}");
        assert_eq!((row.attempt, row.attempts, row.stream), (1, 1, ask.stream), "{what}");
        match view {
            View::Whole => {
                assert_eq!((row.outcome, row.status), (Outcome::Ok, 200), "{what}");
                // Without the counts of its last event an answer is estimated; Chat's can be whole without it.
                assert!(row.error.is_none() && (tokens == (11, 3)) != row.estimated, "{what}");
            }
            View::Broken { .. } => {
                let blamed = matches!(row.outcome, Outcome::UpstreamError | Outcome::Stall);
                assert!(blamed && row.status == 200 && row.error.is_some(), "{what}");
                // What the provider has said counts, also where the client did not come to see it.
                assert!(tokens.0 > 0 && tokens.1 > 0, "{what}");
            }
            View::Refused { status, .. } => {
                let blamed = matches!(row.outcome, Outcome::UpstreamError | Outcome::Timeout);
                assert!(blamed && row.error.is_some(), "{what}");
                // Some dialects have one status for everything that is a provider's fault; the row has the finer one.
                assert!(row.status == *status || (*status == 500 && row.status == 502), "{what}");
                assert_eq!(tokens, (0, 0), "{what}");
            }
        }
    }
}

/// A good answer on a connection that can be used again.
pub(crate) async fn answer_well(conn: &mut crate::support::Conn, dialect: Dialect, stream: bool) {
    conn.write(good_bytes(dialect, stream)).await;
}

/// A good answer as it is on the wire: a chunk per event, or a document with its length.
pub(crate) fn good_bytes(dialect: Dialect, stream: bool) -> Vec<u8> {
    if !stream {
        let body = speech::reply(dialect);
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ";
        return format!("{head}{}\r\n\r\n{body}", body.len()).into_bytes();
    }
    let mut bytes = stream_head(dialect).into_bytes();
    for block in speech::stream(dialect).blocks() {
        bytes.extend(crate::support::wire::chunk(&block));
    }
    bytes.extend(b"0\r\n\r\n");
    bytes
}

/// The head of a chunked stream.
pub(crate) fn stream_head(dialect: Dialect) -> String {
    let content_type = dialect.stream_content_type();
    format!("HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ntransfer-encoding: chunked\r\n\r\n")
}

/// The model that an upstream was asked for: Gemini has it in the path.
pub(crate) fn model_of(asked: &crate::support::upstream::Asked) -> String {
    match asked.target().split_once("/models/") {
        Some((_, rest)) => rest.split(':').next().unwrap().to_owned(),
        None => asked.json()["model"].as_str().unwrap().to_owned(),
    }
}

/// Runs these futures side by side, `width` at a time, and returns what they came to, in order.
async fn side_by_side<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
    width: usize,
    futures: impl IntoIterator<Item = F>,
) -> Vec<T> {
    let mut waiting = futures.into_iter();
    let (mut running, mut done) = (std::collections::VecDeque::new(), Vec::new());
    loop {
        while running.len() < width {
            let Some(next) = waiting.next() else { break };
            running.push_back(tokio::spawn(next));
        }
        let Some(first) = running.pop_front() else { return done };
        done.push(first.await.unwrap());
    }
}

/// Descriptors that a process has open.
pub(crate) fn open_files(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

/// Resident memory of a process in bytes.
pub(crate) fn resident_bytes(pid: u32) -> usize {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

/// Short limits for cases in which nothing comes: well above what a busy machine needs for one step.
pub(crate) const SHORT: Duration = Duration::from_millis(2_000);
