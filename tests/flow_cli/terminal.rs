//! On a terminal: tables, colours, questions, the clipboard.

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    os::{fd::OwnedFd, unix::fs::PermissionsExt as _},
    process::Stdio,
};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::{
    cli::Cli,
    support::{Router, within},
};

/// What a terminal showed, and the exit code.
struct Shown {
    code: i32,
    text: String,
}

/// Runs it on a terminal of its own, on which `input` is typed.
async fn on_terminal(cli: &Cli, args: &[&str], input: &str) -> Shown {
    let main: OwnedFd = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&main).unwrap();
    unlockpt(&main).unwrap();
    let name = ptsname(&main, Vec::new()).unwrap().into_string().unwrap();
    let end = || File::options().read(true).write(true).open(&name).unwrap();
    let mut main = File::from(main);
    main.write_all(input.as_bytes()).unwrap();
    let mut command = cli.command(args);
    command.stdin(Stdio::from(end())).stdout(Stdio::from(end())).stderr(Stdio::from(end()));
    let mut child = command.spawn().unwrap();
    // The command holds its ends as well; the terminal is read to its end only when all of them are closed.
    drop(command);
    let reading = tokio::task::spawn_blocking(move || {
        let (mut text, mut bytes) = (Vec::new(), [0; 4096]);
        // A terminal without another end is an error to read from.
        while let Ok(n @ 1..) = main.read(&mut bytes) {
            text.extend_from_slice(&bytes[..n]);
        }
        String::from_utf8_lossy(&text).into_owned()
    });
    let status = within("flow-cli", child.wait()).await.unwrap();
    let text = within("the terminal's end", reading).await.unwrap();
    Shown { code: status.code().unwrap(), text: text.replace("\r\n", "\n") }
}

#[tokio::test]
async fn people_get_tables_and_colours() {
    let router = Router::start("[providers.lab]\npreset = \"ollama\"\nmodels = [\"q\"]\n");
    let cli = Cli::of(&router);
    let shown = on_terminal(&cli, &["providers"], "").await;
    assert_eq!(shown.code, 0);
    let lines: Vec<_> = shown.text.lines().collect();
    assert!(lines[0].starts_with("NAME  SERVICE  DIALECT"), "{lines:?}");
    assert!(lines[1].starts_with("lab   ollama   ollama"), "{lines:?}");
    assert!(on_terminal(&cli, &["status"], "").await.text.contains("\x1b[32mok\x1b[0m"));
    for plain in [cli.clone().env("NO_COLOR", "1"), cli.clone().env("TERM", "dumb")] {
        assert!(!on_terminal(&plain, &["status"], "").await.text.contains('\x1b'));
    }
    assert!(!on_terminal(&cli, &["status", "--no-color"], "").await.text.contains('\x1b'));
    assert!(on_terminal(&cli, &["status", "--json"], "").await.text.starts_with('{'));
}

#[tokio::test]
async fn people_are_asked_before_something_is_lost() {
    let router = Router::start("");
    let cli = Cli::of(&router);
    cli.run(&["keys", "new", "laptop"]).await.ok();
    let shown = on_terminal(&cli, &["keys", "revoke", "laptop"], "n\n").await;
    assert_eq!(shown.code, 1, "{}", shown.text);
    assert!(shown.text.contains("Revoke the key laptop?") && shown.text.contains("nothing was done"));
    assert_eq!(cli.json(&["keys"]).await[0]["status"], "active");
    assert_eq!(on_terminal(&cli, &["keys", "revoke", "laptop"], "y\n").await.code, 0);
    assert_eq!(cli.json(&["keys"]).await[0]["status"], "revoked");
}

#[tokio::test]
async fn a_new_key_is_copied_on_a_terminal_only() {
    let router = Router::start("");
    let bin = router.dir.path().join("bin");
    fs::create_dir(&bin).unwrap();
    // Its arguments and its input.
    fs::write(bin.join("xclip"), "#!/bin/sh\n{ echo \"$@\"; /bin/cat; } > \"$HOME/copied\"\n").unwrap();
    fs::set_permissions(bin.join("xclip"), fs::Permissions::from_mode(0o755)).unwrap();
    let copied = router.dir.path().join("copied");
    let cli = Cli::of(&router).env("PATH", bin.to_str().unwrap()).env("DISPLAY", ":0");

    cli.run(&["keys", "new", "a"]).await.ok();
    on_terminal(&cli, &["keys", "new", "b", "--no-clipboard"], "").await;
    on_terminal(&cli, &["keys", "new", "c", "--json"], "").await;
    assert!(!copied.exists());

    let shown = on_terminal(&cli, &["keys", "new", "d"], "").await;
    let key = shown.text.lines().next().unwrap();
    assert!(key.starts_with("flr_"), "{}", shown.text);
    assert!(shown.text.contains("it is in the clipboard"), "{}", shown.text);
    assert_eq!(fs::read_to_string(&copied).unwrap(), format!("-selection clipboard\n{key}"));

    // Over SSH the terminal is asked.
    fs::remove_file(&copied).unwrap();
    let remote = cli.clone().env("SSH_CONNECTION", "10.0.0.1 1 10.0.0.2 22");
    let shown = on_terminal(&remote, &["keys", "new", "e"], "").await;
    assert!(shown.text.contains("\x1b]52;c;ZmxyX"), "{:?}", shown.text);
    assert!(!copied.exists());
    // Without a display nobody is asked.
    let bare = Cli::of(&router).env("PATH", bin.to_str().unwrap());
    let shown = on_terminal(&bare, &["keys", "new", "f"], "").await;
    assert!(!shown.text.contains("clipboard") && !copied.exists(), "{}", shown.text);
}
