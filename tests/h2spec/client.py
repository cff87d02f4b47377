"""Our client, driven through the same sections by an upstream that misbehaves: the gateway asks it over TLS, and the
gateway's own client hears an error, or the whole answer, and never half of one. After each case the upstream behaves, and
must be asked and heard again."""

import http.client
import json
import os
import select
import socket
import ssl
import struct
import sys
import threading
from functools import partial

import cases
from cases import Suite
from router import Router
from upstream import chat, document
from wire import *

suite = Suite("client")
PROTOCOL, FLOW, SIZE, COMPRESSION = (f"GOAWAY {name}_ERROR" for name in ("PROTOCOL", "FLOW_CONTROL", "FRAME_SIZE", "COMPRESSION"))
OK = [(":status", "200"), ("content-type", "application/json")]
EVENTS = [(":status", "200"), ("content-type", "text/event-stream")]
DOCUMENT = document(5)


def chunk(text, finish="null"):
    delta = json.dumps({"content": text})
    return f'data: {{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{{"index":0,"delta":{delta},"finish_reason":{finish}}}]}}\n\n'.encode()


STREAM = [chunk("Hello"), chunk(" there", '"stop"'), b"data: [DONE]\n\n"]


class Ask(threading.Thread):
    """A client of the gateway: one request, in HTTP/1.1."""

    def __init__(self, router, body):
        super().__init__(daemon=True)
        self.router, self.body, self.status, self.answer = router, body, None, b""
        self.start()

    def run(self):
        try:
            connection = http.client.HTTPConnection(*self.router.address, timeout=PATIENCE)
            connection.request("POST", "/v1/chat/completions", self.body, {"content-type": "application/json"})
            response = connection.getresponse()
            self.status, self.answer = response.status, response.read()
            connection.close()
        except (OSError, http.client.HTTPException) as fault:
            self.answer = repr(fault).encode()

    def view(self):
        """What the client was told: whole, error, or what is neither."""
        self.join(PATIENCE)
        assert not self.is_alive(), "the gateway has not answered its client"
        text = self.answer.decode("utf-8", "replace")
        if self.status == 200 and text.startswith("data:"):
            if '"error"' in text:
                return "error"
            return "whole" if text.rstrip().endswith("data: [DONE]") and "Hello" in text and "there" in text else f"a cut stream: {text[-200:]}"
        if self.status == 200:
            return "whole" if json.loads(text)["choices"][0]["message"]["content"].strip("x") == "" else f"another answer: {text[:200]}"
        if self.status is not None and self.status >= 500 and "error" in json.loads(text):
            return "error"
        return f"{self.status} {text[:200]}"


