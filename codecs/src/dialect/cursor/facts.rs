//! What an encoder must know of the request that it answers.

use std::{collections::HashMap, sync::Arc};

/// A call of the editor that asks a model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Rpc {
    /// `aiserver.v1.ChatService/StreamUnifiedChat`: messages without a wrapper.
    Chat,
    /// `aiserver.v1.ChatService/StreamUnifiedChatWithTools`: the same in a wrapper.
    #[default]
    ChatWithTools,
    /// `agent.v1.AgentService/Run`: the protocol of the newer agent hosts.
    Agent,
}

impl Rpc {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Chat, Self::ChatWithTools, Self::Agent];

    /// Path of the call.
    pub fn path(self) -> &'static str {
        match self {
            Self::Chat => "/aiserver.v1.ChatService/StreamUnifiedChat",
            Self::ChatWithTools => "/aiserver.v1.ChatService/StreamUnifiedChatWithTools",
            Self::Agent => "/agent.v1.AgentService/Run",
        }
    }

    /// The call of that path, without its query. The forms that take their messages from other calls (`…SSE`, `…Poll`)
    /// are none of these: their bodies hold an id only.
    pub fn of_path(path: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|rpc| rpc.path().as_bytes() == path)
    }

    /// What keeps a silent stream alive; the editor gives up after 30 seconds without a frame. The agent protocol has a
    /// message for it, the others take one without fields.
    pub fn keep_alive(self) -> &'static [u8] {
        match self {
            Self::Chat | Self::ChatWithTools => b"\0\0\0\0\0",
            Self::Agent => b"\0\0\0\0\x04\x0a\x02\x6a\0",
        }
    }
}

/// Facts of a request. Cheap to clone.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    /// The tools of MCP servers by the names that they have on the hub. The editor's own tools are not among them.
    pub tools: Arc<HashMap<String, McpTool>>,
    /// Whether the client's side stays open, so that results of tools come on the same stream. Calls then leave the
    /// answer open: no end-of-stream envelope follows them.
    pub two_way: bool,
    /// Whether a model is told of tools.
    pub has_tools: bool,
    /// Agent: executions that earlier rounds of this stream have asked for.
    pub executions: u32,
}

/// A tool of an MCP server, as the editor knows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct McpTool {
    /// The server.
    pub server: String,
    /// The tool's name among all tools.
    pub name: String,
    /// Its name at the server.
    pub short: String,
}

/// Server of tools that belong to no MCP server.
pub(super) const CUSTOM: &str = "custom";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_to_calls_and_their_neighbours_do_not() {
        for rpc in Rpc::ALL {
            assert_eq!(Rpc::of_path(rpc.path().as_bytes()), Some(rpc));
            assert_eq!(Rpc::of_path(format!("{}SSE", rpc.path()).as_bytes()), None);
        }
        assert_eq!(Rpc::of_path(b"/agent.v1.AgentService/RunTests"), None);
    }
}
