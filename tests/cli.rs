//! The command line: what is checked, made, listed and refused.
#![allow(clippy::unwrap_used)]

mod support;

use std::{fs, process::Output};

use flow_router::settings::{TABLE, fields::PROVIDER_KEYS};
use support::{Router, router};

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Runs `check` on a file with this content; returns its exit code and everything it said.
fn check(config: &str) -> (Option<i32>, String) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("c.toml");
    fs::write(&file, config).unwrap();
    let output = router::run(dir.path(), &["check", "--config", file.to_str().unwrap()]);
    (output.status.code(), text(&output).replace(file.to_str().unwrap(), "c.toml"))
}

#[test]
fn check_says_where_every_fault_is() {
    let config = r#"adr = "127.0.0.1:1"
drain = "5 parsecs"
max_attempts = 0
keep_alive = [1]

[providers.mine]
dialect = "anthropik"
base_url = "ftp://x"
api_key = "k"
priority = "high"
models = [1]
  base_ulr = "x"
thinking = "hard"
fix_id = 1
rename_params = { max_tokens = "model" }
force_params = { seed = inf, when = 2020-01-01 }

[providers.openai]
preset = "opennai"

[providers.bare]

[aliases]
fast = []
lost = ["nowhere/x"]

[[keys]]
name = "me"
sha256 = "zz"
"#;
    let (code, said) = check(config);
    assert_eq!(code, Some(78), "{said}");
    for expected in [
        "c.toml:1:1: unknown key `adr`: did you mean `addr`?",
        "c.toml:2:9: drain: `5 parsecs` is not a duration",
        "c.toml:3:16: max_attempts: `0` is not a whole number of at least 1",
        "c.toml:7:11: `anthropik` is not allowed here: use openai_chat, openai_responses, anthropic, gemini, ollama",
        "c.toml:8:12: `ftp://x` is not a base URL",
        "c.toml:10:12: expected a whole number, found",
        "c.toml:11:11: expected text, found a value of type integer",
        "c.toml:12:3: unknown key `base_ulr`: did you mean `base_url`?",
        "c.toml:13:12: `hard` is not allowed here: use effort, type, type_effort, enable, reasoning",
        "c.toml:14:10: expected true or false, found a value of type integer",
        "c.toml:15:32: `model` cannot be renamed or forced",
        "c.toml:16:25: JSON has no place for this value",
        "c.toml:16:37: JSON has no place for this value",
        "c.toml:19:10: unknown preset `opennai`",
        "c.toml:21:12: provider `bare` needs `dialect`",
        "c.toml:21:12: provider `bare` needs `base_url`",
        "c.toml:24:8: an alias needs at least one model",
        "c.toml:29:10: ",
    ] {
        assert!(said.contains(expected), "`{expected}` is not in\n{said}");
    }
    assert!(said.contains("faults in the configuration"), "{said}");
}

#[test]
fn check_reports_broken_toml_with_its_place() {
    let (code, said) = check("drain = \"1s\"\nlog = \n[providers\n");
    assert_eq!(code, Some(78));
    assert!(said.contains("c.toml:2:"), "{said}");
    let (code, said) = check("[aliases]\nlost = [\"nowhere/x\"]\n");
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("c.toml:2:1: ") && said.contains("nowhere"), "{said}");
    let dir = tempfile::tempdir().unwrap();
    let output = router::run(dir.path(), &["check", "--config", "/does/not/exist.toml"]);
    assert_eq!(output.status.code(), Some(78));
    assert!(text(&output).contains("/does/not/exist.toml: cannot be read"), "{}", text(&output));
}

