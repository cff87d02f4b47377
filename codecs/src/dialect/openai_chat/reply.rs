//! Whole answers and errors.

use super::{
    details,
    stream::{Decoder, Scores, write_image, write_signature},
    words,
};
use crate::{
    dialect::{Context, Dialect, StreamDecode},
    hub::{
        ApiError, Emit, ErrorKind, EscapedBuf, Event, Finish, Reply, ReplyPart, Rider, ToolKind, Usage, arguments,
        error::from_plain_body, ids,
    },
    json::{Raw, Text, Writer},
};

/// Reads a whole answer: the message is one big delta.
pub fn decode(body: Raw<'_>, context: &Context, emit: Emit<'_>) {
    let mut decoder = Decoder::new(context);
    let (mut failed, mut empty, mut detailed) = (false, body.is_object(), false);
    for (key, value) in body.members() {
        match key {
            Text::Escaped("error") => failed = words::is_error(value),
            Text::Escaped("choices") => empty = value.elements().next().is_none(),
            Text::Escaped("detail") => detailed = !value.is_null(),
            _ => {}
        }
    }
    if empty && !failed && !detailed {
        return emit(Event::Error(ApiError::new(ErrorKind::Api, "the upstream's answer has no choices")));
    }
    decoder.json(None, body, emit);
    decoder.done(emit);
}

/// The usage of a whole answer without calls that plainly ended well.
pub(crate) fn glance(body: Raw<'_>) -> Option<Usage> {
    let (mut choices, mut usage) = (None, None);
    for (key, value) in body.members() {
        match key {
            Text::Escaped("choices") => choices = Some(value),
            Text::Escaped("usage") => usage = words::read_usage(value),
            Text::Escaped("error" | "detail") if !value.is_null() => return None,
            _ => {}
        }
    }
    let mut choices = choices?.elements();
    let (choice, None) = (choices.next()?, choices.next()) else { return None };
    let (mut said, mut finished) = (false, false);
    for (key, value) in choice.members() {
        match key {
            Text::Escaped("message") if value.is_object() => {
                said = value.members().all(|(key, value)| match key {
                    Text::Escaped("tool_calls" | "function_call") => value.is_null(),
                    _ => true,
                });
            }
            Text::Escaped("finish_reason") => finished = value.as_text().is_some_and(|word| !word.is_empty()),
            Text::Escaped("index") if value.as_u64() != Some(0) => return None,
            Text::Escaped("usage" | "delta") => return None,
            _ => {}
        }
    }
    usage.filter(|usage| said && finished && usage.is_known())
}

/// Writes a whole answer.
pub fn encode(reply: &Reply, context: &Context, out: &mut Vec<u8>) {
    let core = if reply.id.is_empty() { context.new_id.as_str() } else { ids::core(&reply.id) };
    let model = if reply.model.is_empty() { &context.model } else { &reply.model };
    let mut w = Writer::new(out);
    w.begin_object().key("id").string(&ids::client_id(Dialect::OpenAiChat, core));
    w.key("object").string("chat.completion").key("created").number(reply.created.unwrap_or(context.now));
    w.key("model").string(model);
    w.key("choices").begin_array().begin_object().key("index").number(0).key("message");
    write_message(reply, context, &mut w);
    let finish = reply.finish.as_ref().unwrap_or(&Finish::End);
    write_scores(reply, w.key("logprobs"));
    w.key("finish_reason").string(words::finish_word(finish, reply.has_calls()));
    w.end_object().end_array().key("usage");
    words::write_usage(&reply.usage, &mut w);
    w.end_object();
}

