//! Streams through the pipeline: translated, watched, or collected.

use bytes::BytesMut;

use super::{
    Observed,
    shape::{Seen, Shape},
};
#[cfg(debug_assertions)]
use crate::hub::check::Check;
use crate::{
    dialect::{ClientDialect, Context, Dialect, StreamDecode, StreamDecoder, StreamEncode, StreamEncoder, cursor},
    frame::{Deframer, Frame, FrameError, Framing},
    hub::{ApiError, ErrorKind, Event, Field, Open, Reply, recall::Kept, serial::Serial, surrogates::Surrogates},
    json::{Raw, Recorder, Text},
};

/// Most bytes of an answer that are kept where the target makes us keep them (documents, `*.done` events, tool calls
/// that must be sent whole). Above it the answer ends with an error of kind `api`.
pub(super) const KEPT_BYTES_MAX: usize = 32 << 20;

/// Longest piece of a payload that an error message shows.
const SHOWN_BYTES_MAX: usize = 80;

/// An upstream's stream, written in the client's dialect.
#[derive(Debug)]
pub struct StreamTranslator {
    source: Source,
    pipe: Pipe,
}

impl StreamTranslator {
    /// A translator at the start of a stream in the upstream's usual framing.
    pub fn new(upstream: Dialect, client: impl Into<ClientDialect>, context: &Context) -> Self {
        Self::framed(upstream, upstream.framing(), client, context)
    }

    /// A translator for an upstream that frames its stream in another way.
    pub fn framed(upstream: Dialect, framing: Framing, client: impl Into<ClientDialect>, context: &Context) -> Self {
        Self { source: Source::new(upstream, framing, context), pipe: Pipe::new(client.into(), context) }
    }

    /// Takes the upstream's next bytes and appends what they mean for the client.
    pub fn push(&mut self, chunk: &[u8], out: &mut BytesMut) {
        let pipe = &mut self.pipe;
        self.source.push(chunk, &mut |event| pipe.event(event, out));
    }

    /// The upstream's stream is at its end.
    pub fn finish(&mut self, out: &mut BytesMut) {
        let pipe = &mut self.pipe;
        self.source.finish(&mut |event| pipe.event(event, out));
    }

    /// A failure of our own (a stall, a lost connection): the client's error event. Writes nothing when the answer is over.
    pub fn fail(&mut self, error: ApiError, out: &mut BytesMut) {
        self.source.over = true;
        self.pipe.event(Event::Error(error), out);
    }

    /// What keeps the client's stream alive; translated streams stand at an event's border whenever nothing is pushed.
    pub fn keep_alive(&self) -> &'static [u8] {
        self.pipe.keep_alive
    }

    /// What was seen so far.
    pub fn observed(&self) -> &Observed {
        &self.pipe.observed
    }

    /// The signatures of the calls so far; each is returned once.
    pub fn kept(&mut self) -> Vec<Kept> {
        self.pipe.observed.kept()
    }
}

/// Watches a stream that is passed on as it is.
#[derive(Debug)]
pub struct Tap {
    dialect: Dialect,
    framing: Framing,
    context: Context,
    source: Source,
    observed: Observed,
    estimate: Option<u64>,
    /// Whether the bytes so far surely end at an event's border, where something may be put in. Judged by the last chunk
    /// alone: a border that is cut in two is taken for none.
    border: bool,
}

impl Tap {
    /// A tap at the start of a stream.
    pub fn new(dialect: Dialect, context: &Context) -> Self {
        Self::framed(dialect, dialect.framing(), context)
    }

    /// A tap on a stream that is framed in another way than its dialect's usual one.
    pub fn framed(dialect: Dialect, framing: Framing, context: &Context) -> Self {
        let estimate = context.estimate_usage.then_some(context.input_tokens_estimate);
        Self {
            dialect,
            framing,
            context: context.clone(),
            source: Source::new(dialect, framing, context),
            observed: Observed::default(),
            estimate,
            border: true,
        }
    }

    /// Takes the next bytes.
    pub fn push(&mut self, chunk: &[u8]) {
        self.border = match self.framing {
            Framing::Sse => chunk.ends_with(b"\n\n") || chunk.ends_with(b"\r\n\r\n"),
            _ => chunk.ends_with(b"\n"),
        };
        let (observed, estimate) = (&mut self.observed, self.estimate);
        self.source.push(chunk, &mut |event| observed.watched(&event, estimate));
        // What cannot be read is not passed on: the bytes before it may have ended anywhere.
        self.border &= !self.source.unreadable;
    }

