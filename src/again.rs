//! Starting the program again in its own place: the same file, the same arguments, the same process id, so that whoever
//! supervises it sees no end.
//!
//! ```text
//!   asked ─▶ would it start? ──no──▶ refused, nothing changes
//!              └─yes─▶ drained, store closed, folder unlocked ─▶ exec: this process is the new program
//! ```
//!
//! What it does not do: hand the listening socket over. Who connects between the end of the drain and the new start is
//! refused, as with any restart.

use std::{convert::Infallible, env, ffi::OsString, io, path::PathBuf};

/// Why there is no way back where a system keeps the program's path to itself.
#[cfg(unix)]
const UNKNOWN: &str = "the system does not say which file this program is";

/// How this program was started. Cheap enough to be asked for once, at the start: an update puts another file in the place of
/// the one that runs, and then the system does not know its path any more.
#[derive(Debug, Clone)]
pub struct Again {
    /// `None` where the system does not know.
    program: Option<PathBuf>,
    name: OsString,
    args: Vec<OsString>,
}

impl Again {
    /// How this process was started.
    pub fn here() -> Self {
        let mut args = env::args_os();
        let program = env::current_exe().ok();
        let name = args.next().unwrap_or_default();
        Self { program, name, args: args.collect() }
    }

    /// Why it could not be started now, if it could not.
    pub fn obstacle(&self) -> Option<String> {
        #[cfg(unix)]
        {
            let Some(program) = &self.program else { return Some(UNKNOWN.to_owned()) };
            let runs = rustix::fs::access(program, rustix::fs::Access::EXEC_OK);
            runs.err().map(|error| format!("{}: {error}", program.display()))
        }
        #[cfg(not(unix))]
        Some("a process cannot be replaced on this system: end it, and start it again".to_owned())
    }

    /// Becomes the new program. Everything of this one is gone then: what has to be written must have been.
    ///
    /// # Errors
    /// Why that did not work. Only then does this return.
    #[cfg(unix)]
    pub fn replace(self) -> io::Result<Infallible> {
        use std::os::unix::process::CommandExt as _;
        let program = self.program.ok_or_else(|| io::Error::other(UNKNOWN))?;
        Err(std::process::Command::new(program).arg0(&self.name).args(&self.args).exec())
    }

    /// See above; here it never works.
    ///
    /// # Errors
    /// Always.
    #[cfg(not(unix))]
    pub fn replace(self) -> io::Result<Infallible> {
        let Self { name, args, .. } = self;
        Err(io::Error::new(io::ErrorKind::Unsupported, format!("{name:?} {args:?} cannot replace itself here")))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_program_that_is_not_there_is_an_obstacle() {
        let here = Again::here();
        assert_eq!(here.obstacle().is_none(), cfg!(unix));
        for program in [None, Some("/none/flow-router".into())] {
            let gone = Again { program, ..here.clone() };
            assert!(gone.obstacle().is_some());
            assert!(gone.replace().is_err());
        }
    }
}
