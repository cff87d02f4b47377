use crate::{
    dialect::{
        Context, Dialect,
        gemini::reply,
        testing::{json, raw, word},
    },
    hub::{ApiError, ErrorKind, Event, Field, Form, Open, Origin, Reply, Rider},
    json::Text,
};

fn encoded(events: &[Event<'_>], context: &Context) -> serde_json::Value {
    let mut folded = Reply::default();
    events.iter().for_each(|event| folded.fold(event));
    let mut out = Vec::new();
    reply::encode(&folded, context, &mut out);
    json(std::str::from_utf8(&out).unwrap())
}

fn sealed(part: u32, text: &'static str, signature: &'static str) -> [Event<'static>; 3] {
    let field = Field::Sig { origin: Origin::Anthropic, form: Form::Sig, item_id: None };
    [
        Event::Part { part, open: Open::Thinking },
        Event::Delta { part, field: Field::Think, text: Text::Plain(text) },
        Event::Delta { part, field, text: Text::Plain(signature) },
    ]
}

#[test]
fn an_empty_answer_has_an_empty_part_and_a_sealed_one_its_seal() {
    let value = encoded(&[], &Context { json_array: true, ..Context::default() });
    assert_eq!(value[0]["candidates"][0]["content"]["parts"], serde_json::json!([{"text":""}]));
    let value = encoded(&[sealed(0, "hm", "A0"), sealed(1, "so", "A1")].concat(), &Context::default());
    let seal = |payload: &'static str| Rider::new(Origin::Anthropic, Form::Sig, payload).gemini_field();
    let expected = serde_json::json!([{"text":"hm","thought":true},{"text":"","thoughtSignature":seal("A0")},
        {"text":"so","thought":true},{"text":"","thoughtSignature":seal("A1")}]);
    assert_eq!(value["candidates"][0]["content"]["parts"], expected);
}

#[test]
fn a_document_is_a_stream_of_one() {
    let mut words = Vec::new();
    let body = r#"[{"candidates":[{"content":{"parts":[{"text":"a"}]}}]},{"candidates":[{"content":{"parts":[{"text":"b"}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":1}}]"#;
    reply::decode(raw(body), &Context::default(), &mut |event| words.push(word(&event)));
    assert_eq!(words[1..], ["0 text", "0 += a", "0 += b", "0 stop", "finish End", "usage 1+0+0 0(0)", "end"]);
    let mut words = Vec::new();
    reply::decode(raw(r#"{"candidates":[]}"#), &Context::default(), &mut |event| words.push(word(&event)));
    assert!(words[1].starts_with("error truncated"), "{words:?}");
}

#[test]
fn errors_are_read_in_every_form() {
    let read = |status, body: &str| Dialect::Gemini.decode_error(status, body.as_bytes());
    let limited = r#"[{"error":{"code":429,"message":"quota","status":"RESOURCE_EXHAUSTED","details":[
        {"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"18.5s"}]}}]"#;
    let error = read(429, limited);
    assert_eq!((error.kind, error.retry_after), (ErrorKind::RateLimit, Some(18.5)));
    assert_eq!((error.status, error.code.as_deref()), (Some(429), Some("RESOURCE_EXHAUSTED")));
    let key = r#"{"error":{"code":400,"message":"API key not valid","status":"INVALID_ARGUMENT",
        "details":[{"reason":"API_KEY_INVALID"}]}}"#;
    assert_eq!(read(400, key).kind, ErrorKind::Auth);
    for (word, kind) in [
        ("FAILED_PRECONDITION", ErrorKind::Invalid),
        ("PERMISSION_DENIED", ErrorKind::Permission),
        ("NOT_FOUND", ErrorKind::NotFound),
        ("CANCELLED", ErrorKind::Api),
        ("DEADLINE_EXCEEDED", ErrorKind::Timeout),
        ("SOMETHING_NEW", ErrorKind::Overloaded),
    ] {
        assert_eq!(read(503, &format!(r#"{{"error":{{"status":"{word}","message":"x"}}}}"#)).kind, kind, "{word}");
    }
    assert_eq!(read(500, r#"{"error":"plain"}"#).message, "plain");
    assert_eq!(read(404, r#"{"error":{}}"#).kind, ErrorKind::NotFound);
    assert_eq!(read(502, "<html>x").message, "upstream returned HTML");
    assert_eq!(read(502, "[]").kind, ErrorKind::Api);
}

#[test]
fn errors_are_written_with_their_status() {
    let mut out = Vec::new();
    let status = Dialect::Gemini.encode_error(&ApiError::new(ErrorKind::TooLarge, "big"), "", &mut out);
    assert_eq!(status, 400);
    assert_eq!(out, br#"{"error":{"code":400,"message":"big","status":"INVALID_ARGUMENT"}}"#);
}

#[test]
fn counts() {
    assert_eq!(reply::decode_count(raw(r#"{"totalTokens":7}"#)), Some(7));
    assert_eq!(reply::decode_count(raw("{}")), None);
    let mut out = Vec::new();
    reply::encode_count(7, &mut out);
    assert_eq!(out, br#"{"totalTokens":7}"#);
}
