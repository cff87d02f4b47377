//! Output items and the response object around them, as both the stream encoder and the document encoder write them.

use std::sync::Arc;

use super::{echo::Echo, failure, usage};
use crate::{
    dialect::{Context, Dialect, ToolTable},
    hub::{ApiError, Finish, Form, Logprobs, Origin, Rider, Usage, ids},
    json::{Raw, Text, Writer, write::Sink},
};

/// Where an item or an answer stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    InProgress,
    Completed,
    Incomplete,
    Failed,
}

impl Status {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::InProgress => "in_progress",
            Self::Completed => "completed",
            Self::Incomplete => "incomplete",
            Self::Failed => "failed",
        }
    }

    /// The state of an answer, and of the item that was still open, after `finish`.
    pub(super) fn after(finish: &Finish<'_>) -> Self {
        match finish {
            Finish::Length | Finish::Filter(_) => Self::Incomplete,
            Finish::End | Finish::StopSequence(_) | Finish::Tool | Finish::Pause => Self::Completed,
        }
    }
}

/// Why an answer is incomplete, in this dialect's words.
pub(super) fn incomplete_reason(finish: &Finish<'_>) -> Option<&'static str> {
    match finish {
        Finish::Length => Some("max_output_tokens"),
        Finish::Filter(_) => Some("content_filter"),
        Finish::End | Finish::StopSequence(_) | Finish::Tool | Finish::Pause => None,
    }
}

/// What a message item says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Saying {
    Text,
    Refusal,
}

/// A content part of a message; only text can have log probabilities.
pub(super) fn content_part<S: Sink>(saying: Saying, text: Text<'_>, scores: &Logprobs, w: &mut Writer<'_, S>) {
    w.begin_object();
    match saying {
        Saying::Text => {
            w.key("type").string("output_text").key("text").text(text).key("annotations").begin_array();
            w.end_array();
            if !scores.is_empty() {
                w.key("logprobs").begin_array().verbatim(scores.text().plain().as_ref()).end_array();
            }
        }
        Saying::Refusal => {
            w.key("type").string("refusal").key("refusal").text(text);
        }
    }
    w.end_object();
}

/// A message item; `content` is `None` while nothing has been said.
pub(super) fn message<S: Sink>(
    id: &str,
    status: Status,
    content: Option<(Saying, Text<'_>, &Logprobs)>,
    w: &mut Writer<'_, S>,
) {
    w.begin_object();
    w.key("id").string(id).key("type").string("message").key("status").string(status.name());
    w.key("role").string("assistant").key("content").begin_array();
    if let Some((saying, text, scores)) = content {
        content_part(saying, text, scores, w);
    }
    w.end_array().end_object();
}

/// A summary part of a reasoning item.
pub(super) fn summary_part<S: Sink>(text: Text<'_>, w: &mut Writer<'_, S>) {
    w.begin_object().key("type").string("summary_text").key("text").text(text);
    w.end_object();
}

/// A reasoning item.
pub(super) fn reasoning<S: Sink>(id: &str, text: Text<'_>, encrypted: Option<&str>, w: &mut Writer<'_, S>) {
    w.begin_object();
    w.key("id").string(id).key("type").string("reasoning").key("summary").begin_array();
    if !text.is_empty() {
        summary_part(text, w);
    }
    w.end_array();
    if let Some(encrypted) = encrypted {
        w.key("encrypted_content").string(encrypted);
    }
    w.end_object();
}

/// A generated image, as the item of the hosted image tool.
pub(super) fn image<S: Sink>(id: &str, data: Text<'_>, w: &mut Writer<'_, S>) {
    w.begin_object();
    w.key("id").string(id).key("type").string("image_generation_call").key("status").string("completed");
    w.key("result").text(data);
    w.end_object();
}

/// Identity of a call in the client's words.
#[derive(Debug)]
pub(super) struct CallHead {
    pub(super) call_id: String,
    pub(super) name: String,
    pub(super) namespace: Option<String>,
    pub(super) custom: bool,
}

impl CallHead {
    /// `custom`: whether the upstream's call is one. The client's own declaration decides otherwise.
    pub(super) fn new(call_id: Text<'_>, sent: Text<'_>, custom: bool, tools: &ToolTable) -> Self {
        let (call_id, sent) = (call_id.plain().into_owned(), sent.plain());
        match tools.get(&sent) {
            Some(identity) => Self {
                call_id,
                name: identity.name.clone(),
                namespace: identity.namespace.clone(),
                custom: custom || tools.is_custom(&sent),
            },
            None => Self { call_id, name: sent.into_owned(), namespace: None, custom },
        }
    }

    /// Prefix of the item's id.
    pub(super) fn prefix(&self) -> &'static str {
        if self.custom { "ctc" } else { "fc" }
    }

    pub(super) fn write<S: Sink>(&self, id: &str, status: Status, input: Text<'_>, w: &mut Writer<'_, S>) {
        let (kind, member) = if self.custom { ("custom_tool_call", "input") } else { ("function_call", "arguments") };
        w.begin_object();
        w.key("id").string(id).key("type").string(kind).key("status").string(status.name());
        w.key("call_id").string(&self.call_id).key("name").string(&self.name).key(member).text(input);
        if let Some(namespace) = &self.namespace {
            w.key("namespace").string(namespace);
        }
        w.end_object();
    }
}

