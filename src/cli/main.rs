//! The `flow-cli` program: a running router, managed from a terminal or a script.
//!
//! ```text
//!   args ─▶ one module per group of commands ─▶ http ─▶ the router's management API
//!                        └─▶ out: a table, tab-separated values, or JSON
//! ```
//!
//! It is a program of its own: nothing of the router is linked but its HTTP client, and the database least of all. It
//! changes nothing on this machine but the router's state, over the API.

mod aliases;
mod args;
mod ask;
mod backup;
mod cell;
mod clients;
mod clipboard;
mod combos;
mod complete;
mod context;
mod custom;
mod doctor;
mod failure;
mod feed;
mod http;
mod keys;
mod launch;
mod logs;
mod models;
mod out;
mod place;
mod pricing;
mod providers;
mod settings;
mod status;
mod usage;

use std::process::ExitCode;

use clap::Parser as _;

use crate::{
    args::{Cli, Command},
    context::Context,
    failure::Failure,
};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(run(cli)),
        Err(error) => Err(Failure::from(error)),
    };
    match done {
        Ok(code) => code,
        Err(failure) => {
            let message = failure.to_string();
            if !message.is_empty() {
                eprintln!("error: {}", out::clean(&message));
            }
            ExitCode::from(failure.code())
        }
    }
}

async fn run(cli: Cli) -> Result<ExitCode, Failure> {
    // These need no router, and no address that makes sense.
    match &cli.command {
        Command::Completions { shell } => return complete::completions(*shell).map(|()| ExitCode::SUCCESS),
        Command::Man { dir } => return complete::man(dir.as_deref()).map(|()| ExitCode::SUCCESS),
        _ => {}
    }
    let context = Context::new(&cli.global)?;
    let context = &context;
    match cli.command {
        Command::Status => status::run(context).await?,
        Command::Providers { action } => providers::run(context, action.unwrap_or_default()).await?,
        Command::Models(wanted) => models::run(context, wanted).await?,
        Command::CustomModels { action } => custom::run(context, action.unwrap_or_default()).await?,
        Command::Aliases { action } => aliases::run(context, action.unwrap_or_default()).await?,
        Command::Combos { action } => combos::run(context, action.unwrap_or_default()).await?,
        Command::Keys { action } => keys::run(context, action.unwrap_or_default()).await?,
        Command::Settings { action } => settings::run(context, action.unwrap_or_default()).await?,
        Command::Usage(wanted) => usage::run(context, wanted).await?,
        Command::Logs(wanted) => logs::run(context, wanted).await?,
        Command::Pricing { action } => pricing::run(context, action).await?,
        Command::Backup { action } => backup::run(context, action.unwrap_or_default()).await?,
        Command::Restart => status::restart(context).await?,
        Command::Doctor => doctor::run(context).await?,
        Command::Launch(launch) => return launch::run(context, launch).await,
        Command::Completions { .. } | Command::Man { .. } => {}
    }
    Ok(ExitCode::SUCCESS)
}
