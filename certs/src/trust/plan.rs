//! What there is to look at, and what to run: made from facts, touching nothing.

use std::path::{Path, PathBuf};

use super::{Command, Family, JavaStore, NssDatabase, Os, Step, System};
use crate::Root;

/// Files of ours that the commands name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The root's certificate: `rootCA.pem`.
    pub root: PathBuf,
    /// Where a bundle of the system's roots and ours would lie.
    pub bundle: PathBuf,
}

/// A place where trust is kept, or a runtime that has its own idea of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store {
    /// Short and unique, for scripts: `system`, `nss:/home/ada/.pki/nssdb`, `node`, …
    pub id: String,
    /// For people.
    pub title: String,
    /// Who reads it.
    pub read_by: String,
    /// How to find out.
    pub look: Look,
    /// Steps that make it trust our root; empty where it follows another store.
    pub add: Vec<Step>,
    /// Steps that undo that. They name our certificate by its fingerprint, never by its name alone.
    pub remove: Vec<Step>,
    /// What else the user should know.
    pub note: Option<&'static str>,
}

/// How to find out whether a store trusts our root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Look {
    /// One of these PEM files that is there must hold it.
    Bundles(Vec<PathBuf>),
    /// A command that ends well only if it is trusted.
    Succeeds(Command),
    /// A command that prints PEM certificates; one must be ours.
    Prints(Command),
    /// Both: the certificate is printed by `certificate`, and `list` shows it under `alias` with trust for servers.
    Nss {
        /// Prints the certificate as PEM.
        certificate: Command,
        /// Prints all names with their trust.
        list: Command,
        /// Our name in it.
        alias: String,
    },
    /// The database is not there: nothing is trusted by it.
    NoDatabase,
    /// The file that a variable names must hold it. `None`: the variable is not set.
    Variable(Option<PathBuf>),
    /// As these other stores, all of them, by their ids.
    All(Vec<String>),
}

