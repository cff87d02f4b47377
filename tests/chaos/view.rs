//! What a client makes of an answer. The one thing that must never happen, half an answer that looks whole, is a panic
//! here.

use codecs::dialect::Dialect;

use crate::support::{Answer, speech};

/// What a client got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum View {
    /// A status that says that it failed, and why.
    Refused { status: u16, why: String },
    /// A stream that began well and ended with an error.
    Broken { said: String, why: String },
    /// The whole answer.
    Whole,
}

impl View {
    /// The status of a refusal.
    #[track_caller]
    pub(crate) fn status(&self) -> u16 {
        match self {
            View::Refused { status, .. } => *status,
            other => panic!("not refused, but {other:?}"),
        }
    }

    /// Why it broke off, having said something.
    #[track_caller]
    pub(crate) fn broken(&self) -> &str {
        match self {
            View::Broken { why, .. } => why,
            other => panic!("not broken off, but {other:?}"),
        }
    }
}

/// Reads an answer as a client of that dialect does, and panics if it lies.
#[track_caller]
pub(crate) fn view(dialect: Dialect, stream: bool, answer: &Answer) -> View {
    let text = answer.text();
    assert!(answer.complete, "{dialect:?}: the answer to the client was cut: {} {text}", answer.status);
    if answer.status != 200 {
        assert!(answer.status >= 400, "{dialect:?}: {} {text}", answer.status);
        return View::Refused { status: answer.status, why: speech::error_of(dialect, &answer.json()) };
    }
    if !stream {
        assert_eq!(speech::text_of(dialect, &answer.json()), speech::TEXT, "{dialect:?}: half an answer: {text}");
        return View::Whole;
    }
    let (text, torn) = without_torn(dialect, &text);
    let heard = speech::heard(dialect, &text);
    // Some services leave the terminal event out behind the reason of the end; Chat's usage is for those who ask.
    let reason = finish(dialect).is_some_and(|reason| text.contains(reason));
    let ended = heard.ended || reason;
    let counted = heard.usage == (11, 3) || (dialect == Dialect::OpenAiChat && heard.usage == (0, 0));
    match heard.error {
        None => {
            let whole = ended && heard.text == speech::TEXT && torn == 0 && counted;
            assert!(whole, "{dialect:?}: half an answer that looks whole: {heard:?} {text}");
            View::Whole
        }
        Some(why) => {
            // Cut between the last word and the proof that nothing follows, it may have both.
            assert!(!ended || heard.text == speech::TEXT, "{dialect:?}: it ended well and failed: {text}");
            assert!(speech::TEXT.starts_with(&heard.text), "{dialect:?}: {text}");
            assert!(torn <= 1, "{dialect:?}: {text}");
            View::Broken { said: heard.text, why }
        }
    }
}

/// What says in a stream why it ends, before the terminal event.
pub(crate) fn finish(dialect: Dialect) -> Option<&'static str> {
    match dialect {
        Dialect::OpenAiChat => Some(r#""finish_reason":"stop""#),
        Dialect::Anthropic => Some(r#""stop_reason":"end_turn""#),
        Dialect::OpenAiResponses | Dialect::Gemini | Dialect::Ollama => None,
    }
}

/// A stream without events whose JSON is cut, which only a forwarded stream can have, and how many there were. Every
/// client fails at such an event or skips it.
fn without_torn(dialect: Dialect, text: &str) -> (String, usize) {
    let is_json = |data: &str| serde_json::from_str::<serde_json::Value>(data).is_ok();
    let (mut kept, mut torn) = (String::with_capacity(text.len()), 0);
    for line in text.split_inclusive('\n') {
        let data = match dialect {
            Dialect::Ollama => Some(line.trim()),
            _ => line.strip_prefix("data:").map(str::trim),
        };
        match data {
            Some(data) if !data.is_empty() && data != "[DONE]" && !is_json(data) => torn += 1,
            _ => kept.push_str(line),
        }
    }
    (kept, torn)
}
