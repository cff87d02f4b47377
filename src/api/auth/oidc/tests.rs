//! Logins against a provider that plays by the rules, and against answers that do not.
#![allow(clippy::unwrap_used)]

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::atomic::{AtomicUsize, Ordering},
};

use proxy::{Call, Client, ClientConfig, Fresh, Handler, Limits, ResponseHead, Server, StatusCode, Timeouts, listen};
use serde_json::json;
use tokio::sync::oneshot;

use super::*;
use crate::{
    api::auth::testing::{Signer, call, head},
    settings::{AuthMode, Secret},
    vendor::{is_forbidden, is_inside},
};

const NOW: i64 = 1_700_000_000_000;
const US: &str = "127.0.0.1:2402";
const PEER: &str = "127.0.0.1:50000";

/// What the provider says about the person of the next code.
type Says = Box<dyn Fn(&Signer, &Value) -> String + Send>;

/// The provider.
struct Idp {
    addr: SocketAddr,
    signer: Signer,
    /// Keys that are announced.
    jwks: Mutex<Value>,
    /// Changes of its document.
    document: Mutex<Value>,
    says: Mutex<Says>,
    /// Challenges of the codes that are out.
    codes: Mutex<HashMap<String, String>>,
    /// Requests by path, and the last form and credential of the token endpoint.
    asked: Mutex<Vec<String>>,
    form: Mutex<(String, Option<String>)>,
    count: AtomicUsize,
}

impl Idp {
    async fn answer(&self, call: &mut Call<'_, Fresh>) -> (StatusCode, Value) {
        let path = String::from_utf8(call.head().path().to_vec()).unwrap();
        self.asked.lock().unwrap().push(path.clone());
        let base = format!("http://{}", self.addr);
        match path.as_str() {
            "/.well-known/openid-configuration" => {
                let mut document = json!({
                    "issuer": base, "authorization_endpoint": format!("{base}/login?tenant=1"),
                    "token_endpoint": format!("{base}/token"), "jwks_uri": format!("{base}/keys"),
                });
                let changes = self.document.lock().unwrap().clone();
                document.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
                (StatusCode::OK, document)
            }
            "/keys" => (StatusCode::OK, self.jwks.lock().unwrap().clone()),
            "/token" => {
                let credential = call.head().headers.text("authorization").map(str::to_owned);
                let body = call.body(10_000).await.unwrap();
                let form: HashMap<String, String> = form_urlencoded::parse(&body).into_owned().collect();
                *self.form.lock().unwrap() = (String::from_utf8(body.to_vec()).unwrap(), credential);
                let known = self.codes.lock().unwrap().remove(&form["code"]);
                let Some(known) = known else { return (StatusCode::BAD_REQUEST, json!({"error": "invalid_grant"})) };
                let (nonce, challenge) = known.split_once(' ').unwrap();
                let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, form["code_verifier"].as_bytes());
                let ours = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(digest);
                if ours != challenge {
                    return (StatusCode::BAD_REQUEST, json!({"error": "invalid_grant"}));
                }
                let claims = json!({
                    "iss": base, "aud": "flow", "sub": "u-1", "nonce": nonce, "exp": NOW / 1000 + 60, "iat": NOW / 1000,
                    "email": "Ada@Example.org", "email_verified": true, "groups": ["ops"],
                });
                let token = (self.says.lock().unwrap())(&self.signer, &claims);
                (StatusCode::OK, json!({"access_token": "a", "token_type": "Bearer", "id_token": token}))
            }
            _ => (StatusCode::NOT_FOUND, json!({})),
        }
    }

    /// What a person does at the provider's page: logs in, and comes back with a code.
    fn visit(&self, page: &str) -> String {
        let page = Url::parse(page).unwrap();
        let asked: HashMap<String, String> = page.query_pairs().into_owned().collect();
        let code = format!("code-{}", self.count.fetch_add(1, Ordering::Relaxed));
        let known = format!("{} {}", asked["nonce"], asked["code_challenge"]);
        self.codes.lock().unwrap().insert(code.clone(), known);
        format!("code={code}&state={}", asked["state"])
    }
}

