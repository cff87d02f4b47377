//! Interception against the real program: what it does to the hosts file, what goes where, and that the machine is always
//! put back. The hosts file is each test's own, and so are the ports.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

mod support;
#[path = "mitm/world.rs"]
mod world;

use std::{fs, net::TcpListener, os::unix::process::CommandExt as _, process::Stdio};

use serde_json::{Value, json};
use support::{Router, Upstream, router, within};
use tokio::{io::AsyncWriteExt as _, net::TcpStream};
use world::{
    CURSOR, HOSTS, KIRO, Vendor, ask, ask_plainly, config, facts, listens, ok, place, refused, root, running, status,
};

/// Any call but a chat, with fields whose order and case a vendor might look at.
const SIGN_IN: &str = "POST /oauth/token?x=1 HTTP/1.1\r\nHost: q.us-east-1.amazonaws.com\r\nX-B: 1\r\nx-a: 2\r\nX-b: 3\r\n\
                       Content-Length: 4\r\nAuthorization: Bearer theirs\r\n\r\nbody";

#[tokio::test]
async fn names_lead_here_while_it_runs_and_nothing_is_left_when_it_has_stopped() {
    let vendor = Vendor::start().await;
    let dir = place();
    let before = facts(dir.path());
    let config = config(vendor.addr, dir.path(), "");
    let router = Router::start_in(dir, &config, &[]);
    let dir = router.dir.path();
    assert_eq!(status(dir).await["state"], "off");
    assert_eq!(facts(dir), before, "a program that runs changes nothing by itself");

    let said = ok(dir, &["start"]).await;
    assert!(said.starts_with("interception  running (hosts)") && said.contains("leads the names here"), "{said}");
    let now = status(dir).await;
    assert_eq!((&now["state"], &now["hostsWritten"]), (&json!("running"), &json!(true)));
    let written = fs::read(dir.join("hosts")).unwrap();
    assert!(written.starts_with(HOSTS));
    let block = String::from_utf8_lossy(&written[HOSTS.len()..]).into_owned();
    assert!(
        block.contains(&format!("\r\n127.0.0.1 {KIRO}\r\n")) || block.contains(&format!("\n127.0.0.1 {KIRO}\n")),
        "{block}"
    );
    assert!(!block.contains(CURSOR), "a tool that is off is left alone");
    assert!(fs::metadata(dir.join("data/mitm/journal.json")).is_ok());

    // Started twice is started once, and the file is not even written.
    let modified = fs::metadata(dir.join("hosts")).unwrap().modified().unwrap();
    ok(dir, &["start"]).await;
    assert_eq!(fs::metadata(dir.join("hosts")).unwrap().modified().unwrap(), modified);
    assert_eq!(status(dir).await["since"], now["since"]);

    // What is no chat reaches the vendor as it came, and comes back as it was.
    let at = listens(&now);
    let answer = ask(at, KIRO, &root(dir), SIGN_IN).await.unwrap();
    assert_eq!(answer, world::VENDOR_SAYS);
    assert_eq!(vendor.asked(), [SIGN_IN]);
    let seen = status(dir).await;
    assert_eq!((&seen["hosts"][0]["protocol"], &seen["hosts"][0]["passed"]), (&json!("http/1.1"), &json!(1)), "{seen}");

    let said = ok(dir, &["stop"]).await;
    assert!(said.contains("as it was"), "{said}");
    assert_eq!(facts(dir), before);
    assert!(fs::metadata(dir.join("data/mitm/journal.json")).is_err());
    assert!(TcpStream::connect(at).await.is_err(), "nobody listens any more");
    assert_eq!(status(dir).await["state"], "off");
    ok(dir, &["stop"]).await;
    // And again.
    ok(dir, &["start"]).await;
    ok(dir, &["stop"]).await;
    assert_eq!(facts(dir), before);
}

