//! Puts a decoded request into the order that every upstream accepts, before any encoder sees it.
//!
//! ```text
//!   tool names ─▶ call ids ─▶ results to their calls ─▶ allowed tools ─▶ stub tools
//! ```
//!
//! After [`prepare`]: names are legal for the target and unique, namespaces are flat, custom tools are functions unless
//! the target knows custom tools, ids are legal and unique, and every assistant turn with calls is followed by exactly
//! one [`Role::Tool`] message with one result per call, in call order. What it does *not* do: parameters, schemas,
//! content types and merging of neighbours, which the encoders know best.

use std::collections::HashSet;

use super::{
    ToolKind,
    names::{IdMap, NameMap},
    request::{Call, ChoiceMode, Message, Part, Request, Role, Tool, ToolResult},
};
use crate::{
    dialect::{ChatFlavour, Dialect, Target, ToolTable},
    json::{Raw, Str, Writer},
};

/// What stands before the text of a result that belongs to no call.
const ORPHAN: &str = "[tool result without a matching call]\n";
/// Start of a system line that changes with every request and means something to Anthropic only.
const BILLING: &str = "x-anthropic-billing-header:";
/// Schema of a custom tool that travels as a function.
const CUSTOM_SCHEMA: &str = r#"{"type":"object","properties":{"input":{"type":"string"}},"required":["input"]}"#;

/// What [`prepare`] found out on the way.
#[derive(Debug, Clone, Default)]
pub struct Prepared {
    /// The way back from sent names to the client's tools.
    pub tools: ToolTable,
    /// Ids of the calls in history, as sent and as the client knows them.
    pub used_ids: HashSet<String>,
    /// What was left out.
    pub dropped: Vec<String>,
    /// The only tools are stubs made from the history.
    pub history_tools_only: bool,
}

/// Prepares `request` for an encoder of `to`.
pub fn prepare<'a>(request: &mut Request<'a>, to: Dialect, target: &Target) -> Prepared {
    let custom = takes_custom(to, target);
    let mut prepared = Prepared::default();
    let mut names = NameMap::new(to);
    if to != Dialect::Anthropic {
        drop_billing(request);
    }
    name_tools(request, &mut names, custom, &mut prepared.dropped);
    let messages = std::mem::take(&mut request.messages);
    let messages = join_split_turns(messages);
    let mut history = History { names: &mut names, ids: IdMap::default(), custom, to, out: Vec::new() };
    history.run(messages);
    let History { ids, out, .. } = history;
    request.messages = out;
    prepared.used_ids = ids.into_used();
    choose(request, to, &mut names);
    if to == Dialect::Anthropic && request.tools.is_empty() {
        request.tools = stubs(&request.messages);
        request.stub_tools = !request.tools.is_empty();
        prepared.history_tools_only = request.stub_tools;
    }
    prepared.tools = names.into_table();
    prepared
}

/// Whether the target has free-form tools of its own.
fn takes_custom(to: Dialect, target: &Target) -> bool {
    match to {
        Dialect::OpenAiResponses => true,
        Dialect::OpenAiChat => target.flavour == ChatFlavour::OpenAi,
        Dialect::Anthropic | Dialect::Gemini | Dialect::Ollama => false,
    }
}

/// Removes the billing line: it differs in every request and would spoil the upstream's prompt cache.
fn drop_billing(request: &mut Request<'_>) {
    request.system.retain_mut(|system| {
        let plain = system.text.plain();
        let Some(line) = plain.strip_prefix(BILLING) else { return true };
        let rest = line.split_once('\n').map(|(_, rest)| rest.trim_start().to_owned()).filter(|rest| !rest.is_empty());
        rest.is_some_and(|rest| {
            system.text = rest.into();
            true
        })
    });
}

