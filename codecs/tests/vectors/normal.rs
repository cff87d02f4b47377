//! Normal forms: what counts as equal (README of the vectors, "Comparison"). An independent reader of the framings, so
//! that the code under test is not its own judge.

use codecs::dialect::Dialect;
use serde_json::{Map, Value};

/// One payload of a stream.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Item {
    pub(crate) name: Option<String>,
    pub(crate) text: String,
    /// `None` = `[DONE]`.
    pub(crate) json: Option<Value>,
}

/// Offsets just after each blank line (SSE) or row (NDJSON).
pub(crate) fn frame_ends(dialect: Dialect, raw: &[u8]) -> Vec<usize> {
    let mut ends = Vec::new();
    let mut at = 0;
    while at < raw.len() {
        let rest = &raw[at..];
        let width = if dialect == Dialect::Ollama && rest.starts_with(b"\n") {
            1
        } else if dialect != Dialect::Ollama && rest.starts_with(b"\r\n\r\n") {
            4
        } else if dialect != Dialect::Ollama && (rest.starts_with(b"\n\n") || rest.starts_with(b"\r\r")) {
            2
        } else {
            at += 1;
            continue;
        };
        at += width;
        ends.push(at);
    }
    ends
}

fn parse_sse(raw: &[u8]) -> Result<Vec<Item>, String> {
    let text = std::str::from_utf8(raw).map_err(|error| error.to_string())?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).replace("\r\n", "\n").replace('\r', "\n");
    let (mut items, mut name, mut data) = (Vec::new(), None, Vec::<&str>::new());
    for line in text.split('\n').chain([""]) {
        if line.is_empty() {
            if !data.is_empty() {
                let text = data.join("\n");
                let json = match text.trim() {
                    "[DONE]" => None,
                    json => Some(serde_json::from_str(json).map_err(|error| format!("{error}: {json}"))?),
                };
                items.push(Item { name: name.take(), text, json });
            }
            (name, data) = (None, Vec::new());
            continue;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => data.push(value),
            "event" => name = Some(value.to_owned()),
            _ => {}
        }
    }
    Ok(items)
}

/// The payloads of a stream.
pub(crate) fn parse(dialect: Dialect, raw: &[u8]) -> Result<Vec<Item>, String> {
    if dialect != Dialect::Ollama {
        return parse_sse(raw);
    }
    let text = std::str::from_utf8(raw).map_err(|error| error.to_string())?;
    let Some(rows) = text.strip_suffix('\n') else {
        return if text.is_empty() { Ok(Vec::new()) } else { Err("the last row lacks its line end".into()) };
    };
    rows.split('\n')
        .map(|row| {
            let json = serde_json::from_str(row).map_err(|error| format!("{error}: {row:?}"))?;
            Ok(Item { name: None, text: row.to_owned(), json: Some(json) })
        })
        .collect()
}

/// Removes members that are `null`, at any depth.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|_, value| !value.is_null());
            members.values_mut().for_each(drop_nulls);
        }
        Value::Array(elements) => elements.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// Tool arguments are equal as text or as JSON.
fn json_text(text: &str) -> String {
    serde_json::from_str::<Value>(text).map_or_else(|_| text.to_owned(), |value| value.to_string())
}

fn normal_arguments(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (key, value) in members {
                match value {
                    Value::String(text) if key == "arguments" => *text = json_text(text),
                    _ => normal_arguments(value),
                }
            }
        }
        Value::Array(elements) => elements.iter_mut().for_each(normal_arguments),
        _ => {}
    }
}

/// Normal form of a document.
pub(crate) fn document(raw: &[u8]) -> Result<Value, String> {
    let mut value =
        serde_json::from_slice(raw).map_err(|error| format!("{error}: {}", String::from_utf8_lossy(raw)))?;
    drop_nulls(&mut value);
    normal_arguments(&mut value);
    Ok(value)
}

/// Whether a stream object says log probabilities.
fn is_scored(object: &Value) -> bool {
    let inner = [&object["choices"][0], &object["candidates"][0], object];
    let list = inner.into_iter().find_map(|holder| holder.get("logprobs").or_else(|| holder.get("logprobsResult")));
    list.is_some_and(|list| list.as_array().is_none_or(|list| !list.is_empty()))
}

