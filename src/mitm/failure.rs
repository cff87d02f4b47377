//! Why a change of the system was not made, said so that somebody can act on it.

use std::{fmt, io, net::SocketAddr, path::Path};

use super::{
    hosts::{HostsError, Refusal},
    system,
};

/// Why something was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// For programs: `needs_privilege`, `port_in_use`, …
    pub code: &'static str,
    /// For people.
    pub message: String,
    /// What to run, each a line for the system's shell; any one of them is enough.
    pub commands: Vec<String>,
}

impl Failure {
    /// One without commands.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), commands: Vec::new() }
    }

    /// The same with what to run.
    #[must_use]
    pub fn run(mut self, command: impl Into<String>) -> Self {
        self.commands.push(command.into());
        self
    }

    /// Why a file of our own could not be read or written.
    pub fn data_dir(path: &Path, error: &io::Error) -> Self {
        Self::new("data_dir", format!("{}: {error}", path.display()))
    }

    /// Why a hosts file was not changed.
    pub fn hosts(error: &HostsError) -> Self {
        let code = match error {
            HostsError::NeedsPrivilege { .. } => NEEDS_PRIVILEGE,
            HostsError::Refused(Refusal::Conflict { .. }) => "hosts_conflict",
            HostsError::Busy { .. } => "hosts_busy",
            _ => "hosts_unreadable",
        };
        Self::new(code, error.to_string())
    }

    /// Why nobody can listen at `addr`, and who does, if that can be seen.
    pub fn listen(addr: SocketAddr, error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::AddrInUse => {
                let owner = system::port_owner(addr).map(|owner| format!(" ({owner})")).unwrap_or_default();
                let who = format!("another program{owner}");
                let hint = "end it, or choose another loopback address with --mitm-addr, such as 127.0.0.2:443";
                Self::new("port_in_use", format!("{who} listens on {addr}: {hint}"))
            }
            io::ErrorKind::PermissionDenied => {
                let message =
                    format!("listening on {addr} needs the administrator's rights: ports below 1024 are kept");
                Self::new(NEEDS_PRIVILEGE, message)
            }
            _ => Self::new("listen", format!("cannot listen on {addr}: {error}")),
        }
    }
}

/// The code of what only the administrator may do.
pub const NEEDS_PRIVILEGE: &str = "needs_privilege";

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}
