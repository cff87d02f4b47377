//! The wire languages for chat, and the table that leads to their code.
//!
//! A dialect is a directory with three files: `request` (decode and encode), `reply` (whole answers, and errors) and
//! `stream` (decoder and encoder state machines). Nobody writes a pair: everything meets in the [hub](crate::hub).
//!
//! Two enums, so that a wrong call does not compile. [`Dialect`] has the five public ones, which clients and providers
//! speak. [`ClientDialect`] adds those that only programs behind interception are answered in: their half of the table is
//! that of the client, and their requests are written once in the words of a public dialect ([`Transcript`]).

pub mod anthropic;
pub mod cloud_code;
pub mod cursor;
pub mod gemini;
pub mod kiro;
pub mod ollama;
pub mod openai_chat;
pub mod openai_responses;

pub(crate) mod client;
pub(crate) mod context;
pub(crate) mod expect;
pub(crate) mod folding;
pub(crate) mod media;
pub(crate) mod name;
pub(crate) mod parts;
#[cfg(test)]
pub(crate) mod testing;

use bytes::BytesMut;
pub use client::{ClientDialect, Transcript};
pub use context::{
    ChatFlavour, Context, Encoded, Placeholder, Target, ThinkingForm, ToolIdentity, ToolTable, UrlParts,
};
pub use name::Dialect;

use crate::{
    hub::{ApiError, Emit, Event, Reply, Request},
    json::Raw,
};

