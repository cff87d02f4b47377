//! Reads a Gemini client's `contents`.
//!
//! Clients keep a streamed answer as one content per chunk, so neighbouring model contents are one turn and its
//! neighbouring texts one text. Function results of neighbouring user contents belong together and come first.

use crate::{
    dialect::{expect, gemini::words::NOT_CHECKED},
    hub::{
        ApiError, EscapedBuf, Form, Origin, Rider, ToolKind,
        request::{Call, Message, Part, Request, Role, Source, ToolResult},
    },
    json::{Raw, Str, Text},
};

/// Reads `contents` into the request's messages.
pub(super) fn decode<'a>(value: Raw<'a>, request: &mut Request<'a>) -> Result<(), ApiError> {
    let mut history = History { messages: Vec::new(), run: Run::None, dropped: &mut request.dropped };
    for (place, content) in expect::one_or_many(value, "contents")?.enumerate() {
        let content = expect::object(content, format_args!("contents[{place}]"))?;
        history.content(place, content)?;
    }
    history.close();
    request.messages = history.messages;
    Ok(())
}

struct History<'d, 'a> {
    messages: Vec<Message<'a>>,
    run: Run<'a>,
    dropped: &'d mut Vec<String>,
}

/// Neighbouring contents of one role.
enum Run<'a> {
    None,
    User { results: Vec<Part<'a>>, contents: Vec<Vec<Part<'a>>> },
    Model(ModelTurn<'a>),
}

impl<'a> History<'_, 'a> {
    fn content(&mut self, place: usize, content: Raw<'a>) -> Result<(), ApiError> {
        let model = match content.get("role") {
            None => false,
            Some(role) => {
                let role = expect::text(role, format_args!("contents[{place}].role"))?;
                match &*role.plain() {
                    "model" => true,
                    // `function` and `tool` are older words for the turn with results.
                    "user" | "function" | "tool" | "" => false,
                    other => {
                        let at = format!("contents[{place}].role");
                        let message = format!("{at} must be user or model, not {other:?}");
                        return Err(ApiError::invalid(at, message));
                    }
                }
            }
        };
        match (&self.run, model) {
            (Run::User { .. }, false) | (Run::Model(_), true) => {}
            (_, false) => {
                self.close();
                self.run = Run::User { results: Vec::new(), contents: Vec::new() };
            }
            (_, true) => {
                self.close();
                self.run = Run::Model(ModelTurn::default());
            }
        }
        let Some(parts) = content.get("parts") else { return Ok(()) };
        let parts = expect::one_or_many(parts, "parts")?;
        if let Run::User { contents, .. } = &mut self.run {
            contents.push(Vec::new());
        }
        for (n, part) in parts.enumerate() {
            let at = format!("contents[{place}].parts[{n}]");
            let seen = Seen::read(part, &at, self.dropped)?;
            match &mut self.run {
                Run::User { results, contents } => {
                    let rest = contents.last_mut();
                    user_part(seen, &at, results, rest, self.dropped)?;
                }
                Run::Model(turn) => turn.part(seen, &at, format!("call_{place}_{n}"), self.dropped)?,
                Run::None => {}
            }
        }
        Ok(())
    }

    fn close(&mut self) {
        match std::mem::replace(&mut self.run, Run::None) {
            Run::None => {}
            Run::User { results, contents } => {
                if !results.is_empty() {
                    self.messages.push(Message { role: Role::Tool, parts: results });
                }
                let turns = contents.into_iter().filter(|parts| !parts.is_empty());
                self.messages.extend(turns.map(|parts| Message { role: Role::User, parts }));
            }
            Run::Model(turn) => {
                let parts = turn.finish();
                if !parts.is_empty() {
                    self.messages.push(Message { role: Role::Assistant, parts });
                }
            }
        }
    }
}

/// The members of one part.
struct Seen<'a> {
    text: Option<Text<'a>>,
    thought: bool,
    signature: Option<Rider<'a>>,
    data: Option<Data<'a>>,
}

