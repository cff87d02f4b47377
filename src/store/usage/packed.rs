//! A row as bytes, and back. A row of the log takes about 70 of them, and a tenth of the time that a row of a table takes.
//!
//! ```text
//!   rows  = base number (8) base time (8) row*
//!   row   = flags (2) dialects, endpoint, outcome (4) number - base, time - base, numbers, texts
//! ```
//!
//! Whole numbers are LEB128, those that may be negative zigzag before; the two of the beginning are little-endian. What is
//! absent has no bytes: a flag says so. The form never changes: a new member gets a flag of its own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Outcome;

/// Length of the two bases.
const BASE_BYTES: usize = 16;
/// Most bytes of a row without its texts: six, an address, ten numbers of ten bytes (of 64 bits) and eleven of five,
/// two of three, and a length of ten.
const NUMBERS_BYTES: usize = 6 + 16 + 10 * 10 + 11 * 5 + 2 * 3 + 10;

const STREAM: u16 = 1;
const ESTIMATED: u16 = 1 << 1;
const SESSION: u16 = 1 << 2;
const ERROR: u16 = 1 << 3;
const IP_V4: u16 = 1 << 4;
const IP_V6: u16 = 1 << 5;
const COST: u16 = 1 << 6;
const TTFT: u16 = 1 << 7;
const ADDED: u16 = 1 << 8;
/// The first attempt of one.
const SINGLE: u16 = 1 << 9;
const KNOWN: u16 = (1 << 10) - 1;

/// One row of the log, with the numbers of its texts in `dim`; 0 stands for none. Its own texts are borrowed.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Stored<'a> {
    /// Its number in the log, from 1.
    pub(super) id: i64,
    pub(super) ts_ms: i64,
    pub(super) request_id: &'a str,
    pub(super) session: Option<&'a str>,
    pub(super) key: i64,
    pub(super) provider: i64,
    pub(super) requested: i64,
    pub(super) model: i64,
    pub(super) alias: i64,
    pub(super) client: i64,
    pub(super) client_ip: Option<IpAddr>,
    pub(super) dialect: u8,
    /// 0 if nobody was asked.
    pub(super) dialect_upstream: u8,
    pub(super) endpoint: u8,
    pub(super) outcome: u8,
    pub(super) stream: bool,
    pub(super) attempt: u16,
    pub(super) attempts: u16,
    pub(super) status: u16,
    pub(super) error: Option<&'a str>,
    pub(super) tokens_in: u32,
    pub(super) tokens_out: u32,
    pub(super) tokens_cache_read: u32,
    pub(super) tokens_cache_write: u32,
    pub(super) tokens_cache_write_1h: u32,
    pub(super) tokens_reasoning: u32,
    pub(super) estimated: bool,
    pub(super) cost: Option<i64>,
    pub(super) ttft_ms: Option<u32>,
    pub(super) duration_ms: u32,
    pub(super) added_us: Option<u32>,
    pub(super) bytes_in: u32,
    pub(super) bytes_out: u64,
}

impl Stored<'_> {
    /// The model that was used, or else the one that was asked for.
    pub(super) fn model_used(&self) -> i64 {
        if self.model == 0 { self.requested } else { self.model }
    }

    /// Whether it is its request's last attempt.
    pub(super) fn is_final(&self) -> bool {
        self.attempt == self.attempts
    }

    /// How it ended. A number of a newer version counts as a failure.
    pub(super) fn ended(&self) -> Outcome {
        Outcome::of(self.outcome.into()).unwrap_or(Outcome::UpstreamError)
    }
}

/// Bytes that are no rows of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a part of the log cannot be read")
    }
}

impl std::error::Error for Malformed {}

