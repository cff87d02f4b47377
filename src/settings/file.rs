//! The TOML file: settings at the top, `[providers.NAME]`, `[aliases]` and `[[keys]]` below.
//!
//! Every fault is reported with line and column, all of them at once. Unknown keys are faults.

use codecs::{
    dialect::{ChatFlavour, Dialect, Placeholder, ThinkingForm},
    json::{Text, Writer},
};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    Alias, Fault, KeyHash, Provider, Secret, Settings,
    presets::{self, Preset, Reasoning},
    table, value,
};

/// Keys of a `[providers.NAME]` table.
pub const PROVIDER_KEYS: &[(&str, &str)] = &[
    ("preset", "name of a known service, which gives defaults for the rest; a table named like one needs no preset"),
    ("dialect", "openai_chat, openai_responses, anthropic, gemini or ollama"),
    (
        "base_url",
        "address up to where the dialect's own path begins (…/v1, or the bare origin for Anthropic and Ollama)",
    ),
    ("api_key", "credential; better: api_key_env"),
    ("api_key_env", "name of the environment variable that holds the credential"),
    ("client_auth", "send the caller's own credential instead of one of ours, to a provider of the same dialect"),
    ("models", "list of model names and patterns such as \"gpt-*\" or \"*\" that lead here without a prefix"),
    ("priority", "whole number; lower comes first among providers of one model"),
    ("headers", "table of fields added to every request"),
    ("flavour", "chat: openai (max_completion_tokens, no top_k) or compat"),
    (
        "thinking",
        "chat: how a wish for thinking is sent: effort (reasoning_effort), type (thinking.type), type_effort (both), enable \
         (enable_thinking, thinking_budget) or reasoning (reasoning.effort)",
    ),
    ("reasoning_echo", "chat: whether earlier reasoning goes back as reasoning_content"),
    ("placeholder", "chat: off, all or tool: turns without reasoning that get a blank one"),
    ("cache_control", "chat: whether cache marks pass as cache_control"),
    (
        "dedupe_tools",
        "remove declared tools that a more capable declared one replaces (web search of Exa or Tavily, browser control)",
    ),
    ("stream_only", "whether the service answers streams only"),
    ("fix_id", "chat: replace ids of answers that are missing, shorter than 8 characters, or a mere word"),
    ("drop_params", "list of members never to send"),
    (
        "rename_params",
        "table of members to send under another name, such as { max_tokens = \"max_completion_tokens\" }",
    ),
    ("force_params", "table of members to send whatever the client says, such as { temperature = 1 }"),
    ("max_output_tokens", "largest answer in tokens"),
    ("hold_prologue", "overrides the setting"),
    ("first_byte_timeout", "overrides the setting"),
    ("stall_timeout", "overrides the setting"),
];

/// The sections besides the settings.
const SECTIONS: [&str; 3] = ["providers", "aliases", "keys"];

/// Members of bodies that only the gateway may write.
const OURS: [&str; 3] = ["model", "stream", "messages"];

type Value<'i> = Spanned<DeValue<'i>>;

/// Reads the file into `settings`; `env` resolves `api_key_env`.
pub(super) fn apply(
    settings: &mut Settings,
    file: &str,
    text: &str,
    env: &[(String, String)],
    faults: &mut Vec<Fault>,
) {
    let (document, errors) = DeTable::parse_recoverable(text);
    let mut reader = Reader { file, text, env, faults };
    for error in &errors {
        reader.fault(error.span().map_or(0, |span| span.start), error.message());
    }
    if !errors.is_empty() {
        return;
    }
    for (key, value) in document.get_ref() {
        let name: &str = key.get_ref();
        match name {
            "providers" => reader.providers(value, settings),
            "aliases" => reader.aliases(value, settings),
            "keys" => reader.keys(value, settings),
            _ => match table::row(name) {
                Some(row) => {
                    if let Some(text) = reader.text_of(value)
                        && let Err(message) = (row.set)(settings, &text)
                    {
                        reader.fault(value.span().start, &format!("{name}: {message}"));
                    }
                }
                None => {
                    let allowed = table::TABLE.iter().map(|row| row.name).chain(SECTIONS);
                    reader.unknown(key, allowed);
                }
            },
        }
    }
}

struct Reader<'r> {
    file: &'r str,
    text: &'r str,
    env: &'r [(String, String)],
    faults: &'r mut Vec<Fault>,
}

