//! What is between two rounds of a turn: the calls of an answer run in the editor, and their results make the next request.
//!
//! ```text
//!   Encoder ─▶ executions ─▶ editor ─▶ ClientMessage ─▶ Executions::take ─▶ results ─▶ resume ─▶ next request
//! ```
//!
//! Pure: how long the editor may take, and asking the model again, is the business of those who call.

use bytes::BytesMut;

use super::{
    Facts, failure,
    request::agent::ClientMessage,
    schema::{agent_server, call_update, exec, exec_control, shell_stream, update},
    stream::{write_turn_ended, write_update},
    toolbox::{self, ToolCall, push_bounded},
};
use crate::{
    dialect::Context,
    frame::write_envelope,
    hub::{
        ApiError, Reply, ReplyPart, ToolKind, Usage, arguments,
        request::{Call, Message as Turn, Part, Request, Role, Source, ToolResult},
    },
    proto::{Message, MessageWriter, WireError},
};

/// The calls of one round, and what came of them.
#[derive(Debug)]
pub struct Executions {
    facts: Facts,
    calls: Vec<Execution>,
}

#[derive(Debug)]
struct Execution {
    number: u32,
    call_id: String,
    /// Name on the hub.
    name: String,
    args: String,
    /// What a shell has printed so far.
    printed: String,
    done: Option<ToolResult<'static>>,
}

impl Executions {
    /// Those of an answer that was written with `context`.
    pub fn of(reply: &Reply, context: &Context) -> Self {
        let facts = context.cursor.as_deref().cloned().unwrap_or_default();
        let calls = reply.parts.iter().filter_map(|part| match part {
            ReplyPart::Tool { id, name, kind, args, .. } => Some((id, name, kind, args)),
            _ => None,
        });
        let calls = (facts.executions + 1..).zip(calls).map(|(number, (id, name, kind, args))| Execution {
            number,
            call_id: id.clone(),
            name: context.tools.client_name(name).to_owned(),
            args: arguments::call_object(*kind, args.text()).into_owned(),
            printed: String::new(),
            done: None,
        });
        let calls = calls.collect();
        Self { facts, calls }
    }

    /// Executions of the stream so far: [`Facts::executions`] of the next round.
    pub fn count(&self) -> u32 {
        self.facts.executions + self.calls.len() as u32
    }

    /// Whether all results are there.
    pub fn is_complete(&self) -> bool {
        self.calls.iter().all(|call| call.done.is_some())
    }

    /// Takes a message of an agent's client, and appends what the editor is to show of it. Messages that belong to none of
    /// these executions, or to one that is done, are left alone.
    ///
    /// # Errors
    /// A result cannot be read.
    pub fn take(&mut self, message: &ClientMessage<'_>, out: &mut BytesMut) -> Result<(), ApiError> {
        let (id, shown) = match message {
            ClientMessage::Executed { id, kind, result } => (*id, Some((*kind, *result))),
            ClientMessage::Closed { id, .. } => (*id, None),
            _ => return Ok(()),
        };
        let open = |call: &&mut Execution| call.number == id && call.done.is_none();
        let Some(call) = self.calls.iter_mut().find(open) else { return Ok(()) };
        let unreadable = |error: WireError| ApiError::invalid("exec_client_message", error.to_string());
        match (message, shown) {
            (ClientMessage::Closed { error: Some(error), .. }, _) => call.finish(error.clone().into_owned(), true, &[]),
            (_, None) => {
                let printed = std::mem::take(&mut call.printed);
                call.finish(printed, false, &[]);
            }
            (_, Some((exec::SHELL_STREAM, piece))) => call.shell(Message::new(piece)).map_err(unreadable)?,
            (_, Some((kind, result))) => {
                let mut images = Vec::new();
                let (text, failed) = toolbox::outcome(kind, Message::new(result), &mut images).map_err(unreadable)?;
                let printed = std::mem::take(&mut call.printed);
                let text = if kind == exec::SHELL_RESULT && !printed.is_empty() { printed } else { text };
                call.finish(text, failed, &images);
            }
        }
        if call.done.is_some() {
            let result = shown.filter(|(kind, _)| *kind != exec::SHELL_STREAM).map(|(_, result)| result);
            write_update(out, |w| {
                w.message(update::TOOL_CALL_COMPLETED, |w| {
                    w.text(call_update::CALL_ID, &call.call_id).message(call_update::TOOL_CALL, |w| {
                        ToolCall::new(&call.name, &call.call_id, &self.facts).write(Some(&call.args), result, w);
                    });
                });
            });
        }
        Ok(())
    }

    /// Takes a result of a chat's client, which names the call.
    pub fn take_result(&mut self, result: &ToolResult<'_>) {
        let named = |call: &&mut Execution| result.call_id.is(&call.call_id) && call.done.is_none();
        if let Some(call) = self.calls.iter_mut().find(named) {
            let parts = result.parts.iter().filter_map(owned).collect();
            call.done = Some(call.result(parts, result.is_error));
        }
    }

