//! Stream to stream, chunk by chunk.
//!
//! ```text
//!   Held ──first content, or the hold's deadline──▶ Committed ──terminal event──▶ end
//!    │ error, end, stall before content               │ error, end, stall
//!    ▼                                                ▼
//!   back to the caller: another candidate             the dialect's error event, never a success
//! ```
//!
//! One read of the upstream is one write to the client. Nothing is read before the client has taken what came before.

use std::{
    pin::{Pin, pin},
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use codecs::hub::ApiError;
use proxy::{Body, Call, Committed, Fresh};
use tokio::time::{Sleep, sleep_until};

use super::{Answer, head, inflate::Inflate, pipe::Pipe, settle, stalled, unreadable};
use crate::gateway::{
    attempt::{Failure, Outcome, Speed},
    edit,
    exchange::Exchange,
};

/// Slices of one write; further chunks that are already here wait for the next one.
const WRITE_BYTES: usize = 64 * 1024;
/// Prologue that is held at most.
const HELD_BYTES: usize = 256 * 1024;
/// After the terminal event the upstream's end is awaited this long, so that its connection can be used again.
const LINGER: Duration = Duration::from_millis(25);
/// "Never", for a timer that must have a deadline.
const FAR: Duration = Duration::from_secs(24 * 3600);

/// Relays a stream.
pub(super) async fn relay<'a>(
    call: Call<'a, Fresh>,
    exchange: &mut Exchange,
    mut answer: Box<Answer<'_>>,
) -> Outcome<'a> {
    let inflate = match Inflate::of(&answer.response.head.headers) {
        Ok(inflate) => inflate,
        Err(error) => {
            return Err((call, Failure::judged(unreadable(&error))));
        }
    };
    let mut source = Source { inflate, stall: answer.candidate.upstream.stall, last_read: Instant::now() };
    let edits = edit::answer(exchange, answer.candidate, answer.settings, answer.speed);
    let (speed, upstream) = (answer.speed, &answer.candidate.upstream);
    let mut pipe = Pipe::new(speed, upstream, exchange.client, answer.context(exchange), edits);
    let mut ready = Vec::new();
    let mut timer = pin!(sleep_until((Instant::now() + FAR).into()));
    let holding = exchange.ledger.holding();
    let hold_until = answer.response.timing.head + answer.candidate.upstream.hold;
    let call =
        match hold(call, &mut source, &mut answer.response.body, &mut pipe, &mut ready, hold_until, timer.as_mut())
            .await
        {
            Held::Content(call) => call,
            Held::Gone => return Ok(()),
            Held::Failed(call, failure) => return Err((call, *failure)),
        };
    drop(holding);
    let content_type = exchange.stream_content_type();
    let mut head = head(exchange, &mut answer, content_type);
    if !exchange.json_array && answer.speed == Speed::Translate {
        head = head.with("cache-control", "no-cache").with("x-accel-buffering", "no");
    }
    let first = joined(&mut ready);
    let sent = first.len() as u64;
    let Ok(call) = call.commit(head, first).await else { return Ok(()) };
    exchange.shed();
    let keep_alive = answer.settings.keep_alive;
    let flow = Flow { call, source, pipe, ready, keep_alive, last_write: Instant::now(), sent };
    flow.run(exchange, &mut answer.response.body, timer).await;
    Ok(())
}

/// What came of holding the prologue back.
enum Held<'a> {
    /// There is something to send; or the hold is over.
    Content(Call<'a, Fresh>),
    /// The client left.
    Gone,
    /// Nothing was sent, and another candidate may be tried.
    Failed(Call<'a, Fresh>, Box<Failure>),
}

async fn hold<'a>(
    mut call: Call<'a, Fresh>,
    source: &mut Source,
    body: &mut Body,
    pipe: &mut Pipe,
    ready: &mut Vec<Bytes>,
    hold_until: Instant,
    mut timer: Pin<&mut Sleep>,
) -> Held<'a> {
    let mut held = 0;
    loop {
        if Instant::now() >= hold_until || held >= HELD_BYTES {
            return Held::Content(call);
        }
        let deadline = source.deadline().map_or(hold_until, |stall| stall.min(hold_until));
        timer.as_mut().reset(deadline.into());
        let read = tokio::select! {
            biased;
            read = source.read(body) => read,
            () = call.gone() => return Held::Gone,
            () = timer.as_mut() => match source.stalled() {
                Some(error) => return Held::Failed(call, Box::new(Failure::judged(error))),
                None => continue,
            },
        };
        match read {
            Ok(Some(chunk)) => {
                held += chunk.len();
                pipe.push(chunk, ready);
            }
            Ok(None) => pipe.end(ready),
            Err(error) => return Held::Failed(call, Box::new(Failure::judged(error))),
        }
        let observed = pipe.observed();
        match &observed.error {
            Some(error) if !observed.content => {
                let failure = Failure::judged(error.clone());
                return Held::Failed(call, Box::new(failure));
            }
            None if !observed.content && !observed.ended => {}
            _ => return Held::Content(call),
        }
    }
}

/// The upstream's side.
struct Source {
    inflate: Inflate,
    stall: Option<Duration>,
    last_read: Instant,
}

impl Source {
    /// The next readable bytes. Cancel safe: nothing is taken before it is returned.
    async fn read(&mut self, body: &mut Body) -> Result<Option<Bytes>, ApiError> {
        let chunk = body.chunk().await.map_err(|error| Failure::wire(&error).error)?;
        self.last_read = Instant::now();
        match chunk {
            Some(chunk) => self.unpacked(chunk).map(Some),
            None => match self.inflate.finish() {
                Ok(rest) if rest.is_empty() => Ok(None),
                Ok(rest) => Ok(Some(rest)),
                Err(error) => Err(unreadable(&error)),
            },
        }
    }

