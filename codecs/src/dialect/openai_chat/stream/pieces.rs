//! Members of chunks, each found in one walk. Names that are spelled with escapes are not recognised: nobody sends such.

use crate::{
    dialect::openai_chat::words,
    hub::ToolKind,
    json::{Raw, Text},
};

/// Members of a chunk.
#[derive(Default)]
pub(super) struct Chunk<'a> {
    pub(super) id: Option<Text<'a>>,
    pub(super) model: Option<Text<'a>>,
    pub(super) created: Option<Raw<'a>>,
    pub(super) choices: Option<Raw<'a>>,
    pub(super) usage: Option<Raw<'a>>,
    pub(super) failed: bool,
}

impl<'a> Chunk<'a> {
    pub(super) fn read(value: Raw<'a>) -> Self {
        let mut chunk = Self::default();
        let mut odd = false;
        for (key, value) in value.members() {
            match key {
                Text::Escaped("choices") => chunk.choices = Some(value),
                Text::Escaped("id") => chunk.id = value.as_text(),
                Text::Escaped("model") => chunk.model = value.as_text(),
                Text::Escaped("created") => chunk.created = Some(value),
                Text::Escaped("usage") if value.is_object() => chunk.usage = Some(value),
                Text::Escaped("error") => chunk.failed = words::is_error(value),
                // Groq counts here.
                Text::Escaped("x_groq") if chunk.usage.is_none() => chunk.usage = value.get("usage"),
                Text::Escaped("detail") => odd |= !value.is_null(),
                Text::Escaped("object") => odd |= value.as_text().is_some_and(|word| word.is("error")),
                _ => {}
            }
        }
        chunk.failed |= odd && chunk.choices.is_none();
        // Google's chat server wraps its errors into a list.
        chunk.failed |= value.elements().next().is_some_and(|first| first.get("error").is_some());
        chunk
    }
}

/// Members of a delta, or of a whole message.
#[derive(Default)]
pub(super) struct Delta<'a> {
    pub(super) content: Option<Raw<'a>>,
    pub(super) reasoning_content: Option<Raw<'a>>,
    pub(super) reasoning: Option<Raw<'a>>,
    pub(super) details: Option<Raw<'a>>,
    pub(super) refusal: Option<Raw<'a>>,
    pub(super) images: Option<Raw<'a>>,
    pub(super) tool_calls: Option<Raw<'a>>,
    pub(super) function_call: Option<Raw<'a>>,
}

impl<'a> Delta<'a> {
    pub(super) fn read(value: Raw<'a>) -> Self {
        let mut delta = Self::default();
        for (key, value) in value.members() {
            let slot = match key {
                Text::Escaped("content") => &mut delta.content,
                Text::Escaped("reasoning_content") => &mut delta.reasoning_content,
                Text::Escaped("reasoning") => &mut delta.reasoning,
                Text::Escaped("reasoning_details") => &mut delta.details,
                Text::Escaped("refusal") => &mut delta.refusal,
                Text::Escaped("images") => &mut delta.images,
                Text::Escaped("tool_calls") => &mut delta.tool_calls,
                Text::Escaped("function_call") => &mut delta.function_call,
                _ => continue,
            };
            *slot = (!value.is_null()).then_some(value);
        }
        delta
    }
}

/// A piece of a call.
#[derive(Default)]
pub(super) struct Piece<'a> {
    pub(super) index: Option<u64>,
    pub(super) id: Option<Text<'a>>,
    pub(super) name: Option<Text<'a>>,
    pub(super) kind: ToolKind,
    pub(super) arguments: Option<Raw<'a>>,
    pub(super) signature: Option<Text<'a>>,
    /// From the legacy `function_call`, which has no id.
    pub(super) legacy: bool,
}

impl<'a> Piece<'a> {
    pub(super) fn read(value: Raw<'a>) -> Self {
        let mut piece = Self::default();
        for (key, value) in value.members() {
            match key {
                Text::Escaped("index") => piece.index = value.as_u64(),
                Text::Escaped("id") => piece.id = value.as_text(),
                Text::Escaped("type") if value.as_text().is_some_and(|kind| kind.is("custom")) => {
                    piece.kind = ToolKind::Custom;
                }
                Text::Escaped("function" | "custom") => piece.body(value),
                Text::Escaped("extra_content") => {
                    piece.signature = value.at(&["google", "thought_signature"]).and_then(Raw::as_text);
                }
                _ => {}
            }
        }
        piece
    }

    /// Reads the `function` or `custom` member.
    pub(super) fn body(&mut self, value: Raw<'a>) {
        for (key, value) in value.members() {
            match key {
                Text::Escaped("name") => self.name = value.as_text(),
                Text::Escaped("arguments") => self.arguments = Some(value),
                Text::Escaped("input") => {
                    self.arguments = Some(value);
                    self.kind = ToolKind::Custom;
                }
                _ => {}
            }
        }
    }
}
