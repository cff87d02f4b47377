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
    /// Print the hash of a password that comes from the standard input.
    HashPassword,
    /// Print the table of settings as documentation.
    Settings,
    /// Work on the database, or on the vault's keys.
    Database(DbAction),
    /// Interception.
    Mitm(MitmAction),
}

/// What is asked of interception.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MitmAction {
    /// Start it, and the program if it does not run.
    Start {
        /// Tools with their switches, as the setting says them.
        tools: Option<String>,
        /// How traffic gets here, as the setting says it.
        mode: Option<String>,
    },
    /// End it.
    Stop,
    /// How it is.
    Status {
        /// For programs.
        json: bool,
    },
    /// Put the machine back after a process that could not.
    Repair {
        /// Let sudo ask for a password where the administrator's rights are needed.
        sudo: bool,
    },
    /// Do for a program of the data folder's owner what only the administrator may do.
    Guard,
    /// Say what keeps it from working.
    Doctor {
        /// For programs.
        json: bool,
    },
    /// Make a new certificate authority beside the one in force, or put it in force.
    Rotate {
        /// Put the one that waits in force.
        activate: bool,
        /// Only take the rights of others from the files.
        fix_permissions: bool,
    },
}

/// Work on the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DbAction {
    /// Bring it to this program's version.
    Migrate {
        /// Only print the statements.
        dry_run: bool,
        /// Go on if the backup before cannot be made.
        without_backup: bool,
    },
    /// Read it wholly and say what is wrong.
    Check,
    /// Make a backup.
    Backup {
        /// Why.
        label: String,
    },
    /// List the backups.
    Backups,
    /// Read a backup wholly and say what is wrong.
    Verify {
        /// Which.
        name: String,
    },
    /// Put a backup in the database's place.
    Restore {
        /// Which.
        name: String,
    },
    /// Write it anew without holes.
    Vacuum,
    /// Take over what the Go program has kept.
    ImportLegacy {
        /// Only say what would be taken over.
        dry_run: bool,
        /// Its database, if not the one in the data folder.
        from: Option<PathBuf>,
    },
    /// Seal every secret with a new key.
    Rotate {
        /// Wipe the old keys, which older backups need.
        forget_old: bool,
    },
    /// Lay the keys bare in their file.
    Unwrap,
    /// Give up secrets whose key is lost.
    Forget,
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
                    Command::new("hash-password")
                        .about("Print the hash of a password from the standard input, for `password_hash` in a file"),
                )
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
        .subcommand(database())
        .subcommand(secrets())
        .subcommand(mitm())
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

fn database() -> Command {
    let name = Arg::new("name").required(true).value_name("NAME").help("Name of the backup, as `db backups` shows it");
    let dry_run = Arg::new("dry-run").long("dry-run").action(ArgAction::SetTrue);
    Command::new("db")
        .about("Work on the database: check, back up, restore, migrate")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            Command::new("migrate")
                .about("Bring the database to this program's version; a start does that too")
                .arg(dry_run.clone().help("Only print the statements"))
                .arg(
                    Arg::new("without-backup")
                        .long("without-backup")
                        .action(ArgAction::SetTrue)
                        .help("Go on if the backup before it cannot be made"),
                ),
        )
        .subcommand(Command::new("check").about("Read the whole database and say what is wrong"))
        .subcommand(
            Command::new("backup").about("Make a backup; the gateway may run").arg(
                Arg::new("label")
                    .long("label")
                    .value_name("LABEL")
                    .default_value("manual")
                    .help("1 to 32 of a-z, 0-9 and -; the oldest of each label are removed"),
            ),
        )
        .subcommand(Command::new("backups").about("List the backups"))
        .subcommand(Command::new("verify").about("Read a whole backup and say what is wrong").arg(name.clone()))
        .subcommand(
            Command::new("restore")
                .about("Put a backup in the database's place; what was there becomes a backup itself")
                .arg(name),
        )
        .subcommand(Command::new("vacuum").about("Write the database anew, without holes"))
        .subcommand(
            Command::new("import-legacy")
                .about("Take over providers, keys, combos, prices and sums of the Go program")
                .arg(dry_run.help("Only say what would be taken over"))
                .arg(
                    Arg::new("from")
                        .long("from")
                        .value_name("FILE")
                        .value_parser(clap::value_parser!(PathBuf))
                        .help("Its database [default: the one in the data folder]"),
                ),
        )
}

fn secrets() -> Command {
    Command::new("secrets")
        .about("Work on the key that seals secrets in the database")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            Command::new("rotate").about("Seal every secret with a new key").arg(
                Arg::new("forget-old")
                    .long("forget-old")
                    .action(ArgAction::SetTrue)
                    .help("Wipe the old keys: secrets of older backups cannot be opened any more"),
            ),
        )
        .subcommand(
            Command::new("unwrap")
                .about("Lay the keys bare in secret.key, guarded by its mode alone: the way to another guard"),
        )
        .subcommand(Command::new("forget").about("Give up all secrets of the database, because their key is lost"))
}