fn write_message(reply: &Reply, context: &Context, w: &mut Writer<'_, Vec<u8>>) {
    let pick = |wanted: fn(&ReplyPart) -> Option<&EscapedBuf>| -> Vec<Text<'_>> {
        reply.parts.iter().filter_map(wanted).map(EscapedBuf::text).filter(|text| !text.is_empty()).collect()
    };
    let texts = pick(|part| if let ReplyPart::Text(text) = part { Some(text) } else { None });
    let refusals = pick(|part| if let ReplyPart::Refusal(text) = part { Some(text) } else { None });
    let thoughts = pick(|part| if let ReplyPart::Thinking { text, .. } = part { Some(text) } else { None });
    w.begin_object().key("role").string("assistant").key("content");
    match texts.is_empty() && (reply.has_calls() || !refusals.is_empty()) {
        true => w.null(),
        false => w.texts(texts),
    };
    w.key("refusal");
    match refusals.is_empty() {
        true => w.null(),
        false => w.texts(refusals),
    };
    if !thoughts.is_empty() {
        w.key(if context.copilot { "reasoning_text" } else { "reasoning_content" }).texts(thoughts);
    }
    write_details(reply, w);
    write_images(reply, w);
    write_calls(reply, context, w);
    w.end_object();
}

fn write_scores(reply: &Reply, w: &mut Writer<'_, Vec<u8>>) {
    let refusal = |part: &ReplyPart| matches!(part, ReplyPart::Refusal(_));
    let said = reply.logprobs_of(|_, part| !refusal(part));
    let scores = Scores { said, refused: reply.logprobs_of(|_, part| refusal(part)) };
    match scores.is_empty() {
        true => {
            w.null();
        }
        false => scores.write(w.value_sink()),
    }
}

fn write_details(reply: &Reply, w: &mut Writer<'_, Vec<u8>>) {
    let riders: Vec<&Rider<'_>> = reply
        .parts
        .iter()
        .filter_map(|part| match part {
            ReplyPart::Thinking { rider, .. } => rider.as_ref(),
            ReplyPart::Redacted(rider) => Some(rider),
            _ => None,
        })
        .collect();
    if riders.is_empty() {
        return;
    }
    w.key("reasoning_details").begin_array();
    for (index, rider) in riders.into_iter().enumerate() {
        details::write(index as u64, details::Blob::of(rider), None, w);
    }
    w.end_array();
}

fn write_images(reply: &Reply, w: &mut Writer<'_, Vec<u8>>) {
    let mut images = reply.parts.iter().filter_map(|part| match part {
        ReplyPart::Image { mime, data } => Some((mime, data)),
        _ => None,
    });
    let Some(first) = images.next() else { return };
    w.key("images").begin_array();
    for (index, (mime, data)) in std::iter::once(first).chain(images).enumerate() {
        write_image(Some(index as u64), Text::Plain(mime), Text::Plain(data), w);
    }
    w.end_array();
}

fn write_calls(reply: &Reply, context: &Context, w: &mut Writer<'_, Vec<u8>>) {
    if !reply.has_calls() {
        return;
    }
    w.key("tool_calls").begin_array();
    for part in &reply.parts {
        let ReplyPart::Tool { id, name, kind, args, signature } = part else { continue };
        let custom = context.tools.is_custom(name);
        let kind_word = if custom { "custom" } else { "function" };
        w.begin_object().key("id").string(id).key("type").string(kind_word);
        w.key(kind_word).begin_object().key("name").string(context.tools.client_name(name));
        w.key(if custom { "input" } else { "arguments" });
        match (kind, custom) {
            (ToolKind::Custom, true) => w.text(args.text()),
            (ToolKind::Function, true) => w.string(&arguments::custom_input(args.text())),
            (ToolKind::Custom, false) => w.string(&arguments::call_object(*kind, args.text())),
            (ToolKind::Function, false) if args.is_empty() => w.string("{}"),
            (ToolKind::Function, false) => w.text(args.text()),
        };
        w.end_object();
        if let Some(rider) = signature {
            write_signature(rider, w);
        }
        w.end_object();
    }
    w.end_array();
}

/// Reads an error.
pub fn decode_error(status: u16, body: &[u8]) -> ApiError {
    match Raw::parse(body) {
        Ok(raw) if raw.is_object() || raw.is_array() => words::read_error(raw, Some(status)),
        Ok(raw) if raw.as_text().is_some() => {
            from_plain_body(status, raw.as_text().unwrap_or_default().plain().as_bytes())
        }
        _ => from_plain_body(status, body),
    }
}

/// Writes an error.
pub fn encode_error(error: &ApiError, out: &mut Vec<u8>) -> u16 {
    words::write_error(error, &mut Writer::new(out));
    words::error_status(error)
}
