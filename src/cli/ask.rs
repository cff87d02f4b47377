//! Questions to people, and secrets that must not be seen: never on the command line, where every process can read them.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _};

use clap::Args;

use super::failure::Failure;

/// Longest line that is read from standard input, in bytes.
const LINE_BYTES_MAX: u64 = 64 * 1024;

/// Whether to ask before something that cannot be undone.
#[derive(Debug, Args)]
pub(crate) struct Sure {
    /// Do not ask
    #[arg(long, short = 'y')]
    yes: bool,
}

impl Sure {
    /// Goes on only if the user means it. Where nobody can be asked, `--yes` must have been said.
    pub(crate) fn ask(&self, question: &str) -> Result<(), Failure> {
        if self.yes {
            return Ok(());
        }
        if !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
            return Err(Failure::Usage(format!("{question} Say so with --yes: there is nobody to ask")));
        }
        let mut stderr = io::stderr().lock();
        write!(stderr, "{question} [y/N] ")?;
        stderr.flush()?;
        match line()?.trim() {
            "y" | "Y" | "yes" => Ok(()),
            _ => Err(Failure::Failed("nothing was done".to_owned())),
        }
    }
}

/// Where a secret comes from.
#[derive(Debug, Args)]
pub(crate) struct SecretSource {
    /// Read the provider's key from standard input
    #[arg(long, conflicts_with = "api_key_env")]
    api_key_stdin: bool,
    /// Read the provider's key from this environment variable
    #[arg(long, value_name = "NAME")]
    api_key_env: Option<String>,
    /// The provider takes no key
    #[arg(long, conflicts_with_all = ["api_key_stdin", "api_key_env"])]
    no_api_key: bool,
}

impl SecretSource {
    /// The secret; asked for at a terminal where nothing else was said. `None`: there is none.
    pub(crate) fn read(&self, name: &str) -> Result<Option<String>, Failure> {
        let secret = if self.no_api_key {
            return Ok(None);
        } else if self.api_key_stdin {
            line()?
        } else if let Some(variable) = &self.api_key_env {
            std::env::var(variable).map_err(|_| Failure::Usage(format!("the variable {variable} is not set")))?
        } else if io::stdin().is_terminal() {
            rpassword::prompt_password(format!("Key of {name} (nothing if it takes none): "))?
        } else {
            return Ok(None);
        };
        let secret = secret.trim();
        if secret.is_empty() && (self.api_key_stdin || self.api_key_env.is_some()) {
            return Err(Failure::Usage("the key is empty".to_owned()));
        }
        Ok((!secret.is_empty()).then(|| secret.to_owned()))
    }
}

/// A line of standard input.
fn line() -> Result<String, Failure> {
    let mut text = String::new();
    io::stdin().lock().take(LINE_BYTES_MAX).read_line(&mut text)?;
    Ok(text)
}
