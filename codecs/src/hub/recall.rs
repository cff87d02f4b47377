//! Opaque riders kept on our side, for clients that cannot or do not send them back.
//!
//! Vendors refuse a tool turn whose signed thinking is missing, and many clients drop what they do not know. A
//! [`Keeper`] watches an answer and notes what belongs to each of its calls; [`restore`] puts it back into the next
//! request, found by call id. Where the client has sent riders itself, nothing is touched.

use std::{collections::HashMap, sync::Arc};

use super::{
    EscapedBuf, Event, Field, Open, Request, Rider,
    request::{Part, Role},
};
use crate::json::Text;

/// What belongs to one call of an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Kept {
    /// The call's id.
    pub call_id: String,
    /// Thinking and redacted parts that stood before it, behind the previous call.
    pub thinking: Vec<Part<'static>>,
    /// The signature on the call itself.
    pub signature: Option<Rider<'static>>,
}

/// Watches one answer.
#[derive(Debug, Default)]
pub struct Keeper {
    pending: Vec<Pending>,
    /// Part number → place in `pending`.
    places: HashMap<u32, usize>,
    kept: Vec<Kept>,
    bytes: usize,
}

#[derive(Debug)]
enum Pending {
    Thinking { text: EscapedBuf, rider: Option<Rider<'static>> },
    Redacted(Rider<'static>),
}

impl Keeper {
    /// Most bytes that are kept of one answer; above it nothing is.
    pub const BYTES_MAX: usize = 1 << 20;

    /// Takes the next event.
    pub fn event(&mut self, event: &Event<'_>) {
        if self.bytes > Self::BYTES_MAX {
            return;
        }
        match event {
            Event::Part { part, open: Open::Thinking } => {
                self.places.insert(*part, self.pending.len());
                self.pending.push(Pending::Thinking { text: EscapedBuf::default(), rider: None });
            }
            Event::Part { open: Open::Redacted(rider), .. } => {
                self.bytes += rider.payload.len();
                self.pending.push(Pending::Redacted(rider.clone().into_owned()));
            }
            Event::Part { open: Open::Tool { id, signature, .. }, .. } => {
                self.places.clear();
                let thinking = self.pending.drain(..).filter_map(Pending::into_part).collect();
                let signature = signature.clone().map(Rider::into_owned);
                self.kept.push(Kept { call_id: id.plain().into_owned(), thinking, signature });
            }
            Event::Delta { part, field, text } => self.grow(*part, field, *text),
            _ => {}
        }
    }

    fn grow(&mut self, part: u32, field: &Field<'_>, piece: Text<'_>) {
        let Some(Pending::Thinking { text, rider }) =
            self.places.get(&part).and_then(|place| self.pending.get_mut(*place))
        else {
            return;
        };
        match field {
            Field::Think => text.push(piece),
            Field::Sig { origin, form, item_id } => {
                *rider = Some(Rider {
                    origin: *origin,
                    form: *form,
                    item_id: item_id.map(Text::to_owned_str),
                    payload: piece.to_owned_str(),
                });
            }
            _ => return,
        }
        self.bytes += piece.len();
    }

    /// What is worth keeping: calls with riders before or on them.
    pub fn take(&mut self) -> Vec<Kept> {
        if self.bytes > Self::BYTES_MAX {
            return Vec::new();
        }
        let mut kept = std::mem::take(&mut self.kept);
        kept.retain(|kept| !kept.thinking.is_empty() || kept.signature.is_some());
        kept
    }
}

impl Pending {
    /// Unsigned thinking need not come back.
    fn into_part(self) -> Option<Part<'static>> {
        match self {
            Self::Thinking { rider: None, .. } => None,
            Self::Thinking { text, rider } => Some(Part::Thinking { text: text.text().to_owned_str(), rider }),
            Self::Redacted(rider) => Some(Part::Redacted(rider)),
        }
    }
}

/// Puts back what `recall` knows about the calls in history.
pub fn restore(request: &mut Request<'_>, recall: &dyn Fn(&str) -> Option<Arc<Kept>>) {
    for message in request.messages.iter_mut().filter(|message| message.role == Role::Assistant) {
        let signed = message.parts.iter().any(|part| match part {
            Part::Thinking { rider, .. } => rider.is_some(),
            Part::Redacted(_) => true,
            Part::Call(call) => call.signature.is_some(),
            _ => false,
        });
        if signed || !message.parts.iter().any(|part| matches!(part, Part::Call(_))) {
            continue;
        }
        let mut parts = Vec::with_capacity(message.parts.len() + 1);
        let mut first = true;
        for mut part in std::mem::take(&mut message.parts) {
            if let Part::Call(call) = &mut part
                && let Some(kept) = recall(&call.id.plain())
            {
                call.signature.clone_from(&kept.signature);
                if !kept.thinking.is_empty() {
                    // The client's own words of it are the same, without the signature.
                    parts.retain(|part| !matches!(part, Part::Thinking { .. }));
                    // A turn begins with its thinking; later thinking stands before its call.
                    let at = if first { 0 } else { parts.len() };
                    parts.splice(at..at, kept.thinking.iter().cloned());
                }
                first = false;
            }
            parts.push(part);
        }
        message.parts = parts;
    }
}

/// Removes every rider, and the reasoning that is worth nothing without it: the way out when a vendor refuses them.
pub fn strip(request: &mut Request<'_>) {
    for message in &mut request.messages {
        message.parts.retain_mut(|part| match part {
            Part::Thinking { .. } | Part::Redacted(_) => false,
            Part::Call(call) => {
                call.signature = None;
                true
            }
            _ => true,
        });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{
        dialect::{Dialect, UrlParts},
        hub::{Form, Origin, ToolKind},
        json::Raw,
    };

    fn watched() -> Vec<Kept> {
        let mut keeper = Keeper::default();
        let sig = Field::Sig { origin: Origin::Anthropic, form: Form::Sig, item_id: None };
        let tool = |part, id| {
            let open = Open::Tool { id, name: Text::Plain("t"), kind: ToolKind::Function, signature: None };
            Event::Part { part, open }
        };
        for event in [
            Event::Part { part: 0, open: Open::Thinking },
            Event::Delta { part: 0, field: Field::Think, text: Text::Escaped("a\\n") },
            Event::Delta { part: 0, field: Field::Think, text: Text::Plain("b") },
            Event::Delta { part: 0, field: sig, text: Text::Plain("SIG") },
            Event::Stop { part: 0 },
            tool(1, Text::Plain("c1")),
            tool(2, Text::Plain("c2")),
        ] {
            keeper.event(&event);
        }
        keeper.take()
    }

    #[test]
    fn signed_thinking_is_kept_with_the_first_call() {
        let kept = watched();
        assert_eq!(kept.len(), 1);
        assert_eq!(kept[0].call_id, "c1");
        let rider = Rider::new(Origin::Anthropic, Form::Sig, "SIG");
        assert_eq!(kept[0].thinking, [Part::Thinking { text: "a\nb".into(), rider: Some(rider) }]);
    }

    #[test]
    fn it_comes_back_before_the_call_unless_the_client_sent_it() {
        let kept = Arc::new(watched().remove(0));
        let recall = |id: &str| (id == "c1").then(|| kept.clone());
        let body = br#"{"model":"m","messages":[{"role":"user","content":"q"},
            {"role":"assistant","content":"text","reasoning_content":"a\nb","tool_calls":[
              {"id":"c1","type":"function","function":{"name":"t","arguments":"{}"}}]},
            {"role":"tool","tool_call_id":"c1","content":"r"}]}"#;
        let mut request = Dialect::OpenAiChat.decode_request(Raw::parse(body).unwrap(), &UrlParts::default()).unwrap();
        restore(&mut request, &recall);
        let assistant = request.messages.iter().find(|message| message.role == Role::Assistant).unwrap();
        assert!(matches!(&assistant.parts[0], Part::Thinking { rider: Some(_), .. }), "{:?}", assistant.parts);
        let thoughts = assistant.parts.iter().filter(|part| matches!(part, Part::Thinking { .. })).count();
        assert_eq!(thoughts, 1);
        let before = request.messages.clone();
        restore(&mut request, &recall);
        assert_eq!(request.messages, before);
        strip(&mut request);
        let assistant = request.messages.iter().find(|message| message.role == Role::Assistant).unwrap();
        assert!(!assistant.parts.iter().any(|part| matches!(part, Part::Thinking { .. })));
    }
}
