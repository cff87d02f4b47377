//! Writes the messages.
//!
//! Tool messages hold text only, so images and files of results move behind the run of tool messages, into the next user
//! message or one of their own: never between two tool messages, which the services refuse.

use crate::{
    dialect::{ChatFlavour, Placeholder, Target, openai_chat::details},
    hub::{
        ApiError, Origin, Request, ToolKind,
        request::{CacheMark, CacheTtl, Call, Effort, Message, Part, Role, Source, SystemText, ToolResult},
    },
    json::{Str, Text, Writer},
};

type Out<'o> = Writer<'o, Vec<u8>>;

/// Attachments that wait for the end of a run of tool messages.
struct Moved<'a> {
    call_id: Text<'a>,
    parts: Vec<&'a Part<'a>>,
}

/// Writes the list of messages.
pub(super) fn write(request: &Request<'_>, target: &Target, w: &mut Out<'_>) -> Result<(), ApiError> {
    w.begin_array();
    write_system(&request.system, target, w);
    let mut writer = Messages { request, target, moved: Vec::new(), any: false };
    for message in &request.messages {
        writer.message(message, w)?;
    }
    writer.flush(w)?;
    if !writer.any {
        // A conversation without a word is refused; the model is asked to begin.
        w.begin_object().key("role").string("user").key("content").string("...");
        w.end_object();
    }
    w.end_array();
    Ok(())
}

fn write_system(system: &[SystemText<'_>], target: &Target, w: &mut Out<'_>) {
    let texts: Vec<_> = system.iter().filter(|system| !system.text.is_empty()).collect();
    if texts.is_empty() {
        return;
    }
    w.begin_object().key("role").string("system").key("content");
    match texts.as_slice() {
        [one] if mark(one.cache, target).is_none() => {
            w.text(one.text.text());
        }
        _ => {
            w.begin_array();
            for system in texts {
                write_text(system.text.text(), system.cache, target, w);
            }
            w.end_array();
        }
    }
    w.end_object();
}

/// The mark, where the connection passes marks on.
fn mark(cache: Option<CacheMark>, target: &Target) -> Option<CacheMark> {
    cache.filter(|_| target.cache_control)
}

/// Writes a `cache_control` value.
pub(super) fn write_mark(mark: CacheMark, w: &mut Out<'_>) {
    w.begin_object().key("type").string("ephemeral");
    match mark.ttl {
        Some(CacheTtl::OneHour) => {
            w.key("ttl").string("1h");
        }
        Some(CacheTtl::FiveMinutes) => {
            w.key("ttl").string("5m");
        }
        None => {}
    }
    w.end_object();
}

fn end_part(cache: Option<CacheMark>, target: &Target, w: &mut Out<'_>) {
    if let Some(mark) = mark(cache, target) {
        w.key("cache_control");
        write_mark(mark, w);
    }
    w.end_object();
}

fn write_text(text: Text<'_>, cache: Option<CacheMark>, target: &Target, w: &mut Out<'_>) {
    w.begin_object().key("type").string("text").key("text").text(text);
    end_part(cache, target, w);
}

/// The walk through the conversation.
struct Messages<'r> {
    request: &'r Request<'r>,
    target: &'r Target,
    moved: Vec<Moved<'r>>,
    any: bool,
}

impl<'r> Messages<'r> {
    fn message(&mut self, message: &'r Message<'r>, w: &mut Out<'_>) -> Result<(), ApiError> {
        match message.role {
            Role::User => self.user(&message.parts, w),
            Role::Tool => self.tool(&message.parts, w),
            Role::Assistant => {
                self.flush(w)?;
                self.assistant(&message.parts, w)
            }
            Role::System => {
                self.flush(w)?;
                self.system(&message.parts, w);
                Ok(())
            }
        }
    }

    /// Writes attachments that no user message has taken along.
    fn flush(&mut self, w: &mut Out<'_>) -> Result<(), ApiError> {
        if self.moved.is_empty() { Ok(()) } else { self.user(&[], w) }
    }

    fn begin(&mut self, role: &str, w: &mut Out<'_>) {
        self.any = true;
        w.begin_object().key("role").string(role);
    }

