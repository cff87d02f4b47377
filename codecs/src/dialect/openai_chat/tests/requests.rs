use serde_json::{Value, json};

use super::{raw, value};
use crate::{
    dialect::{ChatFlavour, Dialect, Placeholder, Target, ThinkingForm, openai_chat::request},
    hub::{
        ApiError, ErrorKind, Form, Origin, Request, Rider, ToolKind, hygiene,
        request::{CacheMark, CacheTtl, ChoiceMode, Effort, Format, Message, Part, Role, Source, ToolResult},
    },
    json::Str,
};

/// Decodes a request with these members and one user message.
fn ask(members: Value) -> Result<Request<'static>, ApiError> {
    let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "q"}]});
    for (name, value) in members.as_object().unwrap() {
        body[name] = value.clone();
    }
    request::decode(raw(Box::leak(body.to_string().into_boxed_str())))
}

fn talk(messages: Value) -> Result<Request<'static>, ApiError> {
    ask(json!({"messages": messages}))
}

/// Writes a request and returns the body with what was left out.
fn write(mut request: Request<'_>, target: &Target) -> (Value, Vec<String>) {
    hygiene::prepare(&mut request, Dialect::OpenAiChat, target);
    let encoded = request::encode(&request, target).unwrap();
    (value(&encoded.body), encoded.dropped)
}

