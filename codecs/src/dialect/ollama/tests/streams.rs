use crate::{
    dialect::{
        Context, Dialect, StreamDecode, ToolIdentity, ToolTable,
        ollama::reply,
        testing::{encoded, events, json, raw, word},
    },
    hub::{ApiError, ErrorKind, Event, Field, Finish, Form, Open, Origin, Reply, Rider, ToolKind, Usage, check::Check},
    json::Text,
};

fn decoded(rows: &[&str]) -> Vec<String> {
    events(Dialect::Ollama, &Context { new_id: "new".into(), ..Context::default() }, rows)
}

const DONE: &str = r#"{"model":"m","message":{"role":"assistant","content":""},"done":true,"done_reason":"stop"}"#;

#[test]
fn rows_become_parts_and_the_last_row_counts_too() {
    let lines = decoded(&[
        r#"{"model":"m","message":{"role":"assistant","content":"","thinking":"hm"},"done":false}"#,
        r#"{"model":"m","message":{"role":"assistant","content":"a","thinking":""},"done":false}"#,
        r#"{"model":"m","message":{"role":"assistant","content":"b"},"done":true,"done_reason":"length","prompt_eval_count":"7","eval_count":2}"#,
        r#"{"model":"m","message":{"role":"assistant","content":"late"},"done":false}"#,
    ]);
    let expected = [
        "start  m None",
        "0 thinking",
        "0 += hm",
        "0 stop",
        "1 text",
        "1 += a",
        "1 += b",
        "1 stop",
        "usage 7+0+0 2(0)",
        "finish Length",
        "end",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn calls_come_whole_in_any_row() {
    let lines = decoded(&[
        r#"{"message":{"tool_calls":[{"function":{"name":"f","arguments":{"a": 1.0}}},{"id":"x","function":{"name":"g"}}]}}"#,
        r#"{"message":{"tool_calls":[{},{"function":{"arguments":"{\"b\":2}"}}]},"done":true,"done_reason":"load"}"#,
    ]);
    let expected = [
        "start   None",
        "0 tool call_new_0 f",
        "0 += {\"a\": 1.0}",
        "0 stop",
        "1 tool x g",
        "1 += {}",
        "1 stop",
        "2 tool call_new_2 tool_2",
        "2 += {\"b\":2}",
        "2 stop",
        "finish Tool",
        "end",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn generate_rows_are_read_likewise() {
    let lines =
        decoded(&[r#"{"response":"a","thinking":"t"}"#, r#"{"response":"","done":true,"done_reason":"unload"}"#]);
    assert_eq!(lines[1..], ["0 thinking", "0 += t", "0 stop", "1 text", "1 += a", "1 stop", "finish End", "end"]);
}

#[test]
fn errors_and_early_ends_are_no_finish() {
    let row = r#"{"message":{"content":"a"}}"#;
    assert_eq!(decoded(&[row, r#"{"error":"died"}"#, DONE])[3..], ["error api died"]);
    assert_eq!(decoded(&[r#"{"error":{"message":"no Bearer abcdefgh12345678"}}"#]), ["error api no Bearer ***"]);
    for rows in [&[][..], &[row], &[row, "[DONE]", DONE]] {
        assert_eq!(decoded(rows).last().unwrap(), "error truncated upstream stream ended before completion");
    }
    let mut check = Check::default();
    let mut decoder = Dialect::Ollama.stream_decoder(&Context::default());
    for odd in ["null", "[1]", r#"{"message":7,"done":"x"}"#, r#"{"message":{"tool_calls":[7,null,{"function":3}]}}"#] {
        decoder.json(None, raw(odd), &mut |event| check.event(&event).unwrap());
    }
}

fn start<'a>() -> Event<'a> {
    Event::Start { id: Text::Plain("r"), model: Text::Plain("m\"x"), created: Some(1), usage: None }
}

fn delta<'a>(part: u32, field: Field<'a>, text: &'a str) -> Event<'a> {
    Event::Delta { part, field, text: Text::Plain(text) }
}

fn tool<'a>(part: u32, name: &'a str, kind: ToolKind) -> Event<'a> {
    let open = Open::Tool { id: Text::Plain("c"), name: Text::Plain(name), kind, signature: None };
    Event::Part { part, open }
}

fn rows(out: &str) -> Vec<serde_json::Value> {
    assert!(out.ends_with('\n') && !out.contains("\n\n") && !out.starts_with('\n'), "{out}");
    out.lines().map(json).collect()
}

#[test]
fn text_rows_are_exact() {
    let script = [
        start(),
        Event::Part { part: 0, open: Open::Thinking },
        delta(0, Field::Think, "a\n"),
        delta(0, Field::Sig { origin: Origin::Anthropic, form: Form::Sig, item_id: None }, "EqoB"),
        Event::Stop { part: 0 },
        Event::Ping,
        Event::Part { part: 1, open: Open::Text },
        Event::Delta { part: 1, field: Field::Text, text: Text::Escaped(r"\u00e9") },
    ];
    let expected = concat!(
        r#"{"model":"m\"x","created_at":"1970-01-01T00:00:01Z","message":{"role":"assistant","content":"","thinking":"a\n"},"done":false}"#,
        "\n",
        r#"{"model":"m\"x","created_at":"1970-01-01T00:00:01Z","message":{"role":"assistant","content":"\u00e9"},"done":false}"#,
        "\n"
    );
    assert_eq!(encoded(Dialect::Ollama, &Context::default(), &script), expected);
    let generate = Context { generate: true, ..Context::default() };
    let expected = concat!(
        r#"{"model":"m\"x","created_at":"1970-01-01T00:00:01Z","response":"","thinking":"a\n","done":false}"#,
        "\n",
        r#"{"model":"m\"x","created_at":"1970-01-01T00:00:01Z","response":"\u00e9","done":false}"#,
        "\n"
    );
    assert_eq!(encoded(Dialect::Ollama, &generate, &script), expected);
}

/// Calls may overlap: their pieces are gathered by part. E-23: cut arguments are an object all the same.
#[test]
fn overlapping_calls_are_gathered_into_the_last_row() {
    let mut tools = ToolTable::default();
    tools.insert("sent", ToolIdentity { name: "client's".into(), ..ToolIdentity::default() });
    let context = Context { tools: tools.into(), now: 86_400, model: "asked".into(), ..Context::default() };
    let anonymous = Event::Start { id: Text::EMPTY, model: Text::EMPTY, created: None, usage: None };
    let out = encoded(
        Dialect::Ollama,
        &context,
        &[
            anonymous,
            tool(0, "sent", ToolKind::Function),
            tool(1, "g", ToolKind::Custom),
            delta(0, Field::Args, "{\"a\":"),
            delta(1, Field::Args, "x\"y"),
            delta(0, Field::Args, "1}"),
            tool(2, "h", ToolKind::Function),
            delta(2, Field::Args, "{\"cut"),
            Event::Stop { part: 0 },
            Event::Usage(Usage { uncached: 1, cache_read: 2, cache_write: 3, output: 4, ..Usage::default() }),
            Event::Finish(Finish::Tool),
            Event::End,
            Event::End,
        ],
    );
    let rows = rows(&out);
    assert_eq!(rows.len(), 1);
    let expected = serde_json::json!([
        {"id":"c","function":{"index":0,"name":"client's","arguments":{"a":1}}},
        {"id":"c","function":{"index":1,"name":"g","arguments":{"input":"x\"y"}}},
        {"id":"c","function":{"index":2,"name":"h","arguments":{"_invalid_json":"{\"cut"}}}
    ]);
    assert_eq!(rows[0]["message"]["tool_calls"], expected);
    assert_eq!((&rows[0]["done_reason"], &rows[0]["prompt_eval_count"]), (&"stop".into(), &6.into()));
    assert_eq!((&rows[0]["model"], &rows[0]["created_at"]), (&"asked".into(), &"1970-01-02T00:00:00Z".into()));
}

#[test]
fn calls_have_a_row_of_their_own_if_asked_for() {
    let context = Context { early_calls: true, ..Context::default() };
    let script = [
        start(),
        tool(0, "f", ToolKind::Function),
        delta(0, Field::Args, "{\"a\":1}"),
        Event::Stop { part: 0 },
        Event::Finish(Finish::Tool),
        Event::End,
    ];
    let early = rows(&encoded(Dialect::Ollama, &context, &script));
    assert_eq!(early.len(), 2);
    assert_eq!(early[0]["message"]["tool_calls"][0]["function"]["arguments"], serde_json::json!({"a": 1}));
    assert_eq!((&early[0]["done"], &early[1]["done"]), (&false.into(), &true.into()));
    assert_eq!(early[1]["message"], serde_json::json!({"role": "assistant", "content": ""}));
    // Without calls there is nothing to send early.
    let script = [start(), Event::Finish(Finish::End), Event::End];
    assert_eq!(encoded(Dialect::Ollama, &context, &script), encoded(Dialect::Ollama, &Context::default(), &script));
}

/// E-57, and E-01: pings leave no trace.
#[test]
fn an_error_is_the_last_row() {
    let out = encoded(
        Dialect::Ollama,
        &Context::default(),
        &[
            start(),
            Event::Ping,
            tool(0, "f", ToolKind::Function),
            Event::Error(ApiError::new(ErrorKind::Overloaded, "bu\"sy")),
            Event::Stop { part: 0 },
            Event::Finish(Finish::Tool),
            Event::End,
        ],
    );
    assert_eq!(out, "{\"error\":\"bu\\\"sy\"}\n");
}

#[test]
fn finish_words() {
    for (finish, expected) in [
        (Finish::End, "stop"),
        (Finish::StopSequence(None), "stop"),
        (Finish::Length, "length"),
        (Finish::Tool, "stop"),
        (Finish::Filter(Default::default()), "stop"),
        (Finish::Pause, "stop"),
    ] {
        let out = encoded(Dialect::Ollama, &Context::default(), &[start(), Event::Finish(finish), Event::End]);
        assert_eq!(json(&out)["done_reason"], expected);
    }
}

#[test]
fn a_whole_answer_is_one_object() {
    let mut folded = Reply::default();
    for event in [
        start(),
        Event::Part { part: 0, open: Open::Thinking },
        delta(0, Field::Think, "hm"),
        Event::Part { part: 1, open: Open::Redacted(Rider::new(Origin::Anthropic, Form::Red, "x")) },
        Event::Part { part: 2, open: Open::Text },
        delta(2, Field::Text, "a"),
        tool(3, "f", ToolKind::Function),
        Event::Part { part: 4, open: Open::Text },
        delta(4, Field::Text, "b"),
        Event::Finish(Finish::Tool),
    ] {
        folded.fold(&event);
    }
    let encode = |generate| {
        let mut out = Vec::new();
        reply::encode(&folded, &Context { generate, ..Context::default() }, &mut out);
        json(std::str::from_utf8(&out).unwrap())
    };
    let chat = encode(false);
    assert_eq!((&chat["message"]["content"], &chat["message"]["thinking"]), (&"ab".into(), &"hm".into()));
    assert_eq!(chat["message"]["tool_calls"][0]["function"]["arguments"], serde_json::json!({}));
    assert_eq!((&chat["done"], &chat["total_duration"]), (&true.into(), &0.into()));
    let generate = encode(true);
    assert_eq!((&generate["response"], &generate["thinking"]), (&"ab".into(), &"hm".into()));
    assert!(generate.get("message").is_none());
    // And back.
    let mut words = Vec::new();
    reply::decode(raw(&chat.to_string()), &Context::default(), &mut |event| words.push(word(&event)));
    assert_eq!(words[1..7], ["0 thinking", "0 += hm", "0 stop", "1 text", "1 += ab", "1 stop"]);
    assert_eq!(words.last().unwrap(), "end");
}

#[test]
fn errors_both_ways() {
    let read = |status, body: &str| Dialect::Ollama.decode_error(status, body.as_bytes());
    let missing = read(404, r#"{"error":"model 'x' not found"}"#);
    assert_eq!((missing.kind, missing.message.as_str()), (ErrorKind::NotFound, "model 'x' not found"));
    assert_eq!(read(503, r#"{"error":{"message":"busy","code":1}}"#).kind, ErrorKind::Overloaded);
    assert_eq!(read(502, "<!doctype html><p>").message, "upstream returned HTML");
    for (kind, status) in [(ErrorKind::Billing, 402), (ErrorKind::Overloaded, 503), (ErrorKind::Truncated, 502)] {
        let mut out = Vec::new();
        assert_eq!(Dialect::Ollama.encode_error(&ApiError::new(kind, "m"), "", &mut out), status);
        assert_eq!(out, br#"{"error":"m"}"#);
    }
}

/// What is held is bounded over all calls: the answer fails, the process does not grow.
#[test]
fn endless_arguments_are_an_error() {
    let piece = "x".repeat(8 << 20);
    let mut script = vec![start()];
    for part in 0..5 {
        script.extend([tool(part, "f", ToolKind::Function), delta(part, Field::Args, &piece)]);
    }
    script.extend([Event::Finish(Finish::Tool), Event::End]);
    let out = encoded(Dialect::Ollama, &Context::default(), &script);
    assert_eq!(out, "{\"error\":\"the arguments of the tool calls are too long\"}\n");
}
