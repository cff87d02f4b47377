//! The files of a vector.

use std::{collections::HashSet, path::PathBuf, sync::Arc};

use codecs::{
    dialect::{ChatFlavour, Context, Dialect, Placeholder, Target, ToolIdentity, ToolTable},
    hub::ToolKind,
};
use serde_json::Value;

/// Where the vectors are.
fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/dialects")
}

/// Names of all vectors, sorted.
pub(crate) fn names() -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder())
        .unwrap()
        .filter_map(|entry| {
            entry.unwrap().file_name().into_string().unwrap().strip_suffix(".meta.json").map(str::to_owned)
        })
        .collect();
    names.sort();
    names
}

/// One vector.
pub(crate) struct Vector {
    pub(crate) meta: Value,
    pub(crate) input: Vec<u8>,
    pub(crate) output: Vec<u8>,
}

impl Vector {
    pub(crate) fn load(name: &str) -> Self {
        let read = |file: &str| std::fs::read(folder().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        let meta: Value = serde_json::from_slice(&read(&format!("{name}.meta.json"))).unwrap();
        Self { input: read(meta["in"].as_str().unwrap()), output: read(meta["out"].as_str().unwrap()), meta }
    }

    pub(crate) fn kind(&self) -> &str {
        self.meta["kind"].as_str().unwrap()
    }

    pub(crate) fn from(&self) -> Dialect {
        Dialect::parse(self.meta["from"].as_str().unwrap()).unwrap()
    }

    pub(crate) fn to(&self) -> Dialect {
        Dialect::parse(self.meta["to"].as_str().unwrap()).unwrap()
    }

    pub(crate) fn opt(&self, name: &str) -> Option<&Value> {
        self.meta.get("opts").and_then(|opts| opts.get(name))
    }

    pub(crate) fn opt_str(&self, name: &str) -> Option<&str> {
        self.opt(name).map(|value| value.as_str().unwrap())
    }

    pub(crate) fn opt_bool(&self, name: &str) -> bool {
        self.opt(name).is_some_and(|value| value.as_bool().unwrap())
    }

    /// What a stream or reply codec is told in this run.
    pub(crate) fn context(&self) -> Context {
        let mut tools = ToolTable::default();
        for name in self.opt("custom_tools").and_then(Value::as_array).into_iter().flatten() {
            let name = name.as_str().unwrap();
            tools.insert(name, ToolIdentity { name: name.to_owned(), namespace: None, kind: ToolKind::Custom });
        }
        for (sent, identity) in self.opt("tool_names").and_then(Value::as_object).into_iter().flatten() {
            tools.insert(sent.as_str(), identity_of(identity));
        }
        let used_ids: HashSet<String> = self
            .opt("used_ids")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .map(|id| id.as_str().unwrap().to_owned())
            .collect();
        Context {
            now: 1_700_000_000,
            new_id: self.opt_str("new_id").unwrap_or("newid0000000000000000000").to_owned(),
            include_usage: self.opt_bool("include_usage"),
            input_tokens_estimate: self.opt("input_tokens_estimate").map_or(0, |n| n.as_u64().unwrap()),
            tools: Arc::new(tools),
            used_ids: Arc::new(used_ids),
            generate: self.opt_str("api") == Some("generate"),
            ..Context::default()
        }
    }

    /// What a request encoder is told in this run, apart from model and stream.
    pub(crate) fn target(&self) -> Target {
        Target {
            flavour: if self.opt_str("upstream") == Some("openai") { ChatFlavour::OpenAi } else { ChatFlavour::Compat },
            reasoning_echo: self.opt_bool("reasoning_echo"),
            placeholder: match self.opt_str("placeholder") {
                Some("all") => Placeholder::All,
                Some("tool") => Placeholder::Tool,
                _ => Placeholder::Off,
            },
            gemini3: self.opt_bool("gemini3"),
            ..Target::default()
        }
    }
}

/// `"name"` or `{"namespace":…,"name":…}`.
pub(crate) fn identity_of(value: &Value) -> ToolIdentity {
    match value {
        Value::String(name) => ToolIdentity { name: name.clone(), ..ToolIdentity::default() },
        _ => ToolIdentity {
            name: value["name"].as_str().unwrap().to_owned(),
            namespace: Some(value["namespace"].as_str().unwrap().to_owned()),
            ..ToolIdentity::default()
        },
    }
}
