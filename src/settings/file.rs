//! The TOML file: settings at the top, `[providers.NAME]`, `[aliases]` and `[[keys]]` below.
//!
//! Every fault is reported with line and column, all of them at once. Unknown keys are faults.

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    Alias, Fault, KeyHash, Scopes, Settings, Source,
    fields::{self, Env, PROVIDER_KEYS},
    table,
    told::Told,
    value,
};
use crate::store::digest;

/// The sections besides the settings.
const SECTIONS: [&str; 3] = ["providers", "aliases", "keys"];

type Value<'i> = Spanned<DeValue<'i>>;

/// Reads the file into `settings`; `env` resolves `api_key_env`.
pub(super) fn apply(
    settings: &mut Settings,
    told: &mut Told,
    (file, text): (&str, &str),
    env: &[(String, String)],
    faults: &mut Vec<Fault>,
) {
    let mut reader = Reader { file, text, env, faults };
    let Some(document) = reader.document() else { return };
    for (key, value) in document.get_ref() {
        let name: &str = key.get_ref();
        match name {
            "providers" => reader.providers(value, settings),
            "aliases" => reader.aliases(value, settings),
            "keys" => reader.keys(value, settings),
            _ => match table::row(name) {
                Some(row) => {
                    let Some(text) = reader.checked(value, plain(value).scalar()) else { continue };
                    let place = reader.place(value.span().start);
                    if let Err(mut fault) = told.tell(settings, row, &text, Source::File, place) {
                        fault.message = format!("{name}: {}", fault.message);
                        reader.faults.push(fault);
                    }
                }
                None => {
                    let allowed = table::TABLE.iter().map(|row| row.name).chain(SECTIONS);
                    reader.fault(key.span().start, &value::unknown("key", name, allowed));
                }
            },
        }
    }
}

/// Reads a file of keys into `settings`: nothing else may stand in it.
pub(super) fn apply_keys(settings: &mut Settings, (file, text): (&str, &str), faults: &mut Vec<Fault>) {
    let mut reader = Reader { file, text, env: &[], faults };
    let Some(document) = reader.document() else { return };
    for (key, value) in document.get_ref() {
        match key.get_ref().as_ref() {
            "keys" => reader.keys(value, settings),
            name => reader.fault(key.span().start, &value::unknown("key", name, ["keys"])),
        }
    }
}

struct Reader<'r> {
    file: &'r str,
    text: &'r str,
    env: &'r [(String, String)],
    faults: &'r mut Vec<Fault>,
}

impl<'r> Reader<'r> {
    /// The text as a document, if it is one.
    fn document(&mut self) -> Option<Spanned<DeTable<'r>>> {
        let (document, errors) = DeTable::parse_recoverable(self.text);
        for error in &errors {
            self.fault(error.span().map_or(0, |span| span.start), error.message());
        }
        errors.is_empty().then_some(document)
    }

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

    fn expected(&mut self, value: &Value<'_>, what: &str) {
        let found = value.get_ref().type_str();
        self.fault(value.span().start, &format!("expected {what}, found a value of type {found}"));
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
            let Some(table) = self.table(value) else { continue };
            let read: Vec<_> = table.iter().map(|(key, value)| (key.get_ref().as_ref(), plain(value))).collect();
            match fields::provider(key.get_ref(), Source::File, &read, false, &Env(self.env)) {
                Ok(provider) => settings.providers.push(provider),
                Err(wrong) => wrong.into_iter().for_each(|wrong| {
                    let at = match wrong.field.and_then(|at| table.iter().nth(at)) {
                        Some((key, value))
                            if PROVIDER_KEYS.iter().any(|field| field.name == key.get_ref().as_ref()) =>
                        {
                            wrong.item.and_then(|item| item_of(value, item)).unwrap_or(value).span().start
                        }
                        Some((key, _)) => key.span().start,
                        None => key.span().start,
                    };
                    self.fault(at, &wrong.message);
                }),
            }
        }
    }

    fn aliases(&mut self, value: &Value<'_>, settings: &mut Settings) {
        let Some(table) = self.table(value) else { return };
        for (key, value) in table {
            if let Some(models) = self.checked(value, plain(value).texts()) {
                if models.is_empty() {
                    self.fault(value.span().start, "an alias needs at least one model");
                }
                let place = self.place(key.span().start);
                settings.aliases.push(Alias::new(key.get_ref(), models, place, Source::File));
            }
        }
    }

    fn keys(&mut self, value: &Value<'_>, settings: &mut Settings) {
        let Some(entries) = value.get_ref().as_array() else { return self.expected(value, "[[keys]] tables") };
        for entry in entries.iter() {
            let Some(table) = self.table(entry) else { continue };
            let mut read = KeyHash::new("", "", [0; 32], Source::File);
            let mut digest = None;
            for (key, value) in table {
                let plain = plain(value);
                let done = match key.get_ref().as_ref() {
                    "name" => plain.text().map(|name| read.name = name.into()),
                    "sha256" => plain.text().and_then(digest_of).map(|sha256| digest = Some(sha256)),
                    "scopes" => {
                        plain.texts().and_then(|names| Scopes::parse(names.iter().map(String::as_str))).map(|s| {
                            read.scopes = s;
                        })
                    }
                    "allowed_models" => plain.texts().map(|list| read.allowed_models = list),
                    "allowed_providers" => plain.texts().map(|list| read.allowed_providers = list),
                    "allowed_cidrs" => plain.texts().and_then(|list| {
                        read.allowed_cidrs = list.iter().map(|net| net.parse()).collect::<Result<_, _>>()?;
                        Ok(())
                    }),
                    "expires_at" => {
                        let text = value.get_ref().as_str().map(str::to_owned);
                        let text = text.or_else(|| value.get_ref().as_datetime().map(ToString::to_string));
                        expiry(text.as_deref()).map(|at| read.expires_at_ms = Some(at))
                    }
                    name => {
                        self.fault(key.span().start, &value::unknown("key", name, KEY_KEYS));
                        continue;
                    }
                };
                self.checked(value, done);
            }
            match digest.filter(|_| !read.name.is_empty()) {
                Some(sha256) => {
                    let id = format!("file:{}", read.name).into();
                    settings.keys.push(KeyHash { id, sha256, ..read });
                }
                None => self.fault(
                    entry.span().start,
                    "a key needs `name` and `sha256` (make one with `flow-router key NAME`)",
                ),
            }
        }
    }
}