fn says(messages: Vec<(Role, Vec<Part<'_>>)>) -> Request<'_> {
    let messages = messages.into_iter().map(|(role, parts)| Message { role, parts }).collect();
    Request { messages, ..Request::default() }
}

fn text(text: &str) -> Part<'_> {
    Part::Text { text: text.into(), cache: None }
}

#[test]
fn what_is_wrong_is_named() {
    for (members, param, message) in [
        (json!({"model": 3}), "model", "model must be a string, not a number"),
        (json!({"model": null}), "model", "model is missing"),
        (json!({"messages": null}), "messages", "messages is missing"),
        (json!({"messages": {}}), "messages", "messages must be an array, not an object"),
        (json!({"messages": ["x"]}), "messages[0]", "messages[0] must be an object, not a string"),
        (json!({"messages": [{"role": "robot"}]}), "messages[0].role", "messages[0].role \"robot\" is unknown"),
        (json!({"messages": [{"content": "x"}]}), "messages[0].role", "messages[0].role is missing"),
        (
            json!({"messages": [{"role": "user", "content": 7}]}),
            "messages[0].content",
            "messages[0].content must be a string or an array, not a number",
        ),
        (
            json!({"messages": [{"role": "user", "content": null}]}),
            "messages[0].content",
            "messages[0].content must be a string or an array, not null",
        ),
        (
            json!({"messages": [{"role": "user", "content": [{"type": "text", "text": 1}]}]}),
            "messages[0].content[0].text",
            "messages[0].content[0].text must be a string, not a number",
        ),
        (json!({"stream": "true"}), "stream", "stream must be a boolean, not a string"),
        (json!({"max_tokens": "100"}), "max_tokens", "max_tokens must be a number, not a string"),
        (json!({"max_tokens": -1}), "max_tokens", "max_tokens must be a whole number that is not negative"),
        (json!({"temperature": "warm"}), "temperature", "temperature must be a number, not a string"),
        (json!({"stop": ["a", 1]}), "stop[1]", "stop[1] must be a string, not a number"),
        (json!({"reasoning_effort": "huge"}), "reasoning_effort", "reasoning_effort \"huge\" is unknown"),
        (json!({"tool_choice": "maybe"}), "tool_choice", "tool_choice \"maybe\" is unknown"),
        (json!({"tools": [{"type": "function"}]}), "tools[0].function", "tools[0].function is missing"),
        (
            json!({"tools": [{"function": {"name": " "}}]}),
            "tools[0].function.name",
            "tools[0].function.name must not be blank",
        ),
        (
            json!({"response_format": {"type": "xml"}}),
            "response_format.type",
            "response_format.type \"xml\" is unknown",
        ),
    ] {
        let error = ask(members.clone()).unwrap_err();
        let got = (error.kind, error.param.as_deref(), error.message.as_str());
        assert_eq!(got, (ErrorKind::Invalid, Some(param), message), "{members}");
    }
    let error = request::decode(raw("[1]")).unwrap_err();
    assert_eq!(
        (error.kind, error.message.as_str()),
        (ErrorKind::Invalid, "the request body must be an object, not an array")
    );
}

#[test]
fn content_without_a_place_is_refused_not_lost() {
    let error = talk(json!([{"role": "user", "content": [{"type": "video_url", "video_url": {}}]}])).unwrap_err();
    assert_eq!(error.kind, ErrorKind::UnsupportedContent);
    assert!(error.message.contains("video_url"), "{}", error.message);
    let error =
        talk(json!([{"role": "system", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}])).unwrap_err();
    assert_eq!(error.kind, ErrorKind::UnsupportedContent);
}

#[test]
fn falsy_values_are_values_and_null_is_nothing() {
    let request = ask(json!({
        "stream": false, "temperature": 0, "stop": [], "store": false, "logit_bias": {}, "metadata": null, "seed": null,
        "stream_options": {"include_usage": true},
    }))
    .unwrap();
    assert!(request.stream_said && !request.stream && request.include_usage);
    assert_eq!(request.sampling.temperature.map(|n| n.as_str()), Some("0"));
    assert!(request.sampling.seed.is_none());
    let names: Vec<_> = request.extras.iter().map(|(name, _)| name.plain().into_owned()).collect();
    assert_eq!(names, ["store", "logit_bias"]);
    assert!(!ask(json!({})).unwrap().stream_said);
}

#[test]
fn the_last_of_equal_members_counts() {
    let body = r#"{"model":"a","x":1,"model":"b","x":null,"messages":[],"max_tokens":1,"max_completion_tokens":2}"#;
    let request = request::decode(raw(body)).unwrap();
    assert!(request.model.is("b") && request.extras.is_empty());
    assert_eq!(request.max_tokens, Some(2));
}

#[test]
fn wishes_for_thinking() {
    for (members, effort, budget, off, adaptive) in [
        (
            json!({"thinking": {"type": "enabled", "budget_tokens": 9}, "reasoning_effort": "low"}),
            None,
            Some(9),
            false,
            false,
        ),
        (json!({"thinking": {"type": "enabled"}, "reasoning_effort": "max"}), Some(Effort::Max), None, false, false),
        (json!({"thinking": {"type": "enabled"}}), Some(Effort::Medium), None, false, false),
        (json!({"thinking": {"type": "disabled"}, "reasoning_effort": "max"}), None, None, true, false),
        (json!({"thinking": {"type": "adaptive"}}), None, None, false, true),
        (json!({"reasoning": {"effort": "high"}, "reasoning_effort": "low"}), Some(Effort::High), None, false, false),
        (json!({"reasoning": {"max_tokens": 5}}), None, Some(5), false, false),
        (json!({"reasoning": {"exclude": true}, "reasoning_effort": "none"}), Some(Effort::None), None, false, false),
        (json!({"enable_thinking": true}), Some(Effort::Medium), None, false, false),
        (json!({"enable_thinking": true, "thinking_budget": 7}), None, Some(7), false, false),
        (json!({"enable_thinking": false}), None, None, true, false),
    ] {
        let wish = ask(members.clone()).unwrap().reasoning.unwrap();
        assert_eq!((wish.effort, wish.budget, wish.off, wish.adaptive), (effort, budget, off, adaptive), "{members}");
    }
    assert!(ask(json!({})).unwrap().reasoning.is_none());
}

#[test]
fn tool_choices() {
    let one = |choice: Value| ask(json!({"tool_choice": choice})).unwrap().choice;
    assert_eq!(one(json!("auto")).mode, Some(ChoiceMode::Auto));
    assert_eq!(one(json!("none")).mode, Some(ChoiceMode::None));
    assert_eq!(one(json!("required")).mode, Some(ChoiceMode::Required));
    for choice in [
        json!({"type": "function", "function": {"name": "f"}}),
        json!({"type": "custom", "custom": {"name": "f"}}),
        json!({"name": "f"}),
    ] {
        assert_eq!(one(choice.clone()).mode, Some(ChoiceMode::Tool("f".into())), "{choice}");
    }
    let allowed = one(json!({"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [
        {"type": "function", "function": {"name": "f"}}, {"type": "custom", "custom": {"name": "g"}}]}}));
    assert_eq!(allowed.mode, Some(ChoiceMode::Required));
    assert!(allowed.allowed[0].is("f") && allowed.allowed[1].is("g"));
}

