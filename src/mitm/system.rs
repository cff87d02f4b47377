//! This machine: where its hosts file is, what remembers old addresses, who holds a port, and what the administrator has to
//! run. Nothing here is changed but caches, which fill again by themselves.

use std::{
    env, fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use certs::trust::{self, Os, Step};

use super::hosts;
use crate::{
    peer_user::{self, sockets},
    settings::Settings,
};

/// The system's hosts file.
pub fn system_hosts() -> PathBuf {
    hosts::default_path(cfg!(windows), env::var("SystemRoot").ok().as_deref())
}

/// The hosts file that the settings mean.
pub fn hosts_path(settings: &Settings) -> PathBuf {
    settings.mitm.hosts_file.clone().unwrap_or_else(system_hosts)
}

/// The folder of everything that interception keeps.
pub fn folder(data_dir: &Path) -> PathBuf {
    data_dir.join("mitm")
}

/// How long a command that flushes a cache may take.
const FLUSH_TIME: Duration = Duration::from_secs(3);
/// How often is looked whether it has ended.
const FLUSH_LOOK: Duration = Duration::from_millis(10);

/// What remembers addresses on a system, and how it is told to forget: a program and its arguments. The first one of a row
/// that is there is asked.
fn caches(os: &str) -> &'static [&'static [&'static [&'static str]]] {
    match os {
        "macos" => &[&[&["dscacheutil", "-flushcache"]], &[&["killall", "-HUP", "mDNSResponder"]]],
        "windows" => &[&[&["ipconfig", "/flushdns"]]],
        _ => &[&[&["resolvectl", "flush-caches"], &["systemd-resolve", "--flush-caches"]], &[&["nscd", "-i", "hosts"]]],
    }
}

/// Makes the system forget addresses that it looked up before a hosts file was changed; says what was asked to. Where
/// nothing remembers, there is nothing to ask, and other files than the system's are nobody's to remember. A cache that
/// does not answer is left alone: what it holds ends by itself.
pub fn flush_caches(hosts_file: &Path) -> Vec<&'static str> {
    if hosts_file != system_hosts() {
        return Vec::new();
    }
    let found = caches(env::consts::OS).iter().filter_map(|ways| {
        let words = ways.iter().find(|words| is_program(words[0]))?;
        runs(words).then_some(words[0])
    });
    found.collect()
}

/// Whether a program of that name is on the path.
fn is_program(name: &str) -> bool {
    let file = if cfg!(windows) { format!("{name}.exe") } else { name.to_owned() };
    env::var_os("PATH").is_some_and(|path| env::split_paths(&path).any(|folder| folder.join(&file).is_file()))
}

/// Runs a program to its end, or ends it.
fn runs(words: &[&str]) -> bool {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let Ok(mut child) = command.spawn() else { return false };
    let deadline = Instant::now() + FLUSH_TIME;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return status.success(),
            Ok(None) if Instant::now() < deadline => thread::park_timeout(FLUSH_LOOK),
            _ => {
                // It may have ended just now.
                let _ = child.kill();
                let _ = child.wait();
                return false;
            }
        }
    }
}

/// Who listens at `addr`, as `name, process 7`; `None` where that cannot be seen.
pub fn port_owner(addr: SocketAddr) -> Option<String> {
    let inode = peer_user::lists().find_map(|list| listening(&list, addr))?;
    let wanted = format!("socket:[{inode}]");
    for process in fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        // Those of others cannot be looked into.
        let Ok(files) = fs::read_dir(process.path().join("fd")) else { continue };
        let holds =
            |file: fs::DirEntry| fs::read_link(file.path()).is_ok_and(|link| link.as_os_str() == wanted.as_str());
        if files.flatten().any(holds) {
            let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some(format!("{}, process {pid}", name.trim()));
        }
    }
    None
}

/// The inode of the socket that listens at `addr` or at its port on every address, in a list as Linux writes it.
fn listening(list: &str, addr: SocketAddr) -> Option<u64> {
    let is_here = |own: SocketAddr| own.port() == addr.port() && (own.ip().is_unspecified() || own.ip() == addr.ip());
    sockets(list).find(|socket| socket.listens && is_here(socket.own)).map(|socket| socket.inode)
}

/// The command `mitm ACTION` of this program for the administrator, on a user's `folder` and a hosts file: a line to be pasted
/// into a shell.
pub fn as_administrator(action: &str, folder: &Path, hosts_file: &Path) -> String {
    let text = |path: &Path| path.display().to_string();
    let program = env::current_exe().map_or_else(|_| "flow-router".to_owned(), |path| text(&path));
    let data_dir = text(folder.parent().unwrap_or(folder));
    let mut args = vec!["mitm".to_owned(), action.to_owned(), "--data-dir".to_owned(), data_dir];
    if hosts_file != system_hosts() {
        args.extend(["--mitm-hosts-file".to_owned(), text(hosts_file)]);
    }
    Step::Run(trust::Command { program, args, privileged: true }).line(Os::here())
}

/// Whether this process is the administrator's.
pub fn is_administrator() -> bool {
    match peer_user::our_user() {
        Some(user) => user == 0,
        // Windows: only an administrator may open the first disk.
        None => fs::File::open(r"\\.\PHYSICALDRIVE0").is_ok(),
    }
}

/// Whether this process is the administrator's and a folder is somebody else's. Then nothing that is written in that folder
/// may say which files of the system are changed.
pub fn is_for_another(folder: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        is_administrator() && fs::metadata(folder).is_ok_and(|metadata| metadata.uid() != 0)
    }
    #[cfg(not(unix))]
    {
        let _ = folder;
        false
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn the_owner_of_a_port_is_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let owner = port_owner(listener.local_addr().unwrap()).unwrap();
        assert!(owner.ends_with(&format!("process {}", std::process::id())), "{owner}");
        let everywhere = std::net::TcpListener::bind("[::]:0").unwrap();
        let port = everywhere.local_addr().unwrap().port();
        assert!(port_owner(SocketAddr::from(([127, 0, 0, 1], port))).is_some());
        drop(everywhere);
        assert_eq!(port_owner(SocketAddr::from(([127, 0, 0, 1], port))), None);
    }

    #[test]
    fn lines_for_the_administrator_survive_a_shell() {
        let line = as_administrator("repair", Path::new("/home/zoë o'hara/x/mitm"), &system_hosts());
        #[cfg(unix)]
        assert!(
            line.starts_with("sudo /") && line.ends_with(r"mitm repair --data-dir '/home/zoë o'\''hara/x'"),
            "{line}"
        );
        #[cfg(windows)]
        assert!(line.ends_with("\"/home/zoë o'hara/x\""), "{line}");
    }

    #[test]
    fn every_system_has_its_caches() {
        for os in ["linux", "macos", "windows", "freebsd"] {
            assert!(!caches(os).is_empty() && caches(os).iter().all(|ways| ways.iter().all(|words| words.len() > 1)));
        }
        assert!(runs(&[if cfg!(windows) { "hostname" } else { "true" }]) && !runs(&["no-such-program-here"]));
    }
}
