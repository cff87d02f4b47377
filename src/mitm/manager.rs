//! Starts and stops interception while the program runs, one change at a time, and knows how it is.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use serde_json::{Value, json};
use tracing::{error, info, warn};

use super::{
    Failure,
    hosts::HostsFile,
    lease::Lease,
    lifecycle::{Failed, Lifecycle, order},
    machine::{Ground, Machine},
    repair, system,
};
use crate::{
    settings::{
        interception::{Mode, Switch},
        tools::{HOSTS, Tool},
    },
    usage::live::{now_ms, rfc3339},
};

/// Pauses between starts that fail, seconds.
const RETRIES: [u64; 5] = [5, 10, 20, 30, 60];

/// How interception is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Off,
    Starting,
    /// Since when, in Unix milliseconds.
    Running(i64),
    Stopping,
    /// A start failed; nothing was changed.
    Failed(Failure),
    /// It could not be ended: the machine is not as it was.
    Stuck(Failure),
}

impl State {
    fn name(&self) -> &'static str {
        match self {
            State::Off => "off",
            State::Starting => "starting",
            State::Running(_) => "running",
            State::Stopping => "stopping",
            State::Failed(_) => "failed",
            State::Stuck(_) => "stuck",
        }
    }
}

/// What is shown of a start: the machine itself is in use while it changes.
#[derive(Debug, Clone, Default)]
struct Facts {
    mode: Mode,
    listen: Vec<String>,
    root: Option<certs::Root>,
}

/// What runs.
#[derive(Default)]
struct Running {
    lifecycle: Lifecycle,
    machine: Option<(Machine, Lease)>,
}

struct Inner {
    ground: Ground,
    /// Held while something changes.
    running: Mutex<Running>,
    view: Mutex<(State, Facts)>,
}

/// Interception. Cheap to clone.
#[derive(Clone)]
pub struct Manager(Arc<Inner>);

impl std::fmt::Debug for Manager {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Manager").field("state", &self.view().0.name()).finish_non_exhaustive()
    }
}

impl Manager {
    /// Interception on this ground; off.
    pub fn new(ground: Ground) -> Self {
        let view = Mutex::new((State::Off, Facts::default()));
        Self(Arc::new(Inner { ground, running: Mutex::default(), view }))
    }

    /// Puts back what an earlier process left. To be called before anything else: names must not lead to a port where
    /// nobody listens.
    pub fn clean(&self) {
        let settings = &self.0.ground.live.snapshot().settings;
        let folder = system::folder(&settings.data_dir);
        // Without a journal nothing of ours can be left, but by hand.
        if !super::journal::Journal::new(&folder).path().exists() {
            return;
        }
        match repair::repair(&folder, &system::hosts_path(settings)) {
            Ok(done) if done.is_nothing() => {}
            Ok(done) => {
                let files: Vec<_> = done.hosts.iter().map(|path| path.display().to_string()).collect();
                warn!(files = files.join(","), "an earlier process had not put the machine back: it is done now");
            }
            Err(failure) => {
                let run = failure.commands.join("; ");
                error!(code = failure.code, run, "names still lead here from an earlier process: {failure}");
            }
        }
    }

    /// Starts it; where it runs, the hosts file follows the present settings.
    ///
    /// # Errors
    /// Why not; then everything is as it was, unless it says otherwise.
    pub async fn start(&self) -> Result<(), Failure> {
        self.away(Self::start_now).await
    }

    /// Starts it with the program, and tries again while that fails: what is missing may come, such as the guard.
    pub async fn insist(&self) {
        let mut waits = RETRIES.iter();
        while self.start().await.is_err() {
            // The last pause stays.
            let wait = waits.next().or(RETRIES.last()).copied().unwrap_or_default();
            tokio::time::sleep(Duration::from_secs(wait)).await;
            // Somebody has decided otherwise meanwhile, or it runs.
            if !matches!(self.view().0, State::Failed(_)) {
                return;
            }
        }
    }

    /// Ends it: names first, then the journal, then the connections.
    ///
    /// # Errors
    /// What could not be put back; then it goes on, for names must not lead to a port where nobody listens.
    pub async fn stop(&self) -> Result<(), Failure> {
        self.away(Self::stop_now).await
    }

    /// The program ends. What cannot be put back is left to `repair`, which the journal tells about it.
    pub async fn end(&self) {
        if let Err(failure) = self.stop().await {
            let run = failure.commands.join("; ");
            error!(code = failure.code, run, "the machine could not be put back: {failure}");
        }
    }

    /// Runs a change on a thread that may wait. A caller that gives up does not cut it.
    async fn away(&self, change: fn(&Self) -> Result<(), Failure>) -> Result<(), Failure> {
        let own = self.clone();
        let done = tokio::task::spawn_blocking(move || change(&own)).await;
        done.unwrap_or_else(|_| Err(Failure::new("internal", "a step panicked; the log says where")))
    }

    fn start_now(&self) -> Result<(), Failure> {
        let mut running = self.0.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((machine, _)) = &mut running.machine {
            if matches!(self.view().0, State::Running(_)) {
                return if *machine.mode() == Mode::Hosts { machine.follow() } else { Ok(()) };
            }
            // What could not be put back is, before it begins again.
            self.down(&mut running)?;
        }
        self.show(State::Starting, None);
        let started = self.up(&mut running);
        match &started {
            Ok(facts) => {
                info!(mode = %facts.mode, listen = facts.listen.join(","), "interception runs");
                self.show(State::Running(now_ms()), Some(facts.clone()));
            }
            Err(failure) => {
                let run = failure.commands.join("; ");
                warn!(code = failure.code, run, "interception does not start: {failure}");
                let state = if running.machine.is_some() { State::Stuck } else { State::Failed };
                self.show(state(failure.clone()), None);
            }
        }
        started.map(drop)
    }

