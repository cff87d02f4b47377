//! Who may know whom: the walls of ARCHITECTURE.md, checked on the sources and manifests.
#![allow(clippy::unwrap_used)]

use std::{
    fs,
    path::{Path, PathBuf},
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All Rust files below a folder of the project, with their text.
fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path.strip_prefix(root()).unwrap().to_owned(), text));
            }
        }
    }
    assert!(!found.is_empty(), "{folder} holds no sources");
    found
}

/// Lines of code: without comments, and without the tests at a file's end.
fn code(text: &str) -> impl Iterator<Item = &str> {
    let end = text.find("\n#[cfg(test)]\nmod tests").unwrap_or(text.len());
    text[..end].lines().map(|line| line.split("//").next().unwrap_or_default())
}

/// Modules that exist in tests only.
fn is_test(path: &Path) -> bool {
    path.iter().any(|part| matches!(part.to_str(), Some("tests" | "tests.rs" | "testing.rs" | "mutants.rs")))
}

fn manifest(folder: &str) -> toml::Table {
    fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap().parse().unwrap()
}

fn dependencies(folder: &str) -> Vec<String> {
    let manifest = manifest(folder);
    manifest["dependencies"].as_table().unwrap().keys().cloned().collect()
}

#[test]
fn crates_know_only_what_they_may() {
    let has = |folder: &str, words: &[&str]| -> Vec<String> {
        let found = dependencies(folder).into_iter();
        found.filter(|name| words.iter().any(|word| name == word || name.starts_with(&format!("{word}-")))).collect()
    };
    let sockets = ["tokio", "http", "h2", "hyper", "rustls", "socket2", "flow-router-proxy", "tracing"];
    assert_eq!(has("codecs", &sockets), [""; 0], "codecs are bytes in, bytes out");
    assert_eq!(
        has("proxy", &["flow-router-codecs", "serde_json", "simd-json"]),
        [""; 0],
        "proxy moves, it does not read"
    );
    let company = ["tokio", "tokio-rustls", "flow-router-proxy", "flow-router-codecs", "tracing", "socket2"];
    assert_eq!(has("certs", &company), [""; 0], "certs holds keys, it awaits nothing and knows nobody");
    for folder in ["", "certs", "codecs", "proxy"] {
        assert_eq!(has(folder, &["hyper", "axum", "reqwest", "anyhow", "openssl", "ring"]), [""; 0], "{folder}");
        assert_eq!(manifest(folder)["lints"]["workspace"].as_bool(), Some(true), "{folder} has the workspace's lints");
    }
    let lints = &manifest("")["workspace"]["lints"];
    assert_eq!(lints["rust"]["unsafe_code"].as_str(), Some("forbid"));
    assert_eq!(lints["clippy"]["unwrap_used"].as_str(), Some("deny"));
}

#[test]
fn codecs_have_no_clock_and_no_sockets() {
    for (path, text) in sources("codecs/src") {
        if is_test(&path) {
            continue;
        }
        for line in code(&text) {
            for word in ["Instant::now", "SystemTime::now", "std::net", "std::fs", "std::env", "async fn", "thread::"] {
                assert!(!line.contains(word), "{}: {word}", path.display());
            }
        }
    }
}

#[test]
fn certs_have_no_sockets_and_name_no_host() {
    for (path, text) in sources("certs/src") {
        if is_test(&path) {
            continue;
        }
        for line in code(&text) {
            for word in ["std::net", "async fn", "googleapis", "amazonaws", "cursor.sh", "githubcopilot"] {
                assert!(!line.contains(word), "{}: {word}", path.display());
            }
        }
    }
}

#[test]
fn the_proxy_names_no_vendor_and_no_dialect() {
    for (path, text) in sources("proxy/src") {
        for line in code(&text) {
            let line = line.to_lowercase();
            for word in ["anthropic", "openai", "gemini", "ollama", "openrouter", "codecs::"] {
                assert!(!line.contains(word), "{}: {word}", path.display());
            }
        }
    }
}

/// The modules of `src` from the ground up. A module uses those below it; telemetry may be used from anywhere.
const FLOORS: [&[&str]; 14] = [
    &["again", "files", "peer_user"],
    &["store"],
    &["settings", "runtime"],
    &["args", "health", "usage", "telemetry"],
    &["vendor"],
    &["route"],
    &["gateway"],
    &["live"],
    &["mitm"],
    &["api"],
    &["front"],
    &["boot", "running"],
    &["app", "database", "intercept", "recover"],
    &["main", "lib"],
];

