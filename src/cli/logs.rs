//! `logs`: requests, the latest ones or as they come; with `--program` the lines that the router itself writes.
//!
//! Following is reading the feed of events. A feed that breaks off is taken up again behind the last event that was
//! seen; what was lost meanwhile is said.

use std::time::Duration;

use clap::Args;
use proxy::Method;
use serde_json::{Value, json};

use super::{
    cell::{Cell, plain},
    context::Context,
    failure::Failure,
    feed::{Event, Events},
    http::query,
    out::{Column, Form, clean},
};

/// How often a feed that broke off is asked for again, and for how long the first wait is; every further one is twice
/// as long.
const AGAIN: u32 = 5;
const FIRST_WAIT: Duration = Duration::from_millis(250);

#[derive(Debug, Args)]
pub(crate) struct Wanted {
    /// Go on, with every request that ends
    #[arg(long, short)]
    follow: bool,
    /// How many of the latest ones
    #[arg(long, short = 'n', value_name = "N", default_value_t = 50,
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    lines: u32,
    /// Only requests that this provider was asked
    #[arg(long)]
    provider: Option<String>,
    /// Only requests for this model
    #[arg(long)]
    model: Option<String>,
    /// Only requests with this key
    #[arg(long, value_name = "NAME")]
    key_name: Option<String>,
    /// Only requests that ended so: ok, error, or a status
    #[arg(long)]
    status: Option<String>,
    /// Other events when following: requests, providers, config, jobs, logs; several with commas
    #[arg(long, value_name = "TOPIC", value_delimiter = ',', requires = "follow",
          value_parser = ["requests", "providers", "config", "jobs", "logs"])]
    topics: Vec<String>,
    /// The router's own log instead of requests
    #[arg(long, conflicts_with_all = ["provider", "model", "key_name", "status", "topics"])]
    program: bool,
    /// With --program: only lines of this level and worse ones
    #[arg(long, requires = "program", value_parser = ["error", "warn", "info", "debug", "trace"])]
    level: Option<String>,
}

const REQUESTS: &[Column] = &[
    Column { title: "TIME", cell: time },
    Column { title: "STATUS", cell: |v| Cell::of(&v["status"]) },
    Column { title: "PROVIDER", cell: |v| Cell::of(&v["provider"]) },
    Column { title: "MODEL", cell: model },
    Column { title: "KEY", cell: |v| Cell::of(&v["key"]) },
    Column { title: "IN", cell: |v| Cell::count(&v["promptTokens"]) },
    Column { title: "OUT", cell: |v| Cell::count(&v["completionTokens"]) },
    Column { title: "COST", cell: |v| Cell::usd(&v["costUsd"]) },
    Column { title: "FIRST", cell: |v| Cell::ms(&v["ttftMs"]) },
    Column { title: "TOOK", cell: |v| Cell::ms(&v["latencyMs"]) },
    Column { title: "ERROR", cell: |v| Cell::of(&v["error"]) },
];
/// Widths of these columns when lines come one by one, without a table around them; the last one is as it is.
const WIDTHS: [usize; 10] = [19, 6, 14, 28, 12, 9, 9, 9, 8, 8];
const PROGRAM: &[Column] = &[
    Column { title: "TIME", cell: |v| Cell::time(&v["ts"]) },
    Column { title: "LEVEL", cell: |v| Cell::of(&v["level"]) },
    Column { title: "PART", cell: |v| Cell::of(&v["target"]) },
    Column { title: "MESSAGE", cell: message },
];
const OTHERS: &[Column] = &[
    Column { title: "TIME", cell: |v| Cell::time(&v["ts"]) },
    Column { title: "EVENT", cell: |v| Cell::of(&v["event"]) },
    Column { title: "FIELDS", cell: |v| Cell::of(&v["fields"]) },
];

fn time(request: &Value) -> Cell {
    Cell::time(if request["ts"].is_string() { &request["ts"] } else { &request["startedAt"] })
}

fn model(request: &Value) -> Cell {
    Cell::of(if request["model"].is_string() { &request["model"] } else { &request["modelRequested"] })
}

fn message(line: &Value) -> Cell {
    let fields = line["fields"].as_object().into_iter().flatten();
    let fields: String = fields.map(|(name, value)| format!(" {name}={}", plain(value))).collect();
    Cell::plain(format!("{}{fields}", plain(&line["message"])))
}

