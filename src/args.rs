//! The command line: one flag per row of the table of settings, and a few commands.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::settings::TABLE;

/// What the user wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Run the gateway.
    Serve,
    /// Validate the configuration.
    Check,
    /// Make a key for a caller.
    Key {
        /// What people call it.
        name: String,
    },
    /// Set a new password for managing.
    ResetPassword {
        /// Whether it comes from the standard input; otherwise it is made up.
        stdin: bool,
    },
    /// Print the table of settings as documentation.
    Settings,
}

/// The command line, understood but not yet checked against the table.
#[derive(Debug)]
pub struct Args {
    /// What to do.
    pub action: Action,
    /// Configuration file.
    pub config: Option<PathBuf>,
    /// Settings: row name and text.
    pub flags: Vec<(&'static str, String)>,
}

/// The parser. `clap` prints help and faults by itself.
pub fn command() -> Command {
    let mut command = Command::new("flow-router")
        .version(env!("CARGO_PKG_VERSION"))
        .about("A local AI gateway: any LLM dialect in, any provider out, streamed chunk by chunk.")
        .after_help(
            "Every setting can also be an environment variable (FLOW_ROUTER_ADDR) or a key in the file (addr = …);\n\
             flags win over the environment, the environment over the file.\n\
             Provider keys are taken from OPENAI_API_KEY, ANTHROPIC_API_KEY, GEMINI_API_KEY, OPENROUTER_API_KEY and others.",
        )
        .arg(
            Arg::new("config")
                .long("config")
                .value_name("FILE")
                .global(true)
                .help("Configuration file [default: config.toml in the data folder, if it is there]"),
        )
        .subcommand(Command::new("serve").about("Run the gateway (the default)"))
        .subcommand(Command::new("check").about("Validate the configuration and say where it is wrong"))
        .subcommand(
            Command::new("key")
                .about("Make a key for a caller; it is shown once, and only its digest is kept")
                .arg(Arg::new("name").required(true).value_name("NAME").help("What people call it")),
        )
        .subcommand(
            Command::new("auth")
                .about("Logins for managing")
                .subcommand_required(true)
                .arg_required_else_help(true)
                .subcommand(
                    Command::new("reset-password")
                        .about("Set a new password for managing, which is shown once; all who are logged in are logged out")
                        .arg(
                            Arg::new("stdin")
                                .long("stdin")
                                .action(ArgAction::SetTrue)
                                .help("Read the password from the standard input instead of making one"),
                        ),
                ),
        )
        .subcommand(Command::new("settings").about("Print all settings as a Markdown table"));
    for row in TABLE {
        let default = if row.default.is_empty() { String::new() } else { format!(" [default: {}]", row.default) };
        command = command.arg(
            Arg::new(row.name)
                .long(row.flag())
                .value_name(row.value)
                .global(true)
                .allow_hyphen_values(true)
                .help(format!("{}{default}", row.help)),
        );
    }
    command
}

/// Reads what clap has accepted.
pub fn understood(matches: &ArgMatches) -> Args {
    let action = match matches.subcommand() {
        Some(("check", _)) => Action::Check,
        Some(("key", sub)) => Action::Key { name: sub.get_one::<String>("name").cloned().unwrap_or_default() },
        Some(("auth", sub)) => match sub.subcommand() {
            Some((_, reset)) => Action::ResetPassword { stdin: reset.get_flag("stdin") },
            // clap asks for one.
            None => Action::Serve,
        },
        Some(("settings", _)) => Action::Settings,
        _ => Action::Serve,
    };
    let flags = TABLE
        .iter()
        .filter_map(|row| matches.get_one::<String>(row.name).map(|text| (row.name, text.clone())))
        .collect();
    Args { action, config: matches.get_one::<String>("config").map(PathBuf::from), flags }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_parser_is_sound_and_takes_flags_before_and_after_the_command() {
        command().debug_assert();
        let matches = command()
            .try_get_matches_from([
                "flow-router",
                "--addr",
                "127.0.0.1:1",
                "check",
                "--config",
                "c.toml",
                "--drain",
                "1s",
            ])
            .unwrap();
        let args = understood(&matches);
        assert_eq!(args.action, Action::Check);
        assert_eq!(args.config, Some("c.toml".into()));
        assert_eq!(args.flags, [("addr", "127.0.0.1:1".to_owned()), ("drain", "1s".to_owned())]);
    }
}
