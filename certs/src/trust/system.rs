//! Facts about a machine: its system, and which stores and runtimes are there.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
};

/// Most databases, and most runtimes, that are listed.
const FOUND_MAX: usize = 32;

/// An operating system, as far as trust stores differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Os {
    /// Linux of some family.
    Linux(Family),
    /// macOS.
    MacOs,
    /// Windows.
    Windows,
}

impl Os {
    /// That of this machine.
    pub fn here() -> Self {
        if cfg!(windows) {
            Self::Windows
        } else if cfg!(target_os = "macos") {
            Self::MacOs
        } else {
            let text = fs::read_to_string("/etc/os-release").or_else(|_| fs::read_to_string("/usr/lib/os-release"));
            Self::Linux(Family::from_os_release(&text.unwrap_or_default()))
        }
    }
}

/// Families of Linux distributions that keep their roots in one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Debian, Ubuntu, Mint; Alpine and Gentoo keep them alike.
    Debian,
    /// Fedora, Red Hat, Rocky, Amazon Linux.
    Fedora,
    /// Arch and what is made from it.
    Arch,
    /// openSUSE and SUSE.
    Suse,
    /// Any other.
    Other,
}

impl Family {
    /// Reads the text of `/etc/os-release`: `ID` first, then `ID_LIKE` in its order.
    pub fn from_os_release(text: &str) -> Self {
        let value = |key: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
                .map(|value| value.trim().trim_matches(['"', '\'']))
                .unwrap_or_default()
        };
        let known = |id: &str| match id {
            "debian" | "ubuntu" | "linuxmint" | "raspbian" | "alpine" | "gentoo" => Some(Self::Debian),
            "fedora" | "rhel" | "centos" | "rocky" | "almalinux" | "amzn" => Some(Self::Fedora),
            "arch" | "manjaro" | "endeavouros" => Some(Self::Arch),
            "suse" | "opensuse" | "sles" => Some(Self::Suse),
            _ if id.starts_with("opensuse-") => Some(Self::Suse),
            _ => None,
        };
        let ids = std::iter::once(value("ID")).chain(value("ID_LIKE").split_whitespace());
        ids.filter_map(known).next().unwrap_or(Self::Other)
    }
}

/// A database of NSS: what Firefox, and on Linux Chromium, read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct NssDatabase {
    /// Its folder.
    pub folder: PathBuf,
    /// Who reads it, for people.
    pub program: &'static str,
    /// Whether it is there already.
    pub exists: bool,
}

/// A key store of a Java runtime.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct JavaStore {
    /// The file `cacerts`.
    pub cacerts: PathBuf,
    /// The runtime's `keytool`.
    pub keytool: PathBuf,
}

/// What a plan is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct System {
    /// The system.
    pub os: Os,
    /// The user's home.
    pub home: PathBuf,
    /// NSS databases; those that a program would look for, too.
    pub nss: Vec<NssDatabase>,
    /// Java runtimes.
    pub java: Vec<JavaStore>,
    /// The variables of [`System::VARIABLES`] that are set.
    pub variables: BTreeMap<String, String>,
}

impl System {
    /// The variables that say which roots a program reads.
    pub const VARIABLES: [&str; 5] =
        ["NODE_EXTRA_CA_CERTS", "NODE_USE_SYSTEM_CA", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "JAVA_HOME"];

    /// This machine, for the user of this process.
    pub fn here() -> Self {
        Self::find(Os::here(), Path::new("/"), |name| env::var(name).ok().filter(|value| !value.is_empty()))
    }

    /// Looks below `root` for stores and runtimes of `os`, with the environment `variable`.
    pub fn find(os: Os, root: &Path, variable: impl Fn(&str) -> Option<String>) -> Self {
        let home = variable(if os == Os::Windows { "USERPROFILE" } else { "HOME" }).map(PathBuf::from);
        let home = home.unwrap_or_default();
        let variables = Self::VARIABLES.iter().filter_map(|name| Some(((*name).to_owned(), variable(name)?))).collect();
        let mut system = Self { os, home, nss: Vec::new(), java: Vec::new(), variables };
        system.find_nss(&variable);
        system.find_java(root, &variable);
        system
    }

