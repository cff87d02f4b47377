//! The `flow-router` program.

use std::{
    fmt,
    io::{self, Write as _},
    process::ExitCode,
    sync::atomic::{AtomicBool, Ordering},
};

use flow_router::{
    app::App,
    args::{self, Action, Args, DbAction, MitmAction},
    boot::{self, Refused},
    database, intercept, live,
    mitm::system,
    recover::{self, Through},
    settings::{Fault, Merged, Settings, Sources, TABLE, fields::PROVIDER_KEYS, presets::PRESETS},
    telemetry,
};
use zeroize::Zeroizing;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Exit code for a wrong configuration, as `EX_CONFIG` of sysexits.h.
const EXIT_CONFIG: u8 = 78;

fn main() -> ExitCode {
    small_pages();
    let done = run();
    if UNSAID.load(Ordering::Relaxed) { ExitCode::FAILURE } else { done }
}

fn run() -> ExitCode {
    let mut args = args::understood(&args::command().get_matches());
    if args.action == Action::Settings {
        print_settings();
        return ExitCode::SUCCESS;
    }
    if args.action == Action::HashPassword {
        return hash_password();
    }
    let (sources, settings) = match (&args.action, boot::load(&args)) {
        (_, Ok(both)) => both,
        // The machine is put back whatever the configuration says.
        (Action::Mitm(MitmAction::Repair { .. }), Err(faults)) => {
            faults.iter().for_each(|fault| eprintln!("warning: {fault}"));
            (Sources::default(), bare(&args))
        }
        (Action::Mitm(MitmAction::Guard), Err(_)) => (Sources::default(), bare(&args)),
        // Making the first key is the way out of "no key exists".
        // A database may be repaired whatever the configuration says.
        (Action::Key { .. } | Action::Database(_), Err(_)) => boot::salvaged(&args),
        (_, Err(faults)) => return wrong(&faults),
    };
    match args.action.clone() {
        Action::Serve => serve(sources, &settings),
        Action::Check => {
            match boot::store_options(&sources, &settings).and_then(|store| live::look(&sources, &store)) {
                Ok(merged) => {
                    print_check(&merged);
                    ExitCode::SUCCESS
                }
                Err(faults) => wrong(&faults),
            }
        }
        Action::Key { name } => key(&settings, &name),
        Action::ResetPassword { stdin } => reset_password(&sources, &settings, stdin),
        Action::Database(action) => match database(&action, &sources, &settings) {
            Ok(said) => {
                say!("{said}");
                ExitCode::SUCCESS
            }
            Err(why) => {
                eprintln!("error: {why}");
                ExitCode::FAILURE
            }
        },
        Action::Mitm(action) => {
            if matches!(action, MitmAction::Start { .. }) && intercept::is_alone(&settings) {
                eprintln!("No router runs with this data folder: one runs here now, until Ctrl-C.");
                args.flags.push(("mitm", "true".to_owned()));
                args.action = Action::Serve;
                return match boot::load(&args) {
                    Ok((sources, settings)) => serve(sources, &settings),
                    Err(faults) => wrong(&faults),
                };
            }
            // A configuration that its user can write to must not choose which files the administrator changes.
            let folder = system::folder(&settings.data_dir);
            let unasked = action == MitmAction::Guard || system::is_for_another(&folder);
            mitm(&action, &if unasked { bare(&args) } else { settings })
        }
        Action::Settings | Action::HashPassword => ExitCode::SUCCESS,
    }
}

/// Settings from nothing but the command line, as far as the hosts file is concerned.
fn bare(args: &Args) -> Settings {
    let flags = args.flags.iter().filter(|(name, _)| *name == "mitm_hosts_file").cloned().collect();
    let told = Sources { flags, ..Sources::default() }.draft();
    Settings { data_dir: boot::salvaged(args).1.data_dir, ..told }
}

fn mitm(action: &MitmAction, settings: &Settings) -> ExitCode {
    match intercept::run(action, settings) {
        Ok(said) => {
            say!("{}", said.text);
            ExitCode::from(said.code)
        }
        Err(failure) => {
            eprintln!("error: {failure}");
            failure.commands.iter().for_each(|command| eprintln!("  run: {command}"));
            ExitCode::from(intercept::exit_code(&failure))
        }
    }
}

fn database(action: &DbAction, sources: &Sources, settings: &Settings) -> Result<String, String> {
    let options = boot::store_options(sources, settings);
    let options = options.map_err(|faults| faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))?;
    database::run(action, options)
}

/// A line on the standard output.
macro_rules! say {
    ($($text:tt)*) => { line(format_args!($($text)*)) };
}
use say;

/// Whether a line could not be printed.
static UNSAID: AtomicBool = AtomicBool::new(false);

/// See [`say`]. Who has seen enough, as `head` has, gets no more: that is no failure.
fn line(text: fmt::Arguments<'_>) {
    match writeln!(io::stdout().lock(), "{text}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            eprintln!("error: the standard output: {error}");
            UNSAID.store(true, Ordering::Relaxed);
        }
        _ => {}
    }
}