class Peer:
    """The upstream of one case: an address, and so a pool, of its own."""

    def __init__(self, name, context, patience):
        self.name, self.context, self.router, self.patience = name, context, None, patience
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.wire = self.asks = None

    def provider(self):
        return (
            f'[providers.{self.name}]\ndialect = "openai_chat"\nbase_url = "https://localhost:{self.port}/v1"\n'
            f'api_key = "k"\nmodels = ["{self.name}"]\nfirst_byte_timeout = "{self.patience}"\n\n'
        )

    def ask(self, letters=1, **more):
        self.asks = Ask(self.router, chat(self.name, letters, **more))
        return self.asks

    def accept(self, *pairs, greet=True):
        """The gateway's connection, greeted."""
        self.listener.settimeout(PATIENCE)
        sock, _ = self.listener.accept()
        sock.settimeout(PATIENCE)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock = self.context.wrap_socket(sock, server_side=True)
        assert sock.selected_alpn_protocol() == "h2", sock.selected_alpn_protocol()
        wire = Wire(sock)
        wire.fill(len(PREFACE))
        assert wire.buffer.startswith(PREFACE), wire.buffer
        wire.buffer = wire.buffer[len(PREFACE) :]
        if greet:
            wire.send(settings(*pairs))
        self.wire = wire
        return wire

    def request(self, wire):
        """Reads one whole request and looks at its fields. -> its stream"""
        opened = wire.until(lambda f: f.kind == HEADERS)
        stream = opened.stream_id
        if "END_STREAM" not in opened.flags:
            wire.until(lambda f: f.stream_id == stream and f.kind == DATA and "END_STREAM" in f.flags)
        fields = wire.fields[stream][0]
        names = [name for name, _ in fields]
        assert sorted(names[:4]) == [":authority", ":method", ":path", ":scheme"] and not any(n.startswith(":") for n in names[4:]), fields
        assert all(name == name.lower() for name in names), fields
        assert not {"connection", "host", "transfer-encoding", "keep-alive", "upgrade", "proxy-connection"} & set(names), fields
        assert dict(fields)[":authority"] == f"localhost:{self.port}", fields
        return stream

    def asked(self, *pairs, **more):
        """The gateway is asked, and asks us. -> connection, stream"""
        self.ask(**more)
        wire = self.accept(*pairs)
        return wire, self.request(wire)

    def end(self, wire, stream=None):
        """What became of the connection and what the client was told."""
        return f"{wire.outcome(stream)}; {self.asks.view()}"

    def again(self):
        """From now on all is well: on the old connection, or on a new one."""
        self.ask()
        wire, stream = self.wire, None
        while True:
            if wire is None or wire.gone:
                wire, stream = self.accept(), None
            elif not wire.buffer and not wire.sock.pending():
                ready, _, _ = select.select([self.listener, wire.sock], [], [], PATIENCE)
                assert ready, "the gateway does not ask again"
                if self.listener in ready:
                    wire, stream = self.accept(), None
            try:
                got = wire.next()
            except Closed:
                continue
            if got.kind == HEADERS:
                stream = got.stream_id
                wire.send(window(0, 100_000), window(stream, 100_000))
            if stream == got.stream_id and got.kind in (HEADERS, DATA) and "END_STREAM" in got.flags:
                break
        wire.send(headers(stream, OK, end=False), data(stream, DOCUMENT, end=True))
        return self.asks.view()


PATIENCES = {}  # how long the gateway waits for the head of an answer


def case(section, *expected, again="whole", patience="20s"):
    def add(function):
        def run(world):
            peer = world.peers[name]
            outcome = function(peer)
            told = peer.again() if again else again
            assert told == again, f"after {outcome} a good answer was: {told}"
            return outcome

        run.__doc__ = function.__doc__
        suite.case(section, *expected)(run)
        name = "c%d" % len(suite.cases)
        PATIENCES[name] = patience
        return run

    return add


def says(*frames, before=None, pairs=(), stream=1):
    """A case whose upstream says these once it has been asked."""

    def run(peer):
        wire, number = peer.asked(*pairs)
        assert number == 1
        if before:
            wire.send(*before)
        wire.send(*frames)
        return peer.end(wire, stream)

    return run


table = partial(cases.table, case)
HEAD = headers(1, OK, end=False)
WHOLE = HEAD + data(1, DOCUMENT, end=True)
MALFORMED = "RST PROTOCOL_ERROR; error"


def but(outcome):
    return f"{outcome}; error"



def streams(*frames, status=EVENTS, end=True):
    """A case whose upstream answers with a stream of events."""

    def run(peer):
        wire, number = peer.asked(stream=True)
        wire.send(headers(1, status, end=False), *frames)
        if end:
            wire.send(*(data(1, event) for event in STREAM), data(1, b"", end=True))
        return peer.end(wire, 1)

    return run


# --- what is right ---------------------------------------------------------------------------------------------------

