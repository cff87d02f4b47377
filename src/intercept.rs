//! `flow-router mitm`: asks the program that runs, and puts the machine back where none does.

use std::{
    io,
    process::{Command, Stdio},
    time::{Duration, SystemTime},
};

use certs::Folder;
use proxy::{Method, StatusCode};
use serde_json::{Map, Value, json};

use crate::{
    args::MitmAction,
    boot,
    mitm::{
        Failure, NEEDS_PRIVILEGE,
        authority::{self, profile},
        doctor::Report,
        hosts::HostsFile,
        journal::Journal,
        lease,
        repair::{self, Repaired, catalogue},
        system,
    },
    running::{self, Answer},
    settings::{Settings, tools::Tool, value::list},
};

/// How long the running program may take: a first start makes an RSA key.
const PATIENCE: Duration = Duration::from_secs(120);

/// What is said, and how the command ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// For the standard output.
    pub text: String,
    /// Exit code.
    pub code: u8,
}

impl Said {
    fn well(text: impl Into<String>) -> Self {
        Self { text: text.into(), code: 0 }
    }
}

/// The exit code of a failure, as in sysexits.h.
pub fn exit_code(failure: &Failure) -> u8 {
    match failure.code {
        "port_in_use" | "already_running" | "not_running" => 69,
        NEEDS_PRIVILEGE => 77,
        _ => 1,
    }
}

/// Whether no program runs with the data folder: then a start is one of the program itself.
pub fn is_alone(settings: &Settings) -> bool {
    boot::lock(&settings.data_dir).is_ok()
}

/// Runs a command.
///
/// # Errors
/// Why not, and what to run.
pub fn run(action: &MitmAction, settings: &Settings) -> Result<Said, Failure> {
    match action {
        MitmAction::Start { tools, mode } => start(settings, tools.as_deref(), mode.as_deref()),
        MitmAction::Stop => stop(settings),
        MitmAction::Status { json } => status(settings, *json),
        MitmAction::Repair { sudo } => put_back(settings, *sudo),
        MitmAction::Guard => guard(settings),
        MitmAction::Doctor { json } => Ok(doctor(settings, *json)),
        MitmAction::Rotate { activate, fix_permissions } => rotate(settings, *activate, *fix_permissions),
    }
}

fn start(settings: &Settings, tools: Option<&str>, mode: Option<&str>) -> Result<Said, Failure> {
    let mut patch = Map::new();
    if let Some(tools) = tools {
        patch.insert("mitmTools".to_owned(), list(tools).into());
    }
    if let Some(mode) = mode {
        patch.insert("mitmMode".to_owned(), mode.into());
    }
    if !patch.is_empty() {
        ask(settings, Method::PATCH, "/api/settings", Some(patch.into()))?;
    }
    let answer = ask(settings, Method::POST, "/api/mitm/start", None)?;
    Ok(Said::well(shown(&answer.body)))
}

fn stop(settings: &Settings) -> Result<Said, Failure> {
    if is_alone(settings) {
        // Nobody intercepts: what there may be to stop is what a dead process left.
        return put_back(settings, false);
    }
    ask(settings, Method::POST, "/api/mitm/stop", None)?;
    Ok(Said::well("interception is off; the machine is as it was"))
}

fn status(settings: &Settings, as_json: bool) -> Result<Said, Failure> {
    let document =
        if is_alone(settings) { idle(settings) } else { ask(settings, Method::GET, "/api/mitm/status", None)?.body };
    Ok(Said::well(if as_json { pretty(&document) } else { shown(&document) }))
}

/// How it is while no program runs.
fn idle(settings: &Settings) -> Value {
    let folder = system::folder(&settings.data_dir);
    let hosts_file = system::hosts_path(settings);
    let written = HostsFile::new(&hosts_file, &folder).has_block(&catalogue()).unwrap_or(false);
    let left = written || Journal::new(&folder).path().exists();
    let failure = left.then(|| {
        let message = "a process ended without putting the machine back";
        json!({"code": "left_behind", "message": message, "commands": ["flow-router mitm repair"]})
    });
    json!({
        "state": if left { "left_behind" } else { "off" },
        "mode": settings.mitm.mode.to_string(),
        "listen": [],
        "tools": Tool::ALL.map(|tool| (tool.name().to_owned(), Value::from(settings.mitm.switch(tool).name())))
            .into_iter().collect::<Map<_, _>>(),
        "hosts": [],
        "hostsFile": hosts_file.display().to_string(),
        "hostsWritten": written,
        "failure": failure,
    })
}

