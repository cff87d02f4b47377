//! The languages in which clients are answered: the public ones, and those that only one program reads.

use super::{Context, Dialect, StreamEncoder, cloud_code, cursor, kiro};
use crate::{
    frame::Framing,
    hub::{ApiError, Reply},
};

/// A language in which a client is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ClientDialect {
    /// One that providers speak, too.
    Public(Dialect),
    /// Google Cloud Code, as Antigravity reads it: Gemini in an envelope.
    CloudCode,
    /// Cursor's answer to one of its calls: protobuf in Connect envelopes.
    Cursor(cursor::Rpc),
    /// Amazon CodeWhisperer, as Kiro reads it: JSON in AWS event-stream messages.
    Kiro,
}

/// A request of a private dialect in the words of a public one, so that whatever looks at a body sees one that it knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transcript {
    /// In whose words `body` is.
    pub dialect: Dialect,
    /// The body: JSON, an object.
    pub body: Vec<u8>,
    /// The model as the client named it, without decoration; never empty.
    pub model: String,
    /// The client's id of its conversation, where it has one.
    pub conversation: Option<String>,
}

impl From<Dialect> for ClientDialect {
    fn from(dialect: Dialect) -> Self {
        Self::Public(dialect)
    }
}

impl ClientDialect {
    /// Those that no provider speaks; Cursor's with one of its calls.
    pub const PRIVATE: [Self; 3] = [Self::CloudCode, Self::Cursor(cursor::Rpc::ChatWithTools), Self::Kiro];

    /// The name in logs and vectors.
    pub fn name(self) -> &'static str {
        match self {
            Self::Public(dialect) => dialect.name(),
            Self::CloudCode => "cloud_code",
            Self::Cursor(_) => "cursor",
            Self::Kiro => "kiro",
        }
    }

    /// The same as a dialect of providers, if it is one.
    pub fn public(self) -> Option<Dialect> {
        match self {
            Self::Public(dialect) => Some(dialect),
            Self::CloudCode | Self::Cursor(_) | Self::Kiro => None,
        }
    }

    /// Framing of its streams, where it is one of JSON payloads.
    pub fn framing(self) -> Option<Framing> {
        match self {
            Self::Public(dialect) => Some(dialect.framing()),
            Self::CloudCode => Some(Framing::Sse),
            Self::Cursor(_) | Self::Kiro => None,
        }
    }

    /// Content type of its streams.
    pub fn stream_content_type(self) -> &'static str {
        match self {
            Self::Public(dialect) => dialect.stream_content_type(),
            Self::CloudCode => "text/event-stream",
            Self::Cursor(_) => "application/connect+proto",
            Self::Kiro => "application/vnd.amazon.eventstream",
        }
    }

    /// Content type of its whole answers.
    pub fn document_content_type(self) -> &'static str {
        match self {
            // These are never answered in another way than by messages.
            Self::Cursor(_) | Self::Kiro => self.stream_content_type(),
            Self::Public(_) | Self::CloudCode => "application/json",
        }
    }

    /// Content type of its error answers.
    pub fn error_content_type(self) -> &'static str {
        match self {
            Self::Cursor(_) => self.stream_content_type(),
            Self::Kiro => "application/x-amz-json-1.0",
            Self::Public(_) | Self::CloudCode => "application/json",
        }
    }

    /// A header field that its error answers need.
    pub fn error_field(self, error: &ApiError) -> Option<(&'static str, &'static str)> {
        (self == Self::Kiro).then(|| ("x-amzn-errortype", kiro::failure::exception(error.kind).0))
    }

    /// What keeps a silent client stream alive; empty where the dialect has no harmless bytes.
    pub fn keep_alive(self) -> &'static [u8] {
        match self {
            Self::Public(dialect) => dialect.keep_alive(),
            Self::Cursor(rpc) => rpc.keep_alive(),
            Self::CloudCode | Self::Kiro => b"",
        }
    }

    /// Whether its clients need parts one after the other, so that a [serialiser](crate::hub) stands before its encoder.
    pub fn wants_serial_parts(self) -> bool {
        match self {
            Self::Public(dialect) => dialect.wants_serial_parts(),
            // Messages of calls name theirs, and everything else is a delta of the answer.
            Self::Cursor(_) => false,
            Self::CloudCode | Self::Kiro => true,
        }
    }

    /// Writes a whole answer; see [`Dialect::encode_reply`].
    pub fn encode_reply(self, reply: &Reply, context: &Context, out: &mut Vec<u8>) {
        match self {
            Self::Public(dialect) => dialect.encode_reply(reply, context, out),
            Self::CloudCode => cloud_code::reply::encode(reply, context, out),
            Self::Cursor(rpc) => cursor::reply::encode(reply, rpc, context, out),
            Self::Kiro => kiro::reply::encode(reply, context, out),
        }
    }

    /// Writes an error answer and returns its HTTP status; see [`Dialect::encode_error`].
    pub fn encode_error(self, error: &ApiError, request_id: &str, out: &mut Vec<u8>) -> u16 {
        match self {
            Self::Public(dialect) => dialect.encode_error(error, request_id, out),
            Self::CloudCode => cloud_code::reply::encode_error(error, out),
            Self::Cursor(_) => cursor::reply::encode_error(error, out),
            Self::Kiro => kiro::reply::encode_error(error, out),
        }
    }

    /// An encoder for a client's stream.
    pub fn stream_encoder(self, context: &Context) -> StreamEncoder {
        match self {
            Self::Public(dialect) => dialect.stream_encoder(context),
            Self::CloudCode => StreamEncoder::CloudCode(cloud_code::stream::Encoder::new(context)),
            Self::Cursor(rpc) => StreamEncoder::Cursor(cursor::stream::Encoder::new(rpc, context)),
            Self::Kiro => StreamEncoder::Kiro(kiro::stream::Encoder::new(context)),
        }
    }
}
