//! Foreign TLS stacks against our leaves: each trusts our root alone, gets an answer for a name inside the constraint, and
//! refuses a leaf for another name that the issuing key signed. A peer that is not installed is skipped, and says so.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use crate::support::{INSIDE, Made, OUTSIDE, serve};
use certs::{LeafKey, trust};
use rustls::pki_types::CertificateDer;

/// Whether a program can be started; if not, this is said.
fn there(program: &str, argument: &str) -> bool {
    let ran = Command::new(program).arg(argument).stdin(Stdio::null()).output();
    // NSS' certutil ends with 1 after its help.
    let there = ran.is_ok_and(|ran| ran.status.success() || program == "certutil");
    if !there {
        println!("skipped: {program} is not here");
    }
    there
}

fn run(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().unwrap()
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Good and stolen: a server with our leaf, and one with a leaf that only a thief could make.
struct Servers {
    made: Made,
    good: u16,
    stolen: u16,
}

impl Servers {
    fn start() -> Self {
        let made = Made::new();
        let good = serve(made.config(LeafKey::p256().unwrap(), &[b"http/1.1"]));
        let stolen = serve(made.stolen_config(OUTSIDE));
        Self { made, good, stolen }
    }

    fn root(&self) -> PathBuf {
        self.made.root()
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.made.place.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }
}

fn accepted(what: &str, output: &Output) {
    let text = text(output);
    assert!(output.status.success() && text.contains(&format!("hello from {INSIDE}")), "{what}: {text}");
}

/// Refused for the reason that we mean.
fn refused(what: &str, output: &Output, reasons: &[&str]) {
    let text = text(output);
    assert!(!output.status.success() && !text.contains("hello from"), "{what} took a stolen leaf: {text}");
    assert!(reasons.iter().any(|reason| text.contains(reason)), "{what}: {text}");
}

fn pem(der: &CertificateDer<'_>) -> String {
    certs::Root::from_der(der.clone().into_owned()).unwrap().pem()
}

#[test]
fn openssl_verify() {
    if !there("openssl", "version") {
        return;
    }
    let made = Made::new();
    let place = made.place.path();
    let issuing = made.folder.path().join("issuingCA.pem");
    let verify = |leaf: &Path, name: &str| {
        let mut command = Command::new("openssl");
        command.args(["verify", "-x509_strict", "-no-CApath", "-no-CAstore", "-purpose", "sslserver"]);
        command
            .args(["-verify_hostname", name])
            .arg("-CAfile")
            .arg(made.root())
            .arg("-untrusted")
            .arg(&issuing)
            .arg(leaf);
        run(&mut command)
    };
    let cache = certs::Cache::new(made.authority.clone(), LeafKey::p256().unwrap());
    let good = place.join("good.pem");
    fs::write(&good, pem(&cache.get(&crate::support::host(INSIDE), std::time::SystemTime::now()).unwrap().cert[0]))
        .unwrap();
    let ran = verify(&good, INSIDE);
    assert!(ran.status.success(), "{}", text(&ran));
    assert!(!verify(&good, "other.inside.example").status.success());
    let stolen = place.join("stolen.pem");
    fs::write(&stolen, made.stolen(OUTSIDE).0.pem()).unwrap();
    refused("openssl verify", &verify(&stolen, OUTSIDE), &["permitted subtree violation"]);
    // An address is excluded as well.
    fs::write(&stolen, made.stolen("127.0.0.1").0.pem()).unwrap();
    let mut by_address = Command::new("openssl");
    by_address.args(["verify", "-no-CApath", "-no-CAstore", "-verify_ip", "127.0.0.1"]);
    by_address.arg("-CAfile").arg(made.root()).arg("-untrusted").arg(&issuing).arg(&stolen);
    refused("openssl verify", &run(&mut by_address), &["excluded subtree violation"]);
    // The key on disk signs for the names and nobody else; the root's is not there.
    assert!(!made.folder.path().join("rootCA.key").exists());
}

#[test]
fn openssl_s_client() {
    if !there("openssl", "version") {
        return;
    }
    let servers = Servers::start();
    let connect = |name: &str, port: u16, version: &str| {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-connect", &format!("127.0.0.1:{port}"), "-servername", name, version]);
        command.args(["-verify_return_error", "-x509_strict", "-verify_hostname", name, "-no-CApath", "-brief"]);
        command.arg("-CAfile").arg(servers.root());
        run(&mut command)
    };
    for version in ["-tls1_2", "-tls1_3"] {
        let good = connect(INSIDE, servers.good, version);
        assert!(good.status.success() && text(&good).contains("Verification: OK"), "{version}: {}", text(&good));
        refused("s_client", &connect(OUTSIDE, servers.stolen, version), &["permitted subtree violation"]);
        // Our own server has no leaf for it at all.
        refused("s_client", &connect(OUTSIDE, servers.good, version), &["alert"]);
    }
    assert!(!connect(INSIDE, servers.good, "-tls1_1").status.success());
}

#[test]
fn curl() {
    if !there("curl", "--version") {
        return;
    }
    let servers = Servers::start();
    let get = |name: &str, port: u16| {
        let mut command = Command::new("curl");
        command.args(["-sS", "--noproxy", "*", "--resolve", &format!("{name}:{port}:127.0.0.1"), "--cacert"]);
        command.arg(servers.root()).arg(format!("https://{name}:{port}/"));
        run(&mut command)
    };
    accepted("curl", &get(INSIDE, servers.good));
    refused("curl", &get(OUTSIDE, servers.stolen), &["permitted subtree violation", "certificate"]);
}

#[test]
fn node() {
    if !there("node", "--version") {
        return;
    }
    let servers = Servers::start();
    let script = servers.write(
        "client.js",
        "const [name, port] = process.argv.slice(2);
         require('https').get({ host: '127.0.0.1', servername: name, port, headers: { host: name } }, (answer) => {
             answer.on('data', (data) => process.stdout.write(data));
         }).on('error', (error) => { console.error(error.code, error.message); process.exit(1); });",
    );
    let get = |name: &str, port: u16, trusting: bool| {
        let mut command = Command::new("node");
        command.arg(&script).args([name, &port.to_string()]).env_remove("NODE_EXTRA_CA_CERTS");
        if trusting {
            command.env("NODE_EXTRA_CA_CERTS", servers.root());
        }
        run(&mut command)
    };
    accepted("node", &get(INSIDE, servers.good, true));
    refused("node", &get(INSIDE, servers.good, false), &["SELF_SIGNED_CERT_IN_CHAIN", "UNABLE_TO"]);
    refused("node", &get(OUTSIDE, servers.stolen, true), &["permitted subtree violation"]);
}

#[test]
fn python() {
    if !there("python3", "--version") {
        return;
    }
    let servers = Servers::start();
    let script = servers.write(
        "client.py",
        "import socket, ssl, sys
name, port, root = sys.argv[1:]
context = ssl.create_default_context(cafile=root)
context.verify_flags |= ssl.VERIFY_X509_STRICT
with socket.create_connection(('127.0.0.1', int(port))) as plain:
    with context.wrap_socket(plain, server_hostname=name) as tls:
        tls.sendall(b'GET / HTTP/1.1\\r\\nhost: ' + name.encode() + b'\\r\\n\\r\\n')
        while data := tls.recv(4096):
            sys.stdout.write(data.decode())
",
    );
    let get = |name: &str, port: u16| {
        run(Command::new("python3").arg(&script).args([name, &port.to_string()]).arg(servers.root()))
    };
    accepted("python", &get(INSIDE, servers.good));
    refused("python", &get(OUTSIDE, servers.stolen), &["permitted subtree violation"]);
}

#[test]
fn go() {
    if !there("go", "version") {
        return;
    }
    let servers = Servers::start();
    let source = servers.write(
        "client.go",
        r#"package main

import ("crypto/tls"; "crypto/x509"; "fmt"; "io"; "os")

func main() {
	name, port := os.Args[1], os.Args[2]
	pem, err := os.ReadFile(os.Args[3])
	if err != nil { panic(err) }
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) { panic("no root") }
	c, err := tls.Dial("tcp", "127.0.0.1:"+port, &tls.Config{ServerName: name, RootCAs: roots})
	if err != nil { fmt.Fprintln(os.Stderr, err); os.Exit(1) }
	fmt.Fprintf(c, "GET / HTTP/1.1\r\nhost: %s\r\n\r\n", name)
	io.Copy(os.Stdout, c)
}
"#,
    );
    let program = servers.made.place.path().join("client");
    // The toolchain keeps what it compiled of the standard library: the second run of this test is quick.
    let built = run(Command::new("go").arg("build").arg("-o").arg(&program).arg(&source).env("GO111MODULE", "off"));
    assert!(built.status.success(), "{}", text(&built));
    let get = |name: &str, port: u16| run(Command::new(&program).args([name, &port.to_string()]).arg(servers.root()));
    accepted("go", &get(INSIDE, servers.good));
    refused("go", &get(OUTSIDE, servers.stolen), &["not permitted by any constraint"]);
}

