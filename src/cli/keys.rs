//! `keys`: what callers show.
//!
//! A key is shown once, when it is made; the router keeps a digest. It is copied into the clipboard only where a person
//! looks at it: never when standard output is a file or a pipe.

use clap::{Args, Subcommand};
use jiff::{SignedDuration, Timestamp, civil, tz::TimeZone};
use proxy::Method;
use serde_json::{Map, Value, json};

use super::{
    ask::Sure,
    cell::Cell,
    clipboard::{self, Copied},
    context::Context,
    failure::Failure,
    http::named,
    out::{Column, Form},
};

#[derive(Debug, Default, Subcommand)]
pub(crate) enum Action {
    /// List keys; their secrets are nowhere
    #[default]
    List,
    /// Make a key; it is shown once
    New(Box<New>),
    /// End a key and keep its entry: whoever shows it is refused from now on
    Revoke {
        /// Name or id
        name: String,
        #[command(flatten)]
        sure: Sure,
    },
    /// Remove a key with its entry
    #[command(visible_alias = "rm")]
    Remove {
        /// Name or id
        name: String,
        #[command(flatten)]
        sure: Sure,
    },
    /// Give a key a new secret; it is shown once
    Rotate {
        /// Name or id
        name: String,
        /// How many seconds the old secret is still good
        #[arg(long, value_name = "SECONDS", default_value_t = 0)]
        grace: u32,
        #[command(flatten)]
        copy: Copy,
    },
}

#[derive(Debug, Args)]
pub(crate) struct New {
    /// What people call it
    name: String,
    /// What it may do: inference, models:read, usage:read, admin, metrics:read; may be repeated [default: inference]
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
    /// Only these models, or patterns such as gpt-*; may be repeated
    #[arg(long = "model", value_name = "MODEL")]
    models: Vec<String>,
    /// Only these providers; may be repeated
    #[arg(long = "provider", value_name = "NAME")]
    providers: Vec<String>,
    /// Only from these networks, such as 10.0.0.0/8; may be repeated
    #[arg(long = "cidr", value_name = "NETWORK")]
    cidrs: Vec<String>,
    /// Until when it is good: 12h, 30d, 2027-01-31 or a full time
    #[arg(long, value_name = "WHEN")]
    expires: Option<String>,
    #[command(flatten)]
    copy: Copy,
}

/// Whether a new secret is copied.
#[derive(Debug, Args)]
pub(crate) struct Copy {
    /// Do not put the key into the clipboard
    #[arg(long)]
    no_clipboard: bool,
}

const LIST: &[Column] = &[
    Column { title: "NAME", cell: |v| Cell::of(&v["name"]) },
    Column { title: "KEY", cell: |v| Cell::of(&v["keyPrefix"]) },
    Column { title: "SCOPES", cell: |v| Cell::of(&v["scopes"]) },
    Column { title: "STATE", cell: |v| Cell::of(&v["status"]) },
    Column { title: "EXPIRES", cell: |v| Cell::time(&v["expiresAt"]) },
    Column { title: "LAST USED", cell: |v| Cell::time(&v["lastUsedAt"]) },
    Column { title: "FROM", cell: |v| Cell::of(&v["source"]) },
];

pub(crate) async fn run(context: &Context, action: Action) -> Result<(), Failure> {
    let (router, out) = (&context.router, &context.out);
    match action {
        Action::List => out.list(LIST, &router.list("/api/keys").await?),
        Action::New(new) => {
            let made = router.send(Method::POST, "/api/keys", Some(&new.body(Timestamp::now())?)).await?;
            show(context, &made, &new.copy).await
        }
        Action::Revoke { name, sure } => {
            sure.ask(&format!("Revoke the key {name}? Its callers are refused at once."))?;
            let key = router
                .send(Method::POST, &format!("/api/keys/{}/revoke", named(&name)), None)
                .await
                .map_err(|failure| failure.about(&name))?;
            out.done(&format!("revoked {name}"), &key)
        }
        Action::Remove { name, sure } => {
            sure.ask(&format!("Remove the key {name}? Its callers are refused at once."))?;
            context.remove(&format!("/api/keys/{}", named(&name)), &name).await
        }
        Action::Rotate { name, grace, copy } => {
            let path = format!("/api/keys/{}/rotate", named(&name));
            let made = router.send(Method::POST, &path, Some(&json!({"graceSeconds": grace}))).await?;
            show(context, &made, &copy).await
        }
    }
}

