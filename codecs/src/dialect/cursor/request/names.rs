//! Tools by the names that they have on the hub, and by all that the editor calls them.

use std::{borrow::Cow, collections::HashMap};

use crate::{
    dialect::{
        Dialect,
        cursor::facts::{CUSTOM, McpTool},
    },
    hub::{ToolKind, names::NameMap},
};

/// Most tools of a request; those beyond are dropped.
pub(super) const TOOLS_MAX: usize = 1_024;

/// Names of the tools of one request.
#[derive(Debug)]
pub(super) struct Names {
    map: NameMap,
    /// What the editor calls tools in answers and histories → their names on the hub.
    aliases: HashMap<String, String>,
    tools: HashMap<String, McpTool>,
}

impl Names {
    pub(super) fn new() -> Self {
        // The narrowest rules for names: these pass everywhere.
        Self { map: NameMap::new(Dialect::OpenAiChat), aliases: HashMap::new(), tools: HashMap::new() }
    }

    /// Keeps the name of one of the editor's own tools.
    pub(super) fn reserve(&mut self, name: &str) {
        self.map.reserve_plain(name);
    }

    /// Gives a tool of an MCP server its name; the server is empty or `custom` for tools of none.
    pub(super) fn assign(&mut self, tool: McpTool) -> String {
        let namespace = Some(tool.server.as_str()).filter(|server| !matches!(*server, "" | CUSTOM));
        let given = self.map.assign(namespace, &tool.short, ToolKind::Function);
        let full = format!("mcp_{}_{}", namespace.unwrap_or(CUSTOM), tool.short);
        for alias in [full, tool.name.clone(), tool.short.clone()] {
            self.aliases.entry(alias).or_insert_with(|| given.clone());
        }
        self.tools.entry(given.clone()).or_insert(tool);
        given
    }

    /// The name of a tool of the history. One that is not declared any more keeps the editor's name for it.
    pub(super) fn find(&mut self, name: Cow<'_, str>) -> String {
        match self.aliases.get(&*name) {
            Some(given) => given.clone(),
            None => self.map.find(name.strip_prefix("mcp_custom_").unwrap_or(&name)),
        }
    }

    /// The way back.
    pub(super) fn into_tools(self) -> HashMap<String, McpTool> {
        self.tools
    }
}