/// Gives every tool its sent name, wraps custom tools, and keeps the first of several equal definitions.
fn name_tools<'a>(request: &mut Request<'a>, names: &mut NameMap, custom: bool, dropped: &mut Vec<String>) {
    for tool in request.tools.iter().filter(|tool| tool.namespace.is_none()) {
        names.reserve_plain(&tool.name.plain());
    }
    let mut seen = HashSet::new();
    request.tools.retain_mut(|tool| {
        let name = tool.name.plain().into_owned();
        let namespace = tool.namespace.take().map(|namespace| namespace.plain().into_owned());
        if !seen.insert((namespace.clone(), name.clone())) {
            dropped.push(format!("tools.{name}"));
            return false;
        }
        let sent = names.assign(namespace.as_deref(), &name, tool.kind);
        if sent != name {
            tool.name = sent.into();
        }
        if tool.kind == ToolKind::Custom && !custom {
            tool.kind = ToolKind::Function;
            tool.schema = Raw::parse_str(CUSTOM_SCHEMA).ok();
            tool.strict = None;
            tool.format = None;
        }
        true
    });
}

/// Joins an assistant turn with calls and the assistant turns right behind it: their results follow all of them.
fn join_split_turns(messages: Vec<Message<'_>>) -> Vec<Message<'_>> {
    let mut joined: Vec<Message<'_>> = Vec::with_capacity(messages.len());
    for message in messages {
        match joined.last_mut() {
            Some(last) if last.role == Role::Assistant && message.role == Role::Assistant && has_calls(last) => {
                last.parts.extend(message.parts);
            }
            _ => joined.push(message),
        }
    }
    joined
}

fn has_calls(message: &Message<'_>) -> bool {
    message.parts.iter().any(|part| matches!(part, Part::Call(_)))
}

/// A call of the current turn that waits for its result.
struct Slot<'a> {
    client_id: String,
    client_name: String,
    sent_id: String,
    sent_name: String,
    result: Option<ToolResult<'a>>,
}

/// The walk through the conversation.
struct History<'n, 'a> {
    names: &'n mut NameMap,
    ids: IdMap,
    custom: bool,
    to: Dialect,
    out: Vec<Message<'a>>,
}

impl<'a> History<'_, 'a> {
    fn run(&mut self, messages: Vec<Message<'a>>) {
        let mut messages = messages.into_iter().enumerate().peekable();
        while let Some((place, mut message)) = messages.next() {
            if message.role != Role::Assistant {
                self.orphan_results(message);
                continue;
            }
            let mut slots = self.calls(&mut message, place);
            self.out.push(message);
            if slots.is_empty() {
                continue;
            }
            let mut results = Vec::new();
            while let Some((_, next)) = messages.next_if(|(_, next)| next.role == Role::Tool) {
                results.extend(next.parts);
            }
            let orphans = pair(&mut slots, results);
            let parts = slots.into_iter().map(|slot| Part::Result(slot.finish())).collect();
            self.out.push(Message { role: Role::Tool, parts });
            if !orphans.is_empty() {
                self.out.push(Message { role: Role::User, parts: orphans });
            }
        }
    }

    /// A message that follows no call: results in it become user text.
    fn orphan_results(&mut self, mut message: Message<'a>) {
        if message.role == Role::Tool || message.parts.iter().any(|part| matches!(part, Part::Result(_))) {
            message.role = Role::User;
            message.parts = message.parts.into_iter().flat_map(orphan).collect();
        }
        self.out.push(message);
    }

    /// Renames the calls of a turn; calls without a name are left out.
    fn calls(&mut self, message: &mut Message<'a>, place: usize) -> Vec<Slot<'a>> {
        let mut slots = Vec::new();
        message.parts.retain_mut(|part| {
            let Part::Call(call) = part else { return true };
            if call.name.is_blank() {
                return false;
            }
            slots.push(self.call(call, place));
            true
        });
        slots
    }

    fn call(&mut self, call: &mut Call<'a>, place: usize) -> Slot<'a> {
        let client_name = call.name.plain().into_owned();
        let namespace = call.namespace.take().map(|namespace| namespace.plain().into_owned());
        let sent_name = self.names.assign(namespace.as_deref(), &client_name, call.kind);
        if sent_name != client_name {
            call.name = sent_name.clone().into();
        }
        let client_id = call.id.plain().into_owned();
        // Ids of Gemini and Ollama have no rules; they only must differ.
        let keep = matches!(self.to, Dialect::Gemini | Dialect::Ollama);
        let wanted = if client_id.is_empty() { format!("call_{place}") } else { client_id.clone() };
        let sent_id = self.ids.assign(&wanted, keep);
        if sent_id != client_id {
            call.id = sent_id.clone().into();
        }
        match call.kind {
            ToolKind::Custom if !self.custom => {
                call.arguments = wrapped_input(&call.arguments).into();
                call.kind = ToolKind::Function;
            }
            ToolKind::Function if call.arguments.is_blank() => call.arguments = "{}".into(),
            _ => {}
        }
        Slot { client_id, client_name, sent_id, sent_name, result: None }
    }
}

/// The arguments under which the raw input of a custom call travels as a function call.
fn wrapped_input(input: &Str<'_>) -> String {
    let mut out = Vec::new();
    let mut writer = Writer::new(&mut out);
    writer.begin_object().key("input").text(input.text());
    writer.end_object();
    String::from_utf8(out).unwrap_or_default()
}

impl<'a> Slot<'a> {
    fn finish(self) -> ToolResult<'a> {
        let empty = || vec![Part::Text { text: Str::default(), cache: None }];
        let result = self.result.unwrap_or_else(|| ToolResult {
            call_id: Str::default(),
            name: None,
            parts: empty(),
            is_error: false,
            cache: None,
        });
        ToolResult { call_id: self.sent_id.into(), name: Some(self.sent_name.into()), ..result }
    }
}