/// A status for people.
fn shown(status: &Value) -> String {
    let word = |name: &str| status[name].as_str().unwrap_or_default();
    let list = |value: &Value| {
        let words = value.as_array().into_iter().flatten().filter_map(Value::as_str);
        words.map(str::to_owned).collect::<Vec<_>>()
    };
    let mut text = format!("interception  {} ({})\n", word("state"), word("mode"));
    let mut line = |name: &str, value: &str| text.push_str(&format!("{name:<13} {value}\n"));
    if let [_, ..] = list(&status["listen"]).as_slice() {
        line("listens at", &list(&status["listen"]).join(", "));
    }
    let tools = status["tools"].as_object().into_iter().flatten();
    let tools: Vec<_> = tools.map(|(tool, switch)| format!("{tool} {}", switch.as_str().unwrap_or_default())).collect();
    line("tools", &tools.join(", "));
    let has = if status["hostsWritten"] == true { "leads the names here" } else { "has nothing of ours" };
    line("hosts file", &format!("{} {has}", word("hostsFile")));
    for host in status["hosts"].as_array().into_iter().flatten() {
        let seen = match (&host["leftAlone"], &host["lastHandshake"], &host["lastRefusal"]["alert"]) {
            (Value::Bool(false), Value::String(at), _) => format!("last handshake {at}"),
            (_, _, Value::String(alert)) => format!("refused our certificate ({alert}): see `flow-router mitm doctor`"),
            _ => "not seen yet".to_owned(),
        };
        let counts = format!("{} chats ours, {} calls passed on", host["chats"], host["passed"]);
        line("host", &format!("{} ({seen}; {counts})", host["name"].as_str().unwrap_or_default()));
    }
    if let Some(subject) = status["authority"]["subject"].as_str() {
        line("certificates", &format!("{subject}, until {}", status["authority"]["notAfter"].as_str().unwrap_or("?")));
    }
    if let Some(message) = status["failure"]["message"].as_str() {
        line("because", message);
        list(&status["failure"]["commands"]).iter().for_each(|command| line("run", command));
    }
    text.truncate(text.trim_end().len());
    text
}

fn put_back(settings: &Settings, sudo: bool) -> Result<Said, Failure> {
    let folder = system::folder(&settings.data_dir);
    match repair::repair(&folder, &system::hosts_path(settings)) {
        Ok(done) => Ok(Said::well(repaired(&done))),
        Err(failure) if failure.code == NEEDS_PRIVILEGE => {
            let line = failure.commands.first().cloned().unwrap_or_default();
            if as_administrator(settings, sudo) { Ok(Said::well(format!("put back by: {line}"))) } else { Err(failure) }
        }
        Err(failure) => Err(failure),
    }
}

/// Runs `repair` with the administrator's rights: without a question where the system grants them so, else only if the
/// user has asked for it; then sudo asks for the password, which never comes here.
fn as_administrator(settings: &Settings, ask: bool) -> bool {
    if cfg!(windows) || system::is_administrator() {
        return false;
    }
    let Ok(program) = std::env::current_exe() else { return false };
    let run = |with: &[&str]| {
        let mut command = Command::new("sudo");
        command.args(with).arg(&program).args(["mitm", "repair", "--data-dir"]).arg(&settings.data_dir);
        if let Some(file) = &settings.mitm.hosts_file {
            command.arg("--mitm-hosts-file").arg(file);
        }
        if !ask {
            command.stdin(Stdio::null()).stderr(Stdio::null());
        }
        command.stdout(Stdio::null()).status().is_ok_and(|status| status.success())
    };
    if ask { run(&["--"]) } else { run(&["-n", "--"]) }
}

/// Stands guard until a signal ends it; then the hosts file is as it was.
#[cfg(unix)]
fn guard(settings: &Settings) -> Result<Said, Failure> {
    use std::sync::Arc;

    use tokio::signal::unix::{SignalKind, signal};

    use crate::mitm::guard::Post;

    let folder = system::folder(&settings.data_dir);
    let post = Arc::new(Post::open(&folder, &system::hosts_path(settings))?);
    let failed = |error: io::Error| Failure::new("guard", error.to_string());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let ended = runtime.block_on(async {
        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let mut hangup = signal(SignalKind::hangup())?;
        eprintln!("The guard waits for the program of {}; Ctrl-C ends it.", settings.data_dir.display());
        let serving = Arc::clone(&post);
        tokio::select! {
            served = tokio::task::spawn_blocking(move || serving.serve()) => served.map_err(io::Error::other)?,
            _ = interrupt.recv() => Ok(()),
            _ = terminate.recv() => Ok(()),
            // The terminal was closed.
            _ = hangup.recv() => Ok(()),
        }
    });
    post.leave();
    // The thread that waits for programs ends with the process.
    runtime.shutdown_background();
    ended.map_err(failed)?;
    Ok(Said::well("the guard has ended; the hosts file is as it was"))
}

