//! What coding agents send: long conversations with twenty tools, calls and their results, in the prose of
//! [`traffic`](super::traffic).

use std::fmt::Write as _;

use super::traffic::{Dice, PROSE};

/// A conversation of about `bytes` bytes in the words of Chat Completions, with tools, calls and their results.
pub(crate) fn chat(bytes: usize) -> String {
    let mut dice = Dice(3);
    let mut out = String::from("{\"model\":\"gpt-5.2\",\"stream\":true,\"tools\":[");
    out.push_str(&tools(|name, schema| {
        format!(
            "{{\"type\":\"function\",\"function\":{{\"name\":\"{name}\",\"description\":\"Does what {name} says.\",\
             \"parameters\":{schema}}}}}"
        )
    }));
    out.push_str("],\"messages\":[{\"role\":\"system\",\"content\":\"You are a careful programmer.\"}");
    let mut call = 0;
    while out.len() < bytes {
        let _ = write!(out, ",{{\"role\":\"user\",\"content\":\"{}\"}}", prose(&mut dice, 60));
        let _ = write!(
            out,
            ",{{\"role\":\"assistant\",\"content\":\"{}\",\"tool_calls\":[{{\"id\":\"call_{call}\",\"type\":\"function\",\
             \"function\":{{\"name\":\"read_file\",\"arguments\":\"{{\\\"path\\\":\\\"src/{call}.rs\\\"}}\"}}}}]}}",
            prose(&mut dice, 30)
        );
        let _ = write!(
            out,
            ",{{\"role\":\"tool\",\"tool_call_id\":\"call_{call}\",\"content\":\"{}\"}}",
            prose(&mut dice, 300)
        );
        call += 1;
    }
    out.push_str("]}");
    out
}

/// The same in the words of Kiro.
pub(crate) fn kiro(bytes: usize) -> String {
    let mut dice = Dice(3);
    let mut out = String::from("{\"conversationState\":{\"conversationId\":\"c\",\"history\":[");
    let mut call = 0;
    while out.len() < bytes {
        let _ = write!(
            out,
            "{{\"userInputMessage\":{{\"content\":\"{}\",\"modelId\":\"auto\",\"userInputMessageContext\":{{\"toolResults\":\
             [{{\"toolUseId\":\"tooluse_{call}\",\"status\":\"success\",\"content\":[{{\"text\":\"{}\"}}]}}]}}}}}},",
            prose(&mut dice, 60),
            prose(&mut dice, 300)
        );
        call += 1;
        let _ = write!(
            out,
            "{{\"assistantResponseMessage\":{{\"content\":\"{}\",\"toolUses\":[{{\"toolUseId\":\"tooluse_{call}\",\
             \"name\":\"read_file\",\"input\":{{\"path\":\"src/{call}.rs\"}}}}]}}}},",
            prose(&mut dice, 30)
        );
    }
    out.pop();
    out.push_str(
        "],\"currentMessage\":{\"userInputMessage\":{\"content\":\"Go on\",\"modelId\":\"auto\",\
         \"userInputMessageContext\":{\"tools\":[",
    );
    out.push_str(&tools(|name, schema| {
        format!(
            "{{\"toolSpecification\":{{\"name\":\"{name}\",\"description\":\"Does what {name} says.\",\
             \"inputSchema\":{{\"json\":{schema}}}}}}}"
        )
    }));
    out.push_str("]}}}}}");
    out
}

/// The same in the words of Anthropic Messages.
pub(crate) fn anthropic(bytes: usize) -> String {
    let mut dice = Dice(3);
    let mut out = String::from("{\"model\":\"claude-sonnet-4-5\",\"max_tokens\":4096,\"stream\":true,\"tools\":[");
    out.push_str(&tools(|name, schema| {
        format!("{{\"name\":\"{name}\",\"description\":\"Does what {name} says.\",\"input_schema\":{schema}}}")
    }));
    out.push_str("],\"system\":\"You are a careful programmer.\",\"messages\":[");
    let mut call = 0;
    let _ = write!(out, "{{\"role\":\"user\",\"content\":\"{}\"}}", prose(&mut dice, 60));
    while out.len() < bytes {
        let _ = write!(
            out,
            ",{{\"role\":\"assistant\",\"content\":[{{\"type\":\"text\",\"text\":\"{}\"}},{{\"type\":\"tool_use\",\
             \"id\":\"toolu_{call}\",\"name\":\"read_file\",\"input\":{{\"path\":\"src/{call}.rs\"}}}}]}}",
            prose(&mut dice, 30)
        );
        let _ = write!(
            out,
            ",{{\"role\":\"user\",\"content\":[{{\"type\":\"tool_result\",\"tool_use_id\":\"toolu_{call}\",\
             \"content\":\"{}\"}},{{\"type\":\"text\",\"text\":\"{}\"}}]}}",
            prose(&mut dice, 300),
            prose(&mut dice, 60)
        );
        call += 1;
    }
    out.push_str("]}");
    out
}

fn prose(dice: &mut Dice, words: usize) -> String {
    (0..words).map(|_| dice.pick(&PROSE)).collect()
}

/// Twenty tools, as coding agents bring them.
fn tools(tool: impl Fn(&str, &str) -> String) -> String {
    let schema = "{\"type\":\"object\",\"properties\":{\"path\":{\"type\":\"string\",\"description\":\"An absolute path.\"},\
                  \"offset\":{\"type\":\"integer\",\"minimum\":0},\"mode\":{\"type\":\"string\",\"enum\":[\"a\",\"b\"]},\
                  \"edits\":{\"type\":\"array\",\"items\":{\"type\":\"object\",\"properties\":{\"old\":{\"type\":\"string\"},\
                  \"new\":{\"type\":\"string\"}},\"required\":[\"old\",\"new\"]}}},\"required\":[\"path\"]}";
    let names = ["read_file"].map(str::to_owned).into_iter().chain((1..20).map(|n| format!("tool_{n}")));
    names.map(|name| tool(&name, schema)).collect::<Vec<_>>().join(",")
}