/// The allocator's arena is one large mapping. Where the system backs such mappings with huge pages unasked, a handful of
/// allocations in each of its segments costs 2 MiB: 8 MiB for an idle program that uses one. The allocator asks for none
/// (feature `no_thp`), for its first pages are there before this runs.
fn small_pages() {
    #[cfg(target_os = "linux")]
    // An old kernel that refuses only costs memory.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
}

fn wrong(faults: &[Fault]) -> ExitCode {
    for fault in faults {
        eprintln!("error: {fault}");
    }
    eprintln!("{} fault{} in the configuration", faults.len(), if faults.len() == 1 { "" } else { "s" });
    ExitCode::from(EXIT_CONFIG)
}

fn serve(sources: Sources, settings: &Settings) -> ExitCode {
    telemetry::log::init(settings);
    let error = match App::start(sources, settings).and_then(|app| app.run().map_err(Refused::System)) {
        Ok(None) => return ExitCode::SUCCESS,
        Ok(Some(again)) => match again.replace() {
            Err(error) => Refused::System(error),
        },
        Err(Refused::Faults(faults)) => return wrong(&faults),
        Err(error) => error,
    };
    eprintln!("error: {error}");
    if matches!(error, Refused::Store(_)) { ExitCode::from(EXIT_CONFIG) } else { ExitCode::FAILURE }
}

fn key(settings: &Settings, name: &str) -> ExitCode {
    match boot::make_key(&settings.data_dir, name) {
        Ok(key) => {
            say!("{key}");
            eprintln!(
                "This key is shown once; only its digest is kept. A running gateway lets it in after a SIGHUP or a restart."
            );
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A password from the first line of the standard input.
fn typed_password() -> Option<Zeroizing<String>> {
    // The line's end is no part of it; blanks are.
    io::stdin().lines().next().and_then(Result::ok).map(Zeroizing::new)
}

fn hash_password() -> ExitCode {
    let hashed = typed_password().ok_or_else(|| io::Error::other("there is no password")).and_then(recover::hash);
    match hashed {
        Ok(hash) => {
            say!("{hash}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn reset_password(sources: &Sources, settings: &Settings, stdin: bool) -> ExitCode {
    let given = if stdin { typed_password() } else { recover::random_password() };
    let Some(password) = given else {
        eprintln!("error: there is no password");
        return ExitCode::FAILURE;
    };
    match recover::reset_password(sources, settings, password.clone()) {
        Ok(through) => {
            if !stdin {
                say!("{}", password.as_str());
            }
            eprintln!(
                "{}",
                match through {
                    Through::Program => "The password is in force; who was logged in with the old one is logged out.",
                    Through::Store => "The password is in force when the program starts; nobody is logged in any more.",
                }
            );
            eprintln!("It is asked for where auth_mode is password (and, on this machine, require_login true).");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn print_check(merged: &Merged) {
    let settings = &merged.settings;
    say!("the configuration is valid");
    say!("  address    {}", settings.addr);
    say!("  data       {}", settings.data_dir.display());
    say!("  keys       {} ({})", settings.keys.len(), if settings.require_key { "required" } else { "optional" });
    for provider in &settings.providers {
        let key = if provider.api_key.is_some() { "with a key" } else { "without a key" };
        let models = if provider.models.is_empty() { "-".to_owned() } else { provider.models.join(", ") };
        say!(
            "  provider   {} ({}, {key}) at {}: {models} (from the {})",
            provider.name,
            provider.dialect.name(),
            provider.base_url,
            provider.source.name()
        );
    }
    for alias in &settings.aliases {
        say!("  alias      {} → {}", alias.name, alias.models.join(", "));
    }
    if settings.providers.is_empty() {
        say!("  provider   demo (embedded; answers while no other provider is configured)");
    }
    for note in &merged.notes {
        say!("  note       {note}");
    }
}

/// The page docs/settings.md: every setting, every key of a provider, every preset.
fn print_settings() {
    say!(
        "# Settings\n\nMade by `flow-router settings`; [configuration.md](configuration.md) explains.\n\n## Settings\n"
    );
    say!("| key | flag | variable | value | default | change | meaning |\n|---|---|---|---|---|---|---|");
    for row in TABLE {
        let (flag, variable, value) = (row.flag(), row.variable(), row.value.replace('|', "\\|"));
        let default = if row.default.is_empty() { String::new() } else { format!("`{}`", row.default) };
        let life = row.life.name();
        say!("| `{}` | `--{flag}` | `{variable}` | {value} | {default} | {life} | {} |", row.name, row.help);
    }
    say!("\n## Keys of `[providers.NAME]`\n\n| key | meaning |\n|---|---|");
    for field in PROVIDER_KEYS {
        say!("| `{}` | {} |", field.name, field.help);
    }
    say!("\n## Presets\n\n| preset | dialect | address | key from | plain model names |\n|---|---|---|---|---|");
    for preset in PRESETS {
        let code = |list: &[&str]| list.iter().map(|item| format!("`{item}`")).collect::<Vec<_>>().join(", ");
        let key = if preset.keyless { "no key needed".to_owned() } else { code(preset.env) };
        let (dialect, models) = (preset.dialect.name(), code(preset.models));
        say!("| `{}` | {dialect} | {} | {key} | {models} |", preset.id, preset.base_url);
    }
}
