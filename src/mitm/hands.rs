//! The two things that may need the administrator's rights: listening on a low port, and changing the hosts file. By
//! ourselves where we may, else by the guard, if one is there; else it is said what the administrator has to run.

use std::{
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};

use proxy::front;
use tokio::net::TcpListener;
use tracing::info;

#[cfg(unix)]
use super::guard::{self, Guard};
use super::{
    Failure, NEEDS_PRIVILEGE,
    hosts::{Change, HostsError, HostsFile, Wanted},
    repair::catalogue,
    system,
};

/// What changes the machine.
#[derive(Debug)]
pub(super) struct Hands {
    folder: PathBuf,
    hosts_file: PathBuf,
    /// The guard, once it was needed.
    #[cfg(unix)]
    guard: Option<Guard>,
}

impl Hands {
    /// For a hosts file; `folder` is where the guard would wait.
    pub(super) fn new(folder: &Path, hosts_file: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            hosts_file: hosts_file.to_owned(),
            #[cfg(unix)]
            guard: None,
        }
    }

    /// Binds a loopback address. Must be called inside a runtime.
    ///
    /// # Errors
    /// Another program is there, or nobody with the right is.
    pub(super) fn bind(&mut self, address: SocketAddr) -> Result<TcpListener, Failure> {
        let error = match front::listen(address) {
            Ok(listener) => return Ok(listener),
            Err(error) => error,
        };
        let failure = Failure::listen(address, &error);
        #[cfg(unix)]
        if let Some(guard) = self.guard(&failure) {
            let listener = guard.bind(address)?;
            // What counts is where it listens, whoever has bound it.
            return match listener.local_addr() {
                Ok(bound) if bound.ip().is_loopback() => {
                    TcpListener::from_std(listener).map_err(|error| Failure::listen(address, &error))
                }
                _ => Err(Failure::new("listen_not_loopback", "the guard gave another listener than it was asked for")),
            };
        }
        Err(self.with_commands(failure))
    }

    /// Puts the block in.
    ///
    /// # Errors
    /// The file forbids it, or nobody with the right is here.
    pub(super) fn apply(&mut self, addresses: &[IpAddr], hosts: &[&str]) -> Result<(), Failure> {
        let catalogue = catalogue();
        let wanted = Wanted { hosts, addresses, catalogue: &catalogue, windows: cfg!(windows) };
        let done = HostsFile::new(&self.hosts_file, &self.folder).apply(&wanted);
        let Err(failure) = self.changed(done) else { return Ok(()) };
        #[cfg(unix)]
        if let Some(guard) = self.guard(&failure) {
            let done = guard.apply(addresses, hosts);
            return self.heard(done);
        }
        Err(self.with_commands(failure))
    }

    /// Takes the block out.
    ///
    /// # Errors
    /// As [`Hands::apply`].
    pub(super) fn remove(&mut self) -> Result<(), Failure> {
        let done = HostsFile::new(&self.hosts_file, &self.folder).remove(&catalogue());
        let Err(failure) = self.changed(done) else { return Ok(()) };
        #[cfg(unix)]
        if let Some(guard) = self.guard(&failure) {
            let done = guard.remove();
            return self.heard(done);
        }
        Err(self.with_commands(failure))
    }

    /// A guard that is gone is not asked again: another one may have come.
    #[cfg(unix)]
    fn heard(&mut self, done: Result<(), Failure>) -> Result<(), Failure> {
        if done.as_ref().is_err_and(|failure| failure.code == guard::GONE) {
            self.guard = None;
        }
        done
    }

    /// The guard, where that is what fails, and one is there.
    #[cfg(unix)]
    fn guard(&mut self, failure: &Failure) -> Option<&mut Guard> {
        if failure.code != NEEDS_PRIVILEGE {
            return None;
        }
        if self.guard.is_none() {
            self.guard = Guard::reach(&self.folder);
        }
        self.guard.as_mut()
    }

    /// What came of a change of the file by ourselves.
    fn changed(&self, done: Result<Change, HostsError>) -> Result<(), Failure> {
        done.map_err(|error| Failure::hosts(&error))?;
        let flushed = system::flush_caches(&self.hosts_file);
        if !flushed.is_empty() {
            info!(caches = flushed.join(","), "what remembered addresses was told to forget them");
        }
        Ok(())
    }

    fn with_commands(&self, mut failure: Failure) -> Failure {
        if failure.code != NEEDS_PRIVILEGE {
            return failure;
        }
        #[cfg(unix)]
        {
            failure.message.push_str("; leave this running in another terminal, and start again");
            failure.run(system::as_administrator("guard", &self.folder, &self.hosts_file))
        }
        #[cfg(not(unix))]
        {
            failure.message.push_str("; run this in a terminal that was opened as administrator");
            failure.run(system::as_administrator("start", &self.folder, &self.hosts_file))
        }
    }
}
