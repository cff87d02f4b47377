//! Writes the answer of a chat.
//!
//! ```text
//!   (text │ thinking │ call: name, arguments piece by piece, last)*  {}          calls may overlap
//!   … {"error":…}                                                                at any point, last
//! ```
//!
//! No message tells the model, the counts or why the answer ended. Images and scored tokens have no place.

use bytes::BytesMut;

use super::{pieces, write_end};
use crate::{
    dialect::{
        Context, StreamEncode,
        cursor::{
            Facts, McpTool, Rpc,
            facts::CUSTOM,
            failure,
            schema::{chat_server, mcp_params, mcp_tool, response, side_call, thinking},
        },
    },
    frame::write_envelope,
    hub::{Event, Field, Open, Rider, ToolKind},
    json::Text,
    proto::MessageWriter,
};

/// Writes a stream.
#[derive(Debug)]
pub(super) struct Encoder {
    /// Whether messages have a wrapper.
    wrapped: bool,
    context: Context,
    facts: Facts,
    calls: Vec<OpenCall>,
    /// Calls so far.
    count: u64,
    over: bool,
}

#[derive(Debug)]
struct OpenCall {
    part: u32,
    index: u64,
    id: String,
    /// Name of the call: `mcp_`, server, tool.
    name: String,
    arguments: Arguments,
}

/// What was written of a call's arguments.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Arguments {
    None,
    Json,
    /// Free text of a custom tool, wrapped into an object.
    Wrapped,
}

type Fields<'o> = MessageWriter<'o, BytesMut>;

impl Encoder {
    pub(super) fn new(rpc: Rpc, context: &Context) -> Self {
        let facts = context.cursor.as_deref().cloned().unwrap_or_default();
        let wrapped = rpc == Rpc::ChatWithTools;
        Self { wrapped, context: context.clone(), facts, calls: Vec::new(), count: 0, over: false }
    }

