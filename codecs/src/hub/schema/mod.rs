//! JSON schemas of tools and answers in the form that each target takes.
//!
//! | target | function | what it changes |
//! |---|---|---|
//! | Ollama, formats of the OpenAI dialects | [`as_given`] | nothing |
//! | tools of the OpenAI dialects | [`parameters`] | adds a missing `type` and `properties` at the top |
//! | Anthropic tools | [`anthropic`] | merges alternatives at the top, which the service refuses |
//! | Anthropic tools with `strict` | [`anthropic_strict`] | the same, and takes limits and recursion out |
//! | Anthropic answers | [`strict`] | the subset that structured outputs take |
//! | Gemini, JSON schema | [`gemini_json`] | drops annotations |
//! | Gemini, `Schema` | [`gemini_subset`] | the OpenAPI subset |
//!
//! Schemas written in Gemini's upper-case type names are lowered on the way. Nothing here validates a schema, and
//! nothing is resolved outside the document. Every walk is bounded: nesting by `tree::DEPTH_MAX`, inlined references
//! by depth and by a budget of nodes.

mod anthropic;
mod gemini;
mod plain;
mod strict;
mod tree;

pub use anthropic::anthropic;
pub use gemini::{gemini_json, gemini_subset};
pub use plain::{as_given, parameters};
pub use strict::{anthropic_strict, strict};

use super::request::Tool;
use crate::json::Raw;

/// A schema as the client wrote it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Given<'a> {
    /// The schema; `None` where the client gave none.
    pub raw: Option<Raw<'a>>,
    /// Whether it is written in Gemini's upper-case type names.
    pub gemini_types: bool,
}

impl<'a> Given<'a> {
    /// A schema that is there.
    pub fn new(raw: Raw<'a>, gemini_types: bool) -> Self {
        Self { raw: Some(raw), gemini_types }
    }

    /// The schema of a tool's arguments.
    pub fn of_tool(tool: &Tool<'a>) -> Self {
        Self { raw: tool.schema, gemini_types: tool.gemini_types }
    }

    /// The schema if it is an object; `true`, `null` and other values say nothing.
    fn object(self) -> Option<Raw<'a>> {
        self.raw.filter(|raw| raw.is_object())
    }

    /// The schema as a tree, with lower-case type names.
    fn tree(self) -> tree::Node<'a> {
        let mut root = self.object().map_or(tree::Node::Object(Vec::new()), tree::Node::of);
        if self.gemini_types {
            plain::lower(&mut root);
        }
        root
    }
}

#[cfg(test)]
mod tests;