/// The one growing string of a stream object: a key that neighbours must share, and the way to the string.
fn slot(dialect: Dialect, object: &Value) -> Option<(String, Vec<Step>)> {
    match dialect {
        Dialect::Anthropic => {
            if object["type"] != "content_block_delta" {
                return None;
            }
            let member = ["text", "thinking", "partial_json"].into_iter().find(|m| object["delta"].get(m).is_some())?;
            Some((format!("{} {member}", object["index"]), vec![Step::Key("delta"), Step::Key(member)]))
        }
        Dialect::OpenAiResponses => {
            let delta = object["type"].as_str()?.ends_with(".delta") && object["delta"].is_string();
            let key = ["type", "item_id", "output_index", "content_index", "summary_index"]
                .map(|key| object.get(key).map(Value::to_string).unwrap_or_default());
            delta.then(|| (key.join(" "), vec![Step::Key("delta")]))
        }
        Dialect::OpenAiChat => chat_slot(object),
        Dialect::Gemini => gemini_slot(object),
        Dialect::Ollama => {
            if object["done"] != false || object["message"].get("tool_calls").is_some() {
                return None;
            }
            let (holder, mut path) = match object.get("message") {
                Some(message) => (message, vec![Step::Key("message")]),
                None => (object, vec![]),
            };
            let live: Vec<&'static str> = ["content", "response", "thinking"]
                .into_iter()
                .filter(|key| holder.get(key).and_then(Value::as_str).is_some_and(|text| !text.is_empty()))
                .collect();
            let [member] = live[..] else { return None };
            path.push(Step::Key(member));
            Some((member.to_owned(), path))
        }
    }
}

fn chat_slot(object: &Value) -> Option<(String, Vec<Step>)> {
    let [choice] = object["choices"].as_array()?.as_slice() else { return None };
    let delta = choice["delta"].as_object()?;
    if !choice["finish_reason"].is_null() || delta.len() != 1 {
        return None;
    }
    let base = [Step::Key("choices"), Step::At(0), Step::Key("delta")];
    let (member, value) = delta.iter().next()?;
    if value.is_string() {
        let name =
            ["content", "reasoning_content", "reasoning", "refusal", "role"].into_iter().find(|n| n == member)?;
        return Some((member.clone(), [&base[..], &[Step::Key(name)]].concat()));
    }
    let [call] = value.as_array()?.as_slice() else { return None };
    let only = |object: &Map<String, Value>, keys: &[&str]| object.keys().all(|key| keys.contains(&key.as_str()));
    let function = call["function"].as_object()?;
    let grows = member == "tool_calls"
        && only(call.as_object()?, &["index", "function"])
        && function.len() == 1
        && function.contains_key("arguments");
    let way = [Step::Key("tool_calls"), Step::At(0), Step::Key("function"), Step::Key("arguments")];
    grows.then(|| (format!("{member} {}", call["index"]), [&base[..], &way].concat()))
}

fn gemini_slot(object: &Value) -> Option<(String, Vec<Step>)> {
    let [candidate] = object["candidates"].as_array()?.as_slice() else { return None };
    let [part] = candidate["content"]["parts"].as_array()?.as_slice() else { return None };
    let members = part.as_object()?;
    let grows = object.get("usageMetadata").is_none()
        && candidate.get("finishReason").is_none()
        && members.contains_key("text")
        && members.keys().all(|key| key == "text" || key == "thought");
    let way = vec![
        Step::Key("candidates"),
        Step::At(0),
        Step::Key("content"),
        Step::Key("parts"),
        Step::At(0),
        Step::Key("text"),
    ];
    grows.then(|| (format!("text {}", part["thought"] == true), way))
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Key(&'static str),
    At(usize),
}

fn follow<'v>(value: &'v mut Value, path: &[Step]) -> &'v mut String {
    let end = path.iter().fold(value, |value, step| match step {
        Step::Key(key) => value.get_mut(key).unwrap(),
        Step::At(index) => value.get_mut(index).unwrap(),
    });
    match end {
        Value::String(text) => text,
        other => panic!("not a string: {other}"),
    }
}