/// Gives every result to its call: by id, repeated ids in order, the last one wins; then those without a known id by
/// name, then those without anything to the first open call. Returns what is left, as user content.
fn pair<'a>(slots: &mut [Slot<'a>], parts: Vec<Part<'a>>) -> Vec<Part<'a>> {
    let mut loose = Vec::new();
    for part in parts {
        let Part::Result(result) = part else {
            loose.push(part);
            continue;
        };
        let id = result.call_id.plain();
        let open = slots.iter().position(|slot| slot.client_id == *id && slot.result.is_none());
        let place = open.or_else(|| slots.iter().rposition(|slot| slot.client_id == *id)).filter(|_| !id.is_empty());
        drop(id);
        match place {
            Some(place) => slots[place].result = Some(result),
            None => loose.push(Part::Result(result)),
        }
    }
    let mut orphans = Vec::new();
    for part in loose {
        let Part::Result(result) = part else {
            orphans.push(part);
            continue;
        };
        let named = |slot: &Slot<'_>| {
            slot.result.is_none() && result.name.as_ref().is_some_and(|name| name.is(&slot.client_name))
        };
        let by_name = slots.iter().position(named);
        let first_open = || slots.iter().position(|slot| slot.result.is_none()).filter(|_| result.call_id.is_empty());
        match by_name.or_else(first_open) {
            Some(place) => slots[place].result = Some(result),
            None => orphans.extend(orphan(Part::Result(result))),
        }
    }
    orphans
}

/// A result without a call, as user content; other parts stay as they are.
fn orphan(part: Part<'_>) -> Vec<Part<'_>> {
    let Part::Result(result) = part else { return vec![part] };
    let mut text = ORPHAN.to_owned();
    let mut rest = Vec::new();
    let mut first = true;
    for part in result.parts {
        match part {
            Part::Text { text: piece, .. } => {
                if !first {
                    text.push('\n');
                }
                text.push_str(&piece.plain());
                first = false;
            }
            other => rest.push(other),
        }
    }
    let mut parts = vec![Part::Text { text: text.into(), cache: result.cache }];
    parts.extend(rest);
    parts
}

/// Applies the choice of tools: sent names, and the filter of allowed tools where the target has no word for it.
fn choose<'a>(request: &mut Request<'a>, to: Dialect, names: &mut NameMap) {
    if let Some(ChoiceMode::Tool(name)) = &mut request.choice.mode {
        let sent = names.find(&name.plain());
        if !name.is(&sent) {
            *name = sent.into();
        }
    }
    if !request.choice.allowed.is_empty() {
        let allowed: HashSet<String> = request.choice.allowed.iter().map(|name| names.find(&name.plain())).collect();
        let is_allowed = |tool: &Tool<'_>| allowed.contains(tool.name.plain().as_ref());
        if to == Dialect::Gemini && request.tools.iter().any(is_allowed) {
            let sent = request.tools.iter().filter(|tool| is_allowed(tool)).map(|tool| tool.name.clone());
            request.choice.allowed = sent.collect();
        } else {
            request.tools.retain(is_allowed);
            request.choice.allowed.clear();
        }
    }
    if to == Dialect::Ollama && request.choice.mode == Some(ChoiceMode::None) {
        request.tools.clear();
    }
    if request.tools.is_empty() {
        // `None` stays for the sake of stub tools: the client wants no calls.
        request.choice.mode = request.choice.mode.take().filter(|mode| *mode == ChoiceMode::None);
        request.choice.parallel = None;
    }
}

