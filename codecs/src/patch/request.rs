//! Edits of a request whose dialect is the upstream's.

use bytes::Bytes;

use crate::{
    dialect::Placeholder,
    hub::ApiError,
    json::{MemberEdits, Raw, Splice},
};

/// What to change in a request. The default changes nothing.
#[derive(Debug, Clone, Default)]
pub struct RequestEdits {
    /// The upstream's name of the model.
    pub model: Option<String>,
    /// Top-level members to rename: from, to. Where both are there the new name's value stays.
    pub rename: Vec<(String, String)>,
    /// Top-level members to set (JSON text); they win over renamed ones.
    pub set: Vec<(String, String)>,
    /// Top-level members to remove.
    pub remove: Vec<String>,
    /// Expand the model aliases of DeepSeek connections.
    pub deepseek_aliases: bool,
    /// Which assistant turns of a chat request get `reasoning_content: " "` when they have none.
    pub placeholder: Placeholder,
    /// Remove tools that a more capable declared tool replaces.
    pub dedupe_tools: bool,
}

/// Model names that stand for a model and a thinking wish: alias, model, wish.
const DEEPSEEK_ALIASES: [(&str, &str, Wish); 2] = [
    ("deepseek-v4-pro-max", "deepseek-v4-pro", Wish::Most),
    ("deepseek-v4-pro-none", "deepseek-v4-pro", Wish::Nothing),
];

#[derive(Debug, Clone, Copy, PartialEq)]
enum Wish {
    Most,
    Nothing,
}

/// If one of the first is declared, the second are removed. A trailing `*` stands for any rest of the name.
const DEDUPE: [(&[&str], &[&str]); 2] = [
    (
        &[
            "mcp__exa__web_search_exa",
            "mcp__exa__web_fetch_exa",
            "mcp__tavily__tavily_search",
            "mcp__tavily__tavily_extract",
        ],
        &["WebSearch", "WebFetch", "mcp__workspace__web_fetch"],
    ),
    (&["mcp__browsermcp__*"], &["mcp__Claude_in_Chrome__*"]),
];

/// Whether a name stands for a DeepSeek model and a thinking wish.
pub fn is_deepseek_alias(model: &str) -> bool {
    DEEPSEEK_ALIASES.iter().any(|(alias, ..)| *alias == model)
}

/// Which turns of a model's history must hold reasoning, judged by the model's name.
pub fn placeholder_for(model: &str) -> Placeholder {
    if model.starts_with("deepseek-") {
        Placeholder::All
    } else if model.starts_with("kimi-") {
        Placeholder::Tool
    } else {
        Placeholder::Off
    }
}

impl RequestEdits {
    /// Whether nothing is to be changed.
    pub fn is_empty(&self) -> bool {
        self.model.is_none()
            && self.rename.is_empty()
            && self.set.is_empty()
            && self.remove.is_empty()
            && !self.deepseek_aliases
            && self.placeholder == Placeholder::Off
            && !self.dedupe_tools
    }

    /// The edited body as slices for one vectored write.
    pub fn apply(&self, body: &Bytes) -> Result<Vec<Bytes>, ApiError> {
        if self.is_empty() {
            return Ok(vec![body.clone()]);
        }
        let root = Raw::parse(body)
            .map_err(|error| ApiError::invalid("body", format!("the body is not valid JSON: {error}")))?;
        if !root.is_object() {
            return Err(ApiError::invalid("body", format!("the body must be an object, not {}", root.kind().name())));
        }
        let mut splice = Splice::new(body);
        let mut members = MemberEdits::new();
        if let Some(model) = &self.model {
            members.set_string("model", model);
        }
        let mut thinking_off = root.at(&["thinking", "type"]).and_then(Raw::as_text).is_some_and(|t| t.is("disabled"));
        if let Some(wish) = self.alias(root, &mut members) {
            thinking_off = wish == Wish::Nothing;
        }
        for (from, to) in &self.rename {
            // The last occurrence is the one that counts for most readers.
            let Some((_, value)) = root.members().filter(|(key, _)| key.is(from)).last() else { continue };
            members.remove(from);
            if root.get(to).is_none() {
                members.set(to, value.as_str().to_owned());
            }
        }
        for (name, value) in &self.set {
            members.set(name, value.clone());
        }
        for name in &self.remove {
            members.remove(name);
        }
        if !members.is_empty() {
            splice.members(root, &members);
        }
        if !thinking_off {
            add_placeholders(root, self.placeholder, &mut splice);
        }
        if self.dedupe_tools {
            dedupe(root, &mut splice);
        }
        Ok(splice.slices(body))
    }

