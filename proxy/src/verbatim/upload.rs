//! The request on its way from the client to the server, piece by piece.
//!
//! ```text
//!   Reading ──piece──▶ Pushing ──▶ Reading … ──end of the body──▶ Ending ──▶ Over
//! ```

use std::{
    collections::VecDeque,
    task::{Context, Poll, ready},
};

use bytes::Bytes;

use super::{Tap, upstream::Upstream};
use crate::{Call, Error, Headers};

/// Bytes of a request kept until its answer begins, so that a connection which turns out to be given up costs nothing.
const KEPT_BYTES: usize = 64 * 1024;
/// Pieces passed on before it is the answer's turn.
const TURNS: usize = 32;

#[derive(Debug)]
enum Stage {
    Reading,
    Pushing { data: Bytes, last: bool },
    Ending,
    Over,
}

/// One request's body.
#[derive(Debug)]
pub(super) struct Upload {
    stage: Stage,
    /// What was read before the passage began, or is to be sent again.
    ahead: VecDeque<Bytes>,
    /// The client has said everything; these are the fields behind it.
    ended: Option<Option<Headers>>,
    /// What was sent, as long as it fits.
    kept: Option<Vec<Bytes>>,
    kept_bytes: usize,
}

impl Upload {
    /// Of a body of which `ahead` was read already.
    pub(super) fn new(ahead: Vec<Bytes>) -> Self {
        let ahead: VecDeque<Bytes> = ahead.into_iter().filter(|piece| !piece.is_empty()).collect();
        Self { stage: Stage::Reading, ahead, ended: None, kept: Some(Vec::new()), kept_bytes: 0 }
    }

    /// Whether nothing was read ahead.
    pub(super) fn is_untouched(&self) -> bool {
        self.ahead.is_empty()
    }

    /// Nothing more is to be sent.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Over)
    }

    /// The request had no body.
    pub(super) fn skip(&mut self) {
        (self.stage, self.ended) = (Stage::Over, Some(None));
    }

    /// Goes back to the beginning for another connection. False: too much was sent.
    pub(super) fn rewind(&mut self) -> bool {
        let Some(kept) = self.kept.take() else { return false };
        self.stage = Stage::Reading;
        for piece in kept.into_iter().rev() {
            self.ahead.push_front(piece);
        }
        (self.kept, self.kept_bytes) = (Some(Vec::new()), 0);
        true
    }

    /// No second connection will be tried.
    pub(super) fn forget(&mut self) {
        self.kept = None;
    }

    fn keep(&mut self, piece: &Bytes) {
        self.kept_bytes += piece.len();
        if self.kept_bytes > KEPT_BYTES {
            self.kept = None;
        }
        if let Some(kept) = &mut self.kept {
            kept.push(piece.clone());
        }
    }

    /// Whether nothing at all stands behind what was read, as far as that is known.
    fn look_for_end<S>(&mut self, cx: &mut Context<'_>, call: &mut Call<'_, S>) -> Result<bool, Error> {
        if self.ended.is_none()
            && call.is_over()
            && let Poll::Ready(trailers) = call.poll_trailers(cx)?
        {
            self.ended = Some(trailers);
        }
        Ok(self.ended == Some(None))
    }

    /// Passes on what there is; ready when all of it was. Counts what moved into `moved`.
    pub(super) fn poll<S>(
        &mut self,
        cx: &mut Context<'_>,
        call: &mut Call<'_, S>,
        upstream: &mut Upstream,
        tap: &mut dyn Tap,
        moved: &mut u64,
    ) -> Poll<Result<(), Error>> {
        for _ in 0..TURNS {
            match &mut self.stage {
                Stage::Over => return upstream.poll_flush(cx).map(Ok),
                Stage::Pushing { data, last } => {
                    let last = *last;
                    ready!(upstream.poll_push(cx, data, last))?;
                    *moved += 1;
                    self.stage = if last { Stage::Ending } else { Stage::Reading };
                }
                Stage::Ending => {
                    let trailers = self.ended.as_ref().and_then(Option::as_ref);
                    ready!(upstream.poll_end(cx, trailers))?;
                    *moved += 1;
                    self.stage = Stage::Over;
                }
                Stage::Reading => {
                    if let Some(data) = self.ahead.pop_front() {
                        let last = self.ahead.is_empty() && self.look_for_end(cx, call)?;
                        self.keep(&data);
                        self.stage = Stage::Pushing { data, last };
                    } else if self.ended.is_some() {
                        self.stage = Stage::Ending;
                    } else if let Poll::Ready(piece) = call.poll_piece(cx)? {
                        match piece {
                            Some(data) => {
                                tap.asked(&data);
                                let last = self.look_for_end(cx, call)?;
                                self.keep(&data);
                                self.stage = Stage::Pushing { data, last };
                            }
                            None => self.ended = Some(ready!(call.poll_trailers(cx))?),
                        }
                    } else {
                        // The head must not wait for the body's first piece.
                        let _ = upstream.poll_flush(cx);
                        return Poll::Pending;
                    }
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
