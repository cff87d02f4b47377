//! The official SDKs against the running binary: Python and Node, one test each.
//!
//! The suites live in `tests/clients/` and bring their own scripted upstream; they install what they need under
//! `target/clients`. Where Python or Node is missing the test says `SKIPPED: …` on standard error and passes.
//! The coding agents (`tests/clients/agents.sh`) are too big for this and are run by hand or nightly.

#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// How many lines of a good run are shown: the runner's summary.
const SUMMARY_LINES: usize = 9;

fn has(program: &str) -> bool {
    Command::new(program)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Past the capture of the test harness: what was skipped must be seen in a green run as well.
fn say(text: &str) {
    let mut err = std::io::stderr().lock();
    writeln!(err, "{text}").unwrap();
}

fn run_suite(suite: &str, needs: &[&str]) {
    if let Some(missing) = needs.iter().find(|program| !has(program)) {
        return say(&format!("SKIPPED: client suite {suite}: {missing} is not installed"));
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new("bash")
        .arg(root.join("tests/clients/run.sh"))
        .arg(suite)
        .env("FLOW_ROUTER_BIN", env!("CARGO_BIN_EXE_flow-router"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "client suite {suite} failed ({})\n{text}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    let skipped = text.lines().filter(|line| line.contains("SKIPPED:"));
    let lines: Vec<&str> = text.lines().collect();
    let summary = lines[lines.len().saturating_sub(SUMMARY_LINES)..].iter().copied();
    for line in skipped.chain(summary) {
        say(&format!("client suite {suite}: {line}"));
    }
}

#[test]
fn python() {
    run_suite("python", &["bash", "python3"]);
}

#[test]
fn node() {
    // The scripted upstream is Python, whatever the suite is written in.
    run_suite("node", &["bash", "python3", "node", "npm"]);
}
