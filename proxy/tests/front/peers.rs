//! Programs that are not ours, as clients of the front: OpenSSL, curl, Python's `ssl` with `h2`, Node, Go, Java. Where one
//! is missing its test says `SKIPPED: …` and passes.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Output, Stdio},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use h2::{RecvStream, server::SendResponse};
use http::{HeaderMap, Request, Response};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::Command,
};

use super::*;
use crate::support::read_request;

const H2: &str = "h2==4.3.0";

fn runs(program: &str, arguments: &[&str]) -> bool {
    let mut command = std::process::Command::new(program);
    let status = command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// Whether a program is here; says so if not, past the capture of the test harness.
fn has(program: &str, arguments: &[&str]) -> bool {
    let here = runs(program, arguments);
    if !here {
        writeln!(std::io::stderr().lock(), "SKIPPED: {program} is not installed").unwrap();
    }
    here
}

/// Ours as a file, removed when it is dropped.
struct Root(PathBuf);

impl Root {
    fn of(scene: &Scene) -> Self {
        let name = format!("root-{}-{}.pem", std::process::id(), scene.address.port());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let text = STANDARD.encode(&scene.ours.root);
        std::fs::write(&path, format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")).unwrap();
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

async fn output(program: &str, arguments: &[&str], input: &str) -> Output {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).await.unwrap();
    drop(stdin);
    tokio::time::timeout(Duration::from_secs(60), child.wait_with_output()).await.unwrap().unwrap()
}

fn told(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The true server: says in its answer what it was asked. In HTTP/2 the answer begins before the request's body is read.
async fn serve_truly(scene: &Scene, connections: usize) {
    let mut all = Vec::new();
    for _ in 0..connections {
        let tls = scene.accept(KNOWN, &["h2", "http/1.1"]).await;
        all.push(tokio::spawn(async move {
            if tls.get_ref().1.alpn_protocol() == Some(b"h2") {
                let mut connection = h2::server::handshake(tls).await.unwrap();
                while let Some(Ok((request, reply))) = connection.accept().await {
                    tokio::spawn(echo(request, reply));
                }
                return;
            }
            let mut tls = tls;
            let asked = read_request(&mut tls).await;
            let head = format!("HTTP/1.1 200 OK\r\nX-Proto: 1\r\nContent-Length: {}\r\n\r\n", asked.len());
            tls.write_all(format!("{head}{asked}").as_bytes()).await.unwrap();
            tls.flush().await.unwrap();
            let _ = tls.read(&mut [0; 1]).await;
        }));
    }
    for one in all {
        one.await.unwrap();
    }
}

async fn echo(request: Request<RecvStream>, mut reply: SendResponse<Bytes>) {
    let (parts, mut body) = request.into_parts();
    let answer = Response::builder().header("x-proto", "2").body(()).unwrap();
    let mut down = reply.send_response(answer, false).unwrap();
    let names: Vec<_> = parts.headers.keys().map(|name| name.as_str()).collect();
    let first = format!("{} {} {}\n", parts.method, parts.uri, names.join(","));
    down.send_data(Bytes::from(first), false).unwrap();
    while let Some(Ok(data)) = body.data().await {
        body.flow_control().release_capacity(data.len()).unwrap();
        down.send_data(data, false).unwrap();
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().unwrap());
    trailers.extend(body.trailers().await.unwrap().unwrap_or_default());
    let _ = down.send_trailers(trailers);
}

#[tokio::test]
async fn openssl_shakes_hands() {
    if !has("openssl", &["version"]) {
        return;
    }
    let scene = Scene::new().await;
    let root = Root::of(&scene);
    let address = scene.address.to_string();
    let base = ["s_client", "-connect", &address, "-CAfile", root.path(), "-verify_return_error", "-ign_eof"];
    let named = [&base[..], &["-servername", KNOWN, "-verify_hostname", KNOWN]].concat();
    let ask = "GET /ours HTTP/1.1\r\nHost: known.test\r\nConnection: close\r\n\r\n";
    // Enough protocols for a hello of several records, in the smallest that OpenSSL sends.
    let many: Vec<String> = (0..90).map(|n| format!("protocol-{n:03}")).chain(["http/1.1".to_owned()]).collect();
    let many = many.join(",");
    for (what, more, good) in [
        ("TLS 1.3", &["-tls1_3", "-alpn", "http/1.1"][..], true),
        ("TLS 1.2", &["-tls1_2", "-alpn", "http/1.1"], true),
        ("no protocols", &[], true),
        ("a hello in several records", &["-max_send_frag", "512", "-alpn", &many], true),
        ("TLS 1.1", &["-tls1_1", "-cipher", "DEFAULT:@SECLEVEL=0"], false),
    ] {
        let told = told(&output("openssl", &[&named[..], more].concat(), ask).await);
        assert_eq!(told.contains("200 OK") && told.contains("Verify return code: 0"), good, "{what}: {told}");
    }
    let foreign = told(&output("openssl", &[&named[..], &["-alpn", "foo"]].concat(), "").await);
    assert!(foreign.contains("alert number 120"), "{foreign}");
    let refused = [&base[..], &["-servername", REFUSED]].concat();
    let refused = told(&output("openssl", &refused, "").await);
    assert!(refused.contains("alert number 112"), "{refused}");
    let nameless = told(&output("openssl", &[&base[..], &["-noservername"]].concat(), "").await);
    assert!(!nameless.contains("BEGIN CERTIFICATE"), "{nameless}");
    scene.end().await;
}

/// curl's arguments for a URL of the known name at `scene`.
fn curl<'a>(root: &'a Root, more: &[&'a str]) -> Vec<&'a str> {
    [&["--silent", "--show-error", "--include", "--max-time", "20", "--cacert", root.path()][..], more].concat()
}

#[tokio::test]
async fn curl_is_passed_on_in_both_protocols() {
    if !has("curl", &["--version"]) {
        return;
    }
    let scene = Scene::new().await;
    let root = Root::of(&scene);
    let port = scene.address.port();
    let resolve = format!("{KNOWN}:{port}:127.0.0.1");
    let url = format!("https://{KNOWN}:{port}/a%2Fb?c=d");
    let asks = async {
        let one = curl(&root, &["--resolve", &resolve, "--http1.1", "-H", "X-OdD: 1", "--data", "hello", &url]);
        let one = told(&output("curl", &one, "").await);
        assert!(one.starts_with("HTTP/1.1 200 OK\r\nX-Proto: 1\r\n"), "{one}");
        assert!(
            one.contains("POST /a%2Fb?c=d HTTP/1.1\r\nHost: known.test") && one.contains("\r\nX-OdD: 1\r\n"),
            "{one}"
        );
        assert!(one.ends_with("\r\n\r\nhello"), "{one}");
        let two = curl(&root, &["--resolve", &resolve, "--http2", "-T", "-", &url]);
        let two = told(&output("curl", &two, &"x".repeat(100_000)).await);
        assert!(two.starts_with("HTTP/2 200 \r\nx-proto: 2\r\n"), "{two}");
        let asked = format!("PUT https://{KNOWN}:{port}/a%2Fb?c=d user-agent,accept\n");
        assert!(two.contains(&asked), "{}", &two[..300.min(two.len())]);
        assert!(two.contains(&"x".repeat(100_000)) && two.contains("grpc-status: 0"));
    };
    tokio::select! {
        () = asks => {}
        () = serve_truly(&scene, 3) => panic!("the true server is through"),
    }
    scene.end().await;
}

#[tokio::test]
async fn curl_uses_the_proxy_in_its_three_ways() {
    if !has("curl", &["--version"]) {
        return;
    }
    let scene = Scene::with(FrontConfig::default(), Entry::Proxy, Admission::Look).await;
    let root = Root::of(&scene);
    let url = format!("https://{KNOWN}:{}/ours", scene.upstream.local_addr().unwrap().port());
    for proxy in ["http", "socks5h"] {
        let proxy = format!("{proxy}://{}", scene.address);
        let answer = curl(&root, &["--proxy", &proxy, "--http1.1", &url]);
        let answer = told(&output("curl", &answer, "").await);
        assert!(answer.ends_with("ours Some(Http1)"), "{answer}");
    }
    let (listener, origin) = anywhere().await;
    let proxy = format!("http://{}", scene.address);
    let url = format!("{origin}/plain");
    let ask = curl(&root, &["--proxy", &proxy, "--noproxy", "", &url]);
    let (answer, asked) = tokio::join!(output("curl", &ask, ""), async {
        let (mut server, _) = listener.accept().await.unwrap();
        let asked = read_request(&mut server).await;
        server.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
        asked
    });
    assert!(told(&answer).ends_with("ok"));
    assert!(asked.starts_with("GET /plain HTTP/1.1\r\nHost: ") && !asked.to_lowercase().contains("proxy"), "{asked}");
    scene.end().await;
}

/// A two-way stream in Python: the answer's first bytes are awaited before the request's are sent.
const PYTHON: &str = r#"
import socket, ssl, sys
import h2.connection, h2.events, h2.config
port, root = int(sys.argv[1]), sys.argv[2]
context = ssl.create_default_context(cafile=root)
context.set_alpn_protocols(["h2", "http/1.1"])
io = context.wrap_socket(socket.create_connection(("127.0.0.1", port)), server_hostname="known.test")
assert io.selected_alpn_protocol() == "h2", io.selected_alpn_protocol()
c = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
c.initiate_connection()
c.send_headers(1, [(":method", "POST"), (":scheme", "https"), (":authority", "known.test"), (":path", "/agent"),
                   ("content-type", "application/connect+proto"), ("te", "trailers")])
got, trailers, frames, over = b"", None, [], False
def pump(enough):
    global got, trailers, over
    while not enough():
        io.sendall(c.data_to_send())
        data = io.recv(65535)
        assert data, "the connection ended"
        for e in c.receive_data(data):
            frames.append(type(e).__name__)
            if isinstance(e, h2.events.DataReceived):
                got += e.data
                c.acknowledge_received_data(e.flow_controlled_length, 1)
            elif isinstance(e, h2.events.TrailersReceived):
                trailers = dict(e.headers)
            elif isinstance(e, h2.events.StreamEnded):
                over = True
            elif isinstance(e, (h2.events.StreamReset, h2.events.ConnectionTerminated)):
                raise SystemExit("ended: %r" % e)
    io.sendall(c.data_to_send())
pump(lambda: b"\n" in got)
assert got == b"POST https://known.test/agent content-type,te\n", got
for n in range(5):
    piece = b"piece %d;" % n
    c.send_data(1, piece)
    pump(lambda: got.endswith(piece))
c.send_headers(1, [("x-sent", "5")], end_stream=True)
pump(lambda: over)
assert {k.decode() if isinstance(k, bytes) else k: v.decode() if isinstance(v, bytes) else v for k, v in trailers.items()} == {"grpc-status": "0", "x-sent": "5"}, trailers
spurious = [f for f in frames if f not in ("RemoteSettingsChanged", "SettingsAcknowledged", "ResponseReceived",
            "DataReceived", "TrailersReceived", "StreamEnded", "WindowUpdated")]
assert not spurious, spurious
assert frames.count("DataReceived") == 6, frames
print("python is served")
"#;

/// A Python with h2, if there is Python.
fn python() -> Option<PathBuf> {
    if !has("python3", &["-c", "import venv, ensurepip"]) {
        return None;
    }
    let venv = Path::new(env!("CARGO_TARGET_TMPDIR")).join("front-h2");
    let python = venv.join("bin/python");
    let version = H2.split("==").nth(1).unwrap();
    let there = format!("import h2; assert h2.__version__ == '{version}'");
    if !runs(python.to_str().unwrap(), &["-c", &there]) {
        assert!(runs("python3", &["-m", "venv", venv.to_str().unwrap()]));
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", H2];
        assert!(runs(python.to_str().unwrap(), &pip), "pip install {H2}");
    }
    Some(python)
}

#[tokio::test]
async fn python_streams_both_ways() {
    let Some(python) = python() else { return };
    let scene = Scene::new().await;
    let root = Root::of(&scene);
    let port = scene.address.port().to_string();
    let arguments = ["-c", PYTHON, &port, root.path()];
    let answer = tokio::select! {
        answer = output(python.to_str().unwrap(), &arguments, "") => told(&answer),
        () = serve_truly(&scene, 2) => panic!("the true server is through"),
    };
    assert_eq!(answer.trim(), "python is served");
    scene.end().await;
}

/// The same in Node, whose client is that of the editors; then HTTP/1.1 with an upgrade that is not taken.
const NODE: &str = r#"
const [port, root] = process.argv.slice(-2);
const ca = require("fs").readFileSync(root);
const die = (why) => { console.log(String(why)); process.exit(1); };
const session = require("http2").connect("https://known.test:" + port, {
    createConnection: () => require("tls").connect({ host: "127.0.0.1", port, servername: "known.test", ca, ALPNProtocols: ["h2"] }),
});
session.on("error", die);
const stream = session.request({ ":method": "POST", ":path": "/agent", "te": "trailers" }, { endStream: false });
let got = "", n = 0, trailers;
stream.setEncoding("utf8");
stream.on("trailers", (fields) => { trailers = fields; });
stream.on("error", die);
stream.on("data", (piece) => {
    got += piece;
    if (n < 5) stream.write("piece " + n++ + ";");
    else stream.end();
});
stream.on("end", () => {
    if (!got.endsWith("/agent te\npiece 0;piece 1;piece 2;piece 3;piece 4;")) die(got);
    if (trailers["grpc-status"] !== "0") die(JSON.stringify(trailers));
    session.close();
    const request = require("https").request({
        host: "127.0.0.1", port, servername: "known.test", ca, path: "/x", agent: false,
        headers: { "Host": "known.test", "X-OdD": "1" },
    }, (answer) => {
        let text = "";
        answer.on("data", (piece) => { text += piece; });
        answer.on("end", () => {
            if (answer.rawHeaders[0] !== "X-Proto" || !text.includes("X-OdD: 1")) die(text + answer.rawHeaders);
            console.log("node is served");
        });
    });
    request.on("error", die);
    request.end();
});
"#;

#[tokio::test]
async fn node_streams_both_ways() {
    if !has("node", &["--version"]) {
        return;
    }
    let scene = Scene::new().await;
    let root = Root::of(&scene);
    let port = scene.address.port().to_string();
    let arguments = ["-e", NODE, "--", &port, root.path()];
    let answer = tokio::select! {
        answer = output("node", &arguments, "") => told(&answer),
        () = serve_truly(&scene, 3) => panic!("the true server is through"),
    };
    assert_eq!(answer.trim(), "node is served");
    scene.end().await;
}

/// A file of a program, removed when it is dropped.
struct Source(PathBuf);

impl Source {
    fn new(name: &str, text: &str) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("peer-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        Self(path)
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
        let _ = std::fs::remove_dir(self.0.parent().unwrap());
    }
}

/// Runs a program that goes through the explicit proxy to the true server, and expects its last word.
async fn through_the_proxy(program: &str, before: &[&str], source: Source, word: &str) {
    let scene = Scene::with(FrontConfig::default(), Entry::Proxy, Admission::Look).await;
    let root = Root::of(&scene);
    let (port, upstream) = (scene.address.port().to_string(), scene.upstream.local_addr().unwrap().port().to_string());
    let arguments = [before, &[source.0.to_str().unwrap(), &port, root.path(), &upstream]].concat();
    let answer = tokio::select! {
        answer = output(program, &arguments, "") => told(&answer),
        () = serve_truly(&scene, 50) => panic!("the true server is through"),
    };
    assert_eq!(answer.trim(), word);
    scene.end().await;
}

/// A two-way stream by CONNECT and by SOCKS5; and a client without ALPN, as some editors' servers are.
const GO: &str = r#"package main

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
)

func must(err error) {
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func main() {
	pem, err := os.ReadFile(os.Args[2])
	must(err)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	base := "https://known.test:" + os.Args[3]
	for _, scheme := range []string{"http", "socks5"} {
		proxy, err := url.Parse(scheme + "://127.0.0.1:" + os.Args[1])
		must(err)
		client := &http.Client{Transport: &http.Transport{
			Proxy: http.ProxyURL(proxy), TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true}}
		body, pen := io.Pipe()
		request, err := http.NewRequest("POST", base+"/agent", body)
		must(err)
		answer, err := client.Do(request)
		must(err)
		if answer.ProtoMajor != 2 {
			must(fmt.Errorf("spoke %s", answer.Proto))
		}
		reader := bufio.NewReader(answer.Body)
		line, err := reader.ReadString('\n')
		must(err)
		if !strings.HasPrefix(line, "POST https://known.test:") {
			must(fmt.Errorf("read %q", line))
		}
		for n := 0; n < 3; n++ {
			piece := fmt.Sprintf("piece %d", n)
			_, err = io.WriteString(pen, piece)
			must(err)
			got := make([]byte, len(piece))
			_, err = io.ReadFull(reader, got)
			must(err)
			if string(got) != piece {
				must(fmt.Errorf("read %q", got))
			}
		}
		must(pen.Close())
		_, err = io.ReadAll(reader)
		must(err)
		if answer.Trailer.Get("Grpc-Status") != "0" {
			must(fmt.Errorf("trailers %v", answer.Trailer))
		}
		client = &http.Client{Transport: &http.Transport{
			Proxy: http.ProxyURL(proxy), TLSClientConfig: &tls.Config{RootCAs: pool},
			TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{}}}
		answer, err = client.Get(base + "/ours")
		must(err)
		text, err := io.ReadAll(answer.Body)
		must(err)
		if string(text) != "ours None" {
			must(fmt.Errorf("read %q", text))
		}
	}
	fmt.Println("go is served")
}
"#;

#[tokio::test]
async fn go_streams_both_ways_and_comes_without_alpn() {
    if has("go", &["version"]) {
        through_the_proxy("go", &["run"], Source::new("peer.go", GO), "go is served").await;
    }
}

const JAVA: &str = r#"
import java.net.*;
import java.net.http.*;
import java.nio.file.*;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import javax.net.ssl.*;

public class Peer {
    public static void main(String[] arguments) throws Exception {
        var trusted = KeyStore.getInstance(KeyStore.getDefaultType());
        trusted.load(null, null);
        try (var in = Files.newInputStream(Path.of(arguments[1]))) {
            trusted.setCertificateEntry("root", CertificateFactory.getInstance("X.509").generateCertificate(in));
        }
        var managers = TrustManagerFactory.getInstance("PKIX");
        managers.init(trusted);
        var tls = SSLContext.getInstance("TLS");
        tls.init(null, managers.getTrustManagers(), null);
        var proxy = ProxySelector.of(new InetSocketAddress("127.0.0.1", Integer.parseInt(arguments[0])));
        for (var version : HttpClient.Version.values()) {
            var client = HttpClient.newBuilder().sslContext(tls).version(version).proxy(proxy).build();
            for (var path : new String[] {"/ours", "/theirs"}) {
                var url = URI.create("https://known.test:" + arguments[2] + path);
                var request = HttpRequest.newBuilder(url).POST(HttpRequest.BodyPublishers.ofString("hello")).build();
                var answer = client.send(request, HttpResponse.BodyHandlers.ofString());
                var expected = path.equals("/ours") ? answer.body().startsWith("ours") : answer.body().endsWith("hello");
                if (answer.version() != version || !expected) {
                    System.out.println(version + " " + path + ": " + answer.version() + " " + answer.body());
                    return;
                }
            }
        }
        // The older client, which names the host without its port.
        var via = new Proxy(Proxy.Type.HTTP, new InetSocketAddress("127.0.0.1", Integer.parseInt(arguments[0])));
        var old = (HttpsURLConnection) new URL("https://known.test:" + arguments[2] + "/ours").openConnection(via);
        old.setSSLSocketFactory(tls.getSocketFactory());
        var text = new String(old.getInputStream().readAllBytes());
        System.out.println(text.startsWith("ours") ? "java is served" : text);
        System.exit(0);
    }
}
"#;

#[tokio::test]
async fn java_is_served_in_both_protocols() {
    if has("java", &["-version"]) {
        through_the_proxy("java", &[], Source::new("Peer.java", JAVA), "java is served").await;
    }
}
