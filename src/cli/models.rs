//! `models`: what clients may ask for.

use clap::Args;

use super::{cell::Cell, context::Context, failure::Failure, http::query, out::Column};

#[derive(Debug, Args)]
pub(crate) struct Wanted {
    /// Only models with this text in their name
    filter: Option<String>,
}

const LIST: &[Column] = &[
    Column { title: "MODEL", cell: |v| Cell::of(&v["id"]) },
    Column { title: "KIND", cell: |v| Cell::of(&v["kind"]) },
    Column { title: "PROVIDERS", cell: |v| Cell::of(&v["connections"]) },
    Column { title: "USD/M IN", cell: |v| Cell::usd(&v["price"]["input"]) },
    Column { title: "USD/M OUT", cell: |v| Cell::usd(&v["price"]["output"]) },
    Column { title: "CONTEXT", cell: |v| Cell::count(&v["contextWindow"]) },
];

pub(crate) async fn run(context: &Context, wanted: Wanted) -> Result<(), Failure> {
    let query = query(&[("q", wanted.filter.as_deref())]);
    context.out.list(LIST, &context.router.list(&format!("/api/models{query}")).await?)
}
