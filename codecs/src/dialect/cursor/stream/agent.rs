//! Writes one round of an agent's turn.
//!
//! ```text
//!   (text │ thinking, completed │ call: arguments piece by piece, started, execution)*
//!       without calls:  turn_ended {}
//!       with calls:     nothing more: the turn goes on when they have run
//!   … {"error":…}       at any point, last
//! ```
//!
//! How long something took is not told: there is no clock here. Images, refusals of their own and scored tokens have no place.

use bytes::BytesMut;

use super::{pieces, write_end};
use crate::{
    dialect::{
        Context, StreamEncode,
        cursor::{
            Facts, Rpc, failure,
            schema::{agent_server, call_update, delta, turn_ended, update},
            toolbox::ToolCall,
        },
    },
    frame::write_envelope,
    hub::{ApiError, ErrorKind, Event, Field, Open, ToolKind, Usage, arguments, names::uuid},
    json::Text,
    proto::MessageWriter,
};

/// Longest arguments of all open calls, in bytes. They are written once more as a message when they are complete, in which
/// nested values are moved as often as they are nested.
const ARGS_BYTES_MAX: usize = 4 << 20;

type Fields<'o> = MessageWriter<'o, BytesMut>;

/// Writes a round.
#[derive(Debug)]
pub(super) struct Encoder {
    context: Context,
    facts: Facts,
    thinking: Option<u32>,
    calls: Vec<OpenCall>,
    args_bytes: usize,
    /// Executions of this stream so far.
    executions: u32,
    usage: Usage,
    over: bool,
}

#[derive(Debug)]
struct OpenCall {
    part: u32,
    /// Number of its execution.
    number: u32,
    id: String,
    /// Name on the hub.
    name: String,
    kind: ToolKind,
    args: String,
}

