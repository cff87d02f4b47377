//! What is said to an intercepted call: a chat of a mapped model goes to the gateway, everything else to the true host as
//! it came.
//!
//! ```text
//!   name ─┬─ ours ─▶ who we are
//!         └─ authority is the name? ─ no ─▶ 421
//!              └─ yes ─▶ chat of a tool that is intercepted? ─ no ─▶ true host
//!                          └─ yes ─▶ gateway ─▶ model not mapped, not readable, nobody answers ─▶ true host
//! ```
//!
//! Deliberately absent: the management API. Nothing that comes in here can reach it, whatever it asks for.

use std::sync::Arc;

use bytes::Bytes;
use codecs::dialect::Dialect;
use proxy::{Call, Fresh, Handler, Origin, Relay, RequestHead, ResponseHead, StatusCode, verbatim::Passage};
use tracing::{debug, warn};

use super::{
    Ground, alias,
    policy::OWN_NAME,
    routes::{self, Chat},
    seen::Seen,
};
use crate::{
    gateway::{Course, Gateway, Intercepted, Why, Wire},
    live::Live,
    settings::{
        interception::{Mode, OnFailure, Switch},
        tools::{self, Tool},
    },
    usage::live::now_ms,
};

/// Answers what was decrypted, or came to us as the service itself.
pub(super) struct Answers {
    live: Live,
    gateway: Gateway,
    relay: Arc<Relay>,
    seen: Arc<Seen>,
    /// Who we are: a word that no other process says.
    instance: Arc<str>,
    /// The true host of calls that come without TLS.
    reverse: Option<Origin>,
}

impl std::fmt::Debug for Answers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answers").field("reverse", &self.reverse).finish_non_exhaustive()
    }
}

impl Answers {
    /// Answers as the process `instance` on this ground; what is not ours leaves by `relay`.
    ///
    /// # Errors
    /// If the host of the mode `reverse` is none.
    pub(super) fn new(ground: &Ground, relay: Arc<Relay>, instance: Arc<str>) -> Result<Self, proxy::Error> {
        let Ground { live, gateway, seen, .. } = ground.clone();
        let snapshot = live.snapshot();
        let mitm = &snapshot.settings.mitm;
        let reverse = match &mitm.mode {
            Mode::Reverse(host) => Some(Origin::https(host, mitm.upstream_port)?),
            Mode::Hosts | Mode::Proxy => None,
        };
        Ok(Self { live, gateway, relay, seen, instance, reverse })
    }

    /// The name under which the call came, and its true host.
    fn place(&self, call: &Call<'_, Fresh>) -> Option<(Box<str>, Origin)> {
        match (&self.reverse, call.tls()) {
            (Some(origin), _) => Some((origin.host().into(), origin.clone())),
            (None, Some(tls)) => Some((tls.server_name.clone()?, tls.upstream.clone())),
            (None, None) => None,
        }
    }

    /// What kind of chat it is, if it is one that may be answered by us.
    fn chat(&self, name: &str, head: &RequestHead) -> Option<(Tool, Chat)> {
        let snapshot = self.live.snapshot();
        let mitm = &snapshot.settings.mitm;
        let (tool, switch) = match &self.reverse {
            // Who points a tool here wants it intercepted, unless he has said otherwise.
            Some(_) => {
                let tool = tools::host(name)?.tool;
                (tool, mitm.tools.get(&tool).copied().unwrap_or(Switch::Intercept))
            }
            None => mitm.switch_of_host(name)?,
        };
        let mapped = switch == Switch::Intercept && mitm.aliases.iter().any(|alias| alias.tool == tool);
        if mapped { Some((tool, routes::chat(tool, head)?)) } else { None }
    }
}

/// Whether a call under a name is meant for that name: its authority is the name, with no port, the usual one, or `dialled`,
/// the one that the client came to.
fn is_for(authority: &[u8], name: &str, dialled: Option<u16>) -> bool {
    let Some((host, rest)) = authority.split_at_checked(name.len()) else { return false };
    let port = match rest {
        [] => Some(443),
        [b':', digits @ ..] => std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()),
        _ => None,
    };
    host.eq_ignore_ascii_case(name.as_bytes()) && port.is_some_and(|port: u16| port == 443 || Some(port) == dialled)
}

impl Handler for Answers {
    async fn handle<'a>(&'a self, call: Call<'a, Fresh>) {
        let Some((name, origin)) = self.place(&call) else {
            return say(call, StatusCode::BAD_REQUEST, "only TLS is spoken on this port\n".into()).await;
        };
        if &*name == OWN_NAME {
            return say(call, StatusCode::OK, format!("flow-router {}\n", self.instance)).await;
        }
        if self.reverse.is_none() && !is_for(&call.head().authority, &name, call.local().map(|local| local.port())) {
            let text = format!("this connection is for {name}\n");
            return say(call, StatusCode::MISDIRECTED_REQUEST, text).await;
        }
        let Some((tool, chat)) = self.chat(&name, call.head()) else {
            return self.pass(call, &name, origin).await;
        };
        match way(chat) {
            // Boxed: most calls are passed on and need no room for it.
            Way::Gateway(wire) => Box::pin(self.ask(call, &name, origin, (tool, wire))).await,
            Way::Elsewhere => say(call, StatusCode::SERVICE_UNAVAILABLE, "ask by POST\n".into()).await,
            Way::Vendor => self.pass(call, &name, origin).await,
        }
    }
}

