//! The documentation against the program: every `curl` of it is run against the demo and compared with the output that
//! stands below it, every line of `flow-cli`, configuration and unit of systemd is checked, every link and every named file
//! must lead somewhere, and the tables of what is kept and dropped are compared with what the codecs do.
//!
//! In an expected output `…` stands for anything; line breaks do not count.

#![allow(clippy::unwrap_used)]

mod support;

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use codecs::{
    dialect::{ChatFlavour, Dialect, Target, UrlParts},
    hub::{ApiError, ErrorKind},
    json::Raw,
    translate::translate_request,
};
use support::peers;

const BIN: &str = env!("CARGO_BIN_EXE_flow-router");
/// The address in the documentation.
const ADDRESS: &str = "http://127.0.0.1:2402";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The program without what the developer's environment says.
fn program(data: &Path) -> Command {
    let mut command = Command::new(BIN);
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", data);
    command.arg("--data-dir").arg(data.join("data")).stdin(Stdio::null());
    command
}

/// A gateway with nothing but the demo.
struct Demo {
    child: Child,
    url: String,
    _data: tempfile::TempDir,
}

impl Demo {
    fn start() -> Self {
        let data = tempfile::tempdir().unwrap();
        let mut child = program(data.path())
            .args(["--addr", "127.0.0.1:0", "--log", "warn"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim().rsplit(' ').next().unwrap().to_owned();
        assert!(url.starts_with("http://127.0.0.1:"), "no ready line but {line:?}");
        Self { child, url, _data: data }
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// All Markdown files.
fn pages() -> Vec<PathBuf> {
    let mut pages: Vec<_> = ["README.md", "ARCHITECTURE.md", "CHANGELOG.md"].map(|name| root().join(name)).into();
    let mut folders = vec![root().join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.extension() {
                _ if path.is_dir() => folders.push(path),
                Some(extension) if extension == "md" => pages.push(path),
                _ => {}
            }
        }
    }
    pages.sort();
    assert!(pages.len() > 10, "{pages:?}");
    pages
}

/// A fenced block.
struct Block {
    language: String,
    text: String,
    /// Number of the line with the fence.
    line: usize,
    /// Whether nothing but blank lines stands between the block before and this one.
    adjacent: bool,
}

fn blocks(page: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let (mut open, mut adjacent) = (false, false);
    for (n, line) in page.lines().enumerate() {
        match line.strip_prefix("```") {
            Some(_) if open => (open, adjacent) = (false, true),
            Some(language) => {
                blocks.push(Block { language: language.into(), text: String::new(), line: n + 1, adjacent });
                open = true;
            }
            None if open => {
                let block = blocks.last_mut().unwrap();
                block.text.push_str(line);
                block.text.push('\n');
            }
            None => adjacent &= line.trim().is_empty(),
        }
    }
    assert!(!open, "a fence is not closed");
    blocks
}

/// Whether `text` is `pattern` with anything in the place of each `…`.
fn fits(pattern: &str, text: &str) -> Result<(), String> {
    let joined = |text: &str| text.replace(['\n', '\r'], "");
    let (pattern, text) = (joined(pattern), joined(text));
    let mut pieces = pattern.split('…').peekable();
    let mut rest = text.strip_prefix(pieces.next().unwrap_or_default()).ok_or("another beginning")?;
    while let Some(piece) = pieces.next() {
        if pieces.peek().is_none() {
            return if rest.ends_with(piece) { Ok(()) } else { Err(format!("does not end with {piece:?}")) };
        }
        let at = rest.find(piece).ok_or_else(|| format!("{piece:?} is not in {rest:?}"))?;
        rest = &rest[at + piece.len()..];
    }
    if rest.is_empty() { Ok(()) } else { Err(format!("{rest:?} is more than expected")) }
}

#[test]
fn patterns() {
    for (pattern, text, expected) in [
        ("a…c", "abbc", true),
        ("…b…", "abc", true),
        ("a…c", "abcd", false),
        ("ab\nc", "a\nbc", true),
        ("ab", "abc", false),
        ("x…", "abc", false),
    ] {
        assert_eq!(fits(pattern, text).is_ok(), expected, "{pattern} {text}");
    }
}

#[test]
fn every_curl_line_works_and_shows_what_the_page_shows() {
    if !peers::has("curl") {
        peers::say("SKIPPED: curl is not installed");
        return;
    }
    let mut run = 0;
    for page in pages() {
        let blocks = blocks(&fs::read_to_string(&page).unwrap());
        if !blocks.iter().any(|block| block.language == "bash" && block.text.contains("curl")) {
            continue;
        }
        // Each page has a program of its own: what one configures must not show on another.
        let demo = Demo::start();
        for (n, block) in blocks.iter().enumerate() {
            if block.language != "bash" || !block.text.contains("curl") {
                continue;
            }
            let place = format!("{}:{}", page.display(), block.line);
            let script = block.text.replace(ADDRESS, &demo.url);
            assert!(script.contains(&demo.url), "{place}: the block does not call {ADDRESS}");
            let output = Command::new("bash").args(["-euo", "pipefail", "-c", &script]).output().unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            assert!(output.status.success(), "{place}: {}\n{text}", output.status);
            assert!(!text.is_empty(), "{place}: no output");
            let expected =
                blocks.get(n + 1).filter(|next| next.adjacent && ["json", "text"].contains(&&*next.language));
            if let Some(expected) = expected
                && let Err(reason) = fits(&expected.text, &text)
            {
                panic!("{place}: the output differs: {reason}\n{text}");
            }
            run += 1;
        }
    }
    assert!(run >= 7, "only {run} blocks were run");
}

#[test]
fn every_configuration_is_valid() {
    let data = tempfile::tempdir().unwrap();
    let mut checked = 0;
    for page in pages() {
        for block in blocks(&fs::read_to_string(&page).unwrap()) {
            if block.language != "toml" || !(block.text.contains("[providers.") || block.text.contains("addr =")) {
                continue;
            }
            let file = data.path().join("config.toml");
            fs::write(&file, &block.text).unwrap();
            let keys = ["OPENAI", "WORK_OPENAI", "ANTHROPIC", "GEMINI"].map(|name| (format!("{name}_API_KEY"), "k"));
            let output = program(data.path())
                .envs(keys)
                .env("WORK_OPENAI_KEY", "k")
                .args(["check", "--config"])
                .arg(&file)
                .output()
                .unwrap();
            let faults = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{}:{}\n{faults}", page.display(), block.line);
            checked += 1;
        }
    }
    assert!(checked >= 2, "only {checked} configurations were checked");
}

/// Every command of `flow-cli` is one: its words are understood.
#[test]
fn every_command_of_flow_cli_is_one() {
    let home = tempfile::tempdir().unwrap();
    let mut seen = 0;
    for page in pages() {
        let blocks = blocks(&fs::read_to_string(&page).unwrap());
        for line in blocks.iter().flat_map(|block| block.text.lines()) {
            let line = line.strip_prefix("$ ").unwrap_or(line);
            let line = line.strip_prefix("sudo ").unwrap_or(line);
            let Some(rest) = line.strip_prefix("flow-cli ") else { continue };
            // Up to a comment, a pipe or what is the client's.
            let words = rest.split_whitespace().take_while(|word| !["#", "|", "<", ">", "--"].contains(word));
            let words = words.map(|word| word.trim_matches('"')).chain(["--help"]);
            let mut command = Command::new(env!("CARGO_BIN_EXE_flow-cli"));
            let output = command.env_clear().env("HOME", home.path()).args(words).output().unwrap();
            assert_eq!(output.status.code(), Some(0), "{}: {line}: {output:?}", page.display());
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(text.contains("Usage: flow-cli "), "{}: {line}: {text}", page.display());
            seen += 1;
        }
    }
    assert!(seen > 35, "only {seen} commands were found");
}

#[cfg(target_os = "linux")]
#[test]
fn systemd_understands_every_unit() {
    let dir = tempfile::tempdir().unwrap();
    let mut units = 0;
    for page in pages() {
        for block in blocks(&fs::read_to_string(&page).unwrap()) {
            if block.language != "ini" {
                continue;
            }
            // The program must be there for the check.
            let file = dir.path().join("flow-router.service");
            fs::write(&file, block.text.replace("/usr/local/bin/flow-router", BIN)).unwrap();
            match Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&file).output() {
                Err(_) => peers::say("SKIPPED: systemd-analyze is not installed"),
                Ok(output) => {
                    let said = String::from_utf8_lossy(&output.stderr);
                    assert!(output.status.success() && !said.contains("flow-router.service"), "{said}");
                }
            }
            units += 1;
        }
    }
    assert_eq!(units, 2);
}

/// A program that may be where only administrators look.
#[cfg(target_os = "linux")]
fn installed(name: &str) -> Option<Command> {
    let folders = ["/usr/local/sbin", "/usr/sbin", "/usr/local/bin", "/usr/bin"];
    folders.iter().map(|folder| Path::new(folder).join(name)).find(|path| path.exists()).map(Command::new)
}

#[cfg(target_os = "linux")]
#[test]
fn reverse_proxies_understand_their_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    let Some(mut openssl) = installed("openssl") else {
        peers::say("SKIPPED: openssl is not installed");
        return;
    };
    let made = openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]).args([
        "-subj",
        "/CN=llm.example.com",
        "-keyout",
        &at("llm.key"),
        "-out",
        &at("llm.pem"),
    ]);
    assert!(made.output().unwrap().status.success());
    let both = fs::read_to_string(at("llm.pem")).unwrap() + &fs::read_to_string(at("llm.key")).unwrap();
    fs::write(at("llm-with-key.pem"), both).unwrap();
    let page = fs::read_to_string(root().join("docs/reverse-proxy.md")).unwrap();
    let mut seen = 0;
    for block in blocks(&page) {
        let text = block.text.replace("/etc/ssl", &dir.path().display().to_string());
        let (name, text, args) = match block.language.as_str() {
            "nginx" => {
                let around = format!("pid {};\nevents {{}}\nhttp {{\naccess_log off;\n{text}}}\n", at("pid"));
                ("nginx", around, ["-e", "stderr", "-p", ".", "-t", "-c"].as_slice())
            }
            "haproxy" => ("haproxy", text, ["-c", "-f"].as_slice()),
            _ => continue,
        };
        seen += 1;
        fs::write(at(name), text).unwrap();
        let Some(mut program) = installed(name) else {
            peers::say(&format!("SKIPPED: {name} is not installed"));
            continue;
        };
        let output = program.current_dir(dir.path()).args(args).arg(at(name)).output().unwrap();
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(seen, 2);
}

