#![allow(clippy::unwrap_used)]

use std::{
    cell::RefCell,
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use super::*;

/// A root of another making: what is looked for does not depend on what is in it.
fn root() -> Root {
    Root::from_der(rcgen::generate_simple_self_signed(["root.example".to_owned()]).unwrap().cert.der().clone()).unwrap()
}

fn files() -> Files {
    Files { root: "/data/mitm/rootCA.pem".into(), bundle: "/data/mitm/bundle.pem".into() }
}

fn system(os: Os) -> System {
    System { os, home: "/home/ada".into(), nss: Vec::new(), java: Vec::new(), variables: BTreeMap::new() }
}

fn store(stores: &[Store], id: &str) -> Store {
    stores.iter().find(|store| store.id == id).unwrap_or_else(|| panic!("no {id}")).clone()
}

fn lines(steps: &[Step], os: Os) -> Vec<String> {
    steps.iter().map(|step| step.line(os)).collect()
}

#[test]
fn each_system_has_its_commands() {
    let root = root();
    let (alias, sha1) = (root.alias(), root.sha1());
    assert!(alias.starts_with("flow-router-") && alias.len() == 20 && sha1.len() == 40);
    let cases: [(Os, Vec<String>, Vec<String>); 6] = [
        (
            Os::Linux(Family::Debian),
            vec![
                format!("sudo install -m 0644 /data/mitm/rootCA.pem /usr/local/share/ca-certificates/{alias}.crt"),
                "sudo update-ca-certificates".into(),
            ],
            vec![
                format!("sudo rm -f /usr/local/share/ca-certificates/{alias}.crt"),
                "sudo update-ca-certificates --fresh".into(),
            ],
        ),
        (
            Os::Linux(Family::Fedora),
            vec![
                format!("sudo install -m 0644 /data/mitm/rootCA.pem /etc/pki/ca-trust/source/anchors/{alias}.pem"),
                "sudo update-ca-trust".into(),
            ],
            vec![format!("sudo rm -f /etc/pki/ca-trust/source/anchors/{alias}.pem"), "sudo update-ca-trust".into()],
        ),
        (
            Os::Linux(Family::Arch),
            vec!["sudo trust anchor --store /data/mitm/rootCA.pem".into()],
            vec!["sudo trust anchor --remove /data/mitm/rootCA.pem".into()],
        ),
        (
            Os::Linux(Family::Suse),
            vec![
                format!("sudo install -m 0644 /data/mitm/rootCA.pem /etc/pki/trust/anchors/{alias}.pem"),
                "sudo update-ca-certificates".into(),
            ],
            vec![format!("sudo rm -f /etc/pki/trust/anchors/{alias}.pem"), "sudo update-ca-certificates".into()],
        ),
        (
            Os::MacOs,
            vec![
                "sudo security add-trusted-cert -d -r trustRoot -p ssl -k /Library/Keychains/System.keychain \
                  /data/mitm/rootCA.pem"
                    .into(),
            ],
            vec![
                "sudo security remove-trusted-cert -d /data/mitm/rootCA.pem".into(),
                format!(
                    "sudo security delete-certificate -Z {} /Library/Keychains/System.keychain",
                    sha1.to_uppercase()
                ),
            ],
        ),
        (
            Os::Windows,
            vec!["certutil -addstore -f Root /data/mitm/rootCA.pem".into()],
            vec![format!("certutil -delstore Root {sha1}")],
        ),
    ];
    for (os, add, remove) in cases {
        let system = store(&plan(&system(os), &root, &files()), "system");
        assert_eq!(lines(&system.add, os), add);
        assert_eq!(lines(&system.remove, os), remove);
        assert!(system.add.iter().chain(&system.remove).all(Step::is_privileged), "{os:?}");
    }
    let other = store(&plan(&system(Os::Linux(Family::Other)), &root, &files()), "system");
    assert!(other.add.is_empty() && other.note.is_some());
    let user = store(&plan(&system(Os::Windows), &root, &files()), "user");
    assert_eq!(lines(&user.add, Os::Windows), ["certutil -user -addstore -f Root /data/mitm/rootCA.pem"]);
    assert!(!user.add[0].is_privileged());
}

#[test]
fn runtimes_have_their_commands() {
    let root = root();
    let alias = root.alias();
    let os = Os::Linux(Family::Debian);
    let mut system = system(os);
    system.nss = vec![
        NssDatabase { folder: "/home/ada/.pki/nssdb".into(), program: "Chromium, Chrome, Electron", exists: false },
        NssDatabase { folder: "/home/ada/.mozilla/firefox/x y".into(), program: "Firefox", exists: true },
    ];
    system.java = vec![JavaStore { cacerts: "/jvm/lib/security/cacerts".into(), keytool: "/jvm/bin/keytool".into() }];
    let stores = plan(&system, &root, &files());
    assert_eq!(
        lines(&store(&stores, "nss:/home/ada/.pki/nssdb").add, os),
        [
            "mkdir -p /home/ada/.pki/nssdb".to_owned(),
            "certutil -d sql:/home/ada/.pki/nssdb -N --empty-password".into(),
            format!("certutil -d sql:/home/ada/.pki/nssdb -A -t C,, -n {alias} -i /data/mitm/rootCA.pem"),
        ]
    );
    assert_eq!(
        lines(&store(&stores, "nss:/home/ada/.mozilla/firefox/x y").remove, os),
        [format!("certutil -d 'sql:/home/ada/.mozilla/firefox/x y' -D -n {alias}")]
    );
    assert_eq!(
        lines(&store(&stores, "java:/jvm/lib/security/cacerts").add, os),
        [format!(
            "sudo /jvm/bin/keytool -importcert -noprompt -alias {alias} -file /data/mitm/rootCA.pem \
             -keystore /jvm/lib/security/cacerts -storepass changeit"
        )]
    );
    let node = store(&stores, "node");
    assert_eq!(lines(&node.add, os), ["export NODE_EXTRA_CA_CERTS=/data/mitm/rootCA.pem"]);
    assert_eq!(lines(&node.remove, os), ["unset NODE_EXTRA_CA_CERTS"]);
    assert_eq!(lines(&node.add, Os::Windows), ["setx NODE_EXTRA_CA_CERTS /data/mitm/rootCA.pem"]);
    assert_eq!(lines(&node.remove, Os::Windows), [r"reg delete HKCU\Environment /v NODE_EXTRA_CA_CERTS /f"]);
    assert_eq!(
        lines(&store(&stores, "ssl_cert_file").add, os),
        [
            "cat /etc/ssl/certs/ca-certificates.crt /data/mitm/rootCA.pem > /data/mitm/bundle.pem",
            "export SSL_CERT_FILE=/data/mitm/bundle.pem"
        ]
    );

    // What the user has in a variable already is kept, and comes back.
    system.variables.insert("NODE_EXTRA_CA_CERTS".into(), "/etc/company's.pem".into());
    system.variables.insert("REQUESTS_CA_BUNDLE".into(), "/etc/company.pem".into());
    let stores = plan(&system, &root, &files());
    assert_eq!(
        lines(&store(&stores, "node").add, os),
        [
            r"cat '/etc/company'\''s.pem' /data/mitm/rootCA.pem > /data/mitm/bundle.pem",
            "export NODE_EXTRA_CA_CERTS=/data/mitm/bundle.pem"
        ]
    );
    assert_eq!(lines(&store(&stores, "node").remove, os), [r"export NODE_EXTRA_CA_CERTS='/etc/company'\''s.pem'"]);
    assert_eq!(lines(&store(&stores, "requests_ca_bundle").remove, os), ["export REQUESTS_CA_BUNDLE=/etc/company.pem"]);
    let ids: std::collections::HashSet<_> = stores.iter().map(|store| store.id.clone()).collect();
    assert_eq!(ids.len(), stores.len(), "ids are unique");
}

#[test]
fn linux_families_are_told_apart() {
    for (text, family) in [
        ("ID=debian\n", Family::Debian),
        ("NAME=\"Ubuntu\"\nID=ubuntu\nID_LIKE=debian\n", Family::Debian),
        ("ID=fedora\n", Family::Fedora),
        ("ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n", Family::Fedora),
        ("ID=nobara\nID_LIKE='rhel fedora'\n", Family::Fedora),
        ("ID=cachyos\nID_LIKE=arch\n", Family::Arch),
        ("ID=\"opensuse-tumbleweed\"\nID_LIKE=\"opensuse suse\"\n", Family::Suse),
        ("ID=pop\nID_LIKE=\"ubuntu debian\"\n", Family::Debian),
        ("VERSION_ID=3\nID=nixos\n", Family::Other),
        ("", Family::Other),
    ] {
        assert_eq!(Family::from_os_release(text), family, "{text:?}");
    }
}

#[test]
fn stores_and_runtimes_are_found() {
    let place = tempfile::tempdir().unwrap();
    let at = |path: &str| place.path().join(path);
    let put = |path: &str| {
        fs::create_dir_all(at(path).parent().unwrap()).unwrap();
        fs::write(at(path), "").unwrap();
    };
    let home = at("home").to_string_lossy().into_owned();
    let find = || System::find(Os::Linux(Family::Debian), place.path(), |name| (name == "HOME").then(|| home.clone()));
    let bare = find();
    assert_eq!(bare.nss.len(), 1, "the database that Chromium would make");
    assert_eq!((&bare.nss[0].folder, bare.nss[0].exists), (&at("home/.pki/nssdb"), false));
    assert!(bare.java.is_empty());

    put("home/.local/share/pki/nssdb/cert9.db");
    assert_eq!(find().nss[0].folder, at("home/.local/share/pki/nssdb"));
    put("home/.pki/nssdb/cert9.db");
    put("home/.mozilla/firefox/abc.default/cert9.db");
    put("home/.mozilla/firefox/old.without/prefs.js");
    put("usr/lib/jvm/java-17/lib/security/cacerts");
    put("usr/lib/jvm/java-17/bin/keytool");
    put("usr/lib/jvm/java-8/jre/lib/security/cacerts");
    put("usr/lib/jvm/java-8/bin/keytool");
    put("usr/lib/jvm/no-keytool/lib/security/cacerts");
    let found = find();
    let folders: Vec<_> = found.nss.iter().map(|database| database.folder.clone()).collect();
    assert_eq!(folders, [at("home/.pki/nssdb"), at("home/.mozilla/firefox/abc.default")]);
    assert!(found.nss.iter().all(|database| database.exists));
    let stores: Vec<_> = found.java.iter().map(|java| java.cacerts.clone()).collect();
    assert_eq!(
        stores,
        [at("usr/lib/jvm/java-17/lib/security/cacerts"), at("usr/lib/jvm/java-8/jre/lib/security/cacerts")]
    );
    System::here();
}

/// A machine that was written down.
#[derive(Default)]
struct Told {
    files: BTreeMap<PathBuf, Vec<u8>>,
    runs: BTreeMap<String, Ran>,
    asked: RefCell<Vec<String>>,
}

impl Told {
    fn ran(mut self, line: &str, success: bool, stdout: &str) -> Self {
        self.runs.insert(line.to_owned(), Ran { success, stdout: stdout.as_bytes().to_vec() });
        self
    }

    fn file(mut self, path: &str, text: &str) -> Self {
        self.files.insert(path.into(), text.as_bytes().to_vec());
        self
    }
}

impl Eyes for Told {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.files.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn run(&self, command: &Command) -> io::Result<Ran> {
        let line = Step::Run(command.clone()).line(Os::MacOs);
        self.asked.borrow_mut().push(line.clone());
        self.runs.get(&line).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

fn states(system: &System, root: &Root, told: &Told) -> BTreeMap<String, State> {
    let stores = plan(system, root, &files());
    let states = look(&stores, root, told);
    stores.into_iter().map(|store| store.id).zip(states).collect()
}

#[test]
fn linux_is_looked_at() {
    let (root, other) = (root(), root());
    let alias = root.alias();
    let mut system = system(Os::Linux(Family::Debian));
    system.nss = vec![NssDatabase { folder: "/n".into(), program: "Chromium, Chrome, Electron", exists: true }];
    system.java = vec![JavaStore { cacerts: "/jvm/cacerts".into(), keytool: "keytool".into() }];
    let bundle = "/etc/ssl/certs/ca-certificates.crt";

    let nothing = states(&system, &root, &Told::default());
    assert!(matches!(&nothing["system"], State::Unknown(why) if why.contains(bundle)));
    assert!(matches!(&nothing["nss:/n"], State::Unknown(why) if why.contains("certutil")));
    assert!(matches!(&nothing["java:/jvm/cacerts"], State::Unknown(_)));
    assert_eq!(nothing["node"], State::NotTrusted);
    assert_eq!(nothing["requests_ca_bundle"], State::NotTrusted);
    assert_eq!(nothing["electron"], State::NotTrusted, "one half is enough to break it");

    let certificate = format!("certutil -d sql:/n -L -n {alias} -a");
    let list = "certutil -d sql:/n -L";
    let flags = |flags: &str| format!("\nCertificate Nickname          Trust Attributes\n\n{alias}        {flags}  \n");
    let with = |flags_text: &str| {
        Told::default()
            .file(bundle, &format!("# comment\n{}{}", other.pem(), root.pem()))
            .ran(&certificate, true, &root.pem())
            .ran(list, true, &flags(flags_text))
            .ran(
                "keytool -list -rfc -keystore /jvm/cacerts -storepass changeit",
                true,
                &format!("Alias\n{}", root.pem()),
            )
    };
    let all = states(&system, &root, &with("C,,"));
    for id in ["system", "nss:/n", "java:/jvm/cacerts", "ssl_cert_file"] {
        assert_eq!(all[id], State::Trusted, "{id}");
    }
    for flags in [",,", "c,,", "P,C,C", ",C,"] {
        assert_eq!(states(&system, &root, &with(flags))["nss:/n"], State::NotTrusted, "{flags}");
    }
    for flags in ["CT,C,C", "Cu,,"] {
        assert_eq!(states(&system, &root, &with(flags))["nss:/n"], State::Trusted, "{flags}");
    }
    // Another certificate under our name.
    let impostor = with("C,,").ran(&certificate, true, &other.pem());
    assert_eq!(states(&system, &root, &impostor)["nss:/n"], State::NotTrusted);

    system.variables.insert("NODE_EXTRA_CA_CERTS".into(), "/n.pem".into());
    system.variables.insert("SSL_CERT_FILE".into(), "/s.pem".into());
    let told = with("C,,").file("/n.pem", &root.pem()).file("/s.pem", &other.pem());
    let all = states(&system, &root, &told);
    assert_eq!((&all["node"], &all["electron"]), (&State::Trusted, &State::Trusted));
    assert_eq!(all["ssl_cert_file"], State::NotTrusted, "the variable hides the system's roots");
}

#[test]
fn macos_and_windows_are_looked_at() {
    let root = root();
    let verify = "security verify-cert -q -l -L -p ssl -c /data/mitm/rootCA.pem";
    for (success, state) in [(true, State::Trusted), (false, State::NotTrusted)] {
        let told = Told::default().ran(verify, success, "");
        assert_eq!(states(&system(Os::MacOs), &root, &told)["system"], state);
    }
    let sha1 = root.sha1();
    let told = Told::default().ran(&format!("certutil -store Root {sha1}"), false, "").ran(
        &format!("certutil -user -store Root {sha1}"),
        true,
        "Root",
    );
    let all = states(&system(Os::Windows), &root, &told);
    assert_eq!((&all["system"], &all["user"]), (&State::NotTrusted, &State::Trusted));
    assert_eq!(all["electron"], State::NotTrusted, "Node's half");
    assert!(told.asked.borrow().iter().all(|line| !line.contains("sudo")), "looking needs no rights");
}

#[test]
fn a_bundle_is_the_systems_roots_and_ours() {
    let (root, other) = (root(), root());
    assert_ne!(root, other);
    let text = other.pem();
    let made = bundle(text.trim_end().as_bytes(), &root).unwrap();
    assert_eq!(String::from_utf8(made.clone()).unwrap(), format!("{text}{}", root.pem()));
    assert_eq!(bundle(&made, &root), None);
    assert_eq!(bundle(b"", &root).unwrap(), root.pem().as_bytes());
}

#[test]
fn words_survive_a_shell() {
    let odd = ["", "a b", "it's", "$HOME", "`id`", "a;b", "*", "\\", "ü", "-n", "a\nb"];
    let step = Step::Run(Command::new("printf", ["%s|"].into_iter().chain(odd)));
    let Ok(ran) = std::process::Command::new("sh").arg("-c").arg(step.line(Os::Linux(Family::Other))).output() else {
        println!("skipped: no sh");
        return;
    };
    assert_eq!(String::from_utf8(ran.stdout).unwrap(), odd.map(|word| format!("{word}|")).concat());
    assert_eq!(
        Step::Run(Command::new("x", [r"C:\Users\Ada L\a.pem", r"C:\a"])).line(Os::Windows),
        r#"x "C:\Users\Ada L\a.pem" C:\a"#
    );
}
