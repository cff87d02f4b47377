//! Cursor's messages as prost reads and writes them, from declarations of their own: nothing of our reader, our writer or our
//! field numbers is used. Made of the same tables as ours, so that a number that is wrong in both is not found here.

// Every test program uses its part of this.
#![allow(dead_code, clippy::unwrap_used)]

use std::collections::HashMap;

use prost::{Message, Oneof};
use serde_json::Value;

use super::Heard;

// Chats.

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ChatRequestWithTools {
    #[prost(message, optional, tag = "1")]
    pub(crate) request: Option<ChatRequest>,
    #[prost(message, optional, tag = "2")]
    pub(crate) result: Option<SideResult>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ChatRequest {
    #[prost(message, repeated, tag = "1")]
    pub(crate) conversation: Vec<Bubble>,
    #[prost(message, optional, tag = "3")]
    pub(crate) explicit_context: Option<ExplicitContext>,
    #[prost(message, optional, tag = "5")]
    pub(crate) model_details: Option<ModelDetails>,
    #[prost(message, optional, tag = "15")]
    pub(crate) current_file: Option<CurrentFile>,
    #[prost(string, tag = "23")]
    pub(crate) conversation_id: String,
    #[prost(message, optional, tag = "26")]
    pub(crate) environment: Option<Environment>,
    #[prost(bool, tag = "27")]
    pub(crate) is_agentic: bool,
    #[prost(uint32, repeated, tag = "29")]
    pub(crate) supported_tools: Vec<u32>,
    #[prost(message, repeated, tag = "34")]
    pub(crate) mcp_tools: Vec<McpTool>,
    #[prost(uint32, tag = "46")]
    pub(crate) unified_mode: u32,
    #[prost(bool, tag = "48")]
    pub(crate) should_disable_tools: bool,
    #[prost(uint32, tag = "49")]
    pub(crate) thinking_level: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ExplicitContext {
    #[prost(string, tag = "1")]
    pub(crate) context: String,
    #[prost(string, tag = "2")]
    pub(crate) repo_context: String,
    #[prost(message, repeated, tag = "3")]
    pub(crate) rules: Vec<Rule>,
    #[prost(string, tag = "4")]
    pub(crate) mode_specific_context: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Rule {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(string, tag = "2")]
    pub(crate) description: String,
    #[prost(string, tag = "3")]
    pub(crate) body: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ModelDetails {
    #[prost(string, tag = "1")]
    pub(crate) model_name: String,
    #[prost(string, optional, tag = "3")]
    pub(crate) third: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct CurrentFile {
    #[prost(string, tag = "1")]
    pub(crate) path: String,
    #[prost(string, tag = "2")]
    pub(crate) contents: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Environment {
    #[prost(string, tag = "1")]
    pub(crate) platform: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct McpTool {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(string, tag = "2")]
    pub(crate) description: String,
    #[prost(string, tag = "3")]
    pub(crate) parameters: String,
    #[prost(string, tag = "4")]
    pub(crate) server_name: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Bubble {
    #[prost(string, tag = "1")]
    pub(crate) text: String,
    #[prost(uint32, tag = "2")]
    pub(crate) kind: u32,
    #[prost(message, repeated, tag = "10")]
    pub(crate) images: Vec<Image>,
    #[prost(string, tag = "13")]
    pub(crate) bubble_id: String,
    #[prost(message, repeated, tag = "18")]
    pub(crate) tool_results: Vec<BubbleResult>,
    #[prost(message, optional, tag = "45")]
    pub(crate) thinking: Option<Thinking>,
    #[prost(message, repeated, tag = "46")]
    pub(crate) all_thinking_blocks: Vec<Thinking>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Image {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) data: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Thinking {
    #[prost(string, tag = "1")]
    pub(crate) text: String,
    #[prost(string, tag = "2")]
    pub(crate) signature: String,
    #[prost(string, tag = "3")]
    pub(crate) redacted: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct BubbleResult {
    #[prost(string, tag = "1")]
    pub(crate) tool_call_id: String,
    #[prost(string, tag = "2")]
    pub(crate) tool_name: String,
    #[prost(string, tag = "4")]
    pub(crate) args: String,
    #[prost(string, tag = "5")]
    pub(crate) raw_args: String,
    #[prost(string, tag = "7")]
    pub(crate) content: String,
    #[prost(message, optional, tag = "8")]
    pub(crate) result: Option<SideResult>,
    #[prost(message, optional, tag = "9")]
    pub(crate) error: Option<ResultError>,
    #[prost(message, repeated, tag = "10")]
    pub(crate) images: Vec<Image>,
    #[prost(message, optional, tag = "11")]
    pub(crate) tool_call: Option<SideCall>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ResultError {
    #[prost(string, tag = "1")]
    pub(crate) client_text: String,
    #[prost(string, tag = "2")]
    pub(crate) model_text: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct SideResult {
    #[prost(uint32, tag = "1")]
    pub(crate) tool: u32,
    #[prost(message, optional, tag = "8")]
    pub(crate) error: Option<ResultError>,
    #[prost(message, optional, tag = "28")]
    pub(crate) mcp_result: Option<McpResult>,
    #[prost(string, tag = "35")]
    pub(crate) tool_call_id: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct McpResult {
    #[prost(string, tag = "1")]
    pub(crate) selected_tool: String,
    #[prost(string, tag = "2")]
    pub(crate) result: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct SideCall {
    #[prost(uint32, tag = "1")]
    pub(crate) tool: u32,
    #[prost(string, tag = "3")]
    pub(crate) tool_call_id: String,
    #[prost(string, tag = "9")]
    pub(crate) name: String,
    #[prost(string, tag = "10")]
    pub(crate) raw_args: String,
    #[prost(bool, tag = "14")]
    pub(crate) is_streaming: bool,
    #[prost(bool, tag = "15")]
    pub(crate) is_last_message: bool,
    #[prost(message, optional, tag = "27")]
    pub(crate) mcp_params: Option<McpParams>,
    #[prost(uint32, tag = "48")]
    pub(crate) tool_index: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct McpParams {
    #[prost(message, repeated, tag = "1")]
    pub(crate) tools: Vec<McpTool>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ChatResponseWithTools {
    #[prost(message, optional, tag = "1")]
    pub(crate) call: Option<SideCall>,
    #[prost(message, optional, tag = "2")]
    pub(crate) response: Option<ChatResponse>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ChatResponse {
    #[prost(string, tag = "1")]
    pub(crate) text: String,
    #[prost(message, optional, tag = "25")]
    pub(crate) thinking: Option<Thinking>,
    #[prost(message, optional, tag = "36")]
    pub(crate) call: Option<SideCall>,
}

// The agent.

#[derive(Clone, PartialEq, Message)]
pub(crate) struct AgentClient {
    #[prost(oneof = "FromClient", tags = "1, 2, 3, 4, 5, 7")]
    pub(crate) message: Option<FromClient>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(crate) enum FromClient {
    #[prost(message, tag = "1")]
    Run(Box<Run>),
    #[prost(message, tag = "2")]
    Exec(Box<ExecClient>),
    #[prost(message, tag = "3")]
    Kv(KvClient),
    #[prost(message, tag = "4")]
    Action(Box<Action>),
    #[prost(message, tag = "5")]
    Control(ExecControl),
    #[prost(message, tag = "7")]
    Heartbeat(Empty),
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Empty {}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Run {
    #[prost(message, optional, tag = "1")]
    pub(crate) state: Option<State>,
    #[prost(message, optional, tag = "2")]
    pub(crate) action: Option<Action>,
    #[prost(message, optional, tag = "3")]
    pub(crate) model_details: Option<ModelDetails>,
    #[prost(message, optional, tag = "4")]
    pub(crate) mcp_tools: Option<AgentTools>,
    #[prost(string, tag = "5")]
    pub(crate) conversation_id: String,
    #[prost(string, tag = "8")]
    pub(crate) custom_system_prompt: String,
    #[prost(message, optional, tag = "9")]
    pub(crate) requested_model: Option<ModelDetails>,
    #[prost(message, repeated, tag = "17")]
    pub(crate) blobs: Vec<Blob>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Blob {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) data: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct State {
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub(crate) root_prompt: Vec<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "6")]
    pub(crate) summary: Option<Vec<u8>>,
    #[prost(bytes = "vec", repeated, tag = "8")]
    pub(crate) turns: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Turn {
    #[prost(message, optional, tag = "1")]
    pub(crate) agent: Option<AgentTurn>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct AgentTurn {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) user_message: Vec<u8>,
    #[prost(bytes = "vec", repeated, tag = "2")]
    pub(crate) steps: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Step {
    #[prost(message, optional, tag = "1")]
    pub(crate) assistant: Option<Words>,
    #[prost(message, optional, tag = "2")]
    pub(crate) tool_call: Option<ToolCall>,
    #[prost(message, optional, tag = "3")]
    pub(crate) thinking: Option<Words>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Words {
    #[prost(string, tag = "1")]
    pub(crate) text: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Action {
    #[prost(message, optional, tag = "1")]
    pub(crate) user_message: Option<UserAction>,
    #[prost(message, optional, tag = "3")]
    pub(crate) cancel: Option<Words>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct UserAction {
    #[prost(message, optional, tag = "1")]
    pub(crate) message: Option<UserMessage>,
    #[prost(message, optional, tag = "2")]
    pub(crate) context: Option<RequestContext>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct UserMessage {
    #[prost(string, tag = "1")]
    pub(crate) text: String,
    #[prost(string, tag = "2")]
    pub(crate) message_id: String,
    #[prost(message, optional, tag = "3")]
    pub(crate) selected: Option<Selected>,
    #[prost(uint32, tag = "4")]
    pub(crate) mode: u32,
    #[prost(bytes = "vec", tag = "18")]
    pub(crate) text_blob: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Selected {
    #[prost(message, repeated, tag = "1")]
    pub(crate) images: Vec<Image>,
    #[prost(message, repeated, tag = "4")]
    pub(crate) files: Vec<CurrentFile>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct RequestContext {
    #[prost(message, repeated, tag = "2")]
    pub(crate) rules: Vec<Rule>,
    #[prost(message, optional, tag = "4")]
    pub(crate) env: Option<Env>,
    #[prost(message, repeated, tag = "7")]
    pub(crate) tools: Vec<AgentTool>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Env {
    #[prost(string, tag = "1")]
    pub(crate) os_version: String,
    #[prost(string, repeated, tag = "2")]
    pub(crate) workspaces: Vec<String>,
    #[prost(string, tag = "3")]
    pub(crate) shell: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct AgentTools {
    #[prost(message, repeated, tag = "1")]
    pub(crate) tools: Vec<AgentTool>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct AgentTool {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(string, tag = "2")]
    pub(crate) description: String,
    #[prost(message, optional, tag = "3")]
    pub(crate) input_schema: Option<ProtoValue>,
    #[prost(string, tag = "4")]
    pub(crate) provider: String,
    #[prost(string, tag = "5")]
    pub(crate) tool_name: String,
}

/// `google.protobuf.Value`
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ProtoValue {
    #[prost(oneof = "ValueKind", tags = "1, 2, 3, 4, 5, 6")]
    pub(crate) kind: Option<ValueKind>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(crate) enum ValueKind {
    #[prost(int32, tag = "1")]
    Null(i32),
    #[prost(double, tag = "2")]
    Number(f64),
    #[prost(string, tag = "3")]
    Text(String),
    #[prost(bool, tag = "4")]
    Flag(bool),
    #[prost(message, tag = "5")]
    Struct(ProtoStruct),
    #[prost(message, tag = "6")]
    List(ProtoList),
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ProtoStruct {
    #[prost(map = "string, message", tag = "1")]
    pub(crate) fields: HashMap<String, ProtoValue>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ProtoList {
    #[prost(message, repeated, tag = "1")]
    pub(crate) values: Vec<ProtoValue>,
}

impl ProtoValue {
    pub(crate) fn of(json: &Value) -> Self {
        let kind = match json {
            Value::Null => ValueKind::Null(0),
            Value::Bool(flag) => ValueKind::Flag(*flag),
            Value::Number(number) => ValueKind::Number(number.as_f64().unwrap()),
            Value::String(text) => ValueKind::Text(text.clone()),
            Value::Array(items) => ValueKind::List(ProtoList { values: items.iter().map(Self::of).collect() }),
            Value::Object(members) => ValueKind::Struct(ProtoStruct {
                fields: members.iter().map(|(key, value)| (key.clone(), Self::of(value))).collect(),
            }),
        };
        Self { kind: Some(kind) }
    }

    pub(crate) fn json(&self) -> Value {
        match self.kind.as_ref().unwrap() {
            ValueKind::Null(_) => Value::Null,
            ValueKind::Flag(flag) => (*flag).into(),
            // Tests have whole numbers only.
            ValueKind::Number(number) => (*number as i64).into(),
            ValueKind::Text(text) => text.clone().into(),
            ValueKind::List(list) => list.values.iter().map(Self::json).collect(),
            ValueKind::Struct(members) => object(&members.fields),
        }
    }
}

fn object(members: &HashMap<String, ProtoValue>) -> Value {
    members.iter().map(|(key, value)| (key.clone(), value.json())).collect::<serde_json::Map<_, _>>().into()
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct McpArgs {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(map = "string, message", tag = "2")]
    pub(crate) args: HashMap<String, ProtoValue>,
    #[prost(string, tag = "3")]
    pub(crate) tool_call_id: String,
    #[prost(string, tag = "4")]
    pub(crate) provider: String,
    #[prost(string, tag = "5")]
    pub(crate) tool_name: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct AgentMcpResult {
    #[prost(message, optional, tag = "1")]
    pub(crate) success: Option<McpSuccess>,
    #[prost(message, optional, tag = "2")]
    pub(crate) error: Option<Words>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct McpSuccess {
    #[prost(message, repeated, tag = "1")]
    pub(crate) content: Vec<McpContent>,
    #[prost(bool, tag = "2")]
    pub(crate) is_error: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct McpContent {
    #[prost(message, optional, tag = "1")]
    pub(crate) text: Option<Words>,
    #[prost(message, optional, tag = "2")]
    pub(crate) image: Option<Image>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ReadArgs {
    #[prost(string, tag = "1")]
    pub(crate) path: String,
    #[prost(string, tag = "2")]
    pub(crate) tool_call_id: String,
    #[prost(uint32, tag = "4")]
    pub(crate) offset: u32,
    #[prost(uint32, tag = "5")]
    pub(crate) limit: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ReadResult {
    #[prost(message, optional, tag = "1")]
    pub(crate) success: Option<CurrentFile>,
    #[prost(message, optional, tag = "4")]
    pub(crate) not_found: Option<Words>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct WriteArgs {
    #[prost(string, tag = "1")]
    pub(crate) path: String,
    #[prost(string, tag = "2")]
    pub(crate) file_text: String,
    #[prost(string, tag = "3")]
    pub(crate) tool_call_id: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct GrepArgs {
    #[prost(string, tag = "1")]
    pub(crate) pattern: String,
    #[prost(string, tag = "2")]
    pub(crate) path: String,
    #[prost(bool, tag = "8")]
    pub(crate) ignore_case: bool,
    #[prost(string, tag = "14")]
    pub(crate) tool_call_id: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct LsArgs {
    #[prost(string, tag = "1")]
    pub(crate) path: String,
    #[prost(string, repeated, tag = "2")]
    pub(crate) ignore: Vec<String>,
    #[prost(string, tag = "3")]
    pub(crate) tool_call_id: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ShellArgs {
    #[prost(string, tag = "1")]
    pub(crate) command: String,
    #[prost(string, tag = "2")]
    pub(crate) cwd: String,
    #[prost(uint32, tag = "3")]
    pub(crate) timeout: u32,
    #[prost(string, tag = "4")]
    pub(crate) tool_call_id: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ShellStream {
    #[prost(message, optional, tag = "1")]
    pub(crate) stdout: Option<Words>,
    #[prost(message, optional, tag = "2")]
    pub(crate) stderr: Option<Words>,
    #[prost(message, optional, tag = "3")]
    pub(crate) exit: Option<Exit>,
    #[prost(message, optional, tag = "4")]
    pub(crate) start: Option<Empty>,
    #[prost(message, optional, tag = "5")]
    pub(crate) rejected: Option<Words>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Exit {
    #[prost(int32, tag = "1")]
    pub(crate) code: i32,
    #[prost(bool, tag = "4")]
    pub(crate) aborted: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ExecClient {
    #[prost(uint32, tag = "1")]
    pub(crate) id: u32,
    #[prost(message, optional, tag = "7")]
    pub(crate) read: Option<ReadResult>,
    #[prost(message, optional, tag = "11")]
    pub(crate) mcp: Option<AgentMcpResult>,
    #[prost(message, optional, tag = "14")]
    pub(crate) shell: Option<ShellStream>,
    #[prost(string, tag = "15")]
    pub(crate) exec_id: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ExecControl {
    #[prost(message, optional, tag = "1")]
    pub(crate) stream_close: Option<Thrown>,
    #[prost(message, optional, tag = "2")]
    pub(crate) throw: Option<Thrown>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Thrown {
    #[prost(uint32, tag = "1")]
    pub(crate) id: u32,
    #[prost(string, tag = "2")]
    pub(crate) error: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct KvClient {
    #[prost(uint32, tag = "1")]
    pub(crate) id: u32,
    #[prost(message, optional, tag = "2")]
    pub(crate) get: Option<GetResult>,
    #[prost(message, optional, tag = "3")]
    pub(crate) set: Option<Words>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct GetResult {
    #[prost(bytes = "vec", optional, tag = "1")]
    pub(crate) data: Option<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Append {
    #[prost(string, tag = "1")]
    pub(crate) data: String,
    #[prost(message, optional, tag = "2")]
    pub(crate) request_id: Option<Words>,
    #[prost(uint64, tag = "3")]
    pub(crate) seqno: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct AgentServer {
    #[prost(message, optional, tag = "1")]
    pub(crate) update: Option<Update>,
    #[prost(message, optional, tag = "2")]
    pub(crate) exec: Option<ExecServer>,
    #[prost(message, optional, tag = "4")]
    pub(crate) kv: Option<KvServer>,
    #[prost(message, optional, tag = "5")]
    pub(crate) control: Option<ExecServerControl>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ExecServerControl {
    #[prost(message, optional, tag = "1")]
    pub(crate) abort: Option<Thrown>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct KvServer {
    #[prost(uint32, tag = "1")]
    pub(crate) id: u32,
    #[prost(message, optional, tag = "2")]
    pub(crate) get_blob: Option<Blob>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Update {
    #[prost(message, optional, tag = "1")]
    pub(crate) text_delta: Option<Words>,
    #[prost(message, optional, tag = "2")]
    pub(crate) started: Option<CallUpdate>,
    #[prost(message, optional, tag = "3")]
    pub(crate) completed: Option<CallUpdate>,
    #[prost(message, optional, tag = "4")]
    pub(crate) thinking_delta: Option<ThinkingDelta>,
    #[prost(message, optional, tag = "5")]
    pub(crate) thinking_completed: Option<Empty>,
    #[prost(message, optional, tag = "7")]
    pub(crate) partial: Option<CallUpdate>,
    #[prost(message, optional, tag = "13")]
    pub(crate) heartbeat: Option<Empty>,
    #[prost(message, optional, tag = "14")]
    pub(crate) turn_ended: Option<TurnEnded>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ThinkingDelta {
    #[prost(string, tag = "1")]
    pub(crate) text: String,
    #[prost(uint32, tag = "2")]
    pub(crate) style: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct CallUpdate {
    #[prost(string, tag = "1")]
    pub(crate) call_id: String,
    #[prost(message, optional, tag = "2")]
    pub(crate) tool_call: Option<ToolCall>,
    #[prost(string, tag = "3")]
    pub(crate) args_text_delta: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ToolCall {
    #[prost(message, optional, tag = "8")]
    pub(crate) read: Option<ReadCall>,
    #[prost(message, optional, tag = "15")]
    pub(crate) mcp: Option<McpCall>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ReadCall {
    #[prost(message, optional, tag = "1")]
    pub(crate) args: Option<ReadArgs>,
    #[prost(message, optional, tag = "2")]
    pub(crate) result: Option<ReadResult>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct McpCall {
    #[prost(message, optional, tag = "1")]
    pub(crate) args: Option<McpArgs>,
    #[prost(message, optional, tag = "2")]
    pub(crate) result: Option<AgentMcpResult>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct TurnEnded {
    #[prost(uint64, tag = "1")]
    pub(crate) input: u64,
    #[prost(uint64, tag = "2")]
    pub(crate) output: u64,
    #[prost(uint64, tag = "3")]
    pub(crate) cache_read: u64,
    #[prost(uint64, tag = "4")]
    pub(crate) cache_write: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ExecServer {
    #[prost(uint32, tag = "1")]
    pub(crate) id: u32,
    #[prost(message, optional, tag = "3")]
    pub(crate) write: Option<WriteArgs>,
    #[prost(message, optional, tag = "5")]
    pub(crate) grep: Option<GrepArgs>,
    #[prost(message, optional, tag = "7")]
    pub(crate) read: Option<ReadArgs>,
    #[prost(message, optional, tag = "8")]
    pub(crate) ls: Option<LsArgs>,
    #[prost(message, optional, tag = "11")]
    pub(crate) mcp: Option<McpArgs>,
    #[prost(message, optional, tag = "14")]
    pub(crate) shell: Option<ShellArgs>,
    #[prost(string, tag = "15")]
    pub(crate) exec_id: String,
}

/// `ErrorDetails`
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ErrorDetails {
    #[prost(uint32, tag = "1")]
    pub(crate) error: u32,
    #[prost(message, optional, tag = "2")]
    pub(crate) details: Option<CustomError>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct CustomError {
    #[prost(string, tag = "1")]
    pub(crate) title: String,
    #[prost(string, tag = "2")]
    pub(crate) detail: String,
    #[prost(bool, tag = "4")]
    pub(crate) is_retryable: bool,
    #[prost(bool, tag = "5")]
    pub(crate) show_request_id: bool,
}

/// A message in an envelope.
pub(crate) fn envelope(message: &impl Message) -> Vec<u8> {
    let payload = message.encode_to_vec();
    [&[0][..], &(payload.len() as u32).to_be_bytes(), &payload].concat()
}

/// Payloads of data envelopes, and the JSON of the last one. Nothing is compressed.
pub(crate) fn envelopes(mut stream: &[u8]) -> (Vec<&[u8]>, Option<Value>) {
    let mut payloads = Vec::new();
    while let Some((head, rest)) = stream.split_first_chunk::<5>() {
        let length = u32::from_be_bytes(head[1..].try_into().unwrap()) as usize;
        let (payload, rest) = rest.split_at(length);
        match head[0] {
            0 => payloads.push(payload),
            2 => {
                assert!(rest.is_empty(), "nothing follows the end");
                return (payloads, Some(serde_json::from_slice(payload).unwrap()));
            }
            other => panic!("flags {other}"),
        }
        stream = rest;
    }
    assert!(stream.is_empty(), "the stream ends in an envelope");
    (payloads, None)
}

#[derive(Default)]
struct Calls(Vec<(String, String, String, bool)>);

impl Calls {
    fn side(&mut self, call: &SideCall) {
        assert_eq!(call.tool, 19);
        let id = &call.tool_call_id;
        let place = self.0.iter().position(|(other, ..)| other == id).unwrap_or_else(|| {
            let tool = &call.mcp_params.as_ref().unwrap().tools[0];
            assert_eq!(call.name, format!("mcp_{}_{}", tool.server_name, tool.name));
            self.0.push((id.clone(), tool.name.clone(), String::new(), false));
            self.0.len() - 1
        });
        let (.., args, over) = &mut self.0[place];
        assert!(!*over && call.tool_index as usize == place);
        *args += &call.raw_args;
        *over = call.is_last_message;
    }

    fn into_heard(self) -> Vec<(String, Value)> {
        let whole = self.0.into_iter().filter(|(.., over)| *over);
        whole.map(|(_, name, args, _)| (name, serde_json::from_str(&args).unwrap())).collect()
    }
}

fn ended(end: Option<Value>, heard: &mut Heard) {
    match end {
        Some(end) if end.get("error").is_some() => {
            heard.error = Some(end["error"]["details"][0]["debug"]["details"]["detail"].as_str().unwrap().to_owned());
        }
        Some(end) => {
            assert_eq!(end, serde_json::json!({}));
            heard.end = Some(String::new());
        }
        None => {}
    }
}

/// Reads the answer to a chat, with or without wrappers.
pub(crate) fn chat(stream: &[u8], wrapped: bool) -> Heard {
    let (payloads, end) = envelopes(stream);
    let (mut heard, mut calls) = (Heard::default(), Calls::default());
    for payload in payloads {
        let (call, response) = if wrapped {
            let ChatResponseWithTools { call, response } = Message::decode(payload).unwrap();
            (call, response.unwrap_or_default())
        } else {
            let response = ChatResponse::decode(payload).unwrap();
            (response.call.clone(), response)
        };
        heard.text += &response.text;
        heard.thinking += response.thinking.as_ref().map_or("", |thinking| &thinking.text);
        if let Some(call) = call {
            calls.side(&call);
        }
    }
    heard.calls = calls.into_heard();
    ended(end, &mut heard);
    heard
}

/// Reads the answer to an agent's run. Calls are those that were to be executed.
pub(crate) fn agent(stream: &[u8]) -> Heard {
    let (payloads, end) = envelopes(stream);
    let mut heard = Heard::default();
    let mut grown: HashMap<String, String> = HashMap::new();
    for payload in payloads {
        let message = AgentServer::decode(payload).unwrap();
        if let Some(update) = message.update {
            assert!(heard.usage.is_none(), "nothing follows the end of the turn");
            heard.text += update.text_delta.as_ref().map_or("", |delta| &delta.text);
            heard.thinking += update.thinking_delta.as_ref().map_or("", |delta| &delta.text);
            if let Some(partial) = update.partial {
                *grown.entry(partial.call_id).or_default() += &partial.args_text_delta;
            }
            if let Some(ended) = update.turn_ended {
                heard.usage = Some((ended.input + ended.cache_read + ended.cache_write, ended.output));
            }
        }
        if let Some(exec) = message.exec {
            heard.calls.push(executed(&exec, &grown));
            assert_eq!((exec.id as usize, exec.exec_id.len()), (heard.calls.len(), 36));
        }
    }
    ended(end, &mut heard);
    heard
}

fn executed(exec: &ExecServer, grown: &HashMap<String, String>) -> (String, Value) {
    let mcp = exec.mcp.as_ref().unwrap();
    let args = object(&mcp.args);
    let said = &grown[&mcp.tool_call_id];
    let said: Value = if said.is_empty() { serde_json::json!({}) } else { serde_json::from_str(said).unwrap() };
    assert_eq!(args, said, "what was shown is what is executed");
    (mcp.name.clone(), args)
}