/// Runs the steps of a plan, as a user would on request.
fn follow(steps: &[trust::Step]) {
    for step in steps {
        let trust::Step::Run(command) = step else { panic!("{step:?}") };
        let ran = run(Command::new(&command.program).args(&command.args));
        assert!(ran.status.success(), "{command:?}: {}", text(&ran));
    }
}

/// The plan for one kind of store of `system`, and what it looks like now.
fn doctor(system: &trust::System, made: &Made, kind: &str) -> (trust::Store, trust::State) {
    let root = made.authority.root();
    let files = trust::Files { root: made.root(), bundle: made.place.path().join("bundle.pem") };
    let stores = trust::plan(system, root, &files);
    let states = trust::look(&stores, root, &trust::Machine);
    stores.into_iter().zip(states).find(|(store, _)| store.id.starts_with(kind)).unwrap()
}

fn system(home: &Path) -> trust::System {
    let home = home.to_string_lossy().into_owned();
    trust::System::find(trust::Os::Linux(trust::Family::Debian), Path::new("/nowhere"), |name| {
        (name == "HOME").then(|| home.clone())
    })
}

#[test]
fn java_and_its_doctor() {
    if !there("java", "-version") || !there("keytool", "-help") {
        return;
    }
    let servers = Servers::start();
    let made = &servers.made;
    let (cacerts, other) = (made.place.path().join("cacerts"), Made::new());
    // A store of its own with another root of ours in it: Java takes no empty one.
    let filled = run(Command::new("keytool")
        .args(["-importcert", "-noprompt", "-alias", "other", "-storepass", "changeit", "-keystore"])
        .arg(&cacerts)
        .arg("-file")
        .arg(other.root()));
    assert!(filled.status.success(), "{}", text(&filled));
    let mut system = system(made.place.path());
    system.java = vec![trust::JavaStore { cacerts: cacerts.clone(), keytool: "keytool".into() }];

    let hosts = servers.write("hosts", &format!("127.0.0.1 {INSIDE}\n127.0.0.1 {OUTSIDE}\n"));
    let source = servers.write(
        "Client.java",
        r#"import java.net.URI;
import java.net.http.*;

public class Client {
    public static void main(String[] args) throws Exception {
        var client = HttpClient.newHttpClient();
        for (int i = 0; i < args.length; i++) {
            try {
                var request = HttpRequest.newBuilder(URI.create(args[i])).build();
                System.out.print(client.send(request, HttpResponse.BodyHandlers.ofString()).body());
            } catch (Exception error) {
                for (Throwable cause = error; cause != null; cause = cause.getCause()) System.out.println(cause);
            }
        }
    }
}
"#,
    );
    let get = || {
        let ran = run(Command::new("java")
            .arg(format!("-Djdk.net.hosts.file={}", hosts.display()))
            .arg(format!("-Djavax.net.ssl.trustStore={}", cacerts.display()))
            .arg("-Djavax.net.ssl.trustStorePassword=changeit")
            .arg(&source)
            .arg(format!("https://{INSIDE}:{}/", servers.good))
            .arg(format!("https://{OUTSIDE}:{}/", servers.stolen)));
        assert!(ran.status.success(), "{}", text(&ran));
        text(&ran)
    };
    let (store, before) = doctor(&system, made, "java:");
    assert_eq!(before, trust::State::NotTrusted);
    follow(&store.add);
    assert_eq!(doctor(&system, made, "java:").1, trust::State::Trusted);
    let answers = get();
    assert!(answers.contains(&format!("hello from {INSIDE}")), "{answers}");
    assert!(!answers.contains(&format!("hello from {OUTSIDE}")), "{answers}");
    assert!(answers.contains("name constraints"), "{answers}");
    follow(&store.remove);
    assert_eq!(doctor(&system, made, "java:").1, trust::State::NotTrusted);
    assert!(!get().contains("hello from"), "it is not trusted any more");
}