impl Reader<'_> {
    fn place(&self, at: usize) -> String {
        let before = &self.text[..at.min(self.text.len())];
        let line = before.matches('\n').count() + 1;
        let column = before.len() - before.rfind('\n').map_or(0, |newline| newline + 1) + 1;
        format!("{}:{line}:{column}", self.file)
    }

    fn fault(&mut self, at: usize, message: &str) {
        let place = self.place(at);
        self.faults.push(Fault { place, message: message.to_owned() });
    }

    fn unknown<'a>(&mut self, key: &Spanned<std::borrow::Cow<'_, str>>, allowed: impl Iterator<Item = &'a str>) {
        let name: &str = key.get_ref();
        let allowed: Vec<_> = allowed.collect();
        let hint = match value::nearest(name, allowed.iter().copied(), 3) {
            Some(near) => format!("unknown key `{name}`: did you mean `{near}`?"),
            None => format!("unknown key `{name}`: allowed are {}", allowed.join(", ")),
        };
        self.fault(key.span().start, &hint);
    }

    fn expected(&mut self, value: &Value<'_>, what: &str) {
        let found = value.get_ref().type_str();
        self.fault(value.span().start, &format!("expected {what}, found a value of type {found}"));
    }

    /// A scalar, or a list of strings, as the text that a flag would have.
    fn text_of(&mut self, value: &Value<'_>) -> Option<String> {
        match value.get_ref() {
            DeValue::String(text) => Some(text.to_string()),
            DeValue::Integer(number) => Some(number.as_str().to_owned()),
            DeValue::Float(number) => Some(number.as_str().to_owned()),
            DeValue::Boolean(flag) => Some(flag.to_string()),
            DeValue::Array(_) => self.strings(value).map(|list| list.join(",")),
            DeValue::Datetime(_) | DeValue::Table(_) => {
                self.expected(value, "text, a number or true/false");
                None
            }
        }
    }

    fn string(&mut self, value: &Value<'_>) -> Option<String> {
        match value.get_ref() {
            DeValue::String(text) => Some(text.to_string()),
            _ => {
                self.expected(value, "text");
                None
            }
        }
    }

    fn strings(&mut self, value: &Value<'_>) -> Option<Vec<String>> {
        match value.get_ref() {
            DeValue::String(text) => Some(vec![text.to_string()]),
            DeValue::Array(items) => items.iter().map(|item| self.string(item)).collect(),
            _ => {
                self.expected(value, "a list of texts");
                None
            }
        }
    }

    fn boolean(&mut self, value: &Value<'_>) -> Option<bool> {
        match value.get_ref() {
            DeValue::Boolean(flag) => Some(*flag),
            _ => {
                self.expected(value, "true or false");
                None
            }
        }
    }

    fn table<'v, 'i>(&mut self, value: &'v Value<'i>) -> Option<&'v DeTable<'i>> {
        let table = value.get_ref().as_table();
        if table.is_none() {
            self.expected(value, "a table");
        }
        table
    }

    /// The result of a conversion, or its message as a fault at `value`.
    fn checked<T>(&mut self, value: &Value<'_>, result: Result<T, String>) -> Option<T> {
        result.map_err(|message| self.fault(value.span().start, &message)).ok()
    }

    fn providers(&mut self, value: &Value<'_>, settings: &mut Settings) {
        let Some(table) = self.table(value) else { return };
        // The map is sorted by name; the file's order is the order of preference.
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        for (key, value) in entries {
            let name: &str = key.get_ref();
            if name == "demo" || name.is_empty() || name.contains('/') {
                self.fault(key.span().start, &format!("`{name}` cannot be a provider's name"));
                continue;
            }
            if let Some(table) = self.table(value)
                && let Some(provider) = self.provider(name, key.span().start, table)
            {
                settings.providers.push(provider);
            }
        }
    }

    fn provider(&mut self, name: &str, at: usize, table: &DeTable<'_>) -> Option<Provider> {
        let faults_before = self.faults.len();
        let preset = match table.get("preset") {
            Some(value) => {
                let id = self.string(value)?;
                let found = presets::preset(&id);
                if found.is_none() {
                    let ids: Vec<_> = presets::PRESETS.iter().map(|preset| preset.id).collect();
                    self.fault(value.span().start, &format!("unknown preset `{id}`: use {}", ids.join(", ")));
                }
                found
            }
            None => presets::preset(name),
        };
        let mut provider = match preset {
            Some(preset) => from_preset(name, preset),
            None => Provider::new(name, Dialect::OpenAiChat, ""),
        };
        for (key, value) in table {
            self.provider_key(&mut provider, key, value);
        }
        if preset.is_none() {
            for needed in ["dialect", "base_url"] {
                if !table.contains_key(needed) {
                    self.fault(at, &format!("provider `{name}` needs `{needed}` (or a `preset`)"));
                }
            }
        }
        if provider.api_key.is_none() && !provider.client_auth && !table.contains_key("api_key_env") {
            let variables = preset.map_or(&[][..], |preset| preset.env);
            provider.api_key = variables.iter().find_map(|variable| self.variable(variable)).map(Secret::new);
            if provider.api_key.is_none()
                && let Some(preset) = preset
                && !preset.keyless
            {
                let hint =
                    if variables.is_empty() { String::new() } else { format!(" or set {}", variables.join(" or ")) };
                self.fault(at, &format!("provider `{name}` needs `api_key` or `api_key_env`{hint}"));
            }
        }
        (self.faults.len() == faults_before).then_some(provider)
    }

    fn variable(&self, name: &str) -> Option<String> {
        self.env.iter().find(|(n, v)| n == name && !v.is_empty()).map(|(_, v)| v.clone())
    }

    fn provider_key(&mut self, provider: &mut Provider, key: &Spanned<std::borrow::Cow<'_, str>>, value: &Value<'_>) {
        let name: &str = key.get_ref();
        match name {
            "preset" => {}
            "dialect" => {
                let words: Vec<_> = Dialect::ALL.iter().map(|dialect| (dialect.name(), *dialect)).collect();
                if let Some(text) = self.string(value)
                    && let Some(dialect) = self.checked(value, value::word(&text, &words))
                {
                    provider.dialect = dialect;
                }
            }
            "base_url" => {
                if let Some(text) = self.string(value)
                    && let Some(url) = self.checked(value, base_url(&text))
                {
                    provider.base_url = url;
                }
            }
            "api_key" => {
                if let Some(text) = self.string(value)
                    && let Some(text) = self.checked(value, field_value(&text))
                {
                    provider.api_key = Some(Secret::new(text));
                }
            }
            "api_key_env" => {
                if let Some(variable) = self.string(value) {
                    provider.api_key = self.variable(&variable).map(Secret::new);
                    if provider.api_key.is_none() {
                        self.fault(value.span().start, &format!("the environment variable {variable} is not set"));
                    }
                }
            }
            "models" => provider.models = self.strings(value).unwrap_or_default(),
            "priority" => match value.get_ref().as_integer().and_then(|n| n.as_str().parse().ok()) {
                Some(priority) => provider.priority = priority,
                None => self.expected(value, "a whole number"),
            },
            "headers" => self.headers(provider, value),
            "flavour" => {
                let words = [("openai", ChatFlavour::OpenAi), ("compat", ChatFlavour::Compat)];
                if let Some(text) = self.string(value)
                    && let Some(flavour) = self.checked(value, value::word(&text, &words))
                {
                    provider.flavour = flavour;
                }
            }
            "placeholder" => {
                let words = [("off", Placeholder::Off), ("all", Placeholder::All), ("tool", Placeholder::Tool)];
                if let Some(text) = self.string(value)
                    && let Some(placeholder) = self.checked(value, value::word(&text, &words))
                {
                    provider.placeholder = placeholder;
                }
            }
            "thinking" => {
                let words = [
                    ("effort", ThinkingForm::Effort),
                    ("type", ThinkingForm::Type),
                    ("type_effort", ThinkingForm::TypeEffort),
                    ("enable", ThinkingForm::Enable),
                    ("reasoning", ThinkingForm::Reasoning),
                ];
                if let Some(text) = self.string(value)
                    && let Some(form) = self.checked(value, value::word(&text, &words))
                {
                    provider.thinking = form;
                }
            }
            "fix_id" => provider.fix_id = self.boolean(value).unwrap_or_default(),
            "rename_params" => provider.rename_params = self.members(value, |reader, value| reader.string(value)),
            "force_params" => provider.force_params = self.members(value, Self::json),
            "client_auth" => provider.client_auth = self.boolean(value).unwrap_or_default(),
            "reasoning_echo" => provider.reasoning_echo = self.boolean(value).unwrap_or_default(),
            "cache_control" => provider.cache_control = self.boolean(value).unwrap_or_default(),
            "dedupe_tools" => provider.dedupe_tools = self.boolean(value).unwrap_or_default(),
            "stream_only" => provider.stream_only = self.boolean(value).unwrap_or_default(),
            "drop_params" => provider.drop_params = self.strings(value).unwrap_or_default(),
            "max_output_tokens" => {
                if let Some(text) = self.text_of(value)
                    && let Some(tokens) = self.checked(value, value::whole(&text, 1))
                {
                    provider.max_output_tokens = Some(tokens as u64);
                }
            }
            "hold_prologue" => provider.hold_prologue = self.duration(value),
            "first_byte_timeout" => provider.first_byte_timeout = self.duration(value),
            "stall_timeout" => provider.stall_timeout = self.duration(value),
            _ => self.unknown(key, PROVIDER_KEYS.iter().map(|(name, _)| *name)),
        }
    }

    fn duration(&mut self, value: &Value<'_>) -> Option<std::time::Duration> {
        let text = self.text_of(value)?;
        self.checked(value, value::duration(&text))
    }

    fn headers(&mut self, provider: &mut Provider, value: &Value<'_>) {
        let Some(table) = self.table(value) else { return };
        for (key, value) in table {
            let name: &str = key.get_ref();
            if http::HeaderName::from_bytes(name.as_bytes()).is_err() {
                self.fault(key.span().start, &format!("`{name}` is not a header name"));
                continue;
            }
            if let Some(text) = self.string(value)
                && let Some(text) = self.checked(value, field_value(&text))
            {
                provider.headers.push((name.to_owned(), Secret::new(text)));
            }
        }
    }

    /// A table of body members: name and what `read` makes of the value.
    fn members(
        &mut self,
        value: &Value<'_>,
        read: impl Fn(&mut Self, &Value<'_>) -> Option<String>,
    ) -> Vec<(String, String)> {
        let Some(table) = self.table(value) else { return Vec::new() };
        let mut members = Vec::new();
        for (key, value) in table {
            let Some(text) = read(self, value) else { continue };
            // Routing and relaying stand on these: an edit would make the answer another one than was planned.
            let ours = [key.get_ref().as_ref(), text.as_str()].into_iter().find(|name| OURS.contains(name));
            match ours {
                Some(name) => self.fault(key.span().start, &format!("`{name}` cannot be renamed or forced")),
                None => members.push((key.get_ref().to_string(), text)),
            }
        }
        members
    }

    /// A value as JSON text.
    fn json(&mut self, value: &Value<'_>) -> Option<String> {
        let mut text = Vec::new();
        if let Err(at) = write_json(value, &mut Writer::new(&mut text)) {
            self.fault(at, "JSON has no place for this value: use text, numbers, true/false, lists and tables");
            return None;
        }
        String::from_utf8(text).ok()
    }

    fn aliases(&mut self, value: &Value<'_>, settings: &mut Settings) {
        let Some(table) = self.table(value) else { return };
        for (key, value) in table {
            if let Some(models) = self.strings(value) {
                if models.is_empty() {
                    self.fault(value.span().start, "an alias needs at least one model");
                }
                let place = self.place(key.span().start);
                settings.aliases.push(Alias { name: key.get_ref().to_string(), models, place });
            }
        }
    }

    fn keys(&mut self, value: &Value<'_>, settings: &mut Settings) {
        let Some(entries) = value.get_ref().as_array() else { return self.expected(value, "[[keys]] tables") };
        for entry in entries.iter() {
            let Some(table) = self.table(entry) else { continue };
            let (mut name, mut digest) = (None, None);
            for (key, value) in table {
                match key.get_ref().as_ref() {
                    "name" => name = self.string(value),
                    "sha256" => {
                        if let Some(text) = self.string(value) {
                            digest = self.checked(value, parse_digest(&text));
                        }
                    }
                    _ => self.unknown(key, ["name", "sha256"].into_iter()),
                }
            }
            match (name, digest) {
                (Some(name), Some(sha256)) => settings.keys.push(KeyHash { name, sha256 }),
                _ => self.fault(
                    entry.span().start,
                    "a key needs `name` and `sha256` (make one with `flow-router key NAME`)",
                ),
            }
        }
    }
}