#[test]
fn the_page_of_settings_is_the_programs_own() {
    let data = tempfile::tempdir().unwrap();
    let output = program(data.path()).arg("settings").output().unwrap();
    let own = String::from_utf8(output.stdout).unwrap();
    let page = fs::read_to_string(root().join("docs/settings.md")).unwrap();
    assert!(own == page, "docs/settings.md is out of date: cargo run -- settings > docs/settings.md");
}

/// The targets of the links of a page, without anchors.
fn links(page: &str) -> impl Iterator<Item = &str> {
    let targets = page.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets.map(|target| target.split('#').next().unwrap_or_default()).filter(|target| !target.is_empty())
}

#[test]
fn links_lead_somewhere() {
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for target in links(&text).filter(|target| !target.contains("://")) {
            assert!(page.parent().unwrap().join(target).exists(), "{}: {target} does not exist", page.display());
        }
    }
}

/// Every file is in the table of its crate, and every entry of a table is there.
#[test]
fn the_architecture_names_every_file() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let named: Vec<&str> = text
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|name| {
            ["src/", "certs/", "codecs/", "proxy/", "tests/", "benches/", "fuzz/"]
                .iter()
                .any(|top| name.starts_with(top))
        })
        .filter(|name| !name.contains(['*', ' ', '<']))
        .collect();
    for name in &named {
        assert!(root().join(name).exists(), "ARCHITECTURE.md names {name}, which does not exist");
    }
    let mut folders: Vec<_> = ["src", "certs/src", "codecs/src", "proxy/src"].map(|folder| root().join(folder)).into();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root()).unwrap().to_str().unwrap().replace('\\', "/");
            let covered = named.iter().any(|named| *named == name || *named == format!("{name}/"));
            if path.is_dir() && !covered {
                folders.push(path);
            } else if !path.is_dir() {
                let is_map = name.ends_with("/mod.rs") || name.contains("tests");
                assert!(covered || is_map, "ARCHITECTURE.md does not name {name}");
            }
        }
    }
}