/// Appends a message that is an update.
pub(in crate::dialect::cursor) fn write_update(out: &mut BytesMut, write: impl FnOnce(&mut Fields<'_>)) {
    write_envelope(false, out, |out| {
        MessageWriter::new(out).message(agent_server::UPDATE, write);
    });
}

/// Appends the end of a turn.
pub(in crate::dialect::cursor) fn write_turn_ended(usage: &Usage, out: &mut BytesMut) {
    let counts = [
        (turn_ended::INPUT, usage.uncached),
        (turn_ended::OUTPUT, usage.output),
        (turn_ended::CACHE_READ, usage.cache_read),
        (turn_ended::CACHE_WRITE, usage.cache_write),
    ];
    write_update(out, |w| {
        w.message(update::TURN_ENDED, |w| {
            for (number, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
                w.varint(number, count);
            }
        });
    });
}

impl Encoder {
    pub(super) fn new(context: &Context) -> Self {
        let facts = context.cursor.as_deref().cloned().unwrap_or_default();
        let executions = facts.executions;
        Self {
            context: context.clone(),
            facts,
            thinking: None,
            calls: Vec::new(),
            args_bytes: 0,
            executions,
            usage: Usage::default(),
            over: false,
        }
    }

    fn open(&mut self, part: u32, open: &Open<'_>, out: &mut BytesMut) {
        match open {
            Open::Tool { id, name, kind, .. } => {
                self.executions += 1;
                let call = OpenCall {
                    part,
                    number: self.executions,
                    id: id.plain().into_owned(),
                    name: self.context.tools.client_name(&name.plain()).to_owned(),
                    kind: *kind,
                    args: String::new(),
                };
                self.partial(&call, "", out);
                self.calls.push(call);
            }
            Open::Thinking => self.thinking = Some(part),
            Open::Text | Open::Redacted(_) | Open::Refusal | Open::Image { .. } => {}
        }
    }

    fn partial(&self, call: &OpenCall, piece: &str, out: &mut BytesMut) {
        write_update(out, |w| {
            w.message(update::PARTIAL_TOOL_CALL, |w| {
                w.text(call_update::CALL_ID, &call.id).message(call_update::TOOL_CALL, |w| {
                    ToolCall::new(&call.name, &call.id, &self.facts).write(None, None, w);
                });
                if !piece.is_empty() {
                    w.text(call_update::ARGS_TEXT_DELTA, piece);
                }
            });
        });
    }

    #[inline]
    fn delta(&mut self, part: u32, field: &Field<'_>, text: Text<'_>, out: &mut BytesMut) {
        match field {
            Field::Text | Field::Refusal => pieces(&text.plain(), |piece| {
                write_update(out, |w| {
                    w.message(update::TEXT_DELTA, |w| {
                        w.text(delta::TEXT, piece);
                    });
                });
            }),
            Field::Think => pieces(&text.plain(), |piece| {
                write_update(out, |w| {
                    w.message(update::THINKING_DELTA, |w| {
                        w.text(delta::TEXT, piece).varint(delta::THINKING_STYLE, 1);
                    });
                });
            }),
            Field::Args => self.grow(part, text, out),
            // The editor keeps no signatures of ours.
            Field::Sig { .. } | Field::Logprobs => {}
        }
    }

    fn grow(&mut self, part: u32, text: Text<'_>, out: &mut BytesMut) {
        let Some(at) = self.calls.iter().position(|call| call.part == part) else { return };
        let piece = text.plain();
        self.args_bytes += piece.len();
        if self.args_bytes > ARGS_BYTES_MAX {
            self.fail(&ApiError::new(ErrorKind::Api, "the arguments of the tool calls are too long"), out);
            return;
        }
        self.calls[at].args.push_str(&piece);
        self.partial(&self.calls[at], &piece, out);
    }

    fn stop(&mut self, part: u32, out: &mut BytesMut) {
        if self.thinking.take_if(|thinking| *thinking == part).is_some() {
            write_update(out, |w| {
                w.message(update::THINKING_COMPLETED, |_| {});
            });
        }
        let Some(at) = self.calls.iter().position(|call| call.part == part) else { return };
        let call = self.calls.remove(at);
        self.args_bytes -= call.args.len();
        let args = arguments::call_object(call.kind, Text::Plain(&call.args));
        let tool = ToolCall::new(&call.name, &call.id, &self.facts);
        write_update(out, |w| {
            w.message(update::TOOL_CALL_STARTED, |w| {
                w.text(call_update::CALL_ID, &call.id);
                w.message(call_update::TOOL_CALL, |w| tool.write(Some(&args), None, w));
            });
        });
        let exec_id = uuid(&format!("{}/{}", self.context.new_id, call.number));
        write_envelope(false, out, |out| {
            MessageWriter::new(out).message(agent_server::EXEC, |w| tool.execute(call.number, &exec_id, &args, w));
        });
    }

    fn end(&mut self, out: &mut BytesMut) {
        self.over = true;
        let has_calls = self.executions > self.facts.executions;
        if has_calls && self.facts.two_way {
            return;
        }
        write_turn_ended(&self.usage, out);
        write_end(out);
    }

    fn fail(&mut self, error: &ApiError, out: &mut BytesMut) {
        self.over = true;
        failure::end_with(error, out);
    }
}

impl StreamEncode for Encoder {
    fn event(&mut self, event: &Event<'_>, out: &mut BytesMut) {
        if self.over {
            return;
        }
        match event {
            Event::Delta { part, field, text } => self.delta(*part, field, *text, out),
            Event::Start { usage, .. } => self.usage = usage.unwrap_or_default(),
            Event::Part { part, open } => self.open(*part, open, out),
            Event::Stop { part } => self.stop(*part, out),
            Event::Usage(usage) => self.usage = *usage,
            Event::Finish(_) => {}
            Event::Ping => out.extend_from_slice(Rpc::Agent.keep_alive()),
            Event::Error(error) => self.fail(error, out),
            Event::End => self.end(out),
        }
    }
}
