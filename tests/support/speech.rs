//! What each dialect says: requests, whole answers, streams and errors, and how to read them.
//!
//! Every answer says "Hello there", counts 11 tokens in and 3 out, and carries members that no gateway knows.

use codecs::dialect::Dialect::{self, Anthropic, Gemini, Ollama, OpenAiChat, OpenAiResponses};
use serde_json::Value;

/// The model that upstreams claim to be.
pub(crate) const MODEL: &str = "model-1";
/// What they say.
pub(crate) const TEXT: &str = "Hello there";

/// Where a client asks. Gemini's model is in the path.
pub(crate) fn path(dialect: Dialect, model: &str, stream: bool) -> String {
    match (dialect, stream) {
        (OpenAiChat, _) => "/v1/chat/completions".to_owned(),
        (OpenAiResponses, _) => "/v1/responses".to_owned(),
        (Anthropic, _) => "/v1/messages".to_owned(),
        (Gemini, true) => format!("/v1beta/models/{model}:streamGenerateContent?alt=sse"),
        (Gemini, false) => format!("/v1beta/models/{model}:generateContent"),
        (Ollama, _) => "/api/chat".to_owned(),
    }
}

/// A small request.
pub(crate) fn request(dialect: Dialect, model: &str, stream: bool) -> String {
    match dialect {
        OpenAiChat => {
            format!(r#"{{"model":"{model}","stream":{stream},"messages":[{{"role":"user","content":"Say hello"}}]}}"#)
        }
        OpenAiResponses => format!(r#"{{"model":"{model}","stream":{stream},"input":"Say hello"}}"#),
        Anthropic => format!(
            r#"{{"model":"{model}","stream":{stream},"max_tokens":64,"messages":[{{"role":"user","content":"Say hello"}}]}}"#
        ),
        Gemini => r#"{"contents":[{"role":"user","parts":[{"text":"Say hello"}]}]}"#.to_owned(),
        Ollama => {
            format!(r#"{{"model":"{model}","stream":{stream},"messages":[{{"role":"user","content":"Say hello"}}]}}"#)
        }
    }
}

/// A whole answer, oddly spaced.
pub(crate) fn reply(dialect: Dialect) -> &'static str {
    match dialect {
        OpenAiChat => {
            r#"{"id":"c-1", "object":"chat.completion","created":1700000000,"model":"model-1","x_new":{"a":[1.0,1e2]},
 "choices":[{"index":0,"message":{"role":"assistant","content":"Hello there","x":null},"finish_reason":"stop"}],
 "usage":{"prompt_tokens":11,"completion_tokens":3,"total_tokens":14}}"#
        }
        OpenAiResponses => {
            r#"{"id":"resp_1","object":"response","created_at":1700000000,"status":"completed","model":"model-1", "x_new":[ ],
 "output":[{"id":"msg_1","type":"message","status":"completed","role":"assistant",
  "content":[{"type":"output_text","text":"Hello there","annotations":[]}]}],
 "usage":{"input_tokens":11,"output_tokens":3,"total_tokens":14}}"#
        }
        Anthropic => {
            r#"{"id":"msg_1","type":"message","role":"assistant","model":"model-1",  "x_new":true,
 "content":[{"type":"text","text":"Hello there"}],"stop_reason":"end_turn","stop_sequence":null,
 "usage":{"input_tokens":11,"output_tokens":3}}"#
        }
        Gemini => {
            r#"{"candidates": [{"content": {"parts": [{"text": "Hello there"}],"role": "model"},"finishReason": "STOP","index": 0}],
 "usageMetadata": {"promptTokenCount": 11,"candidatesTokenCount": 3,"totalTokenCount": 14},"modelVersion": "model-1",
 "responseId": "r-1","xNew": 1.50}"#
        }
        Ollama => {
            r#"{"model":"model-1","created_at":"2025-08-24T10:00:00.5Z","message":{"role":"assistant","content":"Hello there"},
"x_new":0,"done":true,"done_reason":"stop","total_duration":5,"prompt_eval_count":11,"eval_count":3}"#
        }
    }
}

/// A stream in its blocks: first the prologue without content (where the dialect has one), the last block ends it.
#[derive(Debug, Clone)]
pub(crate) struct Spoken {
    pub(crate) prologue: Vec<String>,
    pub(crate) content: Vec<String>,
    pub(crate) end: Vec<String>,
}