impl Handler for Idp {
    async fn handle<'a>(&'a self, mut call: Call<'a, Fresh>) {
        let (status, body) = self.answer(&mut call).await;
        let head = ResponseHead::new(status).with("content-type", "application/json");
        drop(call.respond(head, body.to_string().into()).await);
    }
}

/// Ways out that lead names to fixed addresses, and refuse some.
fn ways(pins: &[(&str, &str)], never: fn(IpAddr) -> bool, inside: fn(IpAddr) -> bool) -> Ways {
    let pins: Vec<_> = pins.iter().map(|(name, ip)| ((*name).to_owned(), vec![ip.parse().unwrap()])).collect();
    let client = |refuse| Client::new(ClientConfig { pins: pins.clone(), refuse, ..ClientConfig::default() }).unwrap();
    Ways { any: client(never), outside: client(inside) }
}

struct Stage {
    idp: Arc<Idp>,
    provider: Provider,
    ways: Ways,
    settings: Settings,
    _end: oneshot::Sender<()>,
}

impl Stage {
    fn new() -> Self {
        let listener = listen("127.0.0.1:0".parse().unwrap(), false).unwrap();
        let addr = listener.local_addr().unwrap();
        let signer = Signer::new();
        let idp = Arc::new(Idp {
            addr,
            jwks: Mutex::new(signer.jwks()),
            signer,
            document: Mutex::new(json!({})),
            says: Mutex::new(Box::new(|signer, claims| {
                signer.token("RS256", &json!({"alg": "RS256", "kid": "rsa"}), claims)
            })),
            codes: Mutex::default(),
            asked: Mutex::default(),
            form: Mutex::default(),
            count: AtomicUsize::new(0),
        });
        let (end, ended) = oneshot::channel::<()>();
        let server = Server::new(Limits::default(), Timeouts::default());
        let handler = Arc::clone(&idp);
        let over = async move { drop(ended.await) };
        tokio::spawn(server.serve(listener, handler, over, Duration::ZERO));
        let oidc = Oidc {
            issuer: format!("http://{addr}"),
            client_id: "flow".to_owned(),
            scopes: vec!["openid".to_owned(), "email".to_owned()],
            allowed_emails: vec!["ada@example.org".to_owned()],
            ..Oidc::default()
        };
        let settings = Settings { auth_mode: AuthMode::Oidc, require_login: true, oidc, ..Settings::default() };
        let ways = ways(&[], |_| false, is_inside);
        Self { idp, provider: Provider::new().unwrap(), ways, settings, _end: end }
    }

    async fn start(&self, host: &str) -> Result<Departure, Failure> {
        let head = head("GET", START, host, &[]);
        self.provider.start(&self.ways, &self.settings, &call(&head, PEER, US), NOW).await
    }

    async fn finish(&self, query: &str, sealed: Option<&str>) -> Result<String, Failure> {
        self.provider.finish(&self.ways, &self.settings, query.as_bytes(), sealed, NOW).await
    }

    /// One whole login.
    async fn login(&self) -> Result<String, Failure> {
        let departure = self.start("127.0.0.1:2402").await?;
        let back = self.idp.visit(&departure.url);
        self.finish(&back, departure.sealed.as_deref()).await
    }

    /// One login about which the provider says something else.
    async fn login_with(&self, says: impl Fn(&Signer, &Value) -> String + Send + 'static) -> Result<String, Failure> {
        *self.idp.says.lock().unwrap() = Box::new(says);
        self.login().await
    }

    fn fetched(&self, path: &str) -> usize {
        self.idp.asked.lock().unwrap().iter().filter(|asked| *asked == path).count()
    }
}

fn changed(claims: &Value, name: &str, value: Value) -> Value {
    let mut claims = claims.clone();
    claims[name] = value;
    claims
}

