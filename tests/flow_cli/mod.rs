//! Runs `flow-cli` with nothing of this machine's environment.

use std::{
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::Arc,
};

use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdout, Command},
};

use crate::support::{Router, within};

/// The program, told where its router is.
#[derive(Debug, Clone)]
pub(crate) struct Cli {
    url: String,
    home: PathBuf,
    data: PathBuf,
    env: Vec<(String, String)>,
    /// Kept for its lifetime.
    _own: Option<Arc<TempDir>>,
}

/// What a run left behind.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Run {
    /// Standard output of a success.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.out
    }

    /// A failure with this exit code, and this text in what it says.
    #[track_caller]
    pub(crate) fn failed(self, code: i32, text: &str) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        assert!(self.err.contains(text), "no {text:?} in {self:?}");
        self
    }

    pub(crate) fn everything(&self) -> String {
        format!("{}{}", self.out, self.err)
    }
}

impl Cli {
    /// On the machine of a router, as its user.
    pub(crate) fn of(router: &Router) -> Self {
        let home = router.dir.path().to_owned();
        Self { url: format!("http://{}", router.addr), data: router.data_dir(), home, env: Vec::new(), _own: None }
    }

    /// With a home of its own.
    pub(crate) fn at(url: &str) -> Self {
        let own = Arc::new(tempfile::tempdir().unwrap());
        let home = own.path().to_owned();
        Self { url: url.to_owned(), data: home.join("data"), home, env: Vec::new(), _own: Some(own) }
    }

    pub(crate) fn data_dir(&self) -> &Path {
        &self.data
    }

    pub(crate) fn home(&self) -> &Path {
        &self.home
    }

    /// With a variable more.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_flow-cli"));
        command.env_clear().env("HOME", &self.home).env("FLOW_ROUTER_URL", &self.url);
        command.env("FLOW_ROUTER_DATA_DIR", &self.data).env("TERM", "xterm").args(args).kill_on_drop(true);
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null());
        command
    }

    pub(crate) async fn run(&self, args: &[&str]) -> Run {
        let output = within("flow-cli", self.command(args).output()).await.unwrap();
        Run::of(output.status, &output.stdout, &output.stderr)
    }

    pub(crate) async fn run_with_input(&self, args: &[&str], input: &str) -> Run {
        let mut command = self.command(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).await.unwrap();
        let output = within("flow-cli", child.wait_with_output()).await.unwrap();
        Run::of(output.status, &output.stdout, &output.stderr)
    }

    /// The document that a success prints.
    pub(crate) async fn json(&self, args: &[&str]) -> Value {
        let args: Vec<&str> = args.iter().copied().chain(["--json"]).collect();
        let text = self.run(&args).await.ok();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text}"))
    }

    /// Starts it and lets it run.
    pub(crate) fn start(&self, args: &[&str]) -> Running {
        let mut child = self.command(args).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Running { child, lines }
    }
}

impl Run {
    fn of(status: ExitStatus, out: &[u8], err: &[u8]) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { code: status.code().unwrap_or(-1), out: text(out), err: text(err) }
    }
}

/// One that runs.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Running {
    /// The next line that it prints.
    pub(crate) async fn line(&mut self) -> String {
        self.lines.next_line().await.unwrap().expect("it ended")
    }

    /// The next line with this text. Cancel safe.
    pub(crate) async fn line_with(&mut self, text: &str) -> String {
        loop {
            let line = self.line().await;
            if line.contains(text) {
                return line;
            }
        }
    }

    pub(crate) async fn kill(mut self) {
        within("its end", self.child.kill()).await.unwrap();
    }
}
