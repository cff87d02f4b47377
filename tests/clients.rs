//! The official SDKs against the running binary: Python and Node, one test each.
//!
//! The suites live in `tests/clients/` and bring their own scripted upstream; they install what they need under
//! `target/clients`. Where Python or Node is missing the test says `SKIPPED: …` on standard error and passes.
//! The coding agents (`tests/clients/agents.sh`) are too big for this and are run by hand or nightly.

#![allow(clippy::unwrap_used)]

mod support;

use support::peers;

/// How many lines of a good run are shown: the runner's summary.
const SUMMARY_LINES: usize = 9;

fn run_suite(suite: &str, needs: &[&str]) {
    let name = format!("client suite {suite}");
    let output = peers::run_suite(&name, "clients/run.sh", needs, |run| {
        run.arg(suite);
    });
    let Some(output) = output else { return };
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{name} failed ({})\n{text}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    let skipped = text.lines().filter(|line| line.contains("SKIPPED:"));
    let lines: Vec<&str> = text.lines().collect();
    let summary = lines[lines.len().saturating_sub(SUMMARY_LINES)..].iter().copied();
    for line in skipped.chain(summary) {
        peers::say(&format!("{name}: {line}"));
    }
}

#[test]
fn python() {
    run_suite("python", &["python3"]);
}

#[test]
fn node() {
    // The scripted upstream is Python, whatever the suite is written in.
    run_suite("node", &["python3", "node", "npm"]);
}
