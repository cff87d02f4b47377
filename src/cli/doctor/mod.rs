//! `doctor`: looks for what commonly goes wrong, and says what to do about it. It changes nothing.
//!
//! ```text
//!   router   does it answer, is it one, is it of our version, what does its store say, whose clock is right
//!   local    the data folder and its key file, proxies in the environment
//!   clients  files and variables that send clients elsewhere
//! ```

mod clients;
mod local;
mod router;

use serde_json::{Value, json};

use super::{
    cell::Cell,
    context::Context,
    failure::Failure,
    out::{Column, Form},
};

/// How a check went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Grade {
    /// As it should be.
    Ok,
    /// Worth knowing.
    Note,
    /// May go wrong.
    Warn,
    /// Is wrong.
    Bad,
}

impl Grade {
    fn word(self) -> &'static str {
        match self {
            Grade::Ok => "ok",
            Grade::Note => "note",
            Grade::Warn => "warning",
            Grade::Bad => "wrong",
        }
    }

    fn color(self) -> u8 {
        match self {
            Grade::Ok => 32,
            Grade::Note => 36,
            Grade::Warn => 33,
            Grade::Bad => 31,
        }
    }
}

/// What a check found.
#[derive(Debug)]
struct Finding {
    grade: Grade,
    /// What was looked at.
    what: &'static str,
    /// What it is like, and what to do.
    detail: String,
}

impl Finding {
    fn new(grade: Grade, what: &'static str, detail: impl Into<String>) -> Self {
        Self { grade, what, detail: detail.into() }
    }
}

const COLUMNS: &[Column] = &[
    Column { title: "", cell: |v| Cell::of(&v["grade"]) },
    Column { title: "", cell: |v| Cell::of(&v["what"]) },
    Column { title: "", cell: |v| Cell::of(&v["detail"]) },
];

/// Makes all checks. Fails if anything is wrong; warnings are no failure.
pub(crate) async fn run(context: &Context) -> Result<(), Failure> {
    let mut findings = router::look(context).await;
    if context.router.loopback {
        findings.extend(local::data_folder(&context.data_dir));
    }
    findings.extend(local::proxies(&context.router));
    findings.extend(clients::look(&context.router));

    let rows: Vec<Value> = findings.iter().map(row).collect();
    match context.out.form {
        Form::Table => {
            for finding in &findings {
                // Padded before it is coloured: colours have no width.
                let word = Cell::plain(format!("{:7}", finding.grade.word())).tinted(finding.grade.color());
                let (what, detail) = (finding.what, super::out::clean(&finding.detail));
                context.out.text(&format!("{}  {what:14}  {detail}\n", context.out.colored(&word)))?;
            }
        }
        Form::Tsv | Form::Json => context.out.list(COLUMNS, &rows)?,
    }
    match findings.iter().filter(|finding| finding.grade == Grade::Bad).count() {
        0 => Ok(()),
        1 => Err(Failure::Failed("one thing is wrong".to_owned())),
        n => Err(Failure::Failed(format!("{n} things are wrong"))),
    }
}

fn row(finding: &Finding) -> Value {
    json!({"grade": finding.grade.word(), "what": finding.what, "detail": finding.detail})
}
