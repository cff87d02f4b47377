//! The steps of interception on this machine.
//!
//! Everything here blocks; the manager calls it away from the lanes' workers. The listener itself is served by a lane.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use certs::{Cache, LeafKey, Root};
use proxy::{
    ClientConfig, Names, OwnAddresses, PastHosts, Relay, Server,
    front::{Entry, Front, FrontConfig},
};
use tokio::{runtime::Handle, sync::watch, task::JoinHandle};
use tracing::{info, warn};

use super::{
    Failure,
    answers::Answers,
    authority, doctor,
    gate::Judge,
    hands::Hands,
    journal::{Entry as Written, Journal, VERSION},
    lifecycle::{Step, System},
    seen::Seen,
    self_test, system, upstreams,
};
use crate::{
    gateway::Gateway,
    live::Live,
    settings::{Interception, interception::Mode},
    usage::live::{now_ms, rfc3339},
};

/// How long running calls may go on when interception ends.
const GRACE: Duration = Duration::from_secs(5);

/// What interception stands on, made once.
#[derive(Clone)]
pub struct Ground {
    /// The configuration.
    pub live: Live,
    /// What answers chats.
    pub gateway: Gateway,
    /// How the true hosts are reached, but for their addresses.
    pub client: ClientConfig,
    /// Where this program listens besides interception: never reached from here.
    pub own: Vec<SocketAddr>,
    /// Told where interception listens, so that the gateway never asks it for a vendor.
    pub guard: OwnAddresses,
    /// Where connections are served.
    pub handle: Handle,
    /// What was seen.
    pub seen: Arc<Seen>,
}

/// A listener that is served.
struct Open {
    address: SocketAddr,
    task: JoinHandle<()>,
}

/// One start of interception.
pub(super) struct Machine {
    ground: Ground,
    settings: Interception,
    folder: PathBuf,
    hosts_file: PathBuf,
    /// What signs leaves; nothing does without TLS.
    cache: Option<Arc<Cache>>,
    names: Option<Arc<PastHosts>>,
    /// What only this process says.
    instance: Arc<str>,
    open: Vec<Open>,
    drain: watch::Sender<bool>,
    hands: Hands,
}

impl Machine {
    /// Makes ready what changes nothing of the system: the authority, and the vendors' true addresses. Blocks.
    ///
    /// # Errors
    /// No tool is switched on, there is no authority, or no way to the vendors.
    pub(super) fn new(ground: Ground) -> Result<Self, Failure> {
        let snapshot = ground.live.snapshot();
        let settings = snapshot.settings.mitm.clone();
        if settings.wanted_hosts().is_empty() && !matches!(settings.mode, Mode::Reverse(_)) {
            let message = "no tool is switched on: say which with --tools, or in the setting mitm_tools";
            return Err(Failure::new("no_tools", message).run("flow-router mitm start --tools kiro"));
        }
        let folder = system::folder(&snapshot.settings.data_dir);
        let cache = match settings.mode {
            Mode::Hosts | Mode::Proxy => {
                let authority = authority::ready(&folder, &settings, SystemTime::now())?;
                let key = LeafKey::p256().map_err(|error| Failure::new("ca", error.to_string()))?;
                Some(Arc::new(Cache::new(Arc::new(authority), key)))
            }
            Mode::Reverse(_) => None,
        };
        let names = {
            let _entered = ground.handle.enter();
            upstreams::resolver(&settings)?
        };
        if let Some(names) = &names {
            ground.handle.block_on(upstreams::learn(names, &settings, &folder));
        }
        let mut random = [0_u8; 16];
        getrandom::fill(&mut random).map_err(|error| Failure::new("random", error.to_string()))?;
        let instance = format!("{:032x}", u128::from_ne_bytes(random)).into();
        let hosts_file = system::hosts_path(&snapshot.settings);
        let drain = watch::channel(false).0;
        let hands = Hands::new(&folder, &hosts_file);
        Ok(Self { ground, settings, folder, hosts_file, cache, names, instance, open: Vec::new(), drain, hands })
    }

