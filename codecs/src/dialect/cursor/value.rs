//! `google.protobuf.Value`, which the agent protocol writes schemas and arguments in, and JSON.
//!
//! Numbers are doubles there: whole ones up to 2^53 are written without a fraction, others as Rust writes them; what JSON has
//! no word for is null. Every level of JSON takes three messages, so that a value of ours may be deeper than one of theirs.

use super::schema::value;
use crate::{
    json::{Kind, Raw, Text, Writer, write::Sink},
    proto::{Buffer, Field, Message, MessageWriter, Value as Wire, WireError},
};

/// Whole numbers up to this are exact.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// Writes the fields of the `Value` that says the same as `json`.
pub(super) fn write<B: Buffer>(json: Raw<'_>, w: &mut MessageWriter<'_, B>) {
    match json.kind() {
        Kind::Object => {
            w.message(value::STRUCT, |w| entries(json, value::ITEMS, w));
        }
        Kind::Array => {
            w.message(value::LIST, |w| {
                for item in json.elements() {
                    w.message(value::ITEMS, |w| write(item, w));
                }
            });
        }
        _ => {
            if let Some(text) = json.as_text() {
                w.text(value::STRING, &text.plain());
            } else if let Some(number) = json.as_f64() {
                w.fixed64(value::NUMBER, number.to_bits());
            } else if let Some(flag) = json.as_bool() {
                w.varint(value::BOOL, flag.into());
            } else {
                w.varint(value::NULL, 0);
            }
        }
    }
}

/// Writes the members of an object as the entries of a map, each a field `number`.
pub(super) fn entries<B: Buffer>(object: Raw<'_>, number: u32, w: &mut MessageWriter<'_, B>) {
    for (key, member) in object.members() {
        w.message(number, |w| {
            w.text(value::KEY, &key.plain()).message(value::ENTRY_VALUE, |w| write(member, w));
        });
    }
}

/// Writes a `Value` as JSON. The last field counts; one without fields is null.
pub(super) fn read<S: Sink>(message: Message<'_>, w: &mut Writer<'_, S>) -> Result<(), WireError> {
    let known = |field: &Field<'_>| (value::NULL..=value::LIST).contains(&field.number);
    let mut last = None;
    for field in message.fields() {
        last = Some(field?).filter(known).or(last);
    }
    match last.map(|field| (field, field.value)) {
        Some((Field { number: value::STRING, .. }, Wire::Bytes(text))) => {
            w.text(Text::Plain(&String::from_utf8_lossy(text)));
        }
        Some((field, Wire::Bytes(_))) => match (field.number, field.message()?) {
            (value::STRUCT, Some(inner)) => {
                w.begin_object();
                read_entries(inner, value::ITEMS, w)?;
                w.end_object();
            }
            (value::LIST, Some(inner)) => {
                w.begin_array();
                for item in inner.fields() {
                    let item = item?;
                    if let (value::ITEMS, Some(item)) = (item.number, item.message()?) {
                        read(item, w)?;
                    }
                }
                w.end_array();
            }
            _ => {
                w.null();
            }
        },
        Some((Field { number: value::NUMBER, .. }, Wire::Fixed64(bits))) => number(f64::from_bits(bits), w),
        Some((Field { number: value::BOOL, .. }, Wire::Varint(flag))) => {
            w.bool(flag != 0);
        }
        _ => {
            w.null();
        }
    }
    Ok(())
}

/// Writes the entries of a map, the fields `number` of a message, as members.
pub(super) fn read_entries<S: Sink>(message: Message<'_>, number: u32, w: &mut Writer<'_, S>) -> Result<(), WireError> {
    for entry in message.fields() {
        let entry = entry?;
        if entry.number != number {
            continue;
        }
        let Some(inner) = entry.message()? else { continue };
        let (mut key, mut item) = (None, None);
        for field in inner.fields() {
            let field = field?;
            match field.number {
                value::KEY => key = field.text(),
                value::ENTRY_VALUE => item = field.message()?,
                _ => {}
            }
        }
        w.key_text(Text::Plain(&key.unwrap_or_default()));
        match item {
            Some(item) => read(item, w)?,
            None => {
                w.null();
            }
        }
    }
    Ok(())
}

fn number<S: Sink>(number: f64, w: &mut Writer<'_, S>) {
    if !number.is_finite() {
        w.null();
    } else if number.fract() == 0.0 && number.abs() <= EXACT_MAX {
        w.verbatim(&(number as i64).to_string());
    } else {
        w.verbatim(&format!("{number:e}"));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn there_and_back(json: &str) -> String {
        let mut bytes = Vec::new();
        write(Raw::parse_str(json).unwrap(), &mut MessageWriter::new(&mut bytes));
        let mut out = Vec::new();
        read(Message::new(&bytes), &mut Writer::new(&mut out)).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn values_come_back() {
        for json in [
            "null",
            "true",
            "false",
            "0",
            "-3",
            "9007199254740992",
            "1.5e0",
            "1e300",
            "\"\"",
            "\"a\\\"\\n🍵\"",
            "[]",
            "{}",
            r#"{"type":"object","properties":{"a":{"type":["string","null"],"maxLength":3}},"required":[]}"#,
            "[[],[1,[true]],{\"\":null}]",
        ] {
            assert_eq!(there_and_back(json), json);
        }
        assert_eq!(there_and_back("1.0"), "1");
        assert_eq!(there_and_back("\"\\u00e9\""), "\"é\"");
    }

    #[test]
    fn what_json_cannot_say_is_null_and_depth_is_bounded() {
        let read = |bytes: &[u8]| {
            let mut out = Vec::new();
            read(Message::new(bytes), &mut Writer::new(&mut out)).map(|()| String::from_utf8(out).unwrap())
        };
        let mut nan = Vec::new();
        MessageWriter::new(&mut nan).fixed64(value::NUMBER, f64::NAN.to_bits());
        assert_eq!(read(&nan).unwrap(), "null");
        assert_eq!(read(b"").unwrap(), "null");
        // A string where a number is wanted, and an unknown kind.
        assert_eq!(read(b"\x12\x01x\x52\x01y").unwrap(), "null");
        let mut deep = Vec::new();
        write(
            Raw::parse_str(&format!("{}{}", "[".repeat(30), "]".repeat(30))).unwrap(),
            &mut MessageWriter::new(&mut deep),
        );
        assert_eq!(read(&deep).unwrap_err().fault, crate::proto::WireFault::TooDeep);
    }
}