    /// Whether the stream has become something that no client can read: the chunk that was pushed last must not be passed
    /// on, nor any behind it, and [`Tap::fail`] says so.
    pub fn is_unreadable(&self) -> bool {
        self.source.unreadable
    }

    /// The stream is at its end.
    pub fn finish(&mut self) {
        let (observed, estimate) = (&mut self.observed, self.estimate);
        self.source.finish(&mut |event| observed.watched(&event, estimate));
    }

    /// Whether the bytes so far end inside a payload that may become an error: what is held back now can still be edited.
    /// No look at the bytes where a chunk ends with an event, as most do.
    pub fn may_fail(&self) -> bool {
        (!self.border || self.framing == Framing::JsonArray) && self.source.deframer.begins_with(b"error")
    }

    /// What keeps the client's stream alive at this point; empty where nothing may be put in.
    pub fn keep_alive(&self) -> &'static [u8] {
        match self.framing {
            Framing::Sse | Framing::NdJson if self.border => self.dialect.keep_alive(),
            _ => b"",
        }
    }

    /// Appends the error event that ends a stream which we cannot pass on any further. An event that was cut is ended
    /// first, so that the error is an event of its own.
    pub fn fail(&mut self, error: ApiError, out: &mut BytesMut) {
        self.observed.error.get_or_insert_with(|| error.clone());
        match self.framing {
            Framing::Sse if !self.border => out.extend_from_slice(b"\n\n"),
            Framing::NdJson if !self.border => out.extend_from_slice(b"\n"),
            _ => {}
        }
        let mut encoder = self.dialect.stream_encoder(&self.context);
        // The client knows the answer by the upstream's name, and has seen its beginning.
        let (id, model) = (Text::Plain(&self.observed.id), Text::Plain(&self.observed.model));
        let mut seen = BytesMut::new();
        encoder.event(&Event::Start { id, model, created: None, usage: None }, &mut seen);
        if let StreamEncoder::OpenAiResponses(encoder) = &mut encoder {
            encoder.resume(self.source.decode.frames);
        }
        encoder.event(&Event::Error(error), out);
    }

    /// What was seen so far.
    pub fn observed(&self) -> &Observed {
        &self.observed
    }
}

/// Collects a stream into a whole answer, for clients that want a document.
#[derive(Debug)]
pub struct Collector {
    source: Source,
    fold: Fold,
}

impl Collector {
    /// A collector at the start of a stream.
    pub fn new(upstream: Dialect, context: &Context) -> Self {
        Self { source: Source::new(upstream, upstream.framing(), context), fold: Fold::new(context) }
    }

    /// Takes the upstream's next bytes.
    pub fn push(&mut self, chunk: &[u8]) {
        let fold = &mut self.fold;
        self.source.push(chunk, &mut |event| fold.event(event));
    }

    /// The stream is at its end: the answer. Its `error` is set when the stream failed or broke off.
    pub fn finish(&mut self) -> Reply {
        let fold = &mut self.fold;
        self.source.finish(&mut |event| fold.event(event));
        std::mem::take(&mut self.fold.reply)
    }

    /// What was seen so far.
    pub fn observed(&self) -> &Observed {
        &self.fold.observed
    }

    /// What was seen, for good.
    pub fn into_observed(self) -> Observed {
        self.fold.observed
    }
}

/// Bytes to events. After an error, of the stream or of its framing, it is silent.
#[derive(Debug)]
struct Source {
    deframer: Deframer,
    decode: Decode,
    over: bool,
    /// It ended because its bytes have no meaning: neither by a word of the upstream's nor by their end.
    unreadable: bool,
}

#[derive(Debug)]
struct Decode {
    decoder: StreamDecoder,
    recorder: Recorder,
    shape: Shape,
    /// Payloads so far.
    frames: u64,
    /// A payload was no JSON.
    nonsense: bool,
    #[cfg(debug_assertions)]
    check: Check,
}

impl Source {
    fn new(dialect: Dialect, framing: Framing, context: &Context) -> Self {
        Self {
            deframer: Deframer::new(framing),
            decode: Decode {
                decoder: dialect.stream_decoder(context),
                recorder: Recorder::default(),
                // This one counts what its deltas bring, to add what the end of an item shows to be missing.
                shape: Shape::new(dialect != Dialect::OpenAiResponses, dialect.padding()),
                frames: 0,
                nonsense: false,
                #[cfg(debug_assertions)]
                check: Check::default(),
            },
            over: false,
            unreadable: false,
        }
    }

