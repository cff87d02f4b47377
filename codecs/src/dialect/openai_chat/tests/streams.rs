use std::{collections::HashSet, sync::Arc};

use bytes::BytesMut;
use serde_json::{Value, json};

use super::raw;
use crate::{
    dialect::{
        Context, StreamDecode, StreamEncode, ToolIdentity, ToolTable,
        openai_chat::stream::{Decoder, Encoder},
    },
    hub::{
        ApiError, ErrorKind, Event, Field, Finish, Form, Open, Origin, Rider, ToolKind, Usage, check::Check,
        request::Part,
    },
    json::Text,
};

/// What the decoder says about these chunks, in short. `[DONE]` and the end of input are marked so.
fn hear(chunks: &[Value]) -> Vec<String> {
    hear_in(&Context::default(), chunks)
}

fn hear_in(context: &Context, chunks: &[Value]) -> Vec<String> {
    let mut decoder = Decoder::new(context);
    let mut check = Check::default();
    let mut heard = Vec::new();
    let mut emit = |event: Event<'_>| {
        check.event(&event).unwrap();
        heard.push(short(&event));
    };
    for chunk in chunks {
        match chunk.as_str() {
            Some("[DONE]") => decoder.done(&mut emit),
            Some("EOF") => decoder.end(&mut emit),
            _ => decoder.json(None, raw(&chunk.to_string()), &mut emit),
        }
    }
    heard
}

fn short(event: &Event<'_>) -> String {
    match event {
        Event::Start { id, model, .. } => format!("start {} {}", id.plain(), model.plain()),
        Event::Part { part, open } => match open {
            Open::Text => format!("{part} text"),
            Open::Thinking => format!("{part} think"),
            Open::Refusal => format!("{part} refusal"),
            Open::Redacted(rider) => format!("{part} redacted {}", rider.payload.plain()),
            Open::Image { mime, data } => format!("{part} image {} {}", mime.plain(), data.plain()),
            Open::Tool { id, name, kind, signature } => {
                let signature = signature.as_ref().map(|rider| format!(" {}", rider.tag())).unwrap_or_default();
                format!("{part} {kind:?} {} {}{signature}", id.plain(), name.plain())
            }
        },
        Event::Delta { part, field: Field::Sig { origin, form, item_id }, text } => {
            let id = item_id.map(|id| format!("{} ", id.plain())).unwrap_or_default();
            format!("{part} {}.{} {id}{}", origin.name(), form.name(), text.plain())
        }
        Event::Delta { part, text, .. } => format!("{part} +{}", text.plain()),
        Event::Stop { part } => format!("{part} stop"),
        Event::Usage(usage) => format!("usage {} {}", usage.input(), usage.output),
        Event::Finish(finish) => format!("{finish:?}"),
        Event::Error(error) => format!("error {} {}", error.kind.name(), error.message),
        Event::Ping => "ping".to_owned(),
        Event::End => "end".to_owned(),
    }
}

fn delta(delta: Value) -> Value {
    json!({"id": "chatcmpl-a", "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": null}]})
}

fn call(call: Value) -> Value {
    delta(json!({"tool_calls": [call]}))
}

fn finish(word: &str) -> Value {
    json!({"id": "chatcmpl-a", "choices": [{"index": 0, "delta": {}, "finish_reason": word}]})
}

fn done() -> Value {
    json!("[DONE]")
}

#[test]
fn kinds_of_text_take_turns() {
    let heard = hear(&[
        delta(json!({"role": "assistant", "content": ""})),
        delta(json!({"reasoning_content": "", "reasoning": "r"})),
        delta(json!({"content": null})),
        delta(json!({"content": "a"})),
        delta(json!({"content": "b"})),
        delta(json!({"refusal": "no"})),
        delta(
            json!({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "m"}]}, {"type": "text", "text": "c"}]}),
        ),
        finish("stop"),
        done(),
    ]);
    let expected = [
        "start chatcmpl-a m",
        "0 think",
        "0 +r",
        "0 stop",
        "1 text",
        "1 +a",
        "1 +b",
        "1 stop",
        "2 refusal",
        "2 +no",
        "2 stop",
        "3 think",
        "3 +m",
        "3 stop",
        "4 text",
        "4 +c",
        "4 stop",
        "End",
        "end",
    ];
    assert_eq!(heard, expected);
}