fn mitm() -> Command {
    let flag = |name: &'static str, help: &'static str| Arg::new(name).long(name).action(ArgAction::SetTrue).help(help);
    let json = || flag("json", "For programs");
    Command::new("mitm")
        .about("Interception of IDE traffic: docs/interception.md")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            Command::new("start")
                .about("Start it: in the program that runs, or in one that runs here")
                .arg(
                    Arg::new("tools")
                        .long("tools")
                        .value_name("TOOL[=intercept|observe|off],…")
                        .help("Tools: antigravity, copilot, cursor, kiro; kept as the setting mitm_tools"),
                )
                .arg(
                    Arg::new("mode")
                        .long("mode")
                        .value_name("hosts|proxy|reverse:HOST")
                        .help("How traffic gets here; kept as the setting mitm_mode"),
                ),
        )
        .subcommand(Command::new("stop").about("End it and put the machine back"))
        .subcommand(Command::new("status").about("Say how it is").arg(json()))
        .subcommand(
            Command::new("repair")
                .about("Put the machine back after a program that was killed; needs no program that runs")
                .arg(flag("sudo", "Let sudo ask for a password, if the administrator's rights are needed")),
        )
        .subcommand(Command::new("guard").about(
            "For the administrator: listen on the low port and change the hosts file for a program that may not, until Ctrl-C",
        ))
        .subcommand(
            Command::new("doctor")
                .about("Say what keeps it from working, who trusts the root, and what to run")
                .arg(json()),
        )
        .subcommand(
            Command::new("rotate")
                .about("Make a new certificate authority, which waits until it is trusted")
                .arg(flag("activate", "Put the one that waits in force"))
                .arg(flag("fix-permissions", "Only take the rights of other users from the files")),
        )
}

fn mitm_action(matches: &ArgMatches) -> Option<MitmAction> {
    let (command, sub) = matches.subcommand()?;
    let text = |name: &str| sub.get_one::<String>(name).cloned();
    Some(match command {
        "start" => MitmAction::Start { tools: text("tools"), mode: text("mode") },
        "stop" => MitmAction::Stop,
        "status" => MitmAction::Status { json: sub.get_flag("json") },
        "repair" => MitmAction::Repair { sudo: sub.get_flag("sudo") },
        "guard" => MitmAction::Guard,
        "doctor" => MitmAction::Doctor { json: sub.get_flag("json") },
        "rotate" => {
            MitmAction::Rotate { activate: sub.get_flag("activate"), fix_permissions: sub.get_flag("fix-permissions") }
        }
        _ => return None,
    })
}

fn db_action(matches: &ArgMatches) -> Option<DbAction> {
    let (command, sub) = matches.subcommand()?;
    let name = || sub.get_one::<String>("name").cloned().unwrap_or_default();
    Some(match command {
        "migrate" => {
            DbAction::Migrate { dry_run: sub.get_flag("dry-run"), without_backup: sub.get_flag("without-backup") }
        }
        "check" => DbAction::Check,
        "backup" => DbAction::Backup { label: sub.get_one::<String>("label").cloned().unwrap_or_default() },
        "backups" => DbAction::Backups,
        "verify" => DbAction::Verify { name: name() },
        "restore" => DbAction::Restore { name: name() },
        "vacuum" => DbAction::Vacuum,
        "import-legacy" => {
            DbAction::ImportLegacy { dry_run: sub.get_flag("dry-run"), from: sub.get_one::<PathBuf>("from").cloned() }
        }
        "rotate" => DbAction::Rotate { forget_old: sub.get_flag("forget-old") },
        "unwrap" => DbAction::Unwrap,
        "forget" => DbAction::Forget,
        _ => return None,
    })
}

/// Reads what clap has accepted.
pub fn understood(matches: &ArgMatches) -> Args {
    let action = match matches.subcommand() {
        Some(("check", _)) => Action::Check,
        Some(("key", sub)) => Action::Key { name: sub.get_one::<String>("name").cloned().unwrap_or_default() },
        Some(("auth", sub)) => match sub.subcommand() {
            Some(("hash-password", _)) => Action::HashPassword,
            Some((_, reset)) => Action::ResetPassword { stdin: reset.get_flag("stdin") },
            // clap asks for one.
            None => Action::Serve,
        },
        Some(("settings", _)) => Action::Settings,
        Some(("mitm", sub)) => mitm_action(sub).map_or(Action::Serve, Action::Mitm),
        Some(("db" | "secrets", sub)) => db_action(sub).map_or(Action::Serve, Action::Database),
        _ => Action::Serve,
    };
    let mut flags: Vec<_> = TABLE
        .iter()
        .filter_map(|row| matches.get_one::<String>(row.name).map(|text| (row.name, text.clone())))
        .collect();
    if let Action::Mitm(MitmAction::Start { tools, mode }) = &action {
        let short = [("mitm_tools", tools), ("mitm_mode", mode)];
        flags.extend(short.into_iter().filter_map(|(name, text)| Some((name, text.clone()?))));
    }
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