/// Appends a row. The first one of `out` gives it its bases; later ones may be smaller than these.
pub(super) fn put(out: &mut Vec<u8>, row: &Stored<'_>) {
    if out.is_empty() {
        out.extend_from_slice(&row.id.to_le_bytes());
        out.extend_from_slice(&row.ts_ms.to_le_bytes());
    }
    let (id, ts_ms) = bases(out).unwrap_or_default();
    let single = row.attempt == 1 && row.attempts == 1;
    let flags = [
        (row.stream, STREAM),
        (row.estimated, ESTIMATED),
        (row.session.is_some(), SESSION),
        (row.error.is_some(), ERROR),
        (row.client_ip.is_some_and(|ip| ip.is_ipv4()), IP_V4),
        (row.client_ip.is_some_and(|ip| ip.is_ipv6()), IP_V6),
        (row.cost.is_some(), COST),
        (row.ttft_ms.is_some(), TTFT),
        (row.added_us.is_some(), ADDED),
        (single, SINGLE),
    ];
    let flags = flags.iter().fold(0u16, |all, (set, flag)| if *set { all | flag } else { all });
    let [low, high] = flags.to_le_bytes();
    let mut numbers = Numbers { bytes: [0; NUMBERS_BYTES], length: 0 };
    numbers.bytes(&[low, high, row.dialect, row.dialect_upstream, row.endpoint, row.outcome]);
    numbers.put(zigzag(row.id.wrapping_sub(id)));
    numbers.put(zigzag(row.ts_ms.wrapping_sub(ts_ms)));
    for id in [row.key, row.provider, row.requested, row.model, row.alias, row.client] {
        numbers.put(id as u64);
    }
    match row.client_ip {
        Some(IpAddr::V4(ip)) => numbers.bytes(&ip.octets()),
        Some(IpAddr::V6(ip)) => numbers.bytes(&ip.octets()),
        None => {}
    }
    if !single {
        numbers.put(u64::from(row.attempt));
        numbers.put(u64::from(row.attempts));
    }
    let counts = [
        u32::from(row.status),
        row.tokens_in,
        row.tokens_out,
        row.tokens_cache_read,
        row.tokens_cache_write,
        row.tokens_cache_write_1h,
        row.tokens_reasoning,
        row.duration_ms,
        row.bytes_in,
    ];
    for count in counts {
        numbers.put(u64::from(count));
    }
    numbers.put(row.bytes_out);
    if let Some(cost) = row.cost {
        numbers.put(zigzag(cost));
    }
    for count in [row.ttft_ms, row.added_us].into_iter().flatten() {
        numbers.put(u64::from(count));
    }
    numbers.put(row.request_id.len() as u64);
    out.extend_from_slice(&numbers.bytes[..numbers.length]);
    out.extend_from_slice(row.request_id.as_bytes());
    for own in [row.session, row.error].into_iter().flatten() {
        let mut length = Numbers { bytes: [0; NUMBERS_BYTES], length: 0 };
        length.put(own.len() as u64);
        out.extend_from_slice(&length.bytes[..length.length]);
        out.extend_from_slice(own.as_bytes());
    }
}

/// Everything of a row but its texts, before it is appended at once. There is room for the largest of each.
struct Numbers {
    bytes: [u8; NUMBERS_BYTES],
    length: usize,
}

impl Numbers {
    fn put(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.bytes[self.length] = number as u8 | 0x80;
            self.length += 1;
            number >>= 7;
        }
        self.bytes[self.length] = number as u8;
        self.length += 1;
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.bytes[self.length..self.length + bytes.len()].copy_from_slice(bytes);
        self.length += bytes.len();
    }
}

fn bases(rows: &[u8]) -> Option<(i64, i64)> {
    let (id, rest) = rows.split_first_chunk()?;
    Some((i64::from_le_bytes(*id), i64::from_le_bytes(*rest.first_chunk()?)))
}

fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)) as u64
}

fn unzigzag(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

/// The rows in some bytes, in the order in which they were put there. Ends with the first one that cannot be read.
#[derive(Debug, Clone)]
pub(super) struct Rows<'a> {
    rest: &'a [u8],
    id: i64,
    ts_ms: i64,
}

impl<'a> Rows<'a> {
    pub(super) fn of(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (id, ts_ms) = bases(bytes).ok_or(Malformed)?;
        Ok(Self { rest: &bytes[BASE_BYTES..], id, ts_ms })
    }

