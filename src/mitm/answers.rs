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
use proxy::{Call, Fresh, Handler, Origin, Relay, RequestHead, ResponseHead, StatusCode, verbatim::Passage};

use super::{policy::OWN_NAME, routes, seen::Seen};
use crate::{
    live::Live,
    settings::{
        interception::{Mode, Switch},
        tools::{self, Tool},
    },
};

/// Answers what was decrypted, or came to us as the service itself.
pub(super) struct Answers {
    live: Live,
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
    /// Answers as the process `instance`; what is not ours leaves by `relay`.
    ///
    /// # Errors
    /// If the host of the mode `reverse` is none.
    pub(super) fn new(
        live: Live,
        relay: Arc<Relay>,
        seen: Arc<Seen>,
        instance: Arc<str>,
    ) -> Result<Self, proxy::Error> {
        let snapshot = live.snapshot();
        let mitm = &snapshot.settings.mitm;
        let reverse = match &mitm.mode {
            Mode::Reverse(host) => Some(Origin::https(host, mitm.upstream_port)?),
            Mode::Hosts | Mode::Proxy => None,
        };
        Ok(Self { live, relay, seen, instance, reverse })
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
    fn chat(&self, name: &str, head: &RequestHead) -> Option<(Tool, routes::Chat)> {
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

/// Whether a call under a name is meant for that name: its authority is the name, with no port or the usual one.
fn is_for(authority: &[u8], name: &str) -> bool {
    let authority = authority.strip_suffix(b":443").unwrap_or(authority);
    authority.eq_ignore_ascii_case(name.as_bytes())
}

impl Handler for Answers {
    async fn handle<'a>(&'a self, call: Call<'a, Fresh>) {
        let Some((name, origin)) = self.place(&call) else {
            return say(call, StatusCode::BAD_REQUEST, "only TLS is spoken on this port\n".into()).await;
        };
        if &*name == OWN_NAME {
            return say(call, StatusCode::OK, format!("flow-router {}\n", self.instance)).await;
        }
        if self.reverse.is_none() && !is_for(&call.head().authority, &name) {
            let text = format!("this connection is for {name}\n");
            return say(call, StatusCode::MISDIRECTED_REQUEST, text).await;
        }
        let chat = self.chat(&name, call.head());
        tracing::debug!(%name, ?chat, "call");
        self.pass(call, &name, origin).await;
    }
}

impl Answers {
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
            tracing::debug!(%name, %error, "not passed on");
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
            ("api2.cursor.sh:8443", false),
            ("api3.cursor.sh", false),
            ("", false),
            ("127.0.0.1:2402", false),
        ] {
            assert_eq!(is_for(authority.as_bytes(), "api2.cursor.sh"), fits, "{authority}");
        }
    }
}
