//! What a user runs to change who trusts our root, and how it is written for a shell.

use std::path::PathBuf;

use super::Os;

/// A program with its arguments. It is started as it stands, never through a shell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// The program's name or path.
    pub program: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// Whether it needs the administrator's rights.
    pub privileged: bool,
}

impl Command {
    pub(crate) fn new<S: Into<String>>(program: &str, args: impl IntoIterator<Item = S>) -> Self {
        Self { program: program.to_owned(), args: args.into_iter().map(Into::into).collect(), privileged: false }
    }

    pub(crate) fn privileged(self, privileged: bool) -> Self {
        Self { privileged, ..self }
    }
}

/// One step of adding or removing the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Run a program.
    Run(Command),
    /// Set a variable in the environment that programs are started from.
    Set {
        /// Its name.
        name: &'static str,
        /// Its value.
        value: PathBuf,
    },
    /// Take a variable out of that environment.
    Unset {
        /// Its name.
        name: &'static str,
    },
    /// Write `roots`, and our root behind them, to `to`: [`bundle`](super::bundle).
    Bundle {
        /// The roots that are trusted anyway.
        roots: PathBuf,
        /// Our root.
        root: PathBuf,
        /// The file to write.
        to: PathBuf,
    },
}

impl Step {
    /// Whether it needs the administrator's rights.
    pub fn is_privileged(&self) -> bool {
        matches!(self, Self::Run(command) if command.privileged)
    }

    /// The line to paste: into `sh` on Unix, into `cmd` on Windows (one opened as administrator, if privileged).
    pub fn line(&self, os: Os) -> String {
        let path = |path: &PathBuf| quote(&path.to_string_lossy(), os);
        match self {
            Self::Run(command) => {
                let sudo = (command.privileged && os != Os::Windows).then_some("sudo");
                let words = std::iter::once(&command.program).chain(&command.args).map(|word| quote(word, os));
                sudo.map(str::to_owned).into_iter().chain(words).collect::<Vec<_>>().join(" ")
            }
            Self::Set { name, value } if os == Os::Windows => format!("setx {name} {}", path(value)),
            Self::Set { name, value } => format!("export {name}={}", path(value)),
            Self::Unset { name } if os == Os::Windows => format!(r"reg delete HKCU\Environment /v {name} /f"),
            Self::Unset { name } => format!("unset {name}"),
            Self::Bundle { roots, root, to } if os == Os::Windows => {
                format!("copy /b {}+{} {}", path(roots), path(root), path(to))
            }
            Self::Bundle { roots, root, to } => format!("cat {} {} > {}", path(roots), path(root), path(to)),
        }
    }
}

/// A word as a shell reads it back.
fn quote(word: &str, os: Os) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=,@+".contains(c) || (os == Os::Windows && c == '\\');
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    match os {
        // Paths of Windows cannot hold a quotation mark.
        Os::Windows => format!("\"{word}\""),
        Os::Linux(_) | Os::MacOs => format!("'{}'", word.replace('\'', r"'\''")),
    }
}