    fn alias(&self, root: Raw<'_>, members: &mut MemberEdits) -> Option<Wish> {
        if !self.deepseek_aliases {
            return None;
        }
        let asked = self.model.clone().or_else(|| root.get_text("model").map(|name| name.plain().into_owned()))?;
        let (_, model, wish) = DEEPSEEK_ALIASES.into_iter().find(|(alias, ..)| *alias == asked)?;
        members.set_string("model", model);
        match wish {
            Wish::Most => {
                members.set("thinking", r#"{"type":"enabled"}"#).set_string("reasoning_effort", "max");
            }
            Wish::Nothing => {
                members.set("thinking", r#"{"type":"disabled"}"#).remove("reasoning_effort");
            }
        }
        Some(wish)
    }
}

/// Real reasoning always wins over the placeholder.
fn add_placeholders<'a>(root: Raw<'a>, placeholder: Placeholder, splice: &mut Splice<'a>) {
    let mut blank = MemberEdits::new();
    blank.set_string("reasoning_content", " ");
    for message in root.get("messages").into_iter().flat_map(Raw::elements) {
        let has_calls = || message.get("tool_calls").is_some_and(|calls| calls.elements().next().is_some());
        let wanted = match placeholder {
            Placeholder::Off => return,
            Placeholder::All => true,
            Placeholder::Tool => has_calls(),
        };
        let assistant = message.get_text("role").is_some_and(|role| role.is("assistant"));
        let has_reasoning = message.get_text("reasoning_content").is_some_and(|text| !text.is_empty());
        if wanted && assistant && !has_reasoning {
            splice.members(message, &blank);
        }
    }
}

fn dedupe<'a>(root: Raw<'a>, splice: &mut Splice<'a>) {
    let Some(tools) = root.get("tools") else { return };
    let names: Vec<String> = tools.elements().filter_map(tool_name).collect();
    let victims: Vec<&str> = DEDUPE
        .iter()
        .filter(|(triggers, _)| names.iter().any(|name| any_matches(triggers, name)))
        .flat_map(|(_, victims)| victims.iter().copied())
        .collect();
    let forced = root.get("tool_choice").and_then(tool_name);
    if victims.is_empty() || forced.is_some_and(|name| any_matches(&victims, &name)) {
        return;
    }
    splice.retain(tools, |tool| tool_name(tool).is_none_or(|name| !any_matches(&victims, &name)));
}

/// Name of an Anthropic or chat tool, or of the tool that a `tool_choice` forces.
fn tool_name(tool: Raw<'_>) -> Option<String> {
    let name = tool.get_text("name").or_else(|| tool.get("function")?.get_text("name"));
    name.map(|name| name.plain().into_owned())
}

fn any_matches(patterns: &[&str], name: &str) -> bool {
    patterns.iter().any(|pattern| match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => *pattern == name,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn apply(edits: &RequestEdits, body: &str) -> String {
        String::from_utf8(edits.apply(&Bytes::copy_from_slice(body.as_bytes())).unwrap().concat()).unwrap()
    }

    #[test]
    fn no_edit_is_no_work() {
        let body = Bytes::from_static(b"not even JSON");
        assert_eq!(RequestEdits::default().apply(&body).unwrap(), [body]);
    }

    #[test]
    fn members_are_set_and_removed() {
        let edits = RequestEdits {
            model: Some("m2".into()),
            set: vec![("stream".into(), "true".into())],
            remove: vec!["seed".into()],
            ..RequestEdits::default()
        };
        assert_eq!(apply(&edits, r#"{"model":"m","seed":1,"n":1e0}"#), r#"{"stream":true,"model":"m2","n":1e0}"#);
    }

    #[test]
    fn members_are_renamed() {
        let edits = RequestEdits {
            rename: vec![("max_tokens".into(), "max_completion_tokens".into()), ("a".into(), "temperature".into())],
            set: vec![("temperature".into(), "1".into())],
            ..RequestEdits::default()
        };
        for (body, want) in [
            (r#"{"x":1.0,"max_tokens":7}"#, r#"{"temperature":1,"max_completion_tokens":7,"x":1.0}"#),
            (r#"{"max_tokens":7,"max_completion_tokens":8}"#, r#"{"temperature":1,"max_completion_tokens":8}"#),
            (r#"{"a":5,"temperature":0.5}"#, r#"{"temperature":1}"#),
            (r#"{"n":1}"#, r#"{"temperature":1,"n":1}"#),
        ] {
            let sorted = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
            assert_eq!(sorted(&apply(&edits, body)), sorted(want), "{body}");
        }
    }

    #[test]
    fn an_alias_is_expanded_after_the_model_was_named() {
        let edits = RequestEdits {
            model: Some("deepseek-v4-pro-none".into()),
            deepseek_aliases: true,
            placeholder: Placeholder::All,
            ..RequestEdits::default()
        };
        let got = apply(&edits, r#"{"model":"x","messages":[{"role":"assistant","content":"a"}]}"#);
        let want = r#"{"thinking":{"type":"disabled"},"model":"deepseek-v4-pro","messages":[{"role":"assistant","content":"a"}]}"#;
        assert_eq!(got, want);
    }

    #[test]
    fn an_empty_reasoning_is_filled() {
        let edits = RequestEdits { placeholder: Placeholder::All, ..RequestEdits::default() };
        let got = apply(&edits, r#"{"messages":[{"role":"assistant","reasoning_content":""},{"role":"user"}]}"#);
        assert_eq!(got, r#"{"messages":[{"role":"assistant","reasoning_content":" "},{"role":"user"}]}"#);
    }

    #[test]
    fn a_bad_body_is_the_clients_fault() {
        let edits = RequestEdits { model: Some("m".into()), ..RequestEdits::default() };
        for body in ["", "{", "[]", "{\"a\":1} x"] {
            let error = edits.apply(&Bytes::copy_from_slice(body.as_bytes())).unwrap_err();
            assert_eq!(error.kind, crate::hub::ErrorKind::Invalid);
        }
    }
}