#[test]
fn legacy_functions_are_tools() {
    let request = ask(json!({
        "functions": [{"name": "f", "parameters": {"type": "object"}}],
        "function_call": {"name": "f"},
        "messages": [
            {"role": "assistant", "content": null, "function_call": {"name": "f", "arguments": "{}"}},
            {"role": "function", "name": "f", "content": "r"},
        ],
    }))
    .unwrap();
    assert_eq!(request.choice.mode, Some(ChoiceMode::Tool("f".into())));
    let (body, _) = write(request, &Target::default());
    assert_eq!(body["tools"][0]["function"]["name"], "f");
    assert_eq!(body["messages"][0]["tool_calls"][0]["id"], "call_0_0");
    assert_eq!(body["messages"][1], json!({"role": "tool", "tool_call_id": "call_0_0", "content": "r"}));
}

#[test]
fn hosted_tools_and_members_of_messages_without_a_place_are_reported() {
    let request = ask(json!({
        "tools": [{"type": "web_search"}, {"type": "function", "function": {"name": "f"}}],
        "messages": [
            {"role": "user", "name": "bob", "content": "q"},
            {"role": "assistant", "content": "a", "audio": {"id": "x"}, "images": [{}]},
        ],
    }))
    .unwrap();
    assert_eq!(request.tools.len(), 1);
    assert_eq!(request.dropped, ["tools.web_search", "messages.name", "messages.audio", "messages.images"]);
}

#[test]
fn data_urls_of_all_spellings() {
    let source = |url: &str| {
        let message = json!([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]);
        let mut request = talk(message).unwrap();
        match request.messages.remove(0).parts.remove(0) {
            Part::Image { source, .. } => source,
            other => panic!("{other:?}"),
        }
    };
    let base64 = |mime: &'static str, data: &'static str| Source::Base64 { mime: mime.into(), data: data.into() };
    assert_eq!(source("data:image/png;base64,iVBO"), base64("image/png", "iVBO"));
    assert_eq!(source("data:text/html;charset=utf-8,%3Cp%3E%zz"), base64("text/html", "PHA+JXp6"), "percent-encoded");
    assert_eq!(source("data:,a"), base64("text/plain", "YQ=="));
    assert_eq!(source("data:image/jpeg;base64,iVBO"), base64("image/jpeg", "iVBO"), "the type stays as sent");
    assert_eq!(source("https://x.org/a.png?b"), Source::Url { url: "https://x.org/a.png?b".into(), mime: None });
    let error = talk(json!([{"role": "user", "content": [{"type": "image_url", "image_url": "data:image/png"}]}]));
    assert_eq!(error.unwrap_err().kind, ErrorKind::Invalid);
    // Encoders that escape the slash.
    let body = r#"{"model":"m","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image\/jpeg;base64,\/9j\/"}}]}]}"#;
    let request = request::decode(raw(body)).unwrap();
    let Part::Image { source, .. } = &request.messages[0].parts[0] else { panic!("no image") };
    assert_eq!(*source, base64("image/jpeg", "/9j/"));
}