/// Tools with empty schemas for the calls in history, in order.
fn stubs<'a>(messages: &[Message<'a>]) -> Vec<Tool<'a>> {
    let mut seen = HashSet::new();
    let mut tools = Vec::new();
    for part in messages.iter().flat_map(|message| &message.parts) {
        let Part::Call(call) = part else { continue };
        if seen.insert(call.name.plain().into_owned()) {
            tools.push(Tool {
                name: call.name.clone(),
                namespace: None,
                description: None,
                schema: None,
                strict: None,
                kind: ToolKind::Function,
                format: None,
                cache: None,
                gemini_types: false,
            });
        }
    }
    tools
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::request::{Choice, SystemText};

    fn text(text: &str) -> Part<'_> {
        Part::Text { text: text.into(), cache: None }
    }

    fn call<'a>(id: &'a str, name: &'a str, arguments: &'a str) -> Part<'a> {
        Part::Call(Call {
            id: id.into(),
            name: name.into(),
            namespace: None,
            arguments: arguments.into(),
            kind: ToolKind::Function,
            signature: None,
            cache: None,
        })
    }

    fn result<'a>(id: &'a str, name: Option<&'a str>, body: &'a str) -> Part<'a> {
        let name = name.map(Str::from);
        Part::Result(ToolResult { call_id: id.into(), name, parts: vec![text(body)], is_error: false, cache: None })
    }

    fn tool(name: &str) -> Tool<'_> {
        Tool {
            name: name.into(),
            namespace: None,
            description: None,
            schema: None,
            strict: None,
            kind: ToolKind::Function,
            format: None,
            cache: None,
            gemini_types: false,
        }
    }

    fn talk<'a>(turns: Vec<(Role, Vec<Part<'a>>)>) -> Request<'a> {
        let messages = turns.into_iter().map(|(role, parts)| Message { role, parts }).collect();
        Request { messages, ..Request::default() }
    }

    fn prepared<'a>(mut request: Request<'a>, to: Dialect) -> (Request<'a>, Prepared) {
        let prepared = prepare(&mut request, to, &Target::default());
        (request, prepared)
    }

    /// The conversation in short: `a f#id {args}`, `t #id text`, `u text`.
    fn outline(request: &Request<'_>) -> Vec<String> {
        let mut lines = Vec::new();
        for message in &request.messages {
            let role = match message.role {
                Role::User => 'u',
                Role::Assistant => 'a',
                Role::Tool => 't',
                Role::System => 's',
            };
            for part in &message.parts {
                lines.push(match part {
                    Part::Text { text, .. } => format!("{role} {}", text.plain()),
                    Part::Call(call) => {
                        format!("{role} {}#{} {}", call.name.plain(), call.id.plain(), call.arguments.plain())
                    }
                    Part::Result(result) => {
                        let body: Vec<_> = result
                            .parts
                            .iter()
                            .map(|part| if let Part::Text { text, .. } = part { text.plain() } else { "?".into() })
                            .collect();
                        let name = result.name.as_ref().map(Str::plain).unwrap_or_default();
                        format!("{role} {name}#{} {}", result.call_id.plain(), body.join("+"))
                    }
                    other => format!("{role} {other:?}"),
                });
            }
        }
        lines
    }

    #[test]
    fn results_follow_the_order_of_the_calls_and_only_missing_ones_are_stubbed() {
        use Role::*;
        let (request, prepared) = prepared(
            talk(vec![
                (Assistant, vec![text("ok"), call("c.1", "f", ""), call("c2", "g", "[1]"), call("c3", "h", "{}")]),
                (Tool, vec![result("c3", None, "three")]),
                (Tool, vec![result("ghost", None, "boo"), result("c.1", None, "one"), result("c.1", None, "uno")]),
                (User, vec![text("next")]),
            ]),
            Dialect::OpenAiChat,
        );
        let expected = [
            "a ok",
            "a f#c_1 {}",
            "a g#c2 [1]",
            "a h#c3 {}",
            "t f#c_1 uno",
            "t g#c2 ",
            "t h#c3 three",
            "u [tool result without a matching call]\nboo",
            "u next",
        ];
        assert_eq!(outline(&request), expected);
        let mut used: Vec<_> = prepared.used_ids.into_iter().collect();
        used.sort();
        assert_eq!(used, ["c.1", "c2", "c3", "c_1"]);
    }

    #[test]
    fn late_results_are_orphans_and_the_call_gets_a_stub() {
        use Role::*;
        let (request, _) = prepared(
            talk(vec![
                (Assistant, vec![call("c1", "f", "{}")]),
                (User, vec![text("wait")]),
                (Tool, vec![result("c1", None, "late")]),
            ]),
            Dialect::Anthropic,
        );
        let expected = ["a f#c1 {}", "t f#c1 ", "u wait", "u [tool result without a matching call]\nlate"];
        assert_eq!(outline(&request), expected);
    }

    #[test]
    fn repeated_ids_are_told_apart_and_a_further_result_replaces_the_last() {
        use Role::*;
        let (request, _) = prepared(
            talk(vec![
                (Assistant, vec![call("call_0", "f", "{}")]),
                (Tool, vec![result("call_0", None, "one")]),
                (Assistant, vec![call("call_0", "f", "{}"), call("call_0", "f", "{}")]),
                (Tool, vec![result("call_0", None, "2"), result("call_0", None, "3"), result("call_0", None, "4")]),
            ]),
            Dialect::Anthropic,
        );
        let expected = [
            "a f#call_0 {}",
            "t f#call_0 one",
            "a f#call_0_2 {}",
            "a f#call_0_3 {}",
            "t f#call_0_2 2",
            "t f#call_0_3 4",
        ];
        assert_eq!(outline(&request), expected);
    }

    #[test]
    fn results_without_an_id_go_by_name_then_to_the_first_open_call() {
        use Role::*;
        let (request, _) = prepared(
            talk(vec![
                (Assistant, vec![call("1", "f", "{}"), call("2", "g", "{}"), call("3", "g", "{}")]),
                (Tool, vec![result("", Some("g"), "a"), result("", Some("g"), "b"), result("", Some("x"), "c")]),
                (Tool, vec![result("", None, "too many")]),
            ]),
            Dialect::Ollama,
        );
        let lines = outline(&request);
        assert_eq!(lines[3..6], ["t f#1 c", "t g#2 a", "t g#3 b"]);
        assert_eq!(lines[6], "u [tool result without a matching call]\ntoo many");
    }

    #[test]
    fn nameless_calls_go_and_split_turns_join() {
        use Role::*;
        let (request, _) = prepared(
            talk(vec![
                (Assistant, vec![call("1", " ", "{}"), call("2", "f", "{}")]),
                (Assistant, vec![text("and"), call("", "g", "{}")]),
                (Tool, vec![result("2", None, "r2"), result("1", None, "r1"), result("", None, "r3")]),
            ]),
            Dialect::OpenAiChat,
        );
        let expected = [
            "a f#2 {}",
            "a and",
            "a g#call_0 {}",
            "t f#2 r2",
            "t g#call_0 r3",
            "u [tool result without a matching call]\nr1",
        ];
        assert_eq!(outline(&request), expected);
    }

    #[test]
    fn pictures_of_an_orphan_survive() {
        let mut lost = result("x", None, "a");
        if let Part::Result(result) = &mut lost {
            result.parts.push(Part::Audio { mime: "audio/wav".into(), data: "UklG".into() });
        }
        let (request, _) = prepared(talk(vec![(Role::Tool, vec![lost])]), Dialect::Gemini);
        assert_eq!(request.messages[0].role, Role::User);
        assert!(matches!(request.messages[0].parts[1], Part::Audio { .. }));
    }

    #[test]
    fn the_first_of_two_equal_tools_is_sent() {
        let mut second = tool("f");
        second.description = Some("second".into());
        let request = Request { tools: vec![tool("f"), second, tool("g")], ..Request::default() };
        let (request, prepared) = prepared(request, Dialect::OpenAiChat);
        assert_eq!(request.tools.len(), 2);
        assert!(request.tools[0].description.is_none());
        assert_eq!(prepared.dropped, ["tools.f"]);
    }

    #[test]
    fn custom_tools_are_wrapped_unless_the_target_has_them() {
        let request = || {
            let mut request = talk(vec![(Role::Assistant, vec![call("1", "patch", "a\n\"b\"")])]);
            if let Part::Call(call) = &mut request.messages[0].parts[0] {
                call.kind = ToolKind::Custom;
            }
            request.tools = vec![Tool { kind: ToolKind::Custom, format: Some(Raw::EMPTY_OBJECT), ..tool("patch") }];
            request
        };
        let (wrapped, table) = prepared(request(), Dialect::Anthropic);
        assert_eq!(outline(&wrapped)[0], r#"a patch#1 {"input":"a\n\"b\""}"#);
        assert_eq!(wrapped.tools[0].schema.map(Raw::as_str), Some(CUSTOM_SCHEMA));
        assert!(wrapped.tools[0].format.is_none() && table.tools.is_custom("patch"));
        let (kept, _) = prepared(request(), Dialect::OpenAiResponses);
        assert_eq!(outline(&kept)[0], "a patch#1 a\n\"b\"");
        assert_eq!(kept.tools[0].kind, ToolKind::Custom);
    }

    #[test]
    fn allowed_tools_filter_or_pass_by_target() {
        let request = || Request {
            tools: vec![tool("a.x"), tool("b"), tool("c")],
            choice: Choice {
                mode: Some(ChoiceMode::Required),
                allowed: vec!["a.x".into(), "c".into()],
                parallel: Some(false),
            },
            ..Request::default()
        };
        let names = |request: &Request<'_>| -> Vec<String> {
            request.tools.iter().map(|tool| tool.name.plain().into_owned()).collect()
        };
        let (chat, _) = prepared(request(), Dialect::OpenAiChat);
        assert_eq!((names(&chat), chat.choice.allowed.len()), (vec!["a_x".to_owned(), "c".to_owned()], 0));
        assert_eq!(chat.choice.mode, Some(ChoiceMode::Required));
        let (gemini, _) = prepared(request(), Dialect::Gemini);
        assert_eq!(names(&gemini), ["a.x", "b", "c"]);
        assert!(gemini.choice.allowed[0].is("a.x") && gemini.choice.allowed.len() == 2);
        let mut none = request();
        none.choice.allowed = vec!["zzz".into()];
        let (none, _) = prepared(none, Dialect::Gemini);
        assert!(none.tools.is_empty() && none.choice == Choice::default());
    }

    #[test]
    fn choice_none_leaves_ollama_without_tools() {
        let choice = Choice { mode: Some(ChoiceMode::None), ..Choice::default() };
        let (request, _) = prepared(Request { tools: vec![tool("a")], choice, ..Request::default() }, Dialect::Ollama);
        assert!(request.tools.is_empty());
    }

    #[test]
    fn anthropic_gets_stub_tools_for_a_history_with_calls() {
        use Role::*;
        let turns = || vec![(Assistant, vec![call("1", "f", "{}"), call("2", "g", "{}"), call("3", "f", "{}")])];
        let (request, prepared_) = prepared(talk(turns()), Dialect::Anthropic);
        assert_eq!(request.tools.len(), 2);
        assert!(request.stub_tools && prepared_.history_tools_only);
        let (request, _) = prepared(talk(turns()), Dialect::OpenAiChat);
        assert!(request.tools.is_empty() && !request.stub_tools);
    }

    #[test]
    fn the_billing_line_stays_with_anthropic() {
        let request = || Request {
            system: ["x-anthropic-billing-header: a=1;", "x-anthropic-billing-header: a\nRest", "Plain"]
                .map(|text| SystemText { text: text.into(), cache: None })
                .into(),
            ..Request::default()
        };
        let texts = |request: Request<'_>| -> Vec<String> {
            request.system.iter().map(|system| system.text.plain().into_owned()).collect()
        };
        assert_eq!(texts(prepared(request(), Dialect::Gemini).0), ["Rest", "Plain"]);
        assert_eq!(texts(prepared(request(), Dialect::Anthropic).0).len(), 3);
    }
}