#[test]
fn calls_without_index_or_id_are_matched() {
    let heard = hear(&[
        call(json!({"id": "a", "function": {"name": "f", "arguments": "{"}})),
        call(json!({"function": {"arguments": "}"}})),
        call(json!({"id": "b", "function": {"name": "g"}})),
        call(json!({"id": "a", "function": {"arguments": " "}})),
        call(json!({"id": "b", "function": {"arguments": {"x": 1}}})),
        finish("tool_calls"),
    ]);
    let expected = [
        "start chatcmpl-a m",
        "0 Function a f",
        "0 +{",
        "0 +}",
        "1 Function b g",
        "0 + ",
        "1 +{\"x\":1}",
        "0 stop",
        "1 stop",
        "Tool",
    ];
    assert_eq!(heard, expected);
}

#[test]
fn another_id_at_the_same_index_is_another_call() {
    let heard = hear(&[
        call(json!({"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}})),
        call(json!({"index": 0, "id": "b", "function": {"name": "g", "arguments": "{"}})),
        call(json!({"index": 0, "id": "", "function": {"name": "", "arguments": "}"}})),
        finish("stop"),
        done(),
    ]);
    let expected = [
        "start chatcmpl-a m",
        "0 Function a f",
        "0 +{}",
        "1 Function b g",
        "1 +{",
        "1 +}",
        "0 stop",
        "1 stop",
        "End",
        "end",
    ];
    assert_eq!(heard, expected);
}

#[test]
fn calls_that_stay_incomplete_are_completed_at_the_end() {
    let heard = hear(&[
        call(json!({"index": 0, "function": {"arguments": "{\"a\""}})),
        call(json!({"index": 1, "id": "x"})),
        call(json!({"index": 2, "function": {"arguments": ""}})),
        call(json!({"index": 0, "function": {"arguments": ":1}"}})),
        finish("length"),
        done(),
    ]);
    let expected = [
        "start chatcmpl-a m",
        "0 Function call_a_0 tool_0",
        "0 +{\"a\":1}",
        "0 stop",
        "1 Function x tool_1",
        "1 +{}",
        "1 stop",
        "Length",
        "end",
    ];
    assert_eq!(heard, expected, "the third call had nothing at all");
}

#[test]
fn the_legacy_call_gets_an_id_at_once() {
    let heard = hear(&[
        delta(json!({"function_call": {"name": "f", "arguments": ""}})),
        delta(json!({"function_call": {"arguments": "{}"}})),
        finish("function_call"),
    ]);
    assert_eq!(heard, ["start chatcmpl-a m", "0 Function call_a_0 f", "0 +{}", "0 stop", "Tool"]);
}

#[test]
fn custom_calls_and_signatures() {
    let heard = hear(&[
        call(json!({"index": 0, "id": "a", "type": "custom", "custom": {"name": "p", "input": ""}})),
        call(json!({"index": 0, "custom": {"input": "raw {"}})),
        call(json!({"index": 1, "id": "b", "function": {"name": "f", "arguments": "{}"},
            "extra_content": {"google": {"thought_signature": "G"}}})),
        call(json!({"index": 2, "id": "c", "type": "custom", "custom": {"name": "q"}})),
        finish("tool_calls"),
    ]);
    let expected = [
        "start chatcmpl-a m",
        "0 Custom a p",
        "0 +raw {",
        "1 Function b f frt1.gemini.sig.G",
        "1 +{}",
        "2 Custom c q",
        "0 stop",
        "1 stop",
        "2 stop",
        "Tool",
    ];
    assert_eq!(heard, expected);
}

#[test]
fn ids_that_the_history_knows_are_replaced() {
    let used = HashSet::from(["call_0".to_owned()]);
    let context = Context { used_ids: Arc::new(used), ..Context::default() };
    let one =
        |index: u64, id: &str| call(json!({"index": index, "id": id, "function": {"name": "f", "arguments": "{}"}}));
    let heard = hear_in(&context, &[one(3, "call_0"), one(4, "b"), one(5, "b"), finish("stop")]);
    let opened: Vec<_> = heard.iter().filter(|line| line.contains("Function")).collect();
    assert_eq!(opened, ["0 Function call_a_3 f", "1 Function b f", "2 Function call_a_5 f"]);
}

#[test]
fn details_sign_their_thoughts() {
    let detail = |index: u64, more: Value| {
        let mut entry = json!({"index": index, "type": "reasoning.text", "format": "anthropic-claude-v1"});
        entry.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        delta(json!({"reasoning_details": [entry]}))
    };
    let heard = hear(&[
        detail(0, json!({"text": "one"})),
        detail(0, json!({"signature": "S"})),
        detail(1, json!({"text": "two"})),
        detail(2, json!({"signature": "T"})),
        detail(3, json!({"type": "reasoning.encrypted", "data": "R"})),
        detail(4, json!({"type": "reasoning.encrypted", "format": "openai-responses-v1", "data": "E", "id": "rs"})),
        detail(5, json!({"type": "reasoning.encrypted", "format": "xai", "data": "X"})),
        done(),
    ]);
    let expected = [
        "start chatcmpl-a m",
        "0 think",
        "0 +one",
        "0 anthropic.sig S",
        "0 stop",
        "1 think",
        "1 +two",
        "1 anthropic.sig T",
        "1 stop",
        "2 redacted R",
        "2 stop",
        "3 think",
        "3 responses.enc rs E",
        "3 stop",
        "4 think",
        "4 chat.enc xai:X",
        "4 stop",
        "End",
        "end",
    ];
    assert_eq!(heard, expected);
}

#[test]
fn images_inside_answers() {
    let image = |url: &str| json!({"type": "image_url", "image_url": {"url": url}});
    let heard = hear(&[
        delta(json!({"content": "a", "images": [image("data:image/png;base64,iVBO"), image("https://x.org/")]})),
        finish("stop"),
    ]);
    assert_eq!(heard, ["start chatcmpl-a m", "0 text", "0 +a", "0 stop", "1 image image/png iVBO", "1 stop", "End"]);
}

#[test]
fn only_the_first_finish_and_the_first_answer_count() {
    let heard = hear(&[
        json!({"id": "chatcmpl-a", "choices": [{"index": 1, "delta": {"content": "other"}, "finish_reason": "length"}]}),
        delta(json!({"content": "a"})),
        finish("length"),
        delta(json!({"content": "late"})),
        finish("stop"),
        json!({"id": "chatcmpl-a", "choices": null, "usage": {"prompt_tokens": "3", "completion_tokens": 1.0}}),
        done(),
        delta(json!({"content": "too late"})),
        done(),
        json!("EOF"),
    ]);
    assert_eq!(heard, ["start chatcmpl-a ", "0 text", "0 +a", "0 stop", "Length", "usage 3 1", "end"]);
}

#[test]
fn usage_is_found_where_servers_put_it() {
    let chunk = |more: Value| {
        let mut chunk = delta(json!({"content": "a"}));
        chunk.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        chunk
    };
    let usage = json!({"prompt_tokens": 3, "completion_tokens": 1});
    let in_choice =
        json!({"id": "chatcmpl-a", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop", "usage": usage}]});
    let count = |chunks: &[Value]| hear(chunks).iter().filter(|line| line.starts_with("usage")).count();
    assert_eq!(count(&[chunk(json!({"usage": null}))]), 0);
    assert_eq!(count(&[chunk(json!({"usage": usage})), chunk(json!({"usage": usage}))]), 1, "only changes are said");
    assert_eq!(count(&[chunk(json!({"x_groq": {"usage": usage}}))]), 1);
    assert_eq!(count(&[in_choice]), 1);
}

#[test]
fn ends_of_all_kinds() {
    let cut = "error truncated upstream stream ended before completion";
    assert_eq!(hear(&[json!("EOF")]), [cut]);
    assert_eq!(hear(&[done()]), ["error api the upstream sent an empty answer"]);
    assert_eq!(hear(&[delta(json!({"content": "a"})), json!("EOF")])[3..], [cut]);
    assert_eq!(hear(&[delta(json!({"content": "a"})), finish("stop"), json!("EOF")])[3..], ["0 stop", "End", "end"]);
    let called = call(json!({"index": 0, "id": "a", "function": {"name": "f"}}));
    assert_eq!(hear(&[called, done()])[2..], ["0 +{}", "0 stop", "Tool", "end"], "no finish: judged by the calls");
    assert_eq!(hear(&[json!(7)]), ["error api the upstream sent a number instead of a chunk"]);
    assert!(hear(&[delta(json!({"content": "a"})), finish("content_filter")])[4].starts_with("Filter"));
}

#[test]
fn errors_inside_streams() {
    for (chunk, expected) in [
        (json!({"error": {"message": "m", "type": "server_error", "code": 503}}), "error overloaded m"),
        (json!({"error": "words"}), "error api words"),
        (
            json!({"error": {"message": "m", "code": 402}, "choices": [{"delta": {"content": "x"}, "finish_reason": "error"}]}),
            "error billing m",
        ),
        (json!({"detail": "d"}), "error api d"),
        (json!({"object": "error", "message": "m", "code": 404}), "error not_found m"),
        (json!([{"error": {"message": "m", "code": 429}}]), "error rate_limit m"),
    ] {
        let heard = hear(&[delta(json!({"content": "a"})), chunk.clone(), finish("stop"), done(), json!("EOF")]);
        assert_eq!(heard[3..], [expected], "{chunk}");
    }
    let harmless = hear(&[json!({"id": "chatcmpl-a", "error": null, "choices": [{"delta": {"content": "a"}}]})]);
    assert_eq!(harmless[1..], ["0 text", "0 +a"]);
}

#[test]
fn a_first_chunk_without_an_id_waits_for_the_next() {
    let filter = json!({"id": "", "model": "", "choices": [], "prompt_filter_results": []});
    assert_eq!(hear(&[filter, delta(json!({"content": "a"}))])[0], "start chatcmpl-a m");
}

#[test]
fn a_whole_message_in_one_chunk() {
    let heard = hear(&[
        json!({"id": "chatcmpl-a", "model": "m", "choices": [{"index": 0, "finish_reason": "tool_calls",
        "message": {"content": "a", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}, {"function": {"name": "f", "arguments": "{}"}}]}}]}),
    ]);
    assert_eq!(heard[4..6], ["1 Function call_a_0 f", "1 +{}"]);
    assert_eq!(heard[7..9], ["2 Function call_a_1 f", "2 +{}"]);
}

#[test]
fn one_delta_of_a_megabyte_passes() {
    let big = "é".repeat(1 << 19);
    let heard = hear(&[delta(json!({"content": big}))]);
    assert_eq!(heard[2].len(), big.len() + 3);
}

#[test]
fn calls_are_bounded() {
    let many: Vec<_> =
        (0..1100).map(|n| json!({"index": n, "id": format!("c{n}"), "function": {"name": "f"}})).collect();
    let heard = hear(&[delta(json!({"tool_calls": many})), finish("stop"), done()]);
    assert_eq!(heard.last().unwrap(), "error api the upstream made more than 1024 tool calls");
}

/// The deltas that a client sees, and the raw end of the output.
fn speak(context: &Context, events: &[Event<'_>]) -> (Vec<Value>, String) {
    let mut encoder = Encoder::new(context);
    let mut out = BytesMut::new();
    let start = Event::Start { id: Text::Plain("msg_1"), model: Text::EMPTY, created: None, usage: None };
    for event in std::iter::once(&start).chain(events) {
        encoder.event(event, &mut out);
    }
    let text = String::from_utf8(out.to_vec()).unwrap();
    let chunks = text.split("\n\n").filter_map(|frame| frame.strip_prefix("data: {"));
    let chunks: Vec<Value> = chunks.map(|rest| serde_json::from_str(&format!("{{{rest}")).unwrap()).collect();
    let deltas =
        chunks.iter().skip(1).filter_map(|chunk| chunk["choices"].get(0)).map(|choice| choice["delta"].clone());
    (deltas.collect(), text)
}

fn tool<'a>(part: u32, name: &'a str, kind: ToolKind) -> Event<'a> {
    Event::Part { part, open: Open::Tool { id: Text::Plain("c"), name: Text::Plain(name), kind, signature: None } }
}

fn args(part: u32, text: Text<'_>) -> Event<'_> {
    Event::Delta { part, field: Field::Args, text }
}

fn fragments(deltas: &[Value], kind: &str, member: &str) -> String {
    deltas.iter().filter_map(|delta| delta["tool_calls"][0][kind][member].as_str()).collect()
}

#[test]
fn custom_calls_are_wrapped_for_clients_that_know_functions() {
    let events = [
        tool(0, "p", ToolKind::Custom),
        args(0, Text::Escaped(r#"a\n\"b"#)),
        args(0, Text::Plain("\\c\"")),
        Event::Stop { part: 0 },
        tool(1, "q", ToolKind::Custom),
        Event::Stop { part: 1 },
    ];
    let (deltas, _) = speak(&Context::default(), &events);
    assert_eq!(fragments(&deltas[..4], "function", "arguments"), "{\"input\":\"a\\n\\\"b\\\\c\\\"\"}");
    assert_eq!(fragments(&deltas[4..], "function", "arguments"), "{\"input\":\"\"}");
    assert_eq!(deltas[4]["tool_calls"][0]["index"], 1);
}

#[test]
fn custom_tools_come_back_to_clients_that_declared_them() {
    let mut tools = ToolTable::default();
    tools.insert("p_1", ToolIdentity { name: "p 1".into(), namespace: None, kind: ToolKind::Custom });
    let context = Context { tools: Arc::new(tools), ..Context::default() };
    let wrapped = [
        tool(0, "p_1", ToolKind::Function),
        args(0, Text::Plain("{\"input\":\"a")),
        args(0, Text::Plain("\\nb\"}")),
        Event::Stop { part: 0 },
    ];
    let (deltas, _) = speak(&context, &wrapped);
    assert_eq!(
        deltas[0]["tool_calls"][0],
        json!({"index": 0, "id": "c", "type": "custom", "custom": {"name": "p 1", "input": ""}})
    );
    assert_eq!(fragments(&deltas, "custom", "input"), "a\nb");
    let native = [tool(0, "p_1", ToolKind::Custom), args(0, Text::Plain("x")), Event::Stop { part: 0 }];
    assert_eq!(fragments(&speak(&context, &native).0, "custom", "input"), "x");
}

#[test]
fn a_call_without_arguments_has_an_empty_object() {
    let (deltas, _) = speak(&Context::default(), &[tool(0, "f", ToolKind::Function), Event::Stop { part: 0 }]);
    assert_eq!(fragments(&deltas, "function", "arguments"), "{}");
}

#[test]
fn a_signature_that_comes_again_is_sent_once() {
    let sig = |blob: &'static str| Event::Delta {
        part: 0,
        field: Field::Sig { origin: Origin::Anthropic, form: Form::Sig, item_id: None },
        text: Text::Plain(blob),
    };
    let red = Rider::new(Origin::Anthropic, Form::Red, "R");
    let (deltas, _) = speak(
        &Context::default(),
        &[
            Event::Part { part: 0, open: Open::Thinking },
            sig("half"),
            sig("whole"),
            Event::Stop { part: 0 },
            Event::Part { part: 1, open: Open::Redacted(red) },
            Event::Stop { part: 1 },
        ],
    );
    assert_eq!(deltas.len(), 2);
    assert_eq!(deltas[0]["reasoning_details"][0]["signature"], "whole");
    assert_eq!(
        deltas[1]["reasoning_details"][0],
        json!({"index": 1, "type": "reasoning.encrypted", "format": "anthropic-claude-v1", "data": "R"})
    );
}

#[test]
fn images_and_refusals_are_written() {
    let image = Open::Image { mime: Text::Plain("image/png"), data: Text::Plain("iVBO") };
    let (deltas, _) = speak(
        &Context::default(),
        &[
            Event::Part { part: 0, open: image },
            Event::Stop { part: 0 },
            Event::Part { part: 1, open: Open::Refusal },
            Event::Delta { part: 1, field: Field::Refusal, text: Text::Plain("no\n") },
        ],
    );
    let url = json!({"url": "data:image/png;base64,iVBO"});
    assert_eq!(deltas[0]["images"], json!([{"index": 0, "type": "image_url", "image_url": url}]));
    assert_eq!(deltas[1]["refusal"], "no\n");
}

#[test]
fn finish_words() {
    let word = |finish: Finish<'static>, called: bool| {
        let mut events = Vec::new();
        if called {
            events.extend([tool(0, "f", ToolKind::Function), Event::Stop { part: 0 }]);
        }
        events.push(Event::Finish(finish));
        let (_, text) = speak(&Context::default(), &events);
        text.rsplit_once("\"finish_reason\":\"").unwrap().1.split_once('"').unwrap().0.to_owned()
    };
    for (finish, with_call, without) in [
        (Finish::End, "tool_calls", "stop"),
        (Finish::Tool, "tool_calls", "stop"),
        (Finish::Length, "length", "length"),
        (Finish::StopSequence(None), "stop", "stop"),
        (Finish::Pause, "stop", "stop"),
        (Finish::Filter(Default::default()), "content_filter", "content_filter"),
    ] {
        assert_eq!((word(finish.clone(), true), word(finish, false)), (with_call.to_owned(), without.to_owned()));
    }
}

#[test]
fn the_end_is_said_once_and_errors_end_without_done() {
    let context =
        Context { include_usage: true, model: "asked".into(), now: 5, new_id: "n".into(), ..Context::default() };
    let usage = Usage { uncached: 3, output: 2, ..Usage::default() };
    let (_, text) =
        speak(&context, &[Event::Finish(Finish::End), Event::Usage(usage), Event::End, Event::End, Event::Ping]);
    assert!(text.ends_with("data: [DONE]\n\n") && text.matches("[DONE]").count() == 1);
    assert!(
        text.contains(r#""created":5,"model":"asked","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2"#),
        "{text}"
    );
    let error = ApiError::new(ErrorKind::Timeout, "slow \"x\"");
    let (_, text) = speak(&context, &[Event::Ping, Event::Error(error), Event::End, Event::Finish(Finish::End)]);
    assert!(text.contains("\n\n: keep-alive\n\n"));
    assert!(text.ends_with("data: {\"error\":{\"message\":\"slow \\\"x\\\"\",\"type\":\"server_error\",\"param\":null,\"code\":\"timeout\"}}\n\n"));
}

#[test]
fn log_probabilities_of_calls_stay_out_and_those_of_thinking_pass() {
    let scores =
        |token: &str| json!({"content": [{"token": token, "logprob": -1}], "refusal": [{"token": "r", "logprob": -2}]});
    let chunk =
        |delta: Value, token: &str| json!({"choices": [{"index": 0, "delta": delta, "logprobs": scores(token)}]});
    let mut decoder = Decoder::new(&Context::default());
    let mut seen = Vec::new();
    for chunk in [
        chunk(json!({"role": "assistant", "content": ""}), "first"),
        chunk(json!({"reasoning_content": "hm"}), "thought"),
        chunk(json!({"refusal": "no"}), "odd"),
        chunk(json!({"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": "{}"}}]}), "call"),
        chunk(json!({"content": "x"}), "text"),
    ] {
        let text = chunk.to_string();
        decoder.json(None, raw(&text), &mut |event| {
            if let Event::Delta { part, field: Field::Logprobs, text } = event {
                let list: Vec<Value> = serde_json::from_str(&format!("[{}]", text.plain())).unwrap();
                seen.push((
                    part,
                    list.iter().map(|entry| entry["token"].as_str().unwrap().to_owned()).collect::<Vec<_>>(),
                ));
            }
        });
    }
    let lists = |part, tokens: &[&str]| (part, tokens.iter().map(|&token| token.to_owned()).collect::<Vec<_>>());
    let expected = [lists(0, &["first", "thought"]), lists(1, &["r", "r", "r"]), lists(3, &["odd", "text"])];
    assert_eq!(seen, expected);
}

#[test]
fn copilot_reads_thinking_under_names_of_its_own_and_sends_it_back() {
    let mut encoder = Encoder::new(&Context { copilot: true, ..Context::default() });
    let mut out = BytesMut::new();
    let sig = Field::Sig { origin: Origin::Anthropic, form: Form::Sig, item_id: None };
    for event in [
        Event::Start { id: Text::Plain("x"), model: Text::Plain("m"), created: None, usage: None },
        Event::Part { part: 0, open: Open::Thinking },
        Event::Delta { part: 0, field: Field::Think, text: Text::Plain("hm") },
        Event::Delta { part: 0, field: sig, text: Text::Plain("EqoB") },
        Event::Stop { part: 0 },
    ] {
        encoder.event(&event, &mut out);
    }
    let stream = String::from_utf8(out.to_vec()).unwrap();
    let chunks = stream.lines().filter_map(|line| line.strip_prefix("data: "));
    let deltas: Vec<_> = chunks.map(|data| super::value(data.as_bytes())["choices"][0]["delta"].clone()).collect();
    let (text, opaque) = (&deltas[1]["reasoning_text"], &deltas[2]["reasoning_opaque"]);
    assert_eq!((text, opaque, deltas.len()), (&json!("hm"), &json!("frt1.anthropic.sig.EqoB"), 3));
    let message = json!({"role": "assistant", "content": "x", "reasoning_text": text, "reasoning_opaque": opaque});
    let body = |message: Value| json!({"model": "m", "messages": [message]}).to_string();
    let thinking = |body: &str| {
        let request = crate::dialect::Dialect::OpenAiChat.decode_request(raw(body), &Default::default()).unwrap();
        let mut parts = request.messages[0].parts.iter();
        parts.find_map(|part| match part {
            Part::Thinking { text, rider } => Some((text.plain().into_owned(), rider.as_ref().map(Rider::tag))),
            _ => None,
        })
    };
    assert_eq!(thinking(&body(message.clone())), Some(("hm".into(), Some("frt1.anthropic.sig.EqoB".into()))));
    // What Copilot's own service has sealed says nothing to anybody else.
    let mut vendors = message;
    vendors["reasoning_opaque"] = json!("AAEC");
    assert_eq!(thinking(&body(vendors)), Some(("hm".into(), None)));
}