enum Data<'a> {
    Media(Part<'a>),
    Call(Raw<'a>),
    Response(Raw<'a>),
}

impl<'a> Seen<'a> {
    fn read(part: Raw<'a>, at: &str, dropped: &mut Vec<String>) -> Result<Self, ApiError> {
        let mut seen = Seen { text: None, thought: false, signature: None, data: None };
        if let Some(text) = part.as_text() {
            seen.text = Some(text);
            return Ok(seen);
        }
        for (key, value) in expect::object(part, at)?.members() {
            let key = key.plain();
            let at = format_args!("{at}.{key}");
            match &*key {
                _ if value.is_null() => {}
                "text" => seen.text = Some(value.as_text().ok_or_else(|| expect::wrong(value, at, "a string"))?),
                "thought" => seen.thought = expect::boolean(value, at)?,
                "thoughtSignature" | "thought_signature" => {
                    let signature = expect::text(value, at)?;
                    // The stand-in is no signature: encoders that need it write it themselves.
                    let real = Some(signature).filter(|s| !s.is_empty() && !s.is(NOT_CHECKED));
                    seen.signature = real.map(Rider::from_gemini_field);
                }
                "inlineData" | "inline_data" => seen.data = Some(Data::Media(inline(value, &at.to_string())?)),
                "fileData" | "file_data" => seen.data = Some(Data::Media(file(value, &at.to_string())?)),
                "functionCall" | "function_call" => seen.data = Some(Data::Call(expect::object(value, at)?)),
                "functionResponse" | "function_response" => {
                    seen.data = Some(Data::Response(expect::object(value, at)?));
                }
                other => dropped.push(other.to_owned()),
            }
        }
        Ok(seen)
    }
}

fn user_part<'a>(
    seen: Seen<'a>,
    at: &str,
    results: &mut Vec<Part<'a>>,
    rest: Option<&mut Vec<Part<'a>>>,
    dropped: &mut Vec<String>,
) -> Result<(), ApiError> {
    let mut parts = Vec::new();
    if let Some(text) = seen.text.filter(|text| !text.is_empty()) {
        parts.push(Part::Text { text: text.to_str(), cache: None });
    }
    match seen.data {
        Some(Data::Media(media)) => parts.push(media),
        Some(Data::Response(response)) => results.push(Part::Result(result(response, at)?)),
        Some(Data::Call(_)) => dropped.push("functionCall".to_owned()),
        None => {}
    }
    if let Some(rest) = rest {
        rest.append(&mut parts);
    }
    Ok(())
}

/// A model turn that grows over several contents.
#[derive(Default)]
struct ModelTurn<'a> {
    parts: Vec<Part<'a>>,
    /// Pieces of the text at the end of the turn, not yet in `parts`.
    pieces: Vec<Text<'a>>,
    thought: bool,
}

impl<'a> ModelTurn<'a> {
    fn part(&mut self, seen: Seen<'a>, at: &str, minted: String, dropped: &mut Vec<String>) -> Result<(), ApiError> {
        if let Some(text) = seen.text.filter(|text| !text.is_empty()) {
            if self.thought != seen.thought {
                self.flush();
            }
            self.thought = seen.thought;
            self.pieces.push(text);
        }
        match seen.data {
            Some(Data::Call(call)) => {
                let mut signature = seen.signature;
                if let Some(foreign) = signature.take_if(|rider| rider.origin != Origin::Gemini) {
                    self.foreign(foreign);
                }
                self.flush();
                self.parts.push(Part::Call(self::call(call, signature, at, minted)?));
            }
            data => {
                // Gemini's own signatures on text are hints for quality only; other services do not check them.
                if let Some(foreign) = seen.signature.filter(|rider| rider.origin != Origin::Gemini) {
                    self.foreign(foreign);
                }
                match data {
                    Some(Data::Media(media)) => {
                        self.flush();
                        self.parts.push(media);
                    }
                    Some(Data::Response(_)) => dropped.push("functionResponse".to_owned()),
                    Some(Data::Call(_)) | None => {}
                }
            }
        }
        Ok(())
    }

    /// A blob of another vendor, tagged: it goes to the thinking that it belongs to, the last one without a blob.
    fn foreign(&mut self, blob: Rider<'a>) {
        self.flush();
        if blob.form == Form::Red {
            return self.parts.push(Part::Redacted(blob));
        }
        let unsealed = self.parts.iter_mut().rev().find_map(|part| match part {
            Part::Thinking { rider: rider @ None, .. } => Some(rider),
            _ => None,
        });
        match unsealed {
            Some(rider) => *rider = Some(blob),
            None => self.parts.push(Part::Thinking { text: Str::default(), rider: Some(blob) }),
        }
    }

    fn flush(&mut self) {
        let text = match self.pieces.as_slice() {
            [] => return,
            [one] => one.to_str(),
            many => {
                let mut joined = EscapedBuf::default();
                many.iter().for_each(|piece| joined.push(*piece));
                joined.text().to_owned_str()
            }
        };
        self.pieces.clear();
        self.parts.push(match self.thought {
            true => Part::Thinking { text, rider: None },
            false => Part::Text { text, cache: None },
        });
    }

    fn finish(mut self) -> Vec<Part<'a>> {
        self.flush();
        self.parts
    }
}

fn call<'a>(call: Raw<'a>, signature: Option<Rider<'a>>, at: &str, minted: String) -> Result<Call<'a>, ApiError> {
    let at = format!("{at}.functionCall");
    let name = call.get("name").ok_or_else(|| expect::missing(format_args!("{at}.name")))?;
    let arguments = match call.get("args") {
        Some(args) => expect::object(args, format_args!("{at}.args"))?.as_str(),
        None => "{}",
    };
    Ok(Call {
        id: id(call, &at)?.unwrap_or_else(|| minted.into()),
        name: expect::text(name, format_args!("{at}.name"))?,
        namespace: None,
        arguments: arguments.into(),
        kind: ToolKind::Function,
        signature,
        cache: None,
    })
}

fn id<'a>(value: Raw<'a>, at: &str) -> Result<Option<Str<'a>>, ApiError> {
    let id = expect::optional::text(value.get("id"), format_args!("{at}.id"))?;
    Ok(id.filter(|id| !id.is_empty()))
}

