//! Answers made at random: hub events that obey the grammar, and the stream that a dialect's own encoder makes of them,
//! which then plays the upstream.

#![allow(dead_code, clippy::unwrap_used)]

use bytes::BytesMut;
use codecs::{
    dialect::{Context, Dialect, StreamEncode},
    hub::{
        Event, Field, Finish, Logprobs, Open, Refused, Reply, ToolKind, Usage, check::Check, logprobs::Token,
        serial::Serial,
    },
    json::{Raw, Text},
};
use proptest::prelude::*;

/// One part of a made-up answer: its kind and the pieces in which its content comes.
#[derive(Debug, Clone)]
pub(crate) enum Made {
    Text(Vec<String>),
    Thinking(Vec<String>),
    Refusal(Vec<String>),
    Call { name: String, pieces: Vec<String> },
}

#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) parts: Vec<Made>,
    /// Which of the calls that stand side by side speaks next.
    pub(crate) turns: Vec<usize>,
    /// How many tokens are scored before a piece of words, and at its part's end.
    pub(crate) scores: Vec<usize>,
    pub(crate) finish: u8,
    pub(crate) usage: Usage,
}

pub(crate) fn words() -> impl Strategy<Value = Vec<String>> {
    let piece = prop_oneof![
        6 => "[ a-zA-Z,.]{1,12}",
        2 => "[\"\\\\/{}\\[\\]:\n\t\r\u{1}]{1,4}",
        2 => Just("🚀é\u{2028}\u{feff}".to_owned()),
        1 => Just("data: [DONE]\n\nevent: x".to_owned()),
    ];
    prop::collection::vec(piece, 1..5)
}

/// The JSON text of an object, in pieces.
pub(crate) fn arguments() -> impl Strategy<Value = Vec<String>> {
    let member = ("[a-z\"é]{1,3}", words().prop_map(|words| words.concat()));
    (prop::collection::btree_map(member.0, member.1, 0..3), prop::collection::vec(1usize..9, 1..4)).prop_map(
        |(members, sizes)| {
            let text = serde_json::to_string(&members).unwrap();
            let mut chars = text.chars().peekable();
            let mut pieces = Vec::new();
            for size in sizes.into_iter().cycle() {
                if chars.peek().is_none() {
                    break;
                }
                pieces.push(chars.by_ref().take(size).collect());
            }
            pieces
        },
    )
}

pub(crate) fn answer() -> impl Strategy<Value = Answer> {
    let part = prop_oneof![
        3 => words().prop_map(Made::Text),
        2 => words().prop_map(Made::Thinking),
        1 => words().prop_map(Made::Refusal),
        3 => ("[a-z_]{1,8}", arguments()).prop_map(|(name, pieces)| Made::Call { name, pieces }),
    ];
    let usage =
        (0u64..9999, 0u64..999, 0u64..999, 1u64..999, 0u64..999).prop_map(|(uncached, read, write, output, r)| Usage {
            uncached,
            cache_read: read,
            cache_write: write,
            output,
            reasoning: r.min(output),
            ..Usage::default()
        });
    let scores = prop_oneof![Just(vec![0]), prop::collection::vec(0usize..3, 1..8)];
    (prop::collection::vec(part, 0..6), prop::collection::vec(0usize..8, 32), scores, 0u8..5, usage)
        .prop_map(|(parts, turns, scores, finish, usage)| Answer { parts, turns, scores, finish, usage })
}

