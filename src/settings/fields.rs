//! The fields of a provider: one table and one function for the file and for the store.

use std::time::Duration;

use codecs::{
    dialect::{ChatFlavour, Dialect, Placeholder, ThinkingForm},
    json::{Text, Writer},
};

use super::{
    Provider, Secret, Source,
    presets::{self, Preset, Reasoning},
    value,
};

/// A value before it is understood, from TOML or from JSON.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// True or false.
    Bool(bool),
    /// A number, as written.
    Number(String),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Value>),
    /// A table, in order.
    Table(Vec<(String, Value)>),
    /// Anything else, by the name of its type.
    Other(&'static str),
}

impl Value {
    /// What it is, for people.
    fn type_name(&self) -> &'static str {
        match self {
            Value::Bool(_) => "boolean",
            Value::Number(digits) if digits.parse::<i64>().is_ok() => "integer",
            Value::Number(_) => "float",
            Value::Text(_) => "string",
            Value::List(_) => "array",
            Value::Table(_) => "table",
            Value::Other(name) => name,
        }
    }

    fn expected(&self, what: &str) -> String {
        format!("expected {what}, found a value of type {}", self.type_name())
    }

    /// A text.
    pub(super) fn text(&self) -> Result<&str, String> {
        match self {
            Value::Text(text) => Ok(text),
            _ => Err(self.expected("text")),
        }
    }

    /// True or false.
    fn flag(&self) -> Result<bool, String> {
        match self {
            Value::Bool(flag) => Ok(*flag),
            _ => Err(self.expected("true or false")),
        }
    }

    /// A list of texts; one text is a list of one.
    pub(super) fn texts(&self) -> Result<Vec<String>, String> {
        match self {
            Value::Text(text) => Ok(vec![text.clone()]),
            Value::List(items) => items.iter().map(|item| item.text().map(str::to_owned)).collect(),
            _ => Err(self.expected("a list of texts")),
        }
    }

    /// A scalar, or a list of texts, as a flag on the command line would have it.
    pub(super) fn scalar(&self) -> Result<String, String> {
        match self {
            Value::Text(text) | Value::Number(text) => Ok(text.clone()),
            Value::Bool(flag) => Ok(flag.to_string()),
            Value::List(_) => self.texts().map(|list| list.join(",")),
            Value::Table(_) | Value::Other(_) => Err(self.expected("text, a number or true/false")),
        }
    }
}

/// One field of a provider.
pub struct Field {
    /// Key in `[providers.NAME]`; the API writes it in camelCase.
    pub name: &'static str,
    /// One line for the documentation.
    pub help: &'static str,
    /// Puts a value in. `env` finds environment variables.
    set: fn(&mut Provider, &Value, &Env<'_>) -> Result<(), Flaws>,
}

/// What is wrong with one value.
struct Flaws(Vec<Flaw>);

/// One thing that is wrong: with which member or item of the value, if it has any, and why.
struct Flaw {
    item: Option<usize>,
    message: String,
}

impl From<String> for Flaws {
    fn from(message: String) -> Self {
        Self(vec![Flaw { item: None, message }])
    }
}

/// Puts a value in, if it is one.
fn put<T>(place: &mut T, value: Result<T, impl Into<Flaws>>) -> Result<(), Flaws> {
    *place = value.map_err(Into::into)?;
    Ok(())
}

/// Reads every item, and reports each that is wrong.
fn each<T, I>(items: &[I], read: impl Fn(&I) -> Result<T, String>) -> Result<Vec<T>, Flaws> {
    let mut flaws = Vec::new();
    let mut good = Vec::with_capacity(items.len());
    for (at, item) in items.iter().enumerate() {
        match read(item) {
            Ok(value) => good.push(value),
            Err(message) => flaws.push(Flaw { item: Some(at), message }),
        }
    }
    if flaws.is_empty() { Ok(good) } else { Err(Flaws(flaws)) }
}

/// A list of texts; one text is a list of one.
fn texts(value: &Value) -> Result<Vec<String>, Flaws> {
    match value {
        Value::List(items) => each(items, |item| item.text().map(str::to_owned)),
        value => Ok(value.texts()?),
    }
}

/// Members of bodies that only the gateway may write.
const OURS: [&str; 3] = ["model", "stream", "messages"];

/// The environment.
#[derive(Clone, Copy)]
pub struct Env<'e>(pub &'e [(String, String)]);

impl Env<'_> {
    /// The value of a variable that is set and not empty.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, v)| n == name && !v.is_empty()).map(|(_, v)| v.as_str())
    }
}

