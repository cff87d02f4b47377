//! Field numbers, together by message. The messages are the vendor's; the names are theirs where they are known.

/// `aiserver.v1.StreamUnifiedChatRequestWithTools`
pub(super) mod chat_client {
    pub(in crate::dialect::cursor) const REQUEST: u32 = 1;
    pub(in crate::dialect::cursor) const TOOL_RESULT: u32 = 2;
}

/// `aiserver.v1.StreamUnifiedChatRequest`
pub(super) mod chat {
    pub(in crate::dialect::cursor) const CONVERSATION: u32 = 1;
    pub(in crate::dialect::cursor) const EXPLICIT_CONTEXT: u32 = 3;
    pub(in crate::dialect::cursor) const MODEL_DETAILS: u32 = 5;
    pub(in crate::dialect::cursor) const CURRENT_FILE: u32 = 15;
    pub(in crate::dialect::cursor) const CONVERSATION_ID: u32 = 23;
    pub(in crate::dialect::cursor) const SUPPORTED_TOOLS: u32 = 29;
    pub(in crate::dialect::cursor) const MCP_TOOLS: u32 = 34;
    pub(in crate::dialect::cursor) const SHOULD_DISABLE_TOOLS: u32 = 48;
    pub(in crate::dialect::cursor) const THINKING_LEVEL: u32 = 49;
}

/// `ExplicitContext`; the rules' own fields are those of `rule`.
pub(super) mod explicit_context {
    pub(in crate::dialect::cursor) const CONTEXT: u32 = 1;
    pub(in crate::dialect::cursor) const REPO_CONTEXT: u32 = 2;
    pub(in crate::dialect::cursor) const RULES: u32 = 3;
    pub(in crate::dialect::cursor) const MODE_SPECIFIC_CONTEXT: u32 = 4;
}

/// A rule of the user or the project. Unconfirmed: no capture of one was at hand.
pub(super) mod rule {
    pub(in crate::dialect::cursor) const NAME: u32 = 1;
    pub(in crate::dialect::cursor) const DESCRIPTION: u32 = 2;
    pub(in crate::dialect::cursor) const BODY: u32 = 3;
}

/// `ModelDetails` of chats; of the agent, the first number is that of `model_id`.
pub(super) mod model_details {
    pub(in crate::dialect::cursor) const NAME: u32 = 1;
}

/// `CurrentFile`
pub(super) mod current_file {
    pub(in crate::dialect::cursor) const PATH: u32 = 1;
    pub(in crate::dialect::cursor) const CONTENTS: u32 = 2;
}

/// `MCPTool` of requests, and of `MCPParams` in answers, which has them as field 1.
pub(super) mod mcp_tool {
    pub(in crate::dialect::cursor) const NAME: u32 = 1;
    pub(in crate::dialect::cursor) const DESCRIPTION: u32 = 2;
    pub(in crate::dialect::cursor) const PARAMETERS: u32 = 3;
    pub(in crate::dialect::cursor) const SERVER: u32 = 4;
}

/// `ConversationMessage`
pub(super) mod bubble {
    pub(in crate::dialect::cursor) const TEXT: u32 = 1;
    pub(in crate::dialect::cursor) const TYPE: u32 = 2;
    pub(in crate::dialect::cursor) const IMAGES: u32 = 10;
    pub(in crate::dialect::cursor) const TOOL_RESULTS: u32 = 18;
    pub(in crate::dialect::cursor) const THINKING: u32 = 45;
    pub(in crate::dialect::cursor) const ALL_THINKING_BLOCKS: u32 = 46;
    /// Value of `TYPE`: what the model said.
    pub(in crate::dialect::cursor) const AI: u64 = 2;
}

/// An image: its bytes.
pub(super) mod image {
    pub(in crate::dialect::cursor) const DATA: u32 = 1;
}

/// `Thinking`, in conversations and in answers.
pub(super) mod thinking {
    pub(in crate::dialect::cursor) const TEXT: u32 = 1;
    pub(in crate::dialect::cursor) const SIGNATURE: u32 = 2;
    pub(in crate::dialect::cursor) const REDACTED: u32 = 3;
}

