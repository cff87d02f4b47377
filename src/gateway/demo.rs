//! The embedded demo provider: answers without a key, without a network, always the same way, and says what it is.
//!
//! It exists so that the first `curl` works. It calls a tool when one is offered and asked for, follows a schema, and
//! counts tokens. There is no model behind it.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use codecs::{
    dialect::StreamEncode,
    hub::{
        Event, Field, Finish, Open, Reply, Request, ToolKind, Usage,
        request::{ChoiceMode, Format, Part, Role, Tool},
    },
    json::{Kind, Raw, Text, Writer},
};
use proxy::{Call, Fresh, ResponseHead, StatusCode};

use super::{
    attempt::{Failure, Outcome, malformed},
    exchange::Exchange,
    reply,
};
use crate::{
    route::{Candidate, DEMO},
    settings::Settings,
};

/// Pause between two words of a stream: slow enough to be seen, quick enough not to annoy.
const WORD: Duration = Duration::from_millis(10);
/// Words that are sent one by one; the rest of a long answer follows at once.
const PACED_WORDS: usize = 60;
/// How much of the prompt is quoted.
const QUOTE_CHARS: usize = 200;

/// Whether a candidate is the demo.
pub(super) fn is_demo(candidate: &Candidate) -> bool {
    &*candidate.upstream.name == DEMO && candidate.upstream.origin.is_none()
}

/// Answers as the demo.
pub(super) async fn answer<'a>(
    call: Call<'a, Fresh>,
    exchange: &mut Exchange,
    candidate: &Candidate,
    attempts: usize,
    settings: &Settings,
) -> Outcome<'a> {
    let reply = match composed(exchange) {
        Ok(reply) => reply,
        Err(error) => return Err((call, Failure::judged(error))),
    };
    let mut context = exchange.context(settings);
    context.input_tokens_estimate = reply.usage.input();
    context.include_usage = exchange.wants_usage();
    let head = ResponseHead::new(StatusCode::OK).with("x-flow-router-demo", "1");
    let head = reply::mark(head, exchange, candidate, attempts);
    exchange.ledger.counted(reply.usage, true);
    let taken = exchange.complete.elapsed();
    exchange.ledger.first_content(taken, taken);
    if exchange.stream {
        let head = head.with("content-type", exchange.stream_content_type()).with("cache-control", "no-cache");
        let mut encoder = exchange.client.stream_encoder(&context);
        let mut sent = 0;
        let whole = stream(call, head, &reply, &mut encoder, &mut sent).await;
        exchange.ledger.sent(sent);
        if !whole {
            return Ok(());
        }
    } else {
        let mut body = Vec::new();
        exchange.client.encode_reply(&reply, &context, &mut body);
        let head = head.with("content-type", exchange.client.document_content_type());
        exchange.ledger.sent(body.len() as u64);
        drop(call.respond(head, body.into()).await);
    }
    exchange.ledger.outcome("ok");
    Ok(())
}

/// Streams a reply; adds up what it sends. Returns whether the client took it all.
async fn stream(
    call: Call<'_, Fresh>,
    head: ResponseHead,
    reply: &Reply,
    encoder: &mut impl StreamEncode,
    sent: &mut u64,
) -> bool {
    let mut out = BytesMut::new();
    let mut steps = steps(reply).into_iter();
    for event in steps.by_ref().take(2) {
        encoder.event(&event, &mut out);
    }
    *sent += out.len() as u64;
    let Ok(mut call) = call.commit(head, out.split().freeze()).await else { return false };
    for (n, event) in steps.enumerate() {
        encoder.event(&event, &mut out);
        if out.is_empty() || (n >= PACED_WORDS && !matches!(event, Event::End)) {
            continue;
        }
        let bytes: Bytes = out.split().freeze();
        *sent += bytes.len() as u64;
        if call.send(bytes).await.is_err() {
            return false;
        }
        if matches!(event, Event::Delta { .. }) {
            tokio::select! {
                () = tokio::time::sleep(WORD) => {}
                () = call.gone() => return false,
            }
        }
    }
    call.finish(None).await.is_ok()
}