fn rs256(signer: &Signer, claims: &Value) -> String {
    signer.token("RS256", &json!({"alg": "RS256", "kid": "rsa"}), claims)
}

#[tokio::test]
async fn names_are_judged_by_where_they_lead() {
    // One of the internet's providers: 127.0.0.1 stands for an address there, 127.0.0.2 for one beside us.
    let mut stage = Stage::new();
    let port = stage.idp.addr.port();
    let inside: fn(IpAddr) -> bool = |ip| ip == IpAddr::from([127, 0, 0, 2]);
    stage.ways = ways(&[("router.example", "127.0.0.2")], is_forbidden, inside);
    assert!(stage.login().await.is_ok());
    for name in ["jwks_uri", "token_endpoint"] {
        stage.provider.forget();
        *stage.idp.document.lock().unwrap() = json!({name: format!("https://router.example:{port}/token")});
        let failure = stage.login().await.unwrap_err();
        assert!(matches!(&failure, Failure::Forbidden(why) if why.contains("router.example")), "{name}: {failure:?}");
    }
    // A provider beside us may name others there. That nothing speaks TLS here is another matter.
    stage.provider.forget();
    stage.ways.outside = ways(&[], |_| true, |_| true).outside;
    assert!(matches!(stage.login().await, Err(Failure::Unreachable(_))));
    // What clouds say of themselves is asked in no case, also where the issuer itself leads there.
    stage.provider.forget();
    stage.settings.oidc.issuer = format!("http://id.example:{port}");
    stage.ways = ways(&[("id.example", "169.254.169.254")], is_forbidden, is_inside);
    assert!(matches!(stage.login().await, Err(Failure::Forbidden(_))));
    assert_eq!(Failure::Forbidden(String::new()).to_string(), "provider_forbidden");
}

#[tokio::test]
async fn a_person_logs_in() {
    let stage = Stage::new();
    let departure = stage.start("127.0.0.1:2402").await.unwrap();
    let page = Url::parse(&departure.url).unwrap();
    assert_eq!(page.path(), "/login");
    let asked: HashMap<String, String> = page.query_pairs().into_owned().collect();
    for (name, value) in [
        ("tenant", "1"),
        ("response_type", "code"),
        ("client_id", "flow"),
        ("scope", "openid email"),
        ("redirect_uri", "http://127.0.0.1:2402/api/auth/oidc/callback"),
        ("code_challenge_method", "S256"),
        ("state", departure.state.as_deref().unwrap()),
    ] {
        assert_eq!(asked[name], value, "{name}");
    }
    let back = stage.idp.visit(&departure.url);
    assert_eq!(stage.finish(&back, departure.sealed.as_deref()).await.unwrap(), "Ada@Example.org");
    let (form, credential) = stage.idp.form.lock().unwrap().clone();
    assert!(form.contains("client_id=flow") && !form.contains("secret") && credential.is_none(), "{form}");
    // Document and keys are asked for once.
    assert!(stage.login().await.is_ok());
    assert_eq!((stage.fetched("/.well-known/openid-configuration"), stage.fetched("/keys")), (1, 1));
    for algorithm in [("PS256", "rsa"), ("ES256", "p256"), ("EdDSA", "ed")] {
        let login = stage.login_with(move |signer, claims| {
            signer.token(algorithm.0, &json!({"alg": algorithm.0, "kid": algorithm.1}), claims)
        });
        assert!(login.await.is_ok(), "{algorithm:?}");
    }
}

