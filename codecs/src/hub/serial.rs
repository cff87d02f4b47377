//! Puts overlapping parts one after the other, for encoders whose clients know one open part at a time.
//!
//! The open part streams on; what arrives for others meanwhile is queued until the open one is complete. Nothing is
//! reordered inside a part, and parts keep the order in which they began.
//!
//! | situation | action |
//! |---|---|
//! | new part, nothing open | open it |
//! | new part, text, thinking, refusal or image open | stop the open one, open the new one |
//! | new part, tool open whose arguments are one complete JSON value | stop it, open the new one |
//! | new part, tool open and incomplete | queue the new part |
//! | delta for the open part | pass on; if it completes a tool's JSON and something waits: stop it, drain |
//! | delta for a queued part | append to its entry |
//! | delta for a tool that was stopped early | drop: only white space can follow a complete value |
//! | delta for text that was stopped early | a new part of the same kind begins with it: content is never dropped |
//! | log probabilities for text that was stopped early | they wait for that new part, and are dropped if none begins |
//! | stop of the open part | pass on, then drain until a part is open that is neither stopped nor complete |
//! | `Finish`, `End` | stop the open part, drain everything in order, then pass on |
//! | `Error` | forget the queue, stop nothing, pass on |
//!
//! Part numbers are given anew, dense in the order of opening.

use std::collections::VecDeque;

use super::{ApiError, Emit, ErrorKind, Event, Field, Logprobs, Open, ReplyPart, ToolKind, arguments::Completeness};
use crate::json::Text;

/// Most bytes that may wait in the queue of one answer. Above it the answer ends with an error of kind `api`.
pub const QUEUED_BYTES_MAX: usize = 32 << 20;
/// Most parts that may wait.
const QUEUED_PARTS_MAX: usize = 1_024;
/// Most parts of one answer.
const PARTS_MAX: usize = 1 << 16;

/// Stands between a decoder and an encoder that wants serial parts.
#[derive(Debug, Default)]
pub struct Serial {
    /// What became of every part of the decoder, by its number.
    tracks: Vec<Track>,
    open: Option<OpenPart>,
    queue: VecDeque<Queued>,
    queued_bytes: usize,
    /// Log probabilities for a part that was stopped early, by the decoder's number: no part is opened for them alone.
    late: Option<(u32, Logprobs)>,
    /// Number of the next part that is opened toward the encoder.
    next: u32,
    /// An error was passed on: silence.
    over: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Track {
    Open,
    Queued,
    /// Stopped before the decoder said so.
    StoppedEarly(Kind),
    Done,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Text,
    Thinking,
    Refusal,
    /// Redacted thinking or an image.
    Whole,
    Function,
    /// Its input is free text and therefore never complete before its stop.
    Custom,
}

impl Kind {
    fn of(open: &Open<'_>) -> Self {
        match open {
            Open::Text => Self::Text,
            Open::Thinking => Self::Thinking,
            Open::Refusal => Self::Refusal,
            Open::Redacted(_) | Open::Image { .. } => Self::Whole,
            Open::Tool { kind: ToolKind::Function, .. } => Self::Function,
            Open::Tool { kind: ToolKind::Custom, .. } => Self::Custom,
        }
    }

    fn of_part(part: &ReplyPart) -> Self {
        match part {
            ReplyPart::Text(_) => Self::Text,
            ReplyPart::Thinking { .. } => Self::Thinking,
            ReplyPart::Refusal(_) => Self::Refusal,
            ReplyPart::Redacted(_) | ReplyPart::Image { .. } => Self::Whole,
            ReplyPart::Tool { kind: ToolKind::Function, .. } => Self::Function,
            ReplyPart::Tool { kind: ToolKind::Custom, .. } => Self::Custom,
        }
    }

    /// How a part of this kind that was stopped early goes on; `None`: it cannot.
    fn reopen(self) -> Option<Open<'static>> {
        match self {
            Self::Text => Some(Open::Text),
            Self::Thinking => Some(Open::Thinking),
            Self::Refusal => Some(Open::Refusal),
            Self::Whole | Self::Function | Self::Custom => None,
        }
    }
}

#[derive(Debug)]
struct OpenPart {
    /// The decoder's number.
    part: u32,
    /// The encoder's number.
    number: u32,
    kind: Kind,
    arguments: Completeness,
}

impl OpenPart {
    /// Whether another part may take its place.
    fn may_stop(&self) -> bool {
        match self.kind {
            Kind::Text | Kind::Thinking | Kind::Refusal | Kind::Whole => true,
            Kind::Function => self.arguments.is_closed(),
            Kind::Custom => false,
        }
    }
}

/// A part that waits, with everything that came for it.
#[derive(Debug)]
struct Queued {
    part: u32,
    content: ReplyPart,
    scores: Logprobs,
    stopped: bool,
}

