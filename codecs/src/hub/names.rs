//! Names and ids that every vendor accepts, and the way back to the client's own.
//!
//! Upstreams differ in the characters and lengths they allow for tool names and call ids. A [`NameMap`] gives every tool
//! of one request the name under which it is sent; an [`IdMap`] does the same for call ids, and tells repeated ids apart.
//! Both are deterministic, so that a conversation that only grows keeps its prefix (and the vendor's prompt cache).

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
};

use aws_lc_rs::digest::{SHA256, digest};

use super::ToolKind;
use crate::dialect::{
    context::{ToolIdentity, ToolTable},
    name::Dialect,
};

/// Longest call id that all upstreams accept.
const ID_MAX: usize = 64;
/// Longest end-user id of Chat Completions and Responses.
const USER_MAX: usize = 64;

/// The text's SHA-256 in lower-case hex.
pub(crate) fn sha256_hex(text: &str) -> String {
    digest(&SHA256, text.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A UUID (RFC 9562, version 8) that stands for a text: the same for the same one.
pub fn uuid(text: &str) -> String {
    let hex = sha256_hex(text);
    format!("{}-{}-8{}-8{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..32])
}

/// An end-user id for Chat Completions and Responses: as it is, or its SHA-256 where it is too long.
pub fn user_id(id: &str) -> Cow<'_, str> {
    if id.chars().count() > USER_MAX { Cow::Owned(sha256_hex(id)) } else { Cow::Borrowed(id) }
}

/// A call id of the characters and the length that all upstreams accept.
pub fn legal_id(id: &str) -> String {
    fit(id, ID_MAX, |c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}

/// A tool name that `to` accepts. Ollama accepts all.
pub fn legal_name(name: &str, to: Dialect) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    match to {
        Dialect::Ollama => name.to_owned(),
        Dialect::OpenAiChat | Dialect::OpenAiResponses => fit(name, name_max(to), plain),
        Dialect::Anthropic => fit(name, name_max(to), plain),
        Dialect::Gemini => {
            let allowed = |c: char| plain(c) || c == '.' || c == ':';
            if name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
                fit(name, name_max(to), allowed)
            } else {
                fit_as(&format!("_{name}"), name, name_max(to), allowed)
            }
        }
    }
}

/// Longest tool name of a dialect.
fn name_max(to: Dialect) -> usize {
    match to {
        Dialect::Anthropic => 128,
        Dialect::Ollama => usize::MAX,
        _ => 64,
    }
}

fn fit(text: &str, max: usize, allowed: impl Fn(char) -> bool) -> String {
    fit_as(text, text, max, allowed)
}

/// `text` with `_` for every character that is not allowed; too long: cut, with a digest of `original` at its end.
fn fit_as(text: &str, original: &str, max: usize, allowed: impl Fn(char) -> bool) -> String {
    let clean: String = text.chars().map(|c| if allowed(c) { c } else { '_' }).collect();
    if clean.len() <= max {
        return clean;
    }
    format!("{}_{}", &clean[..max - 9], &sha256_hex(original)[..8])
}

/// `base`, or `base` with the first of `_2`, `_3`, … that is not taken; shortened to stay within `max`.
fn unique(base: String, max: usize, taken: &HashSet<String>) -> String {
    if !taken.contains(&base) {
        return base;
    }
    let mut number = 2u64;
    loop {
        let suffix = format!("_{number}");
        let mut stem = base.as_str();
        while stem.len() + suffix.len() > max {
            let mut chars = stem.chars();
            chars.next_back();
            stem = chars.as_str();
        }
        let candidate = format!("{stem}{suffix}");
        if !taken.contains(&candidate) {
            return candidate;
        }
        number += 1;
    }
}

/// The flat name of a tool inside a Responses namespace.
pub fn flat_name(namespace: &str, name: &str) -> String {
    if namespace.ends_with("__") { format!("{namespace}{name}") } else { format!("{namespace}__{name}") }
}

/// Sent names of the tools of one request.
#[derive(Debug)]
pub struct NameMap {
    to: Dialect,
    /// (namespace, name) → sent name.
    sent: HashMap<(Option<String>, String), String>,
    taken: HashSet<String>,
    table: ToolTable,
}

impl NameMap {
    /// A map for tools that go to `to`.
    pub fn new(to: Dialect) -> Self {
        Self { to, sent: HashMap::new(), taken: HashSet::new(), table: ToolTable::default() }
    }

    /// Keeps a name for the tool that has it already, so that no other tool is renamed into it.
    pub fn reserve_plain(&mut self, name: &str) {
        if legal_name(name, self.to) == name && self.taken.insert(name.to_owned()) {
            self.sent.insert((None, name.to_owned()), name.to_owned());
        }
    }

    /// The sent name of a tool; the first call for an identity decides, and notes the way back.
    pub fn assign(&mut self, namespace: Option<&str>, name: &str, kind: ToolKind) -> String {
        let key = (namespace.map(str::to_owned), name.to_owned());
        let sent = match self.sent.get(&key) {
            Some(sent) => sent.clone(),
            None => {
                let sent = self.choose(namespace, name);
                self.taken.insert(sent.clone());
                self.sent.insert(key, sent.clone());
                sent
            }
        };
        let own = namespace.is_none() && sent == name && kind == ToolKind::Function;
        if !own && self.table.get(&sent).is_none() {
            let namespace = namespace.map(str::to_owned);
            self.table.insert(sent.clone(), ToolIdentity { name: name.to_owned(), namespace, kind });
        }
        sent
    }

    fn choose(&self, namespace: Option<&str>, name: &str) -> String {
        let Some(namespace) = namespace else {
            return unique(legal_name(name, self.to), name_max(self.to), &self.taken);
        };
        let mut flat = flat_name(namespace, name);
        // A plain tool of that very name: one more underscore tells them apart.
        if self.sent.contains_key(&(None, flat.clone())) {
            flat.push('_');
        }
        unique(legal_name(&flat, self.to), name_max(self.to), &self.taken)
    }

    /// The sent name of a tool that is only named, without its namespace (`tool_choice`): the plain tool, else the tool
    /// whose flat name or short name it is, else a new plain one.
    pub fn find(&mut self, name: &str) -> String {
        if let Some(sent) = self.sent.get(&(None, name.to_owned())) {
            return sent.clone();
        }
        let spaced = |(namespace, short): &(Option<String>, String)| match namespace {
            Some(namespace) => (flat_name(namespace, short) == name, short == name),
            None => (false, false),
        };
        let by_flat = self.sent.iter().find(|(key, _)| spaced(key).0);
        // Several namespaces may hold the short name: the smallest sent name, for the sake of a stable choice.
        let by_short = || self.sent.iter().filter(|(key, _)| spaced(key).1).min_by_key(|(_, sent)| sent.as_str());
        match by_flat.or_else(by_short) {
            Some((_, sent)) => sent.clone(),
            None => self.assign(None, name, ToolKind::Function),
        }
    }

    /// The way back.
    pub fn into_table(self) -> ToolTable {
        self.table
    }
}

/// Sent ids of the calls of one history.
#[derive(Debug, Default)]
pub struct IdMap {
    taken: HashSet<String>,
    /// Ids as the client knows them, where they were changed.
    client: HashSet<String>,
}

impl IdMap {
    /// The sent id of the next call in history. `keep` leaves the characters alone.
    pub fn assign(&mut self, id: &str, keep: bool) -> String {
        let base = if keep { id.to_owned() } else { legal_id(id) };
        let sent = unique(base, if keep { usize::MAX } else { ID_MAX }, &self.taken);
        self.taken.insert(sent.clone());
        if sent != id {
            self.client.insert(id.to_owned());
        }
        sent
    }

    /// All ids that the client or the upstream has seen: an answer must not use them again.
    pub fn into_used(self) -> HashSet<String> {
        let mut used = self.taken;
        used.extend(self.client);
        used
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_the_form_of_a_uuid() {
        let id = uuid("abc");
        assert!(id.starts_with("ba7816bf-8f01-8"), "{id}");
        let lengths: Vec<_> = id.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12]);
        assert!(id.as_bytes()[14] == b'8' && id.as_bytes()[19] == b'8');
    }

    #[test]
    fn names_fit_their_target() {
        let long = "mcp__a_very_long_server_name_for_testing__search_everything_in_the_repository";
        let cut = "mcp__a_very_long_server_name_for_testing__search_everyt_08c37980";
        for (name, to, expected) in [
            ("1st tool/x", Dialect::Gemini, "_1st_tool_x"),
            ("ns.fn:v1", Dialect::Gemini, "ns.fn:v1"),
            ("ns.fn:v1", Dialect::OpenAiChat, "ns_fn_v1"),
            ("größe", Dialect::Anthropic, "gr__e"),
            ("größe 1", Dialect::Ollama, "größe 1"),
            (long, Dialect::Gemini, cut),
            (long, Dialect::OpenAiResponses, cut),
            (long, Dialect::Anthropic, long),
        ] {
            assert_eq!(legal_name(name, to), expected, "{name} to {to:?}");
        }
        assert_eq!(legal_name(&"x".repeat(200), Dialect::Anthropic).len(), 128);
    }

    #[test]
    fn a_renamed_tool_never_takes_another_ones_name() {
        let mut names = NameMap::new(Dialect::Anthropic);
        names.reserve_plain("a_b");
        assert_eq!(names.assign(None, "a.b", ToolKind::Function), "a_b_2");
        assert_eq!(names.assign(None, "a/b", ToolKind::Function), "a_b_3");
        assert_eq!(names.assign(None, "a_b", ToolKind::Function), "a_b");
        assert_eq!(names.assign(None, "a.b", ToolKind::Function), "a_b_2");
        let table = names.into_table();
        assert_eq!(table.client_name("a_b_3"), "a/b");
        assert!(table.get("a_b").is_none());
    }

    #[test]
    fn namespaces_flatten_and_come_back() {
        let mut names = NameMap::new(Dialect::OpenAiChat);
        names.reserve_plain("ns__read");
        assert_eq!(names.assign(Some("ns"), "read", ToolKind::Function), "ns__read_");
        assert_eq!(names.assign(Some("mcp__fs__"), "list", ToolKind::Function), "mcp__fs__list");
        assert_eq!(names.find("list"), "mcp__fs__list");
        assert_eq!(names.find("mcp__fs__list"), "mcp__fs__list");
        assert_eq!(names.find("ns__read"), "ns__read");
        let table = names.into_table();
        let identity = table.get("ns__read_").cloned().unwrap_or_default();
        assert_eq!((identity.namespace.as_deref(), identity.name.as_str()), (Some("ns"), "read"));
    }

    #[test]
    fn ids_are_legal_and_told_apart() {
        let mut ids = IdMap::default();
        assert_eq!(ids.assign("call.1/x", false), "call_1_x");
        assert_eq!(ids.assign("call_1_x", false), "call_1_x_2");
        assert_eq!(ids.assign("call_1_x", false), "call_1_x_3");
        let long = "z".repeat(80);
        let first = ids.assign(&long, false);
        let second = ids.assign(&long, false);
        assert_eq!((first.len(), second.len()), (64, 64));
        assert!(first.starts_with(&"z".repeat(55)) && second.ends_with("_2") && first != second);
        assert_eq!(ids.assign("g.1", true), "g.1");
        let used = ids.into_used();
        assert!(used.contains("call.1/x") && used.contains("call_1_x_3") && used.contains(&long));
    }

    #[test]
    fn long_user_ids_are_hashed() {
        assert_eq!(user_id("u1"), "u1");
        let id = "user_0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef_account__session_1";
        assert_eq!(user_id(id), "3fe9217d81e1d48cbf6d621b038e4074fc493d6b74f4b9b1d73e9662045e81d8");
    }
}
