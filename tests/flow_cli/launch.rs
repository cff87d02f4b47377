//! `launch`, with programs in the place of the clients that print what they were told.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use serde_json::{Value, json};

use crate::{
    cli::Cli,
    support::{Router, Upstream, within},
};

/// Puts programs of these names into a folder: each runs the same script.
fn programs(dir: &Path, names: &[&str], script: &str) {
    fs::create_dir_all(dir).unwrap();
    for name in names {
        let file = dir.join(name);
        fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    }
}

const TOOLS: [&str; 4] = ["claude", "codex", "gemini", "opencode"];
/// Prints arguments and environment, and ends in its own way.
const SHOW: &str = "for arg in \"$@\"; do echo \"arg $arg\"; done; /usr/bin/env; exit 7";

/// A command line where the clients are on the path.
fn with_tools(cli: Cli, script: &str) -> Cli {
    let dir = cli.home().join("bin");
    programs(&dir, &TOOLS, script);
    cli.env("PATH", dir.to_str().unwrap())
}

/// The value of a variable in what a client printed.
fn value<'o>(out: &'o str, name: &str) -> Option<&'o str> {
    out.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
}

#[tokio::test]
async fn clients_are_told_by_their_environment() {
    let router = Router::start("");
    let base = format!("http://{}", router.addr);
    let cli = with_tools(Cli::of(&router), SHOW).env("ANTHROPIC_API_KEY", "sk-vendor").env("GOOGLE_API_KEY", "vendor");
    let run = cli.run(&["launch", "claude", "--model", "demo", "--", "-p", "a b", "--json"]).await;
    assert_eq!(run.code, 7, "{run:?}");
    assert_eq!(value(&run.out, "ANTHROPIC_BASE_URL"), Some(&*base));
    assert_eq!(value(&run.out, "ANTHROPIC_AUTH_TOKEN"), Some("none-needed"));
    assert_eq!(value(&run.out, "ANTHROPIC_MODEL"), Some("demo"));
    assert_eq!(value(&run.out, "ANTHROPIC_API_KEY"), None);
    assert!(run.out.starts_with("arg -p\narg a b\narg --json\n"), "{run:?}");

    let run = cli.run(&["launch", "codex", "--", "exec"]).await;
    assert!(run.out.contains(&format!("arg model_providers.flow_router.base_url=\"{base}/v1\"\n")), "{run:?}");
    assert!(run.out.contains("arg model_providers.flow_router.env_key=\"FLOW_ROUTER_KEY\"\narg exec\n"), "{run:?}");
    assert_eq!(value(&run.out, "FLOW_ROUTER_KEY"), Some("none-needed"));

    let run = cli.run(&["launch", "gemini"]).await;
    assert_eq!(value(&run.out, "GOOGLE_GEMINI_BASE_URL"), Some(&*base));
    assert_eq!((value(&run.out, "GEMINI_API_KEY"), value(&run.out, "GOOGLE_API_KEY")), (Some("none-needed"), None));

    let run = cli.run(&["launch", "opencode"]).await;
    let config: Value = serde_json::from_str(value(&run.out, "OPENCODE_CONFIG_CONTENT").unwrap()).unwrap();
    let provider = &config["provider"]["flow-router"];
    assert_eq!(provider["options"], json!({"baseURL": format!("{base}/v1"), "apiKey": "none-needed"}));
    assert_eq!(provider["models"], json!({"demo": {"name": "demo"}}));

    // No file was written.
    for name in [".claude", ".codex", ".gemini", ".config"] {
        assert!(!router.dir.path().join(name).exists(), "{name}");
    }
}

#[tokio::test]
async fn a_key_is_handed_on_only_where_one_was_given_and_never_as_an_argument() {
    let router = Router::start("");
    let cli = with_tools(Cli::of(&router), SHOW);
    cli.run(&["keys", "new", "other"]).await.ok();
    cli.run(&["settings", "set", "requireKey=true"]).await.ok();
    let token = fs::read_to_string(router.data_dir().join("run/admin.token")).unwrap();
    for tool in TOOLS {
        let run = cli.run(&["launch", tool]).await.failed(4, "flow-cli keys new");
        assert_eq!(run.out, "");
    }
    let key = cli.run(&["keys", "new", "agent"]).await.ok();
    let key = key.trim();
    let cli = cli.env("FLOW_ROUTER_KEY", key);
    for tool in TOOLS {
        let run = cli.run(&["launch", tool]).await;
        assert_eq!(run.code, 7, "{run:?}");
        assert!(run.out.contains(key), "{tool}");
        assert!(!run.everything().contains(token.trim()), "{tool}");
        assert!(run.out.lines().filter(|line| line.starts_with("arg ")).all(|line| !line.contains(key)), "{tool}");
    }
    let wrong = format!("flr_{}", "0".repeat(64));
    cli.env("FLOW_ROUTER_KEY", &wrong).run(&["launch", "claude"]).await.failed(4, "");
}

#[tokio::test]
async fn a_client_is_the_program_itself_and_gets_signals() {
    let router = Router::start("");
    // Ready once it can take the signal. `read` is of the shell: no further process.
    let script = "trap 'exit 9' TERM; echo \"$$\"; while :; do read line; done";
    let cli = with_tools(Cli::of(&router), script);
    let mut command = cli.command(&["launch", "claude"]);
    let mut child = command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let out = child.stdout.take().unwrap();
    let mut lines = tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(out));
    let pid = within("the client", lines.next_line()).await.unwrap().unwrap();
    assert_eq!(pid.parse::<u32>().ok(), child.id(), "the client has taken its place");
    let status = tokio::process::Command::new("kill").args(["-TERM", &pid]).status().await.unwrap();
    assert!(status.success());
    assert_eq!(within("its end", child.wait()).await.unwrap().code(), Some(9));
}

#[tokio::test]
async fn what_stands_in_the_way_is_said() {
    let router = Router::start("");
    let cli = Cli::of(&router);
    cli.run(&["launch", "claude"]).await.failed(5, "`claude` on PATH");
    cli.run(&["launch", "vim"]).await.failed(2, "vim");
    let cli = with_tools(cli, SHOW);
    let home = router.dir.path();
    fs::create_dir_all(home.join(".claude")).unwrap();
    fs::write(home.join(".claude/settings.json"), r#"{"env":{"ANTHROPIC_BASE_URL":"https://api.example"}}"#).unwrap();
    let run = cli.run(&["launch", "claude"]).await.failed(7, "settings.json sends this client to https://api.example");
    assert!(run.out.contains("ANTHROPIC_BASE_URL="));
    let proxied = cli.clone().env("HTTPS_PROXY", "http://127.0.0.1:9").env("NO_PROXY", "a.example");
    let run = proxied.run(&["launch", "gemini"]).await;
    assert_eq!(value(&run.out, "NO_PROXY"), Some("a.example,127.0.0.1"));
    let broken = Upstream::always(500, &[], r#"{"error":{"message":"out of order"}}"#).await;
    let cli = with_tools(Cli::at(&broken.url()), SHOW);
    cli.run(&["launch", "claude"]).await.failed(1, "out of order");
}