/// `ConversationMessage.ToolResult`
pub(super) mod bubble_result {
    pub(in crate::dialect::cursor) const CALL_ID: u32 = 1;
    pub(in crate::dialect::cursor) const NAME: u32 = 2;
    pub(in crate::dialect::cursor) const ARGS: u32 = 4;
    pub(in crate::dialect::cursor) const RAW_ARGS: u32 = 5;
    pub(in crate::dialect::cursor) const CONTENT: u32 = 7;
    pub(in crate::dialect::cursor) const RESULT: u32 = 8;
    pub(in crate::dialect::cursor) const ERROR: u32 = 9;
    pub(in crate::dialect::cursor) const IMAGES: u32 = 10;
    pub(in crate::dialect::cursor) const CALL: u32 = 11;
}

/// `ToolResultError`
pub(super) mod result_error {
    pub(in crate::dialect::cursor) const CLIENT_TEXT: u32 = 1;
    pub(in crate::dialect::cursor) const MODEL_TEXT: u32 = 2;
}

/// `ClientSideToolV2Result`
pub(super) mod side_result {
    pub(in crate::dialect::cursor) const ERROR: u32 = 8;
    pub(in crate::dialect::cursor) const MCP_RESULT: u32 = 28;
    pub(in crate::dialect::cursor) const CALL_ID: u32 = 35;
}

/// `MCPResult`
pub(super) mod mcp_result {
    pub(in crate::dialect::cursor) const RESULT: u32 = 2;
}

/// `ClientSideToolV2Call`
pub(super) mod side_call {
    pub(in crate::dialect::cursor) const TOOL: u32 = 1;
    pub(in crate::dialect::cursor) const CALL_ID: u32 = 3;
    pub(in crate::dialect::cursor) const NAME: u32 = 9;
    pub(in crate::dialect::cursor) const RAW_ARGS: u32 = 10;
    pub(in crate::dialect::cursor) const IS_STREAMING: u32 = 14;
    pub(in crate::dialect::cursor) const IS_LAST_MESSAGE: u32 = 15;
    pub(in crate::dialect::cursor) const MCP_PARAMS: u32 = 27;
    pub(in crate::dialect::cursor) const TOOL_INDEX: u32 = 48;
    /// Value of `TOOL`: a tool of an MCP server.
    pub(in crate::dialect::cursor) const MCP: u64 = 19;
}

/// `MCPParams`
pub(super) mod mcp_params {
    pub(in crate::dialect::cursor) const TOOLS: u32 = 1;
}

/// `StreamUnifiedChatResponseWithTools`
pub(super) mod chat_server {
    pub(in crate::dialect::cursor) const TOOL_CALL: u32 = 1;
    pub(in crate::dialect::cursor) const RESPONSE: u32 = 2;
}

/// `StreamUnifiedChatResponse`
pub(super) mod response {
    pub(in crate::dialect::cursor) const TEXT: u32 = 1;
    pub(in crate::dialect::cursor) const THINKING: u32 = 25;
    pub(in crate::dialect::cursor) const TOOL_CALL_V2: u32 = 36;
}

/// `ErrorDetails`, which rides in errors as base64.
pub(super) mod error_details {
    pub(in crate::dialect::cursor) const ERROR: u32 = 1;
    pub(in crate::dialect::cursor) const DETAILS: u32 = 2;
    pub(in crate::dialect::cursor) const TITLE: u32 = 1;
    pub(in crate::dialect::cursor) const DETAIL: u32 = 2;
    pub(in crate::dialect::cursor) const SHOW_REQUEST_ID: u32 = 5;
    /// Value of `ERROR`: a provider failed. Every other value says something about the user's account.
    pub(in crate::dialect::cursor) const PROVIDER: u64 = 57;
}