/// Normal form of a stream, `[DONE]` as a string.
pub(crate) fn stream(dialect: Dialect, raw: &[u8]) -> Result<Vec<Value>, String> {
    let mut out: Vec<Value> = Vec::new();
    let mut last: Option<(String, Vec<Step>)> = None;
    let mut sequence = 0;
    for Item { name, text, json } in parse(dialect, raw)? {
        let Some(mut object) = json else {
            out.push("[DONE]".into());
            last = None;
            continue;
        };
        if matches!(dialect, Dialect::Anthropic | Dialect::OpenAiResponses)
            && name.as_deref() != object["type"].as_str()
        {
            return Err(format!("event name {name:?} for type {}", object["type"]));
        }
        if dialect == Dialect::Anthropic && object["type"] == "ping" {
            continue;
        }
        if dialect == Dialect::OpenAiResponses {
            let members = object.as_object_mut().unwrap();
            if members.remove("sequence_number") != Some(sequence.into()) {
                return Err(format!("sequence_number must be {sequence}"));
            }
            sequence += 1;
            members.remove("obfuscation");
        }
        if dialect == Dialect::Gemini && object.get("error").is_some() && !text.starts_with("{\"error\":") {
            return Err("error must be the first member".into());
        }
        if dialect == Dialect::Ollama {
            for member in ["total_duration", "load_duration", "prompt_eval_duration", "eval_duration", "created_at"] {
                if let Some(value) = object.get_mut(member) {
                    *value = 0.into();
                }
            }
        }
        drop_nulls(&mut object);
        // Log probabilities belong to their own piece: it is never joined with another.
        let slot = slot(dialect, &object).filter(|_| !is_scored(&object));
        if let (Some((key, path)), Some((last_key, last_path))) = (&slot, &last)
            && key == last_key
        {
            let piece = follow(&mut object, path).clone();
            follow(out.last_mut().unwrap(), last_path).push_str(&piece);
            continue;
        }
        out.push(object);
        last = slot;
    }
    for object in &mut out {
        if let Some((_, path)) = slot(dialect, object)
            && matches!(path.last(), Some(Step::Key("partial_json" | "arguments")))
        {
            let text = follow(object, &path);
            *text = json_text(text);
        }
        normal_arguments(object);
    }
    Ok(out)
}

/// Whether the stream says anywhere why the answer ended.
pub(crate) fn says_finish(dialect: Dialect, raw: &[u8]) -> bool {
    parse(dialect, raw).unwrap().iter().any(|item| {
        let Some(object) = &item.json else { return true };
        match dialect {
            Dialect::OpenAiChat => object["choices"][0]["finish_reason"].is_string(),
            Dialect::OpenAiResponses => {
                matches!(object["type"].as_str(), Some("response.completed" | "response.incomplete"))
            }
            Dialect::Anthropic => object["delta"]["stop_reason"].is_string(),
            Dialect::Gemini => {
                object["candidates"][0]["finishReason"].is_string()
                    || object["promptFeedback"]["blockReason"].is_string()
            }
            Dialect::Ollama => object["done"] == true,
        }
    })
}

/// Unicode scalar values of text, thinking, refusal and streamed arguments in a stream.
pub(crate) fn payload(dialect: Dialect, raw: &[u8]) -> usize {
    let chars = |value: &Value| value.as_str().map_or(0, |text| text.chars().count());
    let each = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut count = 0;
    for object in parse(dialect, raw).unwrap().into_iter().filter_map(|item| item.json) {
        match dialect {
            Dialect::Ollama => {
                if object["done"] == false {
                    let holder = object.get("message").unwrap_or(&object);
                    count += ["content", "response", "thinking"].map(|key| chars(&holder[key])).iter().sum::<usize>();
                }
            }
            Dialect::Gemini => {
                for candidate in each(&object["candidates"]) {
                    count +=
                        each(&candidate["content"]["parts"]).iter().map(|part| chars(&part["text"])).sum::<usize>();
                }
            }
            Dialect::OpenAiChat => {
                for choice in each(&object["choices"]) {
                    let delta = &choice["delta"];
                    count +=
                        ["content", "reasoning_content", "refusal"].map(|key| chars(&delta[key])).iter().sum::<usize>();
                    count += each(&delta["tool_calls"])
                        .iter()
                        .map(|call| chars(&call["function"]["arguments"]))
                        .sum::<usize>();
                }
            }
            Dialect::Anthropic | Dialect::OpenAiResponses => {
                if let Some((_, path)) = slot(dialect, &object) {
                    count += follow(&mut object.clone(), &path).chars().count();
                }
            }
        }
    }
    count
}