#[test]
fn nss_and_its_doctor() {
    if !there("certutil", "-H") {
        return;
    }
    let made = Made::new();
    let home = made.place.path().join("home");
    fs::create_dir(&home).unwrap();
    let (store, before) = doctor(&system(&home), &made, "nss:");
    assert_eq!(before, trust::State::NotTrusted);
    follow(&store.add);
    let (store, added) = doctor(&system(&home), &made, "nss:");
    assert_eq!(added, trust::State::Trusted);
    // Twice does no harm.
    follow(&store.add);
    assert_eq!(doctor(&system(&home), &made, "nss:").1, trust::State::Trusted);

    // What NSS makes of chains.
    let database = format!("sql:{}", home.join(".pki/nssdb").display());
    let certutil = |args: &[&str]| run(Command::new("certutil").args(["-d", &database]).args(args));
    let cache = certs::Cache::new(made.authority.clone(), LeafKey::p256().unwrap());
    let good = cache.get(&crate::support::host(INSIDE), std::time::SystemTime::now()).unwrap();
    let (stolen, _) = made.stolen(OUTSIDE);
    for (name, pem) in
        [("issuing", pem(made.authority.issuing())), ("good", pem(&good.cert[0])), ("stolen", stolen.pem())]
    {
        let path = made.place.path().join(name);
        fs::write(&path, pem).unwrap();
        let added = certutil(&["-A", "-t", ",,", "-n", name, "-i", &path.to_string_lossy()]);
        assert!(added.status.success(), "{}", text(&added));
    }
    let verified = certutil(&["-V", "-u", "V", "-e", "-n", "good"]);
    assert!(verified.status.success(), "{}", text(&verified));
    let verified = certutil(&["-V", "-u", "V", "-e", "-n", "stolen"]);
    assert!(
        !verified.status.success() && text(&verified).contains("not permitted to issue a certificate with this name"),
        "{}",
        text(&verified)
    );

    follow(&store.remove);
    assert_eq!(doctor(&system(&home), &made, "nss:").1, trust::State::NotTrusted);
    let verified = certutil(&["-V", "-u", "V", "-e", "-n", "good"]);
    assert!(!verified.status.success(), "without the root it is worth nothing");
}

#[test]
fn chromium() {
    if !there("chromium", "--version") || !there("certutil", "-H") {
        return;
    }
    let servers = Servers::start();
    let home = servers.made.place.path().join("home");
    fs::create_dir(&home).unwrap();
    let (store, _) = doctor(&system(&home), &servers.made, "nss:");
    let get = |name: &str, port: u16| {
        let mut command = Command::new("chromium");
        command.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-proxy-server"]);
        command.arg(format!("--host-resolver-rules=MAP {name} 127.0.0.1"));
        command.arg(format!("--user-data-dir={}", home.join("profile").display()));
        command.args(["--dump-dom", &format!("https://{name}:{port}/")]);
        text(&run(command.env("HOME", &home)))
    };
    let before = get(INSIDE, servers.good);
    assert!(!before.contains("hello from"), "nobody trusts it yet: {before}");
    follow(&store.add);
    let good = get(INSIDE, servers.good);
    assert!(good.contains(&format!("hello from {INSIDE}")), "{good}");
    let stolen = get(OUTSIDE, servers.stolen);
    assert!(!stolen.contains("hello from"), "{stolen}");
}