    /// A message of text or thinking.
    #[inline]
    fn response(&self, out: &mut BytesMut, write: impl FnOnce(&mut Fields<'_>)) {
        write_envelope(false, out, |out| {
            let mut w = MessageWriter::new(out);
            if self.wrapped {
                w.message(chat_server::RESPONSE, write);
            } else {
                write(&mut w);
            }
        });
    }

    /// A message of a call.
    fn call(&self, call: &OpenCall, out: &mut BytesMut, write: impl FnOnce(&mut Fields<'_>)) {
        let number = if self.wrapped { chat_server::TOOL_CALL } else { response::TOOL_CALL_V2 };
        write_envelope(false, out, |out| {
            MessageWriter::new(out).message(number, |w| {
                w.varint(side_call::TOOL, side_call::MCP);
                w.text(side_call::CALL_ID, &call.id).text(side_call::NAME, &call.name);
                write(w);
                if call.index > 0 {
                    w.varint(side_call::TOOL_INDEX, call.index);
                }
            });
        });
    }

    fn arguments(&self, call: &OpenCall, text: &str, out: &mut BytesMut) {
        pieces(text, |piece| {
            self.call(call, out, |w| {
                w.text(side_call::RAW_ARGS, piece).varint(side_call::IS_STREAMING, 1);
            });
        });
    }

    fn open(&mut self, part: u32, open: &Open<'_>, out: &mut BytesMut) {
        match open {
            Open::Tool { id, name, kind, signature } => {
                if let Some(rider) = signature {
                    self.sign(rider, out);
                }
                let sent = name.plain();
                let own = self.context.tools.client_name(&sent);
                let (server, short) = match self.facts.tools.get(own) {
                    Some(McpTool { server, short, .. }) if !server.is_empty() => (server.as_str(), short.as_str()),
                    Some(McpTool { short, .. }) => (CUSTOM, short.as_str()),
                    None => (CUSTOM, own),
                };
                let call = OpenCall {
                    part,
                    index: self.count,
                    id: id.plain().into_owned(),
                    name: format!("mcp_{server}_{short}"),
                    arguments: if *kind == ToolKind::Custom { Arguments::Wrapped } else { Arguments::None },
                };
                self.call(&call, out, |w| {
                    w.varint(side_call::IS_STREAMING, 1).message(side_call::MCP_PARAMS, |w| {
                        w.message(mcp_params::TOOLS, |w| {
                            w.text(mcp_tool::NAME, short).text(mcp_tool::SERVER, server);
                        });
                    });
                });
                if call.arguments == Arguments::Wrapped {
                    self.arguments(&call, "{\"input\":\"", out);
                }
                self.count += 1;
                self.calls.push(call);
            }
            Open::Redacted(rider) => {
                let tag = rider.tag();
                self.response(out, |w| {
                    w.message(response::THINKING, |w| {
                        w.text(thinking::REDACTED, &tag);
                    });
                });
            }
            Open::Text | Open::Thinking | Open::Refusal | Open::Image { .. } => {}
        }
    }

    fn sign(&self, rider: &Rider<'_>, out: &mut BytesMut) {
        let tag = rider.tag();
        self.response(out, |w| {
            w.message(response::THINKING, |w| {
                w.text(thinking::SIGNATURE, &tag);
            });
        });
    }

    #[inline]
    fn delta(&mut self, part: u32, field: &Field<'_>, text: Text<'_>, out: &mut BytesMut) {
        match field {
            Field::Text | Field::Refusal => pieces(&text.plain(), |piece| {
                self.response(out, |w| {
                    w.text(response::TEXT, piece);
                });
            }),
            Field::Think => pieces(&text.plain(), |piece| {
                self.response(out, |w| {
                    w.message(response::THINKING, |w| {
                        w.text(thinking::TEXT, piece);
                    });
                });
            }),
            Field::Args => self.grow(part, text, out),
            Field::Sig { origin, form, item_id } => {
                let rider = Rider::of_sig(*origin, *form, *item_id, text);
                self.sign(&rider, out);
            }
            Field::Logprobs => {}
        }
    }

    fn grow(&mut self, part: u32, text: Text<'_>, out: &mut BytesMut) {
        let Some(at) = self.calls.iter().position(|call| call.part == part) else { return };
        let call = &self.calls[at];
        if call.arguments == Arguments::Wrapped {
            let mut inner = Vec::new();
            text.write_escaped(&mut inner);
            self.arguments(call, &String::from_utf8_lossy(&inner), out);
            return;
        }
        self.arguments(call, &text.plain(), out);
        self.calls[at].arguments = Arguments::Json;
    }

    fn stop(&mut self, part: u32, out: &mut BytesMut) {
        let Some(at) = self.calls.iter().position(|call| call.part == part) else { return };
        let call = self.calls.remove(at);
        match call.arguments {
            Arguments::None => self.arguments(&call, "{}", out),
            Arguments::Wrapped => self.arguments(&call, "\"}", out),
            Arguments::Json => {}
        }
        self.call(&call, out, |w| {
            w.varint(side_call::IS_LAST_MESSAGE, 1);
        });
    }
}

impl StreamEncode for Encoder {
    fn event(&mut self, event: &Event<'_>, out: &mut BytesMut) {
        if self.over {
            return;
        }
        match event {
            Event::Delta { part, field, text } => self.delta(*part, field, *text, out),
            Event::Part { part, open } => self.open(*part, open, out),
            Event::Stop { part } => self.stop(*part, out),
            Event::Start { .. } | Event::Usage(_) | Event::Finish(_) => {}
            Event::Ping => out.extend_from_slice(Rpc::Chat.keep_alive()),
            Event::Error(error) => {
                self.over = true;
                failure::end_with(error, out);
            }
            Event::End => {
                self.over = true;
                // Results of the calls come on this stream, and the next round's answer behind this one.
                if self.count == 0 || !self.facts.two_way {
                    write_end(out);
                }
            }
        }
    }
}
