//! The command line.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

use super::{aliases, backup, combos, custom, keys, launch, logs, models, pricing, providers, settings, usage};

/// Manages a running Flow Router.
#[derive(Debug, Parser)]
#[command(
    name = "flow-cli",
    version,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    after_help = "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 router unreachable, 4 not allowed, 5 not found.\n\
                  At a terminal values come as tables, in a pipe as tab-separated lines, with --json as JSON."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Common options")]
pub(crate) struct Global {
    /// The router's address [env: FLOW_ROUTER_URL] [default: http://127.0.0.1:2402]
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) url: Option<String>,
    /// A key with the scope admin; the environment keeps it out of process lists [env: FLOW_ROUTER_KEY] [default: the
    /// token that a router on this machine leaves in its data folder]
    #[arg(long, global = true, value_name = "KEY")]
    pub(crate) key: Option<String>,
    /// The data folder of a router on this machine [env: FLOW_ROUTER_DATA_DIR] [default: ~/.flow_router]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Print what the router says, as JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Print only names and values, and no notes
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
    /// Print without colours [env: NO_COLOR]
    #[arg(long, global = true)]
    pub(crate) no_color: bool,
    /// How long the router may take, such as 10s or 500ms
    #[arg(long, global = true, value_name = "DURATION", default_value = "60s", value_parser = duration)]
    pub(crate) timeout: Duration,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Say how the router is: version, health, providers, what was spent today
    Status,
    /// Services that answer requests: list, presets, add, test, enable, disable, remove, models
    #[command(visible_alias = "provider")]
    Providers {
        #[command(subcommand)]
        action: Option<providers::Action>,
    },
    /// List the models that clients may ask for
    Models(models::Wanted),
    /// Models that you describe: list, add, rm
    #[command(visible_alias = "custom-model")]
    CustomModels {
        #[command(subcommand)]
        action: Option<custom::Action>,
    },
    /// Names that stand for models: list, new, rm
    #[command(visible_alias = "alias")]
    Aliases {
        #[command(subcommand)]
        action: Option<aliases::Action>,
    },
    /// Lists of models to fall back on: list, new, rm
    #[command(visible_alias = "combo")]
    Combos {
        #[command(subcommand)]
        action: Option<combos::Action>,
    },
    /// Keys for callers: list, new, revoke, rotate, remove
    #[command(visible_alias = "key")]
    Keys {
        #[command(subcommand)]
        action: Option<keys::Action>,
    },
    /// Settings: list, get, set
    Settings {
        #[command(subcommand)]
        action: Option<settings::Action>,
    },
    /// Say what was used, and what it cost
    Usage(usage::Wanted),
    /// Show requests, the latest ones or as they come
    Logs(logs::Wanted),
    /// Prices of models: lookup, import
    Pricing {
        #[command(subcommand)]
        action: pricing::Action,
    },
    /// Backups of the router's database: list, create, verify, restore
    #[command(visible_alias = "backups")]
    Backup {
        #[command(subcommand)]
        action: Option<backup::Action>,
    },
    /// End the router in order and start it again, in the same process
    Restart,
    /// Look for what commonly goes wrong, on this machine and in the router
    Doctor,
    /// Start a client that uses the router; nothing is written to its files
    Launch(launch::Launch),
    /// Print a script that completes commands in a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page
    Man {
        /// Write it into this folder instead, with a page for every command
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
}

/// A duration with a unit; a bare number means seconds.
fn duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim() {
        "ms" => 1,
        "" | "s" => 1_000,
        "m" => 60_000,
        _ => return Err("use a number with ms, s or m, such as 500ms or 10s".to_owned()),
    };
    let ms = number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor)).filter(|ms| *ms > 0);
    ms.map(Duration::from_millis).ok_or_else(|| "use a number above zero, such as 10s".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_parser_is_sound() {
        Cli::command().debug_assert();
    }

    /// Every command, with those below it, by its words.
    fn all(command: &clap::Command, before: &str) -> Vec<(String, clap::Command)> {
        let mut found = Vec::new();
        for inner in command.get_subcommands().filter(|inner| inner.get_name() != "help") {
            let words = format!("{before}{} ", inner.get_name());
            found.push((words.trim_end().to_owned(), inner.clone()));
            found.extend(all(inner, &words));
        }
        found
    }

    #[test]
    fn the_overview_names_every_command_and_help_says_what_each_thing_is() {
        let commands = all(&Cli::command(), "");
        assert!(commands.len() > 40, "{}", commands.len());
        for (words, command) in &commands {
            let about = command.get_about().map(ToString::to_string).unwrap_or_default();
            assert!(!about.is_empty(), "`{words}` does not say what it does");
            let named: Vec<_> = about.split([':', ',', ' ']).collect();
            for inner in command.get_subcommands().filter(|inner| inner.get_name() != "help") {
                assert!(named.contains(&inner.get_name()), "`{words}` does not name `{}`: {about}", inner.get_name());
            }
            for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
                assert!(argument.get_help().is_some(), "`{words}` does not explain `{}`", argument.get_id());
            }
        }
        // What takes an entry away has the same two names everywhere.
        for (words, command) in
            commands.iter().filter(|(words, _)| words.ends_with(" rm") || words.ends_with(" remove"))
        {
            let names: Vec<_> = std::iter::once(command.get_name()).chain(command.get_visible_aliases()).collect();
            assert!(names.contains(&"rm") && names.contains(&"remove"), "{words}: {names:?}");
        }
    }

    #[test]
    fn durations_have_units() {
        for (text, ms) in [("10s", 10_000), ("500ms", 500), ("2 m", 120_000), ("3", 3_000)] {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "s", "0", "-1s", "1h", "99999999999999999999m", "18446744073709551615m"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