/// `encrypted_content` of a reasoning item: at home as it is, else the tag. A Responses blob that came with an item id
/// of its own keeps it in the tag, since the service checks the pair and our item has another id.
pub(super) fn encrypted_content(rider: &Rider<'_>) -> String {
    match rider {
        Rider { origin: Origin::Responses, form: Form::Enc, item_id: None, payload } => payload.plain().into_owned(),
        foreign => foreign.tag(),
    }
}

/// The members of the response object that stay the same during an answer.
#[derive(Debug)]
pub(super) struct Skeleton {
    /// From the opening bracket to `"status":`.
    head: Vec<u8>,
    /// From `model` to the opening bracket of `output`.
    middle: Vec<u8>,
    /// Stem of item ids.
    pub(super) slug: String,
    echo: Arc<Echo>,
}

impl Skeleton {
    pub(super) fn new(id: Text<'_>, model: Text<'_>, created: Option<u64>, context: &Context) -> Self {
        let id = id.plain();
        let core = if id.is_empty() { context.new_id.as_str() } else { ids::core(&id) };
        let model = if model.is_empty() { Text::Plain(&context.model) } else { model };
        let mut head = Vec::with_capacity(128);
        let mut w = Writer::new(&mut head);
        w.begin_object();
        w.key("id").string(&ids::client_id(Dialect::OpenAiResponses, core)).key("object").string("response");
        w.key("created_at").number(created.unwrap_or(context.now)).key("status");
        let mut middle = Vec::with_capacity(64);
        let mut w = Writer::new(&mut middle);
        w.key("model").text(model).key("output");
        middle.push(b'[');
        Self { head, middle, slug: ids::slug(core), echo: context.echo.clone().unwrap_or_default() }
    }

    /// Writes the response object. `output` is the finished items, separated by commas.
    pub(super) fn write(
        &self,
        status: Status,
        reason: Option<&str>,
        error: Option<&ApiError>,
        output: &[u8],
        usage: Option<&Usage>,
        out: &mut impl Sink,
    ) {
        out.put(&self.head);
        let mut w = Writer::new(out);
        w.string(status.name()).key("error");
        match error {
            Some(error) => {
                w.begin_object().key("code").string(failure::code(error));
                w.key("message").string(&error.message).end_object()
            }
            None => w.null(),
        };
        w.key("incomplete_details");
        match reason {
            Some(reason) => {
                w.begin_object().key("reason").string(reason);
                w.end_object()
            }
            None => w.null(),
        };
        w.key("usage");
        match usage {
            Some(usage) => usage::write(usage, &mut w),
            None => {
                w.null();
            }
        }
        out.put(b",");
        out.put(&self.middle);
        out.put(output);
        out.put(b"],");
        self.echo.write(out);
        out.put(b"}");
    }
}

/// A string member; empty if it is missing or of another type.
pub(super) fn text_of<'a>(value: Raw<'a>, name: &str) -> Text<'a> {
    value.get_text(name).unwrap_or(Text::EMPTY)
}