/// Windows has no such sockets: there the program itself is started as administrator.
#[cfg(not(unix))]
fn guard(_: &Settings) -> Result<Said, Failure> {
    let message = "there is no guard on this system: start the program in a terminal that was opened as administrator";
    Err(Failure::new("guard", message))
}

fn repaired(done: &Repaired) -> String {
    let mut lines: Vec<String> = done.hosts.iter().map(|path| format!("{} is as it was", path.display())).collect();
    lines.extend(done.notes.iter().cloned());
    match (lines.is_empty(), done.journal) {
        (true, false) => "there was nothing to put back".to_owned(),
        (true, true) => "nothing was changed; the journal of a dead process is gone".to_owned(),
        (false, _) => lines.join("\n"),
    }
}

fn doctor(settings: &Settings, as_json: bool) -> Said {
    let report = Report::new(settings, SystemTime::now());
    let text = if as_json { pretty(&report.json()) } else { report.text().trim_end().to_owned() };
    Said { text, code: u8::from(!report.is_well()) }
}

fn rotate(settings: &Settings, activate: bool, fix_permissions: bool) -> Result<Said, Failure> {
    let path = system::folder(&settings.data_dir);
    let (folder, now) = (Folder::new(&path), SystemTime::now());
    let failed = |error: certs::Error| authority::failure(&error);
    if fix_permissions {
        folder.fix_permissions().map_err(failed)?;
        return Ok(Said::well("the certificate authority's files are their owner's alone"));
    }
    // The one that runs holds its authority in memory: the next start takes the new one.
    if let Some(holder) = lease::holder(&path).filter(|_| activate) {
        return Err(lease::running(&holder));
    }
    if activate {
        let authority = folder.activate(now).map_err(failed)?;
        let subject = authority.root().subject();
        let text = format!("{subject} is in force; `flow-router mitm doctor` says where the old root is trusted still");
        return Ok(Said::well(text));
    }
    let root = folder.stage(&profile(&settings.mitm)?, now).map_err(failed)?;
    let file = folder.staged_root_path();
    Ok(Said::well(format!(
        "{} waits in {}\nTrust it as you trust the one in force, then run: flow-router mitm rotate --activate",
        root.subject(),
        file.display()
    )))
}

fn pretty(document: &Value) -> String {
    serde_json::to_string_pretty(document).unwrap_or_default()
}

/// Asks the program that runs; an answer that is an error becomes one.
fn ask(settings: &Settings, method: Method, path: &'static str, body: Option<Value>) -> Result<Answer, Failure> {
    let unreached = |error: &io::Error| {
        let message = format!("no program could be asked: {error}");
        Failure::new("not_running", message).run("flow-router serve")
    };
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| unreached(&error))?;
    let answer =
        runtime.block_on(running::ask(settings, method, path, body, PATIENCE)).map_err(|error| unreached(&error))?;
    if answer.status == StatusCode::OK {
        return Ok(answer);
    }
    let error = &answer.body["error"];
    let commands = error["details"]["commands"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let code = CODES.into_iter().find(|code| error["code"] == *code).unwrap_or("refused");
    Err(Failure { code, message: answer.message().to_owned(), commands: commands.map(str::to_owned).collect() })
}

/// Codes that decide about the exit code.
const CODES: [&str; 4] = [NEEDS_PRIVILEGE, "port_in_use", "already_running", "hosts_conflict"];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_status_is_read_by_people() {
        let dir = tempfile::tempdir().unwrap();
        let mut settings = Settings { data_dir: dir.path().join("data"), ..Settings::default() };
        let hosts = dir.path().join("hosts");
        std::fs::write(&hosts, "").unwrap();
        settings.mitm.hosts_file = Some(hosts.clone());
        let text = status(&settings, false).unwrap().text;
        assert!(text.starts_with("interception  off (hosts)") && text.contains("kiro off"), "{text}");
        std::fs::write(&hosts, "# flow_router MITM begin\n# flow_router MITM end\n").unwrap();
        let text = status(&settings, false).unwrap().text;
        assert!(text.contains("left_behind") && text.contains("flow-router mitm repair"), "{text}");
        assert_eq!(stop(&settings).unwrap().text, format!("{} is as it was", hosts.display()));
        assert_eq!(run(&MitmAction::Repair { sudo: false }, &settings).unwrap().text, "there was nothing to put back");
        assert_eq!(std::fs::read(&hosts).unwrap(), b"");
    }
}