pub(crate) async fn run(context: &Context, wanted: Wanted) -> Result<(), Failure> {
    if wanted.follow {
        return follow(context, &wanted).await;
    }
    let most = usize::try_from(wanted.lines).unwrap_or(usize::MAX);
    let (path, columns) = if wanted.program {
        (format!("/api/logs{}", query(&[("level", wanted.level.as_deref())])), PROGRAM)
    } else {
        let filter = [
            ("provider", wanted.provider.as_deref()),
            ("model", wanted.model.as_deref()),
            ("key", wanted.key_name.as_deref()),
            ("status", wanted.status.as_deref()),
        ];
        (format!("/api/usage/history{}", query(&filter)), REQUESTS)
    };
    let mut entries = context.router.list_up_to(&path, most).await?;
    // The router says the newest first; in a terminal the newest is wanted where the eye is.
    entries.reverse();
    context.out.list(columns, &entries)
}

async fn follow(context: &Context, wanted: &Wanted) -> Result<(), Failure> {
    let (method, path, body) = source(wanted);
    let mut last: Option<String> = None;
    let mut failed = 0;
    loop {
        let began = context.router.listen(method.clone(), &path, body.as_ref(), last.as_deref()).await;
        match began {
            Ok(mut stream) => {
                let mut events = Events::default();
                while let Some(event) = events.next(&mut stream).await? {
                    failed = 0;
                    show(context, wanted, &event)?;
                    if event.id.is_some() {
                        last = event.id;
                    }
                }
                context.out.note("the feed broke off");
            }
            // Without a first connection there is nothing to take up again.
            Err(Failure::Unreachable(why)) if last.is_some() || failed > 0 => context.out.note(&why),
            Err(failure) => return Err(failure),
        }
        if failed == AGAIN {
            return Err(Failure::Unreachable(format!("{} gives no events any more", context.router.base)));
        }
        tokio::time::sleep(FIRST_WAIT * 2_u32.pow(failed)).await;
        failed += 1;
    }
}

fn source(wanted: &Wanted) -> (Method, String, Option<Value>) {
    if wanted.program {
        let query = query(&[("level", wanted.level.as_deref())]);
        return (Method::GET, format!("/api/logs/stream{query}"), None);
    }
    let topics = if wanted.topics.is_empty() { json!(["requests"]) } else { wanted.topics.clone().into() };
    let mut body = json!({ "topics": topics });
    // A POST, for tunnels hold the streams of a GET back.
    let filter = [
        ("provider", &wanted.provider),
        ("model", &wanted.model),
        ("key", &wanted.key_name),
        ("status", &wanted.status),
    ];
    for (name, value) in filter {
        if let Some(value) = value {
            body["filter"][name] = value.as_str().into();
        }
    }
    (Method::POST, "/api/events".to_owned(), Some(body))
}

fn show(context: &Context, wanted: &Wanted, event: &Event) -> Result<(), Failure> {
    let out = &context.out;
    match event.name.as_str() {
        "reset" => out.warn("events were lost: the router has forgotten them"),
        "lag" => out.warn(&format!("{} events were lost: they came too fast", plain(&event.data["dropped"]))),
        _ if out.form == Form::Json => {
            let line = json!({"event": event.name, "id": event.id, "data": event.data});
            return out.text(&format!("{line}\n"));
        }
        "request.end" => return out.text(&line(context, REQUESTS, &WIDTHS, &event.data)),
        "log" => return out.text(&line(context, PROGRAM, &[19, 5, 24], &event.data)),
        // The beginnings of requests are in their ends.
        name if !name.starts_with("request.") && !wanted.program => return out.text(&other(context, event)),
        _ => {}
    }
    Ok(())
}

fn line(context: &Context, columns: &[Column], widths: &[usize], entry: &Value) -> String {
    let cells = columns.iter().map(|column| (column.cell)(entry));
    let line = match context.out.form {
        Form::Table => cells
            .enumerate()
            .map(|(at, cell)| {
                let text = clean(&cell.shown);
                let width = widths.get(at).copied().unwrap_or_default();
                format!("{:width$}", if text.is_empty() && width > 0 { "-" } else { &text })
            })
            .collect::<Vec<_>>()
            .join(" "),
        Form::Tsv | Form::Json => cells.map(|cell| clean(&cell.raw)).collect::<Vec<_>>().join("\t"),
    };
    format!("{}\n", line.trim_end_matches(' '))
}

/// An event that is no request: its time, its name and what it says.
fn other(context: &Context, event: &Event) -> String {
    let fields = event.data.as_object().into_iter().flatten().filter(|(name, _)| *name != "ts");
    let fields: Vec<_> = fields.map(|(name, value)| format!("{name}={}", plain(value))).collect();
    let entry = json!({"ts": event.data["ts"], "event": event.name, "fields": fields.join(" ")});
    line(context, OTHERS, &[], &entry)
}