#[test]
fn files_and_sound() {
    let request = talk(json!([{"role": "user", "content": [
        {"type": "file", "file": {"file_data": "YQ==", "filename": "a.CSV"}},
        {"type": "file", "file": {"file_id": "file-1"}},
        {"type": "input_audio", "input_audio": {"data": "QQ", "format": "mp3"}},
        "bare",
    ]}]))
    .unwrap();
    let parts = &request.messages[0].parts;
    let csv = Source::Base64 { mime: "text/csv".into(), data: "YQ==".into() };
    assert_eq!(parts[0], Part::File { name: Some("a.CSV".into()), source: csv, cache: None });
    assert_eq!(parts[1], Part::File { name: None, source: Source::FileId("file-1".into()), cache: None });
    assert_eq!(parts[2], Part::Audio { mime: "audio/mpeg".into(), data: "QQ".into() });
    assert_eq!(parts[3], text("bare"));
}

#[test]
fn cache_marks_are_read_everywhere_and_passed_where_wanted() {
    let request = || {
        ask(json!({
            "tools": [{"type": "function", "function": {"name": "f"}, "cache_control": {"type": "ephemeral"}}],
            "messages": [
                {"role": "system", "content": "s", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
                {"role": "user", "content": [{"type": "text", "text": "q", "prompt_cache_breakpoint": {"mode": "explicit"}}]},
                {"role": "assistant", "content": [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral", "ttl": "5m"}}]},
            ],
        }))
        .unwrap()
    };
    assert_eq!(request().system[0].cache, Some(CacheMark { ttl: Some(CacheTtl::OneHour) }));
    let (body, _) = write(request(), &Target { cache_control: true, ..Target::default() });
    assert_eq!(body["tools"][0]["cache_control"], json!({"type": "ephemeral"}));
    assert_eq!(body["messages"][0]["content"][0]["cache_control"], json!({"type": "ephemeral", "ttl": "1h"}));
    assert_eq!(body["messages"][1]["content"][0]["cache_control"], json!({"type": "ephemeral"}));
    assert_eq!(body["messages"][2]["content"][0]["cache_control"], json!({"type": "ephemeral", "ttl": "5m"}));
    let (body, _) = write(request(), &Target::default());
    assert!(!body.to_string().contains("cache_control"), "{body}");
    assert_eq!(body["messages"][2]["content"], "a");
}

/// The reasoning parts of an assistant message.
fn thoughts(message: Value) -> Vec<Part<'static>> {
    let mut message = message;
    message["role"] = "assistant".into();
    talk(json!([message])).unwrap().messages.remove(0).parts
}

fn thinking(text: &'static str, rider: Option<Rider<'static>>) -> Part<'static> {
    Part::Thinking { text: text.into(), rider }
}

#[test]
fn reasoning_details_find_their_words() {
    let sig = |n: u64, blob: &str| json!({"index": n, "type": "reasoning.text", "format": "anthropic-claude-v1", "signature": blob});
    let own = |blob: &'static str| Some(Rider::new(Origin::Anthropic, Form::Sig, blob));
    assert_eq!(thoughts(json!({"reasoning": "r"})), [thinking("r", None)]);
    assert_eq!(
        thoughts(json!({"reasoning_content": "r", "reasoning_details": [sig(0, "S")]})),
        [thinking("r", own("S"))]
    );
    assert_eq!(
        thoughts(json!({"reasoning_content": "r", "reasoning_details": [sig(0, "S"), sig(1, "T")]})),
        [thinking("r", None)],
        "two signatures cannot be told apart"
    );
    assert_eq!(
        thoughts(json!({"reasoning_details": [sig(0, "S"), sig(1, "T")]})),
        [thinking("", own("S")), thinking("", own("T"))]
    );
    let pieces = json!([
        {"index": 0, "type": "reasoning.text", "format": "anthropic-claude-v1", "text": "a"},
        {"index": 0, "type": "reasoning.text", "format": "anthropic-claude-v1", "text": "b"},
        sig(0, "S"),
        {"index": 1, "type": "reasoning.text", "text": "c"},
    ]);
    assert_eq!(
        thoughts(json!({"reasoning": "abc", "reasoning_details": pieces})),
        [thinking("ab", own("S")), thinking("c", None)]
    );
}

#[test]
fn encrypted_reasoning_comes_back() {
    let red = json!({"index": 0, "type": "reasoning.encrypted", "format": "anthropic-claude-v1", "data": "R"});
    let enc = |n: u64, blob: &str, id: &str| json!({"index": n, "type": "reasoning.encrypted", "format": "openai-responses-v1", "data": blob, "id": id});
    let item = |blob: &'static str, id: &'static str| {
        Some(Rider { item_id: Some(id.into()), ..Rider::new(Origin::Responses, Form::Enc, blob) })
    };
    assert_eq!(
        thoughts(
            json!({"reasoning_content": "w", "reasoning_details": [red, enc(1, "E", "rs_1"), enc(2, "F", "rs_2")]})
        ),
        [
            Part::Redacted(Rider::new(Origin::Anthropic, Form::Red, "R")),
            thinking("w", item("E", "rs_1")),
            thinking("", item("F", "rs_2")),
        ]
    );
}

#[test]
fn blobs_of_unknown_makers_go_back_as_they_came() {
    let details = json!([{"index": 0, "type": "reasoning.encrypted", "format": "xai-responses-v1", "data": "X:1"}]);
    let request = talk(json!([{"role": "assistant", "content": "a", "reasoning_details": details}])).unwrap();
    let (body, _) = write(request, &Target::default());
    assert_eq!(body["messages"][0]["reasoning_details"], details);
    // Blobs of other makers do not: the upstream is not theirs.
    let foreign = json!([{"index": 0, "type": "reasoning.text", "format": "anthropic-claude-v1", "signature": "S"}]);
    let request = talk(json!([{"role": "assistant", "content": "a", "reasoning_details": foreign}])).unwrap();
    let (body, _) = write(request, &Target { reasoning_echo: true, ..Target::default() });
    assert_eq!(body["messages"][0], json!({"role": "assistant", "content": "a"}));
}

#[test]
fn reasoning_is_echoed_or_held_in_place() {
    let request = |thinking: Value| {
        ask(json!({"thinking": thinking, "messages": [
            {"role": "assistant", "content": "a", "reasoning_content": "real"},
            {"role": "assistant", "content": "b"},
            {"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "{}"}}]},
        ]}))
        .unwrap()
    };
    let echoes = |thinking: Value, target: Target| -> Vec<Value> {
        let (body, _) = write(request(thinking), &target);
        body["messages"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|m| m["role"] == "assistant")
            .map(|m| m["reasoning_content"].clone())
            .collect()
    };
    let placeholder = |placeholder| Target { placeholder, ..Target::default() };
    assert_eq!(echoes(Value::Null, Target::default()), [Value::Null, Value::Null, Value::Null]);
    assert_eq!(echoes(Value::Null, placeholder(Placeholder::All)), ["real", " ", " "]);
    assert_eq!(echoes(Value::Null, placeholder(Placeholder::Tool)), [json!("real"), Value::Null, json!(" ")]);
    let off = json!({"type": "disabled"});
    assert_eq!(echoes(off, placeholder(Placeholder::All)), [json!("real"), Value::Null, Value::Null]);
}

#[test]
fn signatures_on_calls_go_back_to_gemini_only() {
    let request = || {
        talk(json!([{"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "{}"},
            "extra_content": {"google": {"thought_signature": "G=="}}}]}]))
        .unwrap()
    };
    let sent = |model: &str| {
        let (body, _) = write(request(), &Target { model: model.to_owned(), ..Target::default() });
        body["messages"][0]["tool_calls"][0]["extra_content"].clone()
    };
    assert_eq!(sent("google/gemini-3-pro"), json!({"google": {"thought_signature": "G=="}}));
    assert_eq!(sent("gpt-5"), Value::Null);
}

