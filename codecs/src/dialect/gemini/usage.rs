//! Token counts in Gemini's convention: the prompt includes the cached part, the candidates exclude the thoughts.

use crate::{
    dialect::expect,
    hub::Usage,
    json::{Raw, Text, Writer, write::Sink},
};

/// Reads a `usageMetadata`; missing members are zero.
pub(super) fn read(value: Raw<'_>) -> Usage {
    let (mut prompt, mut cached, mut tools, mut visible, mut thoughts) = (0, 0, 0, 0, 0);
    let (mut asked, mut kept, mut made) = (Kinds::default(), Kinds::default(), Kinds::default());
    for (key, value) in value.members() {
        let Text::Escaped(key) = key else { continue };
        let counter = match key {
            "promptTokenCount" | "prompt_token_count" => &mut prompt,
            "cachedContentTokenCount" | "cached_content_token_count" => &mut cached,
            "toolUsePromptTokenCount" | "tool_use_prompt_token_count" => &mut tools,
            "candidatesTokenCount" | "candidates_token_count" => &mut visible,
            "thoughtsTokenCount" | "thoughts_token_count" => &mut thoughts,
            "promptTokensDetails" | "prompt_tokens_details" => {
                asked = Kinds::of(value);
                continue;
            }
            "cacheTokensDetails" | "cache_tokens_details" => {
                kept = Kinds::of(value);
                continue;
            }
            "candidatesTokensDetails" | "candidates_tokens_details" => {
                made = Kinds::of(value);
                continue;
            }
            _ => continue,
        };
        *counter = expect::count(value).unwrap_or(0);
    }
    Usage {
        uncached: prompt.saturating_add(tools).saturating_sub(cached),
        cache_read: cached,
        output: visible.saturating_add(thoughts),
        reasoning: thoughts,
        audio_in: asked.audio.saturating_sub(kept.audio),
        audio_cached: kept.audio,
        audio_out: made.audio,
        image_in: asked.image.saturating_sub(kept.image),
        image_out: made.image,
        ..Usage::default()
    }
}

/// Tokens of the kinds that are priced apart, from a list of `{modality, tokenCount}`.
#[derive(Default)]
struct Kinds {
    audio: u64,
    image: u64,
}

impl Kinds {
    fn of(list: Raw<'_>) -> Self {
        let mut kinds = Self::default();
        for entry in list.elements() {
            let Some(modality) = entry.get_text("modality") else { continue };
            let sum = match modality {
                Text::Escaped("AUDIO") => &mut kinds.audio,
                Text::Escaped("IMAGE") => &mut kinds.image,
                _ => continue,
            };
            let count = entry.get("tokenCount").or_else(|| entry.get("token_count")).and_then(expect::count);
            *sum = sum.saturating_add(count.unwrap_or(0));
        }
        kinds
    }
}

/// Writes a `usageMetadata` object.
pub(super) fn write<S: Sink>(usage: &Usage, w: &mut Writer<'_, S>) {
    w.begin_object();
    w.key("promptTokenCount").number(usage.input());
    w.key("candidatesTokenCount").number(usage.output.saturating_sub(usage.reasoning));
    w.key("totalTokenCount").number(usage.total());
    if usage.cache_read > 0 {
        w.key("cachedContentTokenCount").number(usage.cache_read);
    }
    if usage.reasoning > 0 {
        w.key("thoughtsTokenCount").number(usage.reasoning);
    }
    w.end_object();
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn conventions_are_untangled_and_tangled_again() {
        let raw = Raw::parse_str(
            r#"{"promptTokenCount":"100","cachedContentTokenCount":93,"toolUsePromptTokenCount":5,
                "candidatesTokenCount":20,"thoughtsTokenCount":10,"totalTokenCount":135,"trafficType":"X"}"#,
        )
        .unwrap();
        let usage = read(raw);
        assert_eq!((usage.uncached, usage.cache_read, usage.output, usage.reasoning), (12, 93, 30, 10));
        let raw = Raw::parse_str(
            r#"{"promptTokenCount":100,"cachedContentTokenCount":40,"candidatesTokenCount":1300,
                "promptTokensDetails":[{"modality":"TEXT","tokenCount":30},{"modality":"AUDIO","tokenCount":70}],
                "cacheTokensDetails":[{"modality":"AUDIO","tokenCount":40}],
                "candidatesTokensDetails":[{"modality":"IMAGE","tokenCount":1290},{"modality":7},3]}"#,
        )
        .unwrap();
        let kinds = read(raw);
        assert_eq!((kinds.uncached, kinds.audio_in, kinds.audio_cached, kinds.image_out), (60, 30, 40, 1290));
        let mut out = Vec::new();
        write(&usage, &mut Writer::new(&mut out));
        let expected = r#"{"promptTokenCount":105,"candidatesTokenCount":20,"totalTokenCount":135,"cachedContentTokenCount":93,"thoughtsTokenCount":10}"#;
        assert_eq!(String::from_utf8(out).unwrap(), expected);
        assert_eq!(read(Raw::parse_str(r#"{"promptTokenCount":3,"cachedContentTokenCount":9}"#).unwrap()).uncached, 0);
    }
}
