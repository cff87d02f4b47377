//! One HTTP/2 exchange towards a server whose request is still coming while its answer may have begun.
//!
//! Everything is polled; deadlines are the caller's. Dropping it before its end resets the stream.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h2::{Reason, SendStream, client::ResponseFuture};
use http::HeaderMap;

use super::{
    client::{Claim, Incoming, kind_of, malformed, message, retry_of},
    head,
    meter::Purse,
    poll_room,
};
use crate::{
    Error, Headers, Kind, Limits, RequestHead, ResponseHead, Retry, StatusCode, h1::duplex::Beginning,
    pool::key::Origin,
};

/// An exchange in both directions.
#[derive(Debug)]
pub(crate) struct Duplex {
    claim: Claim,
    response: ResponseFuture,
    /// Until the request's end was handed over, or the server takes no more of it.
    upload: Option<SendStream<Bytes>>,
    purse: Purse,
    answer: Option<Incoming>,
    trailers: Option<Headers>,
    /// Why the server has reset the stream.
    reset: Option<Reason>,
    fields_max: usize,
}

impl Duplex {
    /// Begins an exchange. `whole`: there is no body.
    ///
    /// # Errors
    /// The connection takes no more streams, or the head cannot be said in HTTP/2.
    pub(crate) async fn start(
        claim: Claim,
        origin: &Origin,
        head: &RequestHead,
        whole: bool,
        limits: &Limits,
    ) -> Result<Self, Error> {
        let message = encode(origin, head)?;
        let (response, stream, purse) = claim.begin(message, whole).await?;
        Ok(Self {
            claim,
            response,
            upload: (!whole).then_some(stream),
            purse,
            answer: None,
            trailers: None,
            reset: None,
            fields_max: limits.fields,
        })
    }

    /// Sends a piece of the body as far as the windows allow; ready when all of it was handed over.
    pub(crate) fn poll_push(&mut self, cx: &mut Context<'_>, data: &mut Bytes, last: bool) -> Poll<()> {
        while !data.is_empty() {
            let Some(stream) = &mut self.upload else {
                data.clear();
                break;
            };
            let Some(room) = ready!(poll_room(stream, cx, data.len())) else {
                // Whether that is a failure shows in its answer.
                self.upload = None;
                return Poll::Ready(());
            };
            let piece = data.split_to(room);
            self.purse.sent(piece.len());
            let ends = last && data.is_empty();
            if stream.send_data(piece, ends).is_err() || ends {
                self.upload = None;
            }
        }
        Poll::Ready(())
    }

    /// Ends the body, if that did not come with its last piece.
    pub(crate) fn end_upload(&mut self, trailers: Option<&Headers>) {
        let Some(mut stream) = self.upload.take() else { return };
        // Fails only on a stream that the server has ended, which shows in its answer.
        let _ = match trailers.and_then(head::trailers) {
            Some(fields) => stream.send_trailers(fields),
            None => stream.send_data(Bytes::new(), true),
        };
    }

    /// The next beginning of an answer.
    pub(crate) fn poll_beginning(&mut self, cx: &mut Context<'_>) -> Poll<Result<Beginning, Error>> {
        if let Poll::Ready(Some(Ok(interim))) = self.response.poll_informational(cx) {
            if interim.status() == StatusCode::SWITCHING_PROTOCOLS {
                return Poll::Ready(Err(malformed(Kind::Protocol { reason: "upgrade", status: 502 })));
            }
            let head = self.received(interim.status(), interim.headers());
            return Poll::Ready(head.map(Beginning::Interim));
        }
        let answer = match ready!(Pin::new(&mut self.response).poll(cx)) {
            Ok(answer) => answer,
            Err(error) => {
                let retry = retry_of(&error, &self.claim);
                return Poll::Ready(Err(self.broken(&error, retry)));
            }
        };
        let (parts, body) = answer.into_parts();
        let head = self.received(parts.status, &parts.headers)?;
        let whole = body.is_end_stream();
        self.answer = Some(Incoming::new(body));
        Poll::Ready(Ok(Beginning::Final { head, whole }))
    }

    fn received(&self, status: StatusCode, fields: &HeaderMap) -> Result<ResponseHead, Error> {
        let headers = head::received(fields, self.fields_max, 502).map_err(malformed)?;
        Ok(ResponseHead { status, headers })
    }

    /// The next piece of the answer, and whether it is known to be the last; `None` at its end.
    pub(crate) fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<(Bytes, bool)>, Error>> {
        let Some(answer) = &mut self.answer else {
            debug_assert!(false, "the answer has not begun");
            return Poll::Ready(Ok(None));
        };
        match ready!(answer.poll_data(cx)) {
            Some(Ok(data)) => return Poll::Ready(Ok(Some((data, answer.is_over())))),
            Some(Err(error)) => return Poll::Ready(Err(self.broken(&error, Retry::Never))),
            None => {}
        }
        match ready!(answer.poll_trailers(cx)) {
            Ok(Some(fields)) => {
                self.trailers = head::received_trailers(fields, self.fields_max, 502).map_err(malformed)?;
            }
            Ok(None) => {}
            Err(error) => return Poll::Ready(Err(self.broken(&error, Retry::Never))),
        }
        Poll::Ready(Ok(None))
    }

    fn broken(&mut self, error: &h2::Error, retry: Retry) -> Error {
        self.reset = error.reason().filter(|_| error.is_reset() && error.is_remote());
        Error::upstream(kind_of(error), retry)
    }

    /// Why the server has reset the stream, if it has.
    pub(crate) fn reset(&self) -> Option<Reason> {
        self.reset
    }

    /// Fields behind an answer that was read to its end.
    pub(crate) fn take_trailers(&mut self) -> Option<Headers> {
        self.trailers.take()
    }

    /// Whether its connection had carried an exchange before.
    pub(crate) fn is_reused(&self) -> bool {
        self.claim.is_reused()
    }
}

/// Request line and fields as they came: the client's authority, its fields in their order, its length where it named one.
fn encode(origin: &Origin, head: &RequestHead) -> Result<http::Request<()>, Error> {
    let authority = if head.authority.is_empty() { origin.authority() } else { &head.authority };
    let target = if head.target.is_empty() { &Bytes::from_static(b"/") } else { &head.target };
    let mut message = message(origin, &head.method, authority, target)?;
    let fields = message.headers_mut();
    fields.reserve(head.headers.len());
    for (name, value) in head.headers.iter() {
        // What may stand in HTTP/2 came over HTTP/2.
        if head::is_of_connection(name) {
            continue;
        }
        head::append(fields, name, value);
    }
    Ok(message)
}