FINE = "NOTHING; whole"
table(
    "generic/2",
    ("a document", FINE, says(WHOLE)),
    ("padded HEADERS with a priority, padded DATA", FINE, says(
        frame(HEADERS, END_HEADERS | PADDED | PRIORITIZED, 1, b"\x03" + struct.pack(">LB", 0, 7) + block(OK) + bytes(3)),
        frame(DATA, PADDED | END_STREAM, 1, b"\xff" + DOCUMENT + bytes(255)))),
    ("a DATA frame per byte", FINE, says(HEAD, *(data(1, bytes([b])) for b in DOCUMENT), data(1, b"", end=True))),
    ("CONTINUATION frames", FINE, says(
        headers(1, block(OK)[:5], end=False, end_headers=False), continuation(1, block(OK)[5:9], False), continuation(1, block(OK)[9:]),
        data(1, DOCUMENT, end=True))),
    ("trailers", FINE, says(HEAD, data(1, DOCUMENT), headers(1, [("x-sum", "1")]))),
    ("PRIORITY around an answer", FINE, says(priority(1), WHOLE, priority(1, on=3))),
    ("interim answers", FINE, says(*(headers(1, [(":status", str(s))], end=False) for s in (100, 102, 103)), WHOLE)),
    ("unknown frames, flags and settings, PING and the reserved bit", FINE, says(
        frame(0xAB, 0xFF, 0, b"x" * 9), frame(0xAC, 0, 1, b""), frame(PING, 0x16, 0, b"undefine", reserved=True), settings((0xFF, 1)), WHOLE)),
    ("WINDOW_UPDATE before the answer", FINE, says(window(0, 9), window(1, 9), WHOLE)),
    ("a stream of events", FINE, streams()),
    ("a DATA frame per byte of a stream of events", FINE, streams(*(data(1, bytes([b])) for b in b"".join(STREAM)), data(1, b"", end=True), end=False)),
    ("a stream of events with trailers", FINE, streams(*(data(1, event) for event in STREAM), headers(1, [("grpc-status", "0")]), end=False)),
)


@case("generic/4", "whole")
def _(peer):
    """a large request through a window that opens by little"""
    peer.ask(padding="x" * 200_000)
    wire = peer.accept((INITIAL_WINDOW_SIZE, 1000))
    stream = wire.until(lambda f: f.kind == HEADERS).stream_id
    while not any("END_STREAM" in f.flags for f in wire.saw(DATA)):
        got = wire.until(lambda f: f.kind == DATA)
        wire.send(*(window(n, len(got.data)) for n in (0, stream) if got.data))
    assert len(wire.body(stream)) > 200_000
    wire.send(headers(stream, OK, end=False), data(stream, DOCUMENT, end=True))
    return peer.asks.view()


@case("generic/4", "whole")
def _(peer):
    """an answer before the request is there, and the rest of it is refused without an error"""
    peer.ask(padding="x" * 200_000)
    wire = peer.accept((INITIAL_WINDOW_SIZE, 10))
    stream = wire.until(lambda f: f.kind == HEADERS).stream_id
    wire.send(headers(stream, OK, end=False), data(stream, DOCUMENT, end=True), reset(stream, 0))
    return peer.asks.view()


@case("generic/4", "whole")
def _(peer):
    """an independent implementation as the server finds nothing wrong with what we send"""
    import h2.config
    import h2.connection
    import h2.events

    peer.ask(padding="x" * 100_000)
    wire = peer.accept(greet=False)
    server = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
    server.initiate_connection()
    got, incoming, body = None, PREFACE + wire.buffer, b""
    while got is None:
        for event in server.receive_data(incoming):
            if isinstance(event, h2.events.DataReceived):
                body += event.data
                server.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, h2.events.StreamEnded):
                got = event.stream_id
        wire.sock.sendall(server.data_to_send())
        if got is None:
            incoming = wire.sock.recv(65536)
            assert incoming
    assert len(body) > 100_000
    server.send_headers(got, OK)
    server.send_data(got, DOCUMENT)
    server.send_headers(got, [("grpc-status", "0")], end_stream=True)
    wire.sock.sendall(server.data_to_send())
    told = peer.asks.view()
    wire.sock.close()
    peer.wire = None
    return told


# --- 3.5, 4: preface, frames -----------------------------------------------------------------------------------------


def greets(raw):
    """A case whose upstream begins the connection with these bytes."""

    def run(peer):
        peer.ask()
        wire = peer.accept(greet=False)
        wire.send(raw)
        return peer.end(wire)

    return run