fn floor(module: &str) -> usize {
    FLOORS
        .iter()
        .position(|modules| modules.contains(&module))
        .unwrap_or_else(|| panic!("the module `{module}` has no floor yet: give it one in tests/layers.rs"))
}

/// Names right behind `crate::`, also in lists: `crate::{health::Health, route::{…}}`.
fn used(text: &str) -> Vec<String> {
    let joined: String = code(text).flat_map(|line| [line, "\n"]).collect();
    let mut modules = Vec::new();
    for (at, found) in joined.match_indices("crate::") {
        let rest = &joined[at + found.len()..];
        if !rest.starts_with('{') {
            modules.push(word(rest));
            continue;
        }
        let mut depth = 0;
        let mut start = true;
        for (at, c) in rest.char_indices() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' => start = true,
                c if start && depth == 1 && c.is_alphabetic() => {
                    modules.push(word(&rest[at..]));
                    start = false;
                }
                _ => {}
            }
            if depth == 0 {
                break;
            }
        }
    }
    modules
}

fn word(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

#[test]
fn uses_are_found_in_lists_too() {
    let text = "use crate::{\n    health::{Cooldown, Scope},\n    route::Catalog,\n};\nfn f() { crate::boot::lock(); } // crate::no\n";
    assert_eq!(used(text), ["health", "route", "boot"]);
}

#[test]
fn modules_use_floors_below_their_own() {
    for (path, text) in sources("src") {
        let below_src: Vec<_> = path.iter().skip(1).map(|part| part.to_string_lossy().into_owned()).collect();
        let module = below_src[0].trim_end_matches(".rs").to_owned();
        // A program of its own: what it calls `crate` is itself.
        if module == "cli" {
            continue;
        }
        for other in used(&text) {
            let allowed = other == module || other == "telemetry" || floor(&other) < floor(&module);
            assert!(allowed, "{} uses {other}, which is not below it", path.display());
        }
    }
}

#[test]
fn the_command_line_program_knows_nothing_of_the_router_but_its_client() {
    for (path, text) in sources("src/cli") {
        for line in code(&text) {
            for word in ["flow_router::", "codecs::", "hyper", "reqwest"] {
                assert!(!line.contains(word), "{}: {word}", path.display());
            }
        }
    }
}

#[test]
fn only_the_store_speaks_sql() {
    for (path, text) in sources("src") {
        let inside = path.starts_with("src/store");
        assert!(inside || code(&text).all(|line| !line.contains("rusqlite")), "{}", path.display());
    }
}

#[test]
fn every_dialect_has_its_three_parts() {
    let dialects = root().join("codecs/src/dialect");
    let mut found = Vec::new();
    for entry in fs::read_dir(&dialects).unwrap() {
        let path = entry.unwrap().path();
        if !path.is_dir() {
            continue;
        }
        for part in ["request", "reply", "stream"] {
            let there = path.join(format!("{part}.rs")).is_file() || path.join(part).join("mod.rs").is_file();
            assert!(there, "{} has no {part}", path.display());
        }
        found.push(path.file_name().unwrap().to_string_lossy().into_owned());
    }
    found.sort();
    // Those of one program alone have the same parts, but each of them in one direction: no provider speaks them, so that
    // they are members of the enum for clients only and no configuration can name them.
    let private = codecs::dialect::ClientDialect::PRIVATE.map(|dialect| dialect.name().to_owned());
    let mut names: Vec<_> = codecs::dialect::Dialect::ALL.map(|dialect| dialect.name().to_owned()).into();
    names.extend(private);
    names.sort();
    assert_eq!(found, names);
}

/// Longest file; tests and vectors apart, 600 is the aim.
const LINES_MAX: usize = 1_000;

#[test]
fn files_are_short_and_safe() {
    let own = Path::new("tests/layers.rs");
    for folder in ["src", "certs", "codecs", "proxy", "tests", "benches"] {
        for (path, text) in sources(folder) {
            let lines = text.lines().count();
            assert!(lines <= LINES_MAX, "{} has {lines} lines: split it by noun", path.display());
            for word in ["unsafe {", "unsafe fn", "unsafe impl", "#[ignore]", "todo!(", "unimplemented!("] {
                assert!(path == own || !text.contains(word), "{}: {word}", path.display());
            }
        }
    }
}