#[test]
fn check_shows_what_is_valid_without_its_secrets() {
    let (code, said) = check(
        "drain = \"1s\"\n[providers.mine]\ndialect = \"gemini\"\nbase_url = \"https://example.com/v1beta\"\n\
         api_key = \"planted-key\"\nmodels = [\"g-*\"]\n[aliases]\nfast = \"mine/g-1\"\n",
    );
    assert_eq!(code, Some(0), "{said}");
    for expected in
        ["the configuration is valid", "mine (gemini, with a key) at https://example.com/v1beta: g-*", "fast"]
    {
        assert!(said.contains(expected), "`{expected}` is not in\n{said}");
    }
    assert!(!said.contains("planted-key"), "{said}");
}

#[test]
fn flags_beat_the_environment_and_that_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("c.toml");
    fs::write(&file, "addr = \"127.0.0.1:1001\"\n").unwrap();
    let shown = |variable: Option<&str>, flags: &[&str]| {
        let mut command = router::command(dir.path());
        command.args(["check", "--config"]).arg(&file).args(flags);
        if let Some(addr) = variable {
            command.env("FLOW_ROUTER_ADDR", addr);
        }
        text(&command.output().unwrap())
    };
    assert!(shown(None, &[]).contains("127.0.0.1:1001"));
    assert!(shown(Some("127.0.0.1:1002"), &[]).contains("127.0.0.1:1002"));
    assert!(shown(Some("127.0.0.1:1002"), &["--addr", "127.0.0.1:1003"]).contains("127.0.0.1:1003"));
    assert!(shown(Some("nonsense"), &[]).contains("FLOW_ROUTER_ADDR: `nonsense` is not an address"));
}

#[test]
fn providers_come_from_the_environment_too() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = router::command(dir.path());
    let output = command.arg("check").env("ANTHROPIC_API_KEY", "planted-key").output().unwrap();
    let said = text(&output);
    assert!(said.contains("anthropic (anthropic, with a key)") && !said.contains("planted-key"), "{said}");
}

#[test]
fn help_and_settings_list_every_setting() {
    let dir = tempfile::tempdir().unwrap();
    let help = text(&router::run(dir.path(), &["--help"]));
    let settings = text(&router::run(dir.path(), &["settings"]));
    for row in TABLE {
        assert!(help.contains(&format!("--{} ", row.flag())), "{} is not in --help", row.name);
        assert!(settings.contains(&row.variable()), "{} is not in `settings`", row.name);
        assert!(help.contains(row.help.split(',').next().unwrap().split(':').next().unwrap()), "{}", row.name);
    }
    for field in PROVIDER_KEYS {
        assert!(settings.contains(&format!("| `{}` |", field.name)), "{} is not in `settings`", field.name);
    }
    let unknown = router::run(dir.path(), &["--no-such-flag", "1"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(text(&unknown).contains("--no-such-flag"));
    assert!(text(&router::run(dir.path(), &["--version"])).contains(env!("CARGO_PKG_VERSION")));
}

#[test]
fn keys_are_shown_once_and_open_the_network() {
    let dir = tempfile::tempdir().unwrap();
    let refused = router::run(dir.path(), &["--addr", "0.0.0.0:0"]);
    assert_eq!(refused.status.code(), Some(78));
    assert!(text(&refused).contains("flow-router key"), "{}", text(&refused));
    let asked = router::run(dir.path(), &["check", "--require-key", "true"]);
    assert!(text(&asked).contains("there is no key yet"), "{}", text(&asked));

    let made = router::run(dir.path(), &["key", "laptop"]);
    let key = String::from_utf8(made.stdout).unwrap().trim().to_owned();
    assert!(made.status.success() && key.starts_with("flr_") && key.len() == 68, "{key}");
    let kept = fs::read_to_string(dir.path().join("data/keys.toml")).unwrap();
    assert!(kept.contains("laptop") && !kept.contains(&key[4..]));
    let second = String::from_utf8(router::run(dir.path(), &["key", "phone"]).stdout).unwrap();
    assert_ne!(second.trim(), key);

    let shown = text(&router::run(dir.path(), &["check", "--addr", "0.0.0.0:2402"]));
    assert!(shown.contains("2 (required)"), "{shown}");
    for name in ["", "a\"b", "a\nb"] {
        let refused = router::run(dir.path(), &["key", name]);
        assert_eq!(refused.status.code(), Some(1), "{name:?}");
        assert!(text(&refused).contains("a name has"));
    }
}

#[tokio::test]
async fn a_second_program_on_the_same_folder_or_port_is_refused() {
    let router = Router::start("");
    let data = router.data_dir();
    let second = router::run(router.dir.path(), &["--addr", "127.0.0.1:0", "--data-dir", data.to_str().unwrap()]);
    assert_eq!(second.status.code(), Some(1));
    assert!(text(&second).contains("another flow-router uses"), "{}", text(&second));
    let dir = tempfile::tempdir().unwrap();
    let addr = router.addr.to_string();
    let third = router::run(dir.path(), &["--addr", &addr, "--lanes", "1"]);
    assert_eq!(third.status.code(), Some(1));
    assert!(text(&third).contains(&format!("cannot listen on {addr}")), "{}", text(&third));
}

#[test]
fn a_new_password_is_shown_once_and_kept_as_a_hash() {
    let dir = tempfile::tempdir().unwrap();
    let output = router::run(dir.path(), &["auth", "reset-password"]);
    assert!(output.status.success(), "{}", text(&output));
    let password = String::from_utf8(output.stdout).unwrap().trim().to_owned();
    assert!(password.len() == 27 && password.split('-').all(|part| part.len() == 6), "{password}");
    for entry in fs::read_dir(dir.path().join("data/db")).unwrap() {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        for secret in [password.as_str(), "$argon2id$"] {
            assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()), "{secret}");
        }
    }
    // With it the login can be asked for; without it that is a fault.
    let asked = &["check", "--auth-mode", "password", "--require-login", "true"];
    assert_eq!(router::run(dir.path(), asked).status.code(), Some(0));
    let other = tempfile::tempdir().unwrap();
    let refused = router::run(other.path(), asked);
    assert!(refused.status.code() == Some(78) && text(&refused).contains("auth reset-password"), "{}", text(&refused));
}