#[test]
fn a_conversation_without_words_asks_to_begin() {
    let (body, _) = write(talk(json!([])).unwrap(), &Target::default());
    assert_eq!(body["messages"], json!([{"role": "user", "content": "..."}]));
    let (body, _) = write(
        talk(json!([{"role": "system", "content": "s"}, {"role": "assistant", "content": ""}])).unwrap(),
        &Target::default(),
    );
    assert_eq!(body["messages"], json!([{"role": "system", "content": "s"}, {"role": "user", "content": "..."}]));
}

#[test]
fn attachments_of_results_wait_for_the_end_of_the_run() {
    let image =
        || Part::Image { source: Source::Url { url: "u".into(), mime: None }, detail: Some("low".into()), cache: None };
    let result = |id: &'static str, parts| {
        Part::Result(ToolResult { call_id: id.into(), name: None, parts, is_error: true, cache: None })
    };
    let call = |id: &'static str| {
        Part::Call(crate::hub::request::Call {
            id: id.into(),
            name: "f".into(),
            namespace: None,
            arguments: "{}".into(),
            kind: ToolKind::Function,
            signature: None,
            cache: None,
        })
    };
    let notes = Part::File { name: Some("n.txt".into()), source: Source::Text("body".into()), cache: None };
    let request = says(vec![
        (Role::Assistant, vec![call("1"), call("2")]),
        (Role::Tool, vec![result("1", vec![image(), image()]), result("2", vec![text("Error 7"), notes])]),
        (Role::Assistant, vec![text("seen")]),
    ]);
    let (body, _) = write(request, &Target::default());
    let part = json!({"type": "image_url", "image_url": {"url": "u", "detail": "low"}});
    let expected = json!([
        {"role": "tool", "tool_call_id": "1", "content": "Error: \n[2 attachments in the next user message]"},
        {"role": "tool", "tool_call_id": "2", "content": "Error 7\nn.txt\nbody"},
        {"role": "user", "content": [{"type": "text", "text": "Attachment from tool call 1:"}, part, part]},
        {"role": "assistant", "content": "seen"},
    ]);
    assert_eq!(Value::from(body["messages"].as_array().unwrap()[1..].to_vec()), expected);
}

