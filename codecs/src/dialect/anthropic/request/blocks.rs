//! Reads content blocks.
//!
//! Blocks of server tools, and blocks that nobody knows, are left out and reported by their type.

use crate::{
    dialect::expect::{missing, object, text, wrong},
    hub::{
        ApiError, Form, Origin, Rider, ToolKind,
        request::{CacheMark, CacheTtl, Call, Part, Source, ToolResult},
    },
    json::{Kind, Raw, Str, Text},
};

/// Reads the blocks of a message; `place` is the array's name for error messages.
pub(super) fn read<'a>(content: Raw<'a>, place: &str, dropped: &mut Vec<String>) -> Result<Vec<Part<'a>>, ApiError> {
    let mut parts = Vec::new();
    for (at, block) in content.elements().enumerate() {
        let block = Block { raw: object(block, format_args!("{place}[{at}]"))?, place, at };
        block.read(&mut parts, dropped)?;
    }
    Ok(parts)
}

/// The cache mark of a block or tool.
pub(super) fn cache_mark(holder: Raw<'_>) -> Option<CacheMark> {
    let mark = holder.get("cache_control")?;
    let ttl = mark.get_text("ttl").and_then(|ttl| match ttl.plain().as_ref() {
        "5m" => Some(CacheTtl::FiveMinutes),
        "1h" => Some(CacheTtl::OneHour),
        _ => None,
    });
    Some(CacheMark { ttl })
}

#[derive(Clone, Copy)]
struct Block<'p, 'a> {
    raw: Raw<'a>,
    place: &'p str,
    at: usize,
}