/// Writes a TOML value as JSON; `Err` says where one stands that JSON does not have: dates, infinities.
fn write_json(value: &Value<'_>, w: &mut Writer<'_, Vec<u8>>) -> Result<(), usize> {
    let impossible = value.span().start;
    match value.get_ref() {
        DeValue::String(text) => {
            w.string(text);
        }
        DeValue::Boolean(flag) => {
            w.bool(*flag);
        }
        DeValue::Integer(number) => {
            let number = i64::from_str_radix(number.as_str(), number.radix()).map_err(|_| impossible)?;
            w.verbatim(&number.to_string());
        }
        DeValue::Float(number) => {
            let number: f64 = number.as_str().parse().map_err(|_| impossible)?;
            if !number.is_finite() {
                return Err(impossible);
            }
            w.verbatim(&number.to_string());
        }
        DeValue::Datetime(_) => return Err(impossible),
        DeValue::Array(items) => {
            w.begin_array();
            items.iter().try_for_each(|item| write_json(item, w))?;
            w.end_array();
        }
        DeValue::Table(table) => {
            w.begin_object();
            for (key, value) in table {
                w.key_text(Text::Plain(key.get_ref()));
                write_json(value, w)?;
            }
            w.end_object();
        }
    }
    Ok(())
}

/// A provider with a preset's values.
pub(super) fn from_preset(name: &str, preset: &Preset) -> Provider {
    let mut provider = Provider::new(name, preset.dialect, preset.base_url);
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

/// 64 hexadecimal digits.
pub(crate) fn parse_digest(text: &str) -> Result<[u8; 32], String> {
    let mut digest = [0u8; 32];
    let valid = text.len() == 64 && text.is_ascii();
    for (i, byte) in digest.iter_mut().enumerate() {
        let pair = text.get(2 * i..2 * i + 2).filter(|_| valid);
        *byte = pair
            .and_then(|pair| u8::from_str_radix(pair, 16).ok())
            .ok_or("a SHA-256 digest has 64 hexadecimal digits (make one with `flow-router key NAME`)")?;
    }
    Ok(digest)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::settings::{Sources, load};

    fn read(text: &str) -> Result<Settings, Vec<String>> {
        let env = vec![("TEST_KEY".to_owned(), "sk-1".to_owned())];
        load(&Sources { flags: vec![], env, file: Some(("c.toml".into(), text.to_owned())) })
            .map_err(|faults| faults.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_good_file_is_read() {
        let settings = read(
            "addr = \"127.0.0.1:9\"\nhold_prologue = 2\n\n[providers.a]\ndialect = \"anthropic\"\nbase_url = \"http://x/\"\n\
             api_key_env = \"TEST_KEY\"\nmodels = [\"m\"]\n[providers.openai]\napi_key = \"k\"\n[aliases]\nfast = [\"a/m\", \"gpt-5\"]\n",
        )
        .unwrap();
        assert_eq!(settings.addr.port(), 9);
        assert_eq!(settings.hold_prologue.as_secs(), 2);
        assert_eq!(settings.providers[0].base_url, "http://x");
        assert_eq!(settings.providers[0].api_key.as_ref().unwrap().expose(), "sk-1");
        assert_eq!(settings.providers[1].flavour, ChatFlavour::OpenAi);
        assert_eq!(settings.aliases[0].models, ["a/m", "gpt-5"]);
    }

    #[test]
    fn faults_say_file_line_and_what_is_allowed() {
        let faults = read(
            "adr = \"x\"\nkeep_alive = \"soon\"\n[providers.a]\ndialect = \"smoke\"\nbase_url = \"ftp://x\"\nmodles = []\n\
             [providers.b]\n[aliases]\nf = [\"nobody\"]\n",
        )
        .unwrap_err();
        let all = faults.join("\n");
        for expected in [
            "c.toml:1:1: unknown key `adr`: did you mean `addr`?",
            "c.toml:2:14: keep_alive: `soon` is not a duration",
            "c.toml:4:11: `smoke` is not allowed here: use openai_chat, openai_responses, anthropic, gemini, ollama",
            "c.toml:5:12: `ftp://x` is not a base URL",
            "c.toml:6:1: unknown key `modles`: did you mean `models`?",
            "c.toml:7:12: provider `b` needs `dialect` (or a `preset`)",
            "c.toml:9:1: alias `f`: no provider serves `nobody`",
        ] {
            assert!(all.contains(expected), "{expected}\nnot in\n{all}");
        }
    }

    #[test]
    fn a_syntax_error_has_a_place() {
        let faults = read("a = \n").unwrap_err();
        assert!(faults[0].starts_with("c.toml:1:"), "{faults:?}");
    }
}