/// All fields of a provider.
pub const PROVIDER_KEYS: &[Field] = &[
    Field {
        name: "preset",
        help: "name of a known service, which gives defaults for the rest; a table named like one needs no preset",
        // Known before any other field is read.
        set: |_, value, _| put(&mut (), value.text().map(drop)),
    },
    Field {
        name: "dialect",
        help: "openai_chat, openai_responses, anthropic, gemini or ollama",
        set: |p, value, _| {
            let words: Vec<_> = Dialect::ALL.iter().map(|dialect| (dialect.name(), *dialect)).collect();
            p.dialect = value::word(value.text()?, &words)?;
            Ok(())
        },
    },
    Field {
        name: "base_url",
        help: "address up to where the dialect's own path begins (…/v1, or the bare origin for Anthropic and Ollama)",
        set: |p, value, _| {
            p.base_url = base_url(value.text()?)?;
            Ok(())
        },
    },
    Field {
        name: "api_key",
        help: "credential; better: api_key_env",
        set: |p, value, _| {
            p.api_key = Some(Secret::new(field_value(value.text()?)?));
            Ok(())
        },
    },
    Field {
        name: "api_key_env",
        help: "name of the environment variable that holds the credential",
        set: |p, value, env| {
            let variable = value.text()?;
            let key = env.get(variable).ok_or_else(|| format!("the environment variable {variable} is not set"))?;
            p.api_key = Some(Secret::new(key));
            Ok(())
        },
    },
    Field {
        name: "client_auth",
        help: "send the caller's own credential instead of one of ours, to a provider of the same dialect",
        set: |p, value, _| put(&mut p.client_auth, value.flag()),
    },
    Field {
        name: "models",
        help: "list of model names and patterns such as \"gpt-*\" or \"*\" that lead here without a prefix",
        set: |p, value, _| put(&mut p.models, texts(value)),
    },
    Field {
        name: "priority",
        help: "whole number; lower comes first among providers of one model",
        set: |p, value, _| match value {
            Value::Number(digits) => {
                p.priority = digits.parse().map_err(|_| value.expected("a whole number"))?;
                Ok(())
            }
            _ => Err(value.expected("a whole number").into()),
        },
    },
    Field { name: "headers", help: "table of fields added to every request", set: headers },
    Field {
        name: "flavour",
        help: "chat: openai (max_completion_tokens, no top_k) or compat",
        set: |p, value, _| {
            let words = [("openai", ChatFlavour::OpenAi), ("compat", ChatFlavour::Compat)];
            p.flavour = value::word(value.text()?, &words)?;
            Ok(())
        },
    },
    Field {
        name: "thinking",
        help: "chat: how a wish for thinking is sent: effort (reasoning_effort), type (thinking.type), type_effort (both), \
               enable (enable_thinking, thinking_budget) or reasoning (reasoning.effort)",
        set: |p, value, _| {
            let words = [
                ("effort", ThinkingForm::Effort),
                ("type", ThinkingForm::Type),
                ("type_effort", ThinkingForm::TypeEffort),
                ("enable", ThinkingForm::Enable),
                ("reasoning", ThinkingForm::Reasoning),
            ];
            p.thinking = value::word(value.text()?, &words)?;
            Ok(())
        },
    },
    Field {
        name: "reasoning_echo",
        help: "chat: whether earlier reasoning goes back as reasoning_content",
        set: |p, value, _| put(&mut p.reasoning_echo, value.flag()),
    },
    Field {
        name: "placeholder",
        help: "chat: off, all or tool: turns without reasoning that get a blank one",
        set: |p, value, _| {
            let words = [("off", Placeholder::Off), ("all", Placeholder::All), ("tool", Placeholder::Tool)];
            p.placeholder = value::word(value.text()?, &words)?;
            Ok(())
        },
    },
    Field {
        name: "cache_control",
        help: "chat: whether cache marks pass as cache_control",
        set: |p, value, _| put(&mut p.cache_control, value.flag()),
    },
    Field {
        name: "dedupe_tools",
        help: "remove declared tools that a more capable declared one replaces (web search of Exa or Tavily, browser control)",
        set: |p, value, _| put(&mut p.dedupe_tools, value.flag()),
    },
    Field {
        name: "stream_only",
        help: "whether the service answers streams only",
        set: |p, value, _| put(&mut p.stream_only, value.flag()),
    },
    Field {
        name: "fix_id",
        help: "chat: replace ids of answers that are missing, shorter than 8 characters, or a mere word",
        set: |p, value, _| put(&mut p.fix_id, value.flag()),
    },
    Field {
        name: "drop_params",
        help: "list of members never to send",
        set: |p, value, _| put(&mut p.drop_params, texts(value)),
    },
    Field {
        name: "rename_params",
        help: "table of members to send under another name, such as { max_tokens = \"max_completion_tokens\" }",
        set: |p, value, _| put(&mut p.rename_params, members(value, |value| value.text().map(str::to_owned))),
    },
    Field {
        name: "force_params",
        help: "table of members to send whatever the client says, such as { temperature = 1 }",
        set: |p, value, _| put(&mut p.force_params, members(value, json)),
    },
    Field {
        name: "max_output_tokens",
        help: "largest answer in tokens",
        set: |p, value, _| {
            p.max_output_tokens = Some(value::whole(&value.scalar()?, 1)? as u64);
            Ok(())
        },
    },
    Field {
        name: "hold_prologue",
        help: "overrides the setting",
        set: |p, value, _| put(&mut p.hold_prologue, duration(value).map(Some)),
    },
    Field {
        name: "first_byte_timeout",
        help: "overrides the setting",
        set: |p, value, _| put(&mut p.first_byte_timeout, duration(value).map(Some)),
    },
    Field {
        name: "stall_timeout",
        help: "overrides the setting",
        set: |p, value, _| put(&mut p.stall_timeout, duration(value).map(Some)),
    },
];

