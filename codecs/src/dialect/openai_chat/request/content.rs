//! Reads the content of a message: text, images, sound, files.

use std::borrow::Cow;

use base64::{Engine, prelude::BASE64_STANDARD};

use crate::{
    dialect::expect::{missing, wrong},
    hub::{
        ApiError,
        request::{CacheMark, CacheTtl, Part, Source},
    },
    json::{Kind, Raw, Str, Text},
};

/// Whose content is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// System and developer messages: text only.
    Instructions,
    /// User messages.
    User,
    /// Assistant messages: text and refusals.
    Assistant,
    /// Tool messages. Text in the official form; images and files are taken too.
    Result,
}

/// Reads `content` of a message: absent and `null` are nothing.
pub(super) fn read<'a>(message: Raw<'a>, param: &str, place: Place) -> Result<Vec<Part<'a>>, ApiError> {
    let Some(content) = message.get("content") else { return Ok(Vec::new()) };
    match content.kind() {
        Kind::String => {
            let text = content.as_text().unwrap_or_default();
            // An assistant's empty text beside its calls is the same as none.
            let skip = text.is_empty() && place == Place::Assistant;
            Ok(if skip { Vec::new() } else { vec![Part::Text { text: text.to_str(), cache: None }] })
        }
        Kind::Array => {
            let one = |(n, part)| read_part(part, &format!("{param}[{n}]"), place);
            content.elements().enumerate().map(one).collect()
        }
        _ => Err(wrong(content, param, "a string or an array")),
    }
}

fn read_part<'a>(part: Raw<'a>, param: &str, place: Place) -> Result<Part<'a>, ApiError> {
    // Some clients put bare strings into the list.
    if let Some(text) = part.as_text() {
        return Ok(Part::Text { text: text.to_str(), cache: None });
    }
    if !part.is_object() {
        return Err(wrong(part, param, "an object"));
    }
    let kind = part.get_text("type").ok_or_else(|| missing(format_args!("{param}.type")))?.plain();
    let cache = cache_mark(part);
    let media = matches!(place, Place::User | Place::Result);
    match kind.as_ref() {
        "text" | "input_text" | "output_text" => {
            let text = part.get("text").ok_or_else(|| missing(format_args!("{param}.text")))?;
            let text = text.as_text().ok_or_else(|| wrong(text, format_args!("{param}.text"), "a string"))?;
            Ok(Part::Text { text: text.to_str(), cache })
        }
        "refusal" if place == Place::Assistant => {
            Ok(Part::Refusal(part.get_text("refusal").unwrap_or_default().to_str()))
        }
        "image_url" if media => image(part, param, cache),
        "input_audio" if media => audio(part, param),
        "file" if media => file(part, param, cache),
        other => Err(ApiError {
            param: Some(param.to_owned()),
            ..ApiError::unsupported(format!("{param}: content of type {other:?} cannot be translated"))
        }),
    }
}

fn image<'a>(part: Raw<'a>, param: &str, cache: Option<CacheMark>) -> Result<Part<'a>, ApiError> {
    let param = format!("{param}.image_url");
    let image = part.get("image_url").ok_or_else(|| missing(&param))?;
    // Some clients send the address itself.
    let url = image.as_text().or_else(|| image.get_text("url")).ok_or_else(|| missing(format_args!("{param}.url")))?;
    let detail = image.get_str("detail");
    Ok(Part::Image { source: source(url, &param)?, detail, cache })
}

fn audio<'a>(part: Raw<'a>, param: &str) -> Result<Part<'a>, ApiError> {
    let param = format!("{param}.input_audio");
    let audio = part.get("input_audio").ok_or_else(|| missing(&param))?;
    let data = audio.get_text("data").ok_or_else(|| missing(format_args!("{param}.data")))?;
    let format = audio.get_text("format").ok_or_else(|| missing(format_args!("{param}.format")))?;
    let mime = match format.plain().as_ref() {
        "mp3" => Str::from("audio/mpeg"),
        other => Str::from(format!("audio/{other}")),
    };
    Ok(Part::Audio { mime, data: data.to_str() })
}