impl Queued {
    fn bytes(&self) -> usize {
        self.content.bytes() + self.scores.len()
    }
}

impl Serial {
    /// Takes the next event and passes on what may be written now.
    pub fn event(&mut self, event: Event<'_>, emit: Emit<'_>) {
        if self.over {
            return;
        }
        match event {
            Event::Part { part, open } => self.part(part, open, emit),
            Event::Delta { part, field, text } => self.delta(part, field, text, emit),
            Event::Stop { part } => self.stop(part, emit),
            Event::Finish(_) | Event::End => {
                self.stop_open(true, emit);
                self.drain(emit, true);
                emit(event);
            }
            Event::Error(_) => self.fail(event, emit),
            Event::Start { .. } | Event::Usage(_) | Event::Ping => emit(event),
        }
    }

    fn part(&mut self, part: u32, open: Open<'_>, emit: Emit<'_>) {
        if self.tracks.len() <= part as usize {
            if part as usize >= PARTS_MAX {
                self.fail(too_much("the answer has too many parts"), emit);
                return;
            }
            self.tracks.resize(part as usize + 1, Track::Done);
        }
        if self.open.as_ref().is_some_and(|open| !open.may_stop()) {
            self.enqueue(part, open, emit);
            return;
        }
        self.stop_open(false, emit);
        self.begin(part, open, emit);
    }

    fn begin(&mut self, part: u32, open: Open<'_>, emit: Emit<'_>) {
        let number = self.next;
        self.next += 1;
        self.tracks[part as usize] = Track::Open;
        self.open = Some(OpenPart { part, number, kind: Kind::of(&open), arguments: Completeness::default() });
        emit(Event::Part { part: number, open });
    }

    fn enqueue(&mut self, part: u32, open: Open<'_>, emit: Emit<'_>) {
        if self.queue.len() >= QUEUED_PARTS_MAX {
            self.fail(too_much("too many parts wait for an unfinished call"), emit);
            return;
        }
        self.tracks[part as usize] = Track::Queued;
        let content = ReplyPart::open(&open);
        self.hold(content.bytes(), emit);
        self.queue.push_back(Queued { part, content, scores: Logprobs::default(), stopped: false });
    }

    /// Counts bytes that are about to wait.
    fn hold(&mut self, bytes: usize, emit: Emit<'_>) {
        self.queued_bytes += bytes;
        if self.queued_bytes > QUEUED_BYTES_MAX {
            self.fail(too_much("too much waits for an unfinished call"), emit);
        }
    }

    #[inline]
    fn delta(&mut self, part: u32, field: Field<'_>, text: Text<'_>, emit: Emit<'_>) {
        if let Some(open) = &mut self.open
            && open.part == part
        {
            if open.kind == Kind::Function {
                open.arguments.push(text);
            }
            emit(Event::Delta { part: open.number, field, text });
            if !self.queue.is_empty() && self.open.as_ref().is_some_and(OpenPart::may_stop) {
                self.stop_open(false, emit);
                self.drain(emit, false);
            }
            return;
        }
        self.delta_of_other(part, field, text, emit);
    }

    /// A delta for a part that is not open.
    #[inline(never)]
    fn delta_of_other(&mut self, part: u32, field: Field<'_>, text: Text<'_>, emit: Emit<'_>) {
        match self.tracks.get(part as usize) {
            Some(Track::Queued) => self.grow(part, field, text, emit),
            Some(Track::StoppedEarly(kind)) => {
                if let Some(open) = kind.reopen() {
                    if matches!(field, Field::Logprobs) {
                        return self.late(part, text, emit);
                    }
                    self.part(part, open, emit);
                    if let Some((_, list)) = self.late.take_if(|(other, _)| *other == part) {
                        self.queued_bytes = self.queued_bytes.saturating_sub(list.len());
                        self.event(Event::Delta { part, field: Field::Logprobs, text: list.text() }, emit);
                    }
                    self.event(Event::Delta { part, field, text }, emit);
                }
            }
            Some(Track::Open | Track::Done) | None => {}
        }
    }

    fn late(&mut self, part: u32, list: Text<'_>, emit: Emit<'_>) {
        if let Some((_, old)) = self.late.take_if(|(other, _)| *other != part) {
            self.queued_bytes = self.queued_bytes.saturating_sub(old.len());
        }
        self.late.get_or_insert_with(|| (part, Logprobs::default())).1.push(list);
        self.hold(list.len(), emit);
    }

    fn grow(&mut self, part: u32, field: Field<'_>, text: Text<'_>, emit: Emit<'_>) {
        if let Some(queued) = self.queue.iter_mut().rev().find(|queued| queued.part == part) {
            let before = queued.bytes();
            match field {
                Field::Logprobs => queued.scores.push(text),
                _ => queued.content.grow(&field, text),
            }
            // A blob that comes again replaces the earlier one: the difference can be negative.
            let after = queued.bytes();
            self.queued_bytes = self.queued_bytes.saturating_sub(before);
            self.hold(after, emit);
        }
    }