impl Answer {
    pub(crate) fn has_calls(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Made::Call { .. }))
    }

    pub(crate) fn has_refusal(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Made::Refusal(_)))
    }

    pub(crate) fn finish(&self) -> Finish<'static> {
        match self.finish {
            0 => Finish::Length,
            1 => Finish::Filter(Refused::default()),
            2 if !self.has_calls() => Finish::StopSequence(Some("END".into())),
            _ if self.has_calls() => Finish::Tool,
            _ => Finish::End,
        }
    }

    /// The answer as events. Calls that stand side by side overlap, as those of a chat upstream do.
    pub(crate) fn events(&self, emit: &mut dyn FnMut(Event<'_>)) {
        let (id, model) = (Text::Plain("abcdefgh12345678"), Text::Plain("some-model"));
        emit(Event::Start { id, model, created: Some(1_700_000_000), usage: None });
        let mut turns = self.turns.iter().copied().cycle();
        let (mut scores, mut tokens) = (self.scores.iter().copied().cycle(), 0..);
        let mut score = |part: u32, emit: &mut dyn FnMut(Event<'_>)| {
            let mut list = Logprobs::default();
            for n in tokens.by_ref().take(scores.next().unwrap()) {
                scored(n, &mut list);
            }
            list.tell(part, emit);
        };
        let mut at = 0;
        while at < self.parts.len() {
            let run = self.parts[at..].iter().take_while(|part| matches!(part, Made::Call { .. })).count().max(1);
            let mut left: Vec<(usize, std::slice::Iter<'_, String>)> = Vec::new();
            for (number, part) in self.parts.iter().enumerate().skip(at).take(run) {
                let id = format!("call_x{number}");
                let (open, pieces) = match part {
                    Made::Text(pieces) => (Open::Text, pieces),
                    Made::Thinking(pieces) => (Open::Thinking, pieces),
                    Made::Refusal(pieces) => (Open::Refusal, pieces),
                    Made::Call { name, pieces } => {
                        let (id, name) = (Text::Plain(&id), Text::Plain(name));
                        (Open::Tool { id, name, kind: ToolKind::Function, signature: None }, pieces)
                    }
                };
                emit(Event::Part { part: number as u32, open });
                left.push((number, pieces.iter()));
            }
            while !left.is_empty() {
                let turn = turns.next().unwrap() % left.len();
                let (number, pieces) = &mut left[turn];
                let part = *number as u32;
                let next = pieces.next();
                if !matches!(self.parts[*number], Made::Call { .. }) {
                    score(part, emit);
                }
                match next {
                    Some(piece) => emit(Event::Delta { part, field: self.field(*number), text: Text::Plain(piece) }),
                    None => {
                        emit(Event::Stop { part });
                        let _ = left.remove(turn);
                    }
                }
            }
            at += run;
        }
        emit(Event::Usage(self.usage));
        emit(Event::Finish(self.finish()));
        emit(Event::End);
    }

    fn field(&self, part: usize) -> Field<'static> {
        match &self.parts[part] {
            Made::Text(_) => Field::Text,
            Made::Thinking(_) => Field::Think,
            Made::Refusal(_) => Field::Refusal,
            Made::Call { .. } => Field::Args,
        }
    }

    /// The answer as a stream of `dialect`.
    pub(crate) fn stream(&self, dialect: Dialect) -> Vec<u8> {
        let mut out = BytesMut::new();
        let mut encoder = dialect.stream_encoder(&context());
        let mut check = Check::default();
        let mut serial = dialect.wants_serial_parts().then(Serial::default);
        self.events(&mut |event| {
            check.event(&event).unwrap();
            match &mut serial {
                Some(serial) => serial.event(event, &mut |event| encoder.event(&event, &mut out)),
                None => encoder.event(&event, &mut out),
            }
        });
        out.to_vec()
    }

    pub(crate) fn reply(&self) -> Reply {
        let mut reply = Reply::default();
        self.events(&mut |event| reply.fold(&event));
        reply
    }
}

pub(crate) fn context() -> Context {
    Context {
        now: 1_700_000_000,
        new_id: "abcdefgh12345678".into(),
        include_usage: true,
        model: "some-model".into(),
        ..Context::default()
    }
}

/// Scores the token of that number: no two are alike.
pub(crate) fn scored(n: usize, list: &mut Logprobs) {
    let bytes = format!("[{n}]");
    let bytes = Raw::parse_str(&bytes).unwrap();
    let token = format!("{n}\"é\n");
    let logprob = format!("-{n}.50");
    let chosen = match n % 5 {
        0 => Token { token: Text::Plain("\u{FFFD}"), logprob: &logprob, bytes: Some(bytes) },
        1 => Token { token: Text::Escaped("\\ud83d\\ude80 \\u00e9"), logprob: &logprob, bytes: None },
        _ => Token { token: Text::Plain(&token), logprob: &logprob, bytes: None },
    };
    let top = ["a", "\u{FFFD}"].map(|token| Token { token: Text::Plain(token), logprob: "-1e-2", bytes: None });
    list.entry(chosen, top.into_iter().take(n % 3));
}