fn file<'a>(part: Raw<'a>, param: &str, cache: Option<CacheMark>) -> Result<Part<'a>, ApiError> {
    let param = format!("{param}.file");
    let file = part.get("file").ok_or_else(|| missing(&param))?;
    let name = file.get_str("filename");
    let source = match (file.get_text("file_data"), file.get_text("file_id")) {
        (Some(data), _) if data.starts_with("data:") => source(data, &param)?,
        (Some(data), _) => {
            let mime = name.as_ref().map_or("application/pdf", |name| mime_of_name(&name.plain()));
            Source::Base64 { mime: mime.into(), data: data.to_str() }
        }
        (None, Some(id)) => Source::FileId(id.to_str()),
        (None, None) => return Err(missing(format_args!("{param}.file_data"))),
    };
    Ok(Part::File { name, source, cache })
}

/// The media type that a file name suggests.
fn mime_of_name(name: &str) -> &'static str {
    let suffix = name.rsplit_once('.').map_or("", |(_, suffix)| suffix).to_ascii_lowercase();
    match suffix.as_str() {
        "txt" | "log" => "text/plain",
        "md" => "text/markdown",
        "csv" => "text/csv",
        "html" | "htm" => "text/html",
        "json" => "application/json",
        _ => "application/pdf",
    }
}

/// Where the bytes behind an address are: `data:` addresses hold them. Megabytes are borrowed, not copied.
pub(super) fn source<'a>(url: Text<'a>, param: &str) -> Result<Source<'a>, ApiError> {
    let plain = match url {
        Text::Escaped(raw) if !raw.contains('\\') => Cow::Borrowed(raw),
        _ => url.plain(),
    };
    if !plain.starts_with("data:") {
        return Ok(Source::Url { url: url.to_str(), mime: None });
    }
    let bad = || ApiError::invalid(param, format!("{param} holds a data: URL without a comma"));
    let comma = plain.find(',').ok_or_else(bad)?;
    let head = &plain["data:".len()..comma];
    let (mime, encoded) = match head.strip_suffix(";base64") {
        Some(mime) => (mime, true),
        None => (head, false),
    };
    // Parameters of the type (`charset`) have no place in other dialects.
    let mime = mime.split(';').next().filter(|mime| !mime.is_empty()).unwrap_or("text/plain").to_owned();
    let data = if !encoded {
        Str::from(BASE64_STANDARD.encode(percent_decode(&plain[comma + 1..])))
    } else {
        match plain {
            Cow::Borrowed(text) => Text::Escaped(&text[comma + 1..]).to_str(),
            Cow::Owned(text) => Str::from(text[comma + 1..].to_owned()),
        }
    };
    Ok(Source::Base64 { mime: mime.into(), data })
}

/// RFC 3986 §2.1; a `%` that starts no escape stands for itself.
fn percent_decode(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escape = (bytes[at] == b'%').then(|| text.get(at + 1..at + 3)).flatten();
        match escape.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    out
}

/// A cache mark on a part, a message or a tool: OpenAI's `prompt_cache_breakpoint` or Anthropic's `cache_control`.
pub(super) fn cache_mark(value: Raw<'_>) -> Option<CacheMark> {
    if let Some(control) = value.get("cache_control") {
        let ttl = match control.get_text("ttl").map(|ttl| ttl.plain()).as_deref() {
            Some("1h") => Some(CacheTtl::OneHour),
            Some("5m") => Some(CacheTtl::FiveMinutes),
            _ => None,
        };
        return Some(CacheMark { ttl });
    }
    value.get("prompt_cache_breakpoint").map(|_| CacheMark { ttl: None })
}

/// Puts the mark of a whole message on its last part that can hold one.
pub(super) fn mark_last(parts: &mut [Part<'_>], mark: Option<CacheMark>) {
    let Some(mark) = mark else { return };
    let holders = parts.iter_mut().rev().filter_map(|part| match part {
        Part::Text { cache, .. } | Part::Image { cache, .. } | Part::File { cache, .. } => Some(cache),
        _ => None,
    });
    if let Some(slot) = holders.into_iter().next() {
        *slot = slot.or(Some(mark));
    }
}
