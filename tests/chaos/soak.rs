//! A fixed load for a while, with connections that come and go, streams that are cut and errors: memory stays level, and
//! nothing is left behind.
//!
//! The short form runs with every other test. The long one is for a release build, half an hour of it:
//!
//! ```sh
//! cargo build --release
//! TEST_FLOW_ROUTER=target/release/flow-router SOAK_SECONDS=1800 SOAK_RATE=200 \
//!     cargo test --test chaos soak -- --nocapture
//! ```

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use codecs::dialect::Dialect;
use tokio::{
    net::TcpStream,
    sync::{Semaphore, mpsc},
    time::{MissedTickBehavior, interval},
};

use crate::{
    support::{Client, Conn, Upstream, router::provider, speech},
    view::{View, view},
    world::{Ask, World, answer_well, model_of, resident_bytes, stream_head},
};

/// Exchanges at once; a machine that is too busy for the rate falls behind instead of piling up.
const AT_ONCE: usize = 64;
/// Requests after which a client's connection makes room for a new one.
const CONNECTION_REQUESTS: usize = 50;
/// Soaks from this length on are judged by the slope.
const LONG: Duration = Duration::from_secs(600);
/// What memory may gain by the hour, in MiB.
const SLOPE: f64 = 1.0;
/// What it may gain in a short soak, in MiB: arenas are still being filled.
const SHORT_GAIN: f64 = 8.0;
const MIB: f64 = (1 << 20) as f64;

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap())
}

/// Does what the model's name says.
async fn upstream(dialect: Dialect) -> Upstream {
    let begun = speech::stream(dialect).prologue.concat() + &speech::stream(dialect).content[0];
    let refusal = speech::error_body(dialect, "not today");
    Upstream::start(move |mut conn: Conn| {
        let (begun, refusal) = (begun.clone(), refusal.clone());
        async move {
            while let Some(asked) = conn.asked().await {
                // Half an hour of requests would fill this process instead.
                conn.forget();
                match model_of(&asked).as_str() {
                    "whole" => answer_well(&mut conn, dialect, false).await,
                    "cut" => {
                        conn.write(stream_head(dialect)).await;
                        conn.chunk(&begun).await;
                        return conn.reset();
                    }
                    "refuses" => conn.answer(503, &[("content-type", "application/json")], &refusal).await,
                    "waits" => {
                        conn.write(stream_head(dialect)).await;
                        conn.chunk(&begun).await;
                        return conn.closed().await;
                    }
                    "silent" => return conn.closed().await,
                    _ => answer_well(&mut conn, dialect, true).await,
                }
            }
        }
    })
    .await
}

/// The clients.
struct Load {
    addr: SocketAddr,
    /// Connections that wait for their next request, with how many they had.
    idle: Mutex<Vec<(Client, usize)>>,
    done: AtomicUsize,
}

impl Load {
    async fn exchange(&self, n: usize) {
        let client = [Dialect::OpenAiChat, Dialect::Anthropic][n / 20 % 2];
        let ask = |stream: bool, model: &str| Ask::new(client, stream, model);
        match n % 20 {
            0..8 => self.kept(&ask(true, "a/stream")).await,
            8..12 => self.kept(&ask(true, "b/stream")).await,
            12..14 => self.kept(&ask(false, "a/whole")).await,
            14 => assert!(matches!(ask(true, "a/cut").view(self.addr).await, View::Broken { .. })),
            15 => assert!(matches!(ask(false, "b/refuses").view(self.addr).await, View::Refused { .. })),
            16 => drop(self.begun(&ask(true, "a/waits")).await),
            17 => {
                let (path, body) = ask(true, "b/silent").wire();
                let mut conn = Client::connect(self.addr).await;
                conn.request("POST", &path, &[], body.as_bytes()).await;
                conn.into_io().set_zero_linger().unwrap();
            }
            18 => drop(TcpStream::connect(self.addr).await.unwrap()),
            _ => self.kept(&ask(false, "b/whole")).await,
        }
        self.done.fetch_add(1, SeqCst);
    }

    /// A good answer on a connection that is used again.
    async fn kept(&self, ask: &Ask) {
        let idle = self.idle.lock().unwrap().pop();
        let (mut conn, used) = match idle {
            Some(conn) => conn,
            None => (Client::connect(self.addr).await, 0),
        };
        let (path, body) = ask.wire();
        conn.request("POST", &path, &[], body.as_bytes()).await;
        assert_eq!(view(ask.client, ask.stream, &conn.answer().await), View::Whole);
        if used < CONNECTION_REQUESTS {
            self.idle.lock().unwrap().push((conn, used + 1));
        }
    }