    fn up(&self, running: &mut Running) -> Result<Facts, Failure> {
        let snapshot = self.0.ground.live.snapshot();
        let folder = system::folder(&snapshot.settings.data_dir);
        let mut lease = Lease::take(&folder)?;
        repair::put_back(&folder, &system::hosts_path(&snapshot.settings))?;
        let mut machine = Machine::new(self.0.ground.clone())?;
        if let Err(failed) = running.lifecycle.up(order(machine.mode()), &mut machine) {
            let Failed { mut failure, stuck, .. } = *failed;
            if let Some((step, why)) = stuck {
                failure.message = format!("{failure}; and {} could not be undone: {why}", step.name());
                failure.commands.extend(why.commands);
                running.machine = Some((machine, lease));
            }
            return Err(failure);
        }
        let listen: Vec<_> = machine.addresses().iter().map(ToString::to_string).collect();
        if let Err(error) = lease.say(&listen.join(",")) {
            warn!(%error, "the pid file does not say where interception listens");
        }
        let root = machine.root();
        let facts = Facts { mode: machine.mode().clone(), listen, root };
        running.machine = Some((machine, lease));
        Ok(facts)
    }

    fn stop_now(&self) -> Result<(), Failure> {
        let mut running = self.0.running.lock().unwrap_or_else(PoisonError::into_inner);
        self.down(&mut running)
    }

    fn down(&self, running: &mut Running) -> Result<(), Failure> {
        let Running { lifecycle, machine } = running;
        let Some((active, _)) = machine else {
            self.show(State::Off, Some(Facts::default()));
            return Ok(());
        };
        self.show(State::Stopping, None);
        match lifecycle.down(active) {
            Ok(()) => {
                *machine = None;
                self.show(State::Off, Some(Facts::default()));
                info!("interception has ended; the machine is as it was");
                Ok(())
            }
            Err((step, failure)) => {
                warn!(step = step.name(), code = failure.code, "interception cannot be ended: {failure}");
                self.show(State::Stuck(failure.clone()), None);
                Err(failure)
            }
        }
    }

    fn view(&self) -> (State, Facts) {
        self.0.view.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn show(&self, state: State, facts: Option<Facts>) {
        let mut view = self.0.view.lock().unwrap_or_else(PoisonError::into_inner);
        view.0 = state;
        if let Some(facts) = facts {
            view.1 = facts;
        }
    }

    /// How it is, for programs. Reads the hosts file and the system's list of processes: not for every second.
    pub fn status(&self) -> Value {
        let (state, facts) = self.view();
        let snapshot = self.0.ground.live.snapshot();
        let settings = &snapshot.settings;
        let folder = system::folder(&settings.data_dir);
        let hosts_file = system::hosts_path(settings);
        let written = HostsFile::new(&hosts_file, &folder).has_block(&repair::catalogue()).unwrap_or(false);
        let (since, failure) = match &state {
            State::Running(since) => (Some(rfc3339(*since)), None),
            State::Failed(failure) | State::Stuck(failure) => (None, Some(failure)),
            State::Off | State::Starting | State::Stopping => (None, None),
        };
        let tool = |tool: Tool| (tool.name().to_owned(), settings.mitm.switch(tool).name().into());
        json!({
            "state": state.name(),
            "since": since,
            "mode": if since.is_some() { facts.mode.to_string() } else { settings.mitm.mode.to_string() },
            "listen": facts.listen,
            "pid": std::process::id(),
            "administrator": system::is_administrator(),
            "tools": Tool::ALL.map(tool).into_iter().collect::<serde_json::Map<String, Value>>(),
            "hosts": self.hosts(),
            "hostsFile": hosts_file.display().to_string(),
            "hostsWritten": written,
            "authority": facts.root.as_ref().map(|root| json!({
                "subject": root.subject(),
                "sha256": root.sha256(),
                "notAfter": moment(root.not_after()),
            })),
            "failure": failure.map(|failure| json!({
                "code": failure.code,
                "message": failure.message,
                "commands": failure.commands,
            })),
        })
    }

    /// The hosts that are switched on, and what was seen of them.
    fn hosts(&self) -> Vec<Value> {
        let snapshot = self.0.ground.live.snapshot();
        let seen = &self.0.ground.seen;
        let on = HOSTS.iter().filter_map(|host| {
            let (tool, switch) = snapshot.settings.mitm.switch_of_host(host.name)?;
            let seen_of = seen.host(host.name);
            let used = seen_of.handshake_ms.is_some() || seen_of.refused.is_some();
            (switch != Switch::Off || used).then(|| {
                json!({
                    "name": host.name,
                    "tool": tool.name(),
                    "switch": switch.name(),
                    "leftAlone": seen.is_distrusted(host.name),
                    "lastHandshake": seen_of.handshake_ms.map(rfc3339),
                    "protocol": seen_of.protocol,
                    "lastRefusal": seen_of.refused.as_ref().map(|(ms, word)| json!({"at": rfc3339(*ms), "alert": word})),
                    "lastChat": seen_of.chat_ms.map(rfc3339),
                    "chats": seen_of.chats,
                    "passed": seen_of.passed,
                    "fellBack": seen_of.fell_back,
                    "schemaUnknown": seen_of.is_strange(),
                })
            })
        });
        on.collect()
    }
}

fn moment(time: SystemTime) -> Option<String> {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Some(rfc3339(i64::try_from(since.as_millis()).ok()?))
}
