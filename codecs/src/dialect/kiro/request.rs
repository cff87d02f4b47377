//! A conversation in the words of Anthropic Messages.
//!
//! Of the public dialects that one loses least: results of tools that failed, thinking with its signature, images, cache
//! marks, several results before a text. It is written straight from the client's JSON, text tokens copied as they came;
//! what a provider needs besides (legal names and ids, limits) is the business of the way from there.
//!
//! | Kiro | Anthropic |
//! |---|---|
//! | `conversationState.history[]`, then `currentMessage` | `messages` |
//! | `userInputMessage`: tool results, `content`, images | `user`, in this order |
//! | `assistantResponseMessage`: reasoning, `content`, `toolUses` | `assistant`, in this order |
//! | `tools` of the current message, else of the first one that has some | `tools` |
//! | `cachePoint` | `cache_control` on the block before it |
//! | `inferenceConfig` | `max_tokens`, `temperature`, `top_p` |
//!
//! What says who and where the client is stays here: `profileArn`, origin, trigger, the states of editor, shell and git.
//! Of `envState` the working directory and the system are told to the model, as the service does.

use crate::{
    dialect::{Dialect, Transcript, expect},
    hub::{ApiError, Origin, Rider, arguments},
    json::{Raw, Text, Writer},
};

type Out<'o> = Writer<'o, Vec<u8>>;

/// Writes a conversation down.
///
/// # Errors
/// It is no such conversation: `conversationState.currentMessage.userInputMessage` with a `modelId` is wanted.
pub fn transcribe(body: Raw<'_>) -> Result<Transcript, ApiError> {
    let body = expect::object(body, "the body")?;
    let state = member(body, "conversationState", "")?;
    let current = member(state, "currentMessage", "conversationState.")?;
    let current = member(current, "userInputMessage", "conversationState.currentMessage.")?;
    let model = current.get_text("modelId").map(|model| model.plain().into_owned()).unwrap_or_default();
    if model.is_empty() {
        return Err(expect::missing("conversationState.currentMessage.userInputMessage.modelId"));
    }
    let history: Vec<_> = match state.get("history") {
        Some(history) => expect::array(history, "conversationState.history")?.collect(),
        None => Vec::new(),
    };
    let mut out = Vec::with_capacity(body.as_bytes().len());
    let mut w = Writer::new(&mut out);
    w.begin_object().key("model").string(&model);
    w.key("stream").bool(true);
    sampling(body, &mut w);
    tools(current, &history, &mut w)?;
    w.key("messages").begin_array();
    for (n, message) in history.iter().enumerate() {
        let at = format!("conversationState.history[{n}]");
        let message = expect::object(*message, &at)?;
        match (message.get("userInputMessage"), message.get("assistantResponseMessage")) {
            (Some(user), _) => self::user(expect::object(user, &at)?, &at, &mut w)?,
            (None, Some(assistant)) => self::assistant(expect::object(assistant, &at)?, &at, &mut w)?,
            (None, None) => {
                let wanted = format!("{at} must hold a userInputMessage or an assistantResponseMessage");
                return Err(ApiError::invalid(at, wanted));
            }
        }
    }
    user(current, "conversationState.currentMessage.userInputMessage", &mut w)?;
    w.end_array().end_object();
    let conversation = state.get_text("conversationId").filter(|id| !id.is_empty()).map(|id| id.plain().into_owned());
    Ok(Transcript { dialect: Dialect::Anthropic, body: out, model, conversation })
}

fn member<'a>(object: Raw<'a>, name: &str, at: &str) -> Result<Raw<'a>, ApiError> {
    let value = object.get(name).ok_or_else(|| expect::missing(format_args!("{at}{name}")))?;
    expect::object(value, format_args!("{at}{name}"))
}

fn sampling(body: Raw<'_>, w: &mut Out<'_>) {
    let Some(config) = body.get("inferenceConfig") else { return };
    for (name, ours) in [("maxTokens", "max_tokens"), ("temperature", "temperature"), ("topP", "top_p")] {
        let wanted =
            |value: &Raw<'_>| if name == "maxTokens" { value.as_u64().is_some() } else { value.as_f64().is_some() };
        if let Some(value) = config.get(name).filter(wanted) {
            w.key(ours).raw(value);
        }
    }
}

