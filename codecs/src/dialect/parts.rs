//! Parts of a stream that has no part borders (Gemini, Ollama): neighbouring pieces of one kind make a part, which ends
//! where something else begins.

use super::Emit;
use crate::{
    hub::{Event, Field, Logprobs, Open},
    json::Text,
};

/// Numbers the parts of an answer and knows the one that grows.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    next: u32,
    run: Run,
    /// Log probabilities whose words have not come yet.
    scores: Logprobs,
    /// Whether they wait for thinking instead of text.
    of_thinking: bool,
}

/// The part that grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Run {
    #[default]
    None,
    Text(u32),
    Thinking(u32),
}

impl Parts {
    /// Whether no part has begun yet.
    pub(crate) fn is_empty(&self) -> bool {
        self.next == 0
    }

    /// The thinking part that grows.
    pub(crate) fn thinking(&self) -> Option<u32> {
        match self.run {
            Run::Thinking(part) => Some(part),
            Run::None | Run::Text(_) => None,
        }
    }

    /// A piece of text or thinking, which is not empty.
    pub(crate) fn text(&mut self, text: Text<'_>, thinking: bool, emit: Emit<'_>) {
        let part = match (self.run, thinking) {
            (Run::Text(part), false) | (Run::Thinking(part), true) => part,
            (_, false) => {
                let part = self.open(Open::Text, emit);
                self.run = Run::Text(part);
                part
            }
            (_, true) => self.open_thinking(emit),
        };
        if !self.scores.is_empty() && self.of_thinking == thinking {
            self.scores.tell(part, emit);
        }
        emit(Event::Delta { part, field: if thinking { Field::Think } else { Field::Text }, text });
    }

    /// Begins a thinking part that grows. Returns its number.
    pub(crate) fn open_thinking(&mut self, emit: Emit<'_>) -> u32 {
        let part = self.open(Open::Thinking, emit);
        self.run = Run::Thinking(part);
        part
    }

    /// Ends the part that grows and begins another. Returns its number.
    pub(crate) fn open(&mut self, open: Open<'_>, emit: Emit<'_>) -> u32 {
        self.close(emit);
        let part = self.next;
        self.next += 1;
        emit(Event::Part { part, open });
        part
    }

    /// Ends the part that grows, if there is one.
    pub(crate) fn close(&mut self, emit: Emit<'_>) {
        if let Run::Text(part) | Run::Thinking(part) = self.run {
            self.run = Run::None;
            emit(Event::Stop { part });
        }
    }

    /// Where the log probabilities of a frame are put before its pieces are read. They are those of its text, or, if
    /// `of_thinking`, of thinking that is alone.
    pub(crate) fn scores(&mut self, of_thinking: bool) -> &mut Logprobs {
        self.of_thinking = of_thinking;
        &mut self.scores
    }

    /// The texts of a frame have been read. Log probabilities that are left belong to the part that grows, or to the next
    /// text; beside `calls` they are those of calls, which have no place on the hub.
    pub(crate) fn scored(&mut self, calls: bool, emit: Emit<'_>) {
        if self.scores.is_empty() {
            return;
        }
        match self.run {
            Run::Text(part) | Run::Thinking(part) => self.scores.tell(part, emit),
            Run::None if calls => self.scores.clear(),
            Run::None => {}
        }
        self.of_thinking = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::logprobs::Token;

    fn score(parts: &mut Parts, of_thinking: bool) {
        let chosen = Token { token: Text::Plain("a"), logprob: "-1", bytes: None };
        parts.scores(of_thinking).entry(chosen, std::iter::empty());
    }

    fn show(event: &Event<'_>) -> String {
        match event {
            Event::Part { part, open: Open::Text } => format!("t{part}"),
            Event::Part { part, open: Open::Thinking } => format!("h{part}"),
            Event::Delta { part, field: Field::Logprobs, .. } => format!("{part}!"),
            Event::Delta { part, text, .. } => format!("{part}:{}", text.plain()),
            Event::Stop { part } => format!("/{part}"),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn log_probabilities_find_their_words() {
        let (mut parts, mut out) = (Parts::default(), Vec::new());
        let mut emit = |event: Event<'_>| out.push(show(&event));
        // Before anything is said they wait.
        score(&mut parts, true);
        parts.scored(false, &mut emit);
        parts.text(Text::Plain("x"), true, &mut emit);
        parts.text(Text::Plain("y"), false, &mut emit);
        // Those of a text pass thinking by; those without words go to what grows.
        score(&mut parts, false);
        parts.text(Text::Plain("z"), true, &mut emit);
        parts.scored(false, &mut emit);
        parts.close(&mut emit);
        // Beside a call nothing is said, and nothing is kept.
        score(&mut parts, true);
        parts.scored(true, &mut emit);
        parts.text(Text::Plain("w"), false, &mut emit);
        assert_eq!(out, ["h0", "0:x", "/0", "t1", "1!", "1:y", "/1", "h2", "2:z", "2!", "/2", "t3", "3:w"]);
    }
}