    fn row(&mut self) -> Option<Stored<'a>> {
        let flags = u16::from_le_bytes(self.bytes()?);
        if flags & !KNOWN != 0 {
            return None;
        }
        let has = |flag| flags & flag != 0;
        let [dialect, dialect_upstream, endpoint, outcome] = self.bytes()?;
        let id = self.id.wrapping_add(unzigzag(self.number()?));
        let ts_ms = self.ts_ms.wrapping_add(unzigzag(self.number()?));
        let [key, provider, requested, model, alias, client] = self.numbers()?.map(|id| id as i64);
        let client_ip = if has(IP_V4) {
            Some(Ipv4Addr::from(self.bytes::<4>()?).into())
        } else if has(IP_V6) {
            Some(Ipv6Addr::from(self.bytes::<16>()?).into())
        } else {
            None
        };
        let [attempt, attempts] = if has(SINGLE) { [1, 1] } else { self.numbers()? };
        let [status, tokens_in, tokens_out, cache_read, cache_write, cache_write_1h, reasoning, duration, bytes_in] =
            self.numbers()?;
        let count = |number: u64| u32::try_from(number).ok();
        let small = |number: u64| u16::try_from(number).ok();
        Some(Stored {
            id,
            ts_ms,
            key,
            provider,
            requested,
            model,
            alias,
            client,
            client_ip,
            dialect,
            dialect_upstream,
            endpoint,
            outcome,
            stream: has(STREAM),
            attempt: small(attempt)?,
            attempts: small(attempts)?,
            status: small(status)?,
            tokens_in: count(tokens_in)?,
            tokens_out: count(tokens_out)?,
            tokens_cache_read: count(cache_read)?,
            tokens_cache_write: count(cache_write)?,
            tokens_cache_write_1h: count(cache_write_1h)?,
            tokens_reasoning: count(reasoning)?,
            estimated: has(ESTIMATED),
            duration_ms: count(duration)?,
            bytes_in: count(bytes_in)?,
            bytes_out: self.number()?,
            cost: if has(COST) { Some(unzigzag(self.number()?)) } else { None },
            ttft_ms: if has(TTFT) { Some(count(self.number()?)?) } else { None },
            added_us: if has(ADDED) { Some(count(self.number()?)?) } else { None },
            request_id: self.text()?,
            session: if has(SESSION) { Some(self.text()?) } else { None },
            error: if has(ERROR) { Some(self.text()?) } else { None },
        })
    }

    fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*bytes)
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for (at, byte) in self.rest.iter().enumerate().take(10) {
            number |= u64::from(byte & 0x7f) << (7 * at);
            if *byte < 0x80 {
                self.rest = &self.rest[at + 1..];
                return Some(number);
            }
        }
        None
    }

    fn numbers<const N: usize>(&mut self) -> Option<[u64; N]> {
        let mut numbers = [0; N];
        for number in &mut numbers {
            *number = self.number()?;
        }
        Some(numbers)
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = usize::try_from(self.number()?).ok()?;
        let (text, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        std::str::from_utf8(text).ok()
    }
}