/// A block that can be marked is written when it is known what follows it.
fn cache_mark(marked: bool, w: &mut Out<'_>) {
    if marked {
        w.key("cache_control").begin_object().key("type").string("ephemeral").end_object();
    }
}

fn has_mark(value: Raw<'_>) -> bool {
    value.get("cachePoint").is_some_and(Raw::is_object)
}

fn tools_of(message: Raw<'_>) -> Option<Raw<'_>> {
    message.at(&["userInputMessageContext", "tools"]).filter(|tools| tools.is_array())
}

/// The tools: the newest message has all of them.
fn tools(current: Raw<'_>, history: &[Raw<'_>], w: &mut Out<'_>) -> Result<(), ApiError> {
    let earlier = || history.iter().filter_map(|message| message.get("userInputMessage")).find_map(tools_of);
    let Some(list) = tools_of(current).or_else(earlier) else { return Ok(()) };
    let list: Vec<_> = list.elements().collect();
    if list.is_empty() {
        return Ok(());
    }
    w.key("tools").begin_array();
    for (n, tool) in list.iter().enumerate() {
        let Some(tool) = tool.get("toolSpecification") else { continue };
        let at = format!("tools[{n}].toolSpecification");
        let name = expect::object(tool, &at)?.get("name").ok_or_else(|| expect::missing(format_args!("{at}.name")))?;
        w.begin_object().key("name").text(expect::text(name, format_args!("{at}.name"))?.text());
        if let Some(description) = tool.get_text("description") {
            w.key("description").text(description);
        }
        if let Some(schema) = tool.at(&["inputSchema", "json"]).filter(|schema| schema.is_object()) {
            w.key("input_schema").raw(schema);
        }
        cache_mark(list.get(n + 1).is_some_and(|next| has_mark(*next)), w);
        w.end_object();
    }
    w.end_array();
    Ok(())
}

fn begin(role: &str, w: &mut Out<'_>) {
    w.begin_object().key("role").string(role);
    w.key("content").begin_array();
}

fn text_block(text: Text<'_>, marked: bool, w: &mut Out<'_>) {
    w.begin_object().key("type").string("text");
    w.key("text").text(text);
    cache_mark(marked, w);
    w.end_object();
}

fn user(message: Raw<'_>, at: &str, w: &mut Out<'_>) -> Result<(), ApiError> {
    let context = message.get("userInputMessageContext");
    begin("user", w);
    if let Some(results) = context.and_then(|context| context.get("toolResults")) {
        for (n, result) in expect::array(results, format_args!("{at}.toolResults"))?.enumerate() {
            tool_result(result, &format!("{at}.toolResults[{n}]"), w)?;
        }
    }
    if let Some(environment) = context.and_then(|context| context.get("envState")) {
        self::environment(environment, w);
    }
    let text = message.get_text("content").filter(|text| !text.is_empty());
    let images: Vec<_> = message.get("images").into_iter().flat_map(Raw::elements).collect();
    if let Some(text) = text {
        text_block(text, has_mark(message) && images.is_empty(), w);
    }
    for (n, image) in images.iter().enumerate() {
        self::image(*image, has_mark(message) && n + 1 == images.len(), w);
    }
    w.end_array().end_object();
    Ok(())
}

/// What the model must know to name files and commands that exist.
fn environment(state: Raw<'_>, w: &mut Out<'_>) {
    let lines = [("operatingSystem", "Operating system"), ("currentWorkingDirectory", "Working directory")];
    let known = lines.iter().filter_map(|(name, shown)| Some((shown, state.get_text(name)?.plain())));
    let told: Vec<_> =
        known.filter(|(_, value)| !value.is_empty()).map(|(shown, value)| format!("{shown}: {value}")).collect();
    if !told.is_empty() {
        text_block(Text::Plain(&told.join("\n")), false, w);
    }
}

