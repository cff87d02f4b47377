//! Gemini's two forms: JSON schema without annotations, and the OpenAPI subset `Schema`.

use super::{
    Given,
    plain::{EMPTY, TYPES},
    tree::{Member, Node, local_name},
};
use crate::json::write::Sink;

/// Annotations that the service does not know.
const ANNOTATIONS: [&str; 3] = ["$schema", "$id", "$comment"];
/// How deep references inside references are inlined.
const REFERENCES_MAX: usize = 10;
/// How deep schemas may nest after inlining.
const NESTED_MAX: usize = 48;
/// How many values may be made for one document: inlining can double the size at every level.
const NODES_MAX: usize = 100_000;
/// Members of `Schema` whose value is copied as it is.
const COPIED: [&str; 15] = [
    "format",
    "title",
    "description",
    "nullable",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "minLength",
    "maxLength",
    "pattern",
    "minimum",
    "maximum",
    "example",
    "default",
];

/// Writes the schema for `parametersJsonSchema` and `responseJsonSchema`: as it is, without annotations.
pub fn gemini_json(given: Given<'_>, out: &mut impl Sink) {
    let Some(raw) = given.object() else { return out.put(EMPTY.as_bytes()) };
    let annotated = ANNOTATIONS.iter().any(|name| memchr::memmem::find(raw.as_bytes(), name.as_bytes()).is_some());
    if !annotated && !given.gemini_types {
        return out.put(raw.as_bytes());
    }
    let mut tree = given.tree();
    drop_annotations(&mut tree);
    tree.write(out);
}

fn drop_annotations(schema: &mut Node<'_>) {
    ANNOTATIONS.iter().for_each(|name| drop(schema.take(name)));
    schema.each_schema(&mut drop_annotations);
}

/// The schema in the subset that `parameters` and `responseSchema` take; `None` if nothing would be left of it.
pub fn gemini_subset(given: Given<'_>) -> Option<Vec<u8>> {
    let root = given.tree();
    let definitions = [root.get("$defs"), root.get("definitions")];
    let mut cleaner = Cleaner { definitions, nodes: 0 };
    let cleaned = cleaner.clean(&root, 0, 0);
    let hollow = cleaned.get("properties").is_none_or(|properties| properties.members().is_empty());
    let object = cleaned.get("type").is_none() || cleaned.has_type("OBJECT");
    if hollow && object && cleaned.get("anyOf").is_none() {
        return None;
    }
    let mut out = Vec::new();
    cleaned.write(&mut out);
    Some(out)
}

struct Cleaner<'t, 'a> {
    definitions: [Option<&'t Node<'a>>; 2],
    nodes: usize,
}

