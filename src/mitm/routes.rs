//! Which calls of a tool are chats: method, path, and where that is not enough a header. Pure.
//!
//! Paths are compared segment by segment, the query left out. What is not listed is not looked at: sign-in, model lists,
//! telemetry and updates go on untouched.

use codecs::dialect::cursor::Rpc;
use proxy::{Method, RequestHead};

use crate::settings::tools::Tool;

/// A kind of chat, by the form that its request and answer have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Chat {
    /// Antigravity: an envelope around a Gemini request.
    CloudCode,
    /// Antigravity: Gemini as its public API speaks it.
    Gemini,
    /// Copilot: OpenAI Chat Completions.
    CopilotChat,
    /// Copilot: Anthropic Messages.
    CopilotMessages,
    /// Copilot: OpenAI Responses.
    CopilotResponses,
    /// Copilot: Responses over a WebSocket.
    CopilotSocket,
    /// Cursor: a call whose first message is a chat.
    Cursor(Rpc),
    /// Cursor: a chat whose messages come and go in calls of their own.
    CursorPieces,
    /// Kiro: `GenerateAssistantResponse`.
    Kiro,
}

/// `X-Amz-Target` of Kiro's chats, where the path does not say it.
const KIRO_TARGETS: [&[u8]; 2] =
    [b"AmazonCodeWhispererStreamingService.GenerateAssistantResponse", b"AmazonQDeveloperStreamingService.SendMessage"];

/// The methods of `ChatService` that take their messages from other calls.
const CURSOR_CHATS: [&[u8]; 6] = [
    b"StreamUnifiedChatWithToolsSSE",
    b"StreamUnifiedChatWithToolsPoll",
    b"StreamUnifiedChatIdempotent",
    b"StreamUnifiedChatWithToolsIdempotent",
    b"StreamUnifiedChatWithToolsIdempotentSSE",
    b"StreamUnifiedChatWithToolsIdempotentPoll",
];

/// What kind of chat a call to a host of `tool` is; `None`: none.
pub fn chat(tool: Tool, head: &RequestHead) -> Option<Chat> {
    let path = head.path();
    if tool == Tool::Copilot && head.method == Method::GET {
        return (path == b"/responses" && asks_for_websocket(head)).then_some(Chat::CopilotSocket);
    }
    if head.method != Method::POST {
        return None;
    }
    match tool {
        Tool::Antigravity => antigravity(path),
        Tool::Copilot => match path {
            b"/chat/completions" => Some(Chat::CopilotChat),
            b"/v1/messages" => Some(Chat::CopilotMessages),
            b"/responses" => Some(Chat::CopilotResponses),
            _ => None,
        },
        Tool::Cursor => cursor(path),
        Tool::Kiro => match path {
            b"/generateAssistantResponse" => Some(Chat::Kiro),
            b"/" => {
                let target = head.headers.get("x-amz-target")?;
                KIRO_TARGETS.iter().any(|known| *known == &target[..]).then_some(Chat::Kiro)
            }
            _ => None,
        },
    }
}

fn antigravity(path: &[u8]) -> Option<Chat> {
    let generates = |verb: &[u8]| matches!(verb, b"generateContent" | b"streamGenerateContent");
    if let Some(verb) = path.strip_prefix(b"/v1internal:") {
        return generates(verb).then_some(Chat::CloudCode);
    }
    let call = [&b"/v1beta/models/"[..], b"/v1/models/"].iter().find_map(|prefix| path.strip_prefix(*prefix))?;
    let colon = call.iter().rposition(|&byte| byte == b':')?;
    let (model, verb) = (&call[..colon], &call[colon + 1..]);
    (!model.is_empty() && !model.contains(&b'/') && generates(verb)).then_some(Chat::Gemini)
}

fn cursor(path: &[u8]) -> Option<Chat> {
    if let Some(rpc) = Rpc::of_path(path) {
        return Some(Chat::Cursor(rpc));
    }
    let rest = path.strip_prefix(b"/")?;
    let slash = rest.iter().position(|&byte| byte == b'/')?;
    let (service, method) = (&rest[..slash], &rest[slash + 1..]);
    match service {
        b"aiserver.v1.ChatService" => CURSOR_CHATS.contains(&method).then_some(Chat::CursorPieces),
        b"agent.v1.AgentService" => matches!(method, b"RunSSE" | b"RunPoll").then_some(Chat::CursorPieces),
        b"aiserver.v1.BidiService" => (method == b"BidiAppend").then_some(Chat::CursorPieces),
        _ => None,
    }
}