fn image(image: Raw<'_>, marked: bool, w: &mut Out<'_>) {
    let format = image.get_text("format").map(|format| format.plain().to_ascii_lowercase());
    let Some(data) = image.at(&["source", "bytes"]).and_then(Raw::as_text) else { return };
    w.begin_object().key("type").string("image");
    w.key("source").begin_object().key("type").string("base64");
    w.key("media_type").string(&format!("image/{}", format.as_deref().unwrap_or("png")));
    w.key("data").text(data).end_object();
    cache_mark(marked, w);
    w.end_object();
}

fn tool_result(result: Raw<'_>, at: &str, w: &mut Out<'_>) -> Result<(), ApiError> {
    let id =
        expect::object(result, at)?.get("toolUseId").ok_or_else(|| expect::missing(format_args!("{at}.toolUseId")))?;
    w.begin_object().key("type").string("tool_result");
    w.key("tool_use_id").text(expect::text(id, format_args!("{at}.toolUseId"))?.text());
    w.key("content").begin_array();
    for content in result.get("content").into_iter().flat_map(Raw::elements) {
        match (content.get_text("text"), content.get("json")) {
            (Some(text), _) => text_block(text, false, w),
            (None, Some(json)) => text_block(Text::Plain(json.as_str()), false, w),
            (None, None) => {}
        }
    }
    w.end_array();
    if result.get_text("status").is_some_and(|status| status.is("error")) {
        w.key("is_error").bool(true);
    }
    w.end_object();
    Ok(())
}

fn assistant(message: Raw<'_>, at: &str, w: &mut Out<'_>) -> Result<(), ApiError> {
    begin("assistant", w);
    if let Some(reasoning) = message.get("reasoningContent") {
        self::reasoning(reasoning, w);
    }
    if let Some(text) = message.get_text("content").filter(|text| !text.is_empty()) {
        text_block(text, has_mark(message) && message.get("toolUses").is_none(), w);
    }
    if let Some(calls) = message.get("toolUses") {
        for (n, call) in expect::array(calls, format_args!("{at}.toolUses"))?.enumerate() {
            tool_use(call, &format!("{at}.toolUses[{n}]"), w)?;
        }
    }
    w.end_array().end_object();
    Ok(())
}

fn reasoning(content: Raw<'_>, w: &mut Out<'_>) {
    if let Some(text) = content.get("reasoningText").filter(|text| text.is_object()) {
        w.begin_object().key("type").string("thinking");
        w.key("thinking").text(text.get_text("text").unwrap_or(Text::EMPTY));
        w.key("signature").text(text.get_text("signature").unwrap_or(Text::EMPTY)).end_object();
    } else if let Some(redacted) = content.get_text("redactedContent") {
        w.begin_object().key("type").string("redacted_thinking");
        // What other vendors have sealed came here as a tag in base64, which the field demands.
        let rider = Rider::from_gemini_field(redacted.to_str());
        match rider.origin {
            Origin::Gemini => w.key("data").text(redacted),
            _ => w.key("data").string(&rider.tag()),
        };
        w.end_object();
    }
}

fn tool_use(call: Raw<'_>, at: &str, w: &mut Out<'_>) -> Result<(), ApiError> {
    let call = expect::object(call, at)?;
    let text = |name: &str| {
        let value = call.get(name).ok_or_else(|| expect::missing(format_args!("{at}.{name}")))?;
        expect::text(value, format_args!("{at}.{name}"))
    };
    w.begin_object().key("type").string("tool_use");
    w.key("id").text(text("toolUseId")?.text());
    w.key("name").text(text("name")?.text());
    w.key("input");
    match call.get("input") {
        Some(input) if input.is_object() => w.raw(input),
        // Text of an object, as the stream brought it.
        Some(input) => w.verbatim(&arguments::object(input.as_text().unwrap_or(Text::Plain(input.as_str())))),
        None => w.verbatim("{}"),
    };
    w.end_object();
    Ok(())
}
