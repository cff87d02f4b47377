use crate::{
    dialect::{
        Context, Dialect, StreamDecode,
        testing::{encoded, events, json, raw},
    },
    hub::{ApiError, ErrorKind, Event, Field, Finish, Form, Open, Origin, Rider, ToolKind, Usage, check::Check},
    json::Text,
};

fn decoded(payloads: &[&str]) -> Vec<String> {
    events(Dialect::Gemini, &Context { new_id: "new".into(), ..Context::default() }, payloads)
}

fn text(text: &str) -> String {
    format!(r#"{{"candidates":[{{"content":{{"parts":[{{"text":"{text}"}}]}}}}],"responseId":"r","modelVersion":"m"}}"#)
}

const STOP: &str = r#"{"candidates":[{"finishReason":"STOP"}]}"#;

#[test]
fn parts_open_lazily_and_join_over_objects() {
    let thought = r#"{"candidates":[{"content":{"parts":[{"text":"","thought":true},{"thought":true,"text":"hm"}]}}],"responseId":"r","modelVersion":"m"}"#;
    let lines = decoded(&[&text(""), thought, &text("a"), &text("b"), STOP]);
    let expected = [
        "start r m None",
        "0 thinking",
        "0 += hm",
        "0 stop",
        "1 text",
        "1 += a",
        "1 += b",
        "1 stop",
        "finish End",
        "end",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn snake_case_wrappers_and_arrays_are_read() {
    let snake = r#"{"response":{"candidates":[{"content":{"parts":[{"function_call":{"name":"f"},"thought_signature":"AAAA"}]},"finish_reason":"STOP"}],"usage_metadata":{"prompt_token_count":2},"response_id":"r","model_version":"m"},"traceId":"t"}"#;
    let expected =
        ["start r m Some(2)", "0 tool call_r_0 f frt1.gemini.sig.AAAA", "0 += {}", "0 stop", "finish Tool", "end"];
    assert_eq!(decoded(&[snake]), expected);
    let array = format!("[{},{STOP}]", text("x"));
    assert_eq!(decoded(&[&array])[2], "0 += x");
}

#[test]
fn only_candidate_zero_counts() {
    let two = r#"{"candidates":[{"index":1,"content":{"parts":[{"text":"no"}]},"finishReason":"STOP"},{"index":0,"content":{"parts":[{"text":"yes"}]}}]}"#;
    assert_eq!(decoded(&[two, STOP])[2], "0 += yes");
}

#[test]
fn server_tools_are_invisible_and_images_are_parts() {
    let parts = r#"{"candidates":[{"content":{"parts":[{"executableCode":{"code":"1"}},{"codeExecutionResult":{"output":"1"}},{"inlineData":{"mimeType":"image/png","data":"iVBO"}},{"inlineData":{"mimeType":"audio/wav","data":"UklG"}}]},"finishReason":"STOP"}]}"#;
    assert_eq!(decoded(&[parts])[1..], ["0 image image/png iVBO", "0 stop", "finish End", "end"]);
}

#[test]
fn nameless_calls_get_a_name_or_go() {
    let parts = r#"{"candidates":[{"content":{"parts":[{"functionCall":{}},{"functionCall":{"args":{"a":1}}},{"functionCall":{"id":"own","name":""}}]},"finishReason":"STOP"}],"responseId":"r"}"#;
    let lines = decoded(&[parts]);
    assert_eq!(lines[1..3], ["0 tool call_r_0 tool_0", "0 += {\"a\":1}"]);
    assert_eq!(lines[4], "1 tool own tool_1");
}

#[test]
fn foreign_signatures_return_to_the_thinking() {
    let sealed = Rider::new(Origin::Anthropic, Form::Sig, "EqoB").gemini_field();
    let call = format!(
        r#"{{"candidates":[{{"content":{{"parts":[{{"text":"hm","thought":true}},{{"functionCall":{{"name":"f"}},"thoughtSignature":"{sealed}"}}]}}}}]}}"#
    );
    let lines = decoded(&[&call, STOP]);
    assert_eq!(lines[2..6], ["0 += hm", "0 += anthropic.sig EqoB", "0 stop", "1 tool call_new_0 f"]);
    let alone =
        format!(r#"{{"candidates":[{{"content":{{"parts":[{{"text":"","thoughtSignature":"{sealed}"}}]}}}}]}}"#);
    assert_eq!(decoded(&[&alone, STOP])[1..3], ["0 thinking", "0 += anthropic.sig EqoB"]);
}

/// E-97: the first finish wins, later content is ignored, later counts are taken.
#[test]
fn after_the_finish_only_counts_matter() {
    let usage = r#"{"usageMetadata":{"promptTokenCount":"3","candidatesTokenCount":4.0}}"#;
    let length = r#"{"candidates":[{"finishReason":"MAX_TOKENS"}]}"#;
    let lines = decoded(&[&text("a"), length, &text("b"), STOP, usage]);
    assert_eq!(lines[3..], ["0 stop", "finish Length", "usage 3+0+0 4(0)", "end"]);
}

#[test]
fn equal_counts_are_told_once() {
    let usage = r#"{"usageMetadata":{"promptTokenCount":3}}"#;
    let null = r#"{"usageMetadata":null,"candidates":[]}"#;
    assert_eq!(decoded(&[usage, usage, null, STOP]), ["start   Some(3)", "finish End", "end"]);
}

#[test]
fn without_a_finish_the_end_is_truncation() {
    for payloads in [&[][..], &["{}"], &[&text("a")], &[&text("a"), "[DONE]", STOP]] {
        let lines = decoded(payloads);
        assert_eq!(lines.last().unwrap(), "error truncated upstream stream ended before completion", "{payloads:?}");
        assert!(!lines.iter().any(|line| line.starts_with("finish")));
    }
}

#[test]
fn errors_end_the_stream_without_a_finish() {
    let error = r#"{"error":{"code":503,"message":"busy sk-abcdef1234567890","status":"UNAVAILABLE"}}"#;
    let lines = decoded(&[&text("a"), error, &text("b"), STOP]);
    assert_eq!(lines[3..], ["error overloaded busy sk-***"]);
    assert_eq!(decoded(&[&format!("[{error}]")]), ["error overloaded busy sk-***"]);
}

#[test]
fn finish_reasons() {
    let lines = |payload: &str| decoded(&[payload])[1..].join(" | ");
    let finish = |word: &str| lines(&format!(r#"{{"candidates":[{{"finishReason":"{word}"}}]}}"#));
    for word in ["OTHER", "TOO_MANY_TOOL_CALLS", "BRAND_NEW", "FINISH_REASON_UNSPECIFIED"] {
        assert_eq!(finish(word), "finish End | end", "{word}");
    }
    for word in ["SAFETY", "RECITATION", "SPII", "PUP_LIMITED_DISABLED"] {
        assert!(finish(word).starts_with("finish Filter"), "{word}");
    }
    assert_eq!(finish("MAX_TOKENS"), "finish Length | end");
    for word in ["MALFORMED_RESPONSE", "UNEXPECTED_TOOL_CALL", "MISSING_THOUGHT_SIGNATURE"] {
        assert_eq!(finish(word), format!("error api upstream returned {word}"));
    }
    let late = r#"{"candidates":[{"content":{"parts":[{"text":"a"}]},"finishReason":"MALFORMED_FUNCTION_CALL"}]}"#;
    assert_eq!(lines(late), "0 text | 0 += a | 0 stop | finish End | end");
    let blocked = r#"{"promptFeedback":{"blockReason":"OTHER","blockReasonMessage":"no"}}"#;
    assert!(lines(blocked).contains("explanation: Some"), "{}", lines(blocked));
    assert_eq!(decoded(&[r#"{"promptFeedback":{"safetyRatings":[]}}"#, STOP])[1..], ["finish End", "end"]);
}

/// Every prefix of a stream: no panic, the grammar holds, never an invented finish.
#[test]
fn every_prefix_ends_well() {
    let payloads = [text("a"), text("b"), STOP.to_owned()];
    for cut in 0..payloads.len() {
        let prefix: Vec<&str> = payloads[..cut].iter().map(String::as_str).collect();
        assert!(decoded(&prefix).last().unwrap().starts_with("error truncated"));
    }
    let mut check = Check::default();
    let mut decoder = Dialect::Gemini.stream_decoder(&Context::default());
    for odd in ["null", "7", "\"x\"", "[]", "[[],1]", r#"{"candidates":{}}"#, r#"{"candidates":[null,{"content":7}]}"#]
    {
        decoder.json(None, raw(odd), &mut |event| check.event(&event).unwrap());
    }
}

fn start<'a>() -> Event<'a> {
    Event::Start { id: Text::Plain("msg_r"), model: Text::Plain("m"), created: None, usage: None }
}

fn part<'a>(part: u32, open: Open<'a>) -> Event<'a> {
    Event::Part { part, open }
}

fn delta<'a>(part: u32, field: Field<'a>, text: &'a str) -> Event<'a> {
    Event::Delta { part, field, text: Text::Plain(text) }
}

fn sig<'a>(part: u32, origin: Origin, text: &'a str) -> Event<'a> {
    delta(part, Field::Sig { origin, form: Form::Sig, item_id: None }, text)
}

fn tool<'a>(number: u32, kind: ToolKind, signature: Option<Rider<'a>>) -> Event<'a> {
    part(number, Open::Tool { id: Text::Plain("c"), name: Text::Plain("f"), kind, signature })
}

fn data(out: &str) -> Vec<serde_json::Value> {
    out.split_terminator("\n\n").map(|frame| json(frame.strip_prefix("data: ").unwrap())).collect()
}

fn parts(value: &serde_json::Value) -> &serde_json::Value {
    &value["candidates"][0]["content"]["parts"]
}

#[test]
fn text_frames_are_exact() {
    let out = encoded(
        Dialect::Gemini,
        &Context::default(),
        &[
            start(),
            part(0, Open::Thinking),
            delta(0, Field::Think, "a\"b"),
            Event::Stop { part: 0 },
            Event::Ping,
            part(1, Open::Refusal),
            Event::Delta { part: 1, field: Field::Refusal, text: Text::Escaped(r"\u00e9\ud83d") },
        ],
    );
    let expected = concat!(
        r#"data: {"candidates":[{"content":{"role":"model","parts":[{"text":"a\"b","thought":true}]},"index":0}],"modelVersion":"m","responseId":"r"}"#,
        "\n\n",
        r#"data: {"candidates":[{"content":{"role":"model","parts":[{"text":"\u00e9\ud83d"}]},"index":0}],"modelVersion":"m","responseId":"r"}"#,
        "\n\n"
    );
    assert_eq!(out, expected);
}

#[test]
fn signatures_find_a_place_each() {
    let gemini = Rider::new(Origin::Gemini, Form::Sig, "Own=");
    let out = encoded(
        Dialect::Gemini,
        &Context::default(),
        &[
            start(),
            part(0, Open::Thinking),
            delta(0, Field::Think, "one"),
            sig(0, Origin::Anthropic, "A1"),
            Event::Stop { part: 0 },
            part(1, Open::Thinking),
            sig(1, Origin::Anthropic, "lost"),
            sig(1, Origin::Anthropic, "A2"),
            Event::Stop { part: 1 },
            tool(2, ToolKind::Function, Some(gemini)),
            delta(2, Field::Args, "{\"a\":1}"),
            Event::Stop { part: 2 },
            part(3, Open::Thinking),
            sig(3, Origin::Responses, "R3"),
            Event::Stop { part: 3 },
            tool(4, ToolKind::Custom, None),
            delta(4, Field::Args, "free \"text\""),
            Event::Stop { part: 4 },
            part(5, Open::Thinking),
            sig(5, Origin::Anthropic, "A5"),
            Event::Stop { part: 5 },
            Event::Finish(Finish::Tool),
            Event::End,
            Event::End,
        ],
    );
    let seal = |origin, payload: &str| Rider::new(origin, Form::Sig, payload.to_owned()).gemini_field();
    let frames = data(&out);
    assert_eq!(frames.len(), 6, "{out}");
    assert_eq!(parts(&frames[0])[0]["text"], "one");
    assert_eq!(parts(&frames[1])[0], serde_json::json!({"text":"","thoughtSignature":seal(Origin::Anthropic, "A1")}));
    assert_eq!(parts(&frames[2])[0], serde_json::json!({"text":"","thoughtSignature":seal(Origin::Anthropic, "A2")}));
    let call = serde_json::json!({"functionCall":{"id":"c","name":"f","args":{"a":1}},"thoughtSignature":"Own="});
    assert_eq!(parts(&frames[3])[0], call);
    let custom = serde_json::json!({"functionCall":{"id":"c","name":"f","args":{"input":"free \"text\""}},
        "thoughtSignature":seal(Origin::Responses, "R3")});
    assert_eq!(parts(&frames[4])[0], custom);
    assert_eq!(parts(&frames[5])[0]["thoughtSignature"], seal(Origin::Anthropic, "A5"));
    assert_eq!(frames[5]["candidates"][0]["finishReason"], "STOP");
}

/// E-23: arguments that were cut are kept as text.
#[test]
fn cut_arguments_are_an_object_all_the_same() {
    let out = encoded(
        Dialect::Gemini,
        &Context::default(),
        &[
            start(),
            tool(0, ToolKind::Function, None),
            delta(0, Field::Args, "{\"a\":"),
            Event::Stop { part: 0 },
            Event::Usage(Usage { uncached: 2, cache_read: 3, output: 5, reasoning: 1, ..Usage::default() }),
            Event::Finish(Finish::Length),
            Event::End,
        ],
    );
    let frames = data(&out);
    assert_eq!(parts(&frames[0])[0]["functionCall"]["args"]["_invalid_json"], "{\"a\":");
    assert_eq!(frames[1]["candidates"][0]["finishReason"], "MAX_TOKENS");
    let usage = serde_json::json!({"promptTokenCount":5,"candidatesTokenCount":4,"totalTokenCount":10,
        "cachedContentTokenCount":3,"thoughtsTokenCount":1});
    assert_eq!(frames[1]["usageMetadata"], usage);
}

#[test]
fn without_alt_sse_the_body_is_one_array() {
    let context = Context { json_array: true, new_id: "new".into(), model: "asked".into(), ..Context::default() };
    let anonymous = Event::Start { id: Text::EMPTY, model: Text::EMPTY, created: None, usage: None };
    let mut script = vec![anonymous, part(0, Open::Text), delta(0, Field::Text, "a"), delta(0, Field::Text, "b")];
    let open = encoded(Dialect::Gemini, &context, &script);
    assert!(open.starts_with("[{") && open.contains("},\n{") && !open.ends_with(']'), "{open}");
    script.extend([Event::Stop { part: 0 }, Event::Finish(Finish::End), Event::End]);
    let whole = json(&encoded(Dialect::Gemini, &context, &script));
    assert_eq!(whole.as_array().unwrap().len(), 3);
    assert_eq!((&whole[0]["modelVersion"], &whole[0]["responseId"]), (&"asked".into(), &"new".into()));
    let error = Event::Error(ApiError::new(ErrorKind::RateLimit, "slow"));
    let failed = json(&encoded(Dialect::Gemini, &context, &[script[0].clone(), error.clone(), Event::End]));
    assert_eq!(failed, serde_json::json!([{"error":{"code":429,"message":"slow","status":"RESOURCE_EXHAUSTED"}}]));
    script.truncate(3);
    script.push(error);
    assert_eq!(json(&encoded(Dialect::Gemini, &context, &script)).as_array().unwrap().len(), 2);
}

#[test]
fn pictures_go_inline() {
    let open = Open::Image { mime: Text::Plain("image/png"), data: Text::Plain("iVBO") };
    let out = encoded(Dialect::Gemini, &Context::default(), &[start(), part(0, open), Event::Stop { part: 0 }]);
    assert_eq!(parts(&data(&out)[0])[0]["inlineData"]["data"], "iVBO");
}

/// What is held is bounded: the answer fails, the process does not grow.
#[test]
fn endless_arguments_are_an_error() {
    let piece = "x".repeat(8 << 20);
    let mut script = vec![start(), tool(0, ToolKind::Custom, None)];
    script.extend((0..5).map(|_| delta(0, Field::Args, &piece)));
    script.extend([Event::Stop { part: 0 }, Event::Finish(Finish::Tool), Event::End]);
    let frames = data(&encoded(Dialect::Gemini, &Context::default(), &script));
    assert_eq!(frames.len(), 1);
    assert_eq!(frames[0]["error"]["status"], "INTERNAL");
}
