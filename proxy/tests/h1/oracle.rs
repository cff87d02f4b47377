//! HTTP/1 read by us and by hyper, which is an independent implementation: no message may be framed differently by the
//! two unless one of them refuses it.
//!
//! hyper runs over a script instead of a socket, without a runtime: all bytes are there, then comes the end. Compiled
//! into these tests, which replay the corpus, and into `fuzz/fuzz_targets/h1.rs`, which makes it. A failure is a panic.

use std::{
    cell::{Cell, RefCell},
    convert::Infallible,
    future::{Future, poll_fn},
    io,
    pin::{Pin, pin},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use hyper::{
    Request, Response,
    body::{Body, Incoming},
    rt::{Read, ReadBufCursor, Write},
    service::service_fn,
};
use proxy::{
    Limits, Method,
    probe::{self, Transcript},
};

/// The methods whose responses are read; the first byte of an input chooses one, or a stream of requests.
const METHODS: [Method; 4] = [Method::GET, Method::HEAD, Method::POST, Method::CONNECT];
/// Input: a choice (requests, or the method that a response answers), the size of our reads, then what arrives.
pub(crate) fn check(input: &[u8]) {
    let Some((method, bytes)) = choice(input) else { return };
    let pieces: Vec<&[u8]> = bytes.chunks(usize::from(input[1]).max(1)).collect();
    let limits = Limits::default();
    match method {
        None => {
            let ours = probe::requests(&[bytes], &limits);
            assert_eq!(ours, probe::requests(&pieces, &limits), "the verdict depends on the reads");
            let (theirs, fault) = served(bytes);
            compare(&ours, &theirs, fault);
            ours.messages.iter().for_each(passed_on);
        }
        Some(method) => {
            let ours = probe::answer(&method, &[bytes], &limits);
            assert_eq!(ours, probe::answer(&method, &pieces, &limits), "the verdict depends on the reads");
            let (theirs, fault) = answered(&method, bytes);
            compare(&ours, &theirs, fault);
        }
    }
}

/// What an input is: requests, or the answer to one of that method; and what arrives.
pub(crate) fn choice(input: &[u8]) -> Option<(Option<Method>, &[u8])> {
    let ([choice, _], bytes) = input.split_first_chunk::<2>()?;
    let choice = usize::from(*choice) % (METHODS.len() + 1);
    Some((choice.checked_sub(1).map(|at| METHODS[at].clone()), bytes))
}

/// A request that we took, as our client writes it for an upstream: one request and nothing else, with the same method,
/// target and body, one host and one length.
fn passed_on(message: &probe::Message) {
    let (heard, _) = served(&probe::forward(message));
    // hyper is stricter with targets and hosts than RFC 9112.
    assert!(heard.len() <= 1, "an upstream would read {heard:?}");
    for one in heard {
        assert_eq!((&one.method, &one.body), (&message.method.to_string(), &message.body));
        assert_eq!(one.start.as_bytes(), message.start);
        let count = |name: &str| one.fields.iter().filter(|(field, _)| field == name).count();
        assert_eq!((count("host"), count("transfer-encoding"), count("connection")), (1, 0, 0), "{one:?}");
        assert_eq!(count("content-length"), usize::from(count("content-length") > 0 || !one.body.is_empty()));
    }
}

/// Requests that we read and others that hyper reads: fails unless both say the same.
#[cfg(test)]
pub(crate) fn check_pair(ours: &[u8], theirs: &[u8]) {
    let (theirs, fault) = served(theirs);
    compare(&probe::requests(&[ours], &Limits::default()), &theirs, fault);
}

/// One message as hyper understood it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Heard {
    pub(crate) method: String,
    /// Target of a request in origin form, status of a response.
    pub(crate) start: String,
    /// Lower-case names, sorted; equal ones in the order of their arrival.
    pub(crate) fields: Vec<(String, Vec<u8>)>,
    pub(crate) body: Vec<u8>,
}

/// The rule. `fault`: hyper refused, or found the end in the middle of a message.
fn compare(ours: &Transcript, theirs: &[Heard], fault: Option<String>) {
    let mine: Vec<Heard> = ours.messages.iter().map(heard).collect();
    let both = mine.len().min(theirs.len());
    assert_eq!(mine[..both], theirs[..both], "framed differently");
    if theirs.len() > both {
        assert!(ours.fault.is_some(), "only they found {:?}; we said {ours:?}", theirs[both]);
    }
    if mine.len() > both {
        assert!(fault.is_some(), "only we found {:?}", mine[both]);
    }
}

fn heard(message: &probe::Message) -> Heard {
    Heard {
        method: message.method.to_string(),
        start: String::from_utf8_lossy(&message.start).into_owned(),
        fields: sorted(message.headers.iter().map(|(name, value)| (&name[..], &value[..]))),
        body: message.body.clone(),
    }
}