impl<'t, 'a> Cleaner<'t, 'a> {
    fn clean(&mut self, schema: &Node<'a>, references: usize, nested: usize) -> Node<'a> {
        self.nodes += 1;
        if references > REFERENCES_MAX || nested > NESTED_MAX || self.nodes > NODES_MAX {
            return Node::typed("OBJECT");
        }
        if let Some(reference) = schema.get("$ref").and_then(Node::as_str) {
            let Some(target) = self.definition(&reference) else { return Node::typed("OBJECT") };
            let mut cleaned = self.clean(target, references + 1, nested);
            if let Some(description) = schema.get("description") {
                cleaned.set("description", description.clone());
            }
            return cleaned;
        }
        let merged = self.merge_all_of(schema, references);
        let schema = merged.as_ref().unwrap_or(schema);
        let mut out = Node::Object(Vec::new());
        for (name, value) in schema.members() {
            if let Some(kept) = COPIED.iter().find(|kept| name.is(kept)) {
                out.set(kept, value.clone());
            }
        }
        let variants = types(schema, &mut out);
        enumerate(schema, &mut out);
        self.contents(schema, &mut out, references, nested);
        self.alternatives(schema, variants, &mut out, references, nested);
        // Strings may only be dates or enums, everything else is refused.
        let formatted = out.get("format").and_then(Node::as_str);
        if out.has_type("STRING") && formatted.is_some_and(|word| word != "date-time" && word != "enum") {
            out.take("format");
        }
        out
    }

    fn definition(&self, reference: &str) -> Option<&'t Node<'a>> {
        let name = local_name(reference)?;
        self.definitions.iter().flatten().find_map(|definitions| definitions.get(name))
    }

    /// Properties, items and what belongs to them.
    fn contents(&mut self, schema: &Node<'a>, out: &mut Node<'a>, references: usize, nested: usize) {
        if let Some(properties) = schema.get("properties") {
            let cleaned: Vec<Member<'a>> = properties
                .members()
                .iter()
                .map(|(name, property)| (*name, self.clean(property, references, nested + 1)))
                .collect();
            let known: std::collections::HashSet<_> = cleaned.iter().map(|(name, _)| name.plain()).collect();
            for list in ["required", "propertyOrdering"] {
                let names = schema.get(list).map_or(&[] as &[_], Node::elements).iter();
                let names: Vec<_> =
                    names.filter(|name| name.as_str().is_some_and(|name| known.contains(&name))).cloned().collect();
                if !names.is_empty() {
                    out.set(list, Node::Array(names));
                }
            }
            out.set("properties", Node::Object(cleaned));
        }
        let first = |list: &str| schema.get(list).map(Node::elements).and_then(<[_]>::first);
        let items = schema.get("items").filter(|items| items.is_object());
        match items.or_else(|| first("prefixItems")).or_else(|| first("items")) {
            Some(items) => out.set("items", self.clean(items, references, nested + 1)),
            // An array without `items` is refused.
            None if out.has_type("ARRAY") => out.set("items", Node::typed("STRING")),
            None => {}
        }
    }

    fn alternatives(
        &mut self,
        schema: &Node<'a>,
        variants: Vec<&'static str>,
        out: &mut Node<'a>,
        references: usize,
        nested: usize,
    ) {
        let mut branches: Vec<Node<'a>> = variants.into_iter().map(Node::typed).collect();
        for list in ["anyOf", "oneOf"] {
            for branch in schema.get(list).map_or(&[] as &[_], Node::elements) {
                if is_null(branch) {
                    out.set("nullable", Node::Bool(true));
                } else {
                    branches.push(self.clean(branch, references, nested + 1));
                }
            }
        }
        match branches.len() {
            0 => {}
            // A choice of one is no choice: its members go up, ours win.
            1 => {
                let Some(Node::Object(only)) = branches.pop() else { return };
                let Node::Object(members) = out else { return };
                for (name, value) in only {
                    let plain = name.plain();
                    if !members.iter().any(|(other, _)| other.is(&plain)) {
                        members.push((name, value));
                    }
                }
            }
            _ => out.set("anyOf", Node::Array(branches)),
        }
    }

    /// The schema with the branches of its `allOf` put into it; `None` if it has none.
    fn merge_all_of(&mut self, schema: &Node<'a>, references: usize) -> Option<Node<'a>> {
        let branches = schema.get("allOf").map(Node::elements).filter(|list| !list.is_empty())?.to_vec();
        self.nodes += schema.size();
        let mut merged = schema.clone();
        merged.take("allOf");
        for mut branch in branches {
            // Follow references of the branch itself; those inside it are followed later.
            for _ in references..REFERENCES_MAX {
                let Some(reference) = branch.get("$ref").and_then(Node::as_str).map(|text| text.into_owned()) else {
                    break;
                };
                let Some(target) = self.definition(&reference) else { break };
                self.nodes += target.size();
                if self.nodes > NODES_MAX {
                    break;
                }
                branch = target.clone();
            }
            if self.nodes > NODES_MAX {
                break;
            }
            if references < REFERENCES_MAX
                && let Some(inner) = self.merge_all_of(&branch, references + 1)
            {
                branch = inner;
            }
            absorb(&mut merged, branch);
        }
        Some(merged)
    }
}

/// Puts the members of `branch` into `schema`; properties and required names add up, for the rest the first one wins.
fn absorb<'a>(schema: &mut Node<'a>, branch: Node<'a>) {
    let Node::Object(members) = branch else { return };
    for (name, value) in members {
        let plain = name.plain();
        let Node::Object(own) = &mut *schema else { return };
        match (own.iter_mut().find(|(other, _)| other.is(&plain)), value) {
            (None, value) => own.push((name, value)),
            (Some((_, Node::Object(mine))), Node::Object(theirs)) if plain == "properties" => {
                let known: std::collections::HashSet<_> = mine.iter().map(|(name, _)| name.plain()).collect();
                let new: Vec<_> = theirs.into_iter().filter(|(name, _)| !known.contains(&name.plain())).collect();
                drop(known);
                mine.extend(new);
            }
            (Some((_, Node::Array(mine))), Node::Array(theirs)) if plain == "required" => {
                let known: std::collections::HashSet<_> =
                    mine.iter().filter_map(|name| name.as_str().map(|name| name.into_owned())).collect();
                mine.extend(
                    theirs.into_iter().filter(|name| name.as_str().is_some_and(|name| !known.contains(&*name))),
                );
            }
            (Some(_), _) => {}
        }
    }
}

/// Writes `type` (and `nullable`) and returns the types for `anyOf` if there are several.
fn types(schema: &Node<'_>, out: &mut Node<'_>) -> Vec<&'static str> {
    let upper = |word: &str| {
        let found = TYPES.iter().find(|(upper, lower)| *lower == word || *upper == word);
        found.map(|(upper, _)| *upper)
    };
    let mut named: Vec<&'static str> = match schema.get("type") {
        Some(Node::Array(list)) => list.iter().filter_map(|word| word.as_str().and_then(|word| upper(&word))).collect(),
        Some(word) => word.as_str().and_then(|word| upper(&word)).into_iter().collect(),
        // Without a type the service cannot tell what the members mean.
        None if schema.get("properties").is_some() => vec!["OBJECT"],
        None if schema.get("items").is_some() => vec!["ARRAY"],
        None => Vec::new(),
    };
    if named.len() > 1 && named.contains(&"NULL") {
        named.retain(|word| *word != "NULL");
        out.set("nullable", Node::Bool(true));
    }
    match named[..] {
        [] => Vec::new(),
        [only] => {
            out.set("type", Node::word(only));
            Vec::new()
        }
        _ => named,
    }
}

