//! Edits of answers whose dialect is the client's: which members, and what they become.

use bytes::Bytes;

use crate::{
    dialect::Dialect,
    json::{MemberEdits, Raw, Splice, Text},
};

/// What to change in an answer, whole or streamed. The default changes nothing.
#[derive(Debug, Clone, Default)]
pub struct ReplyEdits {
    /// The model name that the client knows.
    pub model: Option<String>,
    /// Replace ids that chat clients cannot work with.
    pub fix_id: Option<FixId>,
    /// Tokens added to the prompt counter and the total, so that agents compact earlier. Last step toward the client;
    /// never for logs or billing.
    pub usage_pad: u64,
}

/// Replaces missing and useless ids of chat chunks. One id for the whole stream.
#[derive(Debug, Clone)]
pub struct FixId {
    /// The id in use, once it is decided.
    decided: Option<String>,
    fallback: String,
}

/// Shorter ids are useless, as are the words `chat` and `completion`.
const ID_CHARS_MIN: usize = 8;

impl FixId {
    /// `now_ms`: time in milliseconds, the last resort for an id.
    pub fn new(now_ms: u64) -> Self {
        Self::with_id(format!("chatcmpl-{}", base36(now_ms)))
    }

    /// The id that is used where the upstream's chunk holds no request or trace id.
    pub fn with_id(id: impl Into<String>) -> Self {
        Self { decided: None, fallback: id.into() }
    }

    /// The id that a chunk must get; `None`: its own is good.
    fn replacement(&mut self, chunk: Raw<'_>) -> Option<&str> {
        if chunk.get("choices").is_none() || chunk.get_text("id").is_some_and(is_good) {
            return None;
        }
        if self.decided.is_none() {
            let fields = chunk.get("extend_fields");
            let given = fields.and_then(|fields| fields.get_text("requestId").or_else(|| fields.get_text("traceId")));
            let given = given.filter(|id| !id.is_empty()).map(|id| format!("chatcmpl-{}", id.plain()));
            self.decided = Some(given.unwrap_or_else(|| self.fallback.clone()));
        }
        self.decided.as_deref()
    }
}

fn is_good(id: Text<'_>) -> bool {
    let id = id.plain();
    id != "completion" && id.chars().count() >= ID_CHARS_MIN
}

fn base36(mut value: u64) -> String {
    let mut digits = Vec::new();
    loop {
        digits.push(b"0123456789abcdefghijklmnopqrstuvwxyz"[(value % 36) as usize]);
        value /= 36;
        if value == 0 {
            break;
        }
    }
    digits.iter().rev().map(|&digit| char::from(digit)).collect()
}

impl ReplyEdits {
    /// Whether nothing is to be changed.
    pub fn is_empty(&self) -> bool {
        self.model.is_none() && self.fix_id.is_none() && self.usage_pad == 0
    }

    /// The edited document as slices for one vectored write. A body that is no JSON object is left alone.
    pub fn document(&mut self, dialect: Dialect, body: &Bytes) -> Vec<Bytes> {
        match Raw::parse(body) {
            Ok(root) if !self.is_empty() => self.value(dialect, root, body).slices(body),
            _ => vec![body.clone()],
        }
    }

    /// The edits of one document or stream object.
    pub(super) fn value<'a>(&mut self, dialect: Dialect, root: Raw<'a>, whole: &'a [u8]) -> Splice<'a> {
        let mut splice = Splice::new(whole);
        let mut members = MemberEdits::new();
        if let (Some(fix), Dialect::OpenAiChat) = (&mut self.fix_id, dialect)
            && let Some(id) = fix.replacement(root)
        {
            members.set_string("id", id);
        }
        self.holder(dialect, root, members, &mut splice);
        let inner = match dialect {
            Dialect::Anthropic => root.get("message"),
            Dialect::OpenAiResponses => root.get("response"),
            Dialect::OpenAiChat | Dialect::Gemini | Dialect::Ollama => None,
        };
        if let Some(inner) = inner {
            self.holder(dialect, inner, MemberEdits::new(), &mut splice);
        }
        splice
    }

    /// Edits an object that may hold the model's name and the usage.
    fn holder<'a>(&self, dialect: Dialect, object: Raw<'a>, mut members: MemberEdits, splice: &mut Splice<'a>) {
        let (model_member, usage_member) = match dialect {
            Dialect::Gemini => ("modelVersion", "usageMetadata"),
            _ => ("model", "usage"),
        };
        if let (Some(model), Some(_)) = (&self.model, object.get_text(model_member)) {
            members.set_string(model_member, model);
        }
        if !members.is_empty() {
            splice.members(object, &members);
        }
        if self.usage_pad > 0 {
            // Ollama counts in the row itself.
            let usage = if dialect == Dialect::Ollama { Some(object) } else { object.get(usage_member) };
            usage.into_iter().for_each(|usage| pad(usage, self.usage_pad, splice));
        }
    }
}

