//! Schemas that go on as they came, or nearly.

use super::{Given, tree::Node};
use crate::json::{Writer, write::Sink};

/// The schema of a tool without arguments.
pub(super) const EMPTY: &str = r#"{"type":"object","properties":{}}"#;

/// Gemini's type names and JSON schema's.
pub(super) const TYPES: [(&str, &str); 7] = [
    ("STRING", "string"),
    ("NUMBER", "number"),
    ("INTEGER", "integer"),
    ("BOOLEAN", "boolean"),
    ("ARRAY", "array"),
    ("OBJECT", "object"),
    ("NULL", "null"),
];

/// Writes the schema as it is; an object without properties if there is none.
pub fn as_given(given: Given<'_>, out: &mut impl Sink) {
    match given.object() {
        Some(_) if given.gemini_types => given.tree().write(out),
        Some(raw) => out.put(raw.as_bytes()),
        None => out.put(EMPTY.as_bytes()),
    }
}

/// Writes the arguments' schema of a tool: as it is, with `type` and `properties` at the top.
pub fn parameters(given: Given<'_>, out: &mut impl Sink) {
    let Some(raw) = given.object() else { return out.put(EMPTY.as_bytes()) };
    let (typed, listed) = (raw.get("type").is_some(), raw.get("properties").is_some());
    if !given.gemini_types && typed && listed {
        return out.put(raw.as_bytes());
    }
    if given.gemini_types {
        let mut tree = given.tree();
        if !typed {
            tree.set("type", Node::word("object"));
        }
        if !listed {
            tree.set("properties", Node::Object(Vec::new()));
        }
        return tree.write(out);
    }
    let mut w = Writer::new(out);
    w.begin_object();
    if !typed {
        w.key("type").string("object");
    }
    for (key, value) in raw.members() {
        let replaced = value.is_null() && (key.is("type") || key.is("properties"));
        if !replaced {
            w.key_text(key).raw(value);
        }
    }
    if !listed {
        w.key("properties").begin_object().end_object();
    }
    w.end_object();
}

/// Lowers Gemini's type names at every level; names of properties and values of enums are not touched.
pub(super) fn lower(schema: &mut Node<'_>) {
    let lowered = schema.get("type").and_then(Node::as_str).map(|word| {
        TYPES
            .iter()
            .find(|(upper, _)| *upper == word.as_ref())
            .map(|(_, lower)| *lower)
            .ok_or(word == "TYPE_UNSPECIFIED")
    });
    match lowered {
        Some(Ok(word)) => schema.set("type", Node::word(word)),
        Some(Err(true)) => {
            schema.take("type");
        }
        Some(Err(false)) | None => {}
    }
    schema.each_schema(&mut lower);
}