fn result<'a>(value: Raw<'a>, at: &str) -> Result<ToolResult<'a>, ApiError> {
    let at = format!("{at}.functionResponse");
    let name = expect::optional::text(value.get("name"), format_args!("{at}.name"))?;
    let (text, is_error) = match value.get("response") {
        Some(response) => response_text(response, name.as_ref()),
        None => (Str::default(), false),
    };
    let mut parts = vec![Part::Text { text, cache: None }];
    if let Some(media) = value.get("parts") {
        for part in expect::one_or_many(media, "functionResponse.parts")? {
            let at = format!("{at}.parts[]");
            for (key, value) in expect::object(part, &at)?.members() {
                match &*key.plain() {
                    "inlineData" | "inline_data" => parts.push(inline(value, &at)?),
                    "fileData" | "file_data" => parts.push(file(value, &at)?),
                    _ => {}
                }
            }
        }
    }
    Ok(ToolResult { call_id: id(value, &at)?.unwrap_or_default(), name, parts, is_error, cache: None })
}

/// What a result says in text. By convention a single `output` (or `result`) holds it, a single `error` a failure.
/// Vercel's AI SDK writes `content` or `error` behind the name of the function.
fn response_text<'a>(response: Raw<'a>, function: Option<&Str<'a>>) -> (Str<'a>, bool) {
    let mut members = response.members();
    match (members.next(), members.next(), members.next()) {
        (Some((key, value)), None, None) if key.is("output") || key.is("result") => (text(value), false),
        (Some((key, value)), None, None) if key.is("error") => (text(value), true),
        (Some((name, own)), Some((key, value)), None)
            if name.is("name")
                && (key.is("content") || key.is("error"))
                && own.as_text().map(Text::to_str).as_ref() == function =>
        {
            (text(value), key.is("error"))
        }
        _ => (text(response), false),
    }
}

fn text(value: Raw<'_>) -> Str<'_> {
    value.as_text().map_or_else(|| value.as_str().into(), Text::to_str)
}

fn member<'a>(value: Raw<'a>, camel: &str, snake: &str) -> Option<Raw<'a>> {
    value.get(camel).or_else(|| value.get(snake))
}

fn inline<'a>(value: Raw<'a>, at: &str) -> Result<Part<'a>, ApiError> {
    let value = expect::object(value, at)?;
    let mime = member(value, "mimeType", "mime_type").ok_or_else(|| expect::missing(format_args!("{at}.mimeType")))?;
    let mime = expect::text(mime, format_args!("{at}.mimeType"))?;
    let data = value.get("data").ok_or_else(|| expect::missing(format_args!("{at}.data")))?;
    let data = standard_base64(expect::text(data, format_args!("{at}.data"))?);
    let name = member(value, "displayName", "display_name").and_then(Raw::as_text).map(Text::to_str);
    let word = mime.plain();
    let word = word.as_ref();
    if word.starts_with("audio/") {
        return Ok(Part::Audio { mime: mime.clone(), data });
    }
    let image = word.starts_with("image/");
    let source = Source::Base64 { mime: mime.clone(), data };
    Ok(match image {
        true => Part::Image { source, detail: None, cache: None },
        false => Part::File { name, source, cache: None },
    })
}

/// Google's SDKs write base64url; everybody else reads the standard alphabet only.
fn standard_base64(data: Str<'_>) -> Str<'_> {
    let plain = data.plain();
    if !plain.contains(['-', '_']) {
        drop(plain);
        return data;
    }
    let mut standard: String = plain
        .chars()
        .map(|c| {
            if c == '-' {
                '+'
            } else if c == '_' {
                '/'
            } else {
                c
            }
        })
        .collect();
    while !standard.len().is_multiple_of(4) {
        standard.push('=');
    }
    standard.into()
}

fn file<'a>(value: Raw<'a>, at: &str) -> Result<Part<'a>, ApiError> {
    let value = expect::object(value, at)?;
    let uri = member(value, "fileUri", "file_uri").ok_or_else(|| expect::missing(format_args!("{at}.fileUri")))?;
    let uri = expect::text(uri, format_args!("{at}.fileUri"))?;
    let mime = member(value, "mimeType", "mime_type")
        .map(|mime| expect::text(mime, format_args!("{at}.mimeType")))
        .transpose()?
        .filter(|mime| !mime.is_empty());
    let name = member(value, "displayName", "display_name").and_then(Raw::as_text).map(Text::to_str);
    let address = uri.plain();
    let guessed = crate::dialect::media::type_of_url(&address);
    // Files of Google's own storage can be read by Google alone.
    let uploaded = address.starts_with("gs://") || address.contains("generativelanguage.googleapis.com/");
    let image = mime
        .as_ref()
        .map_or(guessed.is_some_and(|word| word.starts_with("image/")), |mime| mime.plain().starts_with("image/"));
    drop(address);
    let source = match uploaded {
        true => Source::FileId(uri),
        false => Source::Url { url: uri, mime },
    };
    Ok(match image {
        true => Part::Image { source, detail: None, cache: None },
        false => Part::File { name, source, cache: None },
    })
}
