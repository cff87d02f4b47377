//! Where containers and long strings end: found out once, while the text is validated, and then known to every walk.
//!
//! ```text
//!   {"a":[1,{"b":2}],"c":{}}        containers in order of their beginning: 0 {…}  1 […]  2 {…}  3 {}
//!   end of 1 = 16; after it comes 3                spans[1] = { start: 5, end: 16, after: 3 }
//! ```
//!
//! Without it a walk of three levels would scan the innermost text three times only to skip it, and every look for a
//! member by name all the text of its neighbours. Long strings are leaves among the containers; short ones are not worth a
//! record, and are told from long ones by where the next record starts.

/// Spans of one text that are recorded. Texts with more are walked without.
const SPANS_MAX: usize = 1 << 16;
/// Spans whose memory is kept for the next text.
const SPANS_KEPT: usize = 4096;
/// Shortest string that is recorded, in bytes with its quotes.
const LONG: usize = 48;

/// One container, or one string.
#[derive(Debug, Clone, Copy, Default)]
struct Span {
    /// Offset in the whole text.
    start: u32,
    /// Offset in the whole text.
    end: u32,
    /// While open: number of the container around it. Closed: number of the first span that begins behind it.
    after: u32,
}

/// What is told of containers and strings while a text is validated.
pub(super) trait Record {
    fn open(&mut self, start: usize);
    fn close(&mut self, end: usize);
    fn string(&mut self, start: usize, end: usize);
}

impl Record for () {
    #[inline(always)]
    fn open(&mut self, _start: usize) {}
    #[inline(always)]
    fn close(&mut self, _end: usize) {}
    #[inline(always)]
    fn string(&mut self, _start: usize, _end: usize) {}
}

/// Scratch space for [`Raw::parse_recorded`](super::Raw::parse_recorded), used again for every text.
#[derive(Debug, Default)]
pub struct Recorder {
    spans: Vec<Span>,
    /// Number of the innermost open container.
    current: u32,
    /// There were too many.
    full: bool,
}

impl Recorder {
    /// Forgets the last text, and gives back what most texts do not need of the memory. Parsing begins with it; who keeps a
    /// recorder for a text that may be long in coming does it at once.
    pub fn clear(&mut self) {
        self.spans.clear();
        self.spans.shrink_to(SPANS_KEPT);
        self.current = 0;
        self.full = false;
    }

    /// The spans of the value that starts at `start` of the text.
    pub(super) fn spans(&self, start: usize) -> Spans<'_> {
        match u32::try_from(start) {
            Ok(base) if !self.full => Spans { all: &self.spans, next: 0, base },
            _ => Spans::NONE,
        }
    }

    /// Adds a span, unless there are too many or the text is too long.
    #[inline(always)]
    fn push(&mut self, start: usize, end: usize, after: u32) -> bool {
        match u32::try_from(end) {
            Ok(end) if !self.full && self.spans.len() < SPANS_MAX => {
                self.spans.push(Span { start: start as u32, end, after });
                true
            }
            _ => {
                self.full = true;
                false
            }
        }
    }
}

impl Record for Recorder {
    #[inline(always)]
    fn open(&mut self, start: usize) {
        if self.push(start, start, self.current) {
            self.current = self.spans.len() as u32 - 1;
        }
    }

    #[inline(always)]
    fn string(&mut self, start: usize, end: usize) {
        if end - start >= LONG {
            self.push(start, end, self.spans.len() as u32 + 1);
        }
    }

    #[inline(always)]
    fn close(&mut self, end: usize) {
        let after = self.spans.len() as u32;
        match (self.spans.get_mut(self.current as usize), u32::try_from(end)) {
            (Some(span), Ok(end)) if !self.full => {
                self.current = span.after;
                *span = Span { end, after, ..*span };
            }
            _ => self.full = true,
        }
    }
}

/// The recorded spans, as seen from one value: the next span is number `next`, offsets are less by `base`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spans<'a> {
    all: &'a [Span],
    next: u32,
    base: u32,
}

impl<'a> Spans<'a> {
    /// Nothing was recorded.
    pub(super) const NONE: Spans<'static> = Spans { all: &[], next: 0, base: 0 };

    /// The view from inside the container that this is the view of.
    #[inline(always)]
    pub(super) fn inside(self) -> Self {
        Self { next: self.next + 1, ..self }
    }

    /// Takes the container that starts at `start`: its end, and the view of it. `None`: nothing was recorded.
    #[inline(always)]
    pub(super) fn enter(&mut self, start: usize) -> Option<(usize, Spans<'a>)> {
        let span = self.all.get(self.next as usize)?;
        let inner = Spans { all: self.all, next: self.next, base: self.base + start as u32 };
        self.next = span.after;
        Some(((span.end - self.base) as usize, inner))
    }

    /// Takes the string that starts at `start`: its end. `None`: this one was not recorded.
    #[inline(always)]
    pub(super) fn string(&mut self, start: usize) -> Option<usize> {
        let span = self.all.get(self.next as usize)?;
        if span.start as usize != self.base as usize + start {
            return None;
        }
        self.next = span.after;
        Some((span.end - self.base) as usize)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{super::Raw, *};

    #[test]
    fn a_cleared_recorder_holds_little() {
        let mut recorder = Recorder::default();
        let text = format!("[{}[]]", "[],".repeat(SPANS_MAX / 2));
        Raw::parse_recorded(text.as_bytes(), &mut recorder).unwrap();
        assert!(recorder.spans.capacity() > SPANS_MAX / 2);
        recorder.clear();
        assert_eq!(recorder.spans.capacity(), SPANS_KEPT);
    }
}
