//! What passed through a pipeline, as far as a gateway must know it.

use crate::hub::{
    ApiError, Event, Field, Finish, Open, Usage,
    recall::{Keeper, Kept},
};

/// Facts of one answer, growing with it.
#[derive(Debug, Default)]
pub struct Observed {
    /// A part, a delta or the finish was seen: the commit point. Start, usage and pings alone do not commit.
    pub content: bool,
    /// The answer said why it ended.
    pub finished: bool,
    /// The answer is complete.
    pub ended: bool,
    /// The answer failed; nothing follows.
    pub error: Option<ApiError>,
    /// Last token counts.
    pub usage: Option<Usage>,
    /// Whether the counts are our estimate, because the upstream gave none.
    pub estimated: bool,
    /// Why it ended, in the hub's word: `end`, `stop_sequence`, `length`, `tool`, `filter`, `pause`.
    pub finish: Option<&'static str>,
    /// Characters of text, thinking, refusals and arguments.
    pub output_chars: u64,
    /// Whether a tool call began.
    pub has_calls: bool,
    /// The upstream's id, cut to [`Observed::WORD_BYTES_MAX`].
    pub id: String,
    /// The model that answered, cut likewise.
    pub model: String,
    /// Notes signatures, if somebody wants them.
    keeper: Option<Box<Keeper>>,
}

impl Observed {
    /// Longest id or model name that is kept.
    pub const WORD_BYTES_MAX: usize = 256;

    /// Whether nothing can follow.
    pub fn is_over(&self) -> bool {
        self.ended || self.error.is_some()
    }

    /// Takes the next event of an answer that nobody encodes.
    #[inline]
    pub(super) fn watched(&mut self, event: &Event<'_>, estimate: Option<u64>) {
        if let Some(usage) = self.estimated_at(event, estimate) {
            self.usage = Some(usage);
        }
        self.event(event);
    }

    /// The counts to claim at the end of an answer without any: characters divided by four. Marks the answer. Before the
    /// end nothing is missing yet.
    #[inline]
    pub(super) fn estimated_at(&mut self, event: &Event<'_>, input: Option<u64>) -> Option<Usage> {
        if !matches!(event, Event::End) {
            return None;
        }
        let uncached = input?;
        if self.usage.is_some_and(|usage| usage.is_known()) {
            return None;
        }
        self.estimated = true;
        Some(Usage { uncached, output: self.output_chars.div_ceil(4), ..Usage::default() })
    }

    /// What an answer that ended well has shown, as far as it must be known.
    pub(super) fn good(usage: Usage) -> Self {
        Self { content: true, finished: true, ended: true, usage: Some(usage), ..Self::default() }
    }

    /// An observer that notes signatures if `keep` says so.
    pub(super) fn new(keep: bool) -> Self {
        Self { keeper: keep.then(Box::default), ..Self::default() }
    }

    /// The signatures of the answer's calls.
    pub fn kept(&mut self) -> Vec<Kept> {
        self.keeper.as_mut().map_or_else(Vec::new, |keeper| keeper.take())
    }

    /// Takes the next event.
    #[inline]
    pub(super) fn event(&mut self, event: &Event<'_>) {
        if let Some(keeper) = &mut self.keeper {
            keeper.event(event);
        }
        match event {
            Event::Delta { field, text, .. } => {
                self.content = true;
                if !matches!(field, Field::Sig { .. } | Field::Logprobs) {
                    self.output_chars += text.chars();
                }
            }
            Event::Part { open, .. } => {
                self.content = true;
                self.has_calls |= matches!(open, Open::Tool { .. });
            }
            Event::Start { id, model, usage, .. } => {
                self.id = short(&id.plain());
                self.model = short(&model.plain());
                self.usage = usage.or(self.usage);
            }
            Event::Usage(usage) => self.usage = Some(*usage),
            Event::Finish(finish) => {
                self.content = true;
                self.finished = true;
                self.finish = Some(word(finish));
            }
            Event::Error(error) => self.error = Some(error.clone()),
            Event::End => self.ended = true,
            Event::Stop { .. } | Event::Ping => {}
        }
    }
}

fn word(finish: &Finish<'_>) -> &'static str {
    match finish {
        Finish::End => "end",
        Finish::StopSequence(_) => "stop_sequence",
        Finish::Length => "length",
        Finish::Tool => "tool",
        Finish::Filter(_) => "filter",
        Finish::Pause => "pause",
    }
}

fn short(text: &str) -> String {
    let mut end = text.len().min(Observed::WORD_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::Text;

    #[test]
    fn only_an_answer_that_ends_without_counts_is_an_estimate() {
        let delta = Event::Delta { part: 0, field: Field::Text, text: Text::Plain("12345678") };
        let usage = Usage { uncached: 2, output: 3, ..Usage::default() };
        let mut counted = Observed::default();
        [&delta, &Event::Usage(usage), &Event::End].into_iter().for_each(|event| counted.watched(event, Some(7)));
        assert_eq!((counted.usage, counted.estimated), (Some(usage), false));
        let mut bare = Observed::default();
        [&delta, &Event::End].into_iter().for_each(|event| bare.watched(event, Some(7)));
        let claimed = Usage { uncached: 7, output: 2, ..Usage::default() };
        assert_eq!((bare.usage, bare.estimated), (Some(claimed), true));
    }
}
