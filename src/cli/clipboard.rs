//! Puts a text into the clipboard, with whatever program the system has for that, or by asking the terminal.
//!
//! The text goes to a program's standard input, never onto its command line. Over SSH the clipboard that the user means
//! is at the other end: the terminal is asked (OSC 52), which many terminals do, and none says whether it did.

use std::{
    env,
    io::{self, Write as _},
    process::Stdio,
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use tokio::{io::AsyncWriteExt as _, process::Command};

use super::place;

/// How long a program may take; one that hangs, for want of a display, must not hold us up.
const PATIENCE: Duration = Duration::from_secs(2);

/// Programs that take the clipboard's text from standard input, and when they can work.
const PROGRAMS: &[(&str, &[&str], Option<&str>)] = &[
    ("wl-copy", &[], Some("WAYLAND_DISPLAY")),
    ("xclip", &["-selection", "clipboard"], Some("DISPLAY")),
    ("xsel", &["--clipboard", "--input"], Some("DISPLAY")),
    ("pbcopy", &[], None),
    // Also inside WSL.
    ("clip.exe", &[], None),
];

/// How a text was copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Copied {
    /// A program has it.
    Yes,
    /// The terminal was asked to; it does not say whether it did.
    Asked,
    /// There is no clipboard.
    No,
}

/// Copies a text. Only to be called where standard output is a terminal.
pub(crate) async fn copy(text: &str) -> Copied {
    let remote = ["SSH_CONNECTION", "SSH_TTY"].iter().any(|name| env::var_os(name).is_some());
    if remote {
        return ask_terminal(text);
    }
    for (name, args, needs) in PROGRAMS {
        let can = needs.is_none_or(|variable| env::var_os(variable).is_some_and(|value| !value.is_empty()));
        if can
            && let Some(program) = place::program(name)
            && fed(&mut Command::new(program), args, text).await
        {
            return Copied::Yes;
        }
    }
    Copied::No
}

/// Runs a program with the text as its input; whether it took it.
async fn fed(command: &mut Command, args: &[&str], text: &str) -> bool {
    let command = command.args(args).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let Ok(mut child) = command.kill_on_drop(true).spawn() else { return false };
    let done = async {
        let mut stdin = child.stdin.take()?;
        stdin.write_all(text.as_bytes()).await.ok()?;
        drop(stdin);
        child.wait().await.ok()
    };
    tokio::time::timeout(PATIENCE, done).await.ok().flatten().is_some_and(|status| status.success())
}

fn ask_terminal(text: &str) -> Copied {
    let sequence = format!("\x1b]52;c;{}\x07", BASE64_STANDARD.encode(text));
    let mut stdout = io::stdout().lock();
    match stdout.write_all(sequence.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => Copied::Asked,
        Err(_) => Copied::No,
    }
}
