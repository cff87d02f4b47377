//! Scratch memory of a thread: what reading a document needs and the next one can use again.
//!
//! Deliberately absent: anything that outlives a call, so that no exchange ever sees another one's.

use std::cell::Cell;

use codecs::json::{JsonError, Raw, Recorder};

thread_local! {
    /// Bounded by what a cleared recorder keeps, 48 KiB.
    static RECORDER: Cell<Recorder> = Cell::default();
}

/// Validates `body` as one JSON value and hands it to `read`, or why it is none.
pub(super) fn read<T>(body: &[u8], read: impl FnOnce(Result<Raw<'_>, JsonError>) -> T) -> T {
    let mut recorder = RECORDER.take();
    let read = read(Raw::parse_recorded(body, &mut recorder));
    // Now, not at the next document: that one may be long in coming.
    recorder.clear();
    RECORDER.set(recorder);
    read
}