    /// Where it listens.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.open.iter().map(|open| open.address).collect()
    }

    /// The root of the certificates that it answers with.
    pub(super) fn root(&self) -> Option<Root> {
        self.cache.as_ref().map(|cache| cache.authority().root().clone())
    }

    /// The way of traffic that it was started for.
    pub(super) fn mode(&self) -> &Mode {
        &self.settings.mode
    }

    /// Puts the block in as the present settings want it: tools may have been switched since.
    ///
    /// # Errors
    /// As the step [`Step::Hosts`].
    pub(super) fn follow(&mut self) -> Result<(), Failure> {
        let snapshot = self.ground.live.snapshot();
        self.settings.tools.clone_from(&snapshot.settings.mitm.tools);
        self.settings.hosts.clone_from(&snapshot.settings.mitm.hosts);
        self.write_journal()?;
        self.apply_hosts()
    }

    fn listen(&mut self) -> Result<(), Failure> {
        let relay = self.relay()?;
        let _entered = self.ground.handle.enter();
        let wanted = self.settings.addr();
        let first = self.hands.bind(wanted)?;
        let address = first.local_addr().map_err(|error| Failure::listen(wanted, &error))?;
        let mut listeners = vec![(address, first)];
        if self.settings.mode == Mode::Hosts && wanted.ip() == IpAddr::V4(Ipv4Addr::LOCALHOST) {
            // Systems ask for both families: who gets no answer of ours for one of them goes past us.
            let second = SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), address.port());
            match self.hands.bind(second) {
                Ok(listener) => listeners.push((second, listener)),
                Err(failure) => warn!(address = %second, reason = failure.message, "IPv6 clients are not intercepted"),
            }
        }
        let answers = Answers::new(&self.ground, relay.clone(), self.instance.clone());
        let answers = Arc::new(answers.map_err(|error| Failure::new("mode", error.to_string()))?);
        let config = FrontConfig { timeouts: self.ground.client.timeouts.clone(), ..FrontConfig::default() };
        let front = match &self.cache {
            Some(cache) => {
                let told = self.settings.mode == Mode::Proxy;
                let judge = Judge::new(self.ground.live.clone(), cache.clone(), self.ground.seen.clone(), told)?;
                Some(Front::new(config.clone(), Arc::new(judge), answers.clone(), relay))
            }
            None => None,
        };
        for (address, listener) in listeners {
            self.ground.guard.add(address);
            let mut drained = self.drain.subscribe();
            let ended = async move {
                // An error means that the sender is gone, which is a reason to end as well.
                drop(drained.wait_for(|drained| *drained).await);
            };
            let task = match front.clone() {
                Some(front) => {
                    let proxy = self.settings.mode == Mode::Proxy;
                    let entry = if proxy { Entry::Proxy } else { Entry::Redirected };
                    self.ground.handle.spawn(async move { front.serve(listener, entry, ended, GRACE).await })
                }
                None => {
                    let server = Server::new(config.limits.clone(), config.timeouts.clone());
                    self.ground.handle.spawn(server.serve(listener, answers.clone(), ended, GRACE))
                }
            };
            self.open.push(Open { address, task });
        }
        Ok(())
    }

    fn close(&mut self) {
        self.drain.send_replace(true);
        for open in self.open.drain(..) {
            self.ground.guard.remove(open.address);
            // A task cannot fail but by a panic, which is on the log already.
            drop(self.ground.handle.block_on(open.task));
        }
    }

    fn relay(&self) -> Result<Arc<Relay>, Failure> {
        let own = OwnAddresses::new();
        self.ground.own.iter().for_each(|address| own.add(*address));
        let mut pins: Vec<(String, Vec<IpAddr>)> = Vec::new();
        for (host, ip) in &self.settings.addresses {
            match pins.iter_mut().find(|(name, _)| name == host) {
                Some((_, ips)) => ips.push(*ip),
                None => pins.push((host.clone(), vec![*ip])),
            }
        }
        let names = self.names.clone().map_or(Names::System, Names::PastHosts);
        let config = ClientConfig { names, own, pins, ..self.ground.client.clone() };
        let _entered = self.ground.handle.enter();
        Relay::new(config).map_err(|error| Failure::new("listen", error.to_string()))
    }

    fn self_test(&self) -> Result<(), Failure> {
        let Some(root) = self.root() else { return Ok(()) };
        let names = self.settings.wanted_hosts();
        self.ground.seen.testing(true);
        let asked = self.open.iter().try_for_each(|open| match self.settings.mode {
            Mode::Proxy => self_test::ask_proxy(open.address, &names, &root),
            Mode::Hosts | Mode::Reverse(_) => self_test::ask(open.address, &names, &root, &self.instance),
        });
        self.ground.seen.testing(false);
        asked
    }

    fn write_journal(&self) -> Result<(), Failure> {
        let hosts = self.settings.wanted_hosts().into_iter().map(str::to_owned).collect();
        let entry = Written {
            version: VERSION,
            pid: std::process::id(),
            begun: rfc3339(now_ms()),
            hosts_file: self.hosts_file.clone(),
            hosts,
            addresses: self.open.iter().map(|open| open.address.ip()).collect(),
        };
        let journal = Journal::new(&self.folder);
        journal.write(&entry).map_err(|error| Failure::data_dir(journal.path(), &error))
    }

    fn apply_hosts(&mut self) -> Result<(), Failure> {
        let addresses: Vec<IpAddr> = self.open.iter().map(|open| open.address.ip()).collect();
        self.hands.apply(&addresses, &self.settings.wanted_hosts())
    }

    fn effective(&self) -> Result<(), Failure> {
        if self.hosts_file != system::system_hosts() {
            return Ok(());
        }
        let check = |name| doctor::leads_here(name).map_err(|message| Failure::new("hosts_not_effective", message));
        self.settings.wanted_hosts().into_iter().try_for_each(check)
    }
}

impl System for Machine {
    fn perform(&mut self, step: Step) -> Result<(), Failure> {
        info!(step = step.name(), "interception goes up");
        match step {
            Step::Listen => self.listen(),
            Step::SelfTest => self.self_test(),
            Step::Journal => self.write_journal(),
            Step::Hosts => self.apply_hosts(),
            Step::Effective => self.effective(),
        }
    }

    fn undo(&mut self, step: Step) -> Result<(), Failure> {
        info!(step = step.name(), "interception comes down");
        match step {
            Step::Listen => self.close(),
            Step::SelfTest | Step::Effective => {}
            Step::Journal => {
                let journal = Journal::new(&self.folder);
                journal.clear().map_err(|error| Failure::data_dir(journal.path(), &error))?;
            }
            Step::Hosts => self.hands.remove()?,
        }
        Ok(())
    }
}