/// `agent.v1.AgentClientMessage`
pub(super) mod agent_client {
    pub(in crate::dialect::cursor) const RUN: u32 = 1;
    pub(in crate::dialect::cursor) const EXEC: u32 = 2;
    pub(in crate::dialect::cursor) const KV: u32 = 3;
    pub(in crate::dialect::cursor) const ACTION: u32 = 4;
    pub(in crate::dialect::cursor) const EXEC_CONTROL: u32 = 5;
    pub(in crate::dialect::cursor) const HEARTBEAT: u32 = 7;
}

/// `AgentRunRequest`
pub(super) mod run {
    pub(in crate::dialect::cursor) const STATE: u32 = 1;
    pub(in crate::dialect::cursor) const ACTION: u32 = 2;
    pub(in crate::dialect::cursor) const MODEL_DETAILS: u32 = 3;
    pub(in crate::dialect::cursor) const MCP_TOOLS: u32 = 4;
    pub(in crate::dialect::cursor) const CONVERSATION_ID: u32 = 5;
    pub(in crate::dialect::cursor) const CUSTOM_SYSTEM_PROMPT: u32 = 8;
    pub(in crate::dialect::cursor) const REQUESTED_MODEL: u32 = 9;
    pub(in crate::dialect::cursor) const PRE_FETCHED_BLOBS: u32 = 17;
}

/// A blob that came along.
pub(super) mod blob {
    pub(in crate::dialect::cursor) const ID: u32 = 1;
    pub(in crate::dialect::cursor) const DATA: u32 = 2;
}

/// `ConversationState`
pub(super) mod state {
    pub(in crate::dialect::cursor) const ROOT_PROMPT: u32 = 1;
    pub(in crate::dialect::cursor) const SUMMARY: u32 = 6;
    pub(in crate::dialect::cursor) const TURNS: u32 = 8;
}

/// A turn of the state: field 1, with these.
pub(super) mod turn {
    pub(in crate::dialect::cursor) const AGENT: u32 = 1;
    pub(in crate::dialect::cursor) const USER_MESSAGE: u32 = 1;
    pub(in crate::dialect::cursor) const STEPS: u32 = 2;
}

/// A step of a turn.
pub(super) mod step {
    pub(in crate::dialect::cursor) const ASSISTANT: u32 = 1;
    pub(in crate::dialect::cursor) const TOOL_CALL: u32 = 2;
    pub(in crate::dialect::cursor) const THINKING: u32 = 3;
}

/// `ConversationAction`, in a run and alone.
pub(super) mod action {
    pub(in crate::dialect::cursor) const USER_MESSAGE: u32 = 1;
    pub(in crate::dialect::cursor) const CANCEL: u32 = 3;
}

/// `UserMessageAction`
pub(super) mod user_action {
    pub(in crate::dialect::cursor) const MESSAGE: u32 = 1;
    pub(in crate::dialect::cursor) const REQUEST_CONTEXT: u32 = 2;
}

/// `UserMessage`
pub(super) mod user_message {
    pub(in crate::dialect::cursor) const TEXT: u32 = 1;
    pub(in crate::dialect::cursor) const SELECTED_CONTEXT: u32 = 3;
    pub(in crate::dialect::cursor) const MODE: u32 = 4;
    pub(in crate::dialect::cursor) const TEXT_BLOB: u32 = 18;
    /// Value of `MODE`: tools may be used.
    pub(in crate::dialect::cursor) const AGENT: u64 = 1;
}

/// `SelectedContext`
pub(super) mod selected {
    pub(in crate::dialect::cursor) const IMAGES: u32 = 1;
    /// Files, selections, terminals, rules.
    pub(in crate::dialect::cursor) const TEXTS: [u32; 5] = [4, 5, 6, 7, 10];
}

/// `RequestContext`
pub(super) mod request_context {
    pub(in crate::dialect::cursor) const RULES: u32 = 2;
    pub(in crate::dialect::cursor) const ENV: u32 = 4;
    pub(in crate::dialect::cursor) const TOOLS: u32 = 7;
    pub(in crate::dialect::cursor) const MCP_INSTRUCTIONS: u32 = 14;
}

