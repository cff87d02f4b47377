use crate::{
    dialect::{
        Context, Dialect, Target, UrlParts,
        gemini::request,
        testing::{encoded, json, raw, request as translated},
    },
    hub::{
        Event, Field, Form, Open, Origin, Rider, ToolKind,
        request::{Message, Part, Request, Role, Source, SystemText},
    },
    json::Text,
};

const URL: UrlParts<'static> = UrlParts { model: Some("m"), stream: false, generate: false };

fn decoded(body: &str) -> Request<'_> {
    request::decode(raw(body), &URL).unwrap()
}

fn refused(body: &str) -> String {
    request::decode(raw(body), &URL).unwrap_err().message
}

fn body(request: &Request<'_>, target: &Target) -> serde_json::Value {
    json(std::str::from_utf8(&request::encode(request, target).unwrap().body).unwrap())
}

fn says(role: Role, parts: Vec<Part<'_>>) -> Request<'_> {
    Request { messages: vec![Message { role, parts }], ..Request::default() }
}

fn text(text: &str) -> Part<'_> {
    Part::Text { text: text.into(), cache: None }
}

#[test]
fn both_spellings_mean_the_same() {
    let camel = r#"{"systemInstruction":{"parts":[{"text":"s"}]},"contents":[{"role":"user","parts":[
        {"inlineData":{"mimeType":"image/png","data":"AAAA"}},{"fileData":{"fileUri":"https://h/x.pdf","mimeType":"application/pdf"}}]},
        {"role":"model","parts":[{"functionCall":{"name":"f","args":{}},"thoughtSignature":"AAAA"}]},
        {"role":"user","parts":[{"functionResponse":{"name":"f","response":{"output":1}}}]}],
        "tools":[{"functionDeclarations":[{"name":"f","parametersJsonSchema":{"type":"object"}}]}],
        "toolConfig":{"functionCallingConfig":{"mode":"VALIDATED","allowedFunctionNames":["f"]}},
        "generationConfig":{"maxOutputTokens":1,"topP":0.5,"topK":4,"candidateCount":2,"stopSequences":["x"],
        "presencePenalty":1,"frequencyPenalty":2,"responseMimeType":"application/json","responseSchema":{"type":"OBJECT"},
        "thinkingConfig":{"thinkingLevel":"HIGH","includeThoughts":true}}}"#;
    let mut snake = String::new();
    for (n, piece) in camel.split('"').enumerate() {
        if n > 0 {
            snake.push('"');
        }
        let is_key = n % 2 == 1 && piece.chars().any(char::is_uppercase) && piece.starts_with(char::is_lowercase);
        for c in piece.chars() {
            if is_key && c.is_ascii_uppercase() {
                snake.push('_');
            }
            snake.push(if is_key { c.to_ascii_lowercase() } else { c });
        }
    }
    assert!(snake.contains("\"max_output_tokens\"") && snake.contains("\"function_calling_config\""));
    // Both borrow from their own text, so they are compared as they print.
    assert_eq!(format!("{:?}", decoded(camel)), format!("{:?}", decoded(&snake)));
    assert!(decoded(camel).dropped.is_empty());
}

