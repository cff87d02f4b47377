//! Anthropic's `input_schema`: an object at the top, without alternatives there.
//!
//! The service refuses `oneOf`, `anyOf` and `allOf` at the top level. The branches' properties are put into one object;
//! what the branches would have excluded is told to the model in words.

use std::collections::{HashMap, HashSet};

use super::{
    Given,
    plain::EMPTY,
    tree::{Node, local_name},
};
use crate::json::{Raw, Text, Writer, write::Sink};

/// How deep alternatives inside alternatives are flattened.
const NESTED_MAX: usize = 8;
/// How many nodes are copied for references: they can double at every level.
const NODES_MAX: usize = 100_000;
/// How many schemas of one property are told apart.
const VARIANTS_MAX: usize = 16;
/// Longest text about alternatives.
const NOTE_BYTES_MAX: usize = 4_000;

/// Writes the schema and returns what must be added to the tool's description.
pub fn anthropic(given: Given<'_>, out: &mut impl Sink) -> Option<String> {
    let Some(raw) = given.object() else {
        out.put(EMPTY.as_bytes());
        return None;
    };
    if ["oneOf", "anyOf", "allOf"].iter().any(|name| raw.get(name).is_some()) {
        let mut tree = given.tree();
        let note = flatten(&mut tree);
        tree.write(out);
        return note;
    }
    if given.gemini_types {
        let mut tree = given.tree();
        tree.set("type", Node::word("object"));
        tree.write(out);
    } else {
        write_object(raw, out);
    }
    None
}

fn write_object(raw: Raw<'_>, out: &mut impl Sink) {
    if raw.get_text("type").is_some_and(|word| word.is("object")) {
        return out.put(raw.as_bytes());
    }
    let mut w = Writer::new(out);
    w.begin_object().key("type").string("object");
    for (name, value) in raw.members() {
        if !name.is("type") {
            w.key_text(name).raw(value);
        }
    }
    w.end_object();
}

/// One property and the schemas that the branches give it.
struct Property<'a> {
    name: Text<'a>,
    variants: Vec<Node<'a>>,
    /// `anyOf` or `allOf`, where there are several.
    both: &'static str,
}

/// What the branches of a schema add up to.
#[derive(Default)]
struct Merged<'a> {
    properties: Vec<Property<'a>>,
    places: HashMap<String, usize>,
    required: Vec<Node<'a>>,
    required_names: HashSet<String>,
}

impl<'a> Merged<'a> {
    /// Adds properties; where a name has several schemas, `both` (`anyOf`, `allOf`) holds them.
    fn add(&mut self, properties: &[(Text<'a>, Node<'a>)], both: &'static str) {
        for (name, schema) in properties {
            let plain = name.plain().into_owned();
            let Some(&at) = self.places.get(&plain) else {
                self.places.insert(plain, self.properties.len());
                self.properties.push(Property { name: *name, variants: vec![schema.clone()], both });
                continue;
            };
            let property = &mut self.properties[at];
            let json = schema.json();
            if property.variants.len() < VARIANTS_MAX && property.variants.iter().all(|other| other.json() != json) {
                property.variants.push(schema.clone());
                property.both = both;
            }
        }
    }

    fn require(&mut self, names: impl IntoIterator<Item = Node<'a>>) {
        for name in names {
            if plain_name(&name).is_some_and(|plain| self.required_names.insert(plain)) {
                self.required.push(name);
            }
        }
    }

    /// Writes what was merged into `schema`.
    fn finish(self, schema: &mut Node<'a>) {
        let properties = self.properties.into_iter().map(|Property { name, mut variants, both }| {
            // Too many schemas to tell apart: anything goes.
            let schema = match variants.len() {
                1 => variants.pop().unwrap_or(Node::Object(Vec::new())),
                VARIANTS_MAX.. => Node::Object(Vec::new()),
                _ => Node::Object(vec![(Text::Plain(both), Node::Array(variants))]),
            };
            (name, schema)
        });
        schema.set("properties", Node::Object(properties.collect()));
        schema.take("required");
        if !self.required.is_empty() {
            schema.set("required", Node::Array(self.required));
        }
    }
}