#[test]
fn content_that_chat_cannot_say_is_refused() {
    let file = |source| Part::File { name: None, source, cache: None };
    let image = |source| Part::Image { source, detail: None, cache: None };
    for (role, part) in [
        (Role::User, image(Source::FileId("f".into()))),
        (Role::User, file(Source::Url { url: "u".into(), mime: None })),
        (Role::User, file(Source::FileId("f".into()))),
        (Role::User, Part::Audio { mime: "audio/flac".into(), data: "x".into() }),
        (Role::Assistant, image(Source::Url { url: "u".into(), mime: None })),
    ] {
        let request = says(vec![(role, vec![part])]);
        let error = request::encode(&request, &Target::default()).unwrap_err();
        assert_eq!(error.kind, ErrorKind::UnsupportedContent, "{}", error.message);
    }
    let request = says(vec![(Role::User, vec![file(Source::FileId("f".into()))])]);
    let (body, _) = write(request, &Target { flavour: ChatFlavour::OpenAi, ..Target::default() });
    assert_eq!(body["messages"][0]["content"][0], json!({"type": "file", "file": {"file_id": "f"}}));
}

#[test]
fn files_have_names_and_sound_has_formats() {
    let base64 = |mime: &'static str| Source::Base64 { mime: mime.into(), data: "QQ".into() };
    let request = says(vec![(
        Role::User,
        vec![
            Part::File { name: None, source: base64("application/pdf"), cache: None },
            Part::File { name: Some("x.md".into()), source: base64("text/markdown"), cache: None },
            Part::Audio { mime: "audio/mpeg".into(), data: "QQ".into() },
        ],
    )]);
    let (body, _) = write(request, &Target::default());
    let file = |name: &str, mime: &str| json!({"type": "file", "file": {"filename": name, "file_data": format!("data:{mime};base64,QQ")}});
    assert_eq!(
        body["messages"][0]["content"],
        json!([
            file("document.pdf", "application/pdf"),
            file("x.md", "text/markdown"),
            {"type": "input_audio", "input_audio": {"data": "QQ", "format": "mp3"}},
        ])
    );
}

