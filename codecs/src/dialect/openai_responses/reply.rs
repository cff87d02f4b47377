//! The answer document, and errors.
//!
//! A document is the `response` of a stream's terminal event, so both directions use the stream's rules. HTTP errors
//! are the chat dialect's.

use super::{
    items::{self, CallHead, Saying, Skeleton, Status},
    stream::Decoder,
    unwrap::Unwrap,
};
use crate::{
    dialect::{Context, openai_chat},
    hub::{ApiError, Emit, EscapedBuf, Finish, Logprobs, Reply, ReplyPart, ToolKind, arguments::Completeness, ids},
    json::{Raw, Text, Writer},
};

/// Reads a whole answer.
pub fn decode(body: Raw<'_>, context: &Context, emit: Emit<'_>) {
    Decoder::new(context).document(body, emit);
}

/// Writes a whole answer.
pub fn encode(reply: &Reply, context: &Context, out: &mut Vec<u8>) {
    let skeleton = Skeleton::new(Text::Plain(&reply.id), Text::Plain(&reply.model), reply.created, context);
    let finish = reply.finish.as_ref().unwrap_or(&Finish::End);
    let mut output = Output { slug: &skeleton.slug, json: Vec::new(), items: 0 };
    let mut parts = reply.parts.as_slice();
    while !parts.is_empty() {
        let place = reply.parts.len() - parts.len();
        let used = output.item(parts, finish, context, &|used| {
            reply.logprobs_of(|at, part| (place..place + used).contains(&at) && matches!(part, ReplyPart::Text(_)))
        });
        parts = &parts[used..];
    }
    let (status, reason) = (Status::after(finish), items::incomplete_reason(finish));
    skeleton.write(status, reason, None, &output.json, Some(&reply.usage), out);
}

/// The list of output items while it is written.
struct Output<'a> {
    slug: &'a str,
    json: Vec<u8>,
    items: u32,
}

impl Output<'_> {
    /// Writes the item that the first part makes and returns how many parts went into it. `scores` knows the log
    /// probabilities of a number of parts.
    fn item(
        &mut self,
        parts: &[ReplyPart],
        finish: &Finish<'_>,
        context: &Context,
        scores: &dyn Fn(usize) -> Logprobs,
    ) -> usize {
        match &parts[0] {
            ReplyPart::Text(_) | ReplyPart::Refusal(_) => return self.message(parts, finish, scores),
            ReplyPart::Thinking { text, rider } => {
                let encrypted = rider.as_ref().map(items::encrypted_content);
                self.add("rs", |id, w| items::reasoning(id, text.text(), encrypted.as_deref(), w));
            }
            ReplyPart::Redacted(rider) => self.reasoning(&items::encrypted_content(rider)),
            ReplyPart::Tool { id, name, kind, args, signature } => {
                if let Some(rider) = signature {
                    self.reasoning(&items::encrypted_content(rider));
                }
                let custom = *kind == ToolKind::Custom;
                let head = CallHead::new(Text::Plain(id), Text::Plain(name), custom, &context.tools);
                let ending = (parts.len() == 1).then(|| Status::after(finish));
                self.call(&head, *kind, args, ending);
            }
            ReplyPart::Image { data, .. } => self.add("ig", |id, w| items::image(id, Text::Plain(data), w)),
        }
        1
    }

    fn add(&mut self, prefix: &str, write: impl FnOnce(&str, &mut Writer<'_, Vec<u8>>)) {
        if self.items > 0 {
            self.json.push(b',');
        }
        let id = ids::item_id(prefix, self.slug, self.items);
        self.items += 1;
        write(&id, &mut Writer::new(&mut self.json));
    }

    fn reasoning(&mut self, encrypted: &str) {
        self.add("rs", |id, w| items::reasoning(id, Text::EMPTY, Some(encrypted), w));
    }

    /// Neighbouring texts share one message.
    fn message(&mut self, parts: &[ReplyPart], finish: &Finish<'_>, scores: &dyn Fn(usize) -> Logprobs) -> usize {
        let mut whole = EscapedBuf::default();
        let saying = if matches!(parts[0], ReplyPart::Text(_)) { Saying::Text } else { Saying::Refusal };
        let mut used = 0;
        for part in parts {
            match (part, saying) {
                (ReplyPart::Text(text), Saying::Text) | (ReplyPart::Refusal(text), Saying::Refusal) => {
                    whole.push(text.text());
                }
                _ => break,
            }
            used += 1;
        }
        let status = if used == parts.len() { Status::after(finish) } else { Status::Completed };
        let scores = scores(used);
        self.add("msg", |id, w| items::message(id, status, Some((saying, whole.text(), &scores)), w));
        used
    }

    /// `ending` is how the answer ended, if this is its last part. The rules are the stream encoder's.
    fn call(&mut self, head: &CallHead, kind: ToolKind, args: &EscapedBuf, ending: Option<Status>) {
        let mut input = EscapedBuf::default();
        let mut scan = Completeness::default();
        scan.push(args.text());
        let complete = match kind {
            ToolKind::Custom => {
                input.push(args.text());
                ending.is_none()
            }
            ToolKind::Function if head.custom => {
                let mut unwrap = Unwrap::default();
                let mut emit = |piece: Text<'_>| input.push(piece);
                unwrap.push(args.text(), &mut emit);
                unwrap.finish(&mut emit);
                scan.is_complete()
            }
            ToolKind::Function if args.is_empty() => {
                input.push(Text::Plain("{}"));
                true
            }
            ToolKind::Function => {
                input.push(args.text());
                scan.is_complete()
            }
        };
        let status = if complete { Status::Completed } else { ending.unwrap_or(Status::Incomplete) };
        self.add(head.prefix(), |id, w| head.write(id, status, input.text(), w));
    }
}

/// Reads an error answer.
pub fn decode_error(status: u16, body: &[u8]) -> ApiError {
    openai_chat::reply::decode_error(status, body)
}

/// Writes an error answer and returns its HTTP status.
pub fn encode_error(error: &ApiError, out: &mut Vec<u8>) -> u16 {
    openai_chat::reply::encode_error(error, out)
}