fn plain_name(node: &Node<'_>) -> Option<String> {
    node.as_str().map(|text| text.into_owned())
}

/// Merges the alternatives at the top of `root` and returns their description.
fn flatten(root: &mut Node<'_>) -> Option<String> {
    let definitions = root.get("$defs").or_else(|| root.get("definitions")).cloned();
    let mut note = String::new();
    for name in ["anyOf", "oneOf"] {
        if let Some(branches) = root.get(name) {
            tell(&mut note, name, branches.elements());
        }
    }
    Flattener { definitions, nodes: 0 }.merge(root, 0);
    root.set("type", Node::word("object"));
    (!note.is_empty()).then_some(note)
}

struct Flattener<'a> {
    definitions: Option<Node<'a>>,
    /// Nodes copied so far.
    nodes: usize,
}

impl<'a> Flattener<'a> {
    fn merge(&mut self, schema: &mut Node<'a>, depth: usize) {
        let mut merged = Merged::default();
        merged.add(schema.get("properties").map_or(&[], Node::members), "allOf");
        merged.require(schema.get("required").map_or(&[] as &[_], Node::elements).iter().cloned());
        for (name, both) in [("allOf", "allOf"), ("anyOf", "anyOf"), ("oneOf", "anyOf")] {
            let Some(Node::Array(branches)) = schema.take(name) else { continue };
            let branches: Vec<_> = branches
                .into_iter()
                .map(|branch| self.resolved(branch, depth))
                .filter(|branch| branch.is_object() && (branch.get("type").is_none() || branch.has_type("object")))
                .collect();
            for branch in &branches {
                merged.add(branch.get("properties").map_or(&[], Node::members), both);
            }
            if name == "allOf" {
                let names = branches.iter().filter_map(|branch| branch.get("required")).flat_map(Node::elements);
                merged.require(names.cloned());
            } else {
                merged.require(required_in_all(&branches));
            }
        }
        merged.finish(schema);
    }

    /// A branch with its reference followed and its own alternatives flattened.
    fn resolved(&mut self, mut branch: Node<'a>, depth: usize) -> Node<'a> {
        let target = branch
            .get("$ref")
            .and_then(Node::as_str)
            .and_then(|reference| self.definitions.as_ref()?.get(local_name(&reference)?));
        if let Some(target) = target {
            self.nodes += target.size();
            if self.nodes < NODES_MAX {
                branch = target.clone();
            }
        }
        if depth < NESTED_MAX && ["oneOf", "anyOf", "allOf"].iter().any(|name| branch.get(name).is_some()) {
            self.merge(&mut branch, depth + 1);
        }
        branch
    }
}

fn required_in_all<'a>(branches: &[Node<'a>]) -> Vec<Node<'a>> {
    let names = |branch: &Node<'_>| -> HashSet<String> {
        branch.get("required").map_or(&[] as &[_], Node::elements).iter().filter_map(plain_name).collect()
    };
    let Some((first, rest)) = branches.split_first() else { return Vec::new() };
    let rest: Vec<_> = rest.iter().map(names).collect();
    first
        .get("required")
        .map_or(&[] as &[_], Node::elements)
        .iter()
        .filter(|name| plain_name(name).is_some_and(|name| rest.iter().all(|set| set.contains(&name))))
        .cloned()
        .collect()
}

/// Describes the alternatives for the model.
fn tell(note: &mut String, name: &str, branches: &[Node<'_>]) {
    if !note.is_empty() {
        note.push(' ');
    }
    note.push_str(if name == "oneOf" {
        "The input must match exactly one of these schemas: "
    } else {
        "The input must match at least one of these schemas: "
    });
    for (at, branch) in branches.iter().enumerate() {
        if at > 0 {
            note.push_str(" | ");
        }
        note.push_str(&branch.json());
        if note.len() > NOTE_BYTES_MAX {
            let cut = (0..=NOTE_BYTES_MAX).rev().find(|at| note.is_char_boundary(*at)).unwrap_or(0);
            note.truncate(cut);
            note.push('…');
            return;
        }
    }
}
