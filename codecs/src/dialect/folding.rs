//! Folding a stream into the document of its own dialect: what the collapsers share, which is the way from bytes to
//! payloads and what counts as broken.

use crate::{
    frame::{Deframer, Frame, FrameError, Framing},
    hub::{ApiError, ErrorKind},
    json::Raw,
};

/// What is kept of a stream, payload by payload.
pub(crate) trait Fold: Default {
    /// Whether no further payload counts.
    fn is_over(&self) -> bool;
    /// One payload; `name` is the event's, where there is one.
    fn json(&mut self, name: Option<&str>, value: Raw<'_>);
    /// The `[DONE]` marker.
    fn done(&mut self);
    /// The stream is broken. Only the first failure counts.
    fn fail(&mut self, error: ApiError);
}

/// Cuts server-sent events and feeds a fold with them.
#[derive(Debug)]
pub(crate) struct Folding<F> {
    deframer: Deframer,
    fold: F,
}

impl<F: Fold> Folding<F> {
    pub(crate) fn new() -> Self {
        Self { deframer: Deframer::new(Framing::Sse), fold: F::default() }
    }

    /// Takes the next bytes.
    pub(crate) fn push(&mut self, chunk: &[u8]) {
        let Self { deframer, fold } = self;
        let result = deframer.push(chunk, &mut |frame| take(fold, &frame));
        judge(fold, result);
    }

    /// End of input: what was kept.
    pub(crate) fn finish(self) -> F {
        let Self { mut deframer, mut fold } = self;
        let result = deframer.finish(&mut |frame| take(&mut fold, &frame));
        judge(&mut fold, result);
        fold
    }
}

fn judge(fold: &mut impl Fold, result: Result<(), FrameError>) {
    if let Err(error) = result {
        fold.fail(ApiError::new(ErrorKind::Api, error.to_string()));
    }
}

fn take(fold: &mut impl Fold, frame: &Frame<'_>) {
    if fold.is_over() || frame.data.is_empty() {
        return;
    }
    if frame.is_done() {
        return fold.done();
    }
    match Raw::parse(frame.data) {
        Ok(value) => fold.json(frame.name, value),
        // The input ended inside this payload: what is missing at the end says it all.
        Err(_) if frame.unfinished => {}
        Err(error) => fold.fail(ApiError::new(ErrorKind::Api, format!("the upstream sent no JSON: {error}"))),
    }
}