fn duration(value: &Value) -> Result<Duration, String> {
    value::duration(&value.scalar()?)
}

fn headers(provider: &mut Provider, value: &Value, _: &Env<'_>) -> Result<(), Flaws> {
    let Value::Table(fields) = value else { return Err(value.expected("a table").into()) };
    let field = |(name, text): &(String, Value)| {
        if http::HeaderName::from_bytes(name.as_bytes()).is_err() {
            return Err(format!("`{name}` is not a header name"));
        }
        let text = field_value(text.text()?).map_err(|wrong| format!("{name}: {wrong}"))?;
        Ok((name.clone(), Secret::new(text)))
    };
    put(&mut provider.headers, each(fields, field))
}

/// A table of body members: name and what `read` makes of the value.
fn members(value: &Value, read: impl Fn(&Value) -> Result<String, String>) -> Result<Vec<(String, String)>, Flaws> {
    let Value::Table(table) = value else { return Err(value.expected("a table").into()) };
    each(table, |(name, value): &(String, Value)| {
        let text = read(value)?;
        // Routing and relaying stand on these: an edit would make the answer another one than was planned.
        match OURS.iter().find(|ours| **ours == name.as_str() || **ours == text) {
            Some(name) => Err(format!("`{name}` cannot be renamed or forced")),
            None => Ok((name.clone(), text)),
        }
    })
}

/// A value as JSON text.
fn json(value: &Value) -> Result<String, String> {
    let mut text = Vec::new();
    match write_json(value, &mut Writer::new(&mut text)) {
        true => String::from_utf8(text).map_err(|error| error.to_string()),
        false => Err("JSON has no place for this value: use text, numbers, true/false, lists and tables".to_owned()),
    }
}

/// Writes a value as JSON; `false` if JSON does not have it: dates, infinities.
fn write_json(value: &Value, w: &mut Writer<'_, Vec<u8>>) -> bool {
    match value {
        Value::Text(text) => {
            w.string(text);
        }
        Value::Bool(flag) => {
            w.bool(*flag);
        }
        Value::Number(digits) => {
            let whole = digits.parse::<i64>().map(|number| number.to_string());
            let number = whole.ok().or_else(|| {
                let number: f64 = digits.parse().ok()?;
                number.is_finite().then(|| number.to_string())
            });
            let Some(number) = number else { return false };
            w.verbatim(&number);
        }
        Value::Other(_) => return false,
        Value::List(items) => {
            w.begin_array();
            if !items.iter().all(|item| write_json(item, w)) {
                return false;
            }
            w.end_array();
        }
        Value::Table(table) => {
            w.begin_object();
            for (key, value) in table {
                w.key_text(Text::Plain(key));
                if !write_json(value, w) {
                    return false;
                }
            }
            w.end_object();
        }
    }
    true
}

/// What is wrong with a provider.
pub(super) struct Wrong {
    /// The place of the field; `None`: the provider as a whole.
    pub(super) field: Option<usize>,
    /// The place of the member or item in the field, if it is one.
    pub(super) item: Option<usize>,
    /// The reason.
    pub(super) message: String,
}

