//! `flow-router db` and `flow-router secrets` from the command line.
#![allow(clippy::unwrap_used)]

mod support;

use std::{fs, path::Path};

use support::{Client, Router, router};

/// Runs a command; returns whether it went well, and what it said.
fn run(dir: &Path, args: &[&str]) -> (bool, String) {
    let output = router::run(dir, args);
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), said.trim_end().to_owned())
}

#[test]
fn a_database_is_checked_backed_up_restored_and_vacuumed() {
    let dir = tempfile::tempdir().unwrap();
    let good = |args: &[&str]| {
        let (good, said) = run(dir.path(), args);
        assert!(good, "{args:?}: {said}");
        said
    };
    let bad = |args: &[&str]| {
        let (good, said) = run(dir.path(), args);
        assert!(!good, "{args:?}: {said}");
        said
    };
    for args in [&["db", "check"][..], &["db", "backup"], &["db", "vacuum"], &["secrets", "rotate"]] {
        assert!(bad(args).contains("there is no database yet"), "{args:?}");
    }
    assert!(good(&["db", "migrate", "--dry-run"]).contains("CREATE TABLE providers"));
    assert!(good(&["db", "migrate"]).contains("3 steps applied"));
    assert_eq!(good(&["db", "migrate", "--dry-run"]), "nothing is pending");
    assert_eq!(good(&["db", "check"]), "the database is sound");
    assert_eq!(good(&["db", "backups"]), "there are no backups");
    let said = good(&["db", "backup", "--label", "trip"]);
    let name = said.split(' ').next().unwrap();
    assert!(name.starts_with("trip-"), "{said}");
    assert!(good(&["db", "backups"]).contains(name));
    assert_eq!(good(&["db", "verify", name]), "the backup is sound");
    assert!(good(&["db", "restore", name]).contains("what was there is kept as pre-restore-"));
    assert!(good(&["db", "vacuum"]).contains("bytes now"));
    assert_eq!(good(&["secrets", "rotate"]), "0 secrets sealed with the new key");
    assert_eq!(good(&["secrets", "forget"]), "0 secrets given up; the backup before it is labelled pre-forget");
    assert!(bad(&["db", "restore", "../trip"]).contains("no backup of that name"));
    assert!(bad(&["db", "backup", "--label", "../x"]).contains("a label has"));
    assert!(bad(&["db", "import-legacy"]).contains("not a database of the Go program"));
    assert!(bad(&["db"]).contains("Usage"));
}

#[test]
fn a_running_gateway_allows_what_only_reads() {
    let router = Router::start("");
    let dir = router.dir.path();
    assert_eq!(run(dir, &["db", "check"]), (true, "the database is sound".to_owned()));
    let (good, said) = run(dir, &["db", "backup"]);
    assert!(good, "{said}");
    for args in [&["db", "restore", "x"][..], &["db", "vacuum"], &["db", "migrate"], &["secrets", "rotate"]] {
        let (good, said) = run(dir, args);
        assert!(!good && said.contains("another flow-router uses"), "{args:?}: {said}");
    }
}

#[test]
fn a_wrong_configuration_does_not_bar_the_way_to_the_database() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("c.toml");
    fs::write(&file, "no such key = 1").unwrap();
    let (good, said) = run(dir.path(), &["db", "migrate", "--config", file.to_str().unwrap()]);
    assert!(good, "{said}");
}

#[test]
fn who_has_seen_enough_ends_the_output_without_a_word() {
    let dir = tempfile::tempdir().unwrap();
    for args in [&["settings"][..], &["check"], &["db", "backups"], &["key", "laptop"]] {
        let mut child = router::command(dir.path())
            .args(args)
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let ended = child.wait_with_output().unwrap();
        assert_eq!(String::from_utf8_lossy(&ended.stderr).matches("panicked").count(), 0, "{args:?}: {ended:?}");
        assert!(ended.status.success(), "{args:?}: {ended:?}");
    }
}

#[tokio::test]
async fn keys_are_guarded_by_what_comes_from_outside() {
    let dir = tempfile::tempdir().unwrap();
    let passphrase = dir.path().join("passphrase");
    fs::write(&passphrase, "open sesame\n").unwrap();
    let guarded = |mut command: std::process::Command| {
        command.env("FLOW_ROUTER_SECRET_STORE", "passphrase").env("FLOW_ROUTER_SECRET_PASSPHRASE_FILE", &passphrase);
        command
    };
    let said = |mut command: std::process::Command, args: &[&str]| {
        let output = command.args(args).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.code(), said)
    };
    let (code, text) = said(router::command(dir.path()), &["--secret-store", "env"]);
    assert!(code == Some(78) && text.contains("FLOW_ROUTER_SECRET_KEY is not set"), "{text}");
    let (code, text) = said(router::command(dir.path()), &["check", "--secret-store", "keyring"]);
    assert!(code == Some(78) && text.contains("FLOW_ROUTER_SECRET_KEY_FILE"), "{text}");

    let router = Router::start_as(guarded(router::command(dir.path())), dir, "", &[]);
    let body = r#"{"provider": "anthropic", "apiKey": "sk-ant-planted"}"#;
    assert_eq!(Client::post(router.addr, "/api/providers", body).await.status, 201);
    let key = fs::read(router.data_dir().join("secret.key")).unwrap();
    assert!(key.starts_with(b"FLOW KEYS v1"), "{key:?}");
    let mut router = router;
    router.terminate();
    assert!(router.ended().await.success());

    let dir = router.dir.path();
    // Without it the keys do not open, and nothing is made in their place.
    let (_, text) = said(router::command(dir), &["check"]);
    assert!(text.contains("guarded by a passphrase"), "{text}");
    assert_eq!(fs::read(router.data_dir().join("secret.key")).unwrap(), key);
    assert!(said(guarded(router::command(dir)), &["check"]).1.contains("provider   anthropic"));
    let (code, text) = said(guarded(router::command(dir)), &["secrets", "rotate"]);
    assert!(code == Some(0) && text.contains("1 secret sealed with the new key"), "{text}");
    let (code, text) = said(guarded(router::command(dir)), &["secrets", "unwrap"]);
    assert!(code == Some(0), "{text}");
    assert_eq!(fs::read(router.data_dir().join("secret.key")).unwrap().len(), 64);
    assert!(said(router::command(dir), &["check"]).1.contains("provider   anthropic"));

    // Guarded again, and the passphrase is lost: the secrets are given up, and a new key is made.
    assert_eq!(said(guarded(router::command(dir)), &["secrets", "rotate"]).0, Some(0));
    assert_eq!(said(router::command(dir), &["secrets", "rotate"]).0, Some(1));
    let (code, text) = said(router::command(dir), &["secrets", "forget"]);
    assert!(code == Some(0) && text.contains("1 secret given up"), "{text}");
    assert!(fs::read(router.data_dir().join("secret.key.lost-1")).unwrap().starts_with(b"FLOW KEYS v1"));
    assert_eq!(said(router::command(dir), &["secrets", "rotate"]).0, Some(0));
    assert_eq!(fs::read(router.data_dir().join("secret.key")).unwrap().len(), 64);
}