    fn stop(&mut self, part: u32, emit: Emit<'_>) {
        match self.tracks.get(part as usize) {
            Some(Track::Open) => {
                self.stop_open(true, emit);
                self.drain(emit, false);
            }
            Some(Track::Queued) => {
                if let Some(queued) = self.queue.iter_mut().rev().find(|queued| queued.part == part) {
                    queued.stopped = true;
                }
            }
            Some(Track::StoppedEarly(_)) => self.tracks[part as usize] = Track::Done,
            Some(Track::Done) | None => {}
        }
    }

    /// Stops the open part, if there is one; `told`: the decoder said so.
    fn stop_open(&mut self, told: bool, emit: Emit<'_>) {
        if let Some(open) = self.open.take() {
            self.tracks[open.part as usize] = if told { Track::Done } else { Track::StoppedEarly(open.kind) };
            emit(Event::Stop { part: open.number });
        }
    }

    /// Opens what waits, until a part is open that must stay so; with `all`, until nothing waits.
    fn drain(&mut self, emit: Emit<'_>, all: bool) {
        while let Some(queued) = self.queue.pop_front() {
            self.queued_bytes = self.queued_bytes.saturating_sub(queued.bytes());
            let number = self.next;
            self.next += 1;
            queued.content.replay(number, queued.scores.text(), emit);
            let kind = Kind::of_part(&queued.content);
            let mut open = OpenPart { part: queued.part, number, kind, arguments: Completeness::default() };
            if let ReplyPart::Tool { args, .. } = &queued.content {
                open.arguments.push(args.text());
            }
            self.open = Some(open);
            self.tracks[queued.part as usize] = Track::Open;
            let make_way = !self.queue.is_empty() && self.open.as_ref().is_some_and(OpenPart::may_stop);
            if queued.stopped || all || make_way {
                self.stop_open(queued.stopped || all, emit);
            } else {
                return;
            }
        }
    }

    fn fail(&mut self, error: Event<'_>, emit: Emit<'_>) {
        self.over = true;
        self.queue = VecDeque::new();
        self.open = None;
        emit(error);
    }
}