/// `RequestContextEnv`
pub(super) mod env {
    pub(in crate::dialect::cursor) const OS_VERSION: u32 = 1;
    pub(in crate::dialect::cursor) const WORKSPACES: u32 = 2;
    pub(in crate::dialect::cursor) const SHELL: u32 = 3;
}

/// `McpToolDefinition`; `McpTools` has them as field 1.
pub(super) mod agent_tool {
    pub(in crate::dialect::cursor) const NAME: u32 = 1;
    pub(in crate::dialect::cursor) const DESCRIPTION: u32 = 2;
    pub(in crate::dialect::cursor) const INPUT_SCHEMA: u32 = 3;
    pub(in crate::dialect::cursor) const PROVIDER: u32 = 4;
    pub(in crate::dialect::cursor) const TOOL_NAME: u32 = 5;
}

/// `McpArgs`, of executions and of tool calls.
pub(super) mod mcp_args {
    pub(in crate::dialect::cursor) const NAME: u32 = 1;
    pub(in crate::dialect::cursor) const ARGS: u32 = 2;
    pub(in crate::dialect::cursor) const CALL_ID: u32 = 3;
    pub(in crate::dialect::cursor) const PROVIDER: u32 = 4;
    pub(in crate::dialect::cursor) const TOOL_NAME: u32 = 5;
}

/// `ExecServerMessage` and `ExecClientMessage`: the number of arguments and of their results is the same.
pub(super) mod exec {
    pub(in crate::dialect::cursor) const ID: u32 = 1;
    pub(in crate::dialect::cursor) const SHELL_RESULT: u32 = 2;
    pub(in crate::dialect::cursor) const MCP: u32 = 11;
    pub(in crate::dialect::cursor) const SHELL_STREAM: u32 = 14;
    pub(in crate::dialect::cursor) const EXEC_ID: u32 = 15;
}

/// `ExecClientControlMessage`
pub(super) mod exec_control {
    pub(in crate::dialect::cursor) const STREAM_CLOSE: u32 = 1;
    pub(in crate::dialect::cursor) const THROW: u32 = 2;
    pub(in crate::dialect::cursor) const ID: u32 = 1;
    pub(in crate::dialect::cursor) const ERROR: u32 = 2;
    /// In `ExecServerControlMessage`.
    pub(in crate::dialect::cursor) const ABORT: u32 = 1;
}

/// `ShellStream`
pub(super) mod shell_stream {
    pub(in crate::dialect::cursor) const STDOUT: u32 = 1;
    pub(in crate::dialect::cursor) const STDERR: u32 = 2;
    pub(in crate::dialect::cursor) const EXIT: u32 = 3;
    pub(in crate::dialect::cursor) const START: u32 = 4;
    pub(in crate::dialect::cursor) const BACKGROUNDED: u32 = 7;
    pub(in crate::dialect::cursor) const TEXT: u32 = 1;
    pub(in crate::dialect::cursor) const CODE: u32 = 1;
    pub(in crate::dialect::cursor) const ABORTED: u32 = 4;
}

/// `McpResult`
pub(super) mod agent_mcp_result {
    pub(in crate::dialect::cursor) const CONTENT: u32 = 1;
    pub(in crate::dialect::cursor) const IS_ERROR: u32 = 2;
    pub(in crate::dialect::cursor) const TEXT: u32 = 1;
    pub(in crate::dialect::cursor) const IMAGE: u32 = 2;
}

/// `KvClientMessage`
pub(super) mod kv {
    pub(in crate::dialect::cursor) const ID: u32 = 1;
    pub(in crate::dialect::cursor) const GET_RESULT: u32 = 2;
    pub(in crate::dialect::cursor) const SET_RESULT: u32 = 3;
    /// In `GET_RESULT`.
    pub(in crate::dialect::cursor) const DATA: u32 = 1;
    /// In `SET_RESULT`.
    pub(in crate::dialect::cursor) const ERROR: u32 = 1;
}