/// The reply as events, text word by word.
fn steps(reply: &Reply) -> Vec<Event<'_>> {
    let mut whole = Vec::new();
    let start = Event::Start {
        id: Text::Plain(&reply.id),
        model: Text::Plain(&reply.model),
        created: None,
        usage: Some(Usage { output: 0, ..reply.usage }),
    };
    whole.push(start);
    for (part, content) in (0u32..).zip(&reply.parts) {
        let (open, field, text) = match content {
            codecs::hub::ReplyPart::Tool { id, name, args, .. } => {
                let (id, name) = (Text::Plain(id), Text::Plain(name));
                let open = Open::Tool { id, name, kind: ToolKind::Function, signature: None };
                (open, Field::Args, args.text())
            }
            codecs::hub::ReplyPart::Text(text) => (Open::Text, Field::Text, text.text()),
            // The demo composes nothing else.
            _ => continue,
        };
        whole.push(Event::Part { part, open });
        for piece in pieces(text) {
            whole.push(Event::Delta { part, field: field.clone(), text: piece });
        }
        whole.push(Event::Stop { part });
    }
    whole.push(Event::Finish(reply.finish.clone().unwrap_or(Finish::End)));
    whole.push(Event::Usage(reply.usage));
    whole.push(Event::End);
    whole
}

