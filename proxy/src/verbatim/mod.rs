//! Calls passed on as they came: for everything that is not ours to answer.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    Call, Client, ClientConfig, Error, Fresh, Offer, Origin, Outbound, OwnAddresses, Protocol, RequestHead, Version,
    net::stream::Stream,
};

/// Passes calls on to true servers. One per program is meant; it has its own pools.
#[derive(Debug)]
pub struct Relay {
    /// For clients of HTTP/2: whatever the server prefers.
    any: Client,
    /// For clients of HTTP/1.1: the same to the server, which may answer otherwise in another protocol.
    http1: Client,
    own: OwnAddresses,
}

impl Relay {
    /// A relay whose clients behave as `config` says; what they offer is the relay's own matter.
    ///
    /// # Errors
    /// As [`Client::new`].
    pub fn new(config: ClientConfig) -> Result<Arc<Self>, Error> {
        let own = config.own.clone();
        let any = Client::new(ClientConfig { offer: Offer::Both, ..config.clone() })?;
        let http1 = Client::new(ClientConfig { offer: Offer::Http1, ..config })?;
        Ok(Arc::new(Self { any, http1, own }))
    }

    /// What `origin` speaks to a client that offers everything; see [`Client::protocol`].
    ///
    /// # Errors
    /// It cannot be reached.
    pub async fn protocol(&self, origin: &Origin) -> Result<Protocol, Error> {
        self.any.protocol(origin).await
    }

    /// The addresses that it never dials.
    pub fn own(&self) -> &OwnAddresses {
        &self.own
    }

    /// A bare stream to an origin.
    pub(crate) async fn reach(&self, origin: &Origin) -> Result<Stream, Error> {
        self.http1.reach(origin).await
    }
}

/// A call on its way to the server that its client meant.
#[derive(Debug)]
pub struct Passage {
    /// The true server.
    pub origin: Origin,
    /// The head of the request, as [`Call::take_head`] gave it out.
    pub head: RequestHead,
    /// What was read of the body already, in order. The rest is taken from the call.
    pub read: Vec<Bytes>,
}

impl Passage {
    /// Of a call whose body nobody has touched.
    pub fn new(origin: Origin, head: RequestHead) -> Self {
        Self { origin, head, read: Vec::new() }
    }
}

impl Relay {
    /// Passes a call on and its answer back.
    ///
    /// # Errors
    /// The answer did not come or broke off; the client was told as far as that is possible.
    pub async fn pass(&self, mut call: Call<'_, Fresh>, passage: Passage) -> Result<(), Error> {
        let Passage { origin, head, mut read } = passage;
        let client = if head.version == Version::Http2 { &self.any } else { &self.http1 };
        let rest = call.body(usize::MAX).await?;
        read.extend(Some(rest).filter(|rest| !rest.is_empty()));
        let mut request = Outbound::new(origin, head.method, head.target);
        request.headers = head.headers;
        request.trailers = call.trailers().await?;
        request.body = read;
        let mut answer = client.send(request).await?;
        let mut call = call.commit(answer.head, Bytes::new()).await?;
        while let Some(piece) = answer.body.chunk().await? {
            call.send(piece).await?;
        }
        call.finish(answer.body.trailers()).await
    }
}