#[test]
fn flavours_and_connections_decide_over_members() {
    let request = || Request {
        max_tokens: Some(9),
        n: Some(2),
        sampling: crate::hub::request::Sampling {
            top_k: Some(raw("5")),
            temperature: Some(raw("0.50")),
            ..Default::default()
        },
        reasoning: Some(crate::hub::request::Reasoning { effort: Some(Effort::None), ..Default::default() }),
        extras: vec![
            ("metadata".into(), raw("{}")),
            ("service_tier".into(), raw("\"standard_only\"")),
            ("store".into(), raw("true")),
        ],
        ..Request::default()
    };
    let (body, dropped) =
        write(request(), &Target { flavour: ChatFlavour::OpenAi, effort_none: true, ..Target::default() });
    assert_eq!(body["max_completion_tokens"], 9);
    assert_eq!((&body["metadata"], &body["reasoning_effort"], &body["n"]), (&json!({}), &json!("none"), &json!(2)));
    assert_eq!(dropped, ["service_tier", "store", "top_k"]);
    let target = Target { drop_params: vec!["temperature".into(), "n".into()], ..Target::default() };
    let (body, dropped) = write(request(), &target);
    assert_eq!((&body["max_tokens"], &body["top_k"]), (&json!(9), &json!(5)));
    assert!(body.get("reasoning_effort").is_none() && body.get("temperature").is_none());
    assert_eq!(dropped, ["metadata", "n", "service_tier", "store", "temperature"]);
}

