//! The client's side of a call that is passed on as it is, over HTTP/2: both directions at once, frame for frame.
//!
//! An end comes with the last piece where the true server said it so, and alone where it did not: no frame is there that the
//! other leg had not.

use std::task::{Context, Poll, ready};

use ::h2::Reason;
use bytes::Bytes;

use super::head;
use super::poll_room;
use super::server::{Reply, Stream, closed};
use crate::{Error, Headers, Kind, ResponseHead};

/// A piece of an answer on its way.
#[derive(Debug)]
pub(crate) struct Outgoing {
    data: Bytes,
    end: End,
}

#[derive(Debug)]
enum End {
    /// More will come.
    Open,
    /// With the last byte, or alone.
    Data,
    /// Behind fields.
    Trailers(http::HeaderMap),
    /// Everything was sent.
    Sent,
}

impl Stream {
    /// The next piece of the request body, without a deadline.
    pub(crate) fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Error>> {
        self.release();
        loop {
            match ready!(self.body.poll_data(cx)) {
                Some(Ok(data)) if data.is_empty() => {}
                Some(Ok(data)) => {
                    self.unreleased = data.len();
                    self.taken += data.len() as u64;
                    return Poll::Ready(Ok(Some(data)));
                }
                Some(Err(_)) => return Poll::Ready(Err(self.spoil(Kind::Closed))),
                None => return Poll::Ready(Ok(None)),
            }
        }
    }

    /// Whether the request is known to be whole, with nothing behind its body.
    pub(crate) fn is_over(&self) -> bool {
        self.body.is_end_stream()
    }

    /// Fields behind the request's body, once that has ended.
    pub(crate) fn poll_request_trailers(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Headers>, Error>> {
        self.release();
        let fields = ready!(self.body.poll_trailers(cx)).map_err(|_| self.spoil(Kind::Closed))?;
        let most = self.shared.limits.fields;
        let trailers = fields.map_or(Ok(None), |fields| head::received_trailers(fields, most, 431));
        Poll::Ready(trailers.map_err(|kind| self.spoil(kind)))
    }

    /// Sends an interim answer.
    pub(crate) fn interim(&mut self, head: &ResponseHead) -> Result<(), Error> {
        let Reply::Fresh(reply) = &mut self.reply else { return Err(closed()) };
        reply.send_informational(head::response(head, None)).map_err(|_| closed())
    }

    /// Sends the head of an answer with its fields where they stand; `whole`: it is all of the answer.
    pub(crate) fn commit_in_place(&mut self, head: &ResponseHead, whole: bool) -> Result<(), Error> {
        let Reply::Fresh(mut reply) = std::mem::replace(&mut self.reply, Reply::Done) else { return Err(closed()) };
        let mut answer = http::Response::new(());
        *answer.status_mut() = head.status;
        let map = answer.headers_mut();
        map.reserve(head.headers.len());
        let named = head.headers.names_fields();
        for (name, value) in head.headers.iter() {
            if head::is_of_connection(name) || (named && head.headers.is_named(name)) {
                continue;
            }
            head::append(map, name, value);
        }
        let stream = reply.send_response(answer, whole).map_err(|_| closed())?;
        if !whole {
            self.reply = Reply::Streaming { stream, left: None };
        }
        Ok(())
    }

    /// Resets the stream in the true server's words.
    pub(crate) fn reset(&mut self, reason: Reason) {
        match std::mem::replace(&mut self.reply, Reply::Done) {
            Reply::Fresh(mut reply) => reply.send_reset(reason),
            Reply::Streaming { mut stream, .. } | Reply::Bodiless(mut stream) => stream.send_reset(reason),
            Reply::Done => {}
        }
    }

    /// Prepares a piece; the last one may be empty.
    pub(crate) fn outgoing(&mut self, data: Bytes, last: bool, trailers: Option<&Headers>) -> Result<Outgoing, Error> {
        let end = match (last, trailers.and_then(head::trailers)) {
            (false, _) => End::Open,
            (true, None) => End::Data,
            (true, Some(fields)) => End::Trailers(fields),
        };
        Ok(Outgoing { data, end })
    }

    /// Queues a piece as the client's window and our buffer allow.
    pub(crate) fn poll_outgoing(&mut self, cx: &mut Context<'_>, piece: &mut Outgoing) -> Poll<Result<(), Error>> {
        let Reply::Streaming { stream, .. } = &mut self.reply else {
            // An answer that was whole with its head has only an end left to send.
            let over = piece.data.is_empty() && !matches!(piece.end, End::Open);
            return Poll::Ready(if over { Ok(()) } else { Err(closed()) });
        };
        while !piece.data.is_empty() {
            let room = ready!(poll_room(stream, cx, piece.data.len())).ok_or_else(closed)?;
            let part = piece.data.split_to(room);
            self.purse.sent(part.len());
            let last = piece.data.is_empty() && matches!(piece.end, End::Data);
            stream.send_data(part, last).map_err(|_| closed())?;
            if last {
                piece.end = End::Sent;
            }
        }
        let sent = match std::mem::replace(&mut piece.end, End::Sent) {
            End::Open => return Poll::Ready(Ok(())),
            End::Data => stream.send_data(Bytes::new(), true),
            End::Trailers(fields) => stream.send_trailers(fields),
            End::Sent => Ok(()),
        };
        self.reply = Reply::Done;
        Poll::Ready(sent.map_err(|_| closed()))
    }
}