    fn find_nss(&mut self, variable: &impl Fn(&str) -> Option<String>) {
        let home = self.home.clone();
        let firefox = match self.os {
            Os::Linux(_) => {
                // Chromium takes the second only if the first is not there.
                let classic = home.join(".pki/nssdb");
                let data = variable("XDG_DATA_HOME").map_or_else(|| home.join(".local/share"), PathBuf::from);
                let modern = data.join("pki/nssdb");
                let folder = if !has_database(&classic) && has_database(&modern) { modern } else { classic };
                self.nss.push(NssDatabase {
                    exists: has_database(&folder),
                    folder,
                    program: "Chromium, Chrome, Electron",
                });
                let snap = home.join("snap/chromium/current/.pki/nssdb");
                if has_database(&snap) {
                    self.nss.push(NssDatabase { folder: snap, program: "Chromium (snap)", exists: true });
                }
                vec![
                    home.join(".mozilla/firefox"),
                    home.join("snap/firefox/common/.mozilla/firefox"),
                    home.join(".var/app/org.mozilla.firefox/.mozilla/firefox"),
                ]
            }
            Os::MacOs => vec![home.join("Library/Application Support/Firefox/Profiles")],
            Os::Windows => variable("APPDATA")
                .map(|data| vec![PathBuf::from(data).join("Mozilla").join("Firefox").join("Profiles")])
                .unwrap_or_default(),
        };
        for profile in firefox.iter().flat_map(|folder| folders(folder)).filter(|folder| has_database(folder)) {
            self.nss.push(NssDatabase { folder: profile, program: "Firefox", exists: true });
        }
        self.nss.truncate(FOUND_MAX);
    }

    fn find_java(&mut self, root: &Path, variable: &impl Fn(&str) -> Option<String>) {
        let mut homes: Vec<PathBuf> = variable("JAVA_HOME").map(PathBuf::from).into_iter().collect();
        match self.os {
            Os::Linux(_) => homes.extend(folders(&root.join("usr/lib/jvm"))),
            Os::MacOs => {
                let machines = folders(&root.join("Library/Java/JavaVirtualMachines"));
                homes.extend(machines.iter().map(|machine| machine.join("Contents/Home")));
            }
            Os::Windows => {
                for programs in variable("ProgramFiles").iter().map(PathBuf::from) {
                    let vendors = ["Java", "Eclipse Adoptium", "Microsoft", "Zulu"];
                    homes.extend(vendors.iter().flat_map(|vendor| folders(&programs.join(vendor))));
                }
            }
        }
        let mut seen = Vec::new();
        for home in homes {
            // A JDK of Java 8 has its runtime one folder below.
            let stores = ["lib/security/cacerts", "jre/lib/security/cacerts"].map(|path| home.join(path));
            let Some(cacerts) = stores.into_iter().find(|path| path.is_file()) else { continue };
            let keytool = home.join("bin").join(if self.os == Os::Windows { "keytool.exe" } else { "keytool" });
            // Distributions link one store into every runtime.
            let real = fs::canonicalize(&cacerts).unwrap_or_else(|_| cacerts.clone());
            if keytool.is_file() && !seen.contains(&real) && self.java.len() < FOUND_MAX {
                seen.push(real);
                self.java.push(JavaStore { cacerts, keytool });
            }
        }
    }
}

fn has_database(folder: &Path) -> bool {
    folder.join("cert9.db").is_file()
}

/// Folders right below one, sorted, a bounded number of them.
fn folders(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).into_iter().flatten().take(1_000);
    let mut found: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    found.sort();
    found.truncate(FOUND_MAX);
    found
}
