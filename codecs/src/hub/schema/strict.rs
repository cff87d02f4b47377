//! The subset that Anthropic's structured outputs take: closed objects, no limits, no recursion.

use std::collections::HashMap;

use super::{
    Given,
    tree::{Node, local_name},
};
use crate::json::{Raw, Text, write::Sink};

/// Limits that the service refuses; they are told in words instead.
const LIMITS: [&str; 15] = [
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "pattern",
    "minItems",
    "maxItems",
    "uniqueItems",
    "minProperties",
    "maxProperties",
    "minContains",
    "maxContains",
];

/// Writes the schema for `output_config.format`: closed objects, without limits and recursion.
pub fn strict(given: Given<'_>, out: &mut impl Sink) {
    let mut root = given.tree();
    if root.members().is_empty() {
        root = Node::typed("object");
    }
    close(&mut root);
    clean(&mut root);
    cut_recursion(&mut root);
    root.write(out);
}

/// Writes the `input_schema` of a tool with `strict` and returns what must be added to its description.
///
/// Objects stay as open as the client left them: it asked for `strict` itself and knows the rule.
pub fn anthropic_strict(given: Given<'_>, out: &mut impl Sink) -> Option<String> {
    let mut flat = Vec::new();
    let note = super::anthropic(given, &mut flat);
    // Written by us just now: always one value.
    let mut root = Raw::parse(&flat).map_or(Node::typed("object"), Node::of);
    clean(&mut root);
    cut_recursion(&mut root);
    root.write(out);
    note
}

fn close(schema: &mut Node<'_>) {
    if schema.has_type("object") || schema.get("properties").is_some() {
        schema.set("additionalProperties", Node::Bool(false));
    }
    schema.each_schema(&mut close);
}

fn clean(schema: &mut Node<'_>) {
    if !schema.is_object() {
        return;
    }
    let mut notes = Vec::new();
    for name in LIMITS {
        // Lists of at least none or one element are the only length that the service enforces.
        let small = matches!(schema.get(name), Some(Node::Raw(raw)) if raw.as_u64().is_some_and(|n| n <= 1));
        if name == "minItems" && small {
            continue;
        }
        if let Some(value) = schema.take(name) {
            notes.push(format!("{name}: {}", value.as_str().map_or_else(|| value.json(), Into::into)));
        }
    }
    if !notes.is_empty() {
        schema.describe(&notes.join(", "));
    }
    if let Some(Node::Array(branches)) = schema.take("oneOf") {
        let mut all = match schema.take("anyOf") {
            Some(Node::Array(list)) => list,
            _ => Vec::new(),
        };
        all.extend(branches);
        schema.set("anyOf", Node::Array(all));
    }
    schema.each_schema(&mut clean);
}

/// How many schemas may lie inside each other, definitions included; a reference deeper than that is cut.
const NESTED_MAX: usize = 128;

/// The definitions of a document and how far each one was followed.
struct Definitions<'a> {
    places: HashMap<String, usize>,
    entries: Vec<(Text<'a>, Option<Node<'a>>, Colour)>,
}

#[derive(Clone, Copy, PartialEq)]
enum Colour {
    /// Not looked at.
    White,
    /// Somewhere above: a reference to it is a recursion.
    Grey,
    /// Done.
    Black,
}

/// Replaces references that lead back to a schema that holds them.
///
/// A walk in depth over root and definitions; an edge to something still open closes a circle and is cut.
fn cut_recursion(root: &mut Node<'_>) {
    let mut definitions = Definitions { places: HashMap::new(), entries: Vec::new() };
    let mut homes = Vec::new();
    for home in ["$defs", "definitions"] {
        let Some(Node::Object(members)) = root.take(home) else { continue };
        homes.push((home, definitions.entries.len()..definitions.entries.len() + members.len()));
        for (key, node) in members {
            definitions.places.insert(key.plain().into_owned(), definitions.entries.len());
            definitions.entries.push((key, Some(node), Colour::White));
        }
    }
    follow(root, &mut definitions, 0);
    for at in 0..definitions.entries.len() {
        open(at, &mut definitions, 0);
    }
    for (home, range) in homes {
        let entries = definitions.entries[range].iter_mut();
        let members = entries.filter_map(|(key, node, _)| Some((*key, node.take()?)));
        root.set(home, Node::Object(members.collect()));
    }
}

fn open(at: usize, definitions: &mut Definitions<'_>, depth: usize) {
    if definitions.entries[at].2 != Colour::White {
        return;
    }
    definitions.entries[at].2 = Colour::Grey;
    if let Some(mut node) = definitions.entries[at].1.take() {
        follow(&mut node, definitions, depth);
        definitions.entries[at].1 = Some(node);
    }
    definitions.entries[at].2 = Colour::Black;
}

fn follow<'a>(schema: &mut Node<'a>, definitions: &mut Definitions<'a>, depth: usize) {
    if let Some(reference) = schema.get("$ref").and_then(Node::as_str).map(|text| text.into_owned()) {
        let target = local_name(&reference).and_then(|name| definitions.places.get(name).copied());
        let circle = reference == "#"
            || target.is_some_and(|at| match definitions.entries[at].2 {
                Colour::Black => false,
                Colour::Grey => true,
                Colour::White => depth >= NESTED_MAX,
            });
        if circle {
            let mut cut = Node::typed("object");
            cut.set("description", Node::text(format!("recursive: {reference}")));
            cut.set("additionalProperties", Node::Bool(false));
            *schema = cut;
            return;
        }
        if let Some(at) = target {
            open(at, definitions, depth + 1);
        }
    }
    schema.each_schema(&mut |inner| follow(inner, definitions, depth + 1));
}