#[tokio::test]
async fn our_secret_is_sent_as_the_provider_wants_it() {
    let mut stage = Stage::new();
    stage.settings.oidc.client_secret = Some(Secret::new("s:e c"));
    stage.login().await.unwrap();
    let (form, credential) = stage.idp.form.lock().unwrap().clone();
    // flow:s%3Ae+c
    assert_eq!(credential.as_deref(), Some("Basic ZmxvdzpzJTNBZStj"));
    assert!(!form.contains("client_id") && !form.contains("s%3Ae"));
    let mut stage = Stage::new();
    stage.settings.oidc.client_secret = Some(Secret::new("s:e c"));
    *stage.idp.document.lock().unwrap() = json!({"token_endpoint_auth_methods_supported": ["client_secret_post"]});
    stage.login().await.unwrap();
    let (form, credential) = stage.idp.form.lock().unwrap().clone();
    assert!(form.contains("client_id=flow&client_secret=s%3Ae+c") && credential.is_none(), "{form}");
}

#[tokio::test]
async fn tokens_that_are_not_for_this_login_let_nobody_in() {
    let stage = Stage::new();
    for (name, value, flaw) in [
        ("nonce", json!("of another login"), Flaw::Nonce),
        ("aud", json!("another-client"), Flaw::Audience),
        ("aud", json!(["flow", "another"]), Flaw::Audience),
        ("azp", json!("another-client"), Flaw::Audience),
        ("iss", json!("https://evil.example"), Flaw::Issuer),
        ("exp", json!(NOW / 1000 - 121), Flaw::Expired),
        ("iat", json!(NOW / 1000 + 121), Flaw::Early),
    ] {
        let shown = format!("{name} {value}");
        let login = stage.login_with(move |signer, claims| rs256(signer, &changed(claims, name, value.clone())));
        assert_eq!(login.await, Err(Failure::Token(flaw)), "{shown}");
    }
    for (algorithm, kid) in [("none", "rsa"), ("HS256", "rsa"), ("none", "ed")] {
        let login = stage
            .login_with(move |signer, claims| signer.token(algorithm, &json!({"alg": algorithm, "kid": kid}), claims));
        assert_eq!(login.await, Err(Failure::Token(Flaw::Algorithm)), "{algorithm}");
    }
    // A key of another kind, another key of the same name, a token without a signature.
    let login =
        stage.login_with(|signer, claims| signer.token("RS256", &json!({"alg": "RS256", "kid": "p256"}), claims));
    assert_eq!(login.await, Err(Failure::Token(Flaw::Algorithm)));
    let stranger = Signer::new();
    let login = stage.login_with(move |_, claims| rs256(&stranger, claims));
    assert_eq!(login.await, Err(Failure::Token(Flaw::Signature)));
    let login = stage.login_with(|signer, claims| rs256(signer, claims).rsplit_once('.').unwrap().0.to_owned());
    assert_eq!(login.await, Err(Failure::Token(Flaw::Form)));
    assert!(stage.login_with(rs256).await.is_ok());
}

#[tokio::test]
async fn an_answer_counts_once_and_for_its_own_browser() {
    let stage = Stage::new();
    let departure = stage.start("127.0.0.1:2402").await.unwrap();
    let sealed = departure.sealed.as_deref();
    let back = stage.idp.visit(&departure.url);
    // Somebody else's browser: none of its own, or that of another login.
    assert_eq!(stage.finish(&back, None).await, Err(Failure::NoCookie));
    assert_eq!(stage.finish(&back, Some("forged")).await, Err(Failure::NoCookie));
    let other = stage.start("127.0.0.1:2402").await.unwrap();
    assert_eq!(stage.finish(&back, other.sealed.as_deref()).await, Err(Failure::State));
    for wrong in ["", "state=", "code=x", "state=x&code=y", "error=access_denied"] {
        assert_eq!(stage.finish(wrong, sealed).await, Err(Failure::State), "{wrong}");
    }
    assert!(stage.finish(&back, sealed).await.is_ok());
    assert_eq!(stage.finish(&back, sealed).await, Err(Failure::Replayed));
    // Not even with a code that the provider would take.
    let again = stage.idp.visit(&departure.url);
    assert_eq!(stage.finish(&again, sealed).await, Err(Failure::Replayed));
    // Two logins at once do not disturb each other.
    let (one, two) = (stage.start("127.0.0.1:2402").await.unwrap(), stage.start("127.0.0.1:2402").await.unwrap());
    let (one_back, two_back) = (stage.idp.visit(&one.url), stage.idp.visit(&two.url));
    assert!(stage.finish(&two_back, two.sealed.as_deref()).await.is_ok());
    assert!(stage.finish(&one_back, one.sealed.as_deref()).await.is_ok());
}

