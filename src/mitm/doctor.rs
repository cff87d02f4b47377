//! What keeps interception from working, and the exact command against it. Looks, and changes nothing; needs no program that
//! runs.

use std::{
    net::{IpAddr, ToSocketAddrs},
    path::Path,
    time::SystemTime,
};

use certs::{
    Folder, Root,
    trust::{self, Eyes, Files, Machine, State, Step},
};
use serde_json::{Value, json};

use super::{authority, hosts::HostsFile, journal::Journal, lease, repair::catalogue, system};
use crate::settings::{Settings, interception::Mode};

/// How something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// As it should be.
    Ok,
    /// Not what it could be, or not known.
    Note,
    /// It keeps interception from working, or is left from one.
    Bad,
}

impl Health {
    fn name(self) -> &'static str {
        match self {
            Health::Ok => "ok",
            Health::Note => "note",
            Health::Bad => "bad",
        }
    }

    fn mark(self) -> &'static str {
        match self {
            Health::Ok => "ok  ",
            Health::Note => "note",
            Health::Bad => "BAD ",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Short and unique, for programs.
    pub id: String,
    /// How it is.
    pub health: Health,
    /// What was found, for people.
    pub message: String,
    /// What to run, in this order.
    pub commands: Vec<String>,
}

/// A store or runtime, and whether it trusts our root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trust {
    /// Short and unique, for programs.
    pub id: String,
    /// For people.
    pub title: String,
    /// Who reads it.
    pub read_by: String,
    /// Whether it trusts our root.
    pub state: State,
    /// What to run, so that it does; empty where it follows others.
    pub add: Vec<String>,
    /// What to run, so that it does not any more.
    pub remove: Vec<String>,
    /// What else there is to know.
    pub note: Option<&'static str>,
}

/// Everything that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The machine.
    pub checks: Vec<Check>,
    /// Who trusts the root.
    pub trust: Vec<Trust>,
    /// Roots that were in force once and are trusted still, with what removes them.
    pub retired: Vec<(String, Vec<String>)>,
}

impl Report {
    /// Looks at this machine.
    pub fn new(settings: &Settings, now: SystemTime) -> Self {
        Self::through(settings, now, &trust::System::here(), &Machine)
    }

    /// Looks at a machine with these facts through these eyes.
    fn through(settings: &Settings, now: SystemTime, facts: &trust::System, eyes: &dyn Eyes) -> Self {
        let folder = system::folder(&settings.data_dir);
        let mut report = Self { checks: Vec::new(), trust: Vec::new(), retired: Vec::new() };
        let running = lease::holder(&folder);
        report.switches(settings);
        report.lease(running.as_deref());
        report.leftovers(settings, &folder, running.is_some());
        if let Some(root) = report.authority(&folder, now) {
            report.look(&folder, &root, facts, eyes);
        }
        report
    }

    /// Whether nothing is bad.
    pub fn is_well(&self) -> bool {
        self.checks.iter().all(|check| check.health != Health::Bad)
    }

    fn add(&mut self, id: &str, health: Health, message: impl Into<String>, commands: Vec<String>) {
        self.checks.push(Check { id: id.to_owned(), health, message: message.into(), commands });
    }

    fn switches(&mut self, settings: &Settings) {
        let wanted = settings.mitm.wanted_hosts();
        match wanted.len() {
            0 => {
                let command = "flow-router mitm start --tools kiro".to_owned();
                self.add("tools", Health::Note, "no tool is switched on (setting mitm_tools)", vec![command]);
            }
            _ => self.add("tools", Health::Ok, format!("intercepted: {}", wanted.join(", ")), Vec::new()),
        }
    }

    fn lease(&mut self, running: Option<&str>) {
        match running {
            Some(holder) => self.add("process", Health::Ok, format!("a process intercepts: {holder}"), Vec::new()),
            None => self.add("process", Health::Note, "nobody intercepts at present", Vec::new()),
        }
    }

    /// What is left of a process that could not put the machine back; or what is missing while one intercepts.
    fn leftovers(&mut self, settings: &Settings, folder: &Path, running: bool) {
        let path = system::hosts_path(settings);
        let repair = || vec!["flow-router mitm repair".to_owned()];
        match Journal::new(folder).read() {
            Ok(Some(_)) if !running => {
                self.add("journal", Health::Bad, "a process ended without putting the machine back", repair());
            }
            Ok(_) => {}
            Err(error) => self.add("journal", Health::Bad, format!("the journal cannot be read: {error}"), repair()),
        }
        let shown = path.display();
        match HostsFile::new(&path, folder).has_block(&catalogue()) {
            Ok(true) if running => {
                self.add("hosts", Health::Ok, format!("{shown} leads the names here"), Vec::new());
                if path == system::system_hosts() {
                    self.resolver(settings);
                }
            }
            Ok(true) => {
                let message = format!("{shown} leads names here, and nobody listens");
                self.add("hosts", Health::Bad, message, repair());
            }
            Ok(false) if running && settings.mitm.mode == Mode::Hosts => {
                let message = format!("{shown} does not lead the names here");
                self.add("hosts", Health::Bad, message, vec!["flow-router mitm start".to_owned()]);
            }
            Ok(false) => self.add("hosts", Health::Ok, format!("{shown} has nothing of ours"), Vec::new()),
            Err(error) => self.add("hosts", Health::Bad, error.to_string(), Vec::new()),
        }
    }

