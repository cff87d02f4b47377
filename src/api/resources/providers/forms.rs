//! What providers look like in requests and answers.

use super::super::{SOURCE, probe::PROBED};
use crate::api::{
    page::list_of,
    schema::{
        COUNT, COUNT_OR_NULL, Object, Schema, TEXT, TEXT_OR_NULL, TEXTS, TIME_OR_NULL, line, name, needed, optional,
    },
};

pub(super) const AUTH_TYPES: &[&str] = &["api_key", "subscription", "oauth", "cookie", "none"];
pub(super) const FORMATS: &[&str] = &["openai_chat", "openai_responses", "anthropic", "gemini", "ollama", "openai"];

/// What a provider is made of. Members that only answers have are passed over, so that an answer can be sent back.
pub(super) const WRITE: Object = Object {
    name: "ProviderWrite",
    members: &[
        needed("provider", name(64), "a preset (see /api/presets), or any word for a service of your own"),
        optional("name", name(64), "unique; the prefix in provider/model. The preset's name unless said"),
        optional("authType", Schema::Word(AUTH_TYPES), "api_key unless said; none for services without a credential"),
        optional("format", Schema::Word(FORMATS), "its dialect; the preset's unless said"),
        optional("baseUrl", line(2_048), "up to where the dialect's own path begins; the preset's unless said"),
        optional("email", line(254), "the account, for people"),
        optional("priority", Schema::Integer(-1_000_000, 1_000_000), "lower comes first; 100 unless said"),
        optional("isActive", Schema::Bool, ""),
        optional(
            "models",
            Schema::List(&name(256), 1_000),
            "names and patterns such as gpt-*; the preset's unless said",
        ),
        optional("tags", Schema::List(&name(64), 50), ""),
        optional("headers", Schema::Map(&Schema::Nullable(&line(8_192))), "added to every request; null removes one"),
        optional("apiKey", name(16_384), "the credential; it is never shown again"),
        optional(
            "data",
            Schema::Map(&Schema::Any),
            "further settings of the provider (flavour, stallTimeout, …), and notes of yours",
        ),
        optional("id", Schema::Any, "passed over, as are all below"),
        optional("apiKeySet", Schema::Any, ""),
        optional("apiKeyHint", Schema::Any, ""),
        optional("state", Schema::Any, ""),
        optional("source", Schema::Any, ""),
        optional("readOnly", Schema::Any, ""),
        optional("inForce", Schema::Any, ""),
        optional("notes", Schema::Any, ""),
        optional("createdAt", Schema::Any, ""),
        optional("updatedAt", Schema::Any, ""),
    ],
};
pub(super) const PROVIDER: Object = Object {
    name: "Provider",
    members: &[
        needed("id", TEXT, ""),
        needed("provider", TEXT, ""),
        needed("name", TEXT, ""),
        needed("authType", Schema::Word(AUTH_TYPES), ""),
        needed("format", Schema::Nullable(&Schema::Word(FORMATS)), ""),
        needed("baseUrl", TEXT_OR_NULL, ""),
        needed("email", TEXT_OR_NULL, ""),
        needed("priority", Schema::Integer(i64::MIN, i64::MAX), ""),
        needed("isActive", Schema::Bool, ""),
        needed("models", TEXTS, ""),
        needed("tags", TEXTS, ""),
        needed("headers", Schema::Map(&TEXT), "their names; values are not shown"),
        needed("apiKeySet", Schema::Bool, ""),
        needed("apiKeyHint", TEXT_OR_NULL, "first three and last four characters of a long one"),
        needed("data", Schema::Map(&Schema::Any), ""),
        needed(
            "state",
            Schema::Object(&Object {
                name: "ProviderState",
                members: &[
                    needed("status", Schema::Word(&["ok", "cooling", "inactive", "not_in_force"]), ""),
                    needed("cooldownUntil", TIME_OR_NULL, ""),
                ],
            }),
            "",
        ),
        needed("source", SOURCE, "where it is defined"),
        needed("readOnly", Schema::Bool, "whether only its file can change it"),
        needed("inForce", Schema::Bool, "whether requests are sent to it"),
        needed("notes", TEXTS, "why it is not in force"),
        needed("createdAt", TIME_OR_NULL, ""),
        needed("updatedAt", TIME_OR_NULL, ""),
    ],
};
pub(super) const PROVIDERS: Schema = list_of!("ProviderList", Schema::Object(&PROVIDER));
pub(super) const MODEL: Object = Object {
    name: "OfferedModel",
    members: &[needed("id", TEXT, ""), needed("name", TEXT, ""), needed("contextWindow", COUNT_OR_NULL, "tokens")],
};
pub(super) const MODELS: Object = Object {
    name: "OfferedModels",
    members: &[
        needed("data", Schema::List(&Schema::Object(&MODEL), usize::MAX), ""),
        needed("count", COUNT, ""),
        needed(
            "source",
            Schema::Word(&["live", "cache", "declared"]),
            "asked now, up to five minutes ago, or not at all",
        ),
    ],
};
pub(super) const VALIDATE: Object = Object {
    name: "ProviderValidate",
    members: &[
        optional("baseUrl", line(2_048), "needed unless a preset has one"),
        optional("apiKey", name(16_384), ""),
        optional("format", Schema::Word(FORMATS), "openai_chat unless said"),
        optional("headers", Schema::Map(&line(8_192)), ""),
        optional("preset", name(64), ""),
        optional("models", Schema::List(&name(256), 10), "asked where there is no list of models"),
    ],
};
pub(super) const BATCH: Object =
    Object { name: "TestBatch", members: &[optional("providerIds", Schema::List(&name(80), 200), "all unless said")] };
pub(super) const BATCH_RESULT: Object = Object {
    name: "TestBatchResult",
    members: &[needed("results", Schema::List(&Schema::Object(&PROBED), usize::MAX), ""), needed("count", COUNT, "")],
};
pub(super) const TEST_MODELS: Object = Object {
    name: "TestModels",
    members: &[
        optional("models", Schema::List(&name(256), 50), "those that are declared by name unless said"),
        optional("prompt", line(1_000), ""),
    ],
};
pub(in crate::api::resources) const TESTED_MODEL: Object = Object {
    name: "TestedModel",
    members: &[
        needed("model", TEXT, ""),
        needed("status", Schema::Word(&["up", "down"]), ""),
        needed("latencyMs", COUNT, ""),
        needed("httpCode", COUNT_OR_NULL, ""),
        needed("error", TEXT_OR_NULL, ""),
    ],
};
pub(super) const TESTED_MODELS: Object = Object {
    name: "TestedModels",
    members: &[
        needed("results", Schema::List(&Schema::Object(&TESTED_MODEL), usize::MAX), ""),
        needed("count", COUNT, ""),
    ],
};
pub(super) const REORDER: Object = Object {
    name: "Reorder",
    members: &[
        optional("before", Schema::Nullable(&name(80)), "the provider in front of which it is put; null for the end"),
        optional("priority", Schema::Integer(-1_000_000, 1_000_000), "or its priority"),
    ],
};

pub(super) const CLIENT: Object = Object {
    name: "ClientHints",
    members: &[
        needed("baseURL", TEXT, "for clients of OpenAI"),
        needed("origin", TEXT, "for clients of Anthropic, Gemini and Ollama"),
        needed("apiKeyEnv", TEXT, "the variable in which clients keep a key of ours"),
        needed("compatible", TEXTS, "the dialects that are spoken"),
        needed("endpoints", Schema::Map(&TEXT), "by dialect"),
    ],
};
