//! Opaque riders kept on our side, for clients that cannot or do not send them back.
//!
//! Vendors refuse a tool turn whose signed thinking is missing, and many clients drop what they do not know. A
//! [`Keeper`] watches an answer and notes what belongs to each of its calls; [`restore`] puts it back into the next
//! request, found by call id. Where the client has sent riders itself, they must be those of the same answer, and then
//! its thinking is made whole: OpenAI's SDK for Node keeps the last delta only of every member that it does not know.

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
        if !message.parts.iter().any(|part| matches!(part, Part::Call(_))) {
            continue;
        }
        let sent: Vec<Rider<'_>> = message.parts.iter().filter_map(rider).cloned().collect();
        let mut parts = Vec::with_capacity(message.parts.len() + 1);
        // Where the parts behind the last call begin.
        let mut behind = 0;
        for mut part in std::mem::take(&mut message.parts) {
            if let Part::Call(call) = &mut part {
                // Call ids may repeat: what the client sent itself must prove that this is the same answer.
                if let Some(kept) = recall(&call.id.plain()).filter(|kept| sent.is_empty() || kept.is_among(&sent)) {
                    call.signature = call.signature.take().or_else(|| kept.signature.clone());
                    put_thinking(&kept, &mut parts, behind);
                }
                parts.push(part);
                behind = parts.len();
            } else {
                parts.push(part);
            }
        }
        message.parts = parts;
    }
}

/// Replaces what the client sent of a call's thinking. `behind`: where the parts behind the previous call begin.
fn put_thinking(kept: &Kept, parts: &mut Vec<Part<'_>>, behind: usize) {
    if kept.thinking.is_empty() {
        return;
    }
    let own = |part: &Part<'_>| match rider(part) {
        Some(sent) => kept.thinking.iter().filter_map(rider).any(|kept| same(kept, sent)),
        // The client's own words of it, without the signature.
        None => matches!(part, Part::Thinking { .. }),
    };
    let stood = parts.iter().position(own).filter(|at| *at >= behind);
    parts.retain(|part| !own(part));
    let at = match stood {
        Some(at) => at,
        // A turn begins with its thinking; later thinking stands before its call.
        None if behind == 0 => 0,
        None => parts.len(),
    };
    parts.splice(at..at, kept.thinking.iter().cloned());
}

impl Kept {
    /// Does one of the riders come from the answer that made this call?
    fn is_among(&self, sent: &[Rider<'_>]) -> bool {
        let own = self.thinking.iter().filter_map(rider).chain(&self.signature);
        own.into_iter().any(|own| sent.iter().any(|sent| same(own, sent)))
    }
}

/// The rider of a part.
fn rider<'p, 'a>(part: &'p Part<'a>) -> Option<&'p Rider<'a>> {
    match part {
        Part::Thinking { rider, .. } => rider.as_ref(),
        Part::Redacted(rider) => Some(rider),
        Part::Call(call) => call.signature.as_ref(),
        _ => None,
    }
}

/// Item ids do not count: not every client brings them back.
fn same(one: &Rider<'_>, other: &Rider<'_>) -> bool {
    one.origin == other.origin && one.payload.plain() == other.payload.plain()
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

    fn thinking<'a>(text: &'a str, sig: Option<&'a str>) -> Part<'a> {
        let rider = sig.map(|sig| Rider::new(Origin::Anthropic, Form::Sig, sig));
        Part::Thinking { text: text.into(), rider }
    }

    fn calls(id: &str) -> Part<'_> {
        Part::Call(crate::hub::request::Call {
            id: id.into(),
            name: "t".into(),
            namespace: None,
            arguments: "{}".into(),
            kind: ToolKind::Function,
            signature: None,
            cache: None,
        })
    }

    fn restored<'a>(parts: Vec<Part<'a>>) -> Vec<Part<'a>> {
        let of = |id: &str, parts: &[Part<'static>]| {
            Arc::new(Kept { call_id: id.into(), thinking: parts.to_vec(), signature: None })
        };
        let first = of("c1", &[thinking("one", Some("A")), thinking("two", Some("B"))]);
        let second = of("c2", &[thinking("three", Some("C"))]);
        let recall = move |id: &str| match id {
            "c1" => Some(first.clone()),
            "c2" => Some(second.clone()),
            _ => None,
        };
        let mut request = Request::default();
        request.messages.push(crate::hub::request::Message { role: Role::Assistant, parts });
        restore(&mut request, &recall);
        request.messages.remove(0).parts
    }

    #[test]
    fn thinking_that_came_back_in_part_is_made_whole() {
        let whole = [
            thinking("one", Some("A")),
            thinking("two", Some("B")),
            calls("c1"),
            thinking("three", Some("C")),
            calls("c2"),
        ];
        let said = || Part::Text { text: "said".into(), cache: None };
        // The last delta of the words and the last signature are what OpenAI's SDK for Node keeps.
        assert_eq!(restored(vec![thinking("o", Some("B")), calls("c1")]), whole[..3]);
        assert_eq!(restored(vec![calls("c1"), calls("c2")]), whole);
        assert_eq!(restored(whole.to_vec()), whole);
        let flat = vec![thinking("one", Some("A")), thinking("two", Some("B")), thinking("three", Some("C"))];
        assert_eq!(restored([flat, vec![calls("c1"), calls("c2")]].concat()), whole);
        let [one, two, call, ..] = whole;
        assert_eq!(restored(vec![said(), one.clone(), two.clone(), call.clone()]), [said(), one, two, call]);
    }

    #[test]
    fn another_answer_with_the_same_call_id_is_left_alone() {
        let other = vec![thinking("other", Some("X")), calls("c1")];
        assert_eq!(restored(other.clone()), other);
    }
}
