//! Token counts in this dialect's words. Cached tokens are a part of `input_tokens` here, beside it on the hub.

use crate::{
    dialect::expect,
    hub::Usage,
    json::{Raw, Writer, write::Sink},
};

/// Reads a `usage` object. Missing counters are zero; numbers in strings count.
pub(super) fn read(usage: Raw<'_>) -> Usage {
    let (mut input, mut read, mut write) = (0, 0, None);
    let mut counts = Usage::default();
    for (key, value) in usage.members() {
        if key.is("input_tokens") {
            input = count(value);
        } else if key.is("output_tokens") {
            counts.output = count(value);
        } else if key.is("input_tokens_details") {
            read = value.get("cached_tokens").map_or(0, count);
            write = value.get("cache_write_tokens").or_else(|| value.get("cache_creation_tokens")).map(count);
        } else if key.is("output_tokens_details") {
            counts.reasoning = value.get("reasoning_tokens").map_or(0, count);
            counts.audio_out = value.get("audio_tokens").map_or(0, count);
            counts.image_out = value.get("image_tokens").map_or(0, count);
        }
    }
    counts.cache_read = read;
    counts.cache_write = write.unwrap_or(0);
    counts.uncached = input.saturating_sub(read).saturating_sub(counts.cache_write);
    counts
}

fn count(value: Raw<'_>) -> u64 {
    expect::count(value).unwrap_or(0)
}

/// Writes the `usage` object, zeros included: strict clients validate every member.
pub(super) fn write<S: Sink>(usage: &Usage, w: &mut Writer<'_, S>) {
    w.begin_object();
    w.key("input_tokens").number(usage.input());
    w.key("input_tokens_details").begin_object();
    w.key("cached_tokens").number(usage.cache_read);
    w.key("cache_write_tokens").number(usage.cache_write);
    w.end_object();
    w.key("output_tokens").number(usage.output);
    w.key("output_tokens_details").begin_object();
    w.key("reasoning_tokens").number(usage.reasoning);
    w.end_object();
    w.key("total_tokens").number(usage.total());
    w.end_object();
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn cached_tokens_are_taken_out_of_the_input() {
        let raw = Raw::parse_str(
            r#"{"input_tokens":100,"input_tokens_details":{"cached_tokens":64,"cache_write_tokens":20},
                "output_tokens":"50","output_tokens_details":{"reasoning_tokens":30.0},"total_tokens":150}"#,
        )
        .unwrap();
        let usage = read(raw);
        assert_eq!((usage.uncached, usage.cache_read, usage.cache_write), (16, 64, 20));
        assert_eq!((usage.output, usage.reasoning), (50, 30));
        let mut out = Vec::new();
        write(&usage, &mut Writer::new(&mut out));
        assert_eq!(read(Raw::parse(&out).unwrap()), usage);
    }

    #[test]
    fn nonsense_is_no_count() {
        let raw = Raw::parse_str(
            r#"{"input_tokens":-5,"input_tokens_details":{"cached_tokens":9},"output_tokens":"many","output_tokens_details":null}"#,
        )
        .unwrap();
        let usage = read(raw);
        assert_eq!((usage.uncached, usage.cache_read, usage.output), (0, 9, 0));
    }
}