/// `KvServerMessage`
pub(super) mod kv_server {
    pub(in crate::dialect::cursor) const ID: u32 = 1;
    pub(in crate::dialect::cursor) const GET_BLOB: u32 = 2;
    pub(in crate::dialect::cursor) const BLOB_ID: u32 = 1;
}

/// `BidiAppendRequest`
pub(super) mod append {
    pub(in crate::dialect::cursor) const DATA: u32 = 1;
    pub(in crate::dialect::cursor) const REQUEST_ID: u32 = 2;
    pub(in crate::dialect::cursor) const SEQNO: u32 = 3;
}

/// `BidiRequestId`
pub(super) mod bidi_request_id {
    pub(in crate::dialect::cursor) const ID: u32 = 1;
}

/// `agent.v1.AgentServerMessage`
pub(super) mod agent_server {
    pub(in crate::dialect::cursor) const UPDATE: u32 = 1;
    pub(in crate::dialect::cursor) const EXEC: u32 = 2;
    pub(in crate::dialect::cursor) const KV: u32 = 4;
    pub(in crate::dialect::cursor) const EXEC_CONTROL: u32 = 5;
}

/// `InteractionUpdate`
pub(super) mod update {
    pub(in crate::dialect::cursor) const TEXT_DELTA: u32 = 1;
    pub(in crate::dialect::cursor) const TOOL_CALL_STARTED: u32 = 2;
    pub(in crate::dialect::cursor) const TOOL_CALL_COMPLETED: u32 = 3;
    pub(in crate::dialect::cursor) const THINKING_DELTA: u32 = 4;
    pub(in crate::dialect::cursor) const THINKING_COMPLETED: u32 = 5;
    pub(in crate::dialect::cursor) const PARTIAL_TOOL_CALL: u32 = 7;
    pub(in crate::dialect::cursor) const TURN_ENDED: u32 = 14;
}

/// `TextDeltaUpdate`, `ThinkingDeltaUpdate`
pub(super) mod delta {
    pub(in crate::dialect::cursor) const TEXT: u32 = 1;
    pub(in crate::dialect::cursor) const THINKING_STYLE: u32 = 2;
}

/// `ToolCallStartedUpdate`, `ToolCallCompletedUpdate`, `PartialToolCallUpdate`
pub(super) mod call_update {
    pub(in crate::dialect::cursor) const CALL_ID: u32 = 1;
    pub(in crate::dialect::cursor) const TOOL_CALL: u32 = 2;
    pub(in crate::dialect::cursor) const ARGS_TEXT_DELTA: u32 = 3;
}

/// `ToolCall`: one field per kind of tool, each with these.
pub(super) mod tool_call {
    pub(in crate::dialect::cursor) const MCP: u32 = 15;
    pub(in crate::dialect::cursor) const ARGS: u32 = 1;
    pub(in crate::dialect::cursor) const RESULT: u32 = 2;
}

/// `TurnEndedUpdate`
pub(super) mod turn_ended {
    pub(in crate::dialect::cursor) const INPUT: u32 = 1;
    pub(in crate::dialect::cursor) const OUTPUT: u32 = 2;
    pub(in crate::dialect::cursor) const CACHE_READ: u32 = 3;
    pub(in crate::dialect::cursor) const CACHE_WRITE: u32 = 4;
}

/// `google.protobuf.Value`, its structs and lists.
pub(super) mod value {
    pub(in crate::dialect::cursor) const NULL: u32 = 1;
    pub(in crate::dialect::cursor) const NUMBER: u32 = 2;
    pub(in crate::dialect::cursor) const STRING: u32 = 3;
    pub(in crate::dialect::cursor) const BOOL: u32 = 4;
    pub(in crate::dialect::cursor) const STRUCT: u32 = 5;
    pub(in crate::dialect::cursor) const LIST: u32 = 6;
    /// Entries of a struct, values of a list.
    pub(in crate::dialect::cursor) const ITEMS: u32 = 1;
    pub(in crate::dialect::cursor) const KEY: u32 = 1;
    pub(in crate::dialect::cursor) const ENTRY_VALUE: u32 = 2;
}