#[tokio::test]
async fn a_code_of_another_login_is_refused_by_its_challenge_or_its_nonce() {
    let stage = Stage::new();
    let (mine, theirs) = (stage.start("127.0.0.1:2402").await.unwrap(), stage.start("127.0.0.1:2402").await.unwrap());
    let stolen = stage.idp.visit(&theirs.url);
    let code = stolen.split('&').next().unwrap();
    let injected = format!("{code}&state={}", mine.state.as_deref().unwrap());
    let result = stage.finish(&injected, mine.sealed.as_deref()).await;
    assert!(matches!(&result, Err(Failure::Refused(word)) if word.contains("invalid_grant")), "{result:?}");
}

#[tokio::test]
async fn the_answer_is_by_the_provider_that_was_asked() {
    let stage = Stage::new();
    let with_issuer = async |issuer: &str| {
        let departure = stage.start("127.0.0.1:2402").await.unwrap();
        let back = format!("{}{issuer}", stage.idp.visit(&departure.url));
        stage.finish(&back, departure.sealed.as_deref()).await
    };
    assert!(with_issuer(&format!("&iss=http://{}", stage.idp.addr)).await.is_ok());
    assert_eq!(with_issuer("&iss=https://evil.example").await, Err(Failure::Issuer));
    // One that names itself does so always.
    *stage.idp.document.lock().unwrap() = json!({"authorization_response_iss_parameter_supported": true});
    stage.provider.forget();
    assert_eq!(with_issuer("").await, Err(Failure::Issuer));
    // The provider was changed while somebody was logging in.
    let departure = stage.start("127.0.0.1:2402").await.unwrap();
    let other = Stage::new();
    let back = stage.idp.visit(&departure.url);
    let sealed = departure.sealed.as_deref();
    let result = stage.provider.finish(&stage.ways, &other.settings, back.as_bytes(), sealed, NOW).await;
    assert_eq!(result, Err(Failure::Issuer));
}

#[tokio::test]
async fn new_keys_are_fetched_once_for_an_unknown_name() {
    let stage = Stage::new();
    stage.login().await.unwrap();
    let renamed = stage.idp.signer.jwks().to_string().replace("\"rsa\"", "\"next\"");
    *stage.idp.jwks.lock().unwrap() = renamed.parse().unwrap();
    let next = |signer: &Signer, claims: &Value| signer.token("RS256", &json!({"alg": "RS256", "kid": "next"}), claims);
    assert!(stage.login_with(next).await.is_ok());
    assert_eq!(stage.fetched("/keys"), 2);
    // A name that nobody has does not make us ask again and again.
    for _ in 0..3 {
        let login = stage.login_with(|s, claims| s.token("RS256", &json!({"alg": "RS256", "kid": "no"}), claims));
        assert_eq!(login.await, Err(Failure::Token(Flaw::UnknownKey)));
    }
    assert_eq!(stage.fetched("/keys"), 2);
}