    /// A client in the middle of a stream.
    async fn begun(&self, ask: &Ask) -> Client {
        let (path, body) = ask.wire();
        let mut conn = Client::connect(self.addr).await;
        conn.request("POST", &path, &[], body.as_bytes()).await;
        assert_eq!(conn.head().await.0, 200);
        conn.until("Hello").await;
        conn
    }
}

/// Starts an exchange at every tick until it is told to stop. Returns how many there were.
async fn run(load: Arc<Load>, rate: u64, mut stop: mpsc::Receiver<()>) -> usize {
    let room = Arc::new(Semaphore::new(AT_ONCE));
    let mut ticks = interval(Duration::from_secs(1) / u32::try_from(rate).unwrap());
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut n = 0;
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = stop.recv() => break,
        }
        n += 1;
        let permit = room.clone().acquire_owned().await.unwrap();
        let load = load.clone();
        // One that panics does not count as done.
        tokio::spawn(async move {
            load.exchange(n).await;
            drop(permit);
        });
    }
    drop(room.acquire_many(u32::try_from(AT_ONCE).unwrap()).await.unwrap());
    n
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The median of the slopes between all pairs of points (Theil and Sen): a step or a peak does not decide it.
fn slope(points: &[(f64, f64)]) -> f64 {
    let pairs =
        points.iter().enumerate().flat_map(|(n, a)| points[n + 1..].iter().map(move |b| (b.1 - a.1) / (b.0 - a.0)));
    median(pairs.collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_stays_level() {
    let length = Duration::from_secs(number("SOAK_SECONDS", 20));
    let rate = number("SOAK_RATE", 100);
    let (a, b) = (upstream(Dialect::OpenAiChat).await, upstream(Dialect::Anthropic).await);
    let config = provider("a", Dialect::OpenAiChat, &a) + &provider("b", Dialect::Anthropic, &b);
    let world = World::start(&config, &[]).await;
    let pid = world.router.pid();
    let load = Arc::new(Load { addr: world.addr(), idle: Mutex::default(), done: AtomicUsize::new(0) });
    let (stop, stopped) = mpsc::channel(1);
    let running = tokio::spawn(run(load.clone(), rate, stopped));
    // Hours and MiB, once a second.
    let (began, mut ticks, mut points) = (Instant::now(), interval(Duration::from_secs(1)), Vec::new());
    while began.elapsed() < length {
        ticks.tick().await;
        assert!(!running.is_finished(), "the load has ended");
        points.push((began.elapsed().as_secs_f64() / 3600.0, resident_bytes(pid) as f64 / MIB));
    }
    stop.send(()).await.unwrap();
    let begun = running.await.unwrap();
    let exchanges = load.done.load(SeqCst);
    assert_eq!(exchanges, begun, "some did not go as they should");
    assert!(exchanges as u64 > rate * length.as_secs() / 4, "only {exchanges} exchanges");
    // A third of the time, but no more than ten minutes, is for warming up.
    let warm = (length / 3).min(Duration::from_secs(600)).as_secs_f64() / 3600.0;
    points.retain(|(hours, _)| *hours > warm);
    let (first, last) = points.split_at(points.len() / 2);
    let of = |half: &[(f64, f64)]| median(half.iter().map(|(_, mib)| *mib).collect());
    let (first, last, slope) = (of(first), of(last), slope(&points));
    let least = points.iter().map(|(_, mib)| *mib).fold(f64::MAX, f64::min);
    let most = points.iter().map(|(_, mib)| *mib).fold(0.0, f64::max);
    println!(
        "soak: {} s at {rate}/s, {exchanges} exchanges; resident {least:.2} to {most:.2} MiB, median of the halves \
         behind the warm-up {first:.2} and {last:.2}, slope {slope:.3} MiB/h",
        length.as_secs()
    );
    if length >= LONG {
        assert!(slope <= SLOPE, "{slope} MiB/h");
    } else {
        assert!(last - first <= SHORT_GAIN, "{first} MiB became {last} MiB");
    }
    load.idle.lock().unwrap().clear();
    world.over().await;
}
