//! `models`: what clients may ask for.

use clap::Args;
use serde_json::Value;

use super::{cell::Cell, context::Context, failure::Failure, http::query, out::Column};

#[derive(Debug, Args)]
pub(crate) struct Wanted {
    /// Only models with this text in their name
    filter: Option<String>,
}

const LIST: &[Column] = &[
    Column { title: "MODEL", cell: |v| Cell::of(&v["id"]) },
    Column { title: "PROVIDERS", cell: |v| Cell::of(&v["connections"]) },
    Column { title: "KIND", cell: |v| kind(v) },
];

/// What a name stands for.
fn kind(model: &Value) -> Cell {
    let is = |member: &str| !matches!(&model[member], Value::Null | Value::Bool(false));
    let word = match () {
        () if is("combo") => "combo",
        () if is("alias") => "alias",
        () => "model",
    };
    Cell::plain(if model["disabled"] == true { format!("{word}, disabled") } else { word.to_owned() })
}

pub(crate) async fn run(context: &Context, wanted: Wanted) -> Result<(), Failure> {
    let query = query(&[("q", wanted.filter.as_deref())]);
    context.out.list(LIST, &context.router.list(&format!("/api/models{query}")).await?)
}