fn too_much(message: &str) -> Event<'static> {
    Event::Error(ApiError::new(ErrorKind::Api, message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::Finish;

    /// A compact notation: `t0` text part, `f0` function, `c0` custom tool; `0:abc` delta; `/0` stop; `.` finish.
    fn run(script: &[&str]) -> Vec<String> {
        let mut serial = Serial::default();
        let mut out = Vec::new();
        let mut kinds = Vec::new();
        for step in script {
            let event = match step.as_bytes() {
                [b't', ..] => open(&mut kinds, Open::Text),
                [b'h', ..] => open(&mut kinds, Open::Thinking),
                [kind @ (b'f' | b'c'), ..] => {
                    let kind = if *kind == b'f' { ToolKind::Function } else { ToolKind::Custom };
                    open(&mut kinds, Open::Tool { id: "i".into(), name: "n".into(), kind, signature: None })
                }
                [b'/', part @ ..] => Event::Stop { part: number(part) },
                b"." => Event::Finish(Finish::End),
                b"!" => too_much("x"),
                _ => {
                    let (part, text) = step.split_once(':').unwrap_or_default();
                    let part = number(part.as_bytes());
                    Event::Delta { part, field: kinds[part as usize].clone(), text: Text::Plain(text) }
                }
            };
            serial.event(event, &mut |event| out.push(show(&event)));
        }
        out
    }

    fn open<'a>(kinds: &mut Vec<Field<'a>>, open: Open<'a>) -> Event<'a> {
        kinds.push(match open {
            Open::Text => Field::Text,
            Open::Thinking => Field::Think,
            _ => Field::Args,
        });
        Event::Part { part: kinds.len() as u32 - 1, open }
    }

    fn number(digits: &[u8]) -> u32 {
        digits.iter().fold(0, |number, digit| number * 10 + u32::from(digit - b'0'))
    }

    fn show(event: &Event<'_>) -> String {
        match event {
            Event::Part { part, open: Open::Text } => format!("t{part}"),
            Event::Part { part, open: Open::Thinking } => format!("h{part}"),
            Event::Part { part, .. } => format!("f{part}"),
            Event::Delta { part, text, .. } => format!("{part}:{}", text.plain()),
            Event::Stop { part } => format!("/{part}"),
            Event::Finish(_) => ".".into(),
            Event::Error(_) => "!".into(),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn serial_parts_pass_unchanged() {
        let script = ["h0", "0:a", "/0", "t1", "1:b", "1:c", "/1", "f2", "2:{}", "/2", "."];
        assert_eq!(run(&script), script);
    }

    #[test]
    fn interleaved_calls_wait_for_the_first() {
        let got = run(&["f0", "0:{\"a\":", "f1", "1:{\"b", "0:1}", "1:\":2}", "0: ", "/0", "/1", "."]);
        assert_eq!(got, ["f0", "0:{\"a\":", "0:1}", "/0", "f1", "1:{\"b", "1:\":2}", "/1", "."]);
    }

    #[test]
    fn a_complete_call_makes_way_at_once() {
        assert_eq!(run(&["f0", "0:{}", "f1", "1:{}", "."]), ["f0", "0:{}", "/0", "f1", "1:{}", "/1", "."]);
    }

    #[test]
    fn a_brace_in_a_string_completes_nothing() {
        let got = run(&["f0", "0:{\"a\":\"}", "f1", "1:{}", "0:\"}", "/0", "/1", "."]);
        assert_eq!(got, ["f0", "0:{\"a\":\"}", "0:\"}", "/0", "f1", "1:{}", "/1", "."]);
    }

    #[test]
    fn free_input_is_complete_only_at_its_stop() {
        let got = run(&["c0", "0:{}", "t1", "1:x", "0: more", "/0", "1:y", "/1", "."]);
        assert_eq!(got, ["f0", "0:{}", "0: more", "/0", "t1", "1:x", "1:y", "/1", "."]);
    }

    #[test]
    fn a_number_may_go_on() {
        let got = run(&["f0", "0:1", "f1", "0:2", "/0", "/1", "."]);
        assert_eq!(got, ["f0", "0:1", "0:2", "/0", "f1", "/1", "."]);
    }

    #[test]
    fn late_text_is_never_lost() {
        let got = run(&["t0", "0:a", "f1", "0:b", "1:{}", "0:c", "/0", "/1", "."]);
        assert_eq!(got, ["t0", "0:a", "/0", "f1", "1:{}", "/1", "t2", "2:b", "2:c", "/2", "."]);
    }

    #[test]
    fn log_probabilities_open_nothing() {
        let mut serial = Serial::default();
        let mut out = Vec::new();
        let mut step = |event: Event<'_>| serial.event(event, &mut |event| out.push(show(&event)));
        let scores = |part| Event::Delta { part, field: Field::Logprobs, text: Text::Plain("{}") };
        let text = |part| Event::Delta { part, field: Field::Text, text: Text::Plain("x") };
        let tool = || Open::Tool { id: "i".into(), name: "n".into(), kind: ToolKind::Function, signature: None };
        step(Event::Part { part: 0, open: Open::Text });
        step(text(0));
        step(Event::Part { part: 1, open: tool() });
        // The text was stopped early: its scores wait for its next words, here behind the call and a queued text.
        step(scores(0));
        step(scores(0));
        step(Event::Part { part: 2, open: Open::Text });
        step(scores(2));
        step(text(2));
        step(text(0));
        step(Event::Delta { part: 1, field: Field::Args, text: Text::Plain("{}") });
        step(scores(2));
        (0..3).for_each(|part| step(Event::Stop { part }));
        step(Event::Finish(Finish::End));
        let expected =
            ["t0", "0:x", "/0", "f1", "1:{}", "/1", "t2", "2:{}", "2:x", "/2", "t3", "3:{},{}", "3:x", "/3", "."];
        assert_eq!(out, expected);
    }

    #[test]
    fn draining_goes_on_to_the_first_part_that_grows() {
        let got = run(&["f0", "f1", "1:{}", "f2", "2:{", "t3", "3:x", "0:{}", "2:}", "/2", "3:y", "/3", "."]);
        assert_eq!(
            got,
            ["f0", "0:{}", "/0", "f1", "1:{}", "/1", "f2", "2:{", "2:}", "/2", "t3", "3:x", "3:y", "/3", "."]
        );
    }

    #[test]
    fn an_error_forgets_the_queue() {
        assert_eq!(run(&["f0", "0:{", "f1", "1:{}", "!", "0:}", "/0", "."]), ["f0", "0:{", "!"]);
    }

    #[test]
    fn the_queue_is_bounded() {
        let mut script = vec!["f0"];
        script.extend(std::iter::repeat_n("f1", QUEUED_PARTS_MAX + 1));
        assert_eq!(run(&script), ["f0", "!"]);

        let piece = "x".repeat(QUEUED_BYTES_MAX / 4);
        let piece = format!("1:{piece}");
        let mut script = vec!["f0", "f1"];
        script.extend(std::iter::repeat_n(piece.as_str(), 5));
        assert_eq!(run(&script), ["f0", "!"]);
    }
}
