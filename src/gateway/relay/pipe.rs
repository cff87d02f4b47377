//! What happens to the bytes of a stream between the upstream's read and the client's write.
//!
//! ```text
//!   chunk ─┬─ forward:   tap (looks), veil ─┬─▶ edits, if any are configured ─▶ ready
//!          └─ translate: decode, encode ────┘
//! ```
//!
//! Slices of the upstream's chunks pass without a copy, unless an edit is configured or an error must be masked.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use codecs::{
    dialect::{ClientDialect, Context, Dialect},
    frame::Framing,
    hub::{ApiError, recall::Kept},
    patch::{ReplyEdits, StreamPatch},
    translate::{Observed, StreamTranslator, Tap},
};

use crate::{gateway::attempt::Speed, vendor::Upstream};

/// A cut event that may become an error is held back up to this size; errors are smaller.
const DOUBT_BYTES: usize = 64 * 1024;

/// The way of one stream.
pub(super) struct Pipe {
    way: Way,
    veil: Veil,
    /// Edits of what the client gets; mostly none.
    edits: Option<Box<Edits>>,
}

enum Way {
    /// Bytes pass; the tap sees the same slices, before any edit.
    Forward(Box<Tap>),
    /// They are decoded and encoded.
    Translate { translator: Box<StreamTranslator>, out: BytesMut },
}

struct Edits {
    patch: StreamPatch,
    out: BytesMut,
}

impl Pipe {
    /// A pipe at the start of a stream from `upstream` to a client that speaks `client`.
    pub(super) fn new(
        speed: Speed,
        upstream: &Arc<Upstream>,
        client: ClientDialect,
        context: &Context,
        edits: ReplyEdits,
    ) -> Self {
        let framing = |dialect: Dialect| if context.json_array { Framing::JsonArray } else { dialect.framing() };
        let way = match speed {
            Speed::Forward => {
                let dialect = upstream.dialect();
                Way::Forward(Box::new(Tap::framed(dialect, framing(dialect), context)))
            }
            Speed::Translate => {
                let translator = Box::new(StreamTranslator::new(upstream.dialect(), client, context));
                Way::Translate { translator, out: BytesMut::new() }
            }
        };
        let edits = client.public().filter(|_| !edits.is_empty()).map(|dialect| {
            let patch = StreamPatch::new(dialect, framing(dialect), edits);
            Box::new(Edits { patch, out: BytesMut::new() })
        });
        Self { way, veil: Veil::new(upstream), edits }
    }

    /// Takes a chunk; appends what may leave.
    pub(super) fn push(&mut self, chunk: Bytes, ready: &mut Vec<Bytes>) {
        let from = ready.len();
        match &mut self.way {
            Way::Forward(tap) => {
                if tap.is_unreadable() {
                    return;
                }
                tap.push(&chunk);
                match &tap.observed().error {
                    // Some clients skip what they cannot read: behind it they must not find a good end.
                    Some(error) if tap.is_unreadable() => {
                        let error = error.clone();
                        ready.extend(self.veil.release());
                        told_by_us(tap, error, ready);
                    }
                    _ => ready.extend(self.veil.pass(chunk, tap)),
                }
            }
            Way::Translate { translator, out } => {
                translator.push(&chunk, out);
                self.veil.take(translator, out, ready);
            }
        }
        self.edit(from, ready);
    }

    /// The upstream's stream ended. Where it ended too early the client is told so.
    pub(super) fn end(&mut self, ready: &mut Vec<Bytes>) {
        let from = ready.len();
        match &mut self.way {
            Way::Forward(tap) => {
                let told = tap.observed().error.is_some();
                tap.finish();
                ready.extend(self.veil.release());
                if let (false, Some(mut error)) = (told, tap.observed().error.clone()) {
                    // It may be the upstream's own, in an event that was not ended.
                    error.message = self.veil.upstream.masked(&error.message).into_owned();
                    told_by_us(tap, error, ready);
                }
            }
            Way::Translate { translator, out } => {
                translator.finish(out);
                self.veil.take(translator, out, ready);
            }
        }
        self.edit(from, ready);
    }