impl<'a> Iterator for Rows<'a> {
    type Item = Result<Stored<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let row = self.row();
        if row.is_none() {
            self.rest = &[];
        }
        Some(row.ok_or(Malformed))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Everything at its largest, or absent.
    fn extremes() -> [Stored<'static>; 3] {
        let most = Stored {
            id: i64::MAX,
            ts_ms: i64::MIN,
            request_id: "é",
            session: Some(""),
            key: i64::MAX,
            provider: 1,
            requested: 2,
            model: 3,
            alias: 4,
            client: 5,
            client_ip: Some("2001:db8::1".parse().unwrap()),
            dialect: 255,
            dialect_upstream: 255,
            endpoint: 255,
            outcome: 255,
            stream: true,
            attempt: u16::MAX,
            attempts: u16::MAX,
            status: u16::MAX,
            error: Some("no"),
            tokens_in: u32::MAX,
            tokens_out: u32::MAX,
            tokens_cache_read: u32::MAX,
            tokens_cache_write: u32::MAX,
            tokens_cache_write_1h: u32::MAX,
            tokens_reasoning: u32::MAX,
            estimated: true,
            cost: Some(i64::MIN),
            ttft_ms: Some(u32::MAX),
            duration_ms: u32::MAX,
            added_us: Some(u32::MAX),
            bytes_in: u32::MAX,
            bytes_out: u64::MAX,
        };
        let plain = Stored {
            id: 7,
            ts_ms: 1_700_000_000_000,
            attempt: 1,
            attempts: 1,
            client_ip: Some([127, 0, 0, 1].into()),
            cost: Some(0),
            ..Stored::default()
        };
        [plain, most, Stored::default()]
    }

    fn packed(rows: &[Stored<'_>]) -> Vec<u8> {
        let mut out = Vec::new();
        rows.iter().for_each(|row| put(&mut out, row));
        out
    }

    #[test]
    fn rows_come_back_as_they_were() {
        let rows = extremes();
        let bytes = packed(&rows);
        let back: Vec<_> = Rows::of(&bytes).unwrap().map(Result::unwrap).collect();
        assert_eq!(back, rows);
        assert!(packed(&rows[..1]).len() < BASE_BYTES + 40, "{}", packed(&rows[..1]).len());
    }

    #[test]
    fn a_part_is_malformed_and_ends() {
        let bytes = packed(&extremes());
        let ends: Vec<_> = (1..=3).map(|rows| packed(&extremes()[..rows]).len()).collect();
        for length in 0..bytes.len() {
            let Ok(rows) = Rows::of(&bytes[..length]) else {
                assert!(length < BASE_BYTES);
                continue;
            };
            let found: Vec<_> = rows.collect();
            let whole = ends.iter().filter(|end| **end <= length).count();
            assert_eq!(found.iter().filter(|row| row.is_ok()).count(), whole, "{length}");
            let torn = length != BASE_BYTES && !ends.contains(&length);
            assert_eq!(found.last() == Some(&Err(Malformed)), torn, "{length}");
        }
        let mut newer = packed(&extremes()[..1]);
        newer[BASE_BYTES + 1] |= 0x80;
        assert_eq!(Rows::of(&newer).unwrap().collect::<Vec<_>>(), [Err(Malformed)]);
    }

    #[test]
    fn strange_bytes_are_refused_without_a_panic() {
        let bytes = packed(&extremes());
        for at in BASE_BYTES..bytes.len() {
            for value in 0..=u8::MAX {
                let mut strange = bytes.clone();
                strange[at] = value;
                // Each row takes something.
                assert!(Rows::of(&strange).unwrap().count() < bytes.len(), "{at} {value}");
            }
        }
    }

    #[test]
    fn the_form_never_changes() {
        let row = Stored {
            id: 1,
            ts_ms: 2,
            request_id: "r",
            session: Some("s"),
            key: 300,
            client_ip: Some([127, 0, 0, 1].into()),
            dialect: 1,
            dialect_upstream: 3,
            endpoint: 1,
            outcome: 2,
            stream: true,
            attempt: 1,
            attempts: 1,
            status: 503,
            error: Some("no"),
            tokens_in: 128,
            cost: Some(-1),
            ttft_ms: Some(5),
            ..Stored::default()
        };
        let mut expected = vec![1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0];
        // Flags, dialects, endpoint, outcome; number and time; key and the five other names; address.
        expected.extend([0xdd, 0x02, 1, 3, 1, 2, 0, 0, 0xac, 2, 0, 0, 0, 0, 0, 127, 0, 0, 1]);
        // Status and counts, bytes, cost, time to the first content; texts.
        expected.extend([0xf7, 3, 0x80, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 5, 1, b'r', 1, b's', 2, b'n', b'o']);
        assert_eq!(packed(&[row]), expected);
    }
}
