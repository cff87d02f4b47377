//! Programs that are not ours, as clients and judges: where one is missing, a test says so and passes.

use std::{
    io::Write,
    path::Path,
    process::{Command, Output, Stdio},
};

/// Whether a program is installed.
pub(crate) fn has(program: &str) -> bool {
    let version = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    version.is_ok_and(|status| status.success())
}

/// Whether curl is installed and speaks HTTP/2.
pub(crate) fn has_curl_with_http2() -> bool {
    let version = Command::new("curl").arg("--version").output();
    version.is_ok_and(|out| String::from_utf8_lossy(&out.stdout).contains("HTTP2"))
}

/// Past the capture of the test harness: what was skipped must be seen in a green run as well.
pub(crate) fn say(text: &str) {
    writeln!(std::io::stderr().lock(), "{text}").unwrap();
}

/// Runs a suite, a script of bash below `tests/`, with what `set` adds. `None`: one of the programs that it needs besides
/// bash is missing, and this was said.
pub(crate) fn run_suite(name: &str, script: &str, needs: &[&str], set: impl FnOnce(&mut Command)) -> Option<Output> {
    if let Some(missing) = [&["bash"], needs].concat().into_iter().find(|program| !has(program)) {
        say(&format!("SKIPPED: {name}: {missing} is not installed"));
        return None;
    }
    let mut command = Command::new("bash");
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(script));
    command.env("FLOW_ROUTER_BIN", env!("CARGO_BIN_EXE_flow-router")).stdin(Stdio::null());
    set(&mut command);
    Some(command.output().unwrap())
}
