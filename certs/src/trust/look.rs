//! Looks at the stores of a plan.

use std::{
    fs, io,
    io::Read,
    path::Path,
    process::{self, Stdio},
};

use rustls::pki_types::{CertificateDer, pem::PemObject};

use super::{Command, Look, Store};
use crate::Root;

/// Largest file or output that is read: the roots of a system are 250 KiB.
const TEXT_MAX: u64 = 16 * 1024 * 1024;

/// What a store thinks of our root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It trusts it.
    Trusted,
    /// It does not.
    NotTrusted,
    /// This could not be found out, and why.
    Unknown(String),
}

/// What a program did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    /// Whether it ended with 0.
    pub success: bool,
    /// What it printed.
    pub stdout: Vec<u8>,
}

/// How a store is looked at. Tests have their own.
pub trait Eyes {
    /// The bytes of a file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// Runs a program that only looks.
    fn run(&self, command: &Command) -> io::Result<Ran>;
}

/// This machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct Machine;

impl Eyes for Machine {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        fs::File::open(path)?.take(TEXT_MAX).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn run(&self, command: &Command) -> io::Result<Ran> {
        let mut child = process::Command::new(&command.program)
            .args(&command.args)
            // Words of another language would not be understood.
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let mut stdout = Vec::new();
        if let Some(pipe) = child.stdout.take() {
            pipe.take(TEXT_MAX).read_to_end(&mut stdout)?;
        }
        Ok(Ran { success: child.wait()?.success(), stdout })
    }
}

/// Looks at each store of a plan, in its order.
pub fn look(stores: &[Store], root: &Root, eyes: &dyn Eyes) -> Vec<State> {
    let mut states: Vec<State> = Vec::with_capacity(stores.len());
    for store in stores {
        let found = one(&store.look, root, eyes, |id| {
            let at = stores.iter().position(|store| store.id == id);
            at.and_then(|at| states.get(at))
                .cloned()
                .unwrap_or_else(|| State::Unknown(format!("{id} was not looked at")))
        });
        states.push(found);
    }
    states
}

fn one(look: &Look, root: &Root, eyes: &dyn Eyes, other: impl Fn(&str) -> State) -> State {
    let run = |command: &Command| {
        eyes.run(command).map_err(|error| State::Unknown(format!("cannot run {}: {error}", command.program)))
    };
    let trusted = |yes: bool| if yes { State::Trusted } else { State::NotTrusted };
    let looked = || -> Result<State, State> {
        Ok(match look {
            Look::Bundles(paths) => {
                let texts: Vec<_> = paths.iter().filter_map(|path| eyes.read(path).ok()).collect();
                if texts.is_empty() {
                    let names: Vec<_> = paths.iter().map(|path| path.to_string_lossy()).collect();
                    return Err(State::Unknown(format!("cannot read {}", names.join(", "))));
                }
                trusted(texts.iter().any(|text| holds(text, root)))
            }
            Look::Succeeds(command) => trusted(run(command)?.success),
            Look::Prints(command) => {
                let ran = run(command)?;
                if !ran.success {
                    return Err(State::Unknown(format!("{} failed", command.program)));
                }
                trusted(holds(&ran.stdout, root))
            }
            Look::Nss { certificate, list, alias } => {
                let printed = run(certificate)?;
                if !printed.success || !holds(&printed.stdout, root) {
                    return Ok(State::NotTrusted);
                }
                trusted(trusts_servers(&String::from_utf8_lossy(&run(list)?.stdout), alias))
            }
            Look::NoDatabase | Look::Variable(None) => State::NotTrusted,
            Look::Variable(Some(path)) => match eyes.read(path) {
                Ok(text) => trusted(holds(&text, root)),
                Err(error) => State::Unknown(format!("cannot read {}: {error}", path.display())),
            },
            Look::All(ids) => all(ids.iter().map(|id| other(id))),
        })
    };
    looked().unwrap_or_else(|unknown| unknown)
}

/// The worst of `states`: not trusted, not known, trusted.
fn all(states: impl Iterator<Item = State>) -> State {
    let mut result = State::Trusted;
    for state in states {
        match state {
            State::NotTrusted => return state,
            State::Unknown(_) => result = state,
            State::Trusted => {}
        }
    }
    result
}

/// Whether a PEM text holds our root. Other text between the certificates does not matter.
pub(super) fn holds(text: &[u8], root: &Root) -> bool {
    CertificateDer::pem_slice_iter(text).flatten().any(|certificate| certificate == *root.der())
}

/// Whether NSS' list has `alias` with the flag `C` in its first column: trusted to issue server certificates.
fn trusts_servers(list: &str, alias: &str) -> bool {
    list.lines().any(|line| {
        // The columns are padded, the last one too.
        let mut words = line.trim_end().rsplitn(2, char::is_whitespace);
        let (flags, name) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        name.trim() == alias && flags.split(',').next().is_some_and(|ssl| ssl.contains('C'))
    })
}
