//! Cuts in a byte stream.

/// How a stream is cut into payloads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// Server-sent events.
    Sse,
    /// One JSON value per line.
    NdJson,
    /// One JSON array over the whole body (Gemini without `alt=sse`).
    JsonArray,
    /// The body is one value.
    Whole,
}