    /// The user does not want an answer any more: appends what stops the executions that still run, and ends the stream.
    pub fn cancel(self, usage: &Usage, out: &mut BytesMut) {
        for call in self.calls.iter().filter(|call| call.done.is_none()) {
            write_envelope(false, out, |out| {
                MessageWriter::new(out).message(agent_server::EXEC_CONTROL, |w| {
                    w.message(exec_control::ABORT, |w| {
                        w.varint(exec_control::ID, call.number.into());
                    });
                });
            });
        }
        write_turn_ended(usage, out);
        failure::end_cancelled(out);
    }

    /// The results in the order of the calls. One that never came has failed.
    pub fn into_results(self) -> Vec<ToolResult<'static>> {
        let result = |mut call: Execution| {
            if call.done.is_none() {
                call.finish("the tool gave no result".to_owned(), true, &[]);
            }
            call.done
        };
        self.calls.into_iter().filter_map(result).collect()
    }
}

impl Execution {
    fn result(&self, parts: Vec<Part<'static>>, is_error: bool) -> ToolResult<'static> {
        let (call_id, name) = (self.call_id.clone().into(), Some(self.name.clone().into()));
        ToolResult { call_id, name, parts, is_error, cache: None }
    }

    fn finish(&mut self, text: String, failed: bool, images: &[&[u8]]) {
        let mut parts = vec![Part::Text { text: text.into(), cache: None }];
        parts.extend(images.iter().map(|data| super::request::image_part(data)));
        self.done = Some(self.result(parts, failed));
    }

    /// A piece of what a shell does.
    fn shell(&mut self, message: Message<'_>) -> Result<(), WireError> {
        for field in message.fields() {
            let field = field?;
            let Some(inner) = field.message()? else { continue };
            match field.number {
                shell_stream::STDOUT | shell_stream::STDERR => {
                    for field in inner.fields() {
                        let field = field?;
                        if field.number == shell_stream::TEXT {
                            push_bounded(&mut self.printed, &field.text().unwrap_or_default());
                        }
                    }
                }
                shell_stream::START => {}
                shell_stream::EXIT => {
                    let (mut code, mut aborted) = (0, false);
                    for field in inner.fields() {
                        let field = field?;
                        match field.number {
                            shell_stream::CODE => code = field.varint().unwrap_or(0),
                            shell_stream::ABORTED => aborted = field.varint() == Some(1),
                            _ => {}
                        }
                    }
                    let word = if aborted { "aborted, " } else { "" };
                    // Negative codes are numbers of 64 bits on the wire.
                    let printed = std::mem::take(&mut self.printed);
                    let text = format!("{printed}\n[{word}exit code {}]", code as i32);
                    self.finish(text, aborted || code != 0, &[]);
                }
                shell_stream::BACKGROUNDED => {
                    let printed = std::mem::take(&mut self.printed);
                    self.finish(format!("{printed}\n[goes on in the background]"), false, &[]);
                }
                _ => {
                    self.finish(toolbox::failure(exec::SHELL_STREAM, field.number, inner), true, &[]);
                }
            }
        }
        Ok(())
    }
}

/// A copy of what a result can hold.
fn owned(part: &Part<'_>) -> Option<Part<'static>> {
    match part {
        Part::Text { text, .. } => Some(Part::Text { text: text.clone().into_owned(), cache: None }),
        Part::Image { source: Source::Base64 { mime, data }, .. } => {
            let source = Source::Base64 { mime: mime.clone().into_owned(), data: data.clone().into_owned() };
            Some(Part::Image { source, detail: None, cache: None })
        }
        _ => None,
    }
}

/// Puts an answer and the results of its calls behind a request. `context` is that of the answer.
pub fn resume(request: &mut Request<'_>, reply: &Reply, results: Vec<ToolResult<'static>>, context: &Context) {
    let parts = reply.parts.iter().filter_map(|part| said(part, context)).collect();
    request.messages.push(Turn { role: Role::Assistant, parts });
    request.messages.push(Turn { role: Role::Tool, parts: results.into_iter().map(Part::Result).collect() });
}

fn said(part: &ReplyPart, context: &Context) -> Option<Part<'static>> {
    match part {
        ReplyPart::Text(text) | ReplyPart::Refusal(text) => {
            Some(Part::Text { text: text.text().to_owned_str(), cache: None })
        }
        ReplyPart::Thinking { text, rider } => {
            Some(Part::Thinking { text: text.text().to_owned_str(), rider: rider.clone() })
        }
        ReplyPart::Redacted(rider) => Some(Part::Redacted(rider.clone())),
        ReplyPart::Tool { id, name, kind, args, signature } => Some(Part::Call(Call {
            id: id.clone().into(),
            name: context.tools.client_name(name).to_owned().into(),
            namespace: None,
            arguments: arguments::call_object(*kind, args.text()).into_owned().into(),
            kind: ToolKind::Function,
            signature: signature.clone(),
            cache: None,
        })),
        ReplyPart::Image { .. } => None,
    }
}