fn sorted<'f>(fields: impl Iterator<Item = (&'f [u8], &'f [u8])>) -> Vec<(String, Vec<u8>)> {
    let mut fields: Vec<_> =
        fields.map(|(name, value)| (String::from_utf8_lossy(name).to_ascii_lowercase(), value.to_vec())).collect();
    fields.sort_by(|(a, _), (b, _)| a.cmp(b));
    fields
}

fn hyper_fields(headers: &hyper::HeaderMap) -> Vec<(String, Vec<u8>)> {
    sorted(headers.iter().map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes())))
}

/// What a hyper server makes of the bytes: complete requests, and why it stopped if not for their end.
pub(crate) fn served(bytes: &[u8]) -> (Vec<Heard>, Option<String>) {
    let heard = RefCell::new(Vec::new());
    let service = service_fn(|request: Request<Incoming>| {
        let heard = &heard;
        async move {
            let (head, body) = request.into_parts();
            let start = match (head.uri.path_and_query(), head.method == Method::CONNECT) {
                (Some(path), false) => path.to_string(),
                _ => head.uri.to_string(),
            };
            // A body that cannot be read makes no message.
            if let Ok(body) = whole(body).await {
                let (method, fields) = (head.method.to_string(), hyper_fields(&head.headers));
                heard.borrow_mut().push(Heard { method, start, fields, body });
            }
            Ok::<_, Infallible>(Response::builder().status(404).body(String::new()).unwrap())
        }
    });
    let mut server = hyper::server::conn::http1::Builder::new();
    let outcome = run(server.half_close(true).serve_connection(Script::new(bytes, true), service));
    let fault = match outcome {
        Some(Ok(())) => None,
        Some(Err(error)) => Some(format!("{error:?}")),
        None => Some("waits for ever".to_owned()),
    };
    (heard.into_inner(), fault)
}

/// What a hyper client makes of the bytes as the answer to one request of that method.
fn answered(method: &Method, bytes: &[u8]) -> (Vec<Heard>, Option<String>) {
    let outcome = run(async {
        let script = Script::new(bytes, false);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(script).await?;
        let target = if *method == Method::CONNECT { "a:1" } else { "/" };
        let request =
            Request::builder().method(method.clone()).uri(target).header("host", "a:1").body(String::new()).unwrap();
        let mut exchange = pin!(async {
            let (head, body) = sender.send_request(request).await?.into_parts();
            let body = whole(body).await?;
            let (start, fields) = (head.status.as_str().to_owned(), hyper_fields(&head.headers));
            Ok::<_, hyper::Error>(Heard { method: method.to_string(), start, fields, body })
        });
        let mut connection = pin!(connection);
        let mut over = false;
        poll_fn(|cx| {
            if !over {
                over = connection.as_mut().poll(cx).is_ready();
            }
            exchange.as_mut().poll(cx)
        })
        .await
    });
    match outcome {
        Some(Ok(heard)) => (vec![heard], None),
        Some(Err(error)) => (Vec::new(), Some(format!("{error:?}"))),
        None => (Vec::new(), Some("waits for ever".to_owned())),
    }
}

async fn whole(mut body: Incoming) -> Result<Vec<u8>, hyper::Error> {
    let mut whole = Vec::new();
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        if let Ok(data) = frame?.into_data() {
            whole.extend_from_slice(&data);
        }
    }
    Ok(whole)
}

/// A wire that says what was written for it, then ends, and takes everything.
struct Script {
    bytes: Vec<u8>,
    at: usize,
    /// A client that hears something before it has spoken takes it for a breach.
    open: Rc<Cell<bool>>,
    waiting: Option<Waker>,
}

impl Script {
    fn new(bytes: &[u8], open: bool) -> Self {
        Self { bytes: bytes.to_vec(), at: 0, open: Rc::new(Cell::new(open)), waiting: None }
    }
}

impl Read for Script {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, mut buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        if !self.open.get() {
            self.waiting = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let n = buf.remaining().min(self.bytes.len() - self.at);
        buf.put_slice(&self.bytes[self.at..self.at + n]);
        self.at += n;
        Poll::Ready(Ok(()))
    }
}

impl Write for Script {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.open.set(true);
        if let Some(waker) = self.waiting.take() {
            waker.wake();
        }
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Polls a future as long as something wakes it; `None` when nothing ever will.
fn run<F: Future>(future: F) -> Option<F::Output> {
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(woken.clone());
    let mut future = pin!(future);
    loop {
        woken.0.store(false, Ordering::Relaxed);
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return Some(output);
        }
        if !woken.0.load(Ordering::Relaxed) {
            return None;
        }
    }
}