#[test]
fn single_objects_stand_for_lists() {
    let request = decoded(
        r#"{"system_instruction":{"parts":{"text":"s"}},"contents":{"parts":{"text":"hi"}},"tools":{"google_search":{}}}"#,
    );
    assert_eq!(request.system, [SystemText { text: "s".into(), cache: None }]);
    assert_eq!(request.messages, [Message { role: Role::User, parts: vec![text("hi")] }]);
    assert_eq!(request.dropped, ["tools.google_search"]);
    let counted = decoded(r#"{"generateContentRequest":{"model":"models/x","contents":[{"parts":[{"text":"hi"}]}]}}"#);
    assert_eq!(counted.messages.len(), 1);
    assert!(counted.model.is("m"), "the URL decides");
}

/// R-72, R-73, R-76.
#[test]
fn wrong_requests_are_refused_with_their_place() {
    for (body, message) in [
        ("[]", "the body must be an object, not an array"),
        (r#"{"contents":"hi"}"#, "contents must be an array, not a string"),
        (
            r#"{"contents":[{"role":"narrator","parts":[]}]}"#,
            "contents[0].role must be user or model, not \"narrator\"",
        ),
        (r#"{"contents":[{"parts":[{"text":1}]}]}"#, "contents[0].parts[0].text must be a string, not a number"),
        (
            r#"{"contents":[{"role":"model","parts":[{"functionCall":{}}]}]}"#,
            "contents[0].parts[0].functionCall.name is missing",
        ),
        (
            r#"{"contents":[{"parts":[{"inlineData":{"data":"A"}}]}]}"#,
            "contents[0].parts[0].inlineData.mimeType is missing",
        ),
        (
            r#"{"generationConfig":{"maxOutputTokens":"100"}}"#,
            "generationConfig.maxOutputTokens must be a number, not a string",
        ),
        (r#"{"tools":[{"functionDeclarations":[{"name":" "}]}]}"#, "tools[0].functionDeclarations[0].name is missing"),
        (
            r#"{"toolConfig":{"functionCallingConfig":{"mode":"SOME"}}}"#,
            "toolConfig.functionCallingConfig.mode must be AUTO, ANY, NONE or VALIDATED, not \"SOME\"",
        ),
    ] {
        assert_eq!(refused(body), message);
    }
    let nameless = request::decode(raw("{}"), &UrlParts::default()).unwrap_err();
    assert_eq!(nameless.message, "model is missing");
}

#[test]
fn a_streamed_turn_is_one_turn_again() {
    let request = decoded(
        r#"{"contents":[{"parts":[{"text":"q"}]},
        {"role":"model","parts":[{"text":"I ","thought":true}]},{"role":"model","parts":[{"text":"see","thought":true}]},
        {"role":"model","parts":[{"text":"Hel\u006c"}]},{"role":"model","parts":[{"text":"o"},{"text":""}]},
        {"role":"user","parts":[{"functionResponse":{"name":"f"}},{"text":"and"}]},
        {"role":"user","parts":[{"text":"more"},{"functionResponse":{"id":"7","name":"g","response":{"a":1,"b":2}}}]}]}"#,
    );
    let roles: Vec<Role> = request.messages.iter().map(|message| message.role).collect();
    assert_eq!(roles, [Role::User, Role::Assistant, Role::Tool, Role::User, Role::User]);
    let turn = [Part::Thinking { text: "I see".into(), rider: None }, text("Hello")];
    assert_eq!(request.messages[1].parts, turn);
    let Part::Result(result) = &request.messages[2].parts[1] else { panic!("no result") };
    assert!(result.call_id.is("7") && result.parts == [text(r#"{"a":1,"b":2}"#)]);
}

#[test]
fn responses_are_read_by_convention() {
    for (response, expected, is_error) in [
        (r#"{"output":"x"}"#, "x", false),
        (r#"{"result":{"a":[1]}}"#, r#"{"a":[1]}"#, false),
        (r#"{"error":"bad"}"#, "bad", true),
        (r#"{"output":"x","error":"y"}"#, r#"{"output":"x","error":"y"}"#, false),
        (r#"{"value":1}"#, r#"{"value":1}"#, false),
        (r#"{"name":"f","content":"x"}"#, "x", false),
        (r#"{"name":"f","error":"bad"}"#, "bad", true),
        (r#"{"name":"Ada","content":"x"}"#, r#"{"name":"Ada","content":"x"}"#, false),
        (r#"{"name":"f","content":"x","n":1}"#, r#"{"name":"f","content":"x","n":1}"#, false),
        ("{}", "{}", false),
    ] {
        let body = format!(
            r#"{{"contents":[{{"parts":[{{"functionResponse":{{"name":"f","response":{response},"parts":[{{"inlineData":{{"mimeType":"image/png","data":"_-8"}}}}]}}}}]}}]}}"#
        );
        let request = decoded(&body);
        let Part::Result(result) = &request.messages[0].parts[0] else { panic!("no result") };
        assert_eq!(result.parts[0], text(expected));
        assert_eq!(result.is_error, is_error, "{response}");
        // base64url, as the SDKs write it, is read.
        let picture = Source::Base64 { mime: "image/png".into(), data: "/+8=".into() };
        assert_eq!(result.parts[1], Part::Image { source: picture, detail: None, cache: None });
    }
}

#[test]
fn members_without_a_place_are_reported() {
    let request = decoded(
        r#"{"safetySettings":[],"cachedContent":null,"labels":{"a":"b"},"contents":[{"role":"model","parts":[{"executableCode":{}}]}],
        "toolConfig":{"retrievalConfig":{}},"generationConfig":{"speechConfig":{},"responseMimeType":"text/x.enum",
        "responseSchema":{},"thinkingConfig":{"thinkingBudget":-1}}}"#,
    );
    let expected =
        ["safetySettings", "labels", "executableCode", "toolConfig.retrievalConfig", "speechConfig", "response_format"];
    assert_eq!(request.dropped, expected);
    assert!(request.reasoning.is_none() && request.messages.is_empty());
}

#[test]
fn files_of_google_stay_with_google() {
    let body = |uri: &str| format!(r#"{{"contents":[{{"parts":[{{"fileData":{{"fileUri":"{uri}"}}}}]}}]}}"#);
    let own = body("https://generativelanguage.googleapis.com/v1beta/files/abc");
    let request = decoded(&own);
    assert!(matches!(&request.messages[0].parts[0], Part::File { source: Source::FileId(_), .. }));
    let web = body("https://h.example/cat.webp?size=1");
    assert!(matches!(&decoded(&web).messages[0].parts[0], Part::Image { source: Source::Url { .. }, .. }));
}

/// R-30, and everything else that 3.2 says about attachments.
#[test]
fn attachments_are_inline_or_have_a_known_type() {
    let image = |source| says(Role::User, vec![Part::Image { source, detail: None, cache: None }]);
    let url = |url: &'static str| image(Source::Url { url: url.into(), mime: None });
    let parts = |request: &Request<'_>| body(request, &Target::default())["contents"][0]["parts"][0].clone();
    let file = serde_json::json!({"fileData":{"mimeType":"image/jpeg","fileUri":"https://h.example/a.JPG?x=y.png"}});
    assert_eq!(parts(&url("https://h.example/a.JPG?x=y.png")), file);
    for source in [Source::Url { url: "https://h.example/a".into(), mime: None }, Source::FileId("file-1".into())] {
        let error = request::encode(&image(source), &Target::default()).unwrap_err();
        assert_eq!(error.kind.name(), "unsupported_content");
    }
    let sniffed = image(Source::Base64 { mime: "".into(), data: "/9j/4A".into() });
    assert_eq!(parts(&sniffed)["inlineData"]["mimeType"], "image/jpeg");
    let note = Part::File { name: Some("a.txt".into()), source: Source::Text("body".into()), cache: None };
    assert_eq!(parts(&says(Role::User, vec![note]))["text"], "a.txt\nbody");
    let sound = Part::Audio { mime: "audio/mpeg".into(), data: "SUQz".into() };
    assert_eq!(parts(&says(Role::User, vec![sound]))["inlineData"]["mimeType"], "audio/mpeg");
}

/// R-71 and 3.11: what the service refuses at the borders of a conversation.
#[test]
fn conversations_begin_and_end_with_the_user() {
    let contents = |request: &Request<'_>| body(request, &Target::default())["contents"].to_string();
    let dots = r#"{"role":"user","parts":[{"text":"..."}]}"#;
    assert_eq!(contents(&Request::default()), format!("[{dots}]"));
    assert_eq!(contents(&says(Role::User, vec![text("")])), format!("[{dots}]"));
    let prefill = contents(&says(Role::Assistant, vec![text("ok")]));
    assert_eq!(prefill, r#"[{"role":"model","parts":[{"text":"ok"}]},{"role":"user","parts":[{"text":"Continue."}]}]"#);
    let (value, _) = translated(
        Dialect::Ollama,
        Dialect::Gemini,
        r#"{"model":"m","messages":[{"role":"assistant","content":"a","tool_calls":[{"function":{"name":"f","arguments":{}}}]}]}"#,
        &Target::default(),
    )
    .unwrap();
    assert_eq!(value["contents"][0]["parts"][0]["text"], "...");
    assert_eq!(value["contents"][2]["parts"][0]["functionResponse"]["response"]["output"], "");
}

#[test]
fn media_of_results_stand_behind_all_responses() {
    let request = r#"{"contents":[{"parts":[{"text":"q"}]},
        {"role":"model","parts":[{"functionCall":{"id":"1","name":"f"}},{"functionCall":{"id":"2","name":"g"}}]},
        {"parts":[{"functionResponse":{"id":"2","name":"g","response":{"error":"no"}}},{"functionResponse":{"id":"1","name":"f",
        "response":{"output":"pic"},"parts":[{"inlineData":{"mimeType":"image/png","data":"iVBO"}}]}},{"text":"so?"}]}]}"#;
    let target = Target { gemini_call_ids: true, ..Target::default() };
    let (value, _) = translated(Dialect::Gemini, Dialect::Gemini, request, &target).unwrap();
    let expected = serde_json::json!([
        {"functionResponse":{"id":"1","name":"f","response":{"output":"pic"}}},
        {"functionResponse":{"id":"2","name":"g","response":{"error":"no"}}},
        {"inlineData":{"mimeType":"image/png","data":"iVBO"}},
        {"text":"so?"}
    ]);
    assert_eq!(value["contents"][2]["parts"], expected);
    assert_eq!(value["contents"][1]["parts"][0]["functionCall"]["id"], "1");
}

#[test]
fn thinking_wishes_by_generation() {
    let config = |thinking: &str, gemini3| {
        let body = format!(r#"{{"contents":[],"generationConfig":{{"thinkingConfig":{thinking}}}}}"#);
        let target = Target { gemini3, ..Target::default() };
        let (value, _) = translated(Dialect::Gemini, Dialect::Gemini, &body, &target).unwrap();
        value["generationConfig"]["thinkingConfig"].to_string()
    };
    for (thinking, two, three) in [
        (r#"{"thinkingBudget":0}"#, r#"{"thinkingBudget":0}"#, r#"{"includeThoughts":true,"thinkingLevel":"MINIMAL"}"#),
        (
            r#"{"thinkingBudget":5000}"#,
            r#"{"includeThoughts":true,"thinkingBudget":5000}"#,
            r#"{"includeThoughts":true,"thinkingLevel":"MEDIUM"}"#,
        ),
        (
            r#"{"thinkingLevel":"XHIGH"}"#,
            r#"{"includeThoughts":true,"thinkingBudget":24576}"#,
            r#"{"includeThoughts":true,"thinkingLevel":"HIGH"}"#,
        ),
        (r#"{"thinkingBudget":-1}"#, "null", "null"),
    ] {
        assert_eq!(config(thinking, false), two);
        assert_eq!(config(thinking, true), three);
    }
    let mut adaptive = Request::default();
    adaptive.reasoning = Some(crate::hub::request::Reasoning { adaptive: true, ..Default::default() });
    let two = body(&adaptive, &Target::default());
    assert_eq!(two["generationConfig"]["thinkingConfig"]["thinkingBudget"], -1);
}

#[test]
fn choices_of_tools() {
    let config = |choice: &str| {
        let body = format!(
            r#"{{"contents":[],"tools":[{{"functionDeclarations":[{{"name":"f"}},{{"name":"g"}}]}}],"toolConfig":{{"functionCallingConfig":{choice}}}}}"#
        );
        let (value, _) = translated(Dialect::Gemini, Dialect::Gemini, &body, &Target::default()).unwrap();
        value["toolConfig"]["functionCallingConfig"].to_string()
    };
    for (choice, expected) in [
        (r#"{"mode":"AUTO"}"#, r#"{"mode":"AUTO"}"#),
        (r#"{"mode":"NONE"}"#, r#"{"mode":"NONE"}"#),
        (r#"{"mode":"ANY"}"#, r#"{"mode":"ANY"}"#),
        (r#"{"mode":"ANY","allowedFunctionNames":["f"]}"#, r#"{"mode":"ANY","allowedFunctionNames":["f"]}"#),
        (r#"{"mode":"ANY","allowedFunctionNames":["f","g"]}"#, r#"{"mode":"ANY","allowedFunctionNames":["f","g"]}"#),
        (
            r#"{"mode":"VALIDATED","allowedFunctionNames":["g"]}"#,
            r#"{"mode":"VALIDATED","allowedFunctionNames":["g"]}"#,
        ),
        ("{}", "null"),
    ] {
        assert_eq!(config(choice), expected);
    }
}

#[test]
fn limits_forms_and_drops() {
    let body_text = r#"{"contents":[],"tools":[{"functionDeclarations":[{"name":"f","parameters":{"type":"OBJECT","properties":{"a":{"type":"STRING"}}}}]}],
        "generationConfig":{"stopSequences":["1","2","3","4","5","6"],"temperature":0,"topK":1.0,"responseMimeType":"application/json"}}"#;
    let target = Target {
        gemini3: true,
        gemini_schema_subset: true,
        drop_params: vec!["temperature".into(), "thinkingConfig".into()],
        ..Target::default()
    };
    let (value, dropped) = translated(Dialect::Gemini, Dialect::Gemini, body_text, &target).unwrap();
    assert_eq!(dropped, ["stop[5..]", "temperature"]);
    let config = &value["generationConfig"];
    assert_eq!(config["stopSequences"].as_array().unwrap().len(), 5);
    assert_eq!(config["responseMimeType"], "application/json", "generation 3 takes it together with tools");
    let function = &value["tools"][0]["functionDeclarations"][0];
    assert_eq!(function["parameters"]["type"], "OBJECT");
    let (value, dropped) = translated(Dialect::Gemini, Dialect::Gemini, body_text, &Target::default()).unwrap();
    assert_eq!(dropped, ["response_format", "stop[5..]"]);
    let instruction = &value["systemInstruction"]["parts"][0]["text"];
    assert_eq!(instruction, "Respond with a single valid JSON object and nothing else.");
    assert_eq!(value["generationConfig"]["temperature"], 0, "zero is a value");
    let function = &value["tools"][0]["functionDeclarations"][0];
    assert_eq!(function["parametersJsonSchema"]["properties"]["a"]["type"], "string");
}

#[test]
fn counting_takes_a_whole_request() {
    let mut request = says(Role::User, vec![text("hi")]);
    request.system.push(SystemText { text: "s".into(), cache: None });
    request.max_tokens = Some(5);
    let target = Target { model: "gemini-x".into(), ..Target::default() };
    let encoded = request::encode_count_tokens(&request, &target).unwrap();
    let expected = r#"{"generateContentRequest":{"model":"models/gemini-x","contents":[{"role":"user","parts":[{"text":"hi"}]}],"systemInstruction":{"parts":[{"text":"s"}]}}}"#;
    assert_eq!(String::from_utf8(encoded.body).unwrap(), expected);
}

/// A signature of any vendor: out through the stream encoder, back in a history, byte-equal.
#[test]
fn riders_come_home() {
    for origin in [Origin::Anthropic, Origin::Responses, Origin::Gemini] {
        let form = if origin == Origin::Responses { Form::Enc } else { Form::Sig };
        let item_id = (origin == Origin::Responses).then_some("rs_1");
        let payload = "Eq+/oB==";
        let signature = (origin == Origin::Gemini).then(|| Rider::new(origin, form, payload));
        let mut script = vec![
            Event::Start { id: Text::Plain("r"), model: Text::Plain("m"), created: None, usage: None },
            Event::Part { part: 0, open: Open::Thinking },
            Event::Delta { part: 0, field: Field::Think, text: Text::Plain("hm") },
        ];
        if signature.is_none() {
            let field = Field::Sig { origin, form, item_id: item_id.map(Text::Plain) };
            script.push(Event::Delta { part: 0, field, text: Text::Plain(payload) });
        }
        let open = Open::Tool { id: Text::Plain("c"), name: Text::Plain("f"), kind: ToolKind::Function, signature };
        script.extend([Event::Stop { part: 0 }, Event::Part { part: 1, open }]);
        script.push(Event::Delta { part: 1, field: Field::Args, text: Text::Plain("{}") });
        script.push(Event::Stop { part: 1 });
        let out = encoded(Dialect::Gemini, &Context::default(), &script);
        let contents: Vec<String> = out
            .split_terminator("\n\n")
            .map(|frame| json(&frame[6..])["candidates"][0]["content"].to_string())
            .collect();
        let body = format!("{{\"contents\":[{}]}}", contents.join(","));
        let request = decoded(&body);
        let mut expected = Rider::new(origin, form, payload);
        expected.item_id = item_id.map(Into::into);
        let found = request.messages[0].parts.iter().find_map(|part| match part {
            Part::Thinking { rider, .. } => rider.clone(),
            Part::Call(call) => call.signature.clone(),
            _ => None,
        });
        assert_eq!(found, Some(expected));
        assert_eq!(request.messages[0].parts.len(), 2);
    }
}

#[test]
fn signatures_of_gemini_that_came_as_reasoning_go_to_the_next_call() {
    let rider = |payload: &'static str| Some(Rider::new(Origin::Gemini, Form::Sig, payload));
    let thinking = |rider| Part::Thinking { text: "x".into(), rider };
    let call = |name: &'static str| {
        Part::Call(crate::hub::request::Call {
            id: name.into(),
            name: name.into(),
            namespace: None,
            arguments: "{}".into(),
            kind: ToolKind::Function,
            signature: None,
            cache: None,
        })
    };
    let foreign = Some(Rider::new(Origin::Anthropic, Form::Sig, "A"));
    let parts =
        vec![thinking(rider("G1")), thinking(foreign.clone()), call("a"), thinking(rider("G2")), call("b"), call("c")];
    let target = Target { gemini3: true, ..Target::default() };
    let value = body(&says(Role::Assistant, parts), &target);
    let calls = &value["contents"][1]["parts"];
    assert_eq!((&calls[0]["thoughtSignature"], &calls[1]["thoughtSignature"]), (&"G1".into(), &"G2".into()));
    assert!(calls[2].get("thoughtSignature").is_none());
    let value = body(&says(Role::Assistant, vec![thinking(foreign), call("a"), call("b")]), &target);
    let calls = &value["contents"][1]["parts"];
    assert_eq!(calls[0]["thoughtSignature"], "skip_thought_signature_validator");
    assert!(calls[1].get("thoughtSignature").is_none());
}