    /// Whether the system's resolver believes the hosts file.
    fn resolver(&mut self, settings: &Settings) {
        for name in settings.mitm.wanted_hosts() {
            if let Err(message) = leads_here(name) {
                self.add(&format!("resolver:{name}"), Health::Bad, message, Vec::new());
            }
        }
    }

    fn authority(&mut self, folder: &Path, now: SystemTime) -> Option<Root> {
        let files = Folder::new(folder);
        let loaded = match files.load(now) {
            Err(certs::Error::Missing { .. }) => {
                self.add(
                    "authority",
                    Health::Note,
                    "there is no certificate authority yet: the first start makes it",
                    vec![],
                );
                return None;
            }
            other => other,
        };
        match loaded {
            Ok(authority) => {
                let soon = authority.ends_soon(now);
                let health = if soon { Health::Note } else { Health::Ok };
                let commands = if soon { vec!["flow-router mitm rotate".to_owned()] } else { Vec::new() };
                let root = authority.root().clone();
                let ends = day(authority.not_after());
                self.add("authority", health, format!("{}, until {ends}", root.subject()), commands);
                Some(root)
            }
            Err(error) => {
                let failure = authority::failure(&error);
                self.add("authority", Health::Bad, failure.message, failure.commands);
                None
            }
        }
    }

    fn look(&mut self, folder: &Path, root: &Root, facts: &trust::System, eyes: &dyn Eyes) {
        let files = |root: std::path::PathBuf| Files { root, bundle: folder.join("bundle.pem") };
        let plan = trust::plan(facts, root, &files(Folder::new(folder).root_path()));
        let states = trust::look(&plan, root, eyes);
        let lines = |steps: &[Step]| steps.iter().map(|step| step.line(facts.os)).collect::<Vec<_>>();
        for (store, state) in plan.into_iter().zip(states) {
            self.trust.push(Trust {
                add: lines(&store.add),
                remove: lines(&store.remove),
                id: store.id,
                title: store.title,
                read_by: store.read_by,
                state,
                note: store.note,
            });
        }
        if self.trust.iter().all(|store| store.state != State::Trusted) {
            let message = "no store trusts the root yet: every handshake would be refused; choose from the list below";
            self.add("trust", Health::Note, message, Vec::new());
        }
        for old in Folder::new(folder).retired().unwrap_or_default() {
            let path = folder.join("ca.old").join(format!("{}.pem", old.alias()));
            let plan = trust::plan(facts, &old, &files(path));
            let states = trust::look(&plan, &old, eyes);
            let trusted = plan.iter().zip(states).filter(|(_, state)| *state == State::Trusted);
            let commands: Vec<_> = trusted.flat_map(|(store, _)| lines(&store.remove)).collect();
            if !commands.is_empty() {
                self.retired.push((old.subject().to_owned(), commands));
            }
        }
    }

    /// For programs.
    pub fn json(&self) -> Value {
        json!({
            "ok": self.is_well(),
            "checks": self.checks.iter().map(|check| json!({
                "id": check.id,
                "state": check.health.name(),
                "message": check.message,
                "commands": check.commands,
            })).collect::<Vec<_>>(),
            "trust": self.trust.iter().map(|store| {
                let (state, why) = told(&store.state);
                json!({
                    "id": store.id,
                    "title": store.title,
                    "readBy": store.read_by,
                    "state": state,
                    "why": why,
                    "add": store.add,
                    "remove": store.remove,
                    "note": store.note,
                })
            }).collect::<Vec<_>>(),
            "retired": self.retired.iter().map(|(subject, remove)| json!({
                "subject": subject,
                "remove": remove,
            })).collect::<Vec<_>>(),
        })
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let mut line = |line: &str| text.extend([line, "\n"]);
        for check in &self.checks {
            line(&format!("{} {:<10} {}", check.health.mark(), check.id, check.message));
            check.commands.iter().for_each(|command| line(&format!("       run: {command}")));
        }
        if !self.trust.is_empty() {
            line("\nWho trusts the root (nothing is changed unless you run it):");
        }
        for store in &self.trust {
            let (mark, commands) = match &store.state {
                State::Trusted => ("yes    ", &store.remove),
                State::NotTrusted => ("no     ", &store.add),
                State::Unknown(_) => ("unknown", &store.add),
            };
            line(&format!("{mark} {} (read by {})", store.title, store.read_by));
            if let State::Unknown(why) = &store.state {
                line(&format!("        {why}"));
            }
            let verb = if store.state == State::Trusted { "to remove" } else { "to add" };
            commands.iter().for_each(|command| line(&format!("        {verb}: {command}")));
            if let Some(note) = store.note {
                line(&format!("        {note}"));
            }
        }
        for (subject, commands) in &self.retired {
            line(&format!("\n{subject} is not in force any more and still trusted:"));
            commands.iter().for_each(|command| line(&format!("        to remove: {command}")));
        }
        text
    }
}

