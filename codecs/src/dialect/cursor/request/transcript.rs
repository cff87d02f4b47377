//! A hub request in the words of Anthropic Messages: of the public dialects the one that loses least here (results of tools
//! that failed, thinking with its signature, several results before a text).
//!
//! Only what Cursor's requests can hold is written, and nothing is added: limits, legal ids and the like are the business of
//! the way from here to a provider.

use super::Asked;
use crate::{
    dialect::{Dialect, Transcript},
    hub::{
        arguments,
        request::{ChoiceMode, Message, Part, Role, Source, ToolResult},
    },
    json::{Str, Writer},
};

type Out<'o> = Writer<'o, Vec<u8>>;

/// Writes a request down.
pub fn write(asked: &Asked<'_>) -> Transcript {
    let request = &asked.request;
    let mut body = Vec::new();
    let mut w = Writer::new(&mut body);
    w.begin_object().key("model").text(request.model.text());
    w.key("stream").bool(true);
    if let Some(effort) = request.reasoning.as_ref().and_then(|wish| wish.effort) {
        w.key("output_config").begin_object().key("effort").string(effort.name()).end_object();
    }
    if !request.system.is_empty() {
        w.key("system").begin_array();
        request.system.iter().for_each(|system| text(&system.text, &mut w));
        w.end_array();
    }
    if !request.tools.is_empty() {
        w.key("tools").begin_array();
        for tool in &request.tools {
            w.begin_object().key("name").text(tool.name.text());
            if let Some(description) = &tool.description {
                w.key("description").text(description.text());
            }
            match tool.schema {
                Some(schema) => w.key("input_schema").raw(schema),
                None => w.key("input_schema").verbatim(r#"{"type":"object"}"#),
            };
            w.end_object();
        }
        w.end_array();
        if request.choice.mode == Some(ChoiceMode::None) {
            w.key("tool_choice").begin_object().key("type").string("none").end_object();
        }
    }
    w.key("messages").begin_array();
    request.messages.iter().for_each(|message| turn(message, &mut w));
    w.end_array().end_object();
    Transcript {
        dialect: Dialect::Anthropic,
        body,
        model: request.model.plain().into_owned(),
        conversation: asked.conversation.as_deref().map(str::to_owned),
    }
}

fn turn(message: &Message<'_>, w: &mut Out<'_>) {
    w.begin_object().key("role").string(if message.role == Role::Assistant { "assistant" } else { "user" });
    w.key("content").begin_array();
    message.parts.iter().for_each(|one| part(one, w));
    w.end_array().end_object();
}

fn text(text: &Str<'_>, w: &mut Out<'_>) {
    w.begin_object().key("type").string("text").key("text").text(text.text()).end_object();
}

fn part(part: &Part<'_>, w: &mut Out<'_>) {
    match part {
        Part::Text { text, .. } => self::text(text, w),
        Part::Image { source: Source::Base64 { mime, data }, .. } => {
            w.begin_object().key("type").string("image");
            w.key("source").begin_object().key("type").string("base64");
            w.key("media_type").text(mime.text()).key("data").text(data.text());
            w.end_object().end_object();
        }
        Part::Thinking { text, rider } => {
            let signature = rider.as_ref().map(|rider| rider.tag()).unwrap_or_default();
            w.begin_object().key("type").string("thinking").key("thinking").text(text.text());
            w.key("signature").string(&signature).end_object();
        }
        Part::Redacted(rider) => {
            w.begin_object().key("type").string("redacted_thinking").key("data").string(&rider.tag()).end_object();
        }
        Part::Call(call) => {
            w.begin_object().key("type").string("tool_use").key("id").text(call.id.text());
            w.key("name").text(call.name.text());
            w.key("input").verbatim(&arguments::call_object(call.kind, call.arguments.text()));
            w.end_object();
        }
        Part::Result(result) => self::result(result, w),
        // The decoders make none of these.
        Part::Image { .. } | Part::Audio { .. } | Part::File { .. } | Part::Refusal(_) => {}
    }
}

fn result(result: &ToolResult<'_>, w: &mut Out<'_>) {
    w.begin_object().key("type").string("tool_result").key("tool_use_id").text(result.call_id.text());
    w.key("content").begin_array();
    result.parts.iter().for_each(|one| part(one, w));
    w.end_array();
    if result.is_error {
        w.key("is_error").bool(true);
    }
    w.end_object();
}