#[test]
fn numbers_keep_their_spelling() {
    let body = r#"{"model":"m","messages":[],"temperature":1.0,"top_p":1e-1,"seed":12345678901234567890}"#;
    let encoded = request::encode(&request::decode(raw(body)).unwrap(), &Target::default()).unwrap();
    let text = String::from_utf8(encoded.body).unwrap();
    assert!(text.contains(r#""temperature":1.0,"top_p":1e-1,"seed":12345678901234567890"#), "{text}");
}

#[test]
fn streams_always_ask_for_usage() {
    let (body, _) = write(ask(json!({"stream": true})).unwrap(), &Target { stream: true, ..Target::default() });
    assert_eq!((&body["stream"], &body["stream_options"]), (&json!(true), &json!({"include_usage": true})));
    let (body, _) = write(ask(json!({"stream": false})).unwrap(), &Target::default());
    assert_eq!(body["stream"], false);
    let (body, _) = write(ask(json!({})).unwrap(), &Target::default());
    assert!(body.get("stream").is_none());
}

#[test]
fn custom_tools_stay_custom_at_openai_and_become_functions_elsewhere() {
    let request = || {
        ask(json!({
            "tools": [{"type": "custom", "custom": {"name": "p", "description": "d", "format": {"type": "text"}}}],
            "tool_choice": {"type": "custom", "custom": {"name": "p"}},
            "messages": [{"role": "assistant", "tool_calls": [{"id": "1", "type": "custom", "custom": {"name": "p", "input": "a\"b"}}]}],
        }))
        .unwrap()
    };
    let (body, _) = write(request(), &Target { flavour: ChatFlavour::OpenAi, ..Target::default() });
    assert_eq!(
        body["tools"][0],
        json!({"type": "custom", "custom": {"name": "p", "description": "d", "format": {"type": "text"}}})
    );
    assert_eq!(body["tool_choice"], json!({"type": "custom", "custom": {"name": "p"}}));
    assert_eq!(
        body["messages"][0]["tool_calls"][0],
        json!({"id": "1", "type": "custom", "custom": {"name": "p", "input": "a\"b"}})
    );
    let (body, _) = write(request(), &Target::default());
    assert_eq!(body["tool_choice"], json!({"type": "function", "function": {"name": "p"}}));
    assert_eq!(body["messages"][0]["tool_calls"][0]["function"]["arguments"], "{\"input\":\"a\\\"b\"}");
}

#[test]
fn grammars_of_responses_are_nested() {
    let mut request = ask(json!({"tools": [{"type": "custom", "custom": {"name": "p"}}]})).unwrap();
    request.tools[0].format = Some(raw(r#"{"type":"grammar","syntax":"lark","definition":"x"}"#));
    let (body, _) = write(request, &Target { flavour: ChatFlavour::OpenAi, ..Target::default() });
    let expected = json!({"type": "grammar", "grammar": {"syntax": "lark", "definition": "x"}});
    assert_eq!(body["tools"][0]["custom"]["format"], expected);
}

#[test]
fn formats_have_a_name() {
    let schema = raw(r#"{"type":"OBJECT"}"#);
    let format = Format::JsonSchema {
        name: None,
        description: Some("d".into()),
        schema,
        strict: Some(true),
        gemini_types: true,
    };
    let (body, _) = write(Request { format, ..Request::default() }, &Target::default());
    let inner = json!({"name": "output", "description": "d", "schema": {"type": "object"}, "strict": true});
    assert_eq!(body["response_format"], json!({"type": "json_schema", "json_schema": inner}));
}

#[test]
fn empty_instructions_and_long_users() {
    let mut request = talk(json!([{"role": "system", "content": ""}, {"role": "user", "content": "q"}])).unwrap();
    request.user = Some(Str::from("x".repeat(65)));
    let (body, _) = write(request, &Target::default());
    assert_eq!(body["messages"].as_array().unwrap().len(), 1);
    assert_eq!(body["user"].as_str().unwrap().len(), 64);
    assert_ne!(body["user"].as_str().unwrap(), "x".repeat(64));
}

#[test]
fn thinking_is_said_in_the_form_of_the_server() {
    use ThinkingForm::{Effort as Word, Enable, Reasoning, Type, TypeEffort};
    let off = json!({"thinking": {"type": "disabled"}});
    let word = json!({"reasoning_effort": "low"});
    let most = json!({"reasoning_effort": "max"});
    let budget = json!({"thinking": {"type": "enabled", "budget_tokens": 5000}});
    let free = json!({"thinking": {"type": "adaptive"}});
    let members = ["reasoning_effort", "thinking", "enable_thinking", "thinking_budget", "reasoning"];
    for (form, wish, expected) in [
        (Word, &word, json!({"reasoning_effort": "low"})),
        (Word, &off, json!({})),
        (Word, &free, json!({})),
        (Type, &word, json!({"thinking": {"type": "enabled"}})),
        (Type, &off, json!({"thinking": {"type": "disabled"}})),
        (Type, &free, json!({"thinking": {"type": "enabled"}})),
        (TypeEffort, &most, json!({"thinking": {"type": "enabled"}, "reasoning_effort": "max"})),
        (TypeEffort, &budget, json!({"thinking": {"type": "enabled"}, "reasoning_effort": "medium"})),
        (TypeEffort, &off, json!({"thinking": {"type": "disabled"}})),
        (Enable, &word, json!({"enable_thinking": true, "thinking_budget": 4096})),
        (Enable, &budget, json!({"enable_thinking": true, "thinking_budget": 5000})),
        (Enable, &most, json!({"enable_thinking": true})),
        (Enable, &off, json!({"enable_thinking": false})),
        (Reasoning, &word, json!({"reasoning": {"effort": "low"}})),
        (Reasoning, &budget, json!({"reasoning": {"max_tokens": 5000}})),
        (Reasoning, &off, json!({"reasoning": {"effort": "none"}})),
        (Reasoning, &free, json!({"reasoning": {"enabled": true}})),
    ] {
        let target = Target { thinking: form, ..Target::default() };
        let (mut body, dropped) = write(ask(wish.clone()).unwrap(), &target);
        body.as_object_mut().unwrap().retain(|name, _| members.contains(&name.as_str()));
        assert_eq!((&body, dropped.as_slice()), (&expected, [].as_slice()), "{form:?} {wish}");
        let nothing = Target { drop_params: members.map(str::to_owned).to_vec(), ..target };
        let (body, dropped) = write(ask(wish.clone()).unwrap(), &nothing);
        assert!(members.iter().all(|name| body.get(name).is_none()), "{form:?} {body}");
        assert_eq!(dropped.len(), expected.as_object().unwrap().len(), "{form:?} {dropped:?}");
    }
    let (body, _) = write(ask(json!({})).unwrap(), &Target { thinking: Enable, ..Target::default() });
    assert!(members.iter().all(|name| body.get(name).is_none()), "no wish, no word: {body}");
}