    fn user(&mut self, parts: &[Part<'_>], w: &mut Out<'_>) -> Result<(), ApiError> {
        let moved = std::mem::take(&mut self.moved);
        if parts.is_empty() && moved.is_empty() {
            return Ok(());
        }
        self.begin("user", w);
        w.key("content");
        match (parts, moved.as_slice()) {
            ([Part::Text { text, cache }], []) if mark(*cache, self.target).is_none() => {
                w.text(text.text());
            }
            _ => {
                w.begin_array();
                for batch in moved {
                    let head = format!("Attachment from tool call {}:", batch.call_id.plain());
                    write_text(Text::Plain(&head), None, self.target, w);
                    batch.parts.into_iter().try_for_each(|part| write_part(part, self.target, w))?;
                }
                parts.iter().try_for_each(|part| write_part(part, self.target, w))?;
                w.end_array();
            }
        }
        w.end_object();
        Ok(())
    }

    fn system(&mut self, parts: &[Part<'_>], w: &mut Out<'_>) {
        let texts: Vec<_> = texts(parts).filter(|(text, _)| !text.is_empty()).collect();
        if texts.is_empty() {
            return;
        }
        self.begin("system", w);
        w.key("content");
        self.texts(&texts, "", w);
        w.end_object();
    }

    /// Several texts as one string, or as a list if one of them holds a mark that passes.
    fn texts(&self, texts: &[(Text<'_>, Option<CacheMark>)], between: &str, w: &mut Out<'_>) {
        if texts.iter().any(|(_, cache)| mark(*cache, self.target).is_some()) {
            w.begin_array();
            for (text, cache) in texts.iter().filter(|(text, _)| !text.is_empty()) {
                write_text(*text, *cache, self.target, w);
            }
            w.end_array();
            return;
        }
        let separated = texts.iter().enumerate().flat_map(|(place, (text, _))| {
            let before = if place == 0 { "" } else { between };
            [Text::Plain(before), *text]
        });
        w.texts(separated);
    }

    fn assistant(&mut self, parts: &[Part<'_>], w: &mut Out<'_>) -> Result<(), ApiError> {
        let texts: Vec<_> = texts(parts).filter(|(text, _)| !text.is_empty()).collect();
        let refusals: Vec<_> = parts
            .iter()
            .filter_map(|part| if let Part::Refusal(text) = part { Some(text.text()) } else { None })
            .collect();
        let calls: Vec<_> =
            parts.iter().filter_map(|part| if let Part::Call(call) = part { Some(call) } else { None }).collect();
        if let Some(part) =
            parts.iter().find(|part| matches!(part, Part::Image { .. } | Part::Audio { .. } | Part::File { .. }))
        {
            return Err(unsupported(part, "in an assistant message"));
        }
        let words: Vec<_> = thoughts(parts).filter(|text| !text.is_empty()).collect();
        let echo = self.target.reasoning_echo || self.target.placeholder != Placeholder::Off;
        let words = if echo { words } else { Vec::new() };
        let own: Vec<_> = own_riders(parts).collect();
        if texts.is_empty() && refusals.is_empty() && calls.is_empty() && words.is_empty() && own.is_empty() {
            return Ok(());
        }
        self.begin("assistant", w);
        w.key("content");
        match texts.is_empty() {
            true if calls.is_empty() && refusals.is_empty() => {
                w.string("");
            }
            true => {
                w.null();
            }
            false => self.texts(&texts, "", w),
        }
        if !words.is_empty() {
            w.key("reasoning_content").texts(words);
        } else if self.placeholder(!calls.is_empty()) {
            w.key("reasoning_content").string(" ");
        }
        if !own.is_empty() {
            w.key("reasoning_details").begin_array();
            for (index, (blob, words)) in own.into_iter().enumerate() {
                details::write(index as u64, blob, words, w);
            }
            w.end_array();
        }
        if !refusals.is_empty() {
            w.key("refusal").texts(refusals);
        }
        if !calls.is_empty() {
            w.key("tool_calls").begin_array();
            calls.into_iter().for_each(|call| self.call(call, w));
            w.end_array();
        }
        w.end_object();
        Ok(())
    }

    /// Whether a turn without reasoning gets a blank one; never when thinking is switched off.
    fn placeholder(&self, calls: bool) -> bool {
        let off = self.request.reasoning.as_ref().is_some_and(|wish| wish.off || wish.effort == Some(Effort::None));
        !off && match self.target.placeholder {
            Placeholder::Off => false,
            Placeholder::All => true,
            Placeholder::Tool => calls,
        }
    }

    fn call(&self, call: &Call<'_>, w: &mut Out<'_>) {
        let (kind, member) = match call.kind {
            ToolKind::Function => ("function", "arguments"),
            ToolKind::Custom => ("custom", "input"),
        };
        w.begin_object().key("id").text(call.id.text()).key("type").string(kind);
        w.key(kind).begin_object().key("name").text(call.name.text()).key(member).text(call.arguments.text());
        w.end_object();
        // Google's own chat server wants its signatures back and refuses calls without them; others may refuse the
        // member.
        let signature = call.signature.as_ref().filter(|rider| rider.origin == Origin::Gemini);
        if let Some(rider) = signature.filter(|_| self.model().to_ascii_lowercase().contains("gemini")) {
            w.key("extra_content").begin_object().key("google").begin_object();
            w.key("thought_signature").text(rider.payload.text());
            w.end_object().end_object();
        }
        w.end_object();
    }

    fn model(&self) -> std::borrow::Cow<'_, str> {
        match self.target.model.is_empty() {
            true => self.request.model.plain(),
            false => self.target.model.as_str().into(),
        }
    }

    fn tool(&mut self, parts: &'r [Part<'r>], w: &mut Out<'_>) -> Result<(), ApiError> {
        for part in parts {
            match part {
                Part::Result(result) => self.result(result, w),
                // Hygiene leaves nothing else in a tool message.
                other => return Err(unsupported(other, "in a tool message")),
            }
        }
        Ok(())
    }

    fn result(&mut self, result: &'r ToolResult<'r>, w: &mut Out<'_>) {
        let documents: Vec<String> = result.parts.iter().filter_map(document_text).collect();
        let mut texts: Vec<_> = texts(&result.parts).map(|(text, _)| text).filter(|text| !text.is_empty()).collect();
        texts.extend(documents.iter().map(|text| Text::Plain(text)));
        let attached: Vec<_> = result.parts.iter().filter(|part| is_attachment(part)).collect();
        let note = match attached.len() {
            0 => String::new(),
            1 => "[1 attachment in the next user message]".to_owned(),
            n => format!("[{n} attachments in the next user message]"),
        };
        // A tool may report its failure in these words itself.
        let said = texts.first().is_some_and(|text| text.starts_with("Error"));
        let mut pieces = Vec::new();
        if result.is_error && !said {
            pieces.push(Text::Plain("Error: "));
        }
        for (place, text) in texts.into_iter().enumerate() {
            pieces.extend((place > 0).then_some(Text::Plain("\n")));
            pieces.push(text);
        }
        if !note.is_empty() {
            pieces.extend((!pieces.is_empty()).then_some(Text::Plain("\n")));
            pieces.push(Text::Plain(&note));
        }
        self.begin("tool", w);
        w.key("tool_call_id").text(result.call_id.text()).key("content");
        match mark(result.cache, self.target) {
            Some(_) => {
                w.begin_array().begin_object().key("type").string("text").key("text").texts(pieces);
                end_part(result.cache, self.target, w);
                w.end_array();
            }
            None => {
                w.texts(pieces);
            }
        }
        w.end_object();
        if !attached.is_empty() {
            self.moved.push(Moved { call_id: result.call_id.text(), parts: attached });
        }
    }
}

fn texts<'a>(parts: &'a [Part<'_>]) -> impl Iterator<Item = (Text<'a>, Option<CacheMark>)> {
    parts.iter().filter_map(|part| match part {
        Part::Text { text, cache } => Some((text.text(), *cache)),
        _ => None,
    })
}

fn thoughts<'a>(parts: &'a [Part<'_>]) -> impl Iterator<Item = Text<'a>> {
    parts.iter().filter_map(|part| if let Part::Thinking { text, .. } = part { Some(text.text()) } else { None })
}

/// Blobs that chat servers made, with their words.
fn own_riders<'a>(parts: &'a [Part<'_>]) -> impl Iterator<Item = (details::Blob<'a>, Option<Text<'a>>)> {
    parts.iter().filter_map(|part| {
        let (rider, words) = match part {
            Part::Thinking { text, rider: Some(rider) } => (rider, Some(text.text())),
            Part::Redacted(rider) => (rider, None),
            _ => return None,
        };
        let words = words.filter(|words| !words.is_empty());
        (rider.origin == Origin::Chat).then(|| (details::Blob::of(rider), words))
    })
}

/// What cannot be in the text of a tool message.
fn is_attachment(part: &Part<'_>) -> bool {
    match part {
        Part::Image { .. } | Part::Audio { .. } => true,
        Part::File { source, .. } => !matches!(source, Source::Text(_)),
        _ => false,
    }
}

/// A plain-text document as text: its title, then the text.
fn document_text(part: &Part<'_>) -> Option<String> {
    let Part::File { name, source: Source::Text(text), .. } = part else { return None };
    Some(match name {
        Some(name) => format!("{}\n{}", name.plain(), text.plain()),
        None => text.plain().into_owned(),
    })
}

fn unsupported(part: &Part<'_>, place: &str) -> ApiError {
    let what = match part {
        Part::Image { .. } => "an image",
        Part::Audio { .. } => "sound",
        Part::File { .. } => "a file",
        _ => "this content",
    };
    ApiError::unsupported(format!("{what} {place} cannot be sent to a chat completions upstream"))
}

/// Writes a part of a user message.
fn write_part(part: &Part<'_>, target: &Target, w: &mut Out<'_>) -> Result<(), ApiError> {
    match part {
        Part::Text { text, .. } if text.is_empty() => {}
        Part::Text { text, cache } => write_text(text.text(), *cache, target, w),
        Part::Refusal(text) => write_text(text.text(), None, target, w),
        Part::Image { source, detail, cache } => write_image(part, source, detail.as_ref(), *cache, target, w)?,
        Part::Audio { mime, data } => write_audio(part, mime, data, w)?,
        Part::File { name, source, cache } => write_file(part, name.as_ref(), source, *cache, target, w)?,
        Part::Thinking { .. } | Part::Redacted(_) | Part::Call(_) | Part::Result(_) => {}
    }
    Ok(())
}

/// Writes a `data:` URL.
fn write_data_url(mime: &Str<'_>, data: &Str<'_>, w: &mut Out<'_>) {
    let pieces = [Text::Plain("data:"), mime.text(), Text::Plain(";base64,"), data.text()];
    w.texts(pieces);
}

fn write_image(
    part: &Part<'_>,
    source: &Source<'_>,
    detail: Option<&Str<'_>>,
    cache: Option<CacheMark>,
    target: &Target,
    w: &mut Out<'_>,
) -> Result<(), ApiError> {
    if matches!(source, Source::FileId(_) | Source::Text(_)) {
        return Err(unsupported(part, "that was uploaded to another service"));
    }
    w.begin_object().key("type").string("image_url").key("image_url").begin_object().key("url");
    match source {
        Source::Base64 { mime, data } => write_data_url(mime, data, w),
        Source::Url { url, .. } | Source::FileId(url) | Source::Text(url) => {
            w.text(url.text());
        }
    }
    if let Some(detail) = detail {
        w.key("detail").text(detail.text());
    }
    w.end_object();
    end_part(cache, target, w);
    Ok(())
}

fn write_audio(part: &Part<'_>, mime: &Str<'_>, data: &Str<'_>, w: &mut Out<'_>) -> Result<(), ApiError> {
    let format = match mime.plain().as_ref() {
        "audio/wav" | "audio/x-wav" | "audio/wave" | "audio/vnd.wave" => "wav",
        "audio/mpeg" | "audio/mp3" => "mp3",
        other => return Err(unsupported(part, &format!("of type {other}"))),
    };
    w.begin_object().key("type").string("input_audio").key("input_audio").begin_object();
    w.key("data").text(data.text()).key("format").string(format);
    w.end_object().end_object();
    Ok(())
}

fn write_file(
    part: &Part<'_>,
    name: Option<&Str<'_>>,
    source: &Source<'_>,
    cache: Option<CacheMark>,
    target: &Target,
    w: &mut Out<'_>,
) -> Result<(), ApiError> {
    match source {
        Source::Text(_) => {
            let text = document_text(part).unwrap_or_default();
            write_text(Text::Plain(&text), cache, target, w);
            return Ok(());
        }
        Source::Url { .. } => return Err(unsupported(part, "at an address")),
        Source::FileId(_) if target.flavour != ChatFlavour::OpenAi => {
            return Err(unsupported(part, "that was uploaded to another service"));
        }
        Source::FileId(_) | Source::Base64 { .. } => {}
    }
    w.begin_object().key("type").string("file").key("file").begin_object();
    if let Source::FileId(id) = source {
        w.key("file_id").text(id.text());
    }
    if let Source::Base64 { mime, data } = source {
        // The service wants a name beside the bytes.
        match name {
            Some(name) => w.key("filename").text(name.text()),
            None if mime.is("application/pdf") => w.key("filename").string("document.pdf"),
            None => w.key("filename").string("document.txt"),
        };
        w.key("file_data");
        write_data_url(mime, data, w);
    }
    w.end_object();
    end_part(cache, target, w);
    Ok(())
}
