//! The program under test: the real binary on port 0, with a data folder of its own and nothing of this machine's
//! environment.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
};

use codecs::dialect::Dialect;
use tempfile::TempDir;

use super::{PATIENCE, Upstream, within};

/// A command of the binary, cut off from the environment. `TEST_FLOW_ROUTER` names another one to test, such as a release
/// build.
pub(crate) fn command(dir: &Path) -> Command {
    let other = std::env::var_os("TEST_FLOW_ROUTER");
    let mut command = Command::new(other.unwrap_or_else(|| env!("CARGO_BIN_EXE_flow-router").into()));
    command.env_clear().env("HOME", dir).env("FLOW_ROUTER_DATA_DIR", dir.join("data")).stdin(Stdio::null());
    // No test touches this machine's own names.
    command.env("FLOW_ROUTER_MITM_HOSTS_FILE", dir.join("hosts")).env("FLOW_ROUTER_MITM_ADDR", "127.0.0.1:0");
    command
}

/// Runs the binary to its end.
pub(crate) fn run(dir: &Path, args: &[&str]) -> Output {
    command(dir).args(args).output().unwrap()
}

/// A running gateway. Dropping kills it.
#[derive(Debug)]
pub(crate) struct Router {
    child: Child,
    pub(crate) addr: SocketAddr,
    pub(crate) dir: TempDir,
    /// The flags that it was started with.
    flags: Vec<String>,
}

impl Router {
    /// Starts with a configuration file.
    pub(crate) fn start(config: &str) -> Self {
        Self::start_with(config, &[])
    }

    /// Starts with a configuration file and flags.
    pub(crate) fn start_with(config: &str, flags: &[&str]) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), config, flags)
    }

    /// Starts in a folder that may hold something already.
    pub(crate) fn start_in(dir: TempDir, config: &str, flags: &[&str]) -> Self {
        Self::start_as(command(dir.path()), dir, config, flags)
    }

    /// Starts by a command that runs the program with the arguments that it is given.
    pub(crate) fn start_as(command: Command, dir: TempDir, config: &str, flags: &[&str]) -> Self {
        fs::write(dir.path().join("test.toml"), config).unwrap();
        let flags: Vec<_> = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let (child, addr) = spawn(command, dir.path(), &flags);
        Self { child, addr, dir, flags }
    }

    /// Starts it again where it was killed, with the same flags, at another address.
    pub(crate) fn start_again(&mut self) {
        (self.child, self.addr) = spawn(command(self.dir.path()), self.dir.path(), &self.flags);
    }

    /// Kills it with SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// What it logged so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap()
    }

    /// Its data folder.
    pub(crate) fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to end.
    pub(crate) fn terminate(&self) {
        let status = Command::new("kill").args(["-TERM", &self.pid().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Waits for its end.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        within("the program's end", async {
            loop {
                if let Some(status) = self.child.try_wait().unwrap() {
                    return status;
                }
                // There is no event for the end of a child without a reaper: ask again and again.
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        })
        .await
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Starts the program in a folder with a file, and waits until it listens.
fn spawn(mut command: Command, dir: &Path, flags: &[String]) -> (Child, SocketAddr) {
    let log = fs::OpenOptions::new().create(true).append(true).open(dir.join("log")).unwrap();
    command.args(["--addr", "127.0.0.1:0", "--config"]).arg(dir.join("test.toml")).args(flags);
    let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let addr = line.trim().rsplit("http://").next().and_then(|addr| addr.parse().ok());
    let Some(addr) = addr else {
        drop(child.kill());
        panic!("did not start: {line}{}", fs::read_to_string(dir.join("log")).unwrap());
    };
    (child, addr)
}

/// A provider's table for the file: it serves every model, with the key `upstream-key`.
pub(crate) fn provider(name: &str, dialect: Dialect, upstream: &Upstream) -> String {
    provider_at(name, dialect, &upstream.url())
}

/// Likewise, at any address.
pub(crate) fn provider_at(name: &str, dialect: Dialect, origin: &str) -> String {
    let path = match dialect {
        Dialect::OpenAiChat | Dialect::OpenAiResponses | Dialect::Anthropic => "/v1",
        Dialect::Gemini => "/v1beta",
        Dialect::Ollama => "",
    };
    format!(
        "[providers.{name}]\ndialect = \"{}\"\nbase_url = \"{origin}{path}\"\napi_key = \"upstream-key\"\nmodels = [\"*\"]\n\n",
        dialect.name()
    )
}

/// The longest that a test may wait, for those who wait on their own.
pub(crate) const LONGEST: std::time::Duration = PATIENCE;
