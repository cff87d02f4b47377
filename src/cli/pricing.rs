//! `pricing`: what a model costs, and prices that the user brings.

use std::{
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use clap::Subcommand;
use proxy::Method;
use serde_json::Value;

use super::{cell::Cell, context::Context, failure::Failure, http::query};

/// Longest price list that is read, in bytes: the API takes no longer one.
const LIST_BYTES_MAX: u64 = 16 << 20;

#[derive(Debug, Subcommand)]
pub(crate) enum Action {
    /// Say what a model costs, and where that price comes from
    Lookup {
        /// The model's name
        model: String,
        /// The service that it is asked from
        #[arg(long)]
        provider: Option<String>,
    },
    /// Take prices from a file in the form of LiteLLM's price list
    Import {
        /// The file; - is standard input
        file: PathBuf,
    },
}

pub(crate) async fn run(context: &Context, action: Action) -> Result<(), Failure> {
    match action {
        Action::Lookup { model, provider } => {
            let query = query(&[("provider", provider.as_deref()), ("model", Some(&model))]);
            let price = context.router.get(&format!("/api/pricing/lookup{query}")).await?;
            let usd = &price["price"]["usdPerMillion"];
            let lines = [
                ("model", Cell::of(&price["model"])),
                ("input", per_million(&usd["input"])),
                ("output", per_million(&usd["output"])),
                ("from", Cell::of(&price["source"])),
                ("found as", Cell::of(&price["matched"])),
                ("context", Cell::count(&price["price"]["contextWindow"])),
                ("longest answer", Cell::count(&price["price"]["maxOutput"])),
            ];
            context.out.thing(&lines, &price)?;
            if price["priced"] == true {
                Ok(())
            } else {
                Err(Failure::NotFound(format!("nobody knows a price of {model}")))
            }
        }
        Action::Import { file } => {
            let list = read(&file)?;
            let done = context.router.send(Method::POST, "/api/pricing/import", Some(&list)).await?;
            let (count, skipped) = (&done["imported"], &done["skipped"]);
            context.out.done(&format!("imported {count} prices, skipped {skipped} entries without one"), &done)
        }
    }
}

/// US dollars per million tokens.
fn per_million(value: &Value) -> Cell {
    let cell = Cell::usd(value);
    let shown = if cell.shown.is_empty() { String::new() } else { format!("{} per million tokens", cell.shown) };
    Cell::both(shown, cell.raw)
}

fn read(file: &Path) -> Result<Value, Failure> {
    let failed = |error: io::Error| Failure::Failed(format!("{}: {error}", file.display()));
    let mut bytes = Vec::new();
    if file == Path::new("-") {
        io::stdin().lock().take(LIST_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    } else {
        fs::File::open(file).map_err(failed)?.take(LIST_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    }
    if bytes.len() as u64 > LIST_BYTES_MAX {
        return Err(Failure::Failed(format!("{}: longer than {LIST_BYTES_MAX} bytes", file.display())));
    }
    serde_json::from_slice(&bytes).map_err(|error| Failure::Failed(format!("{}: {error}", file.display())))
}