/// A text in words, each with the blank behind it.
fn pieces(text: Text<'_>) -> Vec<Text<'_>> {
    match text {
        Text::Escaped(text) => text.split_inclusive(' ').map(Text::Escaped).collect(),
        Text::Plain(text) => text.split_inclusive(' ').map(Text::Plain).collect(),
    }
}

/// What the demo has to say.
fn composed(exchange: &Exchange) -> Result<Reply, codecs::hub::ApiError> {
    let raw = Raw::parse(&exchange.body).map_err(|error| malformed(&error))?;
    let request = exchange.asked.decode_request(raw, &exchange.url())?;
    let id = super::exchange::unique();
    let mut reply = Reply::default();
    let (start_id, model) = (id.clone(), DEMO);
    reply.fold(&Event::Start { id: Text::Plain(&start_id), model: Text::Plain(model), created: None, usage: None });
    let finish = match wanted_tool(&request) {
        Some(tool) => {
            let call_id = format!("call_{}_0", &id[..12]);
            let name = tool.name.text();
            let open = Open::Tool { id: Text::Plain(&call_id), name, kind: ToolKind::Function, signature: None };
            reply.fold(&Event::Part { part: 0, open });
            let mut arguments = Vec::new();
            sample(tool.schema.unwrap_or(Raw::EMPTY_OBJECT), &mut Writer::new(&mut arguments), 0);
            let arguments = String::from_utf8(arguments).unwrap_or_default();
            reply.fold(&Event::Delta { part: 0, field: Field::Args, text: Text::Plain(&arguments) });
            Finish::Tool
        }
        None => {
            reply.fold(&Event::Part { part: 0, open: Open::Text });
            reply.fold(&Event::Delta { part: 0, field: Field::Text, text: Text::Plain(&words(&request)) });
            Finish::End
        }
    };
    let output = reply.parts.iter().map(|part| match part {
        codecs::hub::ReplyPart::Text(text) | codecs::hub::ReplyPart::Tool { args: text, .. } => text.text().chars(),
        _ => 0,
    });
    let output = output.sum::<u64>().div_ceil(4);
    reply.usage = Usage { uncached: (exchange.body.len() as u64).div_ceil(4), output, ..Usage::default() };
    reply.finish = Some(finish);
    reply.ended = true;
    Ok(reply)
}

/// The tool to call: one that is forced, or that the last user message asks for by name, or by the word "tool".
fn wanted_tool<'r, 'a>(request: &'r Request<'a>) -> Option<&'r Tool<'a>> {
    let last = request.messages.last().filter(|message| message.role == Role::User)?;
    let first = request.tools.first()?;
    match &request.choice.mode {
        Some(ChoiceMode::None) => return None,
        Some(ChoiceMode::Tool(name)) => return request.tools.iter().find(|tool| tool.name == *name),
        Some(ChoiceMode::Required) => return Some(first),
        Some(ChoiceMode::Auto) | None => {}
    }
    let text = text_of(&last.parts).to_lowercase();
    let named = request.tools.iter().find(|tool| {
        let name = tool.name.plain().to_lowercase();
        text.contains(&name) || text.contains(&name.replace(['_', '-'], " "))
    });
    named.or_else(|| text.split(|c: char| !c.is_alphabetic()).any(|word| word == "tool").then_some(first))
}

fn text_of(parts: &[Part<'_>]) -> String {
    let texts: Vec<_> = parts
        .iter()
        .filter_map(|part| match part {
            Part::Text { text, .. } => Some(text.plain().into_owned()),
            _ => None,
        })
        .collect();
    texts.join(" ")
}

fn words(request: &Request<'_>) -> String {
    match &request.format {
        Format::JsonObject => return r#"{"demo":true,"provider":"flow-router demo"}"#.to_owned(),
        Format::JsonSchema { schema, .. } => {
            let mut out = Vec::new();
            sample(*schema, &mut Writer::new(&mut out), 0);
            return String::from_utf8(out).unwrap_or_default();
        }
        Format::Text => {}
    }
    let last = request.messages.last();
    let result = last.and_then(|message| {
        message.parts.iter().find_map(|part| match part {
            Part::Result(result) => Some(text_of(&result.parts)),
            _ => None,
        })
    });
    let (what, text) = match result {
        Some(text) => ("The tool answered", text),
        None => ("You said", last.map_or_else(String::new, |message| text_of(&message.parts))),
    };
    let mut quote: String = text.chars().take(QUOTE_CHARS).collect();
    if quote.len() < text.len() {
        quote.push('…');
    }
    format!(
        "Hello from the Flow Router demo provider. There is no model behind me: I answer the same way every time, so that \
         you can try your client. {what}: \"{quote}\". Set OPENAI_API_KEY, ANTHROPIC_API_KEY or GEMINI_API_KEY, or write a \
         configuration file, and a real provider answers instead."
    )
}

/// Writes a value that a schema allows, as far as the plain keywords say.
fn sample(schema: Raw<'_>, w: &mut Writer<'_, Vec<u8>>, depth: usize) {
    const DEPTH_MAX: usize = 16;
    if let Some(value) = schema.get("const").or_else(|| schema.get("default")).or_else(|| first(schema.get("enum"))) {
        w.raw(value);
        return;
    }
    if let Some(branch) = first(schema.get("anyOf")).or_else(|| first(schema.get("oneOf")))
        && depth < DEPTH_MAX
    {
        return sample(branch, w, depth + 1);
    }
    let kind = schema.get("type").and_then(|kind| if kind.is_array() { first(Some(kind)) } else { Some(kind) });
    let kind = kind.and_then(Raw::as_text).map(|text| text.plain().to_ascii_lowercase());
    match kind.as_deref() {
        Some("string") => w.string("demo"),
        Some("integer" | "number") => w.number(schema.get_u64("minimum").unwrap_or(1)),
        Some("boolean") => w.bool(true),
        Some("null") => w.null(),
        Some("array") => {
            w.begin_array();
            if let Some(items) = schema.get("items").filter(|items| items.is_object() && depth < DEPTH_MAX) {
                sample(items, w, depth + 1);
            }
            w.end_array()
        }
        _ => {
            w.begin_object();
            let properties = schema.get("properties").filter(|_| depth < DEPTH_MAX);
            for (name, property) in properties.into_iter().flat_map(Raw::members) {
                if property.kind() == Kind::Object {
                    w.key_text(name);
                    sample(property, w, depth + 1);
                }
            }
            w.end_object()
        }
    };
}

fn first(list: Option<Raw<'_>>) -> Option<Raw<'_>> {
    list?.elements().next()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn sampled(schema: &str) -> String {
        let mut out = Vec::new();
        sample(Raw::parse(schema.as_bytes()).unwrap(), &mut Writer::new(&mut out), 0);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn samples_follow_the_schema() {
        assert_eq!(
            sampled(
                r#"{"type":"object","properties":{"city":{"type":"string"},"unit":{"enum":["c","f"]},"n":{"type":"integer","minimum":3},
                   "tags":{"type":"array","items":{"type":"boolean"}},"opt":{"anyOf":[{"type":"null"}]},"deep":{"type":["OBJECT"]}}}"#
            ),
            r#"{"city":"demo","unit":"c","n":3,"tags":[true],"opt":null,"deep":{}}"#
        );
        assert_eq!(sampled("{}"), "{}");
    }
}
