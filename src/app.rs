//! Composition root: builds every part once, and owns the order in which they start and stop.

use std::{fs, io, io::Write as _, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use proxy::{Client, ClientConfig, Egress, Limits, OwnAddresses, Roots, Server, Timeouts, listen};
use tokio::{runtime::Runtime, sync::watch};
use tracing::{error, info, warn};

use crate::{
    again::Again,
    api::{Api, Management, auth::Ways},
    boot::{self, Refused},
    front::Front,
    gateway::{Gateway, Snapshot},
    live::Live,
    mitm::{Ground, Manager},
    running,
    runtime::{After, Layout, Stop, lane},
    settings::{Settings, Sources},
    telemetry, vendor,
};

/// A program that runs: lanes that serve until they are told to drain.
pub struct App {
    lanes: Vec<Runtime>,
    servers: Vec<tokio::task::JoinHandle<()>>,
    drain: watch::Sender<bool>,
    addr: SocketAddr,
    live: Live,
    management: Management,
    mitm: Manager,
    signals: Signals,
    /// Raised by whoever else may end the program.
    stop: Stop,
    again: Again,
    /// How long new connections are still served after the signal.
    delay: Duration,
    /// How long running exchanges may go on after that.
    grace: Duration,
    _lock: fs::File,
}

impl App {
    /// Locks the data folder, opens the store, binds, and starts to serve. `settings` are those without the store: they
    /// say where it is.
    pub fn start(sources: Sources, settings: &Settings) -> Result<Self, Refused> {
        let lock = boot::lock(&settings.data_dir)?;
        let again = Again::here();
        let opening = lane(1)?;
        let live = opening.block_on(boot::open(sources, settings))?;
        let snapshot = live.snapshot();
        let settings = &snapshot.settings;
        telemetry::log::filter(settings);
        let layout = Layout::here(settings.lanes);
        let limits = limits(settings, layout.lanes);
        let timeouts = timeouts(settings);
        let roots = roots(settings.ca_file.as_deref())?;
        let egress = egress(&settings.proxy)?;
        let (drain, drained) = watch::channel(false);
        let mut addr = settings.addr;
        let delay = settings.drain_delay.min(settings.drain);
        let grace = settings.drain - delay;
        let shared = live.shared();
        let stop = Stop::default();
        let management =
            opening.block_on(Management::open(live.clone(), stop.clone(), again.clone(), drained.clone()))?;
        let (mut lanes, mut servers) = (Vec::new(), Vec::new());
        let (guard, mut ground) = (OwnAddresses::new(), None);
        for _ in 0..layout.lanes {
            let runtime = lane(layout.workers)?;
            let entered = runtime.enter();
            let listener = listen(addr, layout.lanes > 1).map_err(|error| bind_error(addr, &error))?;
            // Port 0: the first lane finds a port, the others share it.
            addr = listener.local_addr()?;
            let config = ClientConfig {
                limits: limits.clone(),
                timeouts: timeouts.clone(),
                egress: egress.clone(),
                roots: roots.clone(),
                refuse: vendor::is_forbidden,
                own: guard.clone(),
                ..ClientConfig::default()
            };
            let outside = ClientConfig { refuse: vendor::is_inside, ..config.clone() };
            let base = config.clone();
            let client = Client::new(config).map_err(io::Error::other)?;
            let outside = Client::new(outside).map_err(io::Error::other)?;
            let server = Server::new(limits.clone(), timeouts.clone());
            shared.metrics.lanes.add(server.monitor(), client.clone());
            management.listens_at(addr);
            let api = Api::new(&management, Ways { any: client.clone(), outside });
            let gateway = Gateway::new(shared.clone(), client);
            ground.get_or_insert_with(|| Ground {
                live: live.clone(),
                gateway: gateway.clone(),
                client: base,
                own: vec![addr],
                guard: guard.clone(),
                handle: runtime.handle().clone(),
                seen: Arc::default(),
            });
            let front = Arc::new(Front::new(gateway, api));
            let mut drained = drained.clone();
            let told = async move {
                // An error means that the sender is gone, which is a reason to drain as well.
                drop(drained.wait_for(|drained| *drained).await);
            };
            servers.push(runtime.spawn(server.serve(listener, front, told, grace)));
            drop(entered);
            lanes.push(runtime);
        }
        let (Some(first), Some(ground)) = (lanes.first(), ground) else {
            return Err(io::Error::other("there is no lane").into());
        };
        let mitm = Manager::new(ground);
        mitm.clean();
        management.intercepts_with(mitm.clone());
        running::announce(&settings.data_dir, addr);
        // Before anybody is told that we are here: who hears that may send a signal at once.
        let signals = {
            let _entered = first.enter();
            Signals::new()?
        };
        greet(&snapshot, addr, layout);
        live.keep();
        Ok(Self {
            lanes,
            servers,
            drain,
            addr,
            live,
            management,
            mitm,
            signals,
            stop,
            again,
            delay,
            grace,
            _lock: lock,
        })
    }

    /// The address that clients use.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Serves until SIGTERM or SIGINT, then drains: says not ready, waits, takes no more connections, lets exchanges end,
    /// and closes the store last, because exchanges book their rows when they end. SIGHUP reads the files again. Returns
    /// how to start again, if that is wanted.
    pub fn run(mut self) -> io::Result<Option<Again>> {
        let Some(first) = self.lanes.first() else { return Ok(None) };
        let after = first.block_on(async {
            let store = self.live.store().clone();
            let mut awaited = true;
            if self.live.snapshot().settings.mitm.start {
                let mitm = self.mitm.clone();
                // Requests are served meanwhile. What keeps it from starting is on the log, and in its status.
                tokio::spawn(async move { mitm.insist().await });
            }
            let after = loop {
                let said = tokio::select! {
                    said = self.signals.next() => said,
                    after = self.stop.raised() => Said::End(after),
                    () = store.arrived(), if awaited => Said::Arrived,
                };
                match said {
                    Said::End(after) => break after,
                    Said::Reload => reload(&self.live).await,
                    Said::Arrived => {
                        awaited = false;
                        self.management.store_arrived().await;
                        waiting(&self.live);
                    }
                }
            };
            self.live.shared().unready();
            // First of all: names must not lead to a program that ends.
            self.mitm.end().await;
            info!(delay_s = self.delay.as_secs_f32(), grace_s = self.grace.as_secs_f32(), "draining");
            tokio::select! {
                () = tokio::time::sleep(self.delay) => {}
                // Whoever says it twice does not want to wait for others to notice.
                () = self.signals.end(), if !self.delay.is_zero() => {}
            }
            self.drain.send_replace(true);
            for server in self.servers.drain(..) {
                // A server task cannot fail but by a panic, which is on the log already.
                drop(server.await);
            }
            after
        });
        for lane in self.lanes.drain(..) {
            // What was cut is dropped here, with what it has to book.
            lane.shutdown_timeout(LANE_END);
        }
        self.live.store().close(STORE_END);
        info!("stopped");
        Ok((after == After::Again).then_some(self.again))
    }
}

/// How long a lane may take to drop its tasks.
const LANE_END: Duration = Duration::from_millis(500);
/// How long the store may take to write what waits.
const STORE_END: Duration = Duration::from_secs(5);

/// Reads the files again, and says what came of it.
async fn reload(live: &Live) {
    match live.reload().await {
        Ok(()) => waiting(live),
        Err(faults) => {
            live.shared().metrics.configuration("refused");
            for fault in &faults {
                error!(place = fault.place, "{}", fault.message);
            }
            error!(faults = faults.len(), "the configuration stays as it was");
        }
    }
}

/// Says what a changed configuration cannot change while the program runs.
fn waiting(live: &Live) {
    let pending = live.pending();
    if !pending.is_empty() {
        warn!(settings = pending.join(","), "these settings wait for the next start");
    }
}

fn limits(settings: &Settings, lanes: usize) -> Limits {
    // `max_body` is kept by the gateway, which can say so in the client's dialect; the server would answer without a word.
    // A body that nobody asks for is never read beyond the little that keeps a connection in use.
    let body_bytes = usize::MAX >> 1;
    // Each lane has its share: the kernel spreads connections evenly between them.
    let connections = settings.max_connections.div_ceil(lanes.max(1));
    Limits { body_bytes, connections, ..Limits::default() }
}

fn timeouts(settings: &Settings) -> Timeouts {
    Timeouts {
        head: settings.client_head_timeout,
        body: settings.client_body_timeout,
        idle: settings.client_idle_timeout,
        write: settings.client_write_timeout,
        connect: settings.connect_timeout,
        ..Timeouts::default()
    }
}

fn egress(proxy: &str) -> io::Result<Egress> {
    match proxy {
        "direct" => Ok(Egress::direct()),
        "env" => Egress::from_env().map_err(io::Error::other),
        url => Egress::from_vars(|name| (name == "ALL_PROXY").then(|| url.to_owned())).map_err(io::Error::other),
    }
}

/// The bundled roots, and those of a PEM file.
fn roots(file: Option<&Path>) -> io::Result<Roots> {
    use proxy::PemObject as _;
    let Some(path) = file else { return Ok(Roots::Bundled) };
    let wrong = |reason: String| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {reason}", path.display()));
    let text = fs::read(path).map_err(|error| wrong(error.to_string()))?;
    let read = proxy::CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>();
    match read {
        Ok(certificates) if !certificates.is_empty() => Ok(Roots::BundledPlus(certificates)),
        Ok(_) => Err(wrong("there is no certificate in it".to_owned())),
        Err(error) => Err(wrong(error.to_string())),
    }
}

fn bind_error(addr: SocketAddr, error: &io::Error) -> io::Error {
    let hint = match error.kind() {
        io::ErrorKind::AddrInUse => ": another program listens there; choose another with --addr",
        io::ErrorKind::PermissionDenied => ": ports below 1024 need privileges; choose another with --addr",
        _ => "",
    };
    io::Error::new(error.kind(), format!("cannot listen on {addr}: {error}{hint}"))
}

/// The ready line, for people and for scripts that wait for it; and what is served.
fn greet(snapshot: &Snapshot, addr: SocketAddr, layout: Layout) {
    let names: Vec<_> = snapshot.catalog.upstreams().iter().map(|upstream| &*upstream.name).collect();
    info!(
        version = env!("CARGO_PKG_VERSION"),
        lanes = layout.lanes,
        workers = layout.workers,
        providers = names.join(","),
        "started"
    );
    if snapshot.catalog.demo_only() {
        warn!("no provider is configured: the embedded demo answers every request, with no model behind it");
    }
    // Whether anybody reads it is nothing to end for.
    let _ = writeln!(io::stdout().lock(), "flow-router listening on http://{addr}");
}

/// What there is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    /// To end, and what comes then.
    End(After),
    /// To read the files again.
    Reload,
    /// To put in force what the database says, which is there now.
    Arrived,
}

/// Ears for SIGTERM, SIGINT and SIGHUP. From the moment they exist the signals end the program in order only.
#[cfg(unix)]
#[derive(Debug)]
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for the next one.
    async fn next(&mut self) -> Said {
        tokio::select! {
            _ = self.terminate.recv() => Said::End(After::Nothing),
            _ = self.interrupt.recv() => Said::End(After::Nothing),
            _ = self.hangup.recv() => Said::Reload,
        }
    }
}

/// Ears for Ctrl-C.
#[cfg(windows)]
#[derive(Debug)]
struct Signals(tokio::signal::windows::CtrlC);

#[cfg(windows)]
impl Signals {
    fn new() -> io::Result<Self> {
        tokio::signal::windows::ctrl_c().map(Self)
    }

    /// Waits for the next one.
    async fn next(&mut self) -> Said {
        self.0.recv().await;
        Said::End(After::Nothing)
    }
}

impl Signals {
    /// Waits for one that asks for the end.
    async fn end(&mut self) {
        while !matches!(self.next().await, Said::End(_)) {}
    }
}
