//! HTTP/2 by implementations that are not ours: `tests/h2spec/` drives every section of h2spec's list with Python's
//! `hyperframe`, `hpack` and `h2`, against our server and against our client; floods; what must not get through to an
//! HTTP/1 upstream; and `curl`, `nghttp` and `h2load` as clients.
//!
//! The suites install what they need under `target/h2spec`. Where Python or a program is missing the test says
//! `SKIPPED: …` on standard error and passes.
#![allow(clippy::unwrap_used)]

mod support;

use std::{
    fs,
    path::Path,
    process::{Command, Output, Stdio},
};

use codecs::dialect::Dialect;
use support::{
    Router, Upstream,
    peers::{self, has, has_curl_with_http2, say},
    router::provider,
    speech,
};

fn run_part(part: &str, certificates: Option<&Path>) {
    let name = format!("http/2 suite {part}");
    let output = peers::run_suite(&name, "h2spec/run.sh", &["python3"], |run| {
        run.arg(part).envs(certificates.map(|folder| ("H2SPEC_CERTS", folder)));
    });
    let Some(output) = output else { return };
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{name}\n{text}\n{}", String::from_utf8_lossy(&output.stderr));
    say(&format!("http/2 suite {}", text.trim().lines().last().unwrap_or_default()));
}

#[test]
fn our_server() {
    run_part("server", None);
}

#[test]
fn our_client() {
    // An authority of its own, and a certificate for `localhost`.
    let folder = tempfile::tempdir().unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = params.self_signed(&key).unwrap();
    let issuer = rcgen::Issuer::new(params, key);
    let key = rcgen::KeyPair::generate().unwrap();
    let leaf = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    for (name, pem) in [("ca.pem", authority.pem()), ("cert.pem", leaf.pem()), ("key.pem", key.serialize_pem())] {
        fs::write(folder.path().join(name), pem).unwrap();
    }
    run_part("client", Some(folder.path()));
}

#[test]
fn floods() {
    run_part("floods", None);
}

#[test]
fn nothing_is_smuggled() {
    run_part("downgrade", None);
}

/// An upstream that answers a document or a stream, and the router before it.
async fn chat() -> (Upstream, Router) {
    let json: &[(&str, &str)] = &[("content-type", "application/json")];
    let upstream = Upstream::always(200, json, speech::reply(Dialect::OpenAiChat).to_owned()).await;
    let router = Router::start(&provider("a", Dialect::OpenAiChat, &upstream));
    (upstream, router)
}

async fn output(mut command: Command) -> Output {
    let output = command.stdin(Stdio::null());
    let output = output.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    tokio::task::spawn_blocking(move || output.wait_with_output()).await.unwrap().unwrap()
}

#[tokio::test]
async fn curl() {
    if !has_curl_with_http2() {
        return say("SKIPPED: curl with HTTP/2 is not installed");
    }
    let (upstream, router) = chat().await;
    // A body above all windows, from a file and with a wish for `100 Continue`. One request each: curl 7.88 cannot use a
    // connection with prior knowledge twice.
    let body = router.dir.path().join("body");
    let long = "long ".repeat(600_000);
    fs::write(&body, speech::request(Dialect::OpenAiChat, "m", false).replace("Say hello", &long)).unwrap();
    let base = [
        "-sS",
        "--noproxy",
        "*",
        "--max-time",
        "20",
        "--http2-prior-knowledge",
        "-w",
        "\n%{http_version} %{http_code}",
    ];
    let mut curl = Command::new("curl");
    curl.args(base).args(["-H", "content-type: application/json", "-H", "expect: 100-continue", "--data-binary"]);
    curl.arg(format!("@{}", body.display())).arg(format!("http://{}/v1/chat/completions", router.addr));
    let out = output(curl).await;
    let text = String::from_utf8_lossy(&out.stdout);
    let expected = format!("{}\n2 200", speech::reply(Dialect::OpenAiChat));
    assert!(text == expected, "{text} {}", String::from_utf8_lossy(&out.stderr));
    assert!(String::from_utf8_lossy(&upstream.asked()[0].body).contains(&long));
    let mut curl = Command::new("curl");
    curl.args(base).args(["--head", &format!("http://{}/healthz", router.addr)]);
    let text = String::from_utf8_lossy(&output(curl).await.stdout).into_owned();
    assert!(text.starts_with("HTTP/2 200") && text.ends_with("\n2 200"), "{text}");
}

#[tokio::test]
async fn nghttp() {
    if !has("nghttp") {
        return say("SKIPPED: nghttp is not installed (Debian: apt-get install nghttp2-client)");
    }
    let (_upstream, router) = chat().await;
    let body = router.dir.path().join("body");
    fs::write(&body, speech::request(Dialect::OpenAiChat, "m", false)).unwrap();
    let mut nghttp = Command::new("nghttp");
    // Twenty times on one connection, with padding, trailers, a small window, and interim answers wanted.
    nghttp.args([
        "-v",
        "-m",
        "20",
        "-b",
        "16",
        "-w",
        "10",
        "--trailer",
        "x-sum: 7",
        "-H",
        "content-type: application/json",
    ]);
    nghttp.arg("-d").arg(&body).arg(format!("http://{}/v1/chat/completions", router.addr));
    let out = output(nghttp).await;
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success(), "{text}");
    assert_eq!(text.matches(":status: 200").count(), 20, "{text}");
    assert_eq!(text.matches(speech::reply(Dialect::OpenAiChat)).count(), 20, "{text}");
    assert!(!text.contains("INVALID") && !text.contains("[ERROR]"), "{text}");
}

#[tokio::test]
async fn h2load() {
    if !has("h2load") {
        return say("SKIPPED: h2load is not installed (Debian: apt-get install nghttp2-client)");
    }
    let (upstream, router) = chat().await;
    let body = router.dir.path().join("body");
    fs::write(&body, speech::request(Dialect::OpenAiChat, "m", false)).unwrap();
    let mut h2load = Command::new("h2load");
    h2load.args(["-n", "600", "-c", "4", "-m", "25", "-H", "content-type: application/json", "-d"]).arg(&body);
    h2load.arg(format!("http://{}/v1/chat/completions", router.addr));
    let out = output(h2load).await;
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success(), "{text}");
    let all = "600 total, 600 started, 600 done, 600 succeeded, 0 failed, 0 errored, 0 timeout";
    assert!(text.contains(all) && text.contains("Application protocol: h2c"), "{text}");
    assert_eq!(upstream.asked().len(), 600);
}
