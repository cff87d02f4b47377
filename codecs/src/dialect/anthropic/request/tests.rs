#![allow(clippy::unwrap_used)]
use super::*;
use crate::{
    dialect::{Encoded, Target},
    hub::{
        ApiError, ErrorKind, Form, Origin, Request, Rider, ToolKind,
        request::{
            CacheMark, CacheTtl, Call, ChoiceMode, Effort, Format, Message, Part, Reasoning, Role, Source, SystemText,
            Tool, ToolResult,
        },
    },
    json::{Raw, Str},
};

fn read(body: &str) -> Result<Request<'_>, ApiError> {
    decode(Raw::parse_str(body).unwrap())
}

/// A request with these members besides the required ones.
fn with(members: &str) -> String {
    format!(r#"{{"model":"m","messages":[{{"role":"user","content":"q"}}],{members}}}"#)
}

/// A request with these messages.
fn talk(messages: &str) -> String {
    format!(r#"{{"model":"m","messages":[{messages}]}}"#)
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap()
}

fn target(model: &str) -> Target {
    Target { model: model.into(), ..Target::default() }
}

fn written(request: &Request<'_>, target: &Target) -> (serde_json::Value, Encoded) {
    let encoded = encode(request, target).unwrap();
    (serde_json::from_slice(&encoded.body).unwrap(), encoded)
}

fn body(request: &Request<'_>) -> serde_json::Value {
    written(request, &target("claude-sonnet-4-5")).0
}

fn said(role: Role, parts: Vec<Part<'static>>) -> Message<'static> {
    Message { role, parts }
}

fn text(text: &'static str) -> Part<'static> {
    Part::Text { text: text.into(), cache: None }
}

fn marked(text: &'static str) -> Part<'static> {
    Part::Text { text: text.into(), cache: Some(CacheMark { ttl: None }) }
}

fn ask(messages: Vec<Message<'static>>) -> Request<'static> {
    Request { model: "m".into(), messages, ..Request::default() }
}

fn question() -> Request<'static> {
    ask(vec![said(Role::User, vec![text("q")])])
}

fn call(id: &'static str, signature: Option<Rider<'static>>) -> Part<'static> {
    Part::Call(Call {
        id: id.into(),
        name: "f".into(),
        namespace: None,
        arguments: "{}".into(),
        kind: ToolKind::Function,
        signature,
        cache: None,
    })
}

fn result(id: &'static str, parts: Vec<Part<'static>>) -> Part<'static> {
    Part::Result(ToolResult { call_id: id.into(), name: None, parts, is_error: false, cache: None })
}

fn tool(name: &'static str) -> Tool<'static> {
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

fn signed(words: &'static str, signature: &'static str) -> Part<'static> {
    Part::Thinking { text: words.into(), rider: Some(Rider::new(Origin::Anthropic, Form::Sig, signature)) }
}

// ---- decode ---------------------------------------------------------------------------------------------------------

#[test]
fn wrong_requests_are_refused_with_place_and_reason() {
    for (body, message) in [
        ("[]".to_owned(), "the body must be an object, not an array"),
        (r#"{"messages":[]}"#.to_owned(), "model is missing"),
        (r#"{"model":"m"}"#.to_owned(), "messages is missing"),
        (with(r#""stream":"true""#), "stream must be a boolean, not a string"),
        (with(r#""max_tokens":"100""#), "max_tokens must be a number, not a string"),
        (with(r#""max_tokens":-1"#), "max_tokens must be a whole number that is not negative"),
        (with(r#""system":1"#), "system must be a string or an array, not a number"),
        (with(r#""tools":[{"description":"d"}]"#), "tools[0].name is missing"),
        (
            with(r#""tool_choice":{"type":"all"}"#),
            "tool_choice.type is \"all\", which is none of auto, any, tool, none",
        ),
        (with(r#""thinking":{"type":"enabled"}"#), "thinking.budget_tokens is missing"),
        (with(r#""stop_sequences":["a",1]"#), "stop_sequences[1] must be a string, not a number"),
        (
            talk(r#"{"role":"user","content":"a"},{"role":"robot","content":"b"}"#),
            "messages[1].role is \"robot\", which is none of user, assistant, system",
        ),
        (talk(r#"{"role":"user","content":7}"#), "messages[0].content must be a string or an array, not a number"),
        (talk(r#"{"role":"user"}"#), "messages[0].content is missing"),
        (talk(r#"{"role":"user","content":[{"type":"text"}]}"#), "messages[0].content[0].text is missing"),
        (
            talk(r#"{"role":"user","content":[{"type":"image","source":{"type":"magic"}}]}"#),
            "messages[0].content[0].source.type is \"magic\", which no image can have",
        ),
        (
            talk(
                r#"{"role":"user","content":[{"type":"tool_result","tool_use_id":"a","content":[{"type":"text","text":1}]}]}"#,
            ),
            "messages[0].content[0].content[0].text must be a string, not a number",
        ),
    ] {
        let error = read(&body).unwrap_err();
        assert_eq!((error.kind, error.message.as_str()), (ErrorKind::Invalid, message), "{body}");
    }
}

#[test]
fn parameters_are_read() {
    let body = with(
        r#""max_tokens":9,"temperature":1.0,"top_p":0,"top_k":5,"stop_sequences":["A"],"stream":false,
            "system":[{"type":"text","text":"s","cache_control":{"type":"ephemeral","ttl":"1h"}}],
            "metadata":{"user_id":"u"},"service_tier":"auto","container":"c","speed":null,
            "tool_choice":{"type":"tool","name":"f","disable_parallel_tool_use":true},
            "output_config":{"effort":"high","format":{"type":"json_schema","schema":{"type":"object"}}},
            "thinking":{"type":"enabled","budget_tokens":2000}"#,
    );
    let request = read(&body).unwrap();
    assert_eq!(request.max_tokens, Some(9));
    assert_eq!(request.sampling.temperature.unwrap().as_str(), "1.0");
    assert_eq!(request.sampling.top_p.unwrap().as_str(), "0");
    assert!(request.stream_said && !request.stream);
    assert_eq!(
        request.system,
        [SystemText { text: "s".into(), cache: Some(CacheMark { ttl: Some(CacheTtl::OneHour) }) }]
    );
    assert_eq!(request.user, Some("u".into()));
    assert_eq!(request.dropped, ["service_tier"]);
    assert_eq!(request.extras.len(), 1);
    assert_eq!(request.choice.mode, Some(ChoiceMode::Tool("f".into())));
    assert_eq!(request.choice.parallel, Some(false));
    let wish = Reasoning { effort: Some(Effort::High), budget: Some(2000), ..Reasoning::default() };
    assert_eq!(request.reasoning, Some(wish));
    assert!(matches!(request.format, Format::JsonSchema { name: None, strict: Some(true), .. }));
}

#[test]
fn thinking_switches() {
    for (members, expected) in [
        (r#""thinking":{"type":"disabled"}"#, Reasoning { off: true, ..Reasoning::default() }),
        (r#""thinking":{"type":"adaptive"}"#, Reasoning { adaptive: true, ..Reasoning::default() }),
        (r#""thinking":{"type":"between_tools"}"#, Reasoning { adaptive: true, ..Reasoning::default() }),
        (r#""output_config":{"effort":"low"}"#, Reasoning { effort: Some(Effort::Low), ..Reasoning::default() }),
    ] {
        assert_eq!(read(&with(members)).unwrap().reasoning, Some(expected), "{members}");
    }
}

#[test]
fn typed_tools_are_dropped_with_the_choice_that_forces_them() {
    let body = with(
        r#""tools":[{"type":"bash_20250124","name":"bash"},{"type":"custom","name":"f","input_schema":{}},
            {"type":"browser_toolset_20260801"}],"tool_choice":{"type":"tool","name":"bash"}"#,
    );
    let request = read(&body).unwrap();
    assert_eq!(request.tools.len(), 1);
    assert_eq!(request.dropped, ["tools.bash", "tools.browser_toolset_20260801", "tool_choice"]);
    assert_eq!(request.choice.mode, None);
}

#[test]
fn results_are_split_from_the_rest_of_their_message() {
    let body = talk(
        r#"{"role":"user","content":[{"type":"text","text":"t"},
            {"type":"tool_result","tool_use_id":"a","content":"x","is_error":true},
            {"type":"tool_result","tool_use_id":"b"}]}"#,
    );
    let request = read(&body).unwrap();
    let error = ToolResult { call_id: "a".into(), name: None, parts: vec![text("x")], is_error: true, cache: None };
    assert_eq!(request.messages[0], said(Role::Tool, vec![Part::Result(error), result("b", vec![text("")])]));
    assert_eq!(request.messages[1], said(Role::User, vec![text("t")]));
    assert_eq!(request.messages.len(), 2);
}

#[test]
fn documents_and_search_results() {
    let body = talk(
        r#"{"role":"user","content":[
            {"type":"document","title":"T","context":"C","source":{"type":"text","media_type":"text/plain","data":"D"}},
            {"type":"document","source":{"type":"content","content":"E"}},
            {"type":"document","title":"F","source":{"type":"content","content":[{"type":"text","text":"G"}]}},
            {"type":"document","source":{"type":"url","url":"U"}},
            {"type":"search_result","title":"H","source":"S","content":[{"type":"text","text":"I"}]},
            {"type":"image","source":{"type":"file","file_id":"X"}},
            {"type":"container_upload","file_id":"Y"}]}"#,
    );
    let request = read(&body).unwrap();
    let file = |name: Option<&'static str>, source| Part::File { name: name.map(Str::from), source, cache: None };
    let expected = vec![
        text("C"),
        file(Some("T"), Source::Text("D".into())),
        file(None, Source::Text("E".into())),
        text("F"),
        text("G"),
        file(None, Source::Url { url: "U".into(), mime: None }),
        text("H\nS\nI"),
        Part::Image { source: Source::FileId("X".into()), detail: None, cache: None },
    ];
    assert_eq!(request.messages[0].parts, expected);
    assert_eq!(request.dropped, ["content.container_upload"]);
}

#[test]
fn thinking_keeps_its_riders_and_gives_carried_ones_to_the_call() {
    let body = talk(
        r#"{"role":"assistant","content":[
            {"type":"thinking","thinking":"a","signature":"S"},{"type":"redacted_thinking","data":"D"},
            {"type":"thinking","thinking":"b","signature":"frt1.responses.enc.rs_1:E"},
            {"type":"thinking","thinking":"","signature":""},
            {"type":"thinking","thinking":"","signature":"frt1.gemini.sig.G"},
            {"type":"tool_use","id":"i","name":"f","input":{"a": 1.0}},
            {"type":"server_tool_use","id":"s","name":"web_search","input":{}}]}"#,
    );
    let request = read(&body).unwrap();
    let mut responses = Rider::new(Origin::Responses, Form::Enc, "E");
    responses.item_id = Some("rs_1".into());
    let Part::Call(mut called) = call("i", Some(Rider::new(Origin::Gemini, Form::Sig, "G"))) else { unreachable!() };
    called.arguments = r#"{"a": 1.0}"#.into();
    let expected = vec![
        signed("a", "S"),
        Part::Redacted(Rider::new(Origin::Anthropic, Form::Red, "D")),
        Part::Thinking { text: "b".into(), rider: Some(responses) },
        Part::Call(called),
    ];
    assert_eq!(request.messages[0].parts, expected);
    assert_eq!(request.dropped, ["content.server_tool_use"]);
}

// ---- encode: conversation ---------------------------------------------------------------------------------------------

#[test]
fn no_messages_and_a_beginning_assistant() {
    let dots = json(r#"{"role":"user","content":[{"type":"text","text":"..."}]}"#);
    assert_eq!(body(&ask(vec![]))["messages"], serde_json::json!([dots]));
    let out = body(&ask(vec![said(Role::Assistant, vec![text("hi")]), said(Role::User, vec![text("q")])]));
    assert_eq!(out["messages"][0], dots);
    assert_eq!(out["messages"].as_array().unwrap().len(), 3);
}

#[test]
fn blank_texts_and_hollow_turns_are_left_out_and_neighbours_join() {
    let out = body(&ask(vec![
        said(Role::User, vec![text(" \n"), text("a")]),
        said(Role::Assistant, vec![text("")]),
        said(Role::System, vec![text("rule")]),
        said(Role::Assistant, vec![Part::Refusal("no".into())]),
        said(Role::User, vec![text("\t")]),
    ]));
    let expected = json(
        r#"[{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"rule"}]},
            {"role":"assistant","content":[{"type":"text","text":"no"}]}]"#,
    );
    assert_eq!(out["messages"], expected);
}

#[test]
fn a_prefill_loses_its_last_blanks_only() {
    let out =
        body(&ask(vec![said(Role::User, vec![text("q ")]), said(Role::Assistant, vec![text("a "), text("b \n")])]));
    let expected = json(
        r#"[{"role":"user","content":[{"type":"text","text":"q "}]},
            {"role":"assistant","content":[{"type":"text","text":"a "},{"type":"text","text":"b"}]}]"#,
    );
    assert_eq!(out["messages"], expected);
}

#[test]
fn results_come_first_and_are_text_or_blocks() {
    let image = Part::Image {
        source: Source::Base64 { mime: "image/png".into(), data: "AA==".into() },
        detail: None,
        cache: None,
    };
    let mut failed =
        ToolResult { call_id: "c".into(), name: None, parts: vec![text("x")], is_error: true, cache: None };
    failed.cache = Some(CacheMark { ttl: None });
    let out = body(&ask(vec![
        said(Role::User, vec![text("q")]),
        said(Role::Assistant, vec![call("a", None), call("b", None), call("c", None)]),
        said(Role::Tool, vec![result("a", vec![text("")]), result("b", vec![text("t"), image]), Part::Result(failed)]),
        said(Role::User, vec![text("u")]),
    ]));
    let expected = json(
        r#"[{"type":"tool_result","tool_use_id":"a","content":""},
            {"type":"tool_result","tool_use_id":"b","content":[{"type":"text","text":"t"},
                {"type":"image","source":{"type":"base64","media_type":"image/png","data":"AA=="}}]},
            {"type":"tool_result","tool_use_id":"c","content":"x","is_error":true,
                "cache_control":{"type":"ephemeral"}},
            {"type":"text","text":"u"}]"#,
    );
    assert_eq!(out["messages"][2]["content"], expected);
}

#[test]
fn the_last_four_cache_marks_stay() {
    let mut request = ask(vec![
        said(Role::User, vec![marked("a"), marked(" ")]),
        said(Role::Assistant, vec![marked("b")]),
        said(Role::User, vec![marked("c"), text("d")]),
    ]);
    let hour = Some(CacheMark { ttl: Some(CacheTtl::OneHour) });
    request.system = vec![SystemText { text: "s".into(), cache: hour }, SystemText { text: " ".into(), cache: hour }];
    request.tools = vec![Tool { cache: hour, ..tool("f") }];
    let out = body(&request);
    assert_eq!(out["tools"][0].get("cache_control"), None, "the first of five");
    assert_eq!(out["system"], json(r#"[{"type":"text","text":"s","cache_control":{"type":"ephemeral","ttl":"1h"}}]"#));
    let marks = out.to_string().matches("cache_control").count();
    assert_eq!(marks, 4);
}

#[test]
fn foreign_and_unsigned_thinking_stays_away() {
    let foreign = Rider::new(Origin::Responses, Form::Enc, "E");
    let out = body(&ask(vec![
        said(Role::User, vec![text("q")]),
        said(
            Role::Assistant,
            vec![
                Part::Thinking { text: "t".into(), rider: None },
                Part::Thinking { text: "u".into(), rider: Some(foreign.clone()) },
                Part::Redacted(foreign),
                signed("v", "S"),
                Part::Redacted(Rider::new(Origin::Anthropic, Form::Red, "D")),
                text("a"),
            ],
        ),
        said(Role::User, vec![text("r")]),
    ]));
    let expected = json(
        r#"[{"type":"thinking","thinking":"v","signature":"S"},{"type":"redacted_thinking","data":"D"},
            {"type":"text","text":"a"}]"#,
    );
    assert_eq!(out["messages"][1]["content"], expected);
}

#[test]
fn signatures_on_calls_become_thinking_again() {
    let rider = |payload: &'static str| Some(Rider::new(Origin::Anthropic, Form::Sig, payload));
    let turn = |parts| {
        let out = body(&ask(vec![
            said(Role::User, vec![text("q")]),
            said(Role::Assistant, parts),
            said(Role::Tool, vec![result("a", vec![]), result("b", vec![])]),
        ]));
        let blocks = out["messages"][1]["content"].as_array().unwrap().clone();
        let line = |block: &serde_json::Value| {
            let words = ["thinking", "signature", "text", "id"].map(|name| block[name].as_str().unwrap_or_default());
            words.concat()
        };
        blocks.iter().map(line).collect::<Vec<_>>()
    };
    let unsigned = Part::Thinking { text: "hm".into(), rider: None };
    let parts = vec![unsigned, text("t"), call("a", rider("S1")), call("b", rider("S2"))];
    assert_eq!(turn(parts), ["hmS1", "t", "a", "S2", "b"], "the second one has no thought to sign");
    assert_eq!(turn(vec![text("t"), call("a", rider("S1")), call("b", None)]), ["S1", "t", "a", "b"]);
    let foreign = Some(Rider::new(Origin::Gemini, Form::Sig, "G"));
    assert_eq!(turn(vec![call("a", foreign), call("b", None)]), ["a", "b"]);
}

#[test]
fn attachments() {
    let write = |part: Part<'static>| encode(&ask(vec![said(Role::User, vec![part])]), &Target::default());
    let file = |mime: &'static str, data: &'static str| Part::File {
        name: Some("n".into()),
        source: Source::Base64 { mime: mime.into(), data: data.into() },
        cache: None,
    };
    let block = |part: Part<'static>| {
        let out: serde_json::Value = serde_json::from_slice(&write(part).unwrap().body).unwrap();
        out["messages"][0]["content"][0].clone()
    };
    assert_eq!(
        block(file("text/markdown", "w6k=")),
        json(r#"{"type":"document","title":"n","source":{"type":"text","media_type":"text/plain","data":"é"}}"#)
    );
    assert_eq!(block(file("image/png", "AA=="))["type"], "image");
    let url = Part::File { name: None, source: Source::Url { url: "u".into(), mime: None }, cache: None };
    assert_eq!(block(url), json(r#"{"type":"document","source":{"type":"url","url":"u"}}"#));
    let refused = [
        file("application/zip", "/wD/"),
        file("text/plain", "no base64"),
        Part::Audio { mime: "audio/wav".into(), data: "AA==".into() },
        Part::Image { source: Source::FileId("file-1".into()), detail: None, cache: None },
        Part::File { name: None, source: Source::FileId("file-1".into()), cache: None },
    ];
    for part in refused {
        assert_eq!(write(part.clone()).unwrap_err().kind, ErrorKind::UnsupportedContent, "{part:?}");
    }
}

#[test]
fn images_of_the_assistant_are_reported() {
    let image = Part::Image { source: Source::Url { url: "u".into(), mime: None }, detail: None, cache: None };
    let request = ask(vec![said(Role::User, vec![text("q")]), said(Role::Assistant, vec![image, text("a")])]);
    let (out, encoded) = written(&request, &Target::default());
    assert_eq!(encoded.dropped, ["content.image"]);
    assert_eq!(out["messages"][1]["content"], json(r#"[{"type":"text","text":"a"}]"#));
}

// ---- encode: parameters -------------------------------------------------------------------------------------------------

#[test]
fn what_has_no_place_is_reported_by_its_chat_name() {
    let mut request = question();
    request.n = Some(2);
    request.verbosity = Some("low".into());
    request.sampling.seed = Raw::parse_str("0").ok();
    request.sampling.presence = Raw::parse_str("0").ok();
    request.sampling.temperature = Raw::parse_str("0.5").ok();
    request.sampling.top_p = Raw::parse_str("1").ok();
    request.stop = vec![" ".into(), "x".into()];
    request.extras = vec![("logit_bias".into(), Raw::EMPTY_OBJECT), ("gone".into(), Raw::NULL)];
    let (out, encoded) = written(&request, &target("m"));
    assert_eq!(encoded.dropped, ["logit_bias", "n", "presence_penalty", "seed", "stop", "top_p", "verbosity"]);
    assert_eq!(out["stop_sequences"], json(r#"["x"]"#));
    assert_eq!(out["temperature"], json("0.5"));
    assert_eq!(out.get("stream"), None);
}

#[test]
fn members_that_the_connection_forbids_stay_away() {
    let mut request = question();
    request.sampling.temperature = Raw::parse_str("0.5").ok();
    request.sampling.top_p = Raw::parse_str("0.9").ok();
    request.user = Some("u".into());
    request.reasoning = Some(Reasoning { effort: Some(Effort::Low), ..Reasoning::default() });
    let names = ["temperature", "thinking", "metadata"];
    let target = Target { drop_params: names.map(str::to_owned).to_vec(), ..target("m") };
    let (out, encoded) = written(&request, &target);
    assert_eq!(encoded.dropped, ["reasoning", "temperature", "user"]);
    assert_eq!(out["top_p"], json("0.9"), "it may go alone");
    assert_eq!((out.get("thinking"), out.get("metadata")), (None, None));
}

#[test]
fn personal_user_ids_are_dropped() {
    for (user, sent) in [
        ("user-77", true),
        ("someone@example.org", false),
        ("+47 22 12 34", false),
        ("+1 (555) 010-9999", false),
        ("12345", true),
        ("6f1c2d1e-0b6a-4e5b-9d3f-000000000000", true),
    ] {
        let request = Request { user: Some(user.into()), ..question() };
        let (out, encoded) = written(&request, &target("m"));
        assert_eq!(out.get("metadata").is_some(), sent, "{user}");
        assert_eq!(encoded.dropped.is_empty(), sent, "{user}");
    }
}

#[test]
fn tool_choices() {
    let write = |mode, parallel| {
        let mut request = Request { tools: vec![tool("f")], ..question() };
        (request.choice.mode, request.choice.parallel) = (mode, parallel);
        body(&request).get("tool_choice").cloned()
    };
    let value = |text| Some(json(text));
    assert_eq!(write(None, None), None);
    assert_eq!(write(None, Some(true)), None);
    assert_eq!(write(None, Some(false)), value(r#"{"type":"auto","disable_parallel_tool_use":true}"#));
    assert_eq!(write(Some(ChoiceMode::None), Some(false)), value(r#"{"type":"none"}"#));
    assert_eq!(write(Some(ChoiceMode::Required), None), value(r#"{"type":"any"}"#));
    assert_eq!(write(Some(ChoiceMode::Tool("f".into())), None), value(r#"{"type":"tool","name":"f"}"#));
}

#[test]
fn tools_with_alternatives_tell_them_in_their_description() {
    let schema = r#"{"anyOf":[{"properties":{"a":{}}},{"properties":{"b":{}}}]}"#;
    let described = Tool { description: Some("D".into()), schema: Raw::parse_str(schema).ok(), ..tool("f") };
    let out = body(&Request { tools: vec![described], ..question() });
    assert!(out["tools"][0]["description"].as_str().unwrap().starts_with("D\n\nThe input must match"));
    assert_eq!(out["tools"][0]["input_schema"], json(r#"{"type":"object","properties":{"a":{},"b":{}}}"#));
}

#[test]
fn json_objects_are_asked_for_in_words() {
    let request = Request { format: Format::JsonObject, ..question() };
    let expected = json(r#"[{"type":"text","text":"Respond with a single valid JSON object and nothing else."}]"#);
    assert_eq!(body(&request)["system"], expected);
}

#[test]
fn counting_takes_no_limits_and_no_sampling() {
    let mut request = Request { tools: vec![tool("f")], max_tokens: Some(5), ..question() };
    request.sampling.temperature = Raw::parse_str("0.5").ok();
    request.stop = vec!["x".into()];
    request.user = Some("u".into());
    let target = Target { stream: true, ..target("claude-sonnet-4-5") };
    let encoded = encode_count_tokens(&request, &target).unwrap();
    let out: serde_json::Value = serde_json::from_slice(&encoded.body).unwrap();
    let names: Vec<_> = out.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names, ["model", "tools", "messages"]);
}

// ---- encode: thinking and max_tokens ----------------------------------------------------------------------------------

fn effort(effort: Effort) -> Option<Reasoning<'static>> {
    Some(Reasoning { effort: Some(effort), ..Reasoning::default() })
}

fn budget(tokens: u64) -> Option<Reasoning<'static>> {
    Some(Reasoning { budget: Some(tokens), ..Reasoning::default() })
}

#[test]
fn max_tokens_default_and_bump() {
    // client's limit, own tools, stub tools, budget, model's maximum, adjust → max_tokens, budget sent
    type Row = (Option<u64>, bool, bool, Option<u64>, Option<u64>, bool, u64, Option<u64>);
    let rows: [Row; 12] = [
        (None, false, false, None, None, true, 4_096, None),
        (Some(0), false, false, None, None, true, 0, None),
        (Some(500), true, false, None, None, true, 32_000, None),
        (Some(500), true, false, None, None, false, 500, None),
        (Some(500), true, true, None, None, true, 500, None),
        (Some(50_000), true, false, None, None, true, 50_000, None),
        (Some(2_000), false, false, Some(2_000), None, true, 3_024, Some(2_000)),
        (Some(2_000), false, false, Some(2_000), None, false, 3_024, Some(2_000)),
        (Some(2_000), false, false, Some(10), None, true, 2_000, Some(1_024)),
        (Some(9_000), true, false, None, Some(8_192), true, 8_192, None),
        (Some(9_000), false, false, Some(20_000), Some(8_192), true, 8_192, Some(7_168)),
        (Some(9_000), false, false, Some(20_000), Some(2_000), true, 2_000, None),
    ];
    for row in rows {
        let (limit, own, stub, tokens, max, adjust, expected, sent) = row;
        let mut request = Request { max_tokens: limit, stub_tools: stub, ..question() };
        if own {
            request.tools = vec![tool("f")];
        }
        request.reasoning = tokens.and_then(budget);
        let target = Target { max_output_tokens: max, adjust_max_tokens: adjust, ..target("claude-sonnet-4-5") };
        let (out, encoded) = written(&request, &target);
        assert_eq!(out["max_tokens"], expected, "{row:?}");
        assert_eq!(out.pointer("/thinking/budget_tokens").and_then(|b| b.as_u64()), sent, "{row:?}");
        assert_eq!(encoded.dropped == ["reasoning"], tokens.is_some() && sent.is_none(), "{row:?}");
    }
}

#[test]
fn adaptive_models_get_an_effort() {
    for (wish, thinking, word) in [
        (effort(Effort::None), false, None),
        (effort(Effort::Minimal), true, Some("low")),
        (budget(10_000), true, Some("high")),
        (Some(Reasoning { adaptive: true, ..Reasoning::default() }), true, None),
        (Some(Reasoning { off: true, budget: Some(5_000), ..Reasoning::default() }), false, None),
        (Some(Reasoning { summary: Some("auto".into()), ..Reasoning::default() }), false, None),
    ] {
        let request = Request { reasoning: wish.clone(), max_tokens: Some(100), ..question() };
        let (out, encoded) = written(&request, &target("claude-opus-4-6"));
        let expected = thinking.then(|| json(r#"{"type":"adaptive","display":"summarized"}"#));
        assert_eq!(out.get("thinking"), expected.as_ref(), "{wish:?}");
        assert_eq!(out.pointer("/output_config/effort").and_then(|word| word.as_str()), word, "{wish:?}");
        assert_eq!(out["max_tokens"], 100);
        assert!(encoded.dropped.is_empty() && encoded.betas.is_empty());
    }
}

#[test]
fn the_target_decides_about_adaptive_before_the_name() {
    let request = Request { reasoning: effort(Effort::Low), ..question() };
    let target = Target { adaptive: Some(true), ..target("my-alias") };
    assert_eq!(written(&request, &target).0["thinking"]["type"], "adaptive");
    let target = Target { adaptive: Some(false), model: "claude-opus-4-6".into(), ..target };
    assert_eq!(written(&request, &target).0["thinking"]["budget_tokens"], 4_096);
}

#[test]
fn thinking_forbids_sampling_and_asks_for_a_beta_with_tools() {
    let mut request = Request { reasoning: effort(Effort::Low), tools: vec![tool("f")], ..question() };
    request.sampling.top_k = Raw::parse_str("4").ok();
    let (out, encoded) = written(&request, &target("claude-sonnet-4-5"));
    assert_eq!(encoded.dropped, ["top_k"]);
    assert_eq!(out.get("top_k"), None);
    assert_eq!(encoded.betas, ["interleaved-thinking-2025-05-14"]);
}

#[test]
fn a_forced_call_wins_over_thinking() {
    let mut request = Request { reasoning: effort(Effort::Low), tools: vec![tool("f")], ..question() };
    request.choice.mode = Some(ChoiceMode::Required);
    request.sampling.temperature = Raw::parse_str("2").ok();
    for model in ["claude-sonnet-4-5", "claude-opus-4-6"] {
        let (out, encoded) = written(&request, &target(model));
        assert_eq!(encoded.dropped, ["reasoning"], "{model}");
        assert_eq!((out.get("thinking"), out.get("output_config")), (None, None));
        assert_eq!(out["temperature"], 1, "without thinking sampling is possible again");
    }
}

#[test]
fn a_budget_needs_signed_thinking_before_the_last_calls() {
    let talk = |first: Part<'static>| {
        let mut request = ask(vec![
            said(Role::User, vec![text("q")]),
            said(Role::Assistant, vec![first, call("a", None)]),
            said(Role::Tool, vec![result("a", vec![text("r")])]),
        ]);
        request.tools = vec![tool("f")];
        request.reasoning = effort(Effort::Low);
        request
    };
    let unsigned = talk(Part::Thinking { text: "t".into(), rider: None });
    let (out, encoded) = written(&unsigned, &target("claude-sonnet-4-5"));
    assert_eq!((out.get("thinking"), encoded.dropped), (None, vec!["reasoning".to_owned()]));
    assert_eq!(written(&unsigned, &target("claude-opus-4-6")).0["thinking"]["type"], "adaptive");
    let (out, _) = written(&talk(signed("t", "S")), &target("claude-sonnet-4-5"));
    assert_eq!(out["thinking"]["type"], "enabled");
}

#[test]
fn what_was_decoded_is_encoded_again() {
    let given = r#"{"model":"claude-sonnet-4-5","max_tokens":100,"stream":true,
        "system":[{"type":"text","text":"s"}],
        "messages":[{"role":"user","content":[{"type":"text","text":"q\u00e9"}]},
            {"role":"assistant","content":[{"type":"thinking","thinking":"t","signature":"S"},
                {"type":"tool_use","id":"a","name":"f","input":{"x":1}}]},
            {"role":"user","content":[{"type":"tool_result","tool_use_id":"a","content":"r","is_error":true},
                {"type":"document","title":"n","source":{"type":"base64","media_type":"application/pdf","data":"AA=="}}]}],
        "tools":[{"name":"f","description":"d","input_schema":{"type":"object"},"strict":true,
            "cache_control":{"type":"ephemeral","ttl":"5m"}}],
        "tool_choice":{"type":"auto"},"stop_sequences":["x"],"temperature":0.25,"metadata":{"user_id":"u"},
        "output_config":{"format":{"type":"json_schema","schema":{"type":"object","additionalProperties":false}}}}"#;
    let request = read(given).unwrap();
    let target = Target { stream: true, adjust_max_tokens: false, ..target("claude-sonnet-4-5") };
    let (out, encoded) = written(&request, &target);
    assert_eq!(out, json(given));
    assert!(encoded.dropped.is_empty());
}
