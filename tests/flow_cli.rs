//! The program `flow-cli` against the real router: what every command does and prints, its exit codes, and that no
//! secret is printed. Where a router would have to misbehave, a scripted server does.

#![allow(clippy::unwrap_used)]

#[path = "flow_cli/mod.rs"]
mod cli;
mod support;

use std::fs;

use cli::Cli;
use serde_json::{Value, json};
use support::{PATIENCE, Router, Upstream, within};

/// What must never be printed.
const SECRET: &str = "sk-planted-0123456789-secret";

/// A service that lists two models.
async fn service() -> Upstream {
    let models = r#"{"object":"list","data":[{"id":"q-1","object":"model"},{"id":"q-2","object":"model"}]}"#;
    Upstream::always(200, &[("content-type", "application/json")], models).await
}

/// A router with the provider `lab`, and that service.
async fn with_lab() -> (Router, Upstream) {
    let (router, service) = (Router::start(""), service().await);
    let cli = Cli::of(&router);
    let url = format!("{}/v1", service.url());
    let args =
        ["providers", "add", "lab", "--base-url", &url, "--format", "openai_chat", "--model", "q-*", "--api-key-stdin"];
    cli.run_with_input(&args, &format!("{SECRET}\n")).await.ok();
    (router, service)
}

#[tokio::test]
async fn status_says_how_the_router_is() {
    let (router, _service) = with_lab().await;
    let cli = Cli::of(&router);
    let text = cli.run(&["status"]).await.ok();
    for line in ["status\tok", "you are\ttoken", "providers\t1/1", "store\tok"] {
        assert!(text.lines().any(|other| other == line), "no {line:?} in {text}");
    }
    let document = cli.json(&["status"]).await;
    assert_eq!(document["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!((&document["status"], &document["providers"]), (&json!("ok"), &json!(1)));
    assert_eq!(document["url"], format!("http://{}", router.addr));
}

#[tokio::test]
async fn providers_are_added_tested_switched_and_removed() {
    let (router, service) = with_lab().await;
    let cli = Cli::of(&router);
    let listed = cli.run(&["providers"]).await.ok();
    let cells: Vec<_> = listed.trim_end().split('\t').collect();
    let address = format!("{}/v1", service.url());
    assert_eq!(cells, ["lab", "lab", "openai_chat", "ok", "sk-…cret", "100", "q-*", "store", &address], "{listed}");
    let listed = cli.json(&["providers", "list"]).await;
    assert_eq!((&listed[0]["name"], &listed[0]["apiKeySet"]), (&json!("lab"), &json!(true)));

    let tested = cli.run(&["providers", "test", "lab"]).await.ok();
    assert!(tested.starts_with("lab\ttrue\t200\t"), "{tested}");
    let asked = service.asked_once();
    assert_eq!(asked.head.get("authorization"), Some(format!("Bearer {SECRET}").as_str()));
    let all = cli.json(&["providers", "test", "--all"]).await;
    assert_eq!((&all[0]["name"], &all[0]["valid"], &all[0]["modelCount"]), (&json!("lab"), &json!(true), &json!(2)));
    let models = cli.run(&["providers", "models", "lab", "--refresh"]).await.ok();
    assert_eq!(models.lines().map(|line| line.split('\t').next().unwrap()).collect::<Vec<_>>(), ["q-1", "q-2"]);

    cli.run(&["providers", "disable", "LAB"]).await.ok();
    assert_eq!(cli.json(&["providers"]).await[0]["isActive"], false);
    cli.run(&["providers", "enable", "lab"]).await.ok();
    assert_eq!(cli.json(&["providers"]).await[0]["state"]["status"], "ok");

    // Nobody can be asked here.
    let run = cli.run(&["providers", "remove", "lab"]).await;
    assert_eq!(run.code, 2, "{run:?}");
    cli.run(&["providers", "rm", "lab", "--yes"]).await.ok();
    assert_eq!(cli.json(&["providers"]).await, json!([]));
    cli.run(&["providers", "enable", "lab"]).await.failed(5, "lab");
    let presets = cli.run(&["providers", "presets"]).await.ok();
    assert!(presets.lines().any(|line| line.starts_with("anthropic\t")), "{presets}");
}

#[tokio::test]
async fn a_provider_that_does_not_answer_is_not_added_where_a_test_is_asked_for() {
    let router = Router::start("");
    let refusing = Upstream::always(401, &[], r#"{"error":{"message":"bad key"}}"#).await;
    let cli = Cli::of(&router).env("LAB_KEY", SECRET);
    let url = format!("{}/v1", refusing.url());
    let mut args =
        vec!["providers", "add", "lab", "--base-url", &url, "--format", "openai_chat", "--api-key-env", "LAB_KEY"];
    args.push("--test");
    cli.run(&args).await.failed(1, "lab was not added");
    assert_eq!(cli.json(&["providers"]).await, json!([]));
    args.pop();
    cli.run(&args).await.ok();
    let run = cli.run(&["providers", "test", "lab"]).await.failed(1, "no good answer from lab");
    assert!(run.out.starts_with("lab\tfalse\t401\t"), "{run:?}");
    cli.run(&["providers", "add", "x", "--api-key-env", "NOT_SET"]).await.failed(2, "NOT_SET");
}

#[tokio::test]
async fn keys_are_made_shown_once_rotated_and_revoked() {
    let router = Router::start("");
    let cli = Cli::of(&router);
    cli.run(&["keys", "new", "other"]).await.ok();
    cli.run(&["settings", "set", "requireKey=true"]).await.ok();
    cli.run(&["keys", "rm", "other", "-y"]).await.failed(1, "require_key");
    let key = cli.run(&["keys", "new", "laptop", "--scope", "inference", "--expires", "30d"]).await.ok();
    let key = key.strip_suffix('\n').unwrap();
    assert!(key.starts_with("flr_") && key.len() == 68, "{key:?}");
    let lets_in = async |key: &str| {
        let field = ("authorization", &*format!("Bearer {key}"));
        support::Client::once(router.addr, "GET", "/v1/models", &[field], "").await
    };
    assert_eq!(lets_in(key).await.status, 200);
    let listed = cli.run(&["keys"]).await;
    assert!(!listed.everything().contains(key), "{listed:?}");
    assert!(listed.ok().starts_with(&format!("laptop\t{}…\tinference\tactive\t20", &key[..14])));

    let rotated = cli.json(&["keys", "rotate", "laptop"]).await;
    let fresh = rotated["plaintextKey"].as_str().unwrap();
    assert_eq!((lets_in(key).await.status, lets_in(fresh).await.status), (401, 200));
    cli.run(&["keys", "revoke", "laptop"]).await.failed(2, "--yes");
    cli.run(&["keys", "revoke", "laptop", "--yes"]).await.ok();
    assert_eq!(lets_in(fresh).await.status, 401);
    assert_eq!(cli.json(&["keys"]).await[0]["status"], "revoked");
    cli.run(&["keys", "remove", "laptop", "-y"]).await.ok();
    assert_eq!(cli.run(&["keys", "--quiet"]).await.ok(), "other\n");
    cli.run(&["keys", "new", "late", "--expires", "someday"]).await.failed(2, "someday");
    cli.run(&["keys", "new", "odd", "--scope", "everything"]).await.failed(1, "scopes");
}

#[tokio::test]
async fn settings_are_read_and_changed() {
    let router = Router::start("max_attempts = 3\n");
    let cli = Cli::of(&router);
    let listed = cli.run(&["settings"]).await.ok();
    let line = |name: &str| listed.lines().find(|line| line.starts_with(&format!("{name}\t"))).unwrap().to_owned();
    assert!(line("maxAttempts").starts_with("maxAttempts\t3\tfile\tfile: "), "{}", line("maxAttempts"));
    assert!(line("addr").contains("\tflag\t"), "{}", line("addr"));
    cli.run(&["settings", "set", "defaultModel=5", "stallTimeout=90s"]).await.ok();
    assert_eq!(cli.run(&["settings", "get", "defaultModel"]).await.ok(), "5\n");
    assert_eq!(cli.json(&["settings", "get", "stallTimeout"]).await, "90s");
    cli.run(&["settings", "set", "defaultModel="]).await.ok();
    assert_eq!(cli.run(&["settings", "get", "defaultModel"]).await.ok(), "\n");
    assert_eq!(cli.json(&["settings"]).await["maxAttempts"], 3);
    cli.run(&["settings", "set", "maxAttempts=9"]).await.failed(1, "maxAttempts");
    cli.run(&["settings", "set", "noSuchSetting=9"]).await.failed(1, "noSuchSetting");
    cli.run(&["settings", "set", "maxAttempts"]).await.failed(2, "NAME=VALUE");
    cli.run(&["settings", "get", "noSuchSetting"]).await.failed(5, "noSuchSetting");
    let run = cli.run(&["settings", "set", "logFormat=json"]).await;
    assert!(run.err.contains("next start"), "{run:?}");
    run.ok();
}

#[tokio::test]
async fn aliases_combos_and_models_are_listed_made_and_removed() {
    let (router, _service) = with_lab().await;
    let cli = Cli::of(&router);
    cli.run(&["aliases", "new", "fast", "lab/q-1"]).await.ok();
    assert_eq!(cli.run(&["aliases"]).await.ok(), "fast\tlab/q-1\t\tstore\n");
    cli.run(&["combos", "new", "both", "lab/q-1", "lab/q-2"]).await.ok();
    assert_eq!(cli.run(&["combos", "list"]).await.ok(), "both\tpriority\ttrue\tlab/q-1,lab/q-2\tstore\n");
    assert_eq!(cli.json(&["combos"]).await[0]["models"], json!(["lab/q-1", "lab/q-2"]));
    let models = cli.run(&["models", "--quiet"]).await.ok();
    for name in ["fast", "both"] {
        assert!(models.lines().any(|line| line == name), "no {name} in {models}");
    }
    let found = cli.json(&["models", "fas"]).await;
    assert_eq!((&found[0]["id"], &found[0]["kind"], &found[1]), (&json!("fast"), &json!("alias"), &Value::Null));
    // What others stand on stays.
    cli.run(&["providers", "remove", "lab", "-y"]).await.failed(1, "fast");
    cli.run(&["aliases", "rm", "fast"]).await.ok();
    cli.run(&["combos", "rm", "both"]).await.ok();
    cli.run(&["aliases", "rm", "fast"]).await.failed(5, "fast");
    assert_eq!(cli.json(&["aliases"]).await, json!([]));
}

#[tokio::test]
async fn models_are_described() {
    let (router, _service) = with_lab().await;
    let cli = Cli::of(&router);
    let args = ["custom-models", "add", "lab", "own", "--name", "Our own", "--context", "9000", "--caps", "tools,json"];
    cli.run(&args).await.ok();
    assert_eq!(cli.run(&["custom-models"]).await.ok(), "own\tlab\tOur own\t9000\t\ttools,json\n");
    assert_eq!(cli.json(&["models", "own"]).await[0]["contextWindow"], 9000);
    cli.run(&args).await.failed(1, "model");
    cli.run(&["custom-models", "add", "nobody", "own"]).await.failed(5, "nobody");
    cli.run(&["custom-models", "rm", "lab", "own"]).await.ok();
    cli.run(&["custom-models", "rm", "lab", "own"]).await.failed(5, "own of lab");
}

#[tokio::test]
async fn backups_are_made_verified_and_restored() {
    let (router, _service) = with_lab().await;
    let cli = Cli::of(&router);
    let made = cli.json(&["backup", "create", "--label", "before-change"]).await;
    let name = made["name"].as_str().unwrap();
    assert!(name.starts_with("before-change-"), "{name}");
    assert!(cli.run(&["backup"]).await.ok().starts_with(&format!("{name}\tbefore-change\t20")));
    assert_eq!(cli.json(&["backup", "verify", name]).await["ok"], true);
    cli.run(&["backup", "verify", "no-such-backup"]).await.failed(5, "no-such-backup");
    cli.run(&["providers", "rm", "lab", "-y"]).await.ok();
    cli.run(&["backup", "restore", name]).await.failed(2, "--yes");
    let run = cli.run(&["backup", "restore", name, "--yes"]).await;
    assert!(run.err.contains("pre-restore-"), "{run:?}");
    run.ok();
    assert_eq!(cli.json(&["providers"]).await[0]["name"], "lab");

    // One that is damaged.
    let file = router.data_dir().join("backups").join(name).join("data.sqlite");
    fs::write(&file, b"no database").unwrap();
    cli.run(&["backup", "verify", name]).await.failed(1, "damaged");
}

#[tokio::test]
async fn prices_are_looked_up_and_imported() {
    let router = Router::start("");
    let cli = Cli::of(&router);
    let price = cli.json(&["pricing", "lookup", "claude-sonnet-4-5"]).await;
    assert_eq!((&price["priced"], &price["source"]), (&json!(true), &json!("card")));
    let text = cli.run(&["pricing", "lookup", "claude-sonnet-4-5", "--provider", "anthropic"]).await.ok();
    assert!(text.contains("input\t3.0\n"), "{text}");
    cli.run(&["pricing", "lookup", "q-1"]).await.failed(5, "q-1");
    let list = json!({"q-1": {"input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6, "litellm_provider": "lab"}});
    let file = router.dir.path().join("prices.json");
    fs::write(&file, list.to_string()).unwrap();
    assert_eq!(cli.json(&["pricing", "import", file.to_str().unwrap()]).await["imported"], 1);
    let text = cli.run(&["pricing", "lookup", "q-1", "--provider", "lab"]).await.ok();
    assert!(text.contains("input\t1.0\n") && text.contains("output\t2.0\n"), "{text}");
    assert_eq!(cli.run_with_input(&["pricing", "import", "-"], &list.to_string()).await.code, 0);
    cli.run(&["pricing", "import", "/no/such/file"]).await.failed(1, "/no/such/file");
    cli.run_with_input(&["pricing", "import", "-"], "{").await.failed(1, "-: ");
}

/// Asks the demo something and waits until it is recorded.
async fn used(router: &Router, cli: &Cli) {
    let body = r#"{"model":"demo","messages":[{"role":"user","content":"Hi"}]}"#;
    assert_eq!(support::Client::post(router.addr, "/v1/chat/completions", body).await.status, 200);
    within("the row", async {
        // Rows are written in batches, and nothing tells when: ask again and again.
        while cli.json(&["logs"]).await == json!([]) {}
    })
    .await;
}

#[tokio::test]
async fn usage_and_requests_are_shown() {
    let router = Router::start("");
    let cli = Cli::of(&router);
    assert_eq!(cli.run(&["usage"]).await.ok(), "");
    used(&router, &cli).await;
    let usage = cli.run(&["usage", "--by", "provider,model", "--days", "2"]).await.ok();
    assert!(usage.starts_with("demo\tdemo\t1\t0\t"), "{usage}");
    let usage = cli.json(&["usage", "--by", "day"]).await;
    assert_eq!((&usage[0]["requestCount"], &usage[0]["costUsd"]), (&json!(1), &json!(0.0)));
    let log = cli.run(&["logs", "-n", "5"]).await.ok();
    let cells: Vec<_> = log.split('\t').collect();
    assert_eq!((cells[1], cells[2], cells[3]), ("200", "demo", "demo"), "{log}");
    assert_eq!(cli.json(&["logs", "--status", "error"]).await, json!([]));
    let lines = cli.run(&["logs", "--program", "--level", "warn"]).await.ok();
    assert!(lines.contains("no provider is configured"), "{lines}");
    cli.run(&["usage", "--by", "weather"]).await.failed(2, "weather");
    cli.run(&["logs", "--program", "--model", "x"]).await.failed(2, "--model");
}

#[tokio::test]
async fn requests_are_followed() {
    let router = Router::start("");
    let cli = Cli::of(&router);
    for (form, expected) in [(&[][..], "\t200\tdemo\tdemo\t"), (&["--json"][..], r#""event":"request.end""#)] {
        let args: Vec<&str> = ["logs", "-f"].iter().chain(form).copied().collect();
        let mut following = cli.start(&args);
        let line = within("a line", async {
            // Whoever listens too late sees nothing: ask until there is a line.
            loop {
                used(&router, &cli).await;
                if let Ok(line) = tokio::time::timeout(PATIENCE / 40, following.line_with(expected)).await {
                    return line;
                }
            }
        })
        .await;
        assert!(line.contains("200"), "{line}");
        following.kill().await;
    }
}

#[tokio::test]
async fn a_feed_that_breaks_off_is_taken_up_behind_the_last_event() {
    let server = Upstream::start(|mut conn| async move {
        while let Some(asked) = conn.asked().await {
            let last = asked.head.get("last-event-id").map(str::to_owned);
            conn.stream("text/event-stream").await;
            let event = match last.as_deref() {
                None => "id: 41\nevent: request.end\ndata: {\"status\":200,\"provider\":\"one\"}\n\n",
                Some("41") => {
                    "event: lag\ndata: {\"dropped\":3}\n\nid: 42\nevent: request.end\ndata: {\"status\":201}\n\n"
                }
                Some(_) => "event: reset\ndata: {}\n\n",
            };
            conn.chunk(event).await;
            conn.end().await;
        }
    })
    .await;
    let cli = Cli::at(&server.url());
    let mut following = cli.start(&["logs", "-f", "--provider", "one"]);
    let lines = within("two lines", async { [following.line().await, following.line().await] }).await;
    assert!(lines[0].contains("\t200\tone\t") && lines[1].contains("\t201\t"), "{lines:?}");
    following.kill().await;
    let asked = &server.asked()[0];
    assert_eq!(asked.json(), json!({"topics": ["requests"], "filter": {"provider": "one"}}));
    assert_eq!(server.asked()[1].head.get("last-event-id"), Some("41"));
}

#[tokio::test]
async fn exit_codes_say_what_went_wrong() {
    let router = Router::start("");
    let cli = Cli::of(&router);
    cli.run(&["no-such-command"]).await.failed(2, "no-such-command");
    cli.run(&["status", "--timeout", "soon"]).await.failed(2, "soon");
    cli.run(&["status", "--url", "ftp://x"]).await.failed(2, "ftp://x");
    let nobody = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    cli.run(&["status", "--url", &nobody]).await.failed(3, "is flow-router running?");
    let silent = Upstream::start(|mut conn| async move {
        conn.asked().await;
        conn.closed().await;
    })
    .await;
    cli.run(&["status", "--url", &silent.url(), "--timeout", "50ms"]).await.failed(3, "did not answer");
    let wrong = format!("flr_{}", "0".repeat(64));
    let run = cli.run(&["providers", "--key", &wrong]).await.failed(4, "");
    assert!(!run.everything().contains(&wrong), "{run:?}");
    cli.run(&["keys", "revoke", "nobody", "-y"]).await.failed(5, "nobody");
    // A key that may not manage.
    let key = cli.run(&["keys", "new", "guest"]).await.ok();
    let guest = cli.clone().env("FLOW_ROUTER_KEY", key.trim());
    guest.run(&["providers"]).await.failed(4, "");
    let status = guest.run(&["status"]).await;
    assert!(status.err.contains("administrators"), "{status:?}");
    assert!(status.ok().contains("you are\tkey\n"));
    let other = Upstream::always(200, &[], "hello").await;
    cli.run(&["status", "--url", &other.url()]).await.failed(1, "no Flow Router");
    cli.run(&["providers", "--url", &other.url()]).await.failed(1, "no list");
}

#[tokio::test]
async fn the_token_goes_to_loopback_and_a_given_key_wins() {
    let server = Upstream::always(200, &[], r#"{"data":[],"nextCursor":null}"#).await;
    let cli = Cli::at(&server.url());
    fs::create_dir_all(cli.data_dir().join("run")).unwrap();
    fs::write(cli.data_dir().join("run/admin.token"), "fra_token\n").unwrap();
    cli.run(&["keys"]).await.ok();
    cli.clone().env("FLOW_ROUTER_KEY", "flr_env").run(&["keys"]).await.ok();
    cli.clone().env("FLOW_ROUTER_KEY", "flr_env").run(&["keys", "--key", "flr_flag"]).await.ok();
    let shown: Vec<_> =
        server.asked().iter().map(|asked| asked.head.get("authorization").unwrap().to_owned()).collect();
    assert_eq!(shown, ["Bearer fra_token", "Bearer flr_env", "Bearer flr_flag"]);
}

#[tokio::test]
async fn lists_are_read_page_by_page_and_cleaned() {
    let server = Upstream::start(|mut conn| async move {
        while let Some(asked) = conn.asked().await {
            let page = match asked.target() {
                "/llm/api/models/alias?limit=1000" => {
                    json!({"data": [{"alias": "a\tb\n\u{1b}[31mc", "model": "m"}], "nextCursor": "x/="})
                }
                "/llm/api/models/alias?limit=1000&cursor=x%2F%3D" => {
                    json!({"data": [{"alias": "d", "model": "n"}], "nextCursor": null})
                }
                other => json!({"error": {"message": other}}),
            };
            conn.answer(200, &[], page.to_string()).await;
        }
    })
    .await;
    let cli = Cli::at(&format!("{}/llm/", server.url()));
    assert_eq!(cli.run(&["aliases"]).await.ok(), "a b [31mc\tm\t\t\nd\tn\t\t\n");
    assert_eq!(cli.json(&["aliases"]).await.as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn sums_are_of_all_pages() {
    let server = Upstream::start(|mut conn| async move {
        while let Some(asked) = conn.asked().await {
            let row = |key: &str, count: u64| json!({"key": key, "requestCount": count});
            let page = if asked.target().contains("&cursor=") {
                json!({"data": [row("b", 2)], "nextCursor": null})
            } else {
                json!({"data": [row("a", 1)], "nextCursor": "a"})
            };
            conn.answer(200, &[], page.to_string()).await;
        }
    })
    .await;
    let cli = Cli::at(&server.url());
    let usage = cli.json(&["usage", "--by", "key"]).await;
    assert_eq!(usage, json!([{"key": "a", "requestCount": 1}, {"key": "b", "requestCount": 2}]));
    assert_eq!(server.asked()[0].target(), "/api/usage?from=-7d&groupBy=key&limit=1000");
}

#[tokio::test]
async fn no_secret_is_printed() {
    let (router, _service) = with_lab().await;
    let cli = Cli::of(&router);
    let token = fs::read_to_string(router.data_dir().join("run/admin.token")).unwrap();
    for args in [
        &["status"][..],
        &["providers"],
        &["providers", "test", "lab"],
        &["providers", "models", "lab"],
        &["providers", "disable", "lab"],
        &["keys"],
        &["settings"],
        &["models"],
        &["doctor"],
        &["logs"],
        &["logs", "--program"],
        &["backup", "create"],
    ] {
        for more in [&[][..], &["--json"]] {
            let args: Vec<&str> = args.iter().chain(more).copied().collect();
            let run = cli.run(&args).await;
            let all = run.everything();
            assert!(!all.contains(SECRET) && !all.contains(token.trim()), "{args:?}: {run:?}");
        }
    }
}

#[tokio::test]
async fn doctor_finds_what_is_wrong() {
    let router = Router::start("");
    let cli = Cli::of(&router);
    let run = cli.run(&["doctor"]).await;
    for what in
        ["ok\tport\t", "ok\tversion\t", "ok\tclock\t", "ok\tstore\t", "warning\tproviders\t", "ok\tsecret.key\t"]
    {
        assert!(run.out.contains(what), "no {what:?} in {run:?}");
    }
    run.ok();

    // A client and variables that lead elsewhere, and one that leads here.
    let home = router.dir.path();
    fs::create_dir_all(home.join(".claude")).unwrap();
    fs::write(home.join(".claude/settings.json"), r#"{"env":{"ANTHROPIC_BASE_URL":"https://api.example"}}"#).unwrap();
    let here = cli.clone().env("OPENAI_BASE_URL", &format!("http://localhost:{}/v1", router.addr.port()));
    let here = here.env("HTTP_PROXY", "http://user:password@proxy.example:1");
    let run = here.run(&["doctor"]).await;
    assert!(run.out.contains("settings.json leads to https://api.example"), "{run:?}");
    assert!(run.out.contains("OPENAI_BASE_URL leads to this router"), "{run:?}");
    assert!(run.out.contains("warning\tproxies\tHTTP_PROXY is set"), "{run:?}");
    assert!(!run.everything().contains("password"), "{run:?}");

    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let key = router.data_dir().join("secret.key");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
        let run = cli.run(&["doctor"]).await.failed(1, "one thing is wrong");
        assert!(run.out.contains("wrong\tsecret.key\t"), "{run:?}");
        assert_eq!(cli.run(&["doctor", "--json"]).await.code, 1);
    }
    let other = Upstream::always(200, &[], "hello").await;
    let run = Cli::at(&other.url()).run(&["doctor"]).await.failed(1, "wrong");
    assert!(run.out.contains("wrong\tport\tsomething else answers"), "{run:?}");
}

#[tokio::test]
async fn completions_and_manual_pages_are_made() {
    let cli = Cli::at("http://127.0.0.1:1");
    for (shell, word) in [
        ("bash", "complete -F"),
        ("zsh", "#compdef flow-cli"),
        ("fish", "complete -c flow-cli"),
        ("powershell", "Register-ArgumentCompleter"),
        ("elvish", "edit:completion"),
    ] {
        let script = cli.run(&["completions", shell]).await.ok();
        assert!(script.contains(word) && script.contains("providers"), "{shell}");
    }
    cli.run(&["completions", "tcsh"]).await.failed(2, "tcsh");
    let page = cli.run(&["man"]).await.ok();
    assert!(page.contains(".TH flow") && page.contains("providers"), "{page}");
    let dir = cli.data_dir().join("man");
    cli.run(&["man", "--dir", dir.to_str().unwrap()]).await.ok();
    for name in ["flow-cli.1", "flow-cli-providers-add.1", "flow-cli-launch.1"] {
        assert!(fs::read_to_string(dir.join(name)).unwrap().contains(".SH"), "{name}");
    }
}

#[test]
fn no_database_is_linked() {
    let program = fs::read(env!("CARGO_BIN_EXE_flow-cli")).unwrap();
    let found = |text: &str| memchr::memmem::find(&program, text.as_bytes()).is_some();
    assert!(found("FLOW_ROUTER_URL") && !found("SQLite format 3"));
}

/// What the scripts of a shell do with a reader that has seen enough.
#[cfg(unix)]
#[tokio::test]
async fn a_reader_that_leaves_is_no_error() {
    let cli = Cli::at("http://127.0.0.1:1");
    let script =
        format!("{} completions bash | head -c 1; echo \"${{PIPESTATUS[0]}}\"", env!("CARGO_BIN_EXE_flow-cli"));
    let mut command = tokio::process::Command::new("bash");
    let output = within("bash", command.args(["-c", &script]).env("HOME", cli.data_dir()).output()).await.unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).ends_with("0\n"), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[cfg(unix)]
#[path = "flow_cli/launch.rs"]
mod launch;
#[cfg(target_os = "linux")]
#[path = "flow_cli/terminal.rs"]
mod terminal;
