#![allow(clippy::unwrap_used)]

use std::time::Duration;

use proxy::{Client, ClientConfig};

use super::*;
use crate::api::Payload;
use crate::api::auth::login::tests::{RIGHT, Stage};

impl Stage {
    async fn set(&self, cookie: &str, body: Value) -> Result<Reply, Problem> {
        let rules: LoginRules = serde_json::from_value(body).unwrap();
        self.as_session(cookie, async |visit| self.auth.set_rules_page(visit, rules).await).await
    }
}

fn field<'a>(answer: &'a Reply, name: &str) -> Vec<&'a str> {
    answer.headers.iter().filter(|(known, _)| *known == name).map(|(_, value)| value.as_str()).collect()
}

fn plain(problem: Problem) -> (u16, &'static str, Option<String>) {
    (problem.status, problem.code, problem.param)
}

fn document(reply: Reply) -> Value {
    match reply.payload {
        Payload::Json(document) => document,
        _ => panic!("no document"),
    }
}

#[tokio::test]
async fn a_login_is_switched_on_with_its_password_or_not_at_all() {
    let stage = Stage::open(tempfile::tempdir().unwrap(), &[]).await;
    let on = json!({"requireLogin": true, "authMode": "password"});
    let refused = stage.set("", on.clone()).await.unwrap_err();
    assert_eq!(plain(refused), (422, "invalid_value", Some("auth_mode".to_owned())));
    assert!(!stage.live.snapshot().settings.require_login, "nothing of it is kept");
    let short = stage.set("", json!({"password": "short"})).await.unwrap_err();
    assert_eq!(plain(short), (422, "invalid_value", Some("password".to_owned())));

    let body = json!({"requireLogin": true, "authMode": "password", "password": RIGHT});
    let answer = stage.set("", body).await.unwrap();
    let expected = json!({"requireLogin": true, "authMode": "password", "passwordSet": true, "oidcConfigured": false});
    assert_eq!(document(answer), expected);
    assert!(!stage.is_in(""), "from now on it is asked for");
    let cookie = stage.login(RIGHT).await.unwrap().cookie;

    // Who changes the password stays, under a new token.
    let answer = stage.set(&cookie, json!({"password": "another horse"})).await.unwrap();
    let fresh = field(&answer, "set-cookie")[0].to_owned();
    assert!(stage.is_in(&fresh) && !stage.is_in(&cookie));
    // Taking the password away while it is the way in is refused.
    assert_eq!(stage.set(&fresh, json!({"password": null})).await.unwrap_err().status, 422);
    let off = json!({"password": null, "authMode": "none", "requireLogin": false});
    assert_eq!(document(stage.set(&fresh, off).await.unwrap())["passwordSet"], json!(false));
    let audit = stage.audit_details().await;
    assert!(
        !audit.contains("horse") && !audit.contains("argon2") && audit.contains("\"password_hash\":\"changed\""),
        "{audit}"
    );
}

#[tokio::test]
async fn a_provider_is_configured_without_its_secret_being_told() {
    let stage = Stage::open(tempfile::tempdir().unwrap(), &[]).await;
    let oidc = json!({"issuer": "https://id.example", "clientId": "flow", "clientSecret": "planted-secret",
        "allowedEmails": ["a@example.org", "b@example.org"], "roleClaim": "groups=ops"});
    let answer = stage.set("", json!({"authMode": "oidc", "oidcConfig": oidc})).await.unwrap();
    assert_eq!(document(answer)["oidcConfigured"], json!(true));
    let settings = stage.live.snapshot();
    let known = &settings.settings.oidc;
    assert_eq!(known.client_secret.as_ref().unwrap().expose(), "planted-secret");
    assert_eq!(known.allowed_emails, ["a@example.org", "b@example.org"]);
    assert_eq!(known.role, Some(("groups".to_owned(), "ops".to_owned())));
    let shown = document(stage.as_session("", async |visit| stage.auth.oidc_page(visit)).await);
    assert_eq!(shown["redirectUri"], json!("http://127.0.0.1:2402/api/auth/oidc/callback"));
    assert_eq!((&shown["issuer"], &shown["configured"]), (&json!("https://id.example"), &json!(true)));
    assert!(!shown.to_string().contains("planted") && !stage.audit_details().await.contains("planted"));
    // What is left out stays, and null clears.
    stage.set("", json!({"oidcConfig": {"clientSecret": null, "allowedEmails": null}})).await.unwrap();
    let settings = stage.live.snapshot();
    assert!(settings.settings.oidc.client_secret.is_none() && settings.settings.oidc.allowed_emails.is_empty());
    assert_eq!(settings.settings.oidc.client_id, "flow");
    // Without anybody who is let in it is refused.
    let nobody = stage.set("", json!({"oidcConfig": {"roleClaim": null}})).await;
    assert_eq!(nobody.unwrap_err().status, 422);
}

