//! Attachments: `data:` URLs (RFC 2397), file ids and media types.

use std::borrow::Cow;

use base64::{Engine, prelude::BASE64_STANDARD};

use crate::{
    hub::request::Source,
    json::{Str, Text},
};

/// Where the bytes behind a URL are: inside it, or at an address.
pub(super) fn url_source(url: Text<'_>) -> Source<'_> {
    data_url(url).unwrap_or_else(|| Source::Url { url: url.to_str(), mime: None })
}

/// Takes a `data:` URL apart. Data that is not base64 is percent-encoded text and becomes base64.
pub(super) fn data_url(url: Text<'_>) -> Option<Source<'_>> {
    let (s, escaped) = match url {
        // The head of a data URL holds nothing that needs an escape except `\/`; then the plain text is cut instead.
        Text::Escaped(s) if s.contains('\\') => return data_url(Text::Plain(&url.plain())).map(owned),
        Text::Escaped(s) => (s, true),
        Text::Plain(s) => (s, false),
    };
    let rest = s.get(..5).filter(|scheme| scheme.eq_ignore_ascii_case("data:")).map(|_| &s[5..])?;
    let (head, data) = rest.split_once(',')?;
    let part = |text: &'_ str| -> Str<'_> { Str::plain_from(text.to_owned()) };
    let borrowed = |text| if escaped { Text::Escaped(text).to_str() } else { Text::Plain(text).to_str() };
    let mime_end = head.find(';').unwrap_or(head.len());
    let mime = if mime_end == 0 { Str::from("text/plain") } else { borrowed(&head[..mime_end]) };
    if head.len() >= 7 && head.as_bytes()[head.len() - 7..].eq_ignore_ascii_case(b";base64") {
        return Some(Source::Base64 { mime, data: borrowed(data) });
    }
    Some(Source::Base64 { mime, data: part(&BASE64_STANDARD.encode(percent_decode(data))) })
}

fn owned(source: Source<'_>) -> Source<'static> {
    match source {
        Source::Base64 { mime, data } => Source::Base64 { mime: mime.into_owned(), data: data.into_owned() },
        Source::Url { url, mime } => Source::Url { url: url.into_owned(), mime: mime.map(Str::into_owned) },
        Source::FileId(id) => Source::FileId(id.into_owned()),
        Source::Text(text) => Source::Text(text.into_owned()),
    }
}

fn percent_decode(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let code = (bytes[at] == b'%')
            .then(|| bytes.get(at + 1..at + 3))
            .flatten()
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match code {
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

/// Media type of a file that came as bare base64: from its name, else PDF.
pub(super) fn mime_of_name(name: Option<&str>) -> &'static str {
    let suffix = name.and_then(|name| name.rsplit_once('.')).map(|(_, suffix)| suffix.to_ascii_lowercase());
    match suffix.as_deref() {
        Some("txt" | "md" | "log") => "text/plain",
        Some("csv") => "text/csv",
        Some("json") => "application/json",
        Some("html" | "htm") => "text/html",
        _ => "application/pdf",
    }
}

/// A name for a file without one: the service refuses inline data without.
pub(super) fn default_name(mime: &str) -> &'static str {
    match mime {
        "application/pdf" => "file.pdf",
        "text/plain" => "file.txt",
        "text/csv" => "file.csv",
        "text/html" => "file.html",
        "application/json" => "file.json",
        _ => "file",
    }
}

/// Media type of `input_audio.format`.
pub(super) fn audio_mime(format: &str) -> Cow<'static, str> {
    match format {
        "mp3" => Cow::Borrowed("audio/mpeg"),
        other => Cow::Owned(format!("audio/{other}")),
    }
}

/// Whether a file id is one of this vendor's. Ids of others look different and mean nothing here.
pub(super) fn is_own_file_id(id: &str) -> bool {
    id.starts_with("file-")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn data_urls_come_apart() {
        let base64 = |mime: &'static str, data: &'static str| Source::Base64 { mime: mime.into(), data: data.into() };
        for (url, expected) in [
            (Text::Plain("data:image/png;base64,iVBO"), base64("image/png", "iVBO")),
            (Text::Escaped("data:image\\/png;base64,iV\\/O"), base64("image/png", "iV/O")),
            (Text::Plain("DATA:text/plain;charset=utf-8;BASE64,YQ=="), base64("text/plain", "YQ==")),
            (Text::Plain("data:,a%20b%zz"), base64("text/plain", "YSBiJXp6")),
            (Text::Plain("data:image/svg+xml,%3Csvg/%3E"), base64("image/svg+xml", "PHN2Zy8+")),
        ] {
            assert_eq!(data_url(url).unwrap(), expected);
        }
        assert!(data_url(Text::Plain("https://x/data:")).is_none());
        assert!(data_url(Text::Plain("data:nothing")).is_none());
    }
}
