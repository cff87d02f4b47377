//! Cursor's two private protocols, as its editor asks and reads them: protobuf in Connect envelopes.
//!
//! | [`Rpc`] | call | first message of the client | message of the answer |
//! |---|---|---|---|
//! | `Chat` | `ChatService/StreamUnifiedChat` | `StreamUnifiedChatRequest` | `StreamUnifiedChatResponse` |
//! | `ChatWithTools` | `ChatService/StreamUnifiedChatWithTools` | the same in `…RequestWithTools` | the same in `…ResponseWithTools` |
//! | `Agent` | `AgentService/Run` | `AgentRunRequest` in `AgentClientMessage` | `AgentServerMessage` |
//!
//! Tools run in the editor. A client that keeps its side of the stream open sends their results on it
//! ([`Facts::two_way`]): then calls end a round, not the answer. [`round`] puts the next round's request together.
//!
//! The protocols are undocumented. Field numbers stand in `schema`, together by message; what is not known to be sure
//! is said where it is read. Unknown fields are skipped in silence. Never said here: anything about accounts, plans or
//! quotas. What fails is a provider's fault, in words that do not log the user out.
//!
//! | file | what |
//! |---|---|
//! | [`request`] | the first message of a stream, and what else the client sends on it |
//! | [`round`] | the next request of a turn whose tools have run |
//! | [`reply`] | whole answers, errors |
//! | [`stream`] | encoders |
//! | `schema` | field numbers |
//! | `failure` | what is said of a failure |
//! | `facts` | what an encoder must know of the request |
//! | `toolbox` | the editor's own tools: what a model is told of them, and the messages that run them |
//! | `value` | `google.protobuf.Value` and JSON |
//!
//! Deliberately absent: the other half (Cursor as a provider), pairing of the calls that stand in for a two-way stream
//! over HTTP/1.1 (it takes a clock; their messages are read here, [`request::agent::Append`]), and conversations that are
//! kept for the editor.

mod facts;
mod failure;
pub mod reply;
pub mod request;
pub mod round;
mod schema;
pub mod stream;
mod toolbox;
mod value;

pub use facts::{Facts, McpTool, Rpc};
