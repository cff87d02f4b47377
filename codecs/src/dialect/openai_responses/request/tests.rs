#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};

use super::{decode, encode};
use crate::{
    dialect::{Dialect, Encoded, Target},
    hub::{
        ApiError, ErrorKind, Form, Origin, Request, Rider, ToolKind, hygiene,
        request::{
            Call, ChoiceMode, Effort, Format, Message, Part, Reasoning, Role, Source, SystemText, Tool, ToolResult,
        },
    },
    json::{Raw, Str},
};

/// Runs `check` on the decoded request.
fn with(body: Value, check: impl FnOnce(Request<'_>)) {
    let body = body.to_string();
    check(decode(Raw::parse_str(&body).unwrap()).unwrap());
}

fn refused(body: Value) -> ApiError {
    let body = body.to_string();
    decode(Raw::parse_str(&body).unwrap()).unwrap_err()
}

fn roles(request: &Request<'_>) -> Vec<Role> {
    request.messages.iter().map(|message| message.role).collect()
}

#[test]
fn input_may_be_a_string() {
    with(json!({"model":"m","input":"hi\n","stream":true}), |request| {
        assert!(request.stream && request.model.is("m"));
        assert_eq!(roles(&request), [Role::User]);
        assert!(matches!(&request.messages[0].parts[0], Part::Text { text, .. } if text.is("hi\n")));
    });
}

#[test]
fn items_group_into_turns() {
    let call = |id: &str| json!({"type":"function_call","call_id":id,"name":"f","arguments":"{}"});
    let output = |id: &str| json!({"type":"function_call_output","call_id":id,"output":id});
    let says = |role: &str| json!({"role":role,"content":role});
    let body = json!({"instructions":"I","input":[
        says("developer"), says("user"),
        {"type":"reasoning","id":"rs_1","summary":[{"text":"a"},{"text":"b"}],"encrypted_content":"blob"},
        call("1"), says("assistant"), call("2"),
        output("1"), output("2"),
        call("3"), says("user"), output("3"),
        {"type":"function_call","call_id":"4","name":" ","arguments":"{}"},
        {"type":"reasoning","summary":[]},
    ]});
    with(body, |request| {
        let system: Vec<_> = request.system.iter().map(|piece| piece.text.plain().into_owned()).collect();
        assert_eq!(system, ["I", "developer"]);
        use Role::{Assistant, Tool, User};
        assert_eq!(roles(&request), [User, Assistant, Tool, Assistant, Tool, User]);
        let parts = &request.messages[1].parts;
        let Part::Thinking { text, rider: Some(rider) } = &parts[0] else { panic!("{parts:?}") };
        assert!(text.is("a\n\nb") && rider.item_id.as_ref().unwrap().is("rs_1") && rider.payload.is("blob"));
        assert!(matches!((&parts[1], &parts[2], &parts[3]), (Part::Call(_), Part::Text { .. }, Part::Call(_))));
        assert_eq!(request.messages[2].parts.len(), 2);
    });
}

#[test]
fn tagged_blobs_find_their_origin() {
    let item = |blob: &str| json!({"type":"reasoning","id":"rs_1","summary":[],"encrypted_content":blob});
    let body = json!({"input":[item("frt1.anthropic.sig.S"), item("frt1.gemini.sig.G"), item("frt1.anthropic.red.R")]});
    with(body, |request| {
        let parts = &request.messages[0].parts;
        assert_eq!(
            parts[0],
            Part::Thinking { text: "".into(), rider: Some(Rider::new(Origin::Anthropic, Form::Sig, "S")) }
        );
        assert_eq!(
            parts[1],
            Part::Thinking { text: "".into(), rider: Some(Rider::new(Origin::Gemini, Form::Sig, "G")) }
        );
        assert_eq!(parts[2], Part::Redacted(Rider::new(Origin::Anthropic, Form::Red, "R")));
    });
}

#[test]
fn content_of_all_kinds() {
    let body = json!({"input":[{"role":"user","content":[
        {"type":"input_text","text":"t","prompt_cache_breakpoint":{"mode":"explicit"}},
        {"type":"input_image","image_url":"data:image/png;base64,iVBO","detail":"original"},
        {"type":"input_image","image_url":"https://h/i.png"},
        {"type":"input_image","file_id":"file-1"},
        {"type":"input_file","filename":"a.txt","file_data":"YQ=="},
        {"type":"input_file","file_data":"data:application/pdf;base64,JVBE"},
        {"type":"input_file","file_url":"https://h/d.pdf"},
        {"type":"input_audio","input_audio":{"data":"UklG","format":"mp3"}},
    ]}]});
    with(body, |request| {
        let parts = &request.messages[0].parts;
        let base64 = |mime: &'static str, data: &'static str| Source::Base64 { mime: mime.into(), data: data.into() };
        let source = |at: usize| match &parts[at] {
            Part::Image { source, .. } | Part::File { source, .. } => source,
            other => panic!("{other:?}"),
        };
        assert!(matches!(&parts[0], Part::Text { cache: Some(_), .. }));
        assert_eq!(source(1), &base64("image/png", "iVBO"));
        assert!(matches!(&parts[1], Part::Image { detail: Some(detail), .. } if detail.is("high")));
        assert_eq!(source(2), &Source::Url { url: "https://h/i.png".into(), mime: None });
        assert_eq!(source(3), &Source::FileId("file-1".into()));
        assert_eq!(source(4), &base64("text/plain", "YQ=="));
        assert_eq!(source(5), &base64("application/pdf", "JVBE"));
        assert_eq!(source(6), &Source::Url { url: "https://h/d.pdf".into(), mime: None });
        assert_eq!(parts[7], Part::Audio { mime: "audio/mpeg".into(), data: "UklG".into() });
    });
}

#[test]
fn tools_inside_the_input_are_tools() {
    let exec = json!({"type":"custom","name":"exec","description":"d","format":{"type":"grammar","syntax":"lark","definition":"x"}});
    let body = json!({"input":[
        {"type":"additional_tools","role":"developer","tools":[
            exec,
            {"type":"namespace","name":"ns","description":"d","tools":[{"type":"function","name":"g","parameters":{}}]},
        ]},
        {"role":"user","content":"hi"},
        {"type":"additional_tools"},
    ],"tools":[{"type":"function","name":"f","parameters":{}}]});
    with(body, |request| {
        let tools: Vec<_> = request
            .tools
            .iter()
            .map(|tool| (tool.name.plain(), tool.namespace.as_ref().map(Str::plain), tool.kind))
            .collect();
        assert_eq!(
            tools,
            [
                ("exec".into(), None, ToolKind::Custom),
                ("g".into(), Some("ns".into()), ToolKind::Function),
                ("f".into(), None, ToolKind::Function),
            ]
        );
        assert!(request.tools[0].format.is_some() && request.dropped.is_empty());
        assert_eq!(roles(&request), [Role::User]);
    });
    let error = refused(json!({"input":[{"type":"additional_tools","tools":[{"type":"function"}]}]}));
    assert!(error.message.contains("input[0].tools[0].name"), "{}", error.message);
}

#[test]
fn tools_choice_and_wishes() {
    let body = json!({
        "tools":[
            {"type":"function","name":"f","parameters":null,"strict":null},
            {"type":"custom","name":"c","format":{"type":"text"}},
            {"type":"namespace","name":"ns","description":"d","tools":[{"type":"function","name":"f"},{"type":"mcp"}]},
            {"type":"web_search"}
        ],
        "tool_choice":{"type":"allowed_tools","mode":"required","tools":[{"type":"function","name":"f"},{"type":"web_search"}]},
        "parallel_tool_calls":false,"max_output_tokens":7,"temperature":0.50,
        "reasoning":{"effort":"xhigh","summary":"detailed"},
        "text":{"format":{"type":"json_schema","name":"n","schema":{"type":"object"},"strict":true},"verbosity":"low"},
        "user":"old","safety_identifier":"new","store":false,"include":[],"metadata":{"k":"v"},"previous_response_id":null
    });
    with(body, |request| {
        let tools: Vec<_> = request
            .tools
            .iter()
            .map(|tool| (tool.name.plain().into_owned(), tool.namespace.is_some(), tool.kind, tool.strict))
            .collect();
        use ToolKind::{Custom, Function};
        let expected = [("f", false, Function, None), ("c", false, Custom, None), ("f", true, Function, None)];
        assert_eq!(tools, expected.map(|(name, namespace, kind, strict)| (name.to_owned(), namespace, kind, strict)));
        assert_eq!(request.dropped, ["tools.mcp", "tools.web_search", "tool_choice"]);
        assert_eq!(request.choice.mode, Some(ChoiceMode::Required));
        assert!(request.choice.allowed.len() == 1 && request.choice.parallel == Some(false));
        assert_eq!(request.max_tokens, Some(7));
        assert_eq!(request.sampling.temperature.unwrap().as_f64(), Some(0.5));
        let wish = request.reasoning.unwrap();
        assert!(wish.effort == Some(Effort::Xhigh) && wish.summary.unwrap().is("detailed"));
        assert!(matches!(request.format, Format::JsonSchema { strict: Some(true), .. }));
        assert!(request.user.unwrap().is("new"));
        let extras: Vec<_> = request.extras.iter().map(|(name, _)| name.plain().into_owned()).collect();
        assert_eq!(extras, ["store", "include", "metadata"]);
    });
}

#[test]
fn what_needs_a_memory_is_refused() {
    for body in [
        json!({"previous_response_id":"resp_1","input":"x"}),
        json!({"conversation":{"id":"c"},"input":"x"}),
        json!({"input":[{"type":"item_reference","id":"msg_1"}]}),
        json!({"input":[{"id":"msg_1"}]}),
    ] {
        let error = refused(body);
        assert_eq!(error.kind, ErrorKind::UnsupportedContent);
        assert!(error.message.contains("send the full input"), "{}", error.message);
    }
}

#[test]
fn mistakes_are_named() {
    for (body, message) in [
        (json!([]), "the body must be an object, not an array"),
        (json!({"stream":"true"}), "stream must be a boolean, not a string"),
        (json!({"max_output_tokens":"100"}), "max_output_tokens must be a number, not a string"),
        (json!({"max_output_tokens":-1}), "max_output_tokens must be a whole number that is not negative"),
        (json!({"input":7}), "input must be a string or an array, not a number"),
        (json!({"input":[7]}), "input[0] must be an object, not a number"),
        (json!({"input":[{"role":"robot","content":""}]}), "input[0].role \"robot\" is unknown"),
        (json!({"input":[{"type":"message","content":""}]}), "input[0].role is missing"),
        (json!({"input":[{"role":"user","content":[{"type":"input_text"}]}]}), "input[0].content[0].text is missing"),
        (json!({"tools":{}}), "tools must be an array, not an object"),
        (json!({"tools":[{"type":"function"}]}), "tools[0].name is missing"),
        (json!({"tool_choice":"maybe"}), "tool_choice \"maybe\" is unknown: auto, none or required"),
        (json!({"text":{"format":{"type":"xml"}}}), "text.format.type \"xml\" is unknown"),
    ] {
        let error = refused(body);
        assert_eq!((error.kind, error.message.as_str()), (ErrorKind::Invalid, message));
    }
}

#[test]
fn records_of_hosted_tools_are_reported_and_shell_calls_kept() {
    let body = json!({"input":[
        {"type":"web_search_call","id":"ws_1"},
        {"type":"local_shell_call","id":"lsh_1","call_id":"s1","action":{"type":"exec","command":["ls"]}},
        {"type":"local_shell_call_output","id":"s1","output":"a.txt"},
        {"type":"function_call","call_id":"q","name":"f","arguments":"{}"},
        {"type":"function_call_output","call_id":"q","output":[{"type":"text_of_the_tool"}]},
    ]});
    with(body, |request| {
        assert_eq!(request.dropped, ["input.web_search_call"]);
        assert_eq!(roles(&request), [Role::Assistant, Role::Tool, Role::Assistant, Role::Tool]);
        let Part::Call(call) = &request.messages[0].parts[0] else { panic!() };
        assert!(call.name.is("shell") && call.arguments.is(r#"{"type":"exec","command":["ls"]}"#));
        let Part::Result(result) = &request.messages[3].parts[0] else { panic!() };
        assert!(matches!(&result.parts[0], Part::Text { text, .. } if text.is(r#"[{"type":"text_of_the_tool"}]"#)));
    });
}

fn encoded(request: &Request<'_>, target: &Target) -> (Value, Vec<String>) {
    let Encoded { body, dropped, .. } = encode(request, target).unwrap();
    (serde_json::from_slice(&body).unwrap(), dropped)
}

fn user(parts: Vec<Part<'_>>) -> Message<'_> {
    Message { role: Role::User, parts }
}

fn text(text: &str) -> Part<'_> {
    Part::Text { text: text.into(), cache: None }
}

#[test]
fn nothing_to_say_is_still_an_input() {
    let (body, dropped) = encoded(&Request::default(), &Target::default());
    assert_eq!(
        body,
        json!({"model":"","store":false,
            "input":[{"type":"message","role":"user","content":[{"type":"input_text","text":"..."}]}]})
    );
    assert!(dropped.is_empty());
}

#[test]
fn turns_become_items() {
    let mut rider = Rider::new(Origin::Responses, Form::Enc, "blob");
    rider.item_id = Some("rs_1".into());
    let call = |id: &'static str, kind| Call {
        id: id.into(),
        name: "f".into(),
        namespace: None,
        arguments: "{\"a\":1}".into(),
        kind,
        signature: (id == "c1").then(|| rider.clone()),
        cache: None,
    };
    let result = |id: &'static str, parts, is_error| {
        Part::Result(ToolResult { call_id: id.into(), name: None, parts, is_error, cache: None })
    };
    let image =
        || Part::Image { source: Source::Url { url: "https://h/i".into(), mime: None }, detail: None, cache: None };
    let request = Request {
        system: vec![SystemText { text: "a".into(), cache: None }, SystemText { text: "b".into(), cache: None }],
        messages: vec![
            Message { role: Role::System, parts: vec![text("rule")] },
            Message {
                role: Role::Assistant,
                parts: vec![
                    Part::Thinking { text: "mine".into(), rider: Some(Rider::new(Origin::Anthropic, Form::Sig, "x")) },
                    Part::Thinking { text: "why".into(), rider: Some(rider.clone()) },
                    text("t"),
                    Part::Refusal("no".into()),
                    Part::Call(call("c1", ToolKind::Function)),
                    Part::Call(call("c2", ToolKind::Custom)),
                ],
            },
            Message {
                role: Role::Tool,
                parts: vec![
                    result("c1", vec![text("x"), text("y")], true),
                    result("c2", vec![text("Error: no"), image()], true),
                ],
            },
            Message { role: Role::Assistant, parts: vec![Part::Thinking { text: "unsigned".into(), rider: None }] },
        ],
        ..Request::default()
    };
    let (body, _) = encoded(&request, &Target { model: "m".into(), stream: true, ..Target::default() });
    assert_eq!((&body["model"], &body["instructions"], &body["stream"]), (&json!("m"), &json!("a\n\nb"), &json!(true)));
    let reasoning =
        |summary: Value| json!({"type":"reasoning","summary":summary,"encrypted_content":"blob","id":"rs_1"});
    assert_eq!(
        body["input"],
        json!([
            {"type":"message","role":"developer","content":[{"type":"input_text","text":"rule"}]},
            reasoning(json!([{"type":"summary_text","text":"why"}])),
            {"type":"message","role":"assistant","content":[{"type":"output_text","text":"t"},{"type":"refusal","refusal":"no"}]},
            reasoning(json!([])),
            {"type":"function_call","call_id":"c1","name":"f","arguments":"{\"a\":1}"},
            {"type":"custom_tool_call","call_id":"c2","name":"f","input":"{\"a\":1}"},
            {"type":"function_call_output","call_id":"c1","output":"Error: x\ny"},
            {"type":"custom_tool_call_output","call_id":"c2","output":[
                {"type":"input_text","text":"Error: no"},{"type":"input_image","detail":"auto","image_url":"https://h/i"}]}
        ])
    );
}

#[test]
fn attachments() {
    let base64 = |mime: &'static str| Source::Base64 { mime: mime.into(), data: "QQ==".into() };
    let file = |name: Option<&'static str>, source| Part::File { name: name.map(Into::into), source, cache: None };
    let request = Request {
        messages: vec![user(vec![
            Part::Image { source: base64("image/png"), detail: Some("low".into()), cache: None },
            file(None, base64("application/pdf")),
            file(Some("t.txt"), base64("text/plain")),
            file(Some("T"), Source::Text("body".into())),
            file(None, Source::Url { url: "https://h/d.pdf".into(), mime: None }),
            file(None, Source::FileId("file-1".into())),
        ])],
        ..Request::default()
    };
    assert_eq!(
        encoded(&request, &Target::default()).0["input"][0]["content"],
        json!([
            {"type":"input_image","detail":"low","image_url":"data:image/png;base64,QQ=="},
            {"type":"input_file","filename":"file.pdf","file_data":"data:application/pdf;base64,QQ=="},
            {"type":"input_file","filename":"t.txt","file_data":"data:text/plain;base64,QQ=="},
            {"type":"input_text","text":"T\nbody"},
            {"type":"input_file","file_url":"https://h/d.pdf"},
            {"type":"input_file","file_id":"file-1"}
        ])
    );
    for part in [
        Part::Audio { mime: "audio/wav".into(), data: "QQ==".into() },
        file(None, Source::FileId("file_011abc".into())),
        Part::Image { source: Source::FileId("other".into()), detail: None, cache: None },
    ] {
        let request = Request { messages: vec![user(vec![part])], ..Request::default() };
        assert_eq!(encode(&request, &Target::default()).unwrap_err().kind, ErrorKind::UnsupportedContent);
    }
}

#[test]
fn parameters_pass_or_are_reported() {
    let number = Raw::parse_str("0.50").unwrap();
    let mut request = Request {
        max_tokens: Some(9),
        stop: vec!["q".into()],
        n: Some(2),
        user: Some("u".repeat(65).into()),
        verbosity: Some("low".into()),
        format: Format::JsonObject,
        reasoning: Some(Reasoning { budget: Some(5_000), ..Reasoning::default() }),
        extras: vec![
            ("metadata".into(), Raw::EMPTY_OBJECT),
            ("logit_bias".into(), Raw::EMPTY_OBJECT),
            ("store".into(), Raw::parse_str("true").unwrap()),
        ],
        ..Request::default()
    };
    request.sampling.temperature = Some(number);
    request.sampling.top_k = Some(number);
    request.choice.parallel = Some(false);
    let target = Target { drop_params: vec!["temperature".into()], ..Target::default() };
    let (body, dropped) = encoded(&request, &target);
    assert_eq!(dropped, ["logit_bias", "n", "stop", "store", "temperature", "top_k"]);
    assert_eq!(body["max_output_tokens"], 9);
    assert_eq!(body["reasoning"], json!({"summary":"auto","effort":"medium"}));
    assert_eq!(body["include"], json!(["reasoning.encrypted_content"]));
    assert_eq!(body["text"], json!({"format":{"type":"json_object"},"verbosity":"low"}));
    assert_eq!((&body["metadata"], &body["store"]), (&json!({}), &json!(false)));
    let user = body["safety_identifier"].as_str().unwrap();
    assert!(user.len() == 64 && user.bytes().all(|b| b.is_ascii_hexdigit()));
    // Without tools there is nothing to choose.
    assert!(body.get("parallel_tool_calls").is_none() && body.get("temperature").is_none());
}

#[test]
fn no_thinking_is_said_only_where_it_may_be_said() {
    for wish in [
        Reasoning { off: true, ..Reasoning::default() },
        Reasoning { effort: Some(Effort::None), ..Reasoning::default() },
    ] {
        let request = Request { reasoning: Some(wish), ..Request::default() };
        let (body, _) = encoded(&request, &Target::default());
        assert!(body.get("reasoning").is_none() && body.get("include").is_none());
        let (body, _) = encoded(&request, &Target { effort_none: true, ..Target::default() });
        assert_eq!(body["reasoning"], json!({"effort":"none"}));
    }
}

#[test]
fn tools_are_flat_and_strict_is_always_said() {
    let tool = |name: &'static str, kind| Tool {
        name: name.into(),
        namespace: None,
        description: Some("d".into()),
        schema: None,
        strict: None,
        kind,
        format: None,
        cache: None,
        gemini_types: false,
    };
    let grammar = Raw::parse_str(r#"{"type":"grammar","grammar":{"syntax":"lark","definition":"x"}}"#).unwrap();
    let mut request = Request {
        tools: vec![
            tool("f", ToolKind::Function),
            Tool { format: Some(grammar), ..tool("c", ToolKind::Custom) },
            Tool {
                schema: Some(Raw::parse_str(r#"{"type":"OBJECT","properties":{"type":{"type":"STRING"}}}"#).unwrap()),
                gemini_types: true,
                strict: Some(true),
                ..tool("g", ToolKind::Function)
            },
        ],
        ..Request::default()
    };
    request.choice.mode = Some(ChoiceMode::Tool("c".into()));
    request.choice.parallel = Some(true);
    let (body, _) = encoded(&request, &Target::default());
    assert_eq!(
        body["tools"],
        json!([
            {"type":"function","name":"f","parameters":{"type":"object","properties":{}},"strict":false,"description":"d"},
            {"type":"custom","name":"c","format":{"type":"grammar","syntax":"lark","definition":"x"},"description":"d"},
            {"type":"function","name":"g","parameters":{"type":"object","properties":{"type":{"type":"string"}}},"strict":true,"description":"d"}
        ])
    );
    assert_eq!(body["tool_choice"], json!({"type":"custom","name":"c"}));
    assert_eq!(body["parallel_tool_calls"], true);
}

/// A history written by this dialect's encoder comes back the same through its decoder.
#[test]
fn encode_and_decode_agree() {
    let body = json!({"model":"m","instructions":"I","store":false,"max_output_tokens":5,
        "input":[
            {"type":"message","role":"user","content":[{"type":"input_text","text":"q\u{e9}\"\n"}]},
            {"type":"reasoning","summary":[{"type":"summary_text","text":"s"}],"encrypted_content":"blob","id":"rs_1"},
            {"type":"message","role":"assistant","content":[{"type":"output_text","text":"a"}]},
            {"type":"function_call","call_id":"c1","name":"f","arguments":"{\"n\": 1.0}"},
            {"type":"custom_tool_call","call_id":"c2","name":"patch","input":"*** Begin"},
            {"type":"function_call_output","call_id":"c1","output":"r1"},
            {"type":"custom_tool_call_output","call_id":"c2","output":"r2"}
        ],
        "tools":[
            {"type":"function","name":"f","parameters":{"type":"object","properties":{}},"strict":false},
            {"type":"custom","name":"patch","format":{"type":"grammar","syntax":"lark","definition":"start: x"}}
        ],
        "tool_choice":"auto"});
    with(body.clone(), |mut request| {
        let target = Target { model: "m".into(), ..Target::default() };
        hygiene::prepare(&mut request, Dialect::OpenAiResponses, &target);
        assert_eq!(encoded(&request, &target).0, body);
    });
}
