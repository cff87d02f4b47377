//! Playbooks: scripted clients over in-memory pipes and paused clocks, against the real connection code.
#![allow(clippy::unwrap_used)]

mod h1;
mod h2;
mod serve;

use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::net::accepted::Accepted;
use crate::server::{Shared, connection};
use crate::{Call, Error, Handler, Headers, Limits, Method, ResponseHead, StatusCode, Timeouts};

/// Reads and writes that reached the pipe and did something.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    reads: AtomicUsize,
    writes: AtomicUsize,
}

/// The server's end of an in-memory connection: takes vectored writes whole, like a socket, and counts calls.
#[derive(Debug)]
pub(crate) struct Pipe {
    io: DuplexStream,
    counts: Arc<Counts>,
}

impl AsyncRead for Pipe {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        self.counts.reads.fetch_add(1, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let n = ready!(Pin::new(&mut self.io).poll_write(cx, buf))?;
        self.counts.writes.fetch_add(1, Ordering::Relaxed);
        Poll::Ready(Ok(n))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let all: Vec<u8> = bufs.iter().flat_map(|buf| buf.iter().copied()).collect();
        self.poll_write(cx, &all)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// A handler whose behaviour is chosen by the path.
#[derive(Default)]
struct Script {
    /// What happened, in order.
    log: Mutex<Vec<String>>,
    /// Rung by tests to let a handler go on.
    bell: Notify,
    /// Rung by handlers when they have reached their interesting place.
    reached: Notify,
}

impl Script {
    fn note(&self, what: impl Into<String>) {
        self.log.lock().unwrap().push(what.into());
        self.reached.notify_one();
    }

    fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    fn fail(&self, error: &Error) {
        self.note(format!("{:?}", error.kind));
    }

    async fn stream(&self, call: Call<'_>, head: ResponseHead) -> Result<(), Error> {
        let mut call = call.commit(head, Bytes::from("one")).await?;
        self.note("committed");
        call.send(Bytes::from("two")).await?;
        call.send(Bytes::new()).await?;
        call.send_slices(&[Bytes::from("th"), Bytes::from("ree")]).await?;
        call.finish(None).await
    }
}

fn ok() -> ResponseHead {
    ResponseHead::new(StatusCode::OK)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl Handler for Script {
    fn refusal(&self, method: &Method, path: &str, status: StatusCode, told: &str) -> Option<(&'static str, Bytes)> {
        let words = format!("own words for {method} {path}: {status} {told}");
        (path == "/words").then(|| ("words", words.into()))
    }

    async fn handle<'a>(&'a self, mut call: Call<'a>) {
        let path = text(call.head().path());
        let result = match path.as_str() {
            "/echo" => match call.body(1 << 20).await {
                Ok(body) => call.respond(ok(), body).await,
                Err(error) => {
                    self.fail(&error);
                    return;
                }
            },
            "/chunks" => loop {
                match call.chunk().await {
                    Ok(Some(data)) => self.note(text(&data)),
                    Ok(None) => break call.respond(ok(), Bytes::new()).await,
                    Err(error) => {
                        self.fail(&error);
                        assert!(call.chunk().await.is_err(), "a fault never turns into an end");
                        return;
                    }
                }
            },
            "/tiny" => match call.body(4).await {
                Ok(body) => call.respond(ok(), body).await,
                Err(error) => {
                    self.fail(&error);
                    return;
                }
            },
            "/ignore" => call.respond(ok(), Bytes::from("ignored")).await,
            "/no-content" => call.respond(ResponseHead::new(StatusCode::NO_CONTENT), Bytes::from("lost")).await,
            "/stream" => self.stream(call, ok().with("x-a", "1")).await,
            "/stream-length" => self.stream(call, ok().with("Content-Length", "11")).await,
            "/stream-short" => self.stream(call, ok().with("content-length", "12")).await,
            "/stream-long" => self.stream(call, ok().with("content-length", "10")).await,
            "/trailers" => {
                let call = call.commit(ok(), Bytes::new()).await.unwrap();
                let mut fields = Headers::new();
                fields.append("x-sum", "7");
                call.finish_with(Bytes::from("last"), Some(fields)).await
            }
            "/drop" => return,
            "/drop-committed" => {
                let call = call.commit(ok(), Bytes::from("half")).await.unwrap();
                drop(call);
                self.note("dropped");
                return;
            }
            "/ends" => {
                let ends = format!("{} {}", call.peer(), call.local().unwrap());
                call.respond(ok(), Bytes::from(ends)).await
            }
            "/panic" => panic!("on purpose"),
            "/panic-committed" => {
                let _call = call.commit(ok(), Bytes::from("half")).await.unwrap();
                panic!("on purpose");
            }
            "/gone" => {
                self.note("waiting");
                call.gone().await;
                self.note("gone");
                return;
            }
            "/gone-committed" => {
                let mut call = call.commit(ok(), Bytes::from("x")).await.unwrap();
                self.note("waiting");
                call.gone().await;
                self.note("gone");
                return;
            }
            "/bell" => {
                self.note("waiting");
                tokio::select! {
                    () = call.gone() => {
                        self.note("gone");
                        return;
                    }
                    () = self.bell.notified() => {}
                }
                call.respond(ok(), Bytes::from("rung")).await
            }
            "/bell-stream" => {
                let call = call.commit(ok(), Bytes::from("x")).await.unwrap();
                self.note("waiting");
                self.bell.notified().await;
                call.finish(None).await
            }
            "/flood" => {
                let mut call = call.commit(ok(), Bytes::new()).await.unwrap();
                self.note("committed");
                loop {
                    if let Err(error) = call.send(Bytes::from(vec![b'x'; 10_000])).await {
                        break Err(error);
                    }
                }
            }
            "/cancelled-send" => {
                let mut call = call.commit(ok(), Bytes::new()).await.unwrap();
                {
                    let mut send = pin!(call.send(Bytes::from(vec![b'x'; 100_000])));
                    let first = std::future::poll_fn(|cx| Poll::Ready(send.as_mut().poll(cx))).await;
                    assert!(first.is_pending(), "the pipe is smaller than this");
                }
                assert!(call.send(Bytes::from("y")).await.is_err());
                call.finish(None).await
            }
            _ => call.respond(ResponseHead::new(StatusCode::NOT_FOUND), Bytes::from("?")).await,
        };
        match result {
            Ok(()) => self.note("done"),
            Err(error) => self.fail(&error),
        }
    }
}

/// A client, a connection task and its handler.
struct Play {
    io: DuplexStream,
    script: Arc<Script>,
    shared: Arc<Shared>,
    counts: Arc<Counts>,
    task: JoinHandle<()>,
}

const PIPE: usize = 16 * 1024;

impl Play {
    fn new() -> Self {
        Self::with(Limits::default(), Timeouts::default())
    }

    fn with(limits: Limits, timeouts: Timeouts) -> Self {
        let (io, far) = tokio::io::duplex(PIPE);
        let counts = Arc::new(Counts::default());
        let script = Arc::new(Script::default());
        let shared = Arc::new(Shared::new(limits, timeouts));
        let pipe = Accepted::Pipe(Pipe { io: far, counts: Arc::clone(&counts) });
        let peer = "127.0.0.1:9".parse().unwrap();
        let task = tokio::spawn(connection(pipe, peer, Arc::clone(&shared), Arc::clone(&script)));
        Self { io, script, shared, counts, task }
    }

    async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.io.write_all(bytes.as_ref()).await.unwrap();
    }

    /// Reads exactly this.
    async fn expect(&mut self, wanted: &str) {
        let mut got = vec![0; wanted.len()];
        let mut filled = 0;
        while filled < got.len() {
            match self.io.read(&mut got[filled..]).await.unwrap() {
                0 => panic!("ended behind {:?}", text(&got[..filled])),
                n => filled += n,
            }
            assert_eq!(text(&got[..filled]), wanted[..filled]);
        }
    }

    /// Everything up to the server's end of stream.
    async fn rest(&mut self) -> String {
        let mut rest = Vec::new();
        self.io.read_to_end(&mut rest).await.unwrap();
        text(&rest)
    }

    fn shut(self) -> (Arc<Script>, JoinHandle<()>) {
        (self.script, self.task)
    }
}