/// Where a kind of chat goes.
enum Way {
    /// To the gateway, in this form.
    Gateway(Wire),
    /// The tool repeats it by another road that we know.
    Elsewhere,
    /// To the vendor: nobody here speaks it.
    Vendor,
}

fn way(chat: Chat) -> Way {
    match chat {
        Chat::CloudCode => Way::Gateway(Wire::CloudCode),
        Chat::Gemini => Way::Gateway(Wire::Public(Dialect::Gemini)),
        Chat::CopilotChat => Way::Gateway(Wire::Public(Dialect::OpenAiChat)),
        Chat::CopilotMessages => Way::Gateway(Wire::Public(Dialect::Anthropic)),
        Chat::CopilotResponses => Way::Gateway(Wire::Public(Dialect::OpenAiResponses)),
        Chat::CopilotSocket => Way::Elsewhere,
        Chat::Kiro => Way::Gateway(Wire::Kiro),
        Chat::Cursor(rpc) => Way::Gateway(Wire::Cursor(rpc)),
        Chat::CursorPieces => Way::Vendor,
    }
}

impl Answers {
    /// Lets the gateway answer a chat; what it gives back goes to the vendor as it came.
    async fn ask(&self, call: Call<'_, Fresh>, name: &str, origin: Origin, (tool, wire): (Tool, Wire)) {
        let snapshot = self.live.snapshot();
        let mitm = &snapshot.settings.mitm;
        let target = |model: &str| alias::target(&mitm.aliases, tool, model).map(str::to_owned);
        let fails_open = mitm.on_failure == OnFailure::Vendor;
        let (mut call, known) = (call, Arc::from(tool.name()));
        let head = call.take_head();
        let intercepted = Intercepted { tool: &known, wire, target: &target, fails_open };
        let back = match self.gateway.intercept(call, head, intercepted).await {
            Course::Answered => {
                self.seen.note(name, |host| {
                    (host.chat_ms, host.unreadable) = (Some(now_ms()), 0);
                    host.chats += 1;
                });
                return;
            }
            Course::Back(back) => back,
        };
        self.seen.note(name, |host| match &back.why {
            Why::Unmapped(_) | Why::Unsupported(_) => host.unreadable = 0,
            Why::Unreadable(_) => host.unreadable += 1,
            Why::NoCandidate(_) | Why::Failed(_) => host.fell_back += 1,
        });
        match &back.why {
            Why::Unmapped(model) => debug!(name, model, "a model without an alias goes to the vendor"),
            Why::Unsupported(what) => debug!(name, what, "a chat of a form that we cannot answer goes to the vendor"),
            Why::Unreadable(reason) => {
                warn!(name, reason, "a chat could not be read and goes to the vendor; the tool may have changed");
            }
            Why::NoCandidate(reason) | Why::Failed(reason) => {
                warn!(name, reason, "nobody answered a chat of an alias: it goes to the vendor");
            }
        }
        self.pass_on(back.call, name, Passage { origin, head: back.head, read: back.read }).await;
    }

    /// Passes a call on that nobody has read.
    async fn pass(&self, mut call: Call<'_, Fresh>, name: &str, origin: Origin) {
        let head = call.take_head();
        self.pass_on(call, name, Passage::new(origin, head)).await;
    }

    async fn pass_on(&self, call: Call<'_, Fresh>, name: &str, mut passage: Passage) {
        if self.reverse.is_some() {
            // The client named us; the true host wants its own name.
            passage.head.authority = Bytes::from(name.to_owned());
            if passage.head.headers.contains("host") {
                passage.head.headers.set("host", Bytes::from(name.to_owned()));
            }
        }
        self.seen.note(name, |host| host.passed += 1);
        if let Err(error) = self.relay.pass(call, passage).await {
            debug!(name, %error, "not passed on");
        }
    }
}

/// Says something in plain words. A client that has left hears nothing.
async fn say(call: Call<'_, Fresh>, status: StatusCode, text: String) {
    let head = ResponseHead::new(status).with("content-type", "text/plain; charset=utf-8");
    drop(call.respond(head, Bytes::from(text)).await);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_must_be_for_the_name_of_its_connection() {
        for (authority, fits) in [
            ("api2.cursor.sh", true),
            ("API2.cursor.sh:443", true),
            ("api2.cursor.sh:8443", true),
            ("api2.cursor.sh:2402", false),
            ("api2.cursor.sh:", false),
            ("api2.cursor.shx", false),
            ("api2.cursor.sh:8443x", false),
            ("api3.cursor.sh", false),
            ("", false),
            ("127.0.0.1:2402", false),
        ] {
            assert_eq!(is_for(authority.as_bytes(), "api2.cursor.sh", Some(8443)), fits, "{authority}");
        }
    }
}