    /// We have to end it.
    pub(super) fn fail(&mut self, error: ApiError, ready: &mut Vec<Bytes>) {
        let from = ready.len();
        match &mut self.way {
            Way::Forward(tap) => {
                ready.extend(self.veil.release());
                if !tap.observed().is_over() {
                    told_by_us(tap, error, ready);
                }
            }
            Way::Translate { translator, out } => {
                translator.fail(error, out);
                take(out, ready);
            }
        }
        self.edit(from, ready);
    }

    /// Nothing follows: what an edit has kept of an event that was not ended.
    pub(super) fn finish(&mut self, ready: &mut Vec<Bytes>) {
        let from = ready.len();
        ready.extend(self.veil.release());
        self.edit(from, ready);
        if let Some(edits) = &mut self.edits {
            edits.patch.finish(&mut edits.out);
            take(&mut edits.out, ready);
        }
    }

    /// What was seen of the answer, before any edit.
    pub(super) fn observed(&self) -> &Observed {
        match &self.way {
            Way::Forward(tap) => tap.observed(),
            Way::Translate { translator, .. } => translator.observed(),
        }
    }

    /// What keeps the client's stream alive at this point; empty where nothing may be put in.
    pub(super) fn keep_alive(&self) -> &'static [u8] {
        match &self.way {
            Way::Forward(tap) => tap.keep_alive(),
            Way::Translate { translator, .. } => translator.keep_alive(),
        }
    }

    /// Whether bytes pass as they come.
    pub(super) fn is_forward(&self) -> bool {
        matches!(self.way, Way::Forward(_))
    }

    /// The signatures of a translated answer; a client that is forwarded to has them itself.
    pub(super) fn kept(&mut self) -> Vec<Kept> {
        match &mut self.way {
            Way::Forward(_) => Vec::new(),
            Way::Translate { translator, .. } => translator.kept(),
        }
    }

    /// Edits the slices from `from` on.
    fn edit(&mut self, from: usize, ready: &mut Vec<Bytes>) {
        let Some(edits) = &mut self.edits else { return };
        ready.drain(from..).for_each(|slice| edits.patch.push(&slice, &mut edits.out));
        take(&mut edits.out, ready);
    }
}

/// Masks the provider's secrets in errors. Nothing is looked at until the stream fails, but for a chunk that ends inside an
/// event: while such an event looks like an error, its bytes wait for its end, so that no half of a secret has left.
struct Veil {
    upstream: Arc<Upstream>,
    watches: bool,
    held: BytesMut,
}

impl Veil {
    fn new(upstream: &Arc<Upstream>) -> Self {
        Self { upstream: upstream.clone(), watches: upstream.has_secrets(), held: BytesMut::new() }
    }

    /// What may leave of a chunk that the tap has seen.
    fn pass(&mut self, chunk: Bytes, tap: &Tap) -> Option<Bytes> {
        if !self.watches {
            return Some(chunk);
        }
        let failed = tap.observed().error.is_some();
        if !failed && tap.may_fail() && self.held.len() + chunk.len() <= DOUBT_BYTES {
            self.held.extend_from_slice(&chunk);
            return None;
        }
        let bytes = if self.held.is_empty() {
            chunk
        } else {
            self.held.extend_from_slice(&chunk);
            self.held.split().freeze()
        };
        Some(if failed { self.upstream.masked_bytes(bytes) } else { bytes })
    }

    /// What was held back, when its event gets no end.
    fn release(&mut self) -> Option<Bytes> {
        (!self.held.is_empty()).then(|| self.upstream.masked_bytes(self.held.split().freeze()))
    }

    /// What a translator wrote. An error is written by the push that has brought it.
    fn take(&self, translator: &StreamTranslator, out: &mut BytesMut, ready: &mut Vec<Bytes>) {
        let from = ready.len();
        take(out, ready);
        if translator.observed().error.is_some() {
            ready[from..].iter_mut().for_each(|slice| *slice = self.upstream.masked_bytes(std::mem::take(slice)));
        }
    }
}

/// Writes our error event behind forwarded bytes.
fn told_by_us(tap: &mut Tap, error: ApiError, ready: &mut Vec<Bytes>) {
    let mut out = BytesMut::new();
    tap.fail(error, &mut out);
    take(&mut out, ready);
}

fn take(out: &mut BytesMut, ready: &mut Vec<Bytes>) {
    if !out.is_empty() {
        ready.push(out.split().freeze());
    }
}