    fn unpacked(&mut self, chunk: Bytes) -> Result<Bytes, ApiError> {
        self.inflate.push(chunk).map_err(|error| unreadable(&error))
    }

    /// When silence becomes a stall.
    fn deadline(&self) -> Option<Instant> {
        self.stall.map(|stall| self.last_read + stall)
    }

    /// The error of a stall, if it is one by now.
    fn stalled(&self) -> Option<ApiError> {
        self.stall.filter(|stall| self.last_read.elapsed() >= *stall).map(stalled)
    }
}

fn joined(ready: &mut Vec<Bytes>) -> Bytes {
    if ready.len() == 1 {
        return ready.swap_remove(0);
    }
    let mut all = BytesMut::with_capacity(ready.iter().map(Bytes::len).sum());
    ready.drain(..).for_each(|slice| all.extend_from_slice(&slice));
    all.freeze()
}

/// A committed stream.
struct Flow<'a> {
    call: Call<'a, Committed>,
    source: Source,
    pipe: Pipe,
    ready: Vec<Bytes>,
    keep_alive: Duration,
    last_write: Instant,
    /// Bytes that were written.
    sent: u64,
}

impl Flow<'_> {
    async fn run(mut self, exchange: &mut Exchange, body: &mut Body, mut timer: Pin<&mut Sleep>) {
        // What made us commit may have been all there is.
        let mut over = self.pipe.observed().is_over();
        while !over {
            let armed = self.next_deadline();
            // An earlier deadline fires early and is re-armed then: a busy stream does not touch the timer at all.
            if timer.deadline() > armed.into() || timer.is_elapsed() {
                timer.as_mut().reset(armed.into());
            }
            let before = self.source.last_read;
            let read = tokio::select! {
                biased;
                read = self.source.read(body) => read,
                () = self.call.gone() => return self.left(exchange),
                () = timer.as_mut() => match self.due().await {
                    Due::Nothing => continue,
                    Due::Gone => return self.left(exchange),
                    Due::Stalled(error) => {
                        self.pipe.fail(error, &mut self.ready);
                        break;
                    }
                },
            };
            exchange.ledger.gaps.add(self.source.last_read.saturating_duration_since(before));
            over = self.take(read, body);
            if over {
                break;
            }
            if !self.flush().await {
                return self.left(exchange);
            }
        }
        // Before the client knows that its turn has come: it may ask again at once.
        exchange.memory.keep(self.pipe.kept());
        settle(exchange, self.pipe.observed());
        self.pipe.finish(&mut self.ready);
        let last = joined(&mut self.ready);
        exchange.ledger.sent(self.sent + last.len() as u64);
        if self.call.finish_with(last, None).await.is_ok() && self.pipe.observed().ended {
            // The terminal event is here; the end of the body mostly is too.
            let linger = async { while let Ok(Some(_)) = body.chunk().await {} };
            drop(tokio::time::timeout(LINGER, linger).await);
        }
    }

    /// Takes one read, and what else is already here. Returns whether the stream is over.
    fn take(&mut self, read: Result<Option<Bytes>, ApiError>, body: &mut Body) -> bool {
        let mut bytes = 0;
        let mut next = read;
        loop {
            match next {
                Ok(Some(chunk)) => {
                    bytes += chunk.len();
                    self.pipe.push(chunk, &mut self.ready);
                }
                Ok(None) => {
                    self.pipe.end(&mut self.ready);
                    return true;
                }
                Err(error) => {
                    self.pipe.fail(error, &mut self.ready);
                    return true;
                }
            }
            if self.pipe.observed().is_over() && !self.pipe.is_forward() {
                return true;
            }
            if bytes >= WRITE_BYTES {
                return false;
            }
            next = match body.ready() {
                Some(Ok(chunk)) => self.source.unpacked(chunk).map(Some),
                Some(Err(error)) => Err(Failure::wire(&error).error),
                None => return self.pipe.observed().is_over(),
            };
        }
    }

    async fn flush(&mut self) -> bool {
        if self.ready.is_empty() {
            return true;
        }
        let sent = match self.ready.as_slice() {
            [one] => self.call.send(one.clone()).await,
            many => self.call.send_slices(many).await,
        };
        self.sent += self.ready.drain(..).map(|slice| slice.len() as u64).sum::<u64>();
        self.last_write = Instant::now();
        sent.is_ok()
    }

    fn next_deadline(&self) -> Instant {
        let keep_alive = (!self.keep_alive.is_zero()).then(|| self.last_write + self.keep_alive);
        let soonest = [self.source.deadline(), keep_alive].into_iter().flatten().min();
        soonest.unwrap_or_else(|| Instant::now() + FAR)
    }

    /// The timer fired: a stall, a comment to send, or too early.
    async fn due(&mut self) -> Due {
        if let Some(error) = self.source.stalled() {
            return Due::Stalled(error);
        }
        let silent = !self.keep_alive.is_zero() && self.last_write.elapsed() >= self.keep_alive;
        if silent {
            let comment = self.pipe.keep_alive();
            self.last_write = Instant::now();
            if !comment.is_empty() && self.call.send(Bytes::from_static(comment)).await.is_err() {
                return Due::Gone;
            }
        }
        Due::Nothing
    }

    /// The client left: what was seen is booked; dropping the rest closes both sides.
    fn left(self, exchange: &mut Exchange) {
        exchange.ledger.sent(self.sent);
        exchange.ledger.cut_off(self.pipe.observed());
    }
}

/// What a fired timer means.
enum Due {
    /// Nothing, or a comment was sent.
    Nothing,
    /// The client left.
    Gone,
    /// The upstream fell silent.
    Stalled(ApiError),
}
