//! The grammar of events, as a checker: decoders that break it have a bug.
//!
//! Used by debug builds of the pipeline, by tests and by the fuzzers; never on hostile input's account, for input cannot
//! break it, only our own code can.

use super::{Event, Field, Open};

/// Follows one answer.
///
/// ```text
///   Fresh ──Start──▶ Running ──Finish──▶ Finished ──End──▶ Over
///     └────────────────┴──────Error────────┴─────────────▶ Over
/// ```
#[derive(Debug, Default)]
pub struct Check {
    state: State,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
enum State {
    #[default]
    Fresh,
    Running,
    Finished,
    Over,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Part {
    Text,
    Thinking,
    Tool,
    Refusal,
    /// Redacted thinking or an image: no deltas.
    Whole,
    Stopped,
}

impl Check {
    /// Takes the next event and says which rule it breaks.
    pub fn event(&mut self, event: &Event<'_>) -> Result<(), &'static str> {
        if self.state == State::Over {
            return Err("an event after the end");
        }
        match event {
            Event::Start { .. } => self.go(State::Fresh, State::Running, "start is not the first event"),
            Event::Part { part, open } => {
                self.running("a part outside the answer")?;
                if *part as usize != self.parts.len() {
                    return Err("part numbers have a gap");
                }
                self.parts.push(match open {
                    Open::Text => Part::Text,
                    Open::Thinking => Part::Thinking,
                    Open::Tool { id, .. } if id.is_empty() => return Err("a call without an id"),
                    Open::Tool { .. } => Part::Tool,
                    Open::Refusal => Part::Refusal,
                    Open::Redacted(_) | Open::Image { .. } => Part::Whole,
                });
                Ok(())
            }
            Event::Delta { part, field, text } => {
                self.running("a delta outside the answer")?;
                if text.is_empty() {
                    return Err("an empty delta");
                }
                match (self.parts.get(*part as usize), field) {
                    (Some(Part::Text), Field::Text)
                    | (Some(Part::Thinking), Field::Think | Field::Sig { .. })
                    | (Some(Part::Tool), Field::Args)
                    | (Some(Part::Refusal), Field::Refusal)
                    | (Some(Part::Text | Part::Thinking | Part::Refusal), Field::Logprobs) => Ok(()),
                    (Some(Part::Stopped), _) => Err("a delta after its part's stop"),
                    (Some(_), _) => Err("a delta of another kind than its part"),
                    (None, _) => Err("a delta for a part that was never opened"),
                }
            }
            Event::Stop { part } => {
                self.running("a stop outside the answer")?;
                match self.parts.get_mut(*part as usize) {
                    None => Err("a stop for a part that was never opened"),
                    Some(Part::Stopped) => Err("a second stop"),
                    Some(part) => {
                        *part = Part::Stopped;
                        Ok(())
                    }
                }
            }
            Event::Usage(_) if self.state == State::Fresh => Err("usage before the start"),
            Event::Usage(_) | Event::Ping => Ok(()),
            Event::Finish(_) => {
                if self.parts.iter().any(|part| *part != Part::Stopped) {
                    return Err("finished with an open part");
                }
                self.go(State::Running, State::Finished, "a finish outside the answer")
            }
            Event::End => self.go(State::Finished, State::Over, "an end without a finish"),
            Event::Error(_) => {
                self.state = State::Over;
                Ok(())
            }
        }
    }

    fn running(&self, rule: &'static str) -> Result<(), &'static str> {
        if self.state == State::Running { Ok(()) } else { Err(rule) }
    }

    fn go(&mut self, from: State, to: State, rule: &'static str) -> Result<(), &'static str> {
        if self.state != from {
            return Err(rule);
        }
        self.state = to;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        hub::{ApiError, ErrorKind, Finish, ToolKind, Usage},
        json::Text,
    };

    fn start() -> Event<'static> {
        Event::Start { id: Text::EMPTY, model: Text::EMPTY, created: None, usage: None }
    }

    fn text(part: u32, text: &'static str) -> Event<'static> {
        Event::Delta { part, field: Field::Text, text: text.into() }
    }

    fn verdict(events: &[Event<'_>]) -> Result<(), &'static str> {
        let mut check = Check::default();
        events.iter().try_for_each(|event| check.event(event))
    }

    #[test]
    fn a_good_answer_passes() {
        let open = |part| Event::Part { part, open: Open::Text };
        let error = Event::Error(ApiError::new(ErrorKind::Api, ""));
        let (finish, usage) = (Event::Finish(Finish::End), Event::Usage(Usage::default()));
        let good = [start(), Event::Ping, open(0), open(1), text(1, "x"), text(0, "y"), Event::Stop { part: 0 }];
        let rest = [Event::Stop { part: 1 }, usage.clone(), finish, usage, Event::End];
        assert_eq!(verdict(&[&good[..], &rest].concat()), Ok(()));
        assert_eq!(verdict(&[&good[..], &[error]].concat()), Ok(()));
    }

    #[test]
    fn every_rule_is_checked() {
        let open = Event::Part { part: 0, open: Open::Text };
        let (finish, stop) = (Event::Finish(Finish::End), Event::Stop { part: 0 });
        let (id, name) = (Text::Plain("i"), Text::Plain("n"));
        let call = Event::Part { part: 0, open: Open::Tool { id, name, kind: ToolKind::Function, signature: None } };
        for bad in [
            &[start(), start()][..],
            std::slice::from_ref(&open),
            &[start(), Event::Part { part: 1, open: Open::Text }],
            &[start(), text(0, "x")],
            &[start(), open.clone(), text(0, "")],
            &[start(), open.clone(), Event::Delta { part: 0, field: Field::Args, text: "x".into() }],
            &[start(), open.clone(), stop.clone(), text(0, "x")],
            &[start(), call, Event::Delta { part: 0, field: Field::Logprobs, text: "{}".into() }],
            &[start(), open.clone(), stop.clone(), stop],
            &[start(), open.clone(), finish.clone()],
            &[start(), Event::End],
            &[start(), finish.clone(), finish.clone()],
            &[start(), finish, Event::End, Event::Ping],
        ] {
            assert!(verdict(bad).is_err(), "{bad:?}");
        }
    }
}
