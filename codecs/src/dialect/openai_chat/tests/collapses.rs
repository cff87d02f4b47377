use serde_json::{Value, json};

use super::value;
use crate::{
    dialect::openai_chat::collapse::Collapse,
    hub::{ApiError, ErrorKind},
};

fn collapse(chunks: &[Value], tail: &str) -> Result<Value, ApiError> {
    let mut collapse = Collapse::new();
    for chunk in chunks {
        collapse.push(format!("data: {chunk}\n\n").as_bytes());
    }
    collapse.push(tail.as_bytes());
    let mut out = Vec::new();
    collapse.finish(&mut out).map(|()| value(&out))
}

const DONE: &str = "data: [DONE]\n\n";

fn chunk(delta: Value, finish: Value) -> Value {
    json!({"id": "x", "created": 1, "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
}

#[test]
fn calls_with_odd_indices_are_one_list() {
    let piece = |call: Value| chunk(json!({"tool_calls": [call]}), Value::Null);
    let chunks = [
        piece(json!({"index": 1, "id": "b", "function": {"name": "g", "arguments": "{}"}})),
        piece(json!({"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": "{"}})),
        piece(json!({"index": 0, "id": "", "function": {"name": "", "arguments": "}"}})),
        chunk(json!({}), json!("stop")),
    ];
    let body = collapse(&chunks, DONE).unwrap();
    assert_eq!(
        body["choices"][0]["message"]["tool_calls"],
        json!([
            {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}},
            {"id": "b", "type": "function", "function": {"name": "g", "arguments": "{}"}},
        ])
    );
    assert_eq!(
        (&body["choices"][0]["finish_reason"], &body["choices"][0]["message"]["content"]),
        (&json!("tool_calls"), &Value::Null)
    );
}

#[test]
fn a_stream_without_a_finish_is_whole_only_with_done() {
    let chunks = [chunk(json!({"content": "a"}), Value::Null)];
    assert_eq!(collapse(&chunks, DONE).unwrap()["choices"][0]["finish_reason"], "stop");
    assert_eq!(collapse(&chunks, "").unwrap_err().kind, ErrorKind::Truncated);
    assert_eq!(collapse(&chunks, "data: {\"id\":\"x\",\"cho").unwrap_err().kind, ErrorKind::Truncated);
    assert_eq!(collapse(&[], DONE).unwrap_err().kind, ErrorKind::Truncated);
    let finished = [chunk(json!({"content": "a"}), json!("length"))];
    assert_eq!(collapse(&finished, "").unwrap()["choices"][0]["finish_reason"], "length");
}

#[test]
fn an_error_chunk_is_the_answer() {
    let error = json!({"error": {"message": "m", "code": "rate_limit_exceeded"}});
    let got = collapse(&[chunk(json!({"content": "a"}), json!("stop")), error], DONE).unwrap_err();
    assert_eq!((got.kind, got.message.as_str()), (ErrorKind::RateLimit, "m"));
    let got = collapse(&[chunk(json!({"content": "a"}), json!("stop"))], "data: nonsense\n\n").unwrap_err();
    assert_eq!(got.kind, ErrorKind::Api);
}

#[test]
fn several_answers_probabilities_and_usage_are_kept() {
    let one = |index: u64, text: &str, finish: Value| {
        json!({"id": "x", "service_tier": text, "usage": {"n": index, "odd": "é"}, "choices": [{"index": index,
            "delta": {"content": text, "annotations": [{"t": text}]}, "logprobs": {"content": [{"token": text}], "refusal": null}, "finish_reason": finish}]})
    };
    let chunks = [one(1, "b", json!("stop")), one(0, "a", Value::Null), one(0, "A", json!("length"))];
    let body = collapse(&chunks, DONE).unwrap();
    assert_eq!(body["choices"][0]["message"]["content"], "aA");
    assert_eq!(body["choices"][0]["logprobs"]["content"], json!([{"token": "a"}, {"token": "A"}]));
    assert_eq!(body["choices"][0]["message"]["annotations"], json!([{"t": "a"}, {"t": "A"}]));
    assert_eq!((&body["choices"][1]["index"], &body["choices"][1]["finish_reason"]), (&json!(1), &json!("stop")));
    assert_eq!((&body["usage"], &body["service_tier"]), (&json!({"n": 0, "odd": "é"}), &json!("A")));
}

#[test]
fn details_of_one_index_are_one_entry() {
    let details = |entry: Value| chunk(json!({"reasoning": "r", "reasoning_details": [entry]}), Value::Null);
    let chunks = [
        details(json!({"index": 0, "type": "reasoning.text", "text": "a", "signature": null, "x": 1})),
        details(json!({"index": 0, "type": "reasoning.text", "text": "b"})),
        details(json!({"index": 0, "type": "reasoning.text", "signature": "S"})),
        chunk(json!({"refusal": "no", "images": [{"n": 1}]}), json!("stop")),
    ];
    let body = collapse(&chunks, DONE).unwrap();
    let message = &body["choices"][0]["message"];
    assert_eq!(
        message["reasoning_details"],
        json!([{"index": 0, "type": "reasoning.text", "text": "ab", "x": 1, "signature": "S"}])
    );
    assert_eq!((&message["reasoning_content"], &message["refusal"]), (&json!("rrr"), &json!("no")));
    assert_eq!((&message["content"], &message["images"]), (&Value::Null, &json!([{"n": 1}])));
}

#[test]
fn what_is_kept_is_bounded() {
    let big = chunk(json!({"content": "x".repeat(9 << 20)}), Value::Null);
    let chunks = [big.clone(), big.clone(), big.clone(), big];
    assert_eq!(collapse(&chunks, DONE).unwrap_err().kind, ErrorKind::Api);
}