impl<'a> Block<'_, 'a> {
    fn read(self, parts: &mut Vec<Part<'a>>, dropped: &mut Vec<String>) -> Result<(), ApiError> {
        let kind = self.text("type")?;
        let cache = cache_mark(self.raw);
        match kind.plain().as_ref() {
            "text" => parts.push(Part::Text { text: self.text("text")?, cache }),
            "image" => parts.push(Part::Image { source: self.source("image")?, detail: None, cache }),
            "document" => self.document(parts, dropped)?,
            "search_result" => parts.push(self.search_result(cache)),
            "thinking" => self.thinking(parts),
            "redacted_thinking" => {
                let rider = Rider::from_field(self.text("data")?, Origin::Anthropic, Form::Red);
                parts.push(Part::Redacted(rider));
            }
            "tool_use" => {
                let signature = carried(parts);
                parts.push(Part::Call(Call {
                    id: self.text("id")?,
                    name: self.text("name")?,
                    namespace: None,
                    arguments: Str::plain_from(self.raw.get("input").unwrap_or(Raw::EMPTY_OBJECT).as_str()),
                    kind: ToolKind::Function,
                    signature,
                    cache,
                }));
            }
            "tool_result" => parts.push(Part::Result(self.result(dropped)?)),
            other => dropped.push(format!("content.{other}")),
        }
        Ok(())
    }

    fn member_place(self, name: &str) -> String {
        format!("{}[{}].{name}", self.place, self.at)
    }

    fn text(self, name: &str) -> Result<Str<'a>, ApiError> {
        match self.raw.get(name) {
            Some(value) => match value.as_text() {
                Some(text) => Ok(text.to_str()),
                None => text(value, self.member_place(name)),
            },
            None => Err(missing(self.member_place(name))),
        }
    }

    /// The `source` of an image or document, except for the kinds that only documents have.
    fn source(self, what: &str) -> Result<Source<'a>, ApiError> {
        let source = self.raw.get("source").ok_or_else(|| missing(self.member_place("source")))?;
        let source = object(source, self.member_place("source"))?;
        let member = |name: &str| {
            let value = source.get(name).ok_or_else(|| missing(self.member_place(&format!("source.{name}"))))?;
            text(value, self.member_place(&format!("source.{name}")))
        };
        let kind = member("type")?;
        Ok(match kind.plain().as_ref() {
            "base64" => Source::Base64 { mime: member("media_type")?, data: member("data")? },
            "url" => Source::Url { url: member("url")?, mime: None },
            "file" => Source::FileId(member("file_id")?),
            "text" if what == "document" => Source::Text(member("data")?),
            other => {
                let place = self.member_place("source.type");
                let message = format!("{place} is \"{other}\", which no {what} can have");
                return Err(ApiError::invalid(place, message));
            }
        })
    }

    fn document(self, parts: &mut Vec<Part<'a>>, dropped: &mut Vec<String>) -> Result<(), ApiError> {
        let cache = cache_mark(self.raw);
        let name = self.raw.get_text("title").filter(|title| !title.is_empty()).map(Text::to_str);
        if let Some(context) = self.raw.get_text("context").filter(|context| !context.is_empty()) {
            parts.push(Part::Text { text: context.to_str(), cache: None });
        }
        let source = self.raw.get("source");
        if !source.is_some_and(|source| source.get_text("type").is_some_and(|kind| kind.is("content"))) {
            parts.push(Part::File { name, source: self.source("document")?, cache });
            return Ok(());
        }
        let place = self.member_place("source.content");
        let content = source.and_then(|source| source.get("content")).ok_or_else(|| missing(&place))?;
        match content.as_text() {
            Some(text) => parts.push(Part::File { name, source: Source::Text(text.to_str()), cache }),
            // A document made of blocks is what its blocks are.
            None if content.is_array() => {
                parts.extend(name.map(|text| Part::Text { text, cache: None }));
                parts.extend(read(content, &place, dropped)?);
            }
            None => return Err(wrong(content, place, "a string or an array")),
        }
        Ok(())
    }

    /// A search result as text: title, source, then what was found.
    fn search_result(self, cache: Option<CacheMark>) -> Part<'a> {
        let head = ["title", "source"].into_iter().filter_map(|name| self.raw.get_text(name));
        let content = self.raw.get("content").into_iter().flat_map(Raw::elements);
        let body = content.filter_map(|block| block.get_text("text"));
        let lines: Vec<_> = head.chain(body).map(|text| text.plain()).filter(|text| !text.is_empty()).collect();
        Part::Text { text: lines.join("\n").into(), cache }
    }

    fn thinking(self, parts: &mut Vec<Part<'a>>) {
        let text = self.raw.get_text("thinking").unwrap_or(Text::EMPTY).to_str();
        let signature = self.raw.get_text("signature").filter(|signature| !signature.is_empty());
        let rider = signature.map(|signature| Rider::from_field(signature.to_str(), Origin::Anthropic, Form::Sig));
        if rider.is_some() || !text.is_empty() {
            parts.push(Part::Thinking { text, rider });
        }
    }

    fn result(self, dropped: &mut Vec<String>) -> Result<ToolResult<'a>, ApiError> {
        let place = self.member_place("content");
        let mut parts = match self.raw.get("content") {
            None => Vec::new(),
            Some(content) => match content.kind() {
                Kind::String => {
                    vec![Part::Text { text: content.as_text().unwrap_or(Text::EMPTY).to_str(), cache: None }]
                }
                Kind::Array => {
                    let parts = read(content, &place, dropped)?;
                    parts.into_iter().filter(|part| may_be_result(part, dropped)).collect()
                }
                _ => return Err(wrong(content, place, "a string or an array")),
            },
        };
        if parts.is_empty() {
            parts.push(empty_text());
        }
        Ok(ToolResult {
            call_id: self.text("tool_use_id")?,
            name: None,
            parts,
            is_error: self.raw.get("is_error").and_then(Raw::as_bool).unwrap_or(false),
            cache: cache_mark(self.raw),
        })
    }
}

/// Whether a part may stand inside a tool result; others are reported.
fn may_be_result(part: &Part<'_>, dropped: &mut Vec<String>) -> bool {
    let known = matches!(part, Part::Text { .. } | Part::Image { .. } | Part::File { .. });
    if !known {
        dropped.push("content.tool_result".into());
    }
    known
}

/// Takes the Gemini signature that an empty thinking block directly before a call carries (see
/// [`rider`](crate::hub::rider)).
fn carried<'a>(parts: &mut Vec<Part<'a>>) -> Option<Rider<'a>> {
    match parts.last() {
        Some(Part::Thinking { text, rider: Some(rider) }) if text.is_empty() && rider.origin == Origin::Gemini => {
            match parts.pop() {
                Some(Part::Thinking { rider, .. }) => rider,
                _ => None,
            }
        }
        _ => None,
    }
}

/// A blank text that stands for nothing.
pub(super) fn empty_text<'a>() -> Part<'a> {
    Part::Text { text: Str::default(), cache: None }
}