impl Spoken {
    /// All blocks.
    pub(crate) fn blocks(&self) -> Vec<Vec<u8>> {
        [&self.prologue, &self.content, &self.end]
            .into_iter()
            .flatten()
            .map(|block| block.clone().into_bytes())
            .collect()
    }

    /// All bytes.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.blocks().concat()
    }
}

fn sse(name: &str, data: &str) -> String {
    if name.is_empty() { format!("data: {data}\n\n") } else { format!("event: {name}\ndata: {data}\n\n") }
}

/// A stream.
pub(crate) fn stream(dialect: Dialect) -> Spoken {
    match dialect {
        OpenAiChat => {
            let chunk = |delta: &str, finish: &str| {
                sse(
                    "",
                    &format!(
                        r#"{{"id":"c-1","object":"chat.completion.chunk","created":1700000000,"model":"model-1","x_new":1.0,"choices":[{{"index":0,"delta":{delta},"finish_reason":{finish}}}]}}"#
                    ),
                )
            };
            Spoken {
                prologue: vec![
                    ": OPENROUTER PROCESSING\n\n".to_owned(),
                    chunk(r#"{"role":"assistant","content":""}"#, "null"),
                ],
                content: vec![chunk(r#"{"content":"Hello"}"#, "null"), chunk(r#"{"content":" there"}"#, "null")],
                end: vec![
                    chunk("{}", r#""stop""#),
                    sse(
                        "",
                        r#"{"id":"c-1","object":"chat.completion.chunk","created":1700000000,"model":"model-1","choices":[],"usage":{"prompt_tokens":11,"completion_tokens":3,"total_tokens":14}}"#,
                    ),
                    sse("", "[DONE]"),
                ],
            }
        }
        OpenAiResponses => {
            let response = |status: &str, output: &str, usage: &str| {
                format!(
                    r#"{{"id":"resp_1","object":"response","created_at":1700000000,"status":"{status}","model":"model-1","x_new":1.0,"output":{output},"usage":{usage}}}"#
                )
            };
            let item = |status: &str, content: &str| {
                format!(
                    r#"{{"id":"msg_1","type":"message","status":"{status}","role":"assistant","content":{content}}}"#
                )
            };
            let part = |text: &str| format!(r#"{{"type":"output_text","text":"{text}","annotations":[]}}"#);
            let mut n = -1;
            let mut event = |name: &str, rest: String| {
                n += 1;
                sse(name, &format!(r#"{{"type":"{name}","sequence_number":{n},{rest}}}"#))
            };
            let place = r#""item_id":"msg_1","output_index":0,"content_index":0"#;
            let said = item("completed", &format!("[{}]", part(TEXT)));
            Spoken {
                prologue: vec![
                    event("response.created", format!(r#""response":{}"#, response("in_progress", "[]", "null"))),
                    event("response.in_progress", format!(r#""response":{}"#, response("in_progress", "[]", "null"))),
                    event(
                        "response.output_item.added",
                        format!(r#""output_index":0,"item":{}"#, item("in_progress", "[]")),
                    ),
                    event("response.content_part.added", format!(r#"{place},"part":{}"#, part(""))),
                ],
                content: vec![
                    event("response.output_text.delta", format!(r#"{place},"delta":"Hello""#)),
                    event("response.output_text.delta", format!(r#"{place},"delta":" there""#)),
                ],
                end: vec![
                    event("response.output_text.done", format!(r#"{place},"text":"{TEXT}""#)),
                    event("response.content_part.done", format!(r#"{place},"part":{}"#, part(TEXT))),
                    event("response.output_item.done", format!(r#""output_index":0,"item":{said}"#)),
                    event(
                        "response.completed",
                        format!(
                            r#""response":{}"#,
                            response(
                                "completed",
                                &format!("[{said}]"),
                                r#"{"input_tokens":11,"output_tokens":3,"total_tokens":14}"#
                            )
                        ),
                    ),
                ],
            }
        }
        Anthropic => {
            let event = |name: &str, rest: &str| sse(name, &format!(r#"{{"type":"{name}"{rest}}}"#));
            let delta = |text: &str| {
                event(
                    "content_block_delta",
                    &format!(r#","index":0,"delta":{{"type":"text_delta","text":"{text}"}},"x_new":1.0"#),
                )
            };
            Spoken {
                prologue: vec![
                    event(
                        "message_start",
                        r#","message":{"id":"msg_1","type":"message","role":"assistant","model":"model-1","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":11,"output_tokens":1}}"#,
                    ),
                    event("ping", ""),
                    event("content_block_start", r#","index":0,"content_block":{"type":"text","text":""}"#),
                ],
                content: vec![delta("Hello"), delta(" there")],
                end: vec![
                    event("content_block_stop", r#","index":0"#),
                    event(
                        "message_delta",
                        r#","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":3}"#,
                    ),
                    event("message_stop", ""),
                ],
            }
        }
        Gemini => {
            let event = |parts: &str, rest: &str| {
                sse(
                    "",
                    &format!(
                        r#"{{"candidates": [{{"content": {{"parts": [{parts}],"role": "model"}}{rest},"index": 0}}],"usageMetadata": {{"promptTokenCount": 11,"candidatesTokenCount": 3,"totalTokenCount": 14}},"modelVersion": "model-1","responseId": "r-1","xNew":1.0}}"#
                    ),
                )
            };
            Spoken {
                prologue: Vec::new(),
                content: vec![event(r#"{"text": "Hello"}"#, ""), event(r#"{"text": " there"}"#, "")],
                end: vec![event(r#"{"text": ""}"#, r#","finishReason": "STOP""#)],
            }
        }
        Ollama => {
            let row = |text: &str, rest: &str| {
                format!(
                    "{{\"model\":\"model-1\",\"created_at\":\"2025-08-24T10:00:00.5Z\",\"message\":{{\"role\":\"assistant\",\"content\":\"{text}\"}},\"x_new\":1.0,{rest}}}\n"
                )
            };
            Spoken {
                prologue: Vec::new(),
                content: vec![row("Hello", r#""done":false"#), row(" there", r#""done":false"#)],
                end: vec![row(
                    "",
                    r#""done":true,"done_reason":"stop","total_duration":5,"prompt_eval_count":11,"eval_count":3"#,
                )],
            }
        }
    }
}

/// The body of an error answer.
pub(crate) fn error_body(dialect: Dialect, message: &str) -> String {
    match dialect {
        OpenAiChat | OpenAiResponses => {
            format!(r#"{{"error":{{"message":"{message}","type":"upstream_says","param":null,"code":null}}}}"#)
        }
        Anthropic => format!(
            r#"{{"type":"error","error":{{"type":"upstream_says","message":"{message}"}},"request_id":"req_1"}}"#
        ),
        Gemini => format!(r#"{{"error":{{"code":0,"message":"{message}","status":"UPSTREAM_SAYS"}}}}"#),
        Ollama => format!(r#"{{"error":"{message}"}}"#),
    }
}

/// An overload that arrives as an event inside a stream.
pub(crate) fn overload_event(dialect: Dialect) -> String {
    match dialect {
        OpenAiChat => sse("", r#"{"error":{"message":"overloaded, try later","type":"server_error","code":503}}"#),
        OpenAiResponses => sse(
            "response.failed",
            r#"{"type":"response.failed","sequence_number":9,"response":{"id":"resp_1","object":"response","status":"failed","error":{"code":"server_is_overloaded","message":"overloaded, try later"},"output":[]}}"#,
        ),
        Anthropic => {
            sse("error", r#"{"type":"error","error":{"type":"overloaded_error","message":"overloaded, try later"}}"#)
        }
        Gemini => sse("", r#"{"error":{"code":503,"message":"overloaded, try later","status":"UNAVAILABLE"}}"#),
        Ollama => "{\"error\":\"overloaded, try later\"}\n".to_owned(),
    }
}

/// The text of a whole answer.
#[track_caller]
pub(crate) fn text_of(dialect: Dialect, reply: &Value) -> String {
    let text = match dialect {
        OpenAiChat => &reply["choices"][0]["message"]["content"],
        OpenAiResponses => &reply["output"][0]["content"][0]["text"],
        Anthropic => &reply["content"][0]["text"],
        Gemini => &reply["candidates"][0]["content"]["parts"][0]["text"],
        Ollama => &reply["message"]["content"],
    };
    text.as_str().unwrap_or_else(|| panic!("no text in {reply}")).to_owned()
}

/// Tokens in and out of a whole answer, or of the block of a stream that holds them.
pub(crate) fn usage_of(dialect: Dialect, reply: &Value) -> (u64, u64) {
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    let (holder, input, output) = match dialect {
        OpenAiChat => (&reply["usage"], "prompt_tokens", "completion_tokens"),
        OpenAiResponses | Anthropic => (&reply["usage"], "input_tokens", "output_tokens"),
        Gemini => (&reply["usageMetadata"], "promptTokenCount", "candidatesTokenCount"),
        Ollama => (reply, "prompt_eval_count", "eval_count"),
    };
    (number(&holder[input]), number(&holder[output]))
}

/// The payloads of a stream in order; `[DONE]` and comments left out.
#[track_caller]
pub(crate) fn payloads(dialect: Dialect, stream: &str) -> Vec<Value> {
    let parse = |text: &str| serde_json::from_str(text).unwrap_or_else(|error| panic!("{error} in {text}"));
    if dialect == Ollama {
        return stream.lines().filter(|line| !line.trim().is_empty()).map(parse).collect();
    }
    let data = stream.lines().filter_map(|line| line.strip_prefix("data:"));
    data.map(str::trim).filter(|data| !data.is_empty() && *data != "[DONE]").map(parse).collect()
}

/// What a client understands of a stream.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Heard {
    pub(crate) text: String,
    /// The dialect's terminal event came.
    pub(crate) ended: bool,
    /// Message of an error event.
    pub(crate) error: Option<String>,
    /// Tokens in and out.
    pub(crate) usage: (u64, u64),
}

/// Reads a stream as a client of that dialect does.
#[track_caller]
pub(crate) fn heard(dialect: Dialect, stream: &str) -> Heard {
    let mut heard = Heard::default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    for value in payloads(dialect, stream) {
        let error = match dialect {
            OpenAiResponses if value["type"] == "error" => Some(&value["message"]),
            OpenAiResponses if value["type"] == "response.failed" => Some(&value["response"]["error"]["message"]),
            Ollama => value.get("error"),
            _ => value.get("error").map(|error| &error["message"]),
        };
        if let Some(message) = error {
            heard.error = Some(text(message));
            continue;
        }
        match dialect {
            OpenAiChat => {
                heard.text += &text(&value["choices"][0]["delta"]["content"]);
                if value["usage"].is_object() {
                    heard.usage = usage_of(dialect, &value);
                }
            }
            OpenAiResponses if value["type"] == "response.output_text.delta" => heard.text += &text(&value["delta"]),
            OpenAiResponses if value["type"] == "response.completed" => {
                heard.ended = true;
                heard.usage = usage_of(dialect, &value["response"]);
            }
            OpenAiResponses => {}
            Anthropic => match value["type"].as_str().unwrap() {
                "message_start" => heard.usage = usage_of(dialect, &value["message"]),
                "content_block_delta" => heard.text += &text(&value["delta"]["text"]),
                "message_delta" => {
                    let (input, output) = usage_of(dialect, &value);
                    heard.usage = (if input > 0 { input } else { heard.usage.0 }, output);
                }
                "message_stop" => heard.ended = true,
                _ => {}
            },
            Gemini => {
                let parts = value["candidates"][0]["content"]["parts"].as_array();
                parts.into_iter().flatten().for_each(|part| heard.text += &text(&part["text"]));
                heard.ended |= value["candidates"][0]["finishReason"].is_string();
                if value["usageMetadata"].is_object() {
                    heard.usage = usage_of(dialect, &value);
                }
            }
            Ollama => {
                heard.text += &text(&value["message"]["content"]);
                if value["done"] == true {
                    heard.ended = true;
                    heard.usage = usage_of(dialect, &value);
                }
            }
        }
    }
    if dialect == OpenAiChat {
        heard.ended = stream.lines().any(|line| line.trim_end() == "data: [DONE]");
    }
    heard
}

/// The message of an error answer; panics if it has not the shape that the dialect's SDKs read.
#[track_caller]
pub(crate) fn error_of(dialect: Dialect, body: &Value) -> String {
    let shape = match dialect {
        OpenAiChat | OpenAiResponses => {
            body["error"]["type"].is_string()
                && body["error"].get("param").is_some()
                && body["error"].get("code").is_some()
        }
        Anthropic => body["type"] == "error" && body["error"]["type"].is_string() && body["request_id"].is_string(),
        Gemini => body["error"]["code"].is_number() && body["error"]["status"].is_string(),
        Ollama => body["error"].is_string(),
    };
    assert!(shape, "{dialect:?} does not say errors this way: {body}");
    let message = if dialect == Ollama { &body["error"] } else { &body["error"]["message"] };
    message.as_str().unwrap().to_owned()
}
