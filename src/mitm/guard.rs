//! The few things that only the administrator may do, done for a program that is not.
//!
//! `sudo flow-router mitm guard` waits at a socket in the folder `mitm`, which only that folder's owner can reach. It does
//! three things and no others:
//!
//! | word | what |
//! |---|---|
//! | `bind IP:PORT` | binds a loopback address and hands the listener over |
//! | `apply IP,… NAME,…` | puts our block into the hosts file: loopback addresses, names of the catalogue |
//! | `remove` | takes it out |
//!
//! When the connection ends, however it ends, the block is taken out: a program that is killed leaves nothing. Which hosts
//! file that is, the administrator says on the command line; nothing that the user can write to is asked.

use std::{
    fs,
    io::{self, BufRead as _, BufReader, IoSlice, IoSliceMut, Read as _, Write as _},
    mem::MaybeUninit,
    net::{IpAddr, SocketAddr, TcpListener},
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::{
            fs::{MetadataExt as _, PermissionsExt as _, chown},
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use tracing::{info, warn};

use super::{
    Failure, NEEDS_PRIVILEGE,
    hosts::{HostsFile, Wanted},
    repair::catalogue,
    system,
};
use crate::{files, settings::tools};

/// Longest request or answer, bytes: every name of the catalogue, and some.
const LINE_MAX: u64 = 8 * 1024;
/// How long the guard may take for one thing: flushing caches is among them.
const PATIENCE: Duration = Duration::from_secs(15);
/// Room for the ancillary data of one listener.
const ANCILLARY: usize = rustix::cmsg_space!(ScmRights(1));

fn place(folder: &Path) -> PathBuf {
    folder.join("guard.sock")
}

/// A guard that was reached. While this lives, the block stays.
#[derive(Debug)]
pub(super) struct Guard(UnixStream);

impl Guard {
    /// Reaches the guard of a folder. `None`: there is none.
    pub(super) fn reach(folder: &Path) -> Option<Self> {
        let stream = UnixStream::connect(place(folder)).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        stream.set_write_timeout(Some(PATIENCE)).ok()?;
        Some(Self(stream))
    }

    /// Has an address bound.
    ///
    /// # Errors
    /// The guard's, or that it is gone.
    pub(super) fn bind(&mut self, address: SocketAddr) -> Result<TcpListener, Failure> {
        let listener = self.ask(&format!("bind {address}"))?;
        listener.map(TcpListener::from).ok_or_else(|| gone(&io::Error::other("it gave no listener")))
    }

    /// Has the block put in.
    ///
    /// # Errors
    /// As [`Guard::bind`].
    pub(super) fn apply(&mut self, addresses: &[IpAddr], hosts: &[&str]) -> Result<(), Failure> {
        let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        self.ask(&format!("apply {} {}", addresses.join(","), hosts.join(","))).map(drop)
    }

    /// Has the block taken out.
    ///
    /// # Errors
    /// As [`Guard::bind`].
    pub(super) fn remove(&mut self) -> Result<(), Failure> {
        self.ask("remove").map(drop)
    }

    fn ask(&mut self, line: &str) -> Result<Option<OwnedFd>, Failure> {
        writeln!(self.0, "{line}").map_err(|error| gone(&error))?;
        let (answer, listener) = receive(&self.0).map_err(|error| gone(&error))?;
        match answer.split_once(' ') {
            _ if answer == "ok" => Ok(listener),
            Some((code, message)) => {
                let known = CODES.into_iter().find(|known| *known == code).unwrap_or("guard");
                Err(Failure::new(known, message))
            }
            None => Err(gone(&io::Error::other("it cannot be understood"))),
        }
    }
}

/// Codes that keep their meaning on the way through the guard.
const CODES: [&str; 5] = ["port_in_use", "hosts_conflict", "hosts_busy", "hosts_unreadable", NEEDS_PRIVILEGE];

/// The code of a guard that does not answer.
pub(super) const GONE: &str = "guard_gone";

fn gone(error: &io::Error) -> Failure {
    Failure::new(GONE, format!("the guard that has the administrator's rights does not answer: {error}"))
}

/// One line of an answer, and what came with it.
fn receive(stream: &UnixStream) -> io::Result<(String, Option<OwnedFd>)> {
    let (mut text, mut listener) = (Vec::new(), None);
    while !text.ends_with(b"\n") {
        let (mut piece, mut space) = ([0; 512], [MaybeUninit::uninit(); ANCILLARY]);
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let slices = &mut [IoSliceMut::new(&mut piece)];
        let read = recvmsg(stream.as_fd(), slices, &mut ancillary, RecvFlags::empty())?;
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(mut handed) = message {
                listener = handed.next().or(listener);
            }
        }
        if read.bytes == 0 || text.len() as u64 > LINE_MAX {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        text.extend_from_slice(&piece[..read.bytes]);
    }
    let text = String::from_utf8_lossy(&text).trim_end().to_owned();
    if let Some(listener) = &listener {
        rustix::io::fcntl_setfd(listener, rustix::io::FdFlags::CLOEXEC)?;
    }
    Ok((text, listener))
}

/// A guard that waits for the program of a folder's owner.
#[derive(Debug)]
pub struct Post {
    listener: UnixListener,
    socket: PathBuf,
    file: HostsFile,
    hosts_file: PathBuf,
}

impl Post {
    /// Waits at the socket of `folder`, which must be there, for changes of `hosts_file`.
    ///
    /// # Errors
    /// The folder is not there, or another guard waits in it.
    pub fn open(folder: &Path, hosts_file: &Path) -> Result<Self, Failure> {
        let socket = place(folder);
        let failed = |error: io::Error| Failure::new("guard", format!("{}: {error}", socket.display()));
        let owner =
            fs::metadata(folder).map_err(|error| Failure::new("guard", format!("{}: {error}", folder.display())))?;
        if UnixStream::connect(&socket).is_ok() {
            return Err(Failure::new("already_running", "a guard waits in this folder already"));
        }
        files::remove(&socket).map_err(failed)?;
        let listener = UnixListener::bind(&socket).map_err(failed)?;
        fs::set_permissions(&socket, fs::Permissions::from_mode(0o600)).map_err(failed)?;
        chown(&socket, Some(owner.uid()), Some(owner.gid())).map_err(failed)?;
        let file = HostsFile::new(hosts_file, folder);
        Ok(Self { listener, socket, file, hosts_file: hosts_file.to_owned() })
    }

    /// Serves one program after another, for ever; blocks.
    ///
    /// # Errors
    /// The socket broke.
    pub fn serve(&self) -> io::Result<()> {
        loop {
            let (stream, _) = self.listener.accept()?;
            info!("a program has come");
            if let Err(error) = self.attend(&stream) {
                warn!(%error, "the program's connection broke");
            }
            self.relieve();
            info!("the program has gone; the hosts file is as it was");
        }
    }

    /// Ends the guard: the block goes, and nobody is awaited any more.
    pub fn leave(&self) {
        self.relieve();
        // Whoever connects to it would wait for nothing.
        let _ = fs::remove_file(&self.socket);
    }

    /// Takes the block out.
    fn relieve(&self) {
        if let Err(failure) = self.remove() {
            warn!(code = failure.code, "the block stays in the hosts file: {failure}");
        }
    }

    fn attend(&self, stream: &UnixStream) -> io::Result<()> {
        let mut lines = BufReader::new(stream);
        loop {
            let mut line = String::new();
            if (&mut lines).take(LINE_MAX).read_line(&mut line)? == 0 {
                return Ok(());
            }
            match self.act(line.trim_end()) {
                Ok(listener) => answer(stream, "ok\n", listener.as_ref())?,
                Err(failure) => {
                    let message = failure.message.replace('\n', " ");
                    answer(stream, &format!("{} {message}\n", failure.code), None)?;
                }
            }
        }
    }

    fn act(&self, line: &str) -> Result<Option<TcpListener>, Failure> {
        let mut words = line.split(' ');
        match (words.next(), words.next(), words.next()) {
            (Some("bind"), Some(address), None) => bind(address).map(Some),
            (Some("apply"), Some(addresses), Some(hosts)) => self.apply(addresses, hosts).map(|()| None),
            (Some("remove"), None, None) => self.remove().map(|()| None),
            _ => Err(refused("a guard does three things, and this is none of them")),
        }
    }

    fn apply(&self, addresses: &str, hosts: &str) -> Result<(), Failure> {
        let addresses: Option<Vec<IpAddr>> = addresses.split(',').map(|text| text.parse().ok()).collect();
        let addresses = addresses.filter(|addresses| addresses.iter().all(IpAddr::is_loopback));
        let hosts: Option<Vec<&str>> = hosts.split(',').map(|name| tools::host(name).map(|host| host.name)).collect();
        let (Some(addresses), Some(hosts)) = (addresses, hosts) else {
            return Err(refused("only names of the catalogue can lead to loopback addresses"));
        };
        let catalogue = catalogue();
        let wanted = Wanted { hosts: &hosts, addresses: &addresses, catalogue: &catalogue, windows: false };
        self.file.apply(&wanted).map_err(|error| Failure::hosts(&error))?;
        system::flush_caches(&self.hosts_file);
        Ok(())
    }

    fn remove(&self) -> Result<(), Failure> {
        self.file.remove(&catalogue()).map_err(|error| Failure::hosts(&error))?;
        system::flush_caches(&self.hosts_file);
        Ok(())
    }
}

fn refused(why: &str) -> Failure {
    Failure::new("guard", why)
}

fn bind(address: &str) -> Result<TcpListener, Failure> {
    let address: SocketAddr = address.parse().map_err(|_| refused("this is no address"))?;
    if !address.ip().is_loopback() {
        return Err(refused("only loopback addresses are bound"));
    }
    let bound = TcpListener::bind(address).and_then(|listener| listener.set_nonblocking(true).map(|()| listener));
    bound.map_err(|error| Failure::listen(address, &error))
}

fn answer(stream: &UnixStream, line: &str, listener: Option<&TcpListener>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); ANCILLARY];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let handed = listener.map(|listener| [listener.as_fd()]);
    if let Some(handed) = &handed {
        ancillary.push(SendAncillaryMessage::ScmRights(handed));
    }
    let sent = sendmsg(stream.as_fd(), &[IoSlice::new(line.as_bytes())], &mut ancillary, SendFlags::NOSIGNAL)?;
    // The rest of a line that did not fit goes without.
    let mut stream = stream;
    stream.write_all(&line.as_bytes()[sent..])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::thread;

    use super::*;

    #[test]
    fn three_things_and_no_others() {
        let place = tempfile::tempdir().unwrap();
        let (folder, hosts) = (place.path().join("mitm"), place.path().join("hosts"));
        fs::create_dir(&folder).unwrap();
        fs::write(&hosts, "127.0.0.1 localhost").unwrap();
        assert!(Guard::reach(&folder).is_none());
        let post = Post::open(&folder, &hosts).unwrap();
        assert_eq!(fs::metadata(super::place(&folder)).unwrap().mode() & 0o777, 0o600);
        let post = std::sync::Arc::new(post);
        let served = std::sync::Arc::clone(&post);
        thread::spawn(move || served.serve());
        assert_eq!(Post::open(&folder, &hosts).unwrap_err().code, "already_running");

        let mut guard = Guard::reach(&folder).unwrap();
        let listener = guard.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        assert!(address.ip().is_loopback());
        let taken = guard.bind(address).unwrap_err();
        assert_eq!(taken.code, "port_in_use");
        let loopback: IpAddr = "127.0.0.1".parse().unwrap();
        guard.apply(&[loopback], &["api2.cursor.sh"]).unwrap();
        assert!(fs::read_to_string(&hosts).unwrap().contains("\n127.0.0.1 api2.cursor.sh\n"));
        for wrong in [
            "bind 0.0.0.0:0",
            "bind 192.0.2.1:80",
            "apply 127.0.0.1 example.com",
            "apply 192.0.2.1 api2.cursor.sh",
            "apply 127.0.0.1",
            "remove all",
            "run sh",
            "",
        ] {
            assert_eq!(guard.ask(wrong).unwrap_err().code, "guard", "{wrong}");
        }
        guard.remove().unwrap();
        assert_eq!(fs::read_to_string(&hosts).unwrap(), "127.0.0.1 localhost");
        // A program that is gone, however it went, leaves nothing: the next one is served only after that.
        guard.apply(&[loopback], &["api2.cursor.sh"]).unwrap();
        drop(guard);
        let mut next = Guard::reach(&folder).unwrap();
        assert!(next.ask("").is_err());
        assert_eq!(fs::read_to_string(&hosts).unwrap(), "127.0.0.1 localhost");
    }
}