ENDED = (but(PROTOCOL), but("CLOSED"))  # a word is not needed where the peer does not speak HTTP/2 (RFC 9113 §3.4)
table(
    "http2/3.5",
    ("an answer in HTTP/1.1", ENDED, greets(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")),
    ("a first frame that is not SETTINGS", ENDED, greets(ping() + settings())),
    ("a first frame that is HEADERS", ENDED, greets(WHOLE)),
)
table(
    "http2/4.2",
    ("DATA above SETTINGS_MAX_FRAME_SIZE", (but(SIZE), "RST FRAME_SIZE_ERROR; error"), says(HEAD, data(1, bytes(16385)))),
    ("HEADERS above SETTINGS_MAX_FRAME_SIZE", but(SIZE), says(headers(1, block(OK) + bytes(16385)))),
)
table(
    "http2/4.3",
    ("a header block that cannot be decoded", but(COMPRESSION), says(headers(1, b"\x00\xff\xff\xff\xff\xff"))),
    ("a header block that ends inside of a field", but(COMPRESSION), says(headers(1, block(OK)[:-2]))),
    ("PRIORITY inside of a header block", but(PROTOCOL), says(headers(1, block(OK), end_headers=False), priority(1))),
    ("HEADERS of another stream inside of a header block", but(PROTOCOL), says(headers(1, block(OK), end_headers=False), headers(3, OK))),
    ("an unknown frame inside of a header block", but(PROTOCOL), says(headers(1, block(OK), end_headers=False), frame(0x16, 0, 1))),
    ("a table size update above what we allow", but(COMPRESSION), says(headers(1, integer(2**20, 5, 0x20) + block(OK)))),
    ("a table size update behind the fields", but(COMPRESSION), says(headers(1, block(OK) + integer(0, 5, 0x20)))),
    ("an indexed field with index 0", but(COMPRESSION), says(headers(1, block(OK) + b"\x80"))),
    ("an indexed field beyond the tables", but(COMPRESSION), says(headers(1, block(OK) + b"\xff\x00"))),
    ("Huffman with the end symbol", but(COMPRESSION), says(headers(1, block(OK) + b"\x00\x01x\x84\xff\xff\xff\xff"))),
    ("Huffman padded with zeros", but(COMPRESSION), says(headers(1, block(OK) + b"\x00\x01x\x81\x00"))),
)

# --- 5: streams ------------------------------------------------------------------------------------------------------

table(
    "http2/5.1",
    ("DATA before HEADERS", (but(PROTOCOL), MALFORMED), says(data(1, b"x"))),
    ("DATA on an idle stream", but(PROTOCOL), says(data(3, b"x"))),
    ("HEADERS on an idle stream", but(PROTOCOL), says(headers(3, OK))),
    ("RST_STREAM on an idle stream", but(PROTOCOL), says(reset(3))),
    ("WINDOW_UPDATE on an idle stream", but(PROTOCOL), says(window(3, 1))),
    ("HEADERS on a stream of its own that nobody promised", but(PROTOCOL), says(headers(2, OK))),
    ("CONTINUATION without HEADERS", but(PROTOCOL), says(continuation(1, OK))),
    ("DATA behind END_STREAM", ("RST STREAM_CLOSED; whole", "GOAWAY STREAM_CLOSED; whole"), says(WHOLE, data(1, b"x"))),
    ("HEADERS behind END_STREAM", ("RST STREAM_CLOSED; whole", "GOAWAY STREAM_CLOSED; whole"), says(WHOLE, headers(1, OK))),
)


@case("http2/5.1.2", but("NOTHING"), patience="3s")
def _(peer):
    """SETTINGS_MAX_CONCURRENT_STREAMS of 0: the request waits until its time is over"""
    peer.ask()
    wire = peer.accept((MAX_CONCURRENT_STREAMS, 0))
    outcome = wire.outcome()  # the request may have been on its way before our SETTINGS, and is not answered
    return f"{outcome}; {peer.asks.view()}"


# --- 6: frame definitions --------------------------------------------------------------------------------------------

table(
    "http2/6.1",
    ("DATA on stream 0", but(PROTOCOL), says(HEAD, data(0, b"x"))),
    ("DATA with more padding than payload", but(PROTOCOL), says(HEAD, frame(DATA, PADDED, 1, b"\x06abc"))),
    ("padded DATA without a length of the padding", but(SIZE), says(HEAD, frame(DATA, PADDED, 1))),
)
table(
    "http2/6.2",
    ("HEADERS on stream 0", but(PROTOCOL), says(headers(0, OK))),
    ("HEADERS with more padding than payload", but(PROTOCOL), says(headers(1, b"\xff" + block(OK), flags=PADDED))),
    ("HEADERS that depend on themselves", (MALFORMED, but(PROTOCOL)), says(headers(1, struct.pack(">LB", 1, 0) + block(OK), flags=PRIORITIZED))),
)
table(
    "http2/6.3",
    ("PRIORITY on stream 0", but(PROTOCOL), says(priority(0, on=1))),
    ("PRIORITY of four bytes", (but(SIZE), "RST FRAME_SIZE_ERROR; error"), says(frame(PRIORITY, 0, 1, bytes(4)))),
)


@case("http2/6.4", but("alive"))
def _(peer):
    """RST_STREAM before the answer"""
    wire, stream = peer.asked()
    wire.send(reset(stream, 2))
    return f"{'alive' if wire.settle() else wire.gone}; {peer.asks.view()}"


@case("http2/6.4", but("alive"))
def _(peer):
    """RST_STREAM inside of a document"""
    wire, stream = peer.asked()
    wire.send(HEAD, data(stream, DOCUMENT[:20]), reset(stream, 2))
    return f"{'alive' if wire.settle() else wire.gone}; {peer.asks.view()}"


@case("http2/6.4", but("alive"))
def _(peer):
    """RST_STREAM inside of a stream of events, with NO_ERROR"""
    wire, stream = peer.asked(stream=True)
    wire.send(headers(stream, EVENTS, end=False), data(stream, STREAM[0]), reset(stream, 0))
    return f"{'alive' if wire.settle() else wire.gone}; {peer.asks.view()}"


@case("http2/6.4", "2 requests; whole")
def _(peer):
    """REFUSED_STREAM on a connection that was good before: the request is sent once more, elsewhere"""
    wire, stream = peer.asked()
    wire.send(WHOLE)
    assert peer.asks.view() == "whole"
    peer.ask()
    stream = peer.request(wire)
    wire.send(reset(stream, 7))
    ready, _, _ = select.select([peer.listener, wire.sock], [], [], PATIENCE)
    second = wire if wire.sock in ready else peer.accept()
    stream = peer.request(second)
    second.send(headers(stream, OK, end=False), data(stream, DOCUMENT, end=True))
    return f"2 requests; {peer.asks.view()}"


table(
    "http2/6.4",
    ("RST_STREAM on stream 0", but(PROTOCOL), says(reset(0))),
    ("RST_STREAM of three bytes", but(SIZE), says(frame(RST_STREAM, 0, 1, bytes(3)))),
)
table(
    "http2/6.5",
    ("SETTINGS with ACK and a payload", but(SIZE), says(frame(SETTINGS, ACK, 0, bytes(6)))),
    ("SETTINGS on a stream", but(PROTOCOL), says(frame(SETTINGS, 0, 1, b""))),
    ("SETTINGS of five bytes", but(SIZE), says(frame(SETTINGS, 0, 0, bytes(5)))),
)
table(
    "http2/6.5.2",
    ("ENABLE_PUSH of 1 by a server", but(PROTOCOL), says(settings((ENABLE_PUSH, 1)), WHOLE)),
    ("ENABLE_PUSH of 2", but(PROTOCOL), says(settings((ENABLE_PUSH, 2)))),
    ("INITIAL_WINDOW_SIZE of 2^31", but(FLOW), says(settings((INITIAL_WINDOW_SIZE, 2**31)))),
    ("MAX_FRAME_SIZE below 2^14", but(PROTOCOL), says(settings((MAX_FRAME_SIZE, 16383)))),
    ("MAX_FRAME_SIZE above 2^24 - 1", but(PROTOCOL), says(settings((MAX_FRAME_SIZE, 2**24)))),
    ("HEADER_TABLE_SIZE of 2^32 - 1, MAX_FRAME_SIZE of 2^24 - 1", FINE, says(settings((HEADER_TABLE_SIZE, 2**32 - 1), (MAX_FRAME_SIZE, 2**24 - 1)), WHOLE)),
    ("HEADER_TABLE_SIZE of 0", FINE, says(settings((HEADER_TABLE_SIZE, 0)), WHOLE)),
)
table(
    "http2/6.6",
    ("PUSH_PROMISE that we forbade", but(PROTOCOL), says(HEAD, frame(PUSH_PROMISE, END_HEADERS, 1, struct.pack(">L", 2) + block([(":method", "GET"), (":scheme", "https"), (":path", "/"), (":authority", "localhost")])))),
)
table(
    "http2/6.7",
    ("PING on a stream", but(PROTOCOL), says(frame(PING, 0, 1, bytes(8)))),
    ("PING of six bytes", but(SIZE), says(ping(b"123456"))),
    ("PING with ACK that nobody asked for", FINE, says(ping(b"unasked!", ack=True), WHOLE)),
)
table(
    "http2/6.8",
    ("GOAWAY on a stream", but(PROTOCOL), says(frame(GOAWAY, 0, 1, bytes(8)))),
    ("GOAWAY that names a later stream, twice, then the answer", ("CLOSED; whole", "GOAWAY NO_ERROR; whole"), says(
        frame(GOAWAY, 0, 0, struct.pack(">LL", MAX_WINDOW, 0)), frame(GOAWAY, 0, 0, struct.pack(">LL", 1, 0)), WHOLE)),
    ("GOAWAY that names no stream", ("CLOSED; error", "GOAWAY NO_ERROR; error"), says(frame(GOAWAY, 0, 0, struct.pack(">LL", 0, 0)))),
    ("GOAWAY with an unknown code inside of the answer, which ends", ("CLOSED; whole", "GOAWAY NO_ERROR; whole"), says(
        HEAD, frame(GOAWAY, 0, 0, struct.pack(">LL", 1, 0xFF) + b"debug"), data(1, DOCUMENT, end=True))),
    ("GOAWAY that raises its last stream", (but(PROTOCOL),), says(
        frame(GOAWAY, 0, 0, struct.pack(">LL", 1, 0)), frame(GOAWAY, 0, 0, struct.pack(">LL", 3, 0)))),
)
table(
    "http2/6.9",
    ("WINDOW_UPDATE of 0 on the connection", but(PROTOCOL), says(window(0, 0))),
    ("WINDOW_UPDATE of 0 on a stream", (MALFORMED, but(PROTOCOL)), says(window(1, 0))),
    ("WINDOW_UPDATE of three bytes", but(SIZE), says(frame(WINDOW_UPDATE, 0, 0, bytes(3)))),
    ("the connection's window above 2^31 - 1", but(FLOW), says(window(0, MAX_WINDOW), window(0, MAX_WINDOW))),
    ("more DATA than our windows take", (but(FLOW), "RST FLOW_CONTROL_ERROR; error"), says(HEAD, data(1, bytes(16384)) * 320)),
)
table(
    "http2/6.10",
    ("CONTINUATION, then DATA", but(PROTOCOL), says(headers(1, block(OK)[:5], end=False, end_headers=False), continuation(1, block(OK)[5:], False), data(1, b"x"))),
    ("CONTINUATION on stream 0", but(PROTOCOL), says(headers(1, block(OK)[:5], end=False, end_headers=False), continuation(0, block(OK)[5:]))),
    ("CONTINUATION behind END_HEADERS", but(PROTOCOL), says(HEAD, continuation(1, [("x", "y")]))),
)

# --- 8: messages -----------------------------------------------------------------------------------------------------

CODED = headers(1, OK + [("content-length", str(len(DOCUMENT) + 1))], end=False)
table(
    "http2/8.1",
    ("no :status", MALFORMED, says(headers(1, [("content-type", "application/json")], end=False))),
    ("an empty answer", ("NOTHING; error",), says(headers(1, OK))),
    ("an interim answer with END_STREAM", MALFORMED, says(headers(1, [(":status", "100")]))),
    ("status 101", (MALFORMED, but("RST CANCEL")), says(headers(1, [(":status", "101")], end=False))),
    ("a second HEADERS frame without END_STREAM", MALFORMED, says(HEAD, data(1, b"x"), headers(1, [("x", "1")], end=False))),
    ("a stream of events that only stops", ("NOTHING; error",), streams(data(1, STREAM[0], end=True), end=False)),
)
table(
    "http2/8.1.2",
    *((f":status {status!r}", (MALFORMED, but(PROTOCOL)), says(headers(1, [(":status", status)], end=False))) for status in ("", "20", "2000", "abc", "-20", "099")),
    (":status twice", MALFORMED, says(headers(1, [(":status", "200"), (":status", "200")], end=False))),
    (":status behind a field", MALFORMED, says(headers(1, [("x", "1"), (":status", "200")], end=False))),
    ("a pseudo field of requests", MALFORMED, says(headers(1, OK + [(":path", "/")], end=False))),
    ("an unknown pseudo field", MALFORMED, says(headers(1, [(":status", "200"), (":x", "/")], end=False))),
    ("a pseudo field in trailers", MALFORMED, says(HEAD, data(1, DOCUMENT), headers(1, [(":status", "200")]))),
    ("a name in upper case", MALFORMED, says(headers(1, OK + [("X-A", "1")], end=False))),
    ("a name with a space", MALFORMED, says(headers(1, OK + [("x a", "1")], end=False))),
    ("a value with CRLF", MALFORMED, says(headers(1, OK + [("x-a", "1\r\nset-cookie: a=b")], end=False))),
    ("a value with NUL", MALFORMED, says(headers(1, OK + [("x-a", "1\0")], end=False))),
    ("connection", MALFORMED, says(headers(1, OK + [("connection", "close")], end=False))),
    ("transfer-encoding", MALFORMED, says(headers(1, OK + [("transfer-encoding", "chunked")], end=False))),
    ("content-length above the DATA", MALFORMED, says(CODED, data(1, DOCUMENT, end=True))),
    ("content-length below the DATA", MALFORMED, says(headers(1, OK + [("content-length", "3")], end=False), data(1, DOCUMENT, end=True))),
    ("two values of content-length", MALFORMED, says(headers(1, OK + [("content-length", "3"), ("content-length", "4")], end=False), data(1, b"abc", end=True))),
    ("content-length without DATA", but("NOTHING"), says(headers(1, OK + [("content-length", "3")]))),
)


@case("http2/8.1.2", "NOTHING; 3xx is no answer")
def _(peer):
    """status 304 with a content-length has no body"""
    wire, stream = peer.asked()
    wire.send(headers(stream, [(":status", "304"), ("content-length", "9")]))
    outcome = wire.outcome(stream)
    peer.asks.join(PATIENCE)
    return f"{outcome}; {'3xx is no answer' if peer.asks.status >= 500 else peer.asks.status}"


@case("wear", "whole on 2 connections", again=None)
def _(peer):
    """an empty DATA frame per answer: the connection is replaced before the crate ends it"""
    connections, wire = 0, None
    for _ in range(80):
        peer.ask()
        if wire is not None:
            ready, _, _ = select.select([peer.listener, wire.sock], [], [], PATIENCE)
        if wire is None or peer.listener in ready:
            wire, connections = peer.accept(), connections + 1
        stream = peer.request(wire)
        wire.send(window(0, 1000), headers(stream, OK, end=False), data(stream), data(stream, DOCUMENT, end=True))
        told = peer.asks.view()
        if told != "whole":
            return told
    return f"whole on {connections} connections"


@case("wear", "whole")
def _(peer):
    """300 streams that are given up at once while their answers come: the one that is left is answered"""
    wire, left = peer.asked()
    body = chat(peer.name, stream=True)
    request = b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    request += b"content-length: %d\r\n\r\n" % len(body) + body
    clients = [socket.create_connection(peer.router.address, PATIENCE) for _ in range(300)]
    for client in clients:
        client.sendall(request)
    streams = set()
    while len(streams) < len(clients):
        streams.add(wire.until(lambda f: f.kind == DATA and "END_STREAM" in f.flags).stream_id)
    wire.send(window(0, 1 << 20), *(headers(n, EVENTS, end=False) + data(n, STREAM[0]) for n in streams))
    for client in clients:
        client.settimeout(PATIENCE)
        seen = b""
        while b"Hello" not in seen:
            seen += client.recv(4096)
        client.close()
    reset = set()
    while len(reset) < len(streams):
        reset.add(wire.until(lambda f: f.kind == RST_STREAM).stream_id)
    for _ in range(20):
        wire.send(*(data(n, b": ") for n in streams))
    wire.send(*(headers(n, [("x", "1")]) for n in streams))
    assert wire.settle(), wire.said()
    wire.send(headers(left, OK, end=False), data(left, DOCUMENT, end=True))
    return peer.asks.view()


# --- what an upstream might flood us with ----------------------------------------------------------------------------


def floods(make, *expected, section="flood"):
    """The upstream sends `make(n)` in masses and behaves never again; the gateway must end it, and stay small."""

    def run(peer):
        wire, stream = peer.asked()
        before = peer.router.memory()
        sender = threading.Thread(target=lambda: [wire.send(make(n)) for n in range(400)], daemon=True)
        sender.start()
        try:
            while True:
                wire.next()
        except Closed:
            pass
        sender.join(PATIENCE)
        grown = peer.router.memory() - before
        assert grown < 24 << 20, f"{grown} bytes more"
        goaway = wire.saw(GOAWAY)
        return f"{'GOAWAY ' + code_name(goaway[0].error_code) if goaway else 'ended'}; {peer.asks.view()}"

    return run


CALM = ("GOAWAY ENHANCE_YOUR_CALM; error", "ended; error")
BOMB = b"".join(b"\xbe" for _ in range(16000))
table(
    "flood",
    ("SETTINGS", CALM, floods(lambda n: settings() * 1000)),
    ("PING", CALM, floods(lambda n: ping() * 1000)),
    ("PRIORITY", CALM, floods(lambda n: priority(1) * 1000)),
    ("unknown frames", CALM, floods(lambda n: frame(0xEE) * 1000)),
    ("WINDOW_UPDATE", CALM, floods(lambda n: window(0, 1) * 1000)),
    ("empty DATA", CALM, floods(lambda n: (HEAD if n == 0 else b"") + data(1) * 1000)),
    ("CONTINUATION", CALM, floods(lambda n: (headers(1, OK, end_headers=False) if n == 0 else b"") + continuation(1, block([("x", "y" * 100)]) * 100, False))),
    ("empty CONTINUATION", CALM, floods(lambda n: (headers(1, OK, end_headers=False) if n == 0 else b"") + continuation(1, b"", False) * 1000)),
)


@case("flood", "ended; error")
def _(peer):
    """interim answers of 8 KiB each"""
    wire, stream = peer.asked()
    before = peer.router.memory()
    for _ in range(4000):
        wire.send(headers(1, [(":status", "103"), ("link", "x" * 8000)], end=False))
    told = peer.asks.view()
    grown = peer.router.memory() - before
    assert grown < 24 << 20, f"{grown} bytes more"
    return f"ended; {told}"


@case("flood", "refused; error")
def _(peer):
    """a header bomb: a field of 4 KB in the table, named 16,000 times"""
    wire, stream = peer.asked()
    before = peer.router.memory()
    wire.send(headers(1, block(OK) + b"\x40" + string(b"x-bomb") + string(b"b" * 3900) + BOMB[:12000], end=False))
    told = peer.asks.view()
    grown = peer.router.memory() - before
    assert grown < 24 << 20, f"{grown} bytes more"
    return f"refused; {told}"


def main():
    certs = os.environ["H2SPEC_CERTS"]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(os.path.join(certs, "cert.pem"), os.path.join(certs, "key.pem"))
    context.set_alpn_protocols(["h2"])
    world = type("World", (), {})()
    world.peers = {name: Peer(name, context, patience) for name, patience in PATIENCES.items()}
    config = "".join(peer.provider() for peer in world.peers.values())
    router = Router(config, ["--ca-file", os.path.join(certs, "ca.pem")])
    for peer in world.peers.values():
        peer.router = router
    try:
        return suite.run(world)
    finally:
        router.stop()


if __name__ == "__main__":
    sys.exit(main())
