//! A schema as a tree that can be changed. Scalars stay as they are spelled.

use std::borrow::Cow;

use crate::json::{Kind, Raw, Text, Writer, write::Sink};

/// Deepest nesting that is looked into; what lies deeper is copied verbatim.
pub(super) const DEPTH_MAX: usize = 96;

/// Members whose value is one schema.
const SINGLE: [&str; 11] = [
    "items",
    "additionalProperties",
    "additionalItems",
    "contains",
    "not",
    "if",
    "then",
    "else",
    "propertyNames",
    "unevaluatedItems",
    "unevaluatedProperties",
];
/// Members whose value is a list of schemas (`items` in its old tuple form).
const LISTS: [&str; 5] = ["anyOf", "oneOf", "allOf", "prefixItems", "items"];
/// Members whose value is an object of named schemas.
const MAPS: [&str; 5] = ["properties", "patternProperties", "$defs", "definitions", "dependentSchemas"];

/// A member: name and value.
pub(super) type Member<'a> = (Text<'a>, Node<'a>);

/// One value.
#[derive(Debug, Clone)]
pub(super) enum Node<'a> {
    /// A scalar, or a container that is not looked into.
    Raw(Raw<'a>),
    /// A string that we made.
    Text(Cow<'static, str>),
    /// `true` or `false`, made by us.
    Bool(bool),
    /// A list.
    Array(Vec<Node<'a>>),
    /// An object. Names may repeat, the last one counts.
    Object(Vec<Member<'a>>),
}

impl<'a> Node<'a> {
    /// The tree of a value.
    pub(super) fn of(raw: Raw<'a>) -> Self {
        Self::at_depth(raw, 0)
    }

    fn at_depth(raw: Raw<'a>, depth: usize) -> Self {
        match raw.kind() {
            Kind::Object if depth < DEPTH_MAX => {
                Node::Object(raw.members().map(|(key, value)| (key, Self::at_depth(value, depth + 1))).collect())
            }
            Kind::Array if depth < DEPTH_MAX => {
                Node::Array(raw.elements().map(|value| Self::at_depth(value, depth + 1)).collect())
            }
            _ => Node::Raw(raw),
        }
    }

    /// An object with one member `type`.
    pub(super) fn typed(name: &'static str) -> Self {
        Node::Object(vec![(Text::Plain("type"), Node::word(name))])
    }

    /// A fixed string.
    pub(super) fn word(text: &'static str) -> Self {
        Node::Text(Cow::Borrowed(text))
    }

    /// A string.
    pub(super) fn text(text: String) -> Self {
        Node::Text(Cow::Owned(text))
    }

    /// The members of an object.
    pub(super) fn members(&self) -> &[Member<'a>] {
        match self {
            Node::Object(members) => members,
            _ => &[],
        }
    }

    /// The elements of an array.
    pub(super) fn elements(&self) -> &[Node<'a>] {
        match self {
            Node::Array(elements) => elements,
            _ => &[],
        }
    }

    /// The last member of that name.
    pub(super) fn get(&self, name: &str) -> Option<&Node<'a>> {
        self.members().iter().rev().find(|(key, _)| key.is(name)).map(|(_, value)| value)
    }

    /// Takes all members of that name out and returns the last one.
    pub(super) fn take(&mut self, name: &str) -> Option<Node<'a>> {
        let Node::Object(members) = self else { return None };
        let mut found = None;
        // Names rarely repeat: one pass from the end.
        for at in (0..members.len()).rev() {
            if members[at].0.is(name) {
                let (_, value) = members.remove(at);
                found.get_or_insert(value);
            }
        }
        found
    }

    /// Sets a member in its place, or appends it.
    pub(super) fn set(&mut self, name: &'static str, value: Node<'a>) {
        let Node::Object(members) = self else { return };
        match members.iter().rposition(|(key, _)| key.is(name)) {
            Some(at) => members[at].1 = value,
            None => members.push((Text::Plain(name), value)),
        }
    }

    /// A string's text.
    pub(super) fn as_str(&self) -> Option<Cow<'_, str>> {
        match self {
            Node::Raw(raw) => raw.as_text().map(|text| text.plain()),
            Node::Text(text) => Some(Cow::Borrowed(text)),
            _ => None,
        }
    }

    /// Number of values in the tree.
    pub(super) fn size(&self) -> usize {
        1 + self.members().iter().map(|(_, value)| value.size()).sum::<usize>()
            + self.elements().iter().map(Node::size).sum::<usize>()
    }

    /// Whether this is an object.
    pub(super) fn is_object(&self) -> bool {
        matches!(self, Node::Object(_))
    }

    /// Whether the schema's `type` is, or allows, `name`.
    pub(super) fn has_type(&self, name: &str) -> bool {
        match self.get("type") {
            Some(Node::Array(list)) => list.iter().any(|word| word.as_str().as_deref() == Some(name)),
            Some(word) => word.as_str().as_deref() == Some(name),
            None => false,
        }
    }

    /// Calls `visit` with every schema directly inside this one.
    pub(super) fn each_schema(&mut self, visit: &mut dyn FnMut(&mut Node<'a>)) {
        let Node::Object(members) = self else { return };
        for (key, value) in members {
            match value {
                Node::Object(_) if SINGLE.iter().any(|name| key.is(name)) => visit(value),
                Node::Object(inner) if MAPS.iter().any(|name| key.is(name)) => {
                    inner.iter_mut().for_each(|(_, schema)| visit(schema));
                }
                Node::Array(list) if LISTS.iter().any(|name| key.is(name)) => list.iter_mut().for_each(&mut *visit),
                _ => {}
            }
        }
    }

    /// Appends the JSON text.
    pub(super) fn write(&self, out: &mut impl Sink) {
        self.write_to(&mut Writer::new(out));
    }

    fn write_to(&self, w: &mut Writer<'_, impl Sink>) {
        match self {
            Node::Raw(raw) => {
                w.raw(*raw);
            }
            Node::Text(text) => {
                w.string(text);
            }
            Node::Bool(value) => {
                w.bool(*value);
            }
            Node::Array(elements) => {
                w.begin_array();
                elements.iter().for_each(|value| value.write_to(w));
                w.end_array();
            }
            Node::Object(members) => {
                w.begin_object();
                for (key, value) in members {
                    w.key_text(*key);
                    value.write_to(w);
                }
                w.end_object();
            }
        }
    }

    /// The JSON text.
    pub(super) fn json(&self) -> String {
        let mut out = Vec::new();
        self.write(&mut out);
        String::from_utf8(out).unwrap_or_default()
    }

    /// Adds a sentence to `description`.
    pub(super) fn describe(&mut self, note: &str) {
        let text = match self.get("description").and_then(Node::as_str).filter(|text| !text.is_empty()) {
            Some(text) => format!("{text} ({note})"),
            None => note.to_owned(),
        };
        self.set("description", Node::text(text));
    }
}

/// The definition that a local reference (`#/$defs/Name`, `#/definitions/Name`) names, looked up in the root schema.
pub(super) fn local_name(reference: &str) -> Option<&str> {
    reference.strip_prefix("#/$defs/").or_else(|| reference.strip_prefix("#/definitions/"))
}