/// Reads the frames of an upstream's stream. Errors are events: a decoder never fails in another way.
pub trait StreamDecode {
    /// One JSON payload; `name` is the SSE event name, where there is one.
    fn json(&mut self, name: Option<&str>, value: Raw<'_>, emit: Emit<'_>);
    /// The `[DONE]` marker.
    fn done(&mut self, emit: Emit<'_>);
    /// End of input. Emits `End`, or an error of kind `Truncated`; nothing if the stream is over already.
    fn end(&mut self, emit: Emit<'_>);
}

/// Writes hub events as a client's stream.
pub trait StreamEncode {
    /// Appends what `event` looks like in this dialect, framing included. Writes nothing after `End` or `Error`.
    fn event(&mut self, event: &Event<'_>, out: &mut BytesMut);
}

impl Dialect {
    /// Reads a client's request. `url` carries what Gemini puts there.
    pub fn decode_request<'a>(self, body: Raw<'a>, url: &UrlParts<'a>) -> Result<Request<'a>, ApiError> {
        match self {
            Self::OpenAiChat => openai_chat::request::decode(body),
            Self::OpenAiResponses => openai_responses::request::decode(body),
            Self::Anthropic => anthropic::request::decode(body),
            Self::Gemini => gemini::request::decode(body, url),
            Self::Ollama => ollama::request::decode(body, url),
        }
    }

    /// Writes a request for an upstream. `request` has gone through [`hygiene`](crate::hub) already.
    pub fn encode_request(self, request: &Request<'_>, target: &Target) -> Result<Encoded, ApiError> {
        match self {
            Self::OpenAiChat => openai_chat::request::encode(request, target),
            Self::OpenAiResponses => openai_responses::request::encode(request, target),
            Self::Anthropic => anthropic::request::encode(request, target),
            Self::Gemini => gemini::request::encode(request, target),
            Self::Ollama => ollama::request::encode(request, target),
        }
    }

    /// Reads a whole answer as the events of a stream with one delta per part.
    pub fn decode_reply(self, body: Raw<'_>, context: &Context, emit: Emit<'_>) {
        match self {
            Self::OpenAiChat => openai_chat::reply::decode(body, context, emit),
            Self::OpenAiResponses => openai_responses::reply::decode(body, context, emit),
            Self::Anthropic => anthropic::reply::decode(body, context, emit),
            Self::Gemini => gemini::reply::decode(body, context, emit),
            Self::Ollama => ollama::reply::decode(body, context, emit),
        }
    }

    /// Writes a whole answer. `reply.error` is `None`: errors are written by [`Dialect::encode_error`].
    pub fn encode_reply(self, reply: &Reply, context: &Context, out: &mut Vec<u8>) {
        match self {
            Self::OpenAiChat => openai_chat::reply::encode(reply, context, out),
            Self::OpenAiResponses => openai_responses::reply::encode(reply, context, out),
            Self::Anthropic => anthropic::reply::encode(reply, context, out),
            Self::Gemini => gemini::reply::encode(reply, context, out),
            Self::Ollama => ollama::reply::encode(reply, context, out),
        }
    }

    /// Reads an error answer: by its body first, then by its status.
    pub fn decode_error(self, status: u16, body: &[u8]) -> ApiError {
        match self {
            Self::OpenAiChat => openai_chat::reply::decode_error(status, body),
            Self::OpenAiResponses => openai_responses::reply::decode_error(status, body),
            Self::Anthropic => anthropic::reply::decode_error(status, body),
            Self::Gemini => gemini::reply::decode_error(status, body),
            Self::Ollama => ollama::reply::decode_error(status, body),
        }
    }

    /// Writes an error answer and returns its HTTP status.
    pub fn encode_error(self, error: &ApiError, request_id: &str, out: &mut Vec<u8>) -> u16 {
        match self {
            Self::OpenAiChat => openai_chat::reply::encode_error(error, out),
            Self::OpenAiResponses => openai_responses::reply::encode_error(error, out),
            Self::Anthropic => anthropic::reply::encode_error(error, request_id, out),
            Self::Gemini => gemini::reply::encode_error(error, out),
            Self::Ollama => ollama::reply::encode_error(error, out),
        }
    }

    /// A decoder for an upstream's stream.
    pub fn stream_decoder(self, context: &Context) -> StreamDecoder {
        match self {
            Self::OpenAiChat => StreamDecoder::OpenAiChat(openai_chat::stream::Decoder::new(context)),
            Self::OpenAiResponses => StreamDecoder::OpenAiResponses(openai_responses::stream::Decoder::new(context)),
            Self::Anthropic => StreamDecoder::Anthropic(anthropic::stream::Decoder::new(context)),
            Self::Gemini => StreamDecoder::Gemini(gemini::stream::Decoder::new(context)),
            Self::Ollama => StreamDecoder::Ollama(ollama::stream::Decoder::new(context)),
        }
    }

    /// An encoder for a client's stream.
    pub fn stream_encoder(self, context: &Context) -> StreamEncoder {
        match self {
            Self::OpenAiChat => StreamEncoder::OpenAiChat(openai_chat::stream::Encoder::new(context)),
            Self::OpenAiResponses => StreamEncoder::OpenAiResponses(openai_responses::stream::Encoder::new(context)),
            Self::Anthropic => StreamEncoder::Anthropic(anthropic::stream::Encoder::new(context)),
            Self::Gemini => StreamEncoder::Gemini(gemini::stream::Encoder::new(context)),
            Self::Ollama => StreamEncoder::Ollama(ollama::stream::Encoder::new(context)),
        }
    }
}

/// A stream decoder of any dialect.
#[derive(Debug)]
pub enum StreamDecoder {
    /// Of [`Dialect::OpenAiChat`].
    OpenAiChat(openai_chat::stream::Decoder),
    /// Of [`Dialect::OpenAiResponses`].
    OpenAiResponses(openai_responses::stream::Decoder),
    /// Of [`Dialect::Anthropic`].
    Anthropic(anthropic::stream::Decoder),
    /// Of [`Dialect::Gemini`].
    Gemini(gemini::stream::Decoder),
    /// Of [`Dialect::Ollama`].
    Ollama(ollama::stream::Decoder),
}

impl StreamDecode for StreamDecoder {
    #[inline]
    fn json(&mut self, name: Option<&str>, value: Raw<'_>, emit: Emit<'_>) {
        match self {
            Self::OpenAiChat(inner) => inner.json(name, value, emit),
            Self::OpenAiResponses(inner) => inner.json(name, value, emit),
            Self::Anthropic(inner) => inner.json(name, value, emit),
            Self::Gemini(inner) => inner.json(name, value, emit),
            Self::Ollama(inner) => inner.json(name, value, emit),
        }
    }

    #[inline]
    fn done(&mut self, emit: Emit<'_>) {
        match self {
            Self::OpenAiChat(inner) => inner.done(emit),
            Self::OpenAiResponses(inner) => inner.done(emit),
            Self::Anthropic(inner) => inner.done(emit),
            Self::Gemini(inner) => inner.done(emit),
            Self::Ollama(inner) => inner.done(emit),
        }
    }

    #[inline]
    fn end(&mut self, emit: Emit<'_>) {
        match self {
            Self::OpenAiChat(inner) => inner.end(emit),
            Self::OpenAiResponses(inner) => inner.end(emit),
            Self::Anthropic(inner) => inner.end(emit),
            Self::Gemini(inner) => inner.end(emit),
            Self::Ollama(inner) => inner.end(emit),
        }
    }
}

/// A stream encoder of any dialect in which clients are answered.
#[derive(Debug)]
pub enum StreamEncoder {
    /// Of [`Dialect::OpenAiChat`].
    OpenAiChat(openai_chat::stream::Encoder),
    /// Of [`Dialect::OpenAiResponses`].
    OpenAiResponses(openai_responses::stream::Encoder),
    /// Of [`Dialect::Anthropic`].
    Anthropic(anthropic::stream::Encoder),
    /// Of [`Dialect::Gemini`].
    Gemini(gemini::stream::Encoder),
    /// Of [`Dialect::Ollama`].
    Ollama(ollama::stream::Encoder),
    /// Of [`ClientDialect::CloudCode`].
    CloudCode(cloud_code::stream::Encoder),
    /// Of [`ClientDialect::Cursor`].
    Cursor(cursor::stream::Encoder),
    /// Of [`ClientDialect::Kiro`].
    Kiro(kiro::stream::Encoder),
}

impl StreamEncode for StreamEncoder {
    #[inline]
    fn event(&mut self, event: &Event<'_>, out: &mut BytesMut) {
        match self {
            Self::OpenAiChat(inner) => inner.event(event, out),
            Self::OpenAiResponses(inner) => inner.event(event, out),
            Self::Anthropic(inner) => inner.event(event, out),
            Self::Gemini(inner) => inner.event(event, out),
            Self::Ollama(inner) => inner.event(event, out),
            Self::CloudCode(inner) => inner.event(event, out),
            Self::Cursor(inner) => inner.event(event, out),
            Self::Kiro(inner) => inner.event(event, out),
        }
    }
}
