//! `flow-router db` and `flow-router secrets` from the command line.
#![allow(clippy::unwrap_used)]

mod support;

use std::{fs, path::Path};

use support::{Router, router};

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
    assert!(good(&["db", "migrate"]).contains("2 steps applied"));
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