/// What may stand in a `[[keys]]` table.
const KEY_KEYS: [&str; 7] =
    ["name", "sha256", "scopes", "allowed_models", "allowed_providers", "allowed_cidrs", "expires_at"];

/// A time in RFC 3339 as milliseconds since the epoch.
fn expiry(text: Option<&str>) -> Result<i64, String> {
    let time = text.and_then(|text| text.parse::<jiff::Timestamp>().ok());
    time.map(|time| time.as_millisecond()).ok_or_else(|| "expected a time such as 2027-01-31T00:00:00Z".to_owned())
}

/// A member or an item of a value, by its number.
fn item_of<'v, 'i>(value: &'v Value<'i>, item: usize) -> Option<&'v Value<'i>> {
    match value.get_ref() {
        DeValue::Table(table) => table.iter().nth(item).map(|(_, value)| value),
        DeValue::Array(items) => items.get(item),
        _ => None,
    }
}

/// A TOML value without its places.
fn plain(value: &Value<'_>) -> fields::Value {
    match value.get_ref() {
        DeValue::String(text) => fields::Value::Text(text.to_string()),
        DeValue::Integer(number) => {
            // `0x10` is 16 wherever the value goes.
            let decimal = i64::from_str_radix(number.as_str(), number.radix()).map(|number| number.to_string());
            fields::Value::Number(decimal.unwrap_or_else(|_| number.as_str().to_owned()))
        }
        DeValue::Float(number) => fields::Value::Number(number.as_str().to_owned()),
        DeValue::Boolean(flag) => fields::Value::Bool(*flag),
        DeValue::Array(items) => fields::Value::List(items.iter().map(plain).collect()),
        DeValue::Table(table) => {
            fields::Value::Table(table.iter().map(|(key, value)| (key.get_ref().to_string(), plain(value))).collect())
        }
        DeValue::Datetime(_) => fields::Value::Other("datetime"),
    }
}

/// The digest of a key.
fn digest_of(text: &str) -> Result<[u8; 32], String> {
    let wrong = "a SHA-256 digest has 64 hexadecimal digits (make one with `flow-router key NAME`)";
    digest::parse(text).ok_or_else(|| wrong.to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use codecs::dialect::ChatFlavour;

    use super::*;
    use crate::settings::{Scope, Sources, load};

    fn read(text: &str) -> Result<Settings, Vec<String>> {
        let env = vec![("TEST_KEY".to_owned(), "sk-1".to_owned())];
        load(&Sources { env, file: Some(("c.toml".into(), text.to_owned())), ..Sources::default() })
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
    fn a_key_may_be_restricted() {
        let digest = "ab".repeat(32);
        let text = format!(
            "[[keys]]\nname = \"a\"\nsha256 = \"{digest}\"\nscopes = [\"models:read\"]\nallowed_models = \"gpt-*\"\n\
             allowed_cidrs = [\"10.0.0.0/8\"]\nexpires_at = 2027-01-31T00:00:00Z\n[[keys]]\nname = \"b\"\n\
             sha256 = \"{digest}\"\nexpires_at = \"2027-01-31T00:00:00.5Z\"\n"
        );
        let keys = read(&text).unwrap().keys;
        assert_eq!((&*keys[0].id, &*keys[0].name), ("file:a", "a"));
        assert!(keys[0].scopes.allow(Scope::ModelsRead) && !keys[0].scopes.allow(Scope::Inference));
        assert_eq!(keys[0].expires_at_ms, Some(1_801_353_600_000));
        assert_eq!(keys[1].expires_at_ms, Some(1_801_353_600_500));
        assert!(keys[1].scopes.allow(Scope::Inference) && keys[1].allowed_models.is_empty());
        let text = format!(
            "[[keys]]\nname = \"a\"\nsha256 = \"{digest}\"\nscopes = [\"all\"]\nexpires_at = \"soon\"\nallowed_cidrs = \"x\"\n"
        );
        let faults = read(&text).unwrap_err().join("\n");
        for expected in ["c.toml:4:10: `all` is not a scope", "c.toml:5:14: expected a time", "`x` is not a network"] {
            assert!(faults.contains(expected), "{faults}");
        }
    }

    #[test]
    fn a_syntax_error_has_a_place() {
        let faults = read("a = \n").unwrap_err();
        assert!(faults[0].starts_with("c.toml:1:"), "{faults:?}");
    }
}