/// The cells of the table below `heading`: the names of the columns, then the rows.
fn table<'p>(page: &'p str, heading: &str) -> Vec<Vec<&'p str>> {
    let (_, rest) = page.split_once(heading).unwrap();
    let lines = rest.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    let cells = |line: &'p str| line.trim_matches('|').split('|').map(str::trim).collect();
    lines.filter(|line| !line.starts_with("|---")).map(cells).collect()
}

/// Translates a Chat request of one message and more members for the provider of a column.
fn translated(column: &str, content: &str, members: &str) -> Result<(String, Vec<String>), ApiError> {
    let body = format!(r#"{{"model":"m","messages":[{{"role":"user","content":{content}}}]{members}}}"#);
    let to = Dialect::parse(column.split('`').nth(1).unwrap()).unwrap();
    let flavour = if column.contains("itself") { ChatFlavour::OpenAi } else { ChatFlavour::Compat };
    let target = Target { model: "m".into(), flavour, ..Target::default() };
    let raw = Raw::parse(body.as_bytes()).unwrap();
    let encoded = translate_request(Dialect::OpenAiChat, to, raw, &UrlParts::default(), &target)?;
    Ok((String::from_utf8(encoded.body).unwrap(), encoded.dropped))
}

#[test]
fn the_table_of_parameters_is_true() {
    const TOOLS: &str = r#","tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object"}}}]"#;
    let page = fs::read_to_string(root().join("docs/dialects/index.md")).unwrap();
    let rows = table(&page, "### Parameters");
    let (columns, rows) = rows.split_first().unwrap();
    assert!(rows.len() > 20);
    for row in rows {
        let name = row[0].trim_matches('`');
        let member = match name {
            "max_tokens" | "top_k" | "seed" => format!(",\"{name}\":9"),
            "top_logprobs" => ",\"logprobs\":true,\"top_logprobs\":9".into(),
            "n" => ",\"n\":2".into(),
            "temperature" | "top_p" | "presence_penalty" | "frequency_penalty" => format!(",\"{name}\":0.5"),
            "stop" => ",\"stop\":[\"x\"]".into(),
            "tools" => TOOLS.into(),
            "tool_choice" => format!("{TOOLS},\"tool_choice\":\"required\""),
            "parallel_tool_calls" => format!("{TOOLS},\"parallel_tool_calls\":false"),
            "response_format" => {
                let schema = r#"{"name":"x","schema":{"type":"object","properties":{}}}"#;
                format!(",\"response_format\":{{\"type\":\"json_schema\",\"json_schema\":{schema}}}")
            }
            "metadata" | "logit_bias" | "prediction" => format!(",\"{name}\":{{}}"),
            "logprobs" => ",\"logprobs\":true".into(),
            "service_tier" => ",\"service_tier\":\"auto\"".into(),
            _ => format!(",\"{name}\":\"low\""),
        };
        for (column, cell) in columns.iter().zip(row).skip(1) {
            let (body, dropped) = translated(column, "\"hi\"", &member).unwrap();
            let is_dropped = dropped.iter().any(|dropped| dropped == name);
            assert_eq!(*cell == "dropped", is_dropped, "{name} for {column}: {dropped:?}");
            let sent = is_dropped || body.contains(&format!("\"{}\":", cell.trim_matches('`')));
            assert!(sent, "{name} for {column} is not sent as {cell}: {body}");
        }
    }
}

#[test]
fn the_table_of_content_is_true() {
    let page = fs::read_to_string(root().join("docs/dialects/index.md")).unwrap();
    let rows = table(&page, "### Content of messages");
    let (columns, rows) = rows.split_first().unwrap();
    assert_eq!(rows.len(), 6);
    for row in rows {
        let part = match row[0] {
            "image, base64" => r#"{"type":"image_url","image_url":{"url":"data:image/png;base64,iVBORw0KGgo="}}"#,
            "image at an address" => r#"{"type":"image_url","image_url":{"url":"https://h.example/a.png"}}"#,
            "image at an address without a suffix" => {
                r#"{"type":"image_url","image_url":{"url":"https://h.example/a"}}"#
            }
            "PDF, base64" => {
                r#"{"type":"file","file":{"filename":"a.pdf","file_data":"data:application/pdf;base64,JVBERi0="}}"#
            }
            "sound, WAV" => r#"{"type":"input_audio","input_audio":{"data":"UklGRg==","format":"wav"}}"#,
            "uploaded file" => r#"{"type":"file","file":{"file_id":"file-abc"}}"#,
            other => panic!("the test does not know {other:?}"),
        };
        for (column, cell) in columns.iter().zip(row).skip(1) {
            let result = translated(column, &format!("[{part}]"), "");
            match *cell {
                "kept" => assert!(result.is_ok(), "{} for {column}: {result:?}", row[0]),
                "refused" => {
                    let kind = result.err().map(|error| error.kind);
                    assert_eq!(kind, Some(ErrorKind::UnsupportedContent), "{} for {column}", row[0]);
                }
                other => panic!("{other:?} is neither kept nor refused"),
            }
        }
    }
}