/// Understands a provider's fields, all faults at once. `fields` are read in order.
pub(super) fn provider(
    name: &str,
    source: Source,
    fields: &[(&str, Value)],
    keyless: bool,
    env: &Env<'_>,
) -> Result<Provider, Vec<Wrong>> {
    let mut wrong = Vec::new();
    let whole = |message| Wrong { field: None, item: None, message };
    let place_of = |key: &str| fields.iter().position(|(name, _)| *name == key);
    if !is_name(name) {
        wrong.push(whole(format!("`{name}` cannot be a provider's name")));
    }
    let preset = match place_of("preset").map(|at| (at, fields[at].1.text())) {
        Some((at, Ok(id))) => {
            let found = presets::preset(id);
            if found.is_none() {
                let ids: Vec<_> = presets::PRESETS.iter().map(|preset| preset.id).collect();
                let message = format!("unknown preset `{id}`: use {}", ids.join(", "));
                wrong.push(Wrong { field: Some(at), item: None, message });
            }
            found
        }
        Some((_, Err(_))) => None,
        None => presets::preset(name),
    };
    let mut provider = match preset {
        Some(preset) => from_preset(name, preset, source),
        None => Provider::new(name, Dialect::OpenAiChat, ""),
    };
    provider.source = source;
    provider.id = format!("{}:{name}", source.name()).into();
    for (at, (key, value)) in fields.iter().enumerate() {
        let done = match PROVIDER_KEYS.iter().find(|field| field.name == *key) {
            Some(field) => (field.set)(&mut provider, value, env),
            None => Err(value::unknown("key", key, PROVIDER_KEYS.iter().map(|field| field.name)).into()),
        };
        let flaws = done.err().map_or_else(Vec::new, |flaws| flaws.0);
        wrong.extend(flaws.into_iter().map(|Flaw { item, message }| Wrong { field: Some(at), item, message }));
    }
    if place_of("preset").is_none() && preset.is_none() {
        for needed in ["dialect", "base_url"] {
            if place_of(needed).is_none() {
                wrong.push(whole(format!("provider `{name}` needs `{needed}` (or a `preset`)")));
            }
        }
    }
    if provider.api_key.is_none() && !provider.client_auth && !keyless && place_of("api_key_env").is_none() {
        let variables = preset.map_or(&[][..], |preset| preset.env);
        provider.api_key = variables.iter().find_map(|variable| env.get(variable)).map(Secret::new);
        if provider.api_key.is_none()
            && let Some(preset) = preset
            && !preset.keyless
        {
            let hint = if variables.is_empty() { String::new() } else { format!(" or set {}", variables.join(" or ")) };
            wrong.push(whole(format!("provider `{name}` needs `api_key` or `api_key_env`{hint}")));
        }
    }
    if wrong.is_empty() { Ok(provider) } else { Err(wrong) }
}

/// Whether a provider may be called this. A slash would end it inside `provider/model`.
pub(super) fn is_name(name: &str) -> bool {
    let plain = !name.contains(['/', ',']) && name.trim() == name && !name.chars().any(char::is_control);
    (1..=64).contains(&name.len()) && name != "demo" && plain
}

/// A provider with a preset's values.
pub(super) fn from_preset(name: &str, preset: &Preset, source: Source) -> Provider {
    let mut provider = Provider::new(name, preset.dialect, preset.base_url);
    provider.source = source;
    provider.id = format!("{}:{name}", source.name()).into();
    provider.preset = Some(preset.id);
    provider.models = preset.models.iter().map(|model| (*model).to_owned()).collect();
    provider.flavour = preset.flavour;
    provider.thinking = preset.thinking;
    provider.cache_control = preset.cache_control;
    if let Reasoning::Echo(placeholder) = preset.reasoning {
        provider.reasoning_echo = true;
        provider.placeholder = placeholder;
    }
    provider
}

fn base_url(text: &str) -> Result<String, String> {
    let text = text.trim_end_matches('/');
    let valid = !text.contains(['?', '#', ' ']) && proxy::Origin::parse(super::provider::origin_of(text)).is_ok();
    if valid {
        return Ok(text.to_owned());
    }
    Err(format!("`{text}` is not a base URL: use http:// or https://, a host, and a path without a query"))
}

/// A text that may stand in a header field.
fn field_value(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() || text.bytes().any(|b| b < 0x20 || b == 0x7f) {
        return Err("the value must be one line of visible text".into());
    }
    Ok(text.to_owned())
}
