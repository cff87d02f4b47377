//! One gzip member (RFC 1952) at a time, inflated within a limit into memory that is used again.
//!
//! The inflating itself is a library's. The wrapper is read here, because the state of a decoder that is made for every
//! message costs more than most messages.

use flate2::{Decompress, FlushDecompress, Status};

/// Bytes of a header without optional fields.
const HEADER: usize = 10;
/// Bytes of checksum and length.
const TRAILER: usize = 8;
/// Least room that is made for more output.
const STEP: usize = 4 << 10;

/// Header flags: a checksum of the header, an extra field, a name, a comment.
const FHCRC: u8 = 2;
const FEXTRA: u8 = 4;
const FNAME: u8 = 8;
const FCOMMENT: u8 = 16;

/// Why a body was not inflated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bad {
    /// It is longer than allowed.
    TooLarge,
    /// What is wrong with it.
    Gzip(&'static str),
}

/// Inflates.
#[derive(Debug)]
pub(super) struct Gunzip {
    inflate: Decompress,
    out: Vec<u8>,
}

impl Gunzip {
    pub(super) fn new() -> Self {
        Self { inflate: Decompress::new(false), out: Vec::new() }
    }

    /// Inflates `member`, which must be one whole member and nothing else, to at most `limit` bytes.
    pub(super) fn whole(&mut self, member: &[u8], limit: usize) -> Result<&[u8], Bad> {
        let mut rest = skip_header(member).ok_or(Bad::Gzip("no gzip header"))?;
        self.inflate.reset(false);
        super::recycle(&mut self.out);
        loop {
            // One byte more than allowed tells a body that fits from one that does not.
            let room = self.out.len().max(STEP).min(limit + 1 - self.out.len());
            let start = self.out.len();
            self.out.resize(start + room, 0);
            let (read, written) = (self.inflate.total_in(), self.inflate.total_out());
            let status = self.inflate.decompress(rest, &mut self.out[start..], FlushDecompress::None);
            let read = (self.inflate.total_in() - read) as usize;
            let written = (self.inflate.total_out() - written) as usize;
            rest = &rest[read..];
            self.out.truncate(start + written);
            match status {
                _ if self.out.len() > limit => return Err(Bad::TooLarge),
                Ok(Status::StreamEnd) => break,
                Ok(_) if read + written > 0 => {}
                Ok(_) => return Err(Bad::Gzip("the body ends too early")),
                Err(_) => return Err(Bad::Gzip("the body cannot be inflated")),
            }
        }
        let Some((&[a, b, c, d, e, f, g, h], after)) = rest.split_first_chunk::<TRAILER>() else {
            return Err(Bad::Gzip("the trailer is cut"));
        };
        let [crc, length] = [[a, b, c, d], [e, f, g, h]].map(u32::from_le_bytes);
        match () {
            () if super::crc(&self.out) != crc => Err(Bad::Gzip("the checksum does not fit")),
            () if self.out.len() as u32 != length => Err(Bad::Gzip("the length does not fit")),
            () if !after.is_empty() => Err(Bad::Gzip("something follows the member")),
            () => Ok(&self.out),
        }
    }
}

/// What follows the header; `None`: it is none, or cut.
fn skip_header(member: &[u8]) -> Option<&[u8]> {
    let (header, mut rest) = member.split_first_chunk::<HEADER>()?;
    let &[0x1f, 0x8b, 8, flags, ..] = header else { return None };
    // Reserved bits may change the header's form.
    if flags & 0xe0 != 0 {
        return None;
    }
    if flags & FEXTRA != 0 {
        let (length, after) = rest.split_first_chunk::<2>()?;
        rest = after.get(usize::from(u16::from_le_bytes(*length))..)?;
    }
    for text in [FNAME, FCOMMENT] {
        if flags & text != 0 {
            rest = &rest[memchr::memchr(0, rest)? + 1..];
        }
    }
    if flags & FHCRC != 0 {
        rest = rest.get(2..)?;
    }
    Some(rest)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::Write;

    use flate2::{Compression, GzBuilder};

    use super::*;

    fn gzip(builder: GzBuilder, data: &[u8]) -> Vec<u8> {
        let mut encoder = builder.write(Vec::new(), Compression::default());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn members_with_every_optional_field_inflate_one_after_the_other() {
        let mut gunzip = Gunzip::new();
        let long = b"abc".repeat(10_000);
        for data in [&b""[..], b"x", &long, b"short again"] {
            for builder in
                [GzBuilder::new(), GzBuilder::new().filename("name").comment("words").extra(vec![1, 2, 3]).mtime(7)]
            {
                assert_eq!(gunzip.whole(&gzip(builder, data), 1 << 20), Ok(data));
            }
        }
    }

    #[test]
    fn the_limit_is_of_what_comes_out() {
        let mut gunzip = Gunzip::new();
        let bomb = gzip(GzBuilder::new(), &vec![0; 1 << 20]);
        assert_eq!(gunzip.whole(&bomb, (1 << 20) - 1), Err(Bad::TooLarge));
        assert!(gunzip.out.capacity() <= 2 << 20);
        assert_eq!(gunzip.whole(&bomb, 1 << 20).map(<[u8]>::len), Ok(1 << 20));
        assert_eq!(gunzip.whole(&gzip(GzBuilder::new(), b""), 0), Ok(&b""[..]));
    }

    #[test]
    fn damage_is_found_wherever_it_is() {
        let mut gunzip = Gunzip::new();
        let good = gzip(GzBuilder::new(), b"hello hello hello");
        for length in 0..good.len() {
            assert!(matches!(gunzip.whole(&good[..length], 100), Err(Bad::Gzip(_))), "cut at {length}");
        }
        assert_eq!(gunzip.whole(&[&good[..], b"x"].concat(), 100), Err(Bad::Gzip("something follows the member")));
        for at in (0..4).chain(HEADER..good.len()) {
            let mut bad = good.clone();
            bad[at] ^= 0xff;
            assert!(gunzip.whole(&bad, 100).is_err(), "byte {at}");
        }
        assert_eq!(gunzip.whole(&good, 100), Ok(&b"hello hello hello"[..]), "usable after failures");
    }
}