#[tokio::test]
async fn who_is_not_meant_is_not_served() {
    let vendor = Vendor::start().await;
    let dir = place();
    let config = config(vendor.addr, dir.path(), "");
    let (router, at) = running(dir, &config).await;
    let pem = root(router.dir.path());
    // The management of the program cannot be reached, under any name that one could give to it.
    let own = router.addr;
    for authority in [format!("127.0.0.1:{}", own.port()), "localhost".into(), CURSOR.into(), String::new()] {
        let asked = format!("GET /api/settings HTTP/1.1\r\nHost: {authority}\r\n\r\n");
        let answer = ask(at, KIRO, &pem, &asked).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 4"), "{authority}: {answer}");
        assert!(!answer.contains("data_dir") && !answer.contains("dataDir"), "{answer}");
    }
    let asked = format!("GET /api/settings HTTP/1.1\r\nHost: {KIRO}\r\n\r\n");
    assert_eq!(ask(at, KIRO, &pem, &asked).await.unwrap(), world::VENDOR_SAYS, "it is the vendor's path, not ours");
    assert_eq!(vendor.asked(), [asked]);
    let own = ask(at, "flow-router.localhost", &pem, "GET /api/settings HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert!(own.contains("\r\n\r\nflow-router "), "{own}");
    // Other names are refused, and so is what is no TLS.
    assert!(ask(at, "example.com", &pem, SIGN_IN).await.is_err());
    let plain = ask_plainly(at, "GET /api/health HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert!(plain.starts_with("HTTP/1.1 400"), "{plain}");
    // A tool that is off is tunnelled: its client sees the vendor's certificate, not ours.
    assert!(ask(at, CURSOR, &pem, SIGN_IN).await.is_err());
    let vendor_pem = router.dir.path().join("vendor.pem");
    assert_eq!(ask(at, CURSOR, &vendor_pem, SIGN_IN).await.unwrap(), world::VENDOR_SAYS);
}

#[tokio::test]
async fn clients_that_do_not_trust_us_get_the_vendor_after_two_refusals() {
    let vendor = Vendor::start().await;
    let dir = place();
    let config = config(vendor.addr, dir.path(), "");
    let (router, at) = running(dir, &config).await;
    let vendor_pem = router.dir.path().join("vendor.pem");
    for _ in 0..2 {
        assert!(ask(at, KIRO, &vendor_pem, SIGN_IN).await.is_err());
    }
    // The alert is on its way when the client has given up already: ask until it has arrived.
    let left_alone =
        within("being left alone", async { while status(router.dir.path()).await["hosts"][0]["leftAlone"] != true {} });
    left_alone.await;
    assert_eq!(ask(at, KIRO, &vendor_pem, SIGN_IN).await.unwrap(), world::VENDOR_SAYS);
    let said = ok(router.dir.path(), &["status"]).await;
    assert!(said.contains("refused our certificate (unknown_ca)"), "{said}");
}

/// A chat of Kiro, as small as can be.
fn chat(model: &str) -> String {
    let body = json!({"conversationState": {
        "conversationId": "c-1",
        "chatTriggerType": "MANUAL",
        "currentMessage": {"userInputMessage": {"content": "hello", "modelId": model, "origin": "AI_EDITOR"}},
        "history": [],
    }});
    let body = body.to_string();
    format!(
        "POST /generateAssistantResponse HTTP/1.1\r\nHost: {KIRO}\r\nContent-Type: application/json\r\n\
         Authorization: Bearer theirs\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[tokio::test]
async fn chats_of_an_alias_are_ours_and_all_others_are_the_vendors() {
    let vendor = Vendor::start().await;
    let dialect = codecs::dialect::Dialect::OpenAiChat;
    let stream = support::speech::stream(dialect).bytes();
    let upstream = Upstream::streams(dialect.stream_content_type(), vec![stream]).await;
    let dir = place();
    let lines = "mitm_aliases = \"kiro/auto=m, kiro/lost=nowhere/m\"";
    let provider = router::provider("up", dialect, &upstream).replace("\"*\"", "\"m\"");
    let config = config(vendor.addr, dir.path(), lines) + &provider;
    let (router, at) = running(dir, &config).await;
    let (dir, pem) = (router.dir.path(), root(router.dir.path()));

    let mut io = world::shake(TcpStream::connect(at).await.unwrap(), KIRO, &fs::read(&pem).unwrap()).await.unwrap();
    io.write_all(chat("auto").as_bytes()).await.unwrap();
    let answer = within("an answer", read_until(&mut io, b"metadataEvent")).await;
    assert!(
        answer.contains("application/vnd.amazon.eventstream") && answer.contains("assistantResponseEvent"),
        "{answer}"
    );
    assert_eq!(upstream.asked().len(), 1);
    assert!(vendor.asked().is_empty(), "the vendor hears nothing of it");
    let sent = format!("{:?}", upstream.asked()[0].head);
    assert!(!sent.contains("theirs"), "the tool's own credential goes to nobody else: {sent}");

    // No alias for this model, and one that leads nowhere: the vendor gets the call as it came.
    for model in ["claude", "lost"] {
        assert_eq!(ask(at, KIRO, &pem, &chat(model)).await.unwrap(), world::VENDOR_SAYS, "{model}");
        assert_eq!(vendor.asked().last(), Some(&chat(model)));
    }
    // A chat that nobody can read is the vendor's, too.
    let strange = chat("auto").replace("conversationState", "conversationStatE");
    assert_eq!(ask(at, KIRO, &pem, &strange).await.unwrap(), world::VENDOR_SAYS);
    assert_eq!(upstream.asked().len(), 1);
    let host = status(dir).await["hosts"][0].clone();
    assert_eq!((&host["chats"], &host["fellBack"], &host["passed"]), (&json!(1), &json!(1), &json!(3)));
}

/// Reads until some bytes are among what was read; the whole as text.
async fn read_until(io: &mut (impl tokio::io::AsyncRead + Unpin), wanted: &[u8]) -> String {
    use tokio::io::AsyncReadExt as _;
    let mut bytes = Vec::new();
    while !bytes.windows(wanted.len()).any(|part| part == wanted) {
        let read = io.read_buf(&mut bytes).await.unwrap();
        assert!(read > 0, "it ended: {}", String::from_utf8_lossy(&bytes));
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test]
async fn switches_change_while_it_runs() {
    let vendor = Vendor::start().await;
    let dir = place();
    let before = facts(dir.path());
    let config = config(vendor.addr, dir.path(), "").replace("mitm_tools = \"kiro\"\n", "");
    let router = Router::start_in(dir, &config, &[]);
    let dir = router.dir.path();
    let (code, said) = refused(dir, &["start"]).await;
    assert_eq!(code, Some(1));
    assert!(
        said.contains("no tool is switched on") && said.contains("run: flow-router mitm start --tools kiro"),
        "{said}"
    );
    ok(dir, &["start", "--tools", "kiro=observe"]).await;
    let block = || String::from_utf8_lossy(&fs::read(dir.join("hosts")).unwrap()).into_owned();
    assert!(block().contains(KIRO) && !block().contains(CURSOR));
    ok(dir, &["start", "--tools", "cursor"]).await;
    assert!(!block().contains(KIRO) && block().contains(CURSOR));
    assert_eq!(status(dir).await["tools"]["cursor"], "intercept");
    ok(dir, &["stop"]).await;
    assert_eq!(facts(dir), before);
}

#[tokio::test]
async fn the_end_of_the_program_puts_the_machine_back() {
    let vendor = Vendor::start().await;
    let dir = place();
    let before = facts(dir.path());
    let config = config(vendor.addr, dir.path(), "mitm = true");
    let mut router = Router::start_in(dir, &config, &[]);
    within("the start", async { while status(router.dir.path()).await["state"] != "running" {} }).await;
    assert_ne!(facts(router.dir.path()), before);
    router.terminate();
    assert!(router.ended().await.success());
    assert_eq!(facts(router.dir.path()), before);
    assert!(ok(router.dir.path(), &["status"]).await.starts_with("interception  off"));
}

#[tokio::test]
async fn a_program_that_was_killed_is_cleaned_up_after() {
    let vendor = Vendor::start().await;
    let dir = place();
    let before = facts(dir.path());
    let config = config(vendor.addr, dir.path(), "");
    let (mut router, _) = running(dir, &config).await;
    let during = facts(router.dir.path());
    let (code, said) = refused(router.dir.path(), &["repair"]).await;
    assert_eq!(code, Some(69));
    assert!(said.contains(&format!("process {} intercepts at 127.0.0.1:", router.pid())), "{said}");
    router.kill();
    assert_eq!(facts(router.dir.path()), during);
    let said = ok(router.dir.path(), &["status"]).await;
    assert!(said.contains("left_behind") && said.contains("flow-router mitm repair"), "{said}");
    let doctor: Value = {
        let output = world::mitm(router.dir.path(), &["doctor", "--json"]);
        assert_eq!(output.status.code(), Some(1));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let bad: Vec<_> = doctor["checks"].as_array().unwrap().iter().filter(|check| check["state"] == "bad").collect();
    assert_eq!(bad.len(), 2, "journal and hosts: {doctor}");
    // A configuration that is wrong elsewhere is no reason to leave it so.
    fs::write(router.dir.path().join("test.toml"), "no_such_key = 1\n").unwrap();
    assert!(ok(router.dir.path(), &["repair"]).await.contains("is as it was"));
    assert_eq!(facts(router.dir.path()), before);
    assert!(ok(router.dir.path(), &["repair"]).await.contains("nothing to put back"));

    // And by the next start, before anything else.
    fs::write(router.dir.path().join("test.toml"), &config).unwrap();
    router.start_again();
    ok(router.dir.path(), &["start"]).await;
    router.kill();
    assert_ne!(facts(router.dir.path()), before);
    router.start_again();
    assert_eq!(facts(router.dir.path()), before, "interception is not on in this configuration");
}

/// Kills the program at the `at`th change of files in its folders during a start and a stop; false if there were fewer.
async fn killed_at(at: usize, config: &str, dir: tempfile::TempDir) -> (bool, tempfile::TempDir) {
    use rustix::fs::inotify;
    let before = facts(dir.path());
    let mut router = Router::start_in(dir, config, &[]);
    let path = router.dir.path().to_owned();
    let watch = inotify::init(inotify::CreateFlags::CLOEXEC).unwrap();
    let events = inotify::WatchFlags::CREATE
        | inotify::WatchFlags::MOVED_TO
        | inotify::WatchFlags::MODIFY
        | inotify::WatchFlags::ATTRIB
        | inotify::WatchFlags::DELETE;
    for folder in [path.clone(), path.join("data/mitm")] {
        inotify::add_watch(&watch, folder, events).unwrap();
    }
    let changing = {
        let path = path.clone();
        tokio::task::spawn_blocking(move || {
            // They fail where the program is killed under them.
            drop(world::mitm(&path, &["start"]));
            drop(world::mitm(&path, &["stop"]));
        })
    };
    let (reached, counted) = tokio::sync::oneshot::channel();
    // A thread of its own, which nobody waits for: where there are fewer changes it waits for ever.
    std::thread::spawn(move || {
        let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&watch, &mut buffer);
        let mut seen = 0;
        while seen < at {
            let event = reader.next().unwrap();
            // The log is written all the time.
            seen += usize::from(event.file_name().is_none_or(|name| name.to_bytes() != b"log"));
        }
        reached.send(())
    });
    let mut changing = changing;
    let killed = tokio::select! {
        _ = counted => true,
        _ = &mut changing => false,
    };
    router.kill();
    if killed {
        drop(changing.await);
    }
    let done = world::mitm(&path, &["repair"]);
    assert!(done.status.success(), "killed at {at}: {}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(facts(&path), before, "killed at change {at}");
    let left: Vec<_> = fs::read_dir(path.join("data/mitm")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    let journal = left.iter().any(|name| name.to_string_lossy().starts_with("journal"));
    assert!(!journal, "killed at {at}: {left:?}");
    // And the next one can intercept.
    router.start_again();
    let started = world::mitm(&path, &["start"]);
    assert!(started.status.success(), "killed at {at}: {}", String::from_utf8_lossy(&started.stderr));
    let stopped = world::mitm(&path, &["stop"]);
    assert!(stopped.status.success(), "killed at {at}: {}", String::from_utf8_lossy(&stopped.stderr));
    assert_eq!(facts(&path), before, "after a kill at change {at}");
    router.kill();
    let emptied = tempfile::tempdir().unwrap();
    let dir = std::mem::replace(&mut router.dir, emptied);
    (killed, dir)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_change_the_machine_can_be_put_back() {
    let vendor = Vendor::start().await;
    let mut dir = place();
    let config = config(vendor.addr, dir.path(), "");
    let mut kills = 0;
    for at in 1..=60 {
        let killed;
        (killed, dir) = killed_at(at, &config, dir).await;
        kills += usize::from(killed);
        if !killed {
            break;
        }
    }
    assert!(kills >= 20, "only {kills} places to be killed at");
}

#[tokio::test]
async fn what_cannot_be_changed_is_said_and_nothing_is_left() {
    let vendor = Vendor::start().await;
    let dir = place();
    let text = config(vendor.addr, dir.path(), "");
    // A port that is taken, by whom.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let before = facts(dir.path());
    let router = Router::start_in(dir, &text, &["--mitm-addr", &format!("127.0.0.1:{port}")]);
    let (code, said) = refused(router.dir.path(), &["start"]).await;
    assert_eq!(code, Some(69));
    let owner = format!("process {}) listens on 127.0.0.1:{port}", std::process::id());
    assert!(said.contains(&owner) && said.contains("--mitm-addr"), "{said}");
    assert_eq!(facts(router.dir.path()), before);
    let now = status(router.dir.path()).await;
    assert_eq!((&now["state"], &now["failure"]["code"]), (&json!("failed"), &json!("port_in_use")));
    drop(router);

    // A line of the user that leads one of the names elsewhere.
    let dir = place();
    let text = config(vendor.addr, dir.path(), "");
    fs::write(dir.path().join("hosts"), format!("10.0.0.1 {KIRO}\n")).unwrap();
    let router = Router::start_in(dir, &text, &[]);
    let before = facts(router.dir.path());
    let (_, said) = refused(router.dir.path(), &["start"]).await;
    assert!(said.contains(&format!("line 1 of the hosts file sends {KIRO} to 10.0.0.1: remove it first")), "{said}");
    assert_eq!(facts(router.dir.path()), before);
    assert!(!router.dir.path().join("data/mitm/journal.json").exists());
    let now = status(router.dir.path()).await;
    assert_eq!((&now["state"], &now["listen"]), (&json!("failed"), &json!([])));
    drop(router);

    // Addresses beyond this machine are refused when the settings are read.
    let dir = place();
    let output = router::run(dir.path(), &["--mitm-addr", "0.0.0.0:443", "check"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && said.contains("not a loopback address"), "{said}");
}

#[tokio::test]
async fn what_could_not_be_ended_is_put_back_before_it_begins_again() {
    let vendor = Vendor::start().await;
    let dir = place();
    let before = facts(dir.path());
    let config = config(vendor.addr, dir.path(), "");
    let (router, _) = running(dir, &config).await;
    let (dir, hosts) = (router.dir.path(), router.dir.path().join("hosts"));
    // Too large to be edited.
    let written = fs::read(&hosts).unwrap();
    fs::write(&hosts, vec![b'\n'; (1 << 20) + 1]).unwrap();
    for command in ["stop", "start"] {
        let (_, said) = refused(dir, &[command]).await;
        assert!(said.contains("larger than 1 MiB"), "{command}: {said}");
        assert_eq!(status(dir).await["state"], "stuck", "after {command}");
    }
    fs::write(&hosts, written).unwrap();
    ok(dir, &["start"]).await;
    let now = status(dir).await;
    assert_eq!((&now["state"], &now["failure"]), (&json!("running"), &json!(null)), "{now}");
    ok(dir, &["stop"]).await;
    assert_eq!(facts(dir), before);
}

/// User and group of nobody, who may change nothing of root's.
const NOBODY: u32 = 65_534;

#[tokio::test]
async fn a_hosts_file_of_the_administrators_is_not_touched_and_the_command_is_named() {
    use std::os::unix::fs::{MetadataExt as _, chown};
    let dir = place();
    let vendor = Vendor::start().await;
    let text = config(vendor.addr, dir.path(), "");
    // A folder of the administrator's, in which nobody else may make files.
    let etc = tempfile::tempdir().unwrap();
    let hosts = etc.path().join("hosts");
    fs::write(&hosts, HOSTS).unwrap();
    if fs::metadata(&hosts).unwrap().uid() != 0 {
        println!("skipped: only root can be somebody else");
        return;
    }
    fs::set_permissions(etc.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    for entry in walk(dir.path()) {
        chown(entry, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    // The program itself may lie where nobody may look.
    let program = dir.path().join("flow-router");
    fs::copy(env!("CARGO_BIN_EXE_flow-router"), &program).unwrap();
    let run = |args: &[&str]| {
        let mut command = std::process::Command::new(&program);
        command.env_clear().env("HOME", dir.path()).stdin(Stdio::null()).uid(NOBODY).gid(NOBODY);
        command.args(["--config"]).arg(dir.path().join("test.toml")).args(args);
        command.arg("--data-dir").arg(dir.path().join("data")).arg("--mitm-hosts-file").arg(&hosts);
        command
    };
    fs::write(dir.path().join("test.toml"), &text).unwrap();
    let log = fs::File::create(dir.path().join("log")).unwrap();
    let mut serve = run(&["--addr", "127.0.0.1:0", "--mitm-addr", "127.0.0.1:0"]);
    let mut child = serve.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().unwrap()), &mut line).unwrap();
    assert!(line.contains("listening on"), "{}", fs::read_to_string(dir.path().join("log")).unwrap());
    let output = run(&["mitm", "start"]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(77), "{said}");
    assert!(said.contains("needs the administrator's rights") && said.contains("run: sudo "), "{said}");
    assert_eq!(fs::read(&hosts).unwrap(), HOSTS);
    assert_eq!(fs::read_dir(etc.path()).unwrap().count(), 1);

    // The administrator runs exactly that, and leaves it running.
    let line = said.lines().find_map(|line| line.trim().strip_prefix("run: sudo ")).unwrap();
    let mut guard =
        std::process::Command::new("sh").arg("-c").arg(format!("exec {line}")).stderr(Stdio::piped()).spawn().unwrap();
    let mut told = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(guard.stderr.as_mut().unwrap()), &mut told).unwrap();
    assert!(told.contains("The guard waits"), "{told}");
    let output = run(&["mitm", "start"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(fs::read_to_string(&hosts).is_err() && fs::read(&hosts).unwrap().len() > HOSTS.len());
    assert_eq!(fs::metadata(&hosts).unwrap().uid(), 0);
    // The program is killed: its guard puts the machine back by itself.
    child.kill().unwrap();
    child.wait().unwrap();
    within("the guard", async { while fs::read(&hosts).unwrap() != HOSTS {} }).await;
    assert!(std::process::Command::new("kill").arg(guard.id().to_string()).status().unwrap().success());
    assert!(guard.wait().unwrap().success());
    assert_eq!(fs::read(&hosts).unwrap(), HOSTS);
    assert!(!dir.path().join("data/mitm/guard.sock").exists());

    // A block that only the administrator can take out.
    let block = format!("# flow_router MITM begin\n127.0.0.1 {KIRO}\n# flow_router MITM end\n");
    fs::write(&hosts, &block).unwrap();
    let output = run(&["mitm", "repair"]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(77), "{said}");
    let line = said.lines().find_map(|line| line.trim().strip_prefix("run: sudo ")).unwrap().to_owned();
    assert_eq!(fs::read(&hosts).unwrap(), block.as_bytes());
    // The administrator runs exactly that; what it makes in the user's folder stays the user's.
    let done = std::process::Command::new("sh").arg("-c").arg(&line).output().unwrap();
    assert!(done.status.success(), "{line}: {}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(fs::read(&hosts).unwrap(), b"");
    for entry in walk(&dir.path().join("data/mitm")) {
        assert_eq!(fs::metadata(&entry).unwrap().uid(), NOBODY, "{}", entry.display());
    }
}

/// A folder and everything in it.
fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = vec![folder.to_owned()];
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.extend(walk(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found
}

#[tokio::test]
async fn as_a_proxy_it_changes_nothing_of_the_system() {
    let vendor = Vendor::start().await;
    let dir = place();
    let before = facts(dir.path());
    let config = config(vendor.addr, dir.path(), "mitm_mode = \"proxy\"");
    let (router, at) = running(dir, &config).await;
    assert_eq!(facts(router.dir.path()), before);
    let pem = fs::read(root(router.dir.path())).unwrap();
    // Decrypted, tunnelled, and nobody's: each reaches the vendor.
    for (name, pem) in [(KIRO, &pem[..]), (CURSOR, world::vendor_root()), ("other.example", world::vendor_root())] {
        let mut io = TcpStream::connect(at).await.unwrap();
        let port = vendor.addr.port();
        io.write_all(format!("CONNECT {name}:{port} HTTP/1.1\r\nHost: {name}:{port}\r\n\r\n").as_bytes())
            .await
            .unwrap();
        let granted = within("a tunnel", read_until(&mut io, b"\r\n\r\n")).await;
        assert!(granted.starts_with("HTTP/1.1 200"), "{granted}");
        let mut io = world::shake(io, name, pem).await.unwrap();
        let request = format!("GET /hello HTTP/1.1\r\nHost: {name}\r\n\r\n");
        io.write_all(request.as_bytes()).await.unwrap();
        let answer = within("an answer", read_until(&mut io, b"vendor")).await;
        assert_eq!(answer, world::VENDOR_SAYS, "{name}");
        assert_eq!(vendor.asked().last(), Some(&request));
    }
    // The program's own port cannot be reached through it.
    let own = router.addr;
    let said = ask_plainly(at, &format!("CONNECT {own} HTTP/1.1\r\nHost: {own}\r\n\r\n")).await;
    assert!(!said.starts_with("HTTP/1.1 200"), "{said}");
    let said = ask_plainly(at, &format!("GET http://{own}/api/settings HTTP/1.1\r\nHost: {own}\r\n\r\n")).await;
    assert!(!said.starts_with("HTTP/1.1 200"), "{said}");
    ok(router.dir.path(), &["stop"]).await;
    assert_eq!(facts(router.dir.path()), before);
}

#[tokio::test]
async fn as_the_service_itself_it_needs_no_certificate() {
    let vendor = Vendor::start().await;
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("hosts"), HOSTS).unwrap();
    let before = facts(dir.path());
    let config = config(vendor.addr, dir.path(), &format!("mitm_mode = \"reverse:{KIRO}\""));
    let (router, at) = running(dir, &config).await;
    let answer = ask_plainly(at, &SIGN_IN.replace(KIRO, &at.to_string())).await;
    assert_eq!(answer, world::VENDOR_SAYS);
    assert_eq!(vendor.asked(), [SIGN_IN], "the vendor is asked under its own name");
    assert_eq!(facts(router.dir.path()), before);
    assert!(!root(router.dir.path()).exists(), "nothing was made that nobody needs");
}

/// Programs of the script; without one of them it is skipped.
const PROGRAMS: [&str; 5] = ["unshare", "ip", "curl", "openssl", "getent"];

#[test]
fn on_a_machine_of_its_own_with_the_systems_hosts_file() {
    use std::os::unix::fs::MetadataExt as _;
    let path = std::env::var("PATH").unwrap();
    let is_there = |name: &str| std::env::split_paths(&path).any(|folder| folder.join(name).is_file());
    let dir = place();
    let root = fs::metadata(dir.path()).unwrap().uid() == 0;
    if let Some(missing) = PROGRAMS.into_iter().find(|name| !is_there(name)).or((!root).then_some("root")) {
        println!("skipped: {missing} is not there");
        return;
    }
    let text = config("127.0.0.9:443".parse().unwrap(), dir.path(), "");
    fs::write(dir.path().join("test.toml"), text.replace("=127.0.0.1", "=127.0.0.9")).unwrap();
    world::lend_vendor(dir.path());
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/mitm/namespaces.sh");
    let output = std::process::Command::new("timeout")
        .args(["100", "unshare"])
        .args(["--net", "--mount", "sh", script, env!("CARGO_BIN_EXE_flow-router")])
        .arg(dir.path())
        .arg(KIRO)
        .env_clear()
        .env("PATH", path)
        .env("HOME", dir.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    if said.contains("unshare failed") {
        println!("skipped: this machine lets nobody have namespaces");
        return;
    }
    let log = fs::read_to_string(dir.path().join("log")).unwrap_or_default();
    assert!(output.status.success(), "{said}\n{}\n{log}", String::from_utf8_lossy(&output.stdout));
    assert!(output.stdout.ends_with(b"all is as it was\n"));
}

#[tokio::test]
async fn without_a_program_a_start_is_one() {
    let vendor = Vendor::start().await;
    let dir = place();
    let before = facts(dir.path());
    fs::write(dir.path().join("test.toml"), config(vendor.addr, dir.path(), "")).unwrap();
    let log = fs::File::create(dir.path().join("log")).unwrap();
    let mut command = router::command(dir.path());
    command.args(["--config", "test.toml", "--addr", "127.0.0.1:0", "mitm", "start"]).current_dir(dir.path());
    let mut child = command.stdout(Stdio::null()).stderr(log).spawn().unwrap();
    // While it is about to start, nobody can be asked.
    let runs = || {
        let output = world::mitm(dir.path(), &["status", "--json"]);
        serde_json::from_slice(&output.stdout).is_ok_and(|status: Value| status["state"] == "running")
    };
    within("the start", async {
        while !runs() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_ne!(facts(dir.path()), before);
    let log = fs::read_to_string(dir.path().join("log")).unwrap();
    assert!(log.starts_with("No router runs with this data folder: one runs here now"), "{log}");
    assert!(std::process::Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
    assert!(child.wait().unwrap().success());
    assert_eq!(facts(dir.path()), before);
}

#[tokio::test]
async fn the_doctor_names_stores_and_commands() {
    let vendor = Vendor::start().await;
    let dir = place();
    let config = config(vendor.addr, dir.path(), "");
    let (router, _) = running(dir, &config).await;
    let text = ok(router.dir.path(), &["doctor"]).await;
    for wanted in ["ok   process", "ok   hosts", "Who trusts the root", "NODE_EXTRA_CA_CERTS", "rootCA.pem", "to add: "]
    {
        assert!(text.contains(wanted), "{wanted}: {text}");
    }
    let document: Value = serde_json::from_str(&ok(router.dir.path(), &["doctor", "--json"]).await).unwrap();
    assert_eq!(document["ok"], true);
    let node = document["trust"].as_array().unwrap().iter().find(|store| store["id"] == "node").unwrap();
    assert_eq!(node["state"], "not_trusted");
    assert!(node["add"][0].as_str().unwrap().starts_with("export NODE_EXTRA_CA_CERTS="), "{node}");
}

#[tokio::test]
async fn a_new_authority_waits_until_it_is_put_in_force() {
    let vendor = Vendor::start().await;
    let dir = place();
    let old = fs::read(root(dir.path())).unwrap();
    let config = config(vendor.addr, dir.path(), "mitm_ca_days = 30");
    let router = Router::start_in(dir, &config, &[]);
    let dir = router.dir.path();
    let said = ok(dir, &["rotate"]).await;
    assert!(said.contains("ca.next") && said.contains("rotate --activate"), "{said}");
    assert_eq!(fs::read(root(dir)).unwrap(), old);
    ok(dir, &["start"]).await;
    let (code, said) = refused(dir, &["rotate", "--activate"]).await;
    assert_eq!(code, Some(69));
    assert!(said.contains("flow-router mitm stop"), "{said}");
    ok(dir, &["stop"]).await;
    ok(dir, &["rotate", "--activate"]).await;
    assert_ne!(fs::read(root(dir)).unwrap(), old);
    ok(dir, &["start"]).await;
    let at = listens(&status(dir).await);
    assert_eq!(ask(at, KIRO, &root(dir), SIGN_IN).await.unwrap(), world::VENDOR_SAYS);
    // A client that trusts the old root only sees a stranger.
    let stale = dir.join("old.pem");
    fs::write(&stale, old).unwrap();
    assert!(ask(at, KIRO, &stale, SIGN_IN).await.is_err());
}
