//! Compressed answers. We ask for none; where one comes anyway it is unpacked, so that taps and codecs can read it.

use std::io::Write;

use bytes::Bytes;
use flate2::write::{GzDecoder, ZlibDecoder};
use proxy::Headers;

/// Unpacks a body piece by piece.
pub(crate) enum Inflate {
    /// Not compressed.
    Identity,
    /// `gzip`
    Gzip(Box<GzDecoder<Vec<u8>>>),
    /// `deflate`
    Deflate(Box<ZlibDecoder<Vec<u8>>>),
}

/// Why a body cannot be unpacked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InflateError {
    /// A coding that we do not know and did not ask for.
    #[error("unexpected content-encoding {0}")]
    Unknown(String),
    /// Broken or cut.
    #[error("broken or truncated compressed data")]
    Broken,
    /// It unpacks to too much.
    #[error("compressed data unpacks to more than {0} bytes")]
    TooLarge(usize),
}

impl Inflate {
    /// The unpacker that `content-encoding` asks for.
    pub(crate) fn of(headers: &Headers) -> Result<Self, InflateError> {
        match headers.text("content-encoding").map(|coding| coding.trim().to_ascii_lowercase()).as_deref() {
            None | Some("" | "identity") => Ok(Self::Identity),
            Some("gzip" | "x-gzip") => Ok(Self::Gzip(Box::new(GzDecoder::new(Vec::new())))),
            Some("deflate") => Ok(Self::Deflate(Box::new(ZlibDecoder::new(Vec::new())))),
            Some(other) => Err(InflateError::Unknown(other.to_owned())),
        }
    }

    /// Takes the next piece and returns what can be read now. One piece unpacks to at most about a thousand times its
    /// size, so the result of one read is bounded.
    pub(crate) fn push(&mut self, chunk: Bytes) -> Result<Bytes, InflateError> {
        let unpacked = match self {
            Self::Identity => return Ok(chunk),
            Self::Gzip(decoder) => {
                decoder.write_all(&chunk).and_then(|()| decoder.flush()).map(|()| std::mem::take(decoder.get_mut()))
            }
            Self::Deflate(decoder) => {
                decoder.write_all(&chunk).and_then(|()| decoder.flush()).map(|()| std::mem::take(decoder.get_mut()))
            }
        };
        unpacked.map(Bytes::from).map_err(|_| InflateError::Broken)
    }

    /// Checks at the end that nothing is missing, and returns what was left.
    pub(crate) fn finish(&mut self) -> Result<Bytes, InflateError> {
        let rest = match self {
            Self::Identity => return Ok(Bytes::new()),
            Self::Gzip(decoder) => decoder.try_finish().map(|()| std::mem::take(decoder.get_mut())),
            Self::Deflate(decoder) => decoder.try_finish().map(|()| std::mem::take(decoder.get_mut())),
        };
        rest.map(Bytes::from).map_err(|_| InflateError::Broken)
    }
}

/// Unpacks a whole body of at most `limit` bytes.
pub(crate) fn whole(headers: &Headers, body: &Bytes, limit: usize) -> Result<Bytes, InflateError> {
    let mut inflate = Inflate::of(headers)?;
    if matches!(inflate, Inflate::Identity) {
        return Ok(body.clone());
    }
    let mut out = Vec::new();
    // Small pieces, so that a bomb is noticed before it has gone off.
    for piece in body.chunks(4096) {
        out.extend_from_slice(&inflate.push(body.slice_ref(piece))?);
        if out.len() > limit {
            return Err(InflateError::TooLarge(limit));
        }
    }
    out.extend_from_slice(&inflate.finish()?);
    Ok(out.into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use flate2::{Compression, write::GzEncoder};

    use super::*;

    fn gzip(data: &[u8]) -> Bytes {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap().into()
    }

    fn headers(coding: &'static str) -> Headers {
        let mut headers = Headers::new();
        headers.append("Content-Encoding", coding);
        headers
    }

    #[test]
    fn unpacks_in_any_pieces() {
        let data: Vec<u8> = (0..20_000u32).flat_map(|n| n.to_le_bytes()).collect();
        let packed = gzip(&data);
        assert_eq!(whole(&headers("gzip"), &packed, 1 << 20).unwrap(), data);
        let mut inflate = Inflate::of(&headers("gzip")).unwrap();
        let mut out = Vec::new();
        for byte in packed.chunks(1) {
            out.extend_from_slice(&inflate.push(packed.slice_ref(byte)).unwrap());
        }
        out.extend_from_slice(&inflate.finish().unwrap());
        assert_eq!(out, data);
    }

    #[test]
    fn cut_data_bombs_and_unknown_codings_are_errors() {
        let packed = gzip(&[0u8; 10_000_000]);
        assert_eq!(whole(&headers("gzip"), &packed.slice(..packed.len() - 9), 20_000_000), Err(InflateError::Broken));
        assert_eq!(whole(&headers("gzip"), &packed, 1 << 20), Err(InflateError::TooLarge(1 << 20)));
        assert!(matches!(Inflate::of(&headers("br")), Err(InflateError::Unknown(_))));
        assert_eq!(whole(&headers("gzip"), &Bytes::from_static(b"hello"), 100), Err(InflateError::Broken));
    }
}
