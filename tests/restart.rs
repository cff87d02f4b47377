//! The program starts itself again: in the same process, with the same arguments, after what ran has ended.
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

mod support;

use std::{
    fs,
    io::{BufRead, BufReader, Lines},
    net::{SocketAddr, TcpListener},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
};

use codecs::dialect::Dialect;
use serde_json::{Value, json};
use support::{
    Answer, Client, Upstream,
    router::{command, provider},
    speech, within,
};
use tempfile::TempDir;

/// The program at a port that it keeps, and what it prints.
struct Program {
    child: Child,
    addr: SocketAddr,
    lines: Lines<BufReader<ChildStdout>>,
    dir: TempDir,
}

impl Program {
    fn start(config: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self::start_by(command(dir.path()), dir, config)
    }

    fn start_by(mut command: Command, dir: TempDir, config: &str) -> Self {
        // Free when it was asked for; a port of 0 would be another one after the restart.
        let addr = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        fs::write(dir.path().join("test.toml"), config).unwrap();
        let log = fs::File::create(dir.path().join("log")).unwrap();
        command.args(["--addr", &addr.to_string(), "--config"]).arg(dir.path().join("test.toml"));
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut program = Self { child, addr, lines, dir };
        program.listens();
        program
    }

    /// Waits for the next line that says so.
    #[track_caller]
    fn listens(&mut self) {
        let line = self.lines.next().map(Result::unwrap);
        let line = line.unwrap_or_else(|| panic!("it ended: {}", self.log()));
        assert!(line.ends_with(&format!("http://{}", self.addr)), "{line}");
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap()
    }

    async fn ask(&self, method: &str, path: &str, body: Value) -> Answer {
        Client::once(self.addr, method, path, &[("Content-Type", "application/json")], body.to_string()).await
    }

    async fn started(&self) -> String {
        Client::get(self.addr, "/api/version").await.json()["startedAt"].as_str().unwrap().to_owned()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn flow_cli(dir: &Path, addr: SocketAddr) -> tokio::process::Command {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_flow-cli"));
    command.env_clear().env("HOME", dir).env("FLOW_ROUTER_DATA_DIR", dir.join("data"));
    command.env("FLOW_ROUTER_URL", format!("http://{addr}")).stdin(Stdio::null()).kill_on_drop(true);
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_lets_streams_end_and_keeps_everything() {
    let dialect = Dialect::OpenAiChat;
    let (upstream, [started, go]) = Upstream::halting(dialect).await;
    let mut program = Program::start(&provider("a", dialect, &upstream));
    let (pid, first) = (program.child.id(), program.started().await);
    assert_eq!(program.ask("POST", "/api/tags", json!({"name": "kept"})).await.status, 201);
    let mut idle = Client::connect(program.addr).await;
    idle.request("GET", "/healthz", &[], b"").await;
    assert_eq!(idle.answer().await.status, 200);
    let mut client = Client::connect(program.addr).await;
    client.request("POST", "/v1/chat/completions", &[], speech::request(dialect, "m", true).as_bytes()).await;
    client.head().await;
    started.notified().await;

    let said = program.ask("POST", "/api/restart", json!({})).await;
    assert_eq!((said.status, &said.json()["restarting"]), (202, &json!(true)), "{}", said.text());
    go.notify_one();
    let (body, complete) = client.rest().await;
    let heard = speech::heard(dialect, &String::from_utf8(body).unwrap());
    assert!(complete && heard.ended && heard.text == speech::TEXT, "{heard:?}");
    assert!(idle.closed().await);
    program.listens();
    let second = program.started().await;
    assert!(second != first && program.child.try_wait().unwrap().is_none(), "{}", program.log());

    // The same process, with everything that was on the disk, and the row of the stream that ended last.
    assert_eq!(program.child.id(), pid);
    let tags = Client::get(program.addr, "/api/tags").await.json();
    assert_eq!(tags["tags"][0]["name"], "kept");
    let audit = Client::get(program.addr, "/api/audit").await.json();
    assert_eq!(audit["data"][0]["action"], "system.restart");
    let usage = Client::get(program.addr, "/api/usage/history").await.json();
    assert_eq!(usage["data"].as_array().map(Vec::len), Some(1), "{usage}");

    // And once more, by the command.
    let mut restart = flow_cli(program.dir.path(), program.addr);
    let done = within("flow-cli", restart.args(["restart", "--json"]).output()).await.unwrap();
    let text = String::from_utf8(done.stdout).unwrap();
    assert!(done.status.success(), "{text}{}", String::from_utf8_lossy(&done.stderr));
    program.listens();
    assert_ne!(program.started().await, second);
}

#[tokio::test]
async fn what_would_not_start_is_not_ended() {
    // A file of its own for the program, which can be taken away.
    let dir = tempfile::tempdir().unwrap();
    let (model, own) = (command(dir.path()), dir.path().join("flow-router"));
    if fs::hard_link(model.get_program(), &own).is_err() {
        fs::copy(model.get_program(), &own).unwrap();
    }
    let mut by = Command::new(&own);
    by.env_clear();
    by.envs(model.get_envs().filter_map(|(name, value)| Some((name, value?)))).stdin(Stdio::null());
    let program = Program::start_by(by, dir, "");
    let before = program.started().await;

    let file = program.dir.path().join("test.toml");
    fs::write(&file, "adr = 1\n").unwrap();
    let refused = program.ask("POST", "/api/restart", json!({})).await;
    let error = refused.json()["error"].clone();
    assert_eq!((refused.status, &error["code"]), (409, &json!("would_not_start")), "{error}");
    assert!(error["details"]["faults"][0]["place"].as_str().unwrap().contains("test.toml"), "{error}");

    fs::write(&file, "").unwrap();
    fs::remove_file(&own).unwrap();
    let refused = program.ask("POST", "/api/restart", json!({})).await;
    assert_eq!((refused.status, &refused.json()["error"]["code"]), (501, &json!("not_available_here")));
    let mut restart = flow_cli(program.dir.path(), program.addr);
    let failed = within("flow-cli", restart.arg("restart").output()).await.unwrap();
    assert_eq!(failed.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&failed.stderr).contains("cannot start itself again"));
    assert_eq!(program.started().await, before, "it goes on");
}
