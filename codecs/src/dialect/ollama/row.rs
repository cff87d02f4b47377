//! Members of rows, as the stream encoder and the document encoder write them.

use super::date;
use crate::{
    dialect::{Context, ToolTable},
    hub::{Finish, ToolKind, Usage, arguments},
    json::{Text, Writer, write::Sink},
};

/// `"model":…,"created_at":…`
pub(super) fn head(model: Text<'_>, created: Option<u64>, context: &Context, out: &mut impl Sink) {
    let model = if model.is_empty() { Text::Plain(&context.model) } else { model };
    Writer::new(out).key("model").text(model);
    out.put(b",\"created_at\":\"");
    date::rfc3339(created.unwrap_or(context.now), out);
    out.put(b"\"");
}

/// A finished call.
pub(super) struct Call<'a> {
    pub(super) id: &'a str,
    /// As sent to the upstream.
    pub(super) name: &'a str,
    pub(super) kind: ToolKind,
    pub(super) args: Text<'a>,
}

/// `[{"id":…,"function":{"index":…,"name":…,"arguments":{…}}},…]`
pub(super) fn calls<'a, S: Sink>(calls: impl Iterator<Item = Call<'a>>, tools: &ToolTable, w: &mut Writer<'_, S>) {
    w.begin_array();
    for (index, call) in calls.enumerate() {
        w.begin_object().key("id").string(call.id);
        w.key("function").begin_object();
        w.key("index").number(index as u64);
        w.key("name").string(tools.client_name(call.name));
        w.key("arguments").verbatim(&arguments::call_object(call.kind, call.args));
        w.end_object().end_object();
    }
    w.end_array();
}

/// `"done":true,…`: the members that end an answer. Durations are not measured here.
pub(super) fn done<S: Sink>(finish: Option<&Finish<'_>>, usage: &Usage, w: &mut Writer<'_, S>) {
    let reason = match finish {
        Some(Finish::Length) => "length",
        Some(Finish::End | Finish::StopSequence(_) | Finish::Tool | Finish::Filter(_) | Finish::Pause) | None => "stop",
    };
    w.key("done").bool(true);
    w.key("done_reason").string(reason);
    w.key("total_duration").number(0);
    w.key("load_duration").number(0);
    w.key("prompt_eval_count").number(usage.input());
    w.key("prompt_eval_duration").number(0);
    w.key("eval_count").number(usage.output);
    w.key("eval_duration").number(0);
}