#[tokio::test]
async fn what_a_file_says_stays() {
    let stage = Stage::open(tempfile::tempdir().unwrap(), &[("require_login", "false")]).await;
    let refused = stage.set("", json!({"requireLogin": true, "password": RIGHT, "authMode": "password"})).await;
    assert_eq!(plain(refused.unwrap_err()), (423, "pinned_by_config", Some("require_login".to_owned())));
    assert!(stage.live.snapshot().settings.password_hash.is_none());
}

#[tokio::test]
async fn bodies_have_known_members_only() {
    for wrong in
        [json!({"pasword": "x"}), json!({"requireLogin": "yes"}), json!({"oidcConfig": {"clientID": "x"}}), json!([])]
    {
        assert!(serde_json::from_value::<LoginRules>(wrong.clone()).is_err(), "{wrong}");
    }
    for wrong in [json!({}), json!({"password": 1}), json!({"password": "x", "user": "y"})] {
        assert!(serde_json::from_value::<Login>(wrong.clone()).is_err(), "{wrong}");
    }
}

#[tokio::test]
async fn a_login_answers_with_a_cookie_and_a_token_only_where_it_is_asked_for() {
    let stage = Stage::new().await;
    let login = async |password: &str, wants_token| {
        let body = serde_json::from_value(json!({"password": password, "username": "admin"})).unwrap();
        stage.as_session("", async |visit| stage.auth.login_page(visit, body, wants_token).await).await
    };
    assert_eq!(plain(login("wrong horse", false).await.unwrap_err()), (401, "invalid_credentials", None));
    let answer = login(RIGHT, false).await.unwrap();
    let cookie = field(&answer, "set-cookie")[0].to_owned();
    let body = document(answer);
    assert!(body.get("token").is_none());
    let expires: jiff::Timestamp = body["expiresAt"].as_str().unwrap().parse().unwrap();
    assert!(expires > jiff::Timestamp::now());
    assert!(document(login(RIGHT, true).await.unwrap())["token"].is_string());
    let status = |cookie: &str| {
        let cookie = cookie.to_owned();
        let stage = &stage;
        async move { document(stage.as_session(&cookie, async |visit| stage.auth.status_page(visit)).await) }
    };
    let shown = status(&cookie).await;
    assert_eq!((&shown["authenticated"], &shown["principal"]), (&json!(true), &json!("session")));
    assert_eq!(shown["session"]["userId"], json!("admin"));
    let expected = json!({"authenticated": false, "principal": "none", "requireLogin": true, "authMode": "password"});
    assert_eq!(status("").await, expected);

    let sessions = document(stage.as_session(&cookie, async |visit| stage.auth.sessions_page(visit)).await);
    assert_eq!(sessions["count"], json!(2));
    let current: Vec<_> = sessions["data"].as_array().unwrap().iter().map(|s| s["current"] == json!(true)).collect();
    assert_eq!(current.iter().filter(|current| **current).count(), 1);
    assert!(!sessions.to_string().contains(cookie.split(['=', ';']).nth(1).unwrap()));
    let missing = stage.as_session(&cookie, async |visit| stage.auth.end_sessions_page(visit, Some("0")).await).await;
    assert_eq!(plain(missing.unwrap_err()), (404, "not_found", None));
}

#[tokio::test]
async fn the_way_back_from_a_provider_ends_on_the_first_page() {
    let stage = Stage::new().await;
    let client = Client::new(ClientConfig::default()).unwrap();
    let ways = Ways { any: client.clone(), outside: client };
    let answer = stage.as_session("", async |visit| stage.auth.oidc_callback_page(visit, &ways).await).await;
    assert_eq!((answer.status, field(&answer, "location")), (302, vec!["/?login_error=oidc_disabled"]));
    assert!(field(&answer, "set-cookie")[0].starts_with("flow_router_oidc=; "));
    let start = stage.as_session("", async |visit| stage.auth.oidc_start_page(visit, &ways).await).await;
    assert_eq!(plain(start.unwrap_err()), (403, "oidc_disabled", None));

    let oidc = json!({"issuer": "http://127.0.0.1:1", "clientId": "flow", "allowedSubjects": ["u"]});
    stage.set("", json!({"authMode": "oidc", "oidcConfig": oidc})).await.unwrap();
    let answer = stage.as_session("", async |visit| stage.auth.oidc_callback_page(visit, &ways).await).await;
    assert_eq!(field(&answer, "location"), ["/?login_error=no_login_under_way"]);
    let start = stage.as_session("", async |visit| stage.auth.oidc_start_page(visit, &ways).await).await;
    assert_eq!(plain(start.unwrap_err()), (502, "upstream_error", None));
    let test = stage.as_session("", async |visit| stage.auth.oidc_test_page(visit, &ways).await).await;
    assert_eq!(plain(test.unwrap_err()), (502, "upstream_error", None));
}

#[test]
fn times_are_written_as_the_api_writes_them() {
    assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000Z");
    assert_eq!(rfc3339(1_700_000_000_007), "2023-11-14T22:13:20.007Z");
    assert_eq!(whole_seconds(Duration::from_millis(29_001)), 30);
    assert_eq!(whole_seconds(Duration::from_secs(30)), 30);
}
