//! What is done to requests and answers between dialects.

use super::{PLAIN, Row};
use crate::settings::{Unsupported, value};

pub(super) const ROWS: &[Row] = &[
    Row {
        name: "estimate_usage",
        value: "BOOL",
        default: "true",
        help: "Estimate token counts (characters / 4) where the upstream gives none; marked as an estimate",
        set: |s, text| {
            s.estimate_usage = value::boolean(text)?;
            Ok(())
        },
        ..PLAIN
    },
    Row {
        name: "usage_pad",
        value: "N",
        default: "0",
        help: "Tokens added to the prompt counts and totals that clients see, so that agents compact earlier; never in metrics",
        set: |s, text| {
            s.usage_pad = value::whole(text, 0)? as u64;
            Ok(())
        },
        ..PLAIN
    },
    Row {
        name: "echo_model",
        value: "BOOL",
        default: "false",
        help: "Answers name the model as the client did (an alias, say) instead of as the provider does",
        set: |s, text| {
            s.echo_model = value::boolean(text)?;
            Ok(())
        },
        ..PLAIN
    },
    Row {
        name: "ollama_tools_row",
        value: "last|early",
        default: "last",
        help: "Where calls of a translated stream stand for Ollama clients: in the last row, or in one of their own before it",
        set: |s, text| {
            s.early_calls = value::word(text, &[("last", false), ("early", true)])?;
            Ok(())
        },
        ..PLAIN
    },
    Row {
        name: "unsupported",
        value: "drop|refuse",
        default: "drop",
        help: "Parameters that the target dialect has no place for: drop and report, or refuse the request",
        set: |s, text| {
            s.unsupported = value::word(text, &[("drop", Unsupported::Drop), ("refuse", Unsupported::Refuse)])?;
            Ok(())
        },
        ..PLAIN
    },
    Row {
        name: "adjust_max_tokens",
        value: "BOOL",
        default: "true",
        help: "Raise max_tokens for translated requests to Anthropic: 32,000 with tools, budget + 1,024 with thinking",
        set: |s, text| {
            s.adjust_max_tokens = value::boolean(text)?;
            Ok(())
        },
        ..PLAIN
    },
];