#[test]
fn a_password_can_be_given_and_has_to_be_long_and_ours_to_set() {
    let dir = tempfile::tempdir().unwrap();
    let given = |input: &str, variable: Option<&str>| {
        fs::write(dir.path().join("input"), input).unwrap();
        let mut command = router::command(dir.path());
        command.args(["auth", "reset-password", "--stdin"]).stdin(fs::File::open(dir.path().join("input")).unwrap());
        command.envs(variable.map(|hash| ("FLOW_ROUTER_PASSWORD_HASH", hash)));
        command.output().unwrap()
    };
    let done = given("correct horse\nmore\n", None);
    assert!(done.status.success() && done.stdout.is_empty(), "{}", text(&done));
    for (input, variable, reason) in [
        ("", None, "there is no password"),
        ("short\n", None, "at least 10 characters"),
        ("correct horse\n", Some(&*"0".repeat(64)), "set by the environment"),
    ] {
        let refused = given(input, variable);
        assert_eq!(refused.status.code(), Some(1), "{input}");
        assert!(text(&refused).contains(reason) && !text(&refused).contains("horse"), "{}", text(&refused));
    }
    assert_eq!(router::run(dir.path(), &["auth"]).status.code(), Some(2));
    // What `hash-password` prints is what a file may say.
    let hash = |input: &str| {
        fs::write(dir.path().join("input"), input).unwrap();
        let mut command = router::command(dir.path());
        command.args(["auth", "hash-password"]).stdin(fs::File::open(dir.path().join("input")).unwrap());
        command.output().unwrap()
    };
    assert_eq!(hash("short\n").status.code(), Some(1));
    let made = String::from_utf8(hash("correct horse\n").stdout).unwrap();
    assert!(made.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{made}");
    let other = tempfile::tempdir().unwrap();
    let flags = ["check", "--auth-mode", "password", "--password-hash", made.trim()];
    assert!(router::run(other.path(), &flags).status.success());
}