    fn push(&mut self, chunk: &[u8], emit: &mut dyn FnMut(Event<'_>)) {
        if self.over {
            return;
        }
        let (decode, over) = (&mut self.decode, &mut self.over);
        let result = self.deframer.push(chunk, &mut |frame| decode.frame(frame, over, emit));
        self.unreadable = decode.nonsense || (result.is_err() && !self.over);
        self.framing(result, emit);
    }

    fn finish(&mut self, emit: &mut dyn FnMut(Event<'_>)) {
        if self.over {
            return;
        }
        let (decode, over) = (&mut self.decode, &mut self.over);
        let result = self.deframer.finish(&mut |frame| decode.frame(frame, over, emit));
        self.framing(result, emit);
        if !self.over {
            self.over = true;
            self.decode.run(&mut false, emit, |decoder, emit| decoder.end(emit));
        }
    }

    fn framing(&mut self, result: Result<(), FrameError>, emit: &mut dyn FnMut(Event<'_>)) {
        if let (Err(error), false) = (result, self.over) {
            self.over = true;
            emit(Event::Error(ApiError::new(ErrorKind::Api, format!("bad framing from the upstream: {error}"))));
        }
    }
}

impl Decode {
    #[inline]
    fn frame(&mut self, frame: Frame<'_>, over: &mut bool, emit: &mut dyn FnMut(Event<'_>)) {
        if *over {
            return;
        }
        self.frames += 1;
        if let Some(event) = self.shape.again(&frame) {
            #[cfg(debug_assertions)]
            checked(&mut self.check, &event);
            return emit(event);
        }
        let mut recorder = std::mem::take(&mut self.recorder);
        match Raw::parse_recorded(frame.data, &mut recorder) {
            Ok(value) if self.shape.learns() => {
                let mut seen = Seen::default();
                let mut noted = |event: Event<'_>| {
                    seen.event(&event);
                    emit(event);
                };
                self.run(over, &mut noted, |decoder, emit| decoder.json(frame.name, value, emit));
                self.shape.learn(&frame, value, &seen);
            }
            Ok(value) => self.run(over, emit, |decoder, emit| decoder.json(frame.name, value, emit)),
            Err(_) if frame.is_done() => self.run(over, emit, |decoder, emit| decoder.done(emit)),
            // An event without data is a sign of life and nothing else.
            Err(_) if frame.data.trim_ascii().is_empty() => {}
            Err(_) => {
                *over = true;
                self.nonsense = true;
                emit(Event::Error(bad_json(&frame)));
            }
        }
        self.recorder = recorder;
    }

    #[inline]
    fn run(
        &mut self,
        over: &mut bool,
        emit: &mut dyn FnMut(Event<'_>),
        step: impl FnOnce(&mut StreamDecoder, &mut dyn FnMut(Event<'_>)),
    ) {
        #[cfg(debug_assertions)]
        let check = &mut self.check;
        step(&mut self.decoder, &mut |event| {
            #[cfg(debug_assertions)]
            checked(check, &event);
            *over |= matches!(event, Event::End | Event::Error(_));
            emit(event);
        });
    }
}

/// A decoder that breaks the grammar of events is a defect of ours.
#[cfg(debug_assertions)]
fn checked(check: &mut Check, event: &Event<'_>) {
    if let Err(rule) = check.event(event) {
        panic!("the decoder broke the grammar of events: {rule}: {event:?}");
    }
}

fn bad_json(frame: &Frame<'_>) -> ApiError {
    if frame.unfinished {
        return ApiError::new(ErrorKind::Truncated, "upstream stream ended before completion");
    }
    let shown = String::from_utf8_lossy(&frame.data[..frame.data.len().min(SHOWN_BYTES_MAX)]);
    ApiError::new(ErrorKind::Api, format!("invalid JSON from the upstream: {shown}"))
}

/// Events to a client's bytes.
#[derive(Debug)]
pub(super) struct Pipe {
    observed: Observed,
    surrogates: Surrogates,
    serial: Option<Serial>,
    encoder: StreamEncoder,
    keeps: Keeps,
    kept_bytes: usize,
    keep_alive: &'static [u8],
    /// Prompt size to claim where the upstream counts nothing.
    estimate: Option<u64>,
}

/// What an encoder has to keep until the end of a part or of the answer.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Keeps {
    Nothing,
    /// Calls are sent whole.
    Arguments,
    /// The last event repeats everything.
    Everything,
}

impl Pipe {
    pub(super) fn new(client: ClientDialect, context: &Context) -> Self {
        Self {
            observed: Observed::new(context.keep_riders),
            surrogates: Surrogates::default(),
            serial: (client.wants_serial_parts() || context.copilot).then(Serial::default),
            encoder: client.stream_encoder(context),
            keeps: match client {
                ClientDialect::Public(Dialect::OpenAiChat | Dialect::Anthropic) | ClientDialect::Kiro => Keeps::Nothing,
                ClientDialect::Cursor(cursor::Rpc::Chat | cursor::Rpc::ChatWithTools) => Keeps::Nothing,
                ClientDialect::Public(Dialect::Gemini | Dialect::Ollama) | ClientDialect::CloudCode => Keeps::Arguments,
                ClientDialect::Cursor(cursor::Rpc::Agent) => Keeps::Arguments,
                ClientDialect::Public(Dialect::OpenAiResponses) => Keeps::Everything,
            },
            kept_bytes: 0,
            keep_alive: if context.json_array { b"\n" } else { client.keep_alive() },
            estimate: context.estimate_usage.then_some(context.input_tokens_estimate),
        }
    }

    #[inline]
    pub(super) fn event(&mut self, event: Event<'_>, out: &mut BytesMut) {
        if self.observed.is_over() {
            return;
        }
        if let Some(usage) = self.observed.estimated_at(&event, self.estimate) {
            self.observed.event(&Event::Usage(usage));
            self.encoder.event(&Event::Usage(usage), out);
        }
        self.observed.event(&event);
        if self.exceeds(&event) {
            let error = Event::Error(ApiError::new(ErrorKind::Api, "the answer is too large to be translated"));
            self.observed.event(&error);
            self.encoder.event(&error, out);
            return;
        }
        let (encoder, observed) = (&mut self.encoder, &mut self.observed);
        let mut write = |event: Event<'_>| {
            if let (Event::Error(error), None) = (&event, &observed.error) {
                observed.error = Some(error.clone());
            }
            encoder.event(&event, out);
        };
        match &mut self.serial {
            Some(serial) => self.surrogates.event(event, &mut |event| serial.event(event, &mut write)),
            None => self.surrogates.event(event, &mut write),
        }
    }

    #[inline]
    fn exceeds(&mut self, event: &Event<'_>) -> bool {
        self.kept_bytes += match (self.keeps, event) {
            (Keeps::Nothing, _) => 0,
            (_, Event::Delta { field: Field::Args, text, .. }) => text.len(),
            (Keeps::Everything, _) => weight(event),
            (Keeps::Arguments, _) => 0,
        };
        self.kept_bytes > KEPT_BYTES_MAX
    }

    pub(super) fn into_observed(self) -> Observed {
        self.observed
    }
}

/// Bytes that an event adds to an answer which is kept.
#[inline]
fn weight(event: &Event<'_>) -> usize {
    /// What a part costs apart from its content.
    const PART: usize = 64;
    match event {
        Event::Delta { text, .. } => text.len(),
        Event::Part { open: Open::Image { data, .. }, .. } => data.len(),
        Event::Part { open: Open::Redacted(rider), .. } => rider.payload.len(),
        Event::Part { .. } => PART,
        _ => 0,
    }
}

/// Events to a whole answer.
#[derive(Debug, Default)]
pub(super) struct Fold {
    observed: Observed,
    surrogates: Surrogates,
    reply: Reply,
    kept_bytes: usize,
    estimate: Option<u64>,
}

impl Fold {
    pub(super) fn new(context: &Context) -> Self {
        Self {
            observed: Observed::new(context.keep_riders),
            estimate: context.estimate_usage.then_some(context.input_tokens_estimate),
            ..Self::default()
        }
    }

    pub(super) fn event(&mut self, event: Event<'_>) {
        if self.observed.is_over() {
            return;
        }
        if let Some(usage) = self.observed.estimated_at(&event, self.estimate) {
            self.observed.event(&Event::Usage(usage));
            self.reply.fold(&Event::Usage(usage));
        }
        self.kept_bytes += weight(&event);
        if self.kept_bytes > KEPT_BYTES_MAX {
            let error = Event::Error(ApiError::new(ErrorKind::Api, "the answer is too large to be collected"));
            self.observed.event(&error);
            self.reply.fold(&error);
            return;
        }
        self.observed.event(&event);
        let reply = &mut self.reply;
        self.surrogates.event(event, &mut |event| reply.fold(&event));
    }

    pub(super) fn finish(self) -> (Reply, Observed) {
        (self.reply, self.observed)
    }
}