#[tokio::test]
async fn only_those_who_are_named_come_in() {
    let mut stage = Stage::new();
    let none = Oidc { allowed_emails: Vec::new(), ..stage.settings.oidc.clone() };
    let list = |text: &str| vec![text.to_owned()];
    for (oidc, admitted) in [
        (Oidc { allowed_emails: list("ADA@example.ORG"), ..none.clone() }, true),
        (Oidc { allowed_emails: list("bob@example.org"), ..none.clone() }, false),
        (Oidc { allowed_domains: list("example.org"), ..none.clone() }, true),
        (Oidc { allowed_domains: list("xexample.org"), ..none.clone() }, false),
        (Oidc { allowed_domains: list("org"), ..none.clone() }, false),
        (Oidc { allowed_subjects: list("u-1"), ..none.clone() }, true),
        (Oidc { allowed_subjects: list("U-1"), ..none.clone() }, false),
        (Oidc { role: Some(("groups".into(), "ops".into())), ..none.clone() }, true),
        (Oidc { role: Some(("groups".into(), "dev".into())), ..none.clone() }, false),
    ] {
        stage.settings.oidc = oidc;
        let result = stage.login().await;
        assert_eq!(result.is_ok(), admitted, "{:?} {result:?}", stage.settings.oidc);
    }
    stage.settings.oidc = Oidc { allowed_domains: list("example.org"), ..none.clone() };
    let login = stage.login_with(|signer, claims| rs256(signer, &changed(claims, "email_verified", json!(false))));
    assert_eq!(login.await, Err(Failure::NotAdmitted));
    stage.settings.oidc = none;
    assert_eq!(stage.start("127.0.0.1:2402").await, Err(Failure::Disabled), "nobody named is not everybody");
}

#[tokio::test]
async fn the_way_back_is_never_made_from_the_request() {
    let mut stage = Stage::new();
    // The cookie has to be set under the name that the answer comes to.
    for host in ["localhost:2402", "[::1]:2402"] {
        let departure = stage.start(host).await.unwrap();
        assert_eq!(departure.url, "http://127.0.0.1:2402/api/auth/oidc/start", "{host}");
        assert_eq!((departure.state, departure.sealed), (None, None));
    }
    for host in ["evil.example", "192.168.1.2:2402"] {
        assert_eq!(stage.start(host).await, Err(Failure::NoWayBack), "{host}");
    }
    stage.settings.public_url = "https://flow.example/router".to_owned();
    let page = Url::parse(&stage.start("flow.example").await.unwrap().url).unwrap();
    let back = page.query_pairs().find(|(name, _)| name == "redirect_uri").unwrap().1.into_owned();
    assert_eq!(back, "https://flow.example/router/api/auth/oidc/callback");
    let departure = stage.start("evil.example").await.unwrap();
    assert_eq!(departure.url, "https://flow.example/router/api/auth/oidc/start");
}

#[tokio::test]
async fn a_provider_that_does_not_answer_lets_nobody_in() {
    let mut stage = Stage::new();
    *stage.idp.document.lock().unwrap() = json!({"issuer": "https://other.example"});
    assert!(matches!(stage.login().await, Err(Failure::Unusable(_))));
    *stage.idp.document.lock().unwrap() = json!({"jwks_uri": "http://169.254.169.254/keys"});
    assert!(matches!(stage.login().await, Err(Failure::Unusable(_))));
    *stage.idp.document.lock().unwrap() = json!({"padding": "x".repeat(300 * 1024)});
    assert!(matches!(stage.login().await, Err(Failure::Unreachable(_))));
    *stage.idp.document.lock().unwrap() = json!({});
    *stage.idp.jwks.lock().unwrap() = json!("nothing");
    assert!(matches!(stage.login().await, Err(Failure::Unusable(_))));
    stage.settings.oidc.issuer = "http://127.0.0.1:1".to_owned();
    assert!(matches!(stage.login().await, Err(Failure::Unreachable(_))));
    // What went wrong is not remembered as the truth.
    let fine = Stage::new();
    assert!(fine.login().await.is_ok());
    assert_eq!(fine.finish("error=access_denied", None).await, Err(Failure::NoCookie));
    let departure = fine.start("127.0.0.1:2402").await.unwrap();
    let denied = format!("error=access_denied&state={}", departure.state.unwrap());
    let result = fine.finish(&denied, departure.sealed.as_deref()).await;
    assert_eq!(result, Err(Failure::Refused("access_denied".to_owned())));
}