/// Writes `enum` from `enum` and `const`: strings only, other values are told in words.
fn enumerate<'a>(schema: &Node<'a>, out: &mut Node<'a>) {
    let constant = schema.get("const").map(std::slice::from_ref);
    let Some(values) = constant.or_else(|| schema.get("enum").map(Node::elements)) else { return };
    let null = |value: &Node<'_>| matches!(value, Node::Raw(raw) if raw.is_null());
    let (nulls, values): (Vec<&Node<'a>>, Vec<&Node<'a>>) = values.iter().partition(|value| null(value));
    if !nulls.is_empty() {
        out.set("nullable", Node::Bool(true));
    }
    if values.is_empty() {
        return;
    }
    let strings = values.iter().any(|value| value.as_str().is_some());
    let stringly = out.has_type("STRING") || (out.get("type").is_none() && strings);
    if stringly {
        out.set("type", Node::word("STRING"));
        let words = values.iter().map(|value| match value.as_str() {
            Some(_) => (*value).clone(),
            None => Node::text(value.json()),
        });
        out.set("enum", Node::Array(words.collect()));
    } else {
        let words: Vec<_> = values.iter().map(|value| value.json()).collect();
        out.describe(&format!("one of: {}", words.join(", ")));
    }
}

fn is_null(schema: &Node<'_>) -> bool {
    !matches!(schema.get("type"), Some(Node::Array(_))) && schema.has_type("null")
}
