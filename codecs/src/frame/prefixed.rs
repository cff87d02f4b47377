//! Cutting of messages that begin with a head of fixed size, which tells their length.
//!
//! A message that lies complete in the pushed chunk is a slice of it; only the unfinished tail of a chunk is copied, and
//! memory grows with what has come, never with what was promised.

use super::recycle;

/// Cuts messages whose first `HEAD` bytes tell the length.
#[derive(Debug, Default)]
pub(super) struct Prefixed<const HEAD: usize> {
    /// The start of a message whose rest has not come yet.
    held: Vec<u8>,
    /// Length of the message in `held`, once its head is complete.
    total: Option<usize>,
    /// `held` was handed out whole and goes away at the next call.
    spent: bool,
    /// Where in the stream the current message begins, or the next one.
    at: u64,
}

impl<const HEAD: usize> Prefixed<HEAD> {
    /// The next complete message, and where in the stream it begins; takes from `chunk` what it uses. `None`: `chunk` is
    /// used up. `measure` reads a head, whose place in the stream it is told, and returns the whole message's length, at
    /// least `HEAD`; it is asked once per message.
    #[inline]
    pub(super) fn next<'x, 'c: 'x, E>(
        &'x mut self,
        chunk: &mut &'c [u8],
        measure: impl Fn(&[u8; HEAD], u64) -> Result<usize, E>,
    ) -> Result<Option<(u64, &'x [u8])>, E> {
        if self.spent {
            self.spent = false;
            recycle(&mut self.held);
        }
        let at = self.at;
        if self.held.is_empty() {
            let Some(head) = chunk.first_chunk::<HEAD>() else {
                self.hold(chunk, HEAD);
                return Ok(None);
            };
            let total = measure(head, at)?;
            if let Some((message, rest)) = chunk.split_at_checked(total) {
                *chunk = rest;
                self.at += total as u64;
                return Ok(Some((at, message)));
            }
            self.total = Some(total);
            self.hold(chunk, total);
            return Ok(None);
        }
        let total = match self.total {
            Some(total) => total,
            None => {
                self.hold(chunk, HEAD);
                let Some(head) = self.held.first_chunk::<HEAD>() else { return Ok(None) };
                let total = measure(head, at)?;
                self.total = Some(total);
                total
            }
        };
        self.hold(chunk, total);
        if self.held.len() < total {
            return Ok(None);
        }
        (self.total, self.spent) = (None, true);
        self.at += total as u64;
        Ok(Some((at, &self.held)))
    }

    /// Moves bytes from `chunk` until `wanted` are held.
    fn hold(&mut self, chunk: &mut &[u8], wanted: usize) {
        let missing = wanted.saturating_sub(self.held.len()).min(chunk.len());
        let (piece, rest) = chunk.split_at(missing);
        self.held.extend_from_slice(piece);
        *chunk = rest;
    }

    /// Where an unfinished message begins, if there is one.
    pub(super) fn unfinished(&self) -> Option<u64> {
        (!self.spent && !self.held.is_empty()).then_some(self.at)
    }

    /// Where the next message begins.
    pub(super) fn offset(&self) -> u64 {
        self.at
    }
}