/// Everything that may trust our root on `system`.
pub fn plan(system: &System, root: &Root, files: &Files) -> Vec<Store> {
    let mut stores = Vec::new();
    match system.os {
        Os::Linux(family) => stores.push(linux(family, root, files)),
        Os::MacOs => stores.push(keychain(root, files)),
        Os::Windows => stores.extend([windows(false, root, files), windows(true, root, files)]),
    }
    stores.extend(system.nss.iter().map(|database| nss(database, system.os, root, files)));
    stores.push(node(system, files));
    if let Os::Linux(_) | Os::MacOs = system.os {
        stores.push(openssl_variable(system, files));
        stores.push(requests_variable(system, files));
    }
    stores.extend(system.java.iter().map(|java| self::java(java, system, root, files)));
    stores.push(electron(system));
    stores
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn run(program: &str, args: &[&str], privileged: bool) -> Step {
    Step::Run(Command::new(program, args.iter().copied()).privileged(privileged))
}

/// The file into which a Linux family gathers its roots. Several where nobody knows.
fn bundles(family: Family) -> Vec<PathBuf> {
    let paths: &[&str] = match family {
        Family::Debian => &["/etc/ssl/certs/ca-certificates.crt"],
        Family::Fedora => &["/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem"],
        Family::Arch => &["/etc/ca-certificates/extracted/tls-ca-bundle.pem"],
        Family::Suse => &["/var/lib/ca-certificates/ca-bundle.pem"],
        Family::Other => &[
            "/etc/ssl/certs/ca-certificates.crt",
            "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
            "/etc/ca-certificates/extracted/tls-ca-bundle.pem",
            "/var/lib/ca-certificates/ca-bundle.pem",
            "/etc/ssl/cert.pem",
        ],
    };
    paths.iter().map(PathBuf::from).collect()
}

fn linux(family: Family, root: &Root, files: &Files) -> Store {
    let source = text(&files.root);
    let place = |folder: &str, extension: &str| format!("{folder}/{}.{extension}", root.alias());
    let copied = |to: &str, update: &[&str], update_removed: &[&str]| {
        let (program, args) = update.split_first().unwrap_or((&"", &[]));
        let (removing, removing_args) = update_removed.split_first().unwrap_or((&"", &[]));
        (
            vec![run("install", &["-m", "0644", &source, to], true), run(program, args, true)],
            vec![run("rm", &["-f", to], true), run(removing, removing_args, true)],
        )
    };
    let (title, (add, remove)) = match family {
        Family::Debian => (
            "roots of the system (Debian, Ubuntu)",
            copied(
                &place("/usr/local/share/ca-certificates", "crt"),
                &["update-ca-certificates"],
                &["update-ca-certificates", "--fresh"],
            ),
        ),
        Family::Fedora => (
            "roots of the system (Fedora, Red Hat)",
            copied(&place("/etc/pki/ca-trust/source/anchors", "pem"), &["update-ca-trust"], &["update-ca-trust"]),
        ),
        Family::Suse => (
            "roots of the system (SUSE)",
            copied(&place("/etc/pki/trust/anchors", "pem"), &["update-ca-certificates"], &["update-ca-certificates"]),
        ),
        Family::Arch => (
            "roots of the system (Arch)",
            (
                vec![run("trust", &["anchor", "--store", &source], true)],
                vec![run("trust", &["anchor", "--remove", &source], true)],
            ),
        ),
        Family::Other => ("roots of the system", (Vec::new(), Vec::new())),
    };
    Store {
        id: "system".into(),
        title: title.into(),
        read_by: "OpenSSL, curl, git, Go, Python's ssl, Rust programs with native roots".into(),
        look: Look::Bundles(bundles(family)),
        note: add.is_empty().then_some("this distribution is not known: see its manual for adding a root certificate"),
        add,
        remove,
    }
}

fn keychain(root: &Root, files: &Files) -> Store {
    const KEYCHAIN: &str = "/Library/Keychains/System.keychain";
    let file = text(&files.root);
    Store {
        id: "system".into(),
        title: "macOS system keychain".into(),
        read_by: "Safari, Chrome, Electron, Go, Swift, curl".into(),
        // -l: the certificate is an authority's; -L: nothing is fetched.
        look: Look::Succeeds(Command::new("security", ["verify-cert", "-q", "-l", "-L", "-p", "ssl", "-c", &file])),
        add: vec![run(
            "security",
            &["add-trusted-cert", "-d", "-r", "trustRoot", "-p", "ssl", "-k", KEYCHAIN, &file],
            true,
        )],
        remove: vec![
            run("security", &["remove-trusted-cert", "-d", &file], true),
            run("security", &["delete-certificate", "-Z", &root.sha1().to_uppercase(), KEYCHAIN], true),
        ],
        note: None,
    }
}

fn windows(machine: bool, root: &Root, files: &Files) -> Store {
    let (file, sha1) = (text(&files.root), root.sha1());
    let certutil = |args: &[&str]| {
        let user = (!machine).then_some("-user");
        Command::new("certutil", user.into_iter().chain(args.iter().copied())).privileged(machine)
    };
    Store {
        id: if machine { "system" } else { "user" }.into(),
        title: if machine { "Windows roots of the machine" } else { "Windows roots of the user" }.into(),
        read_by: "Edge, Chrome, Electron, Go, .NET, PowerShell, curl of Windows".into(),
        look: Look::Succeeds(certutil(&["-store", "Root", &sha1]).privileged(false)),
        add: vec![Step::Run(certutil(&["-addstore", "-f", "Root", &file]))],
        remove: vec![Step::Run(certutil(&["-delstore", "Root", &sha1]))],
        note: (!machine).then_some("Windows asks in a window before it adds a root for a user"),
    }
}

fn nss(database: &NssDatabase, os: Os, root: &Root, files: &Files) -> Store {
    let folder = text(&database.folder);
    let sql = format!("sql:{folder}");
    let (file, alias) = (text(&files.root), root.alias());
    let certutil = |args: &[&str]| Command::new("certutil", ["-d", &sql].into_iter().chain(args.iter().copied()));
    let mut add = Vec::new();
    if !database.exists {
        add.push(run("mkdir", &["-p", &folder], false));
        add.push(Step::Run(certutil(&["-N", "--empty-password"])));
    }
    add.push(Step::Run(certutil(&["-A", "-t", "C,,", "-n", &alias, "-i", &file])));
    let firefox = database.program == "Firefox";
    Store {
        id: format!("nss:{folder}"),
        title: format!("{} certificate database", if firefox { "Firefox" } else { "NSS" }),
        read_by: database.program.into(),
        look: if database.exists {
            Look::Nss {
                certificate: certutil(&["-L", "-n", &alias, "-a"]),
                list: certutil(&["-L"]),
                alias: alias.clone(),
            }
        } else {
            Look::NoDatabase
        },
        add,
        remove: vec![Step::Run(certutil(&["-D", "-n", &alias]))],
        note: match os {
            Os::Linux(_) => Some("certutil is in the package libnss3-tools (Debian) or nss-tools (Fedora)"),
            Os::MacOs => Some(
                "certutil comes with `brew install nss`; Firefox takes the keychain's roots too, unless told not to",
            ),
            Os::Windows => Some(
                "this certutil is that of NSS, not that of Windows; Firefox takes the system's roots too, unless told not to",
            ),
        },
    }
}

fn variable(system: &System, name: &str) -> Option<PathBuf> {
    system.variables.get(name).map(PathBuf::from)
}

/// Node reads `NODE_EXTRA_CA_CERTS` beside its own roots; a file that the user has there already is kept in the bundle.
fn node(system: &System, files: &Files) -> Store {
    let set = variable(system, "NODE_EXTRA_CA_CERTS");
    let others = set.as_ref().filter(|path| **path != files.root && **path != files.bundle);
    let (add, remove) = match others {
        Some(roots) => (
            vec![
                Step::Bundle { roots: roots.clone(), root: files.root.clone(), to: files.bundle.clone() },
                Step::Set { name: "NODE_EXTRA_CA_CERTS", value: files.bundle.clone() },
            ],
            vec![Step::Set { name: "NODE_EXTRA_CA_CERTS", value: roots.clone() }],
        ),
        None => (
            vec![Step::Set { name: "NODE_EXTRA_CA_CERTS", value: files.root.clone() }],
            vec![Step::Unset { name: "NODE_EXTRA_CA_CERTS" }],
        ),
    };
    Store {
        id: "node".into(),
        title: "Node.js started from this environment".into(),
        read_by: "Node.js, Claude Code, Gemini CLI, Copilot CLI, extensions of VS Code and its relatives".into(),
        look: Look::Variable(set),
        add,
        remove,
        note: Some(
            "read when a program starts; NODE_USE_SYSTEM_CA=1 (Node 22.15 and later) takes the system's roots instead",
        ),
    }
}

/// `SSL_CERT_FILE` replaces the system's roots, in whoever reads it. Unset, those are in force.
fn openssl_variable(system: &System, files: &Files) -> Store {
    let roots = match system.os {
        Os::Linux(family) => bundles(family).swap_remove(0),
        Os::MacOs | Os::Windows => PathBuf::from("/etc/ssl/cert.pem"),
    };
    let set = variable(system, "SSL_CERT_FILE");
    replacing(
        Store {
            id: "ssl_cert_file".into(),
            title: "programs that read SSL_CERT_FILE".into(),
            read_by: "OpenSSL, Python's ssl, Go on Linux, Rust programs with native roots".into(),
            look: set.clone().map_or_else(|| Look::All(vec!["system".into()]), |path| Look::Variable(Some(path))),
            add: Vec::new(),
            remove: Vec::new(),
            note: Some("not needed where the system's roots hold ours and the variable is not set"),
        },
        "SSL_CERT_FILE",
        set.unwrap_or(roots),
        files,
    )
}

/// `requests` and what is built on it bring their own roots.
fn requests_variable(system: &System, files: &Files) -> Store {
    let roots = match system.os {
        Os::Linux(family) => bundles(family).swap_remove(0),
        Os::MacOs | Os::Windows => PathBuf::from("/etc/ssl/cert.pem"),
    };
    let set = variable(system, "REQUESTS_CA_BUNDLE");
    replacing(
        Store {
            id: "requests_ca_bundle".into(),
            title: "Python's requests".into(),
            read_by: "requests, and Python programs built on it".into(),
            look: Look::Variable(set.clone()),
            add: Vec::new(),
            remove: Vec::new(),
            note: Some("httpx and aiohttp read SSL_CERT_FILE instead"),
        },
        "REQUESTS_CA_BUNDLE",
        set.unwrap_or(roots),
        files,
    )
}

/// Steps for a variable whose file replaces all roots: it must be a bundle.
fn replacing(store: Store, name: &'static str, roots: PathBuf, files: &Files) -> Store {
    let ours = roots == files.bundle;
    let foreign = matches!(&store.look, Look::Variable(Some(path)) if !ours && path == &roots);
    Store {
        add: vec![
            Step::Bundle { roots: roots.clone(), root: files.root.clone(), to: files.bundle.clone() },
            Step::Set { name, value: files.bundle.clone() },
        ],
        remove: if foreign { vec![Step::Set { name, value: roots }] } else { vec![Step::Unset { name }] },
        ..store
    }
}

fn java(java: &JavaStore, system: &System, root: &Root, files: &Files) -> Store {
    let (store, keytool) = (text(&java.cacerts), text(&java.keytool));
    let (file, alias) = (text(&files.root), root.alias());
    // Not a secret: it is the documented password of every such store.
    let with_store = |args: &[&str]| {
        Command::new(&keytool, args.iter().copied().chain(["-keystore", &store, "-storepass", "changeit"]))
    };
    let privileged = !java.cacerts.starts_with(&system.home);
    Store {
        id: format!("java:{store}"),
        title: "Java runtime".into(),
        read_by: "programs of this Java; JetBrains IDEs bring a runtime of their own".into(),
        look: Look::Prints(with_store(&["-list", "-rfc"])),
        add: vec![Step::Run(
            with_store(&["-importcert", "-noprompt", "-alias", &alias, "-file", &file]).privileged(privileged),
        )],
        remove: vec![Step::Run(with_store(&["-delete", "-alias", &alias]).privileged(privileged))],
        note: match system.os {
            Os::Linux(Family::Debian) => {
                Some("update-ca-certificates writes the system's roots into Debian's own Java store too")
            }
            Os::Linux(_) => None,
            Os::MacOs => Some("or start it with -Djavax.net.ssl.trustStoreType=KeychainStore"),
            Os::Windows => Some("or start it with -Djavax.net.ssl.trustStoreType=Windows-ROOT"),
        },
    }
}

/// Electron has two halves: windows use Chromium's store, the main process and extensions Node's.
fn electron(system: &System) -> Store {
    let chromium = match (system.os, system.nss.first()) {
        (Os::Linux(_), Some(first)) => format!("nss:{}", text(&first.folder)),
        // The user's roots include the machine's.
        (Os::Windows, _) => "user".to_owned(),
        _ => "system".to_owned(),
    };
    Store {
        id: "electron".into(),
        title: "Electron programs (VS Code, Cursor, Kiro, Antigravity)".into(),
        read_by: "their windows read Chromium's store, their extensions Node's".into(),
        look: Look::All(vec![chromium, "node".into()]),
        add: Vec::new(),
        remove: Vec::new(),
        note: Some("VS Code and its relatives also load the system's roots into extensions (http.systemCertificates)"),
    }
}