/// Adds `tokens` to the prompt counter and the total of a usage object.
fn pad<'a>(usage: Raw<'a>, tokens: u64, splice: &mut Splice<'a>) {
    let prompt = ["input_tokens", "prompt_tokens", "promptTokenCount", "prompt_eval_count"];
    if !prompt.iter().any(|name| usage.get_u64(name).is_some()) {
        return;
    }
    let mut members = MemberEdits::new();
    for name in prompt.into_iter().chain(["total_tokens", "totalTokenCount"]) {
        if let Some(count) = usage.get_u64(name) {
            members.set(name, count.saturating_add(tokens).to_string());
        }
    }
    if let (Some(input), Some(output), None) =
        (usage.get_u64("prompt_tokens"), usage.get_u64("completion_tokens"), usage.get("total_tokens"))
    {
        members.set("total_tokens", input.saturating_add(output).saturating_add(tokens).to_string());
    }
    splice.members(usage, &members);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn document(edits: &mut ReplyEdits, dialect: Dialect, body: &'static str) -> String {
        String::from_utf8(edits.document(dialect, &Bytes::from_static(body.as_bytes())).concat()).unwrap()
    }

    #[test]
    fn models_are_renamed_where_each_dialect_has_them() {
        let mut edits = ReplyEdits { model: Some("alias".into()), ..ReplyEdits::default() };
        for (dialect, body, want) in [
            (Dialect::OpenAiChat, r#"{"model":"m","x":{"model":"m"}}"#, r#"{"model":"alias","x":{"model":"m"}}"#),
            (Dialect::Anthropic, r#"{"message":{"model":"m"}}"#, r#"{"message":{"model":"alias"}}"#),
            (Dialect::Anthropic, r#"{"model":"m"}"#, r#"{"model":"alias"}"#),
            (Dialect::OpenAiResponses, r#"{"response":{"model":"m"}}"#, r#"{"response":{"model":"alias"}}"#),
            (Dialect::Gemini, r#"{"modelVersion":"m","model":"m"}"#, r#"{"modelVersion":"alias","model":"m"}"#),
            (Dialect::Ollama, r#"{"model":"m","done":true}"#, r#"{"model":"alias","done":true}"#),
            (Dialect::OpenAiChat, r#"{"choices":[]}"#, r#"{"choices":[]}"#),
            (Dialect::OpenAiChat, "oops", "oops"),
        ] {
            assert_eq!(document(&mut edits, dialect, body), want);
        }
    }

    #[test]
    fn the_pad_is_added_where_each_dialect_counts() {
        let mut edits = ReplyEdits { usage_pad: 2000, model: Some("alias".into()), ..ReplyEdits::default() };
        for (dialect, body, want) in [
            (
                Dialect::OpenAiChat,
                r#"{"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}"#,
                r#"{"usage":{"prompt_tokens":2001,"completion_tokens":2,"total_tokens":2003}}"#,
            ),
            (
                Dialect::OpenAiResponses,
                r#"{"response":{"usage":{"input_tokens":1,"total_tokens":3}}}"#,
                r#"{"response":{"usage":{"input_tokens":2001,"total_tokens":2003}}}"#,
            ),
            (
                Dialect::Anthropic,
                r#"{"message":{"usage":{"input_tokens":1,"output_tokens":2}}}"#,
                r#"{"message":{"usage":{"input_tokens":2001,"output_tokens":2}}}"#,
            ),
            (Dialect::Anthropic, r#"{"usage":{"output_tokens":2}}"#, r#"{"usage":{"output_tokens":2}}"#),
            (
                Dialect::Gemini,
                r#"{"usageMetadata":{"promptTokenCount":1,"totalTokenCount":3}}"#,
                r#"{"usageMetadata":{"promptTokenCount":2001,"totalTokenCount":2003}}"#,
            ),
            (
                Dialect::Ollama,
                r#"{"model":"m","done":true,"prompt_eval_count":1}"#,
                r#"{"model":"alias","done":true,"prompt_eval_count":2001}"#,
            ),
            (Dialect::Ollama, r#"{"done":false}"#, r#"{"done":false}"#),
        ] {
            assert_eq!(document(&mut edits, dialect, body), want);
        }
    }

    #[test]
    fn the_first_bad_id_decides_for_the_whole_stream() {
        let mut edits = ReplyEdits { fix_id: Some(FixId::new(36 * 36)), ..ReplyEdits::default() };
        let first = document(
            &mut edits,
            Dialect::OpenAiChat,
            r#"{"id":"completion","choices":[],"extend_fields":{"traceId":"t-1"}}"#,
        );
        assert!(first.starts_with(r#"{"id":"chatcmpl-t-1","#), "{first}");
        for (body, want) in [
            (r#"{"choices":[]}"#, r#"{"id":"chatcmpl-t-1","choices":[]}"#),
            (r#"{"id":null,"choices":[]}"#, r#"{"id":"chatcmpl-t-1","choices":[]}"#),
            (r#"{"id":"12345678","choices":[]}"#, r#"{"id":"12345678","choices":[]}"#),
            (r#"{"error":{"message":"x"}}"#, r#"{"error":{"message":"x"}}"#),
        ] {
            assert_eq!(document(&mut edits, Dialect::OpenAiChat, body), want);
        }
        let mut edits = ReplyEdits { fix_id: Some(FixId::new(36 * 36)), ..ReplyEdits::default() };
        assert_eq!(
            document(&mut edits, Dialect::OpenAiChat, r#"{"choices":[]}"#),
            r#"{"id":"chatcmpl-100","choices":[]}"#
        );
    }
}