/// Whether the system's resolver leads `name` to this machine and nowhere else; otherwise what it does. Blocks.
pub(super) fn leads_here(name: &str) -> Result<(), String> {
    let found = (name, 443).to_socket_addrs().map_err(|error| format!("the system cannot resolve {name}: {error}"))?;
    let elsewhere: Vec<IpAddr> = found.map(|addr| addr.ip()).filter(|ip| !ip.to_canonical().is_loopback()).collect();
    match elsewhere.first() {
        None => Ok(()),
        Some(ip) => {
            let why = "something answers before the hosts file: look at the line `hosts:` of nsswitch.conf, or at a program that \
                       asks DNS by itself";
            Err(format!("the system leads {name} to {ip} in spite of the hosts file: {why}"))
        }
    }
}

/// A state for programs, and why it is not known.
fn told(state: &State) -> (&'static str, Option<&str>) {
    match state {
        State::Trusted => ("trusted", None),
        State::NotTrusted => ("not_trusted", None),
        State::Unknown(why) => ("unknown", Some(why)),
    }
}

/// A moment's day.
fn day(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time).map_or_else(|_| "?".to_owned(), |time| time.strftime("%Y-%m-%d").to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::{cell::RefCell, collections::BTreeMap, fs, io, path::PathBuf};

    use certs::trust::{Command, Family, Os, Ran, System};

    use super::*;
    use crate::settings::Settings;

    /// A machine with a bundle and no programs.
    #[derive(Default)]
    struct Scripted {
        bundle: RefCell<Vec<u8>>,
    }

    impl Eyes for Scripted {
        fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
            let is_bundle = path.ends_with("ca-certificates.crt");
            if is_bundle { Ok(self.bundle.borrow().clone()) } else { Err(io::ErrorKind::NotFound.into()) }
        }

        fn run(&self, _: &Command) -> io::Result<Ran> {
            Err(io::ErrorKind::NotFound.into())
        }
    }

    fn facts() -> System {
        System {
            os: Os::Linux(Family::Debian),
            home: PathBuf::from("/home/ada"),
            nss: Vec::new(),
            java: Vec::new(),
            variables: BTreeMap::new(),
        }
    }

    fn state(report: &Report, id: &str) -> Option<Health> {
        report.checks.iter().find(|check| check.id == id).map(|check| check.health)
    }

    #[test]
    fn a_machine_is_looked_at_before_and_after() {
        let place = tempfile::tempdir().unwrap();
        let mut settings = Settings { data_dir: place.path().join("data"), ..Settings::default() };
        let hosts = place.path().join("hosts");
        fs::write(&hosts, "127.0.0.1 localhost\n").unwrap();
        settings.mitm.hosts_file = Some(hosts.clone());
        let (now, eyes) = (SystemTime::now(), Scripted::default());
        let look = |settings: &Settings| Report::through(settings, now, &facts(), &eyes);
        let report = look(&settings);
        assert!(report.is_well() && report.trust.is_empty());
        assert_eq!(state(&report, "authority"), Some(Health::Note));

        let folder = system::folder(&settings.data_dir);
        let root = authority::ready(&folder, &settings.mitm, now).unwrap().root().clone();
        let report = look(&settings);
        assert_eq!(state(&report, "authority"), Some(Health::Ok));
        assert_eq!(state(&report, "trust"), Some(Health::Note));
        let text = report.text();
        assert!(text.contains("update-ca-certificates") && text.contains("rootCA.pem"), "{text}");
        assert_eq!(report.json()["trust"][0]["state"], "not_trusted");
        *eyes.bundle.borrow_mut() = root.pem().into_bytes();
        let report = look(&settings);
        assert_eq!(report.trust[0].state, State::Trusted);
        assert!(report.text().contains("to remove: "));
        assert_eq!(state(&report, "trust"), None);

        // A block that a process left behind.
        fs::write(&hosts, "# flow_router MITM begin\n127.0.0.1 api2.cursor.sh\n# flow_router MITM end\n").unwrap();
        let report = look(&settings);
        assert!(!report.is_well());
        assert_eq!(state(&report, "hosts"), Some(Health::Bad));
        assert!(report.text().contains("run: flow-router mitm repair"));
        assert_eq!(report.json()["ok"], false);
    }

    #[test]
    fn a_name_of_this_machine_leads_here() {
        assert_eq!(leads_here("localhost"), Ok(()));
        assert!(leads_here("no-such-host.invalid").unwrap_err().contains("cannot resolve"));
    }
}