fn asks_for_websocket(head: &RequestHead) -> bool {
    head.headers.get("upgrade").is_some_and(|upgrade| upgrade.eq_ignore_ascii_case(b"websocket"))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proxy::{Headers, Version};

    use super::*;

    fn head(method: Method, target: &'static str, header: Option<(&'static str, &'static str)>) -> RequestHead {
        let mut headers = Headers::new();
        if let Some((name, value)) = header {
            headers.append(name, value);
        }
        let target = Bytes::from_static(target.as_bytes());
        RequestHead { method, target, authority: Bytes::new(), version: Version::Http11, headers }
    }

    #[test]
    fn chats_are_found_and_neighbours_are_not() {
        use Tool::*;
        let post = |tool, target| chat(tool, &head(Method::POST, target, None));
        for (tool, target, expected) in [
            (Antigravity, "/v1internal:generateContent", Some(Chat::CloudCode)),
            (Antigravity, "/v1internal:streamGenerateContent?alt=sse", Some(Chat::CloudCode)),
            (Antigravity, "/v1internal:countTokens", None),
            (Antigravity, "/v1internal:loadCodeAssist", None),
            (Antigravity, "/v1beta/models/gemini-3-pro:streamGenerateContent", Some(Chat::Gemini)),
            (Antigravity, "/v1/models/gemini-3-pro:generateContent", Some(Chat::Gemini)),
            (Antigravity, "/v1beta/models/a/b:generateContent", None),
            (Antigravity, "/v1beta/models/:generateContent", None),
            (Copilot, "/chat/completions", Some(Chat::CopilotChat)),
            (Copilot, "/chat/completions/x", None),
            (Copilot, "/v1/messages", Some(Chat::CopilotMessages)),
            (Copilot, "/responses?x=1", Some(Chat::CopilotResponses)),
            (Copilot, "/v1/engines/x/completions", None),
            (Cursor, "/agent.v1.AgentService/Run", Some(Chat::Cursor(Rpc::Agent))),
            (Cursor, "/agent.v1.AgentService/RunSSE", Some(Chat::CursorPieces)),
            (Cursor, "/agent.v1.AgentService/RunTests", None),
            (Cursor, "/aiserver.v1.ChatService/StreamUnifiedChatWithTools", Some(Chat::Cursor(Rpc::ChatWithTools))),
            (Cursor, "/aiserver.v1.ChatService/StreamUnifiedChatWithToolsSSE", Some(Chat::CursorPieces)),
            (Cursor, "/aiserver.v1.BidiService/BidiAppend", Some(Chat::CursorPieces)),
            (Cursor, "/aiserver.v1.AiService/StreamCpp", None),
            (Kiro, "/generateAssistantResponse", Some(Chat::Kiro)),
            (Kiro, "/generateassistantresponse", None),
            (Kiro, "/", None),
            (Kiro, "/chat/completions", None),
        ] {
            assert_eq!(post(tool, target), expected, "{target}");
        }
        assert_eq!(chat(Copilot, &head(Method::GET, "/chat/completions", None)), None);
    }

    #[test]
    fn headers_tell_what_paths_do_not() {
        for (target, found) in [
            ("AmazonCodeWhispererStreamingService.GenerateAssistantResponse", true),
            ("AmazonQDeveloperStreamingService.SendMessage", true),
            ("AmazonCodeWhispererService.ListAvailableModels", false),
        ] {
            let got = chat(Tool::Kiro, &head(Method::POST, "/", Some(("x-amz-target", target))));
            assert_eq!(got.is_some(), found, "{target}");
        }
        let socket = head(Method::GET, "/responses", Some(("Upgrade", "WebSocket")));
        assert_eq!(chat(Tool::Copilot, &socket), Some(Chat::CopilotSocket));
    }
}
