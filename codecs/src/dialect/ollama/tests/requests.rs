use crate::{
    dialect::{
        Dialect, Target, UrlParts,
        ollama::request,
        testing::{json, raw, request as translated},
    },
    hub::request::{
        Choice, ChoiceMode, Effort, Format, Message, Part, Reasoning, Request, Role, Source, SystemText, Tool,
        ToolResult,
    },
    hub::{Origin, Rider, ToolKind},
};

fn decoded(body: &str) -> Request<'_> {
    request::decode(raw(body), &UrlParts::default()).unwrap()
}

fn refused(body: &str) -> String {
    request::decode(raw(body), &UrlParts::default()).unwrap_err().message
}

fn body(request: &Request<'_>) -> serde_json::Value {
    let target = Target { model: "m".into(), ..Target::default() };
    json(std::str::from_utf8(&request::encode(request, &target).unwrap().body).unwrap())
}

fn text(text: &str) -> Part<'_> {
    Part::Text { text: text.into(), cache: None }
}

fn picture(source: Source<'_>) -> Part<'_> {
    Part::Image { source, detail: None, cache: None }
}

#[test]
fn streaming_is_the_default_and_an_answer_is_remembered() {
    let silent = decoded(r#"{"model":"m"}"#);
    assert!(silent.stream && !silent.stream_said && silent.messages.is_empty());
    let spoken = decoded(r#"{"model":"m","stream":false}"#);
    assert!(!spoken.stream && spoken.stream_said);
}

/// R-72, R-73, R-76.
#[test]
fn wrong_requests_are_refused_with_their_place() {
    for (body, message) in [
        ("7", "the body must be an object, not a number"),
        ("{}", "model is missing"),
        (r#"{"model":"m","stream":"true"}"#, "stream must be a boolean, not a string"),
        (r#"{"model":"m","messages":{}}"#, "messages must be an array, not an object"),
        (r#"{"model":"m","messages":[{"content":"x"}]}"#, "messages[0].role is missing"),
        (
            r#"{"model":"m","messages":[{"role":"narrator"}]}"#,
            "messages[0].role must be system, user, assistant or tool, not \"narrator\"",
        ),
        (
            r#"{"model":"m","messages":[{"role":"user","content":["x"]}]}"#,
            "messages[0].content must be a string, not an array",
        ),
        (
            r#"{"model":"m","messages":[{"role":"user","images":[1]}]}"#,
            "messages[0].images[0] must be a string, not a number",
        ),
        (
            r#"{"model":"m","messages":[{"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":[1]}}]}]}"#,
            "messages[0].tool_calls[0].function.arguments must be an object, not an array",
        ),
        (r#"{"model":"m","options":{"num_predict":"100"}}"#, "options.num_predict must be a number, not a string"),
        (r#"{"model":"m","format":"xml"}"#, "format must be \"json\" or a JSON schema"),
        (r#"{"model":"m","think":"hard"}"#, "think must be a boolean or one of low, medium, high and max"),
        (r#"{"model":"m","tools":[{"function":{}}]}"#, "tools[0].function.name is missing"),
    ] {
        assert_eq!(refused(body), message);
    }
}

#[test]
fn messages_of_every_role() {
    let request = decoded(
        r#"{"model":"m","messages":[{"role":"system","content":"a"},
        {"role":"user","content":"look","images":["data:image/gif;base64,AAAA","UklGRg"]},
        {"role":"assistant","content":"","thinking":"hm","tool_calls":[{"id":"7","function":{"name":"f","arguments":"{\"a\":1}"}},{"function":{"name":"g"}}]},
        {"role":"tool","tool_call_id":"7","tool_name":"f","content":"1","images":["iVBORw0KGgo"]},
        {"role":"tool","name":"g","content":"2"},
        {"role":"system","content":"b"},{"role":"assistant","content":""}]}"#,
    );
    let system: Vec<_> = request.system.iter().map(|system| system.text.plain().into_owned()).collect();
    assert_eq!(system, ["a", "b"]);
    let gif = Source::Base64 { mime: "image/gif".into(), data: "AAAA".into() };
    let webp = Source::Base64 { mime: "image/webp".into(), data: "UklGRg".into() };
    assert_eq!(request.messages[0].parts, [text("look"), picture(gif), picture(webp)]);
    let turn = &request.messages[1].parts;
    assert_eq!(turn[0], Part::Thinking { text: "hm".into(), rider: None });
    let calls: Vec<_> = turn[1..]
        .iter()
        .map(|part| if let Part::Call(call) = part { (call.id.plain(), call.arguments.plain()) } else { panic!() })
        .collect();
    assert_eq!(calls, [("7".into(), "{\"a\":1}".into()), ("call_2_1".into(), "{}".into())]);
    let Part::Result(first) = &request.messages[2].parts[0] else { panic!("no result") };
    assert!(first.call_id.is("7") && first.parts.len() == 2);
    let Part::Result(second) = &request.messages[3].parts[0] else { panic!("no result") };
    assert!(second.call_id.is_empty() && second.name.as_ref().unwrap().is("g"));
    assert_eq!(request.messages.len(), 4, "an empty turn is no turn");
}

#[test]
fn options_formats_and_thinking() {
    let request = decoded(
        r#"{"model":"m","options":{"num_predict":-1,"stop":"x","temperature":0,"top_k":5,"mirostat":1,"seed":null},"format":"","think":false,
        "keep_alive":0,"tools":[{"type":"retrieval"},{"type":"function","function":{"name":"f"}}]}"#,
    );
    assert_eq!((request.max_tokens, request.stop.len(), request.tools.len()), (None, 1, 1));
    assert_eq!(request.dropped, ["options.mirostat", "keep_alive", "tools.retrieval"]);
    assert!(request.reasoning.as_ref().unwrap().off && request.format == Format::Text);
    assert_eq!(request.sampling.temperature.unwrap().as_str(), "0");
    let think = |value: &str| decoded(&format!(r#"{{"model":"m","think":{value}}}"#)).reasoning.unwrap().effort;
    assert_eq!((think("true"), think("\"max\"")), (Some(Effort::Medium), Some(Effort::Max)));
}

#[test]
fn generate_has_a_prompt_instead_of_messages() {
    let url = UrlParts { generate: true, ..UrlParts::default() };
    let body = r#"{"model":"m","prompt":"p","suffix":"s","template":"t","messages":[],"images":[]}"#;
    let request = request::decode(raw(body), &url).unwrap();
    assert_eq!(request.messages, [Message { role: Role::User, parts: vec![text("p")] }]);
    assert_eq!(request.dropped, ["suffix", "template", "messages"]);
    let load = request::decode(raw(r#"{"model":"m"}"#), &url).unwrap();
    assert!(load.messages.is_empty());
    let chat = decoded(r#"{"model":"m","prompt":"p"}"#);
    assert_eq!((chat.messages.len(), chat.dropped), (0, vec!["prompt".to_owned()]));
}

#[test]
fn messages_are_written_as_the_server_takes_them() {
    let rider = || Some(Rider::new(Origin::Anthropic, crate::hub::Form::Sig, "x"));
    let result = |is_error, parts| {
        let (call_id, name) = ("7".into(), Some("f".into()));
        Part::Result(ToolResult { call_id, name, parts, is_error, cache: None })
    };
    let png = || picture(Source::Base64 { mime: "image/png".into(), data: "iVBO".into() });
    let note = Part::File { name: Some("n".into()), source: Source::Text("body".into()), cache: None };
    let request = Request {
        system: ["a", "", "b"].map(|text| SystemText { text: text.into(), cache: None }).into(),
        messages: vec![
            Message { role: Role::User, parts: vec![text("x"), note, png()] },
            Message { role: Role::Assistant, parts: vec![] },
            Message { role: Role::Assistant, parts: vec![Part::Thinking { text: "".into(), rider: rider() }] },
            Message {
                role: Role::Assistant,
                parts: vec![
                    Part::Thinking { text: "t1".into(), rider: rider() },
                    Part::Thinking { text: "t2".into(), rider: None },
                    text("y"),
                    Part::Refusal("z".into()),
                ],
            },
            Message { role: Role::System, parts: vec![text("mid")] },
            Message {
                role: Role::Tool,
                parts: vec![
                    result(true, vec![text("bad"), text("luck"), png()]),
                    result(true, vec![text("Error 7")]),
                    result(false, vec![text("")]),
                ],
            },
        ],
        ..Request::default()
    };
    let expected = serde_json::json!([
        {"role":"system","content":"a\n\nb"},
        {"role":"user","content":"x\nn\nbody","images":["iVBO"]},
        {"role":"assistant","content":"yz","thinking":"t1\n\nt2"},
        {"role":"system","content":"mid"},
        {"role":"tool","tool_name":"f","tool_call_id":"7","content":"Error: bad\nluck","images":["iVBO"]},
        {"role":"tool","tool_name":"f","tool_call_id":"7","content":"Error 7"},
        {"role":"tool","tool_name":"f","tool_call_id":"7","content":""}
    ]);
    assert_eq!(body(&request)["messages"], expected);
    assert_eq!(body(&Request::default())["messages"], serde_json::json!([]), "as is");
    assert_eq!(body(&Request::default())["stream"], false, "always written");
}

#[test]
fn what_the_server_cannot_take_is_refused() {
    for part in [
        picture(Source::Url { url: "https://h.example/a.png".into(), mime: None }),
        picture(Source::FileId("f".into())),
        Part::Audio { mime: "audio/wav".into(), data: "UklG".into() },
        Part::File {
            name: None,
            source: Source::Base64 { mime: "application/pdf".into(), data: "JV".into() },
            cache: None,
        },
    ] {
        let request = Request { messages: vec![Message { role: Role::User, parts: vec![part] }], ..Request::default() };
        let error = request::encode(&request, &Target::default()).unwrap_err();
        assert_eq!(error.kind.name(), "unsupported_content");
    }
}

#[test]
fn members_and_drops() {
    let tool = Tool {
        name: "f".into(),
        namespace: None,
        description: None,
        schema: None,
        strict: Some(true),
        kind: ToolKind::Function,
        format: None,
        cache: None,
        gemini_types: false,
    };
    let mut request = Request {
        tools: vec![tool],
        choice: Choice { mode: Some(ChoiceMode::Required), allowed: Vec::new(), parallel: Some(false) },
        max_tokens: Some(9),
        n: Some(2),
        user: Some("u".into()),
        verbosity: Some("low".into()),
        extras: vec![("logit_bias".into(), raw("{}"))],
        format: Format::JsonSchema {
            name: None,
            description: None,
            schema: raw(r#"{"type":"OBJECT"}"#),
            strict: None,
            gemini_types: true,
        },
        reasoning: Some(Reasoning { adaptive: true, ..Reasoning::default() }),
        ..Request::default()
    };
    request.sampling.temperature = Some(raw("1.0"));
    let target = Target { stream: true, drop_params: vec!["temperature".into()], ..Target::default() };
    let encoded = request::encode(&request, &target).unwrap();
    let expected = ["logit_bias", "user", "verbosity", "parallel_tool_calls", "n", "tool_choice", "temperature"];
    assert_eq!(encoded.dropped, expected);
    let value = json(std::str::from_utf8(&encoded.body).unwrap());
    assert_eq!(value["options"], serde_json::json!({"num_predict":9}));
    assert_eq!(value["format"], serde_json::json!({"type":"object"}));
    assert_eq!((&value["think"], &value["stream"]), (&true.into(), &true.into()));
    let parameters = &value["tools"][0]["function"]["parameters"];
    assert_eq!(*parameters, serde_json::json!({"type":"object","properties":{}}));
    request.choice.mode = Some(ChoiceMode::None);
    assert!(body(&request).get("tools").is_none());
}

/// Broken and odd arguments in history become objects (R-19).
#[test]
fn arguments_are_objects() {
    let body = r#"{"model":"m","messages":[{"role":"user","content":"q"},{"role":"assistant","tool_calls":[
        {"id":"1","function":{"name":"f","arguments":"{\"a\":"}},{"id":"2","function":{"name":"f","arguments":"[1]"}},
        {"id":"3","function":{"name":"f","arguments":" "}}]}]}"#;
    let (value, _) = translated(Dialect::Ollama, Dialect::Ollama, body, &Target::default()).unwrap();
    let calls = &value["messages"][1]["tool_calls"];
    assert_eq!(calls[0]["function"]["arguments"], serde_json::json!({"_invalid_json":"{\"a\":"}));
    assert_eq!(calls[1]["function"]["arguments"], serde_json::json!({"_value":[1]}));
    assert_eq!(calls[2]["function"]["arguments"], serde_json::json!({}));
    assert_eq!(value["messages"].as_array().unwrap().len(), 5, "a result for every call");
}

#[test]
fn what_an_earlier_answer_cannot_hold_is_reported() {
    let source = Source::Base64 { mime: "image/png".into(), data: "AAAA".into() };
    let sound = Part::Audio { mime: "audio/wav".into(), data: "AAAA".into() };
    let file = Part::File { name: None, source: source.clone(), cache: None };
    let parts = vec![text("look"), picture(source), sound, file];
    let request = Request { messages: vec![Message { role: Role::Assistant, parts }], ..Request::default() };
    let encoded = request::encode(&request, &Target::default()).unwrap();
    assert_eq!(encoded.dropped, ["messages.images", "messages.audio", "messages.files"]);
    assert_eq!(body(&request)["messages"], serde_json::json!([{"role":"assistant","content":"look"}]));
}