impl New {
    fn body(&self, now: Timestamp) -> Result<Value, Failure> {
        let mut body = Map::new();
        body.insert("name".into(), self.name.as_str().into());
        let lists = [
            ("scopes", &self.scopes),
            ("allowedModels", &self.models),
            ("allowedProviders", &self.providers),
            ("allowedCidrs", &self.cidrs),
        ];
        for (member, list) in lists.into_iter().filter(|(_, list)| !list.is_empty()) {
            body.insert(member.into(), list.clone().into());
        }
        if let Some(when) = &self.expires {
            let at = instant(when, now).ok_or_else(|| {
                Failure::Usage(format!("`{when}` is no time: use 12h, 30d, 2027-01-31 or 2027-01-31T12:00:00Z"))
            })?;
            body.insert("expiresAt".into(), at.to_string().into());
        }
        Ok(Value::Object(body))
    }
}

/// A time as people write it: from now on, the end of a day here, or exactly.
fn instant(text: &str, now: Timestamp) -> Option<Timestamp> {
    if let Some((number, unit)) = text.split_at_checked(text.len().saturating_sub(1))
        && let Ok(number) = number.parse::<u32>()
    {
        let hours = match unit {
            "h" => 1,
            "d" => 24,
            "w" => 7 * 24,
            _ => return None,
        };
        return now.checked_add(SignedDuration::from_hours(i64::from(number) * hours)).ok();
    }
    if let Ok(exact) = text.parse() {
        return Some(exact);
    }
    let day: civil::Date = text.parse().ok()?;
    day.tomorrow().ok()?.to_zoned(TimeZone::system()).ok().map(|zoned| zoned.timestamp())
}

/// Shows a new secret, the only time.
async fn show(context: &Context, made: &Value, copy: &Copy) -> Result<(), Failure> {
    let out = &context.out;
    let key = made["plaintextKey"].as_str();
    let key = key.ok_or_else(|| Failure::Failed("the server's answer holds no key".to_owned()))?;
    match out.form {
        Form::Json => out.json(made)?,
        // The key and nothing else: `KEY=$(flow-cli keys new ci)`.
        Form::Table | Form::Tsv => out.text(&format!("{}\n", super::out::clean(key)))?,
    }
    out.note("this key is shown once: the router keeps only a digest of it");
    if out.terminal && !copy.no_clipboard && out.form != Form::Json {
        match clipboard::copy(key).await {
            Copied::Yes => out.note("it is in the clipboard"),
            Copied::Asked => out.note("your terminal was asked to put it into the clipboard"),
            Copied::No => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn times_as_people_write_them() {
        let now: Timestamp = "2026-01-30T12:00:00Z".parse().unwrap();
        for (text, expected) in [
            ("12h", Some("2026-01-31T00:00:00Z")),
            ("30d", Some("2026-03-01T12:00:00Z")),
            ("1w", Some("2026-02-06T12:00:00Z")),
            ("2027-01-31T12:00:00Z", Some("2027-01-31T12:00:00Z")),
            ("2027-01-31T12:00:00+02:00", Some("2027-01-31T10:00:00Z")),
            ("", None),
            ("d", None),
            ("5m", None),
            ("tomorrow", None),
            ("4294967295w", None),
            ("é", None),
        ] {
            assert_eq!(instant(text, now), expected.map(|text| text.parse().unwrap()), "{text}");
        }
        // A day ends where it ends here.
        let day = instant("2027-01-31", now).unwrap();
        let hours = (day - "2027-01-31T00:00:00Z".parse::<Timestamp>().unwrap()).get_seconds() / 3_600;
        assert!((10..=38).contains(&hours), "{hours}");
    }
}
