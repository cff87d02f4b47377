//! Completions for shells, and manual pages.

use std::{fs, io, path::Path};

use clap::CommandFactory as _;
use clap_complete::Shell;
use clap_mangen::Man;

use super::{args::Cli, failure::Failure};

/// Prints the script for a shell.
pub(crate) fn completions(shell: Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "flow-cli", &mut script);
    Ok(io::Write::write_all(&mut io::stdout().lock(), &script)?)
}

/// Prints the page of the program, or writes all pages into a folder.
pub(crate) fn man(dir: Option<&Path>) -> Result<(), Failure> {
    let Some(dir) = dir else {
        let mut page = Vec::new();
        Man::new(Cli::command()).render(&mut page)?;
        return Ok(io::Write::write_all(&mut io::stdout().lock(), &page)?);
    };
    let failed = |error: io::Error| Failure::Failed(format!("{}: {error}", dir.display()));
    fs::create_dir_all(dir).map_err(failed)?;
    let mut command = Cli::command();
    command.build();
    // `help` needs no page.
    clap_mangen::generate_to(command.disable_help_subcommand(true), dir).map_err(failed)
}
