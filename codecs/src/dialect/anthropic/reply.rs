//! Whole messages and errors.

use crate::{
    dialect::{
        Context, Emit,
        anthropic::{
            stream::{Decoder, write_identity},
            words,
        },
    },
    hub::{ApiError, ErrorKind, Event, Finish, Reply, ReplyPart, Rider, ToolKind, Usage, arguments, error},
    json::{Raw, Text, Writer, write::Sink},
};

/// Reads a whole message as the events of a stream with one delta per part.
///
/// A message is a stream in one piece: its blocks go through the stream decoder as blocks that are complete at their
/// start.
pub fn decode(body: Raw<'_>, context: &Context, emit: Emit<'_>) {
    let error = body.get("error").is_some() || body.get_text("type").is_some_and(|kind| kind.is("error"));
    if error {
        return emit(Event::Error(words::read_error(body, None)));
    }
    let Some(content) = body.get("content").filter(|content| content.is_array()) else {
        let message = "upstream answered without content";
        return emit(Event::Error(ApiError::new(ErrorKind::Api, message)));
    };
    let mut decoder = Decoder::new(context);
    decoder.message(body, content, emit);
}

/// Writes a whole message.
pub fn encode(reply: &Reply, context: &Context, out: &mut Vec<u8>) {
    let mut w = Writer::new(out);
    w.begin_object();
    write_identity(Text::Plain(&reply.id), Text::Plain(&reply.model), context, &mut w);
    w.key("content").begin_array();
    let mut said = words::Said::default();
    for part in &reply.parts {
        write_part(part, context, &mut said, &mut w);
    }
    w.end_array();
    words::write_finish(reply.finish.as_ref().unwrap_or(&Finish::End), said, &mut w);
    let estimate = || Usage { uncached: context.input_tokens_estimate, ..Usage::default() };
    w.key("usage");
    words::write_usage(&if reply.usage.is_known() { reply.usage } else { estimate() }, &mut w);
    w.end_object();
}

fn write_part(part: &ReplyPart, context: &Context, said: &mut words::Said, w: &mut Writer<'_, Vec<u8>>) {
    match part {
        ReplyPart::Text(text) => write_text(text.text(), w),
        ReplyPart::Refusal(text) => {
            said.refusal = true;
            write_text(text.text(), w);
        }
        ReplyPart::Thinking { text, rider } => {
            w.begin_object().key("type").string("thinking");
            w.key("thinking").text(text.text()).key("signature");
            write_signature(rider.as_ref(), w);
            w.end_object();
        }
        ReplyPart::Redacted(rider) if words::is_redacted(rider) => {
            w.begin_object().key("type").string("redacted_thinking");
            w.key("data").text(rider.payload.text());
            w.end_object();
        }
        ReplyPart::Redacted(rider) => write_signed(rider, w),
        ReplyPart::Tool { id, name, kind, args, signature } => {
            said.call = true;
            if let Some(rider) = signature {
                write_signed(rider, w);
            }
            w.begin_object().key("type").string("tool_use");
            w.key("id").string(id).key("name").string(context.tools.client_name(name)).key("input");
            match kind {
                ToolKind::Function => w.verbatim(&arguments::object(args.text())),
                ToolKind::Custom => w.begin_object().key("input").text(args.text()).end_object(),
            };
            w.end_object();
        }
        // This dialect has no images in answers.
        ReplyPart::Image { .. } => {}
    }
}

fn write_text(text: Text<'_>, w: &mut Writer<'_, Vec<u8>>) {
    if !text.is_empty() {
        w.begin_object().key("type").string("text").key("text").text(text).end_object();
    }
}

/// An empty thinking block that carries a blob.
fn write_signed(rider: &Rider<'_>, w: &mut Writer<'_, Vec<u8>>) {
    w.begin_object().key("type").string("thinking").key("thinking").string("").key("signature");
    write_signature(Some(rider), w);
    w.end_object();
}

fn write_signature(rider: Option<&Rider<'_>>, w: &mut Writer<'_, Vec<u8>>) {
    let out = w.value_sink();
    out.put(b"\"");
    if let Some(rider) = rider {
        words::write_rider(rider, out);
    }
    out.put(b"\"");
}

/// Reads an error answer: by its body, else by its status.
pub fn decode_error(status: u16, body: &[u8]) -> ApiError {
    match Raw::parse(body) {
        Ok(value) if value.is_object() => words::read_error(value, Some(status)),
        _ => error::from_plain_body(status, body),
    }
}

/// Writes an error answer and returns its HTTP status.
pub fn encode_error(error: &ApiError, request_id: &str, out: &mut Vec<u8>) -> u16 {
    words::write_error(error, request_id, &mut Writer::new(out));
    words::error_word(error.kind).1
}
