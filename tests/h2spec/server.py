"""Our server, driven through the sections of h2spec (RFC 7540 as far as RFC 9113 still says the same, RFC 7541), and what
RFC 9113 adds. Section names are those of h2spec: generic/…, http2/…, hpack/…; rfc9113/… is ours."""

import struct
import sys
from functools import partial

import cases
from cases import Suite
from router import Router
from upstream import Upstream, chat
from wire import *

suite = Suite("server")
case, table = suite.case, partial(cases.table, suite.case)
CHAT = "/v1/chat/completions"
PROTOCOL, FLOW, SIZE, COMPRESSION = (f"GOAWAY {name}_ERROR" for name in ("PROTOCOL", "FLOW_CONTROL", "FRAME_SIZE", "COMPRESSION"))
CLOSED_CONNECTION = "GOAWAY STREAM_CLOSED"


def head(method="GET", path="/healthz", *more, scheme="http", authority="localhost"):
    return [(":method", method), (":scheme", scheme), (":path", path), (":authority", authority), *more]


def post(*more):
    return head("POST", CHAT, ("content-type", "application/json"), *more)


def get(c, stream=1, *more):
    c.send(headers(stream, head("GET", "/healthz", *more)))


def opened(c, stream=1):
    """A request whose body is still to come."""
    c.send(headers(stream, post(), end=False))


def hanging(c, stream=1):
    """A whole request that nobody answers: half-closed (remote) for the server."""
    c.send(headers(stream, post(), end=False), data(stream, chat("hang"), end=True))


def closed(c, stream=1):
    """A stream that was answered."""
    get(c, stream)
    assert c.answer(stream) == "200"


def sends(*frames, before=None, stream=None):
    """A case that sends these on a new connection."""

    def run(to):
        c = connect(to)
        if before:
            before(c)
        c.send(*frames)
        return c.outcome(stream)

    return run


# --- generic ---------------------------------------------------------------------------------------------------------


@case("generic/1", "200")
def _(to):
    """the client's preface"""
    c = connect(to)
    get(c)
    return c.answer(1)


@case("generic/2", "200")
def _(to):
    """PRIORITY on an idle stream"""
    c = connect(to)
    c.send(priority(1))
    get(c)
    return c.answer(1)


table(
    "generic/2",
    ("WINDOW_UPDATE on a half-closed (remote) stream", "NOTHING", sends(window(1, 1), stream=1, before=hanging)),
    ("PRIORITY on a half-closed (remote) stream", "NOTHING", sends(priority(1), stream=1, before=hanging)),
    ("RST_STREAM on a half-closed (remote) stream", "NOTHING", sends(reset(1), stream=1, before=hanging)),
)


@case("generic/2", "200")
def _(to):
    """PRIORITY on a closed stream"""
    c = connect(to)
    closed(c)
    c.send(priority(1))
    get(c, 3)
    return c.answer(3)


@case("generic/3.1", "200")
def _(to):
    """a DATA frame"""
    c = connect(to)
    opened(c)
    c.send(data(1, chat(), end=True))
    return c.answer(1)


@case("generic/3.1", "200")
def _(to):
    """a DATA frame per byte"""
    c = connect(to)
    opened(c)
    c.send(*(data(1, bytes([byte])) for byte in chat()), data(1, b"", end=True))
    return c.answer(1)


@case("generic/3.1", "200")
def _(to):
    """a padded DATA frame"""
    c = connect(to)
    opened(c)
    c.send(frame(DATA, END_STREAM | PADDED, 1, b"\x08" + chat() + bytes(8)))
    return c.answer(1)


@case("generic/3.2", "200")
def _(to):
    """a HEADERS frame"""
    c = connect(to)
    get(c)
    return c.answer(1)


@case("generic/3.2", "200")
def _(to):
    """a padded HEADERS frame"""
    c = connect(to)
    c.send(frame(HEADERS, END_STREAM | END_HEADERS | PADDED, 1, b"\x08" + block(head()) + bytes(8)))
    return c.answer(1)


@case("generic/3.2", "200")
def _(to):
    """a HEADERS frame with a priority"""
    c = connect(to)
    c.send(headers(1, struct.pack(">LB", 0, 255) + block(head()), flags=PRIORITIZED))
    return c.answer(1)


@case("generic/3.2", "200")
def _(to):
    """a padded HEADERS frame with an exclusive priority on a stream that does not exist"""
    c = connect(to)
    payload = b"\x03" + struct.pack(">LB", 99 | 1 << 31, 0) + block(head()) + bytes(3)
    c.send(headers(1, payload, flags=PRIORITIZED | PADDED))
    return c.answer(1)


def prioritised(*frames):
    def run(to):
        c = connect(to)
        c.send(*frames)
        get(c, 7)
        return c.answer(7)

    return run


for words, frames in [
    ("PRIORITY of weight 1", [priority(7, weight=0)]),
    ("PRIORITY of weight 256", [priority(7, weight=255)]),
    ("PRIORITY that depends on a stream", [priority(7, on=5)]),
    ("PRIORITY that is exclusive", [priority(7, on=5, exclusive=True)]),
    ("PRIORITY for an idle stream before a HEADERS frame of a lower one", [priority(9)]),
]:
    run = prioritised(*frames)
    run.__doc__ = words
    case("generic/3.3", "200")(run)


table(
    "generic/3.4",
    ("RST_STREAM on an open stream", "NOTHING", sends(reset(1), stream=1, before=opened)),
)


@case("generic/3.5", "acknowledged")
def _(to):
    """SETTINGS"""
    c = connect(to)
    c.send(settings((MAX_CONCURRENT_STREAMS, 100)))
    assert c.outcome() == "NOTHING"
    return "acknowledged" if sum("ACK" in f.flags for f in c.saw(SETTINGS)) == 2 else c.said()


@case("generic/3.7", "NOTHING")
def _(to):
    """PING"""
    return connect(to).outcome()


table(
    "generic/3.8",
    ("GOAWAY", ("CLOSED", "GOAWAY NO_ERROR"), sends(frame(GOAWAY, 0, 0, struct.pack(">LL", 0, 0)))),
)


@case("generic/3.8", "200")
def _(to):
    """GOAWAY while a request is going on: it is answered"""
    c = connect(to)
    opened(c)
    c.send(frame(GOAWAY, 0, 0, struct.pack(">LL", 0, 0)), data(1, chat(), end=True))
    c.until(lambda f: f.kind == DATA and "END_STREAM" in f.flags)
    return c.of_stream(1)


@case("generic/3.9", "200")
def _(to):
    """WINDOW_UPDATE of the connection"""
    c = connect(to)
    c.send(window(0, 1))
    get(c)
    return c.answer(1)


@case("generic/3.9", "200")
def _(to):
    """WINDOW_UPDATE of a stream"""
    c = connect(to)
    opened(c)
    c.send(window(1, 1), data(1, chat(), end=True))
    return c.answer(1)


@case("generic/3.10", "200")
def _(to):
    """a CONTINUATION frame"""
    c = connect(to)
    fields = block(head())
    c.send(headers(1, fields[:7], end_headers=False), continuation(1, fields[7:]))
    return c.answer(1)


@case("generic/3.10", "200")
def _(to):
    """several CONTINUATION frames, cut inside of a field, one of them empty"""
    c = connect(to)
    fields = block(head())
    c.send(headers(1, b"", end_headers=False))
    c.send(continuation(1, fields[:3], False), continuation(1, b"", False), continuation(1, fields[3:20], False))
    c.send(continuation(1, fields[20:]))
    return c.answer(1)


@case("generic/4", "200")
def _(to):
    """GET"""
    c = connect(to)
    get(c)
    return c.answer(1)


@case("generic/4", "200 without a body")
def _(to):
    """HEAD"""
    c = connect(to)
    c.send(headers(1, head("HEAD")))
    return f"{c.answer(1)} {'with' if c.saw(DATA) else 'without'} a body"


@case("generic/4", "200")
def _(to):
    """POST"""
    c = connect(to)
    body = chat()
    c.send(headers(1, post(("content-length", str(len(body)))), end=False), data(1, body, end=True))
    return c.answer(1)


@case("generic/4", "200")
def _(to):
    """POST with trailers"""
    c = connect(to)
    opened(c)
    c.send(data(1, chat()), headers(1, [("x-sum", "7")]))
    return c.answer(1)


def coded(*parts):
    """A GET whose `:path` is given by these bytes; the rest comes from the static table."""

    def run(to):
        c = connect(to)
        c.send(headers(1, b"\x82\x86" + literal(":authority", "localhost") + b"".join(parts)))
        return c.answer(1)

    return run


PATH = b"/healthz"
LONG = (b"x-new", b"value of a field")
for words, run in [
    ("an indexed field", coded(b"\x04" + string(PATH))),
    ("incremental indexing, indexed name", coded(b"\x44" + string(PATH))),
    ("incremental indexing, indexed name, Huffman", coded(b"\x44" + string(PATH, True))),
    ("incremental indexing, new name", coded(b"\x04" + string(PATH), b"\x40" + string(LONG[0]) + string(LONG[1]), b"\xbe")),
    ("incremental indexing, new name, Huffman", coded(b"\x04" + string(PATH), b"\x40" + string(LONG[0], True) + string(LONG[1], True))),
    ("without indexing, indexed name", coded(b"\x04" + string(PATH))),
    ("without indexing, indexed name, Huffman", coded(b"\x04" + string(PATH, True))),
    ("without indexing, new name", coded(b"\x00" + string(b":path") + string(PATH))),
    ("without indexing, new name, Huffman", coded(b"\x00" + string(b":path", True) + string(PATH, True))),
    ("never indexed, indexed name", coded(b"\x14" + string(PATH))),
    ("never indexed, indexed name, Huffman", coded(b"\x14" + string(PATH, True))),
    ("never indexed, new name", coded(b"\x10" + string(b":path") + string(PATH))),
    ("never indexed, new name, Huffman", coded(b"\x10" + string(b":path", True) + string(PATH, True))),
]:
    run.__doc__ = f"HPACK: {words}"
    case("generic/5", "200")(run)


@case("generic/5", "200")
def _(to):
    """HPACK: a table size update before the fields"""
    c = connect(to)
    c.send(headers(1, integer(0, 5, 0x20) + block(head())))
    return c.answer(1)


@case("generic/5", "200")
def _(to):
    """HPACK: two table size updates before the fields"""
    c = connect(to)
    c.send(headers(1, integer(0, 5, 0x20) + integer(4096, 5, 0x20) + block(head())))
    return c.answer(1)


# --- 3.5, 4: preface, frames -----------------------------------------------------------------------------------------


@case("http2/3.5", "SETTINGS")
def _(to):
    """the first frame of the server is SETTINGS"""
    c = connect(to)
    return "SETTINGS" if c.seen[0].kind == SETTINGS and not c.seen[0].flags else c.said()


@case("http2/3.5", PROTOCOL, "CLOSED")
def _(to):
    """a wrong preface behind a right first half"""
    c = connect(to, preface=False)
    c.send(b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n")
    try:
        c.next()
    except Closed as gone:
        return gone.how
    except Exception:
        pass  # an answer in HTTP/1 is no frame
    c.sock.settimeout(PATIENCE)
    rest = c.buffer + b"".join(iter(lambda: c.sock.recv(4096), b""))
    return "CLOSED" if b"HTTP/1.1 400" in rest or b"HTTP/1.1 505" in rest else rest


@case("http2/3.5", PROTOCOL)
def _(to):
    """a preface without SETTINGS"""
    c = connect(to, preface=False)
    c.send(PREFACE)
    get(c)
    return c.outcome()


@case("http2/3.5", "200")
def _(to):
    """a preface byte by byte"""
    c = connect(to, preface=False)
    for byte in PREFACE + settings():
        c.send(bytes([byte]))
    get(c)
    return c.answer(1)


table(
    "http2/4.1",
    ("a frame of an unknown type", "NOTHING", sends(frame(0xFF, 0xFF, 0, bytes(8)))),
)


@case("http2/4.1", "NOTHING")
def _(to):
    """a frame with flags that are not defined"""
    c = connect(to)
    c.send(frame(PING, 0x16, 0, b"undefine"))
    outcome = c.outcome()
    return outcome if any(f.opaque_data == b"undefine" for f in c.saw(PING)) else "no answer to it"


@case("http2/4.1", "NOTHING")
def _(to):
    """a frame with the reserved bit"""
    c = connect(to)
    c.send(frame(PING, 0, 0, b"reserved", reserved=True))
    outcome = c.outcome()
    return outcome if any(f.opaque_data == b"reserved" for f in c.saw(PING)) else "no answer to it"


@case("http2/4.2", "200")
def _(to):
    """a DATA frame of 2^14 bytes"""
    c = connect(to)
    opened(c)
    c.send(data(1, chat().ljust(16384), end=True))
    return c.answer(1)


table(
    "http2/4.2",
    ("a DATA frame above SETTINGS_MAX_FRAME_SIZE", (SIZE, "RST FRAME_SIZE_ERROR"), sends(data(1, bytes(16385), end=True), stream=1, before=opened)),
    ("a HEADERS frame above SETTINGS_MAX_FRAME_SIZE", SIZE, sends(headers(1, block(head()) + literal("x", b"").ljust(16385, b"\0")), stream=1)),
    ("a frame of an unknown type above SETTINGS_MAX_FRAME_SIZE", SIZE, sends(frame(0xEE, 0, 0, bytes(16385)))),
)


table(
    "http2/4.3",
    ("a header block that cannot be decoded", COMPRESSION, sends(headers(1, b"\x00\xff\xff\xff\xff\xff"), stream=1)),
)


@case("http2/4.3", PROTOCOL)
def _(to):
    """PRIORITY inside of a header block"""
    c = connect(to)
    fields = block(head())
    c.send(headers(1, fields[:5], end_headers=False), priority(1), continuation(1, fields[5:]))
    return c.outcome(1)


@case("http2/4.3", PROTOCOL)
def _(to):
    """HEADERS of another stream inside of a header block"""
    c = connect(to)
    fields = block(head())
    c.send(headers(1, fields[:5], end_headers=False), headers(3, fields), continuation(1, fields[5:]))
    return c.outcome()


table(
    "http2/4.3",
    ("a header block that ends inside of a field", COMPRESSION, sends(headers(1, block(head())[:-3]), stream=1)),
)


# --- 5: streams ------------------------------------------------------------------------------------------------------

IDLE = {
    "a DATA frame": data(1, b"x", end=True),
    "a RST_STREAM frame": reset(1),
    "a WINDOW_UPDATE frame": window(1, 100),
    "a CONTINUATION frame": continuation(1, head()),
}
table("http2/5.1", *((f"idle: {words}", PROTOCOL, sends(sent)) for words, sent in IDLE.items()))

AFTER = {
    "a DATA frame": (data(1, b"x", end=True), ("RST STREAM_CLOSED", CLOSED_CONNECTION)),
    "a HEADERS frame": (headers(1, head()), ("RST STREAM_CLOSED", CLOSED_CONNECTION)),
    "a CONTINUATION frame": (continuation(1, head()), (CLOSED_CONNECTION, PROTOCOL)),
}
table(
    "http2/5.1",
    *((f"half-closed (remote): {words}", expected, sends(sent, before=hanging, stream=1)) for words, (sent, expected) in AFTER.items()),
)


def cancelled(c):
    """A request that its client gave up: whoever has sent RST_STREAM may have frames on the way that the server has to
    ignore for a while; RFC 9113 lets it."""
    opened(c)
    c.send(reset(1))
    assert c.settle()


table(
    "http2/5.1",
    *((f"closed by the client's RST_STREAM: {words}", expected, sends(sent, before=cancelled, stream=1)) for words, (sent, expected) in AFTER.items()),
)

for words, (sent, expected) in AFTER.items():

    def run(to, sent=sent):
        c = connect(to)
        closed(c)
        before = len(c.seen)
        c.send(sent)
        c.fields.clear()
        outcome = c.outcome(1)
        assert outcome != "200", c.seen[before:]
        return outcome

    run.__doc__ = f"closed by END_STREAM of both: {words}"
    case("http2/5.1", *expected)(run)


@case("http2/5.1.1", PROTOCOL)
def _(to):
    """an even stream identifier"""
    c = connect(to)
    get(c, 2)
    return c.outcome()


@case("http2/5.1.1", PROTOCOL, CLOSED_CONNECTION)
def _(to):
    """a stream identifier below the last one"""
    c = connect(to)
    closed(c, 5)
    get(c, 3)
    return c.outcome(3)


@case("http2/5.1.2", "RST REFUSED_STREAM", "RST PROTOCOL_ERROR")
def _(to):
    """more streams than SETTINGS_MAX_CONCURRENT_STREAMS"""
    c = connect(to)
    most = next(f for f in c.saw(SETTINGS) if f.settings).settings[MAX_CONCURRENT_STREAMS]
    assert most == 256, most
    for n in range(most + 1):
        opened(c, 2 * n + 1)
    outcome = c.outcome(2 * most + 1)
    assert len(c.saw(RST_STREAM)) == 1, "the others go on"
    c.send(data(1, chat(), end=True))
    c.seen.clear()
    assert c.answer(1) == "200"
    return outcome


table(
    "http2/5.3.1",
    ("HEADERS that depend on themselves", ("RST PROTOCOL_ERROR", PROTOCOL), sends(headers(1, struct.pack(">LB", 1, 15) + block(head()), flags=PRIORITIZED), stream=1)),
    ("PRIORITY that depends on itself", ("RST PROTOCOL_ERROR", PROTOCOL), sends(priority(1, on=1), stream=1)),
)


table(
    "http2/5.4.1",
    ("a PING of six bytes: the connection is ended", SIZE, sends(ping(b"123456"))),
)


@case("http2/5.4.1", f"{SIZE}, 1")
def _(to):
    """a PING of six bytes: GOAWAY names the last stream"""
    c = connect(to)
    closed(c)
    c.send(ping(b"123456"))
    outcome = c.outcome()
    return f"{outcome}, {c.saw(GOAWAY)[-1].last_stream_id}"


@case("http2/5.5", "200")
def _(to):
    """an unknown extension frame"""
    c = connect(to)
    c.send(frame(0x16, 0, 0, bytes(8)), frame(0x16, 0, 99, bytes(8)))
    get(c)
    return c.answer(1)


@case("http2/5.5", PROTOCOL)
def _(to):
    """an unknown extension frame inside of a header block"""
    c = connect(to)
    fields = block(head())
    c.send(headers(1, fields[:5], end_headers=False), frame(0x16, 0, 0, bytes(8)), continuation(1, fields[5:]))
    return c.outcome()


# --- 6: frame definitions --------------------------------------------------------------------------------------------


table(
    "http2/6.1",
    ("DATA on stream 0", PROTOCOL, sends(data(0, b"x"))),
    ("DATA on a stream that is closed", ("RST STREAM_CLOSED", CLOSED_CONNECTION), sends(data(1, b"x"), before=closed, stream=1)),
    ("DATA with more padding than payload", PROTOCOL, sends(frame(DATA, PADDED, 1, b"\x06abc"), before=opened)),
    ("DATA with as much padding as payload", PROTOCOL, sends(frame(DATA, PADDED, 1, b"\x04abc"), before=opened)),
    ("padded DATA without a length of the padding", SIZE, sends(frame(DATA, PADDED, 1, b""), before=opened)),
)
table(
    "http2/6.2",
    ("HEADERS without END_HEADERS, then PRIORITY", PROTOCOL, sends(headers(1, head(), end_headers=False), priority(1))),
    ("HEADERS without END_HEADERS, then HEADERS of another stream", PROTOCOL, sends(headers(1, head(), end_headers=False), headers(3, head()))),
    ("HEADERS on stream 0", PROTOCOL, sends(headers(0, head()))),
    ("HEADERS with more padding than payload", PROTOCOL, sends(headers(1, b"\xff" + block(head()), flags=PADDED))),
    ("HEADERS without END_HEADERS, then the same again", PROTOCOL, sends(headers(1, head(), end_headers=False), headers(1, head()))),
    ("HEADERS too short for its priority", SIZE, sends(headers(1, b"\0\0", flags=PRIORITIZED))),
)
table(
    "http2/6.3",
    ("PRIORITY on stream 0", PROTOCOL, sends(priority(0, on=1))),
    ("PRIORITY of four bytes", (SIZE, "RST FRAME_SIZE_ERROR"), sends(frame(PRIORITY, 0, 1, bytes(4)), before=opened, stream=1)),
    ("PRIORITY of six bytes", (SIZE, "RST FRAME_SIZE_ERROR"), sends(frame(PRIORITY, 0, 1, bytes(6)), before=opened, stream=1)),
)
table(
    "http2/6.4",
    ("RST_STREAM on stream 0", PROTOCOL, sends(reset(0))),
    ("RST_STREAM on an idle stream", PROTOCOL, sends(reset(1))),
    ("RST_STREAM of three bytes", SIZE, sends(frame(RST_STREAM, 0, 1, bytes(3)), before=opened)),
    ("RST_STREAM of five bytes", SIZE, sends(frame(RST_STREAM, 0, 1, bytes(5)), before=opened)),
)
table(
    "http2/6.5",
    ("SETTINGS with ACK and a payload", SIZE, sends(frame(SETTINGS, ACK, 0, b"\0"))),
    ("SETTINGS on a stream", PROTOCOL, sends(frame(SETTINGS, 0, 1, struct.pack(">HL", 3, 100)))),
    ("SETTINGS of five bytes", SIZE, sends(frame(SETTINGS, 0, 0, bytes(5)))),
    ("SETTINGS with ACK and six bytes", SIZE, sends(frame(SETTINGS, ACK, 0, struct.pack(">HL", 3, 100)))),
)
table(
    "http2/6.5.2",
    ("ENABLE_PUSH of 2", PROTOCOL, sends(settings((ENABLE_PUSH, 2)))),
    ("INITIAL_WINDOW_SIZE of 2^31", FLOW, sends(settings((INITIAL_WINDOW_SIZE, 2**31)))),
    ("MAX_FRAME_SIZE below 2^14", PROTOCOL, sends(settings((MAX_FRAME_SIZE, 16383)))),
    ("MAX_FRAME_SIZE above 2^24 - 1", PROTOCOL, sends(settings((MAX_FRAME_SIZE, 2**24)))),
    ("an unknown setting", "NOTHING", sends(settings((0xFF, 1), (0, 0), (0xFFFF, 2**32 - 1)))),
    ("NO_RFC7540_PRIORITIES", "NOTHING", sends(settings((9, 1)))),
    ("HEADER_TABLE_SIZE of 2^32 - 1", "NOTHING", sends(settings((HEADER_TABLE_SIZE, 2**32 - 1)))),
    ("MAX_HEADER_LIST_SIZE of 0", "NOTHING", sends(settings((MAX_HEADER_LIST_SIZE, 0)))),
)


@case("http2/6.5.3", "100 then all")
def _(to):
    """two values of INITIAL_WINDOW_SIZE: the last one counts"""
    c = connect(to, (INITIAL_WINDOW_SIZE, 0), (INITIAL_WINDOW_SIZE, 100))
    body = chat(letters=1000)
    c.send(headers(1, post(), end=False), data(1, body, end=True))
    c.until(lambda f: len(c.body(1)) >= 100)
    assert c.settle() and len(c.body(1)) == 100, len(c.body(1))
    c.send(window(1, 65536))
    return "100 then all" if c.answer(1) == "200" and len(c.body(1)) > 1000 else c.said()


@case("http2/6.5.3", 3)
def _(to):
    """each SETTINGS is acknowledged"""
    c = connect(to)
    c.send(settings(), settings((MAX_FRAME_SIZE, 16384)))
    assert c.outcome() == "NOTHING"
    return sum("ACK" in f.flags for f in c.saw(SETTINGS))


@case("http2/6.5.3", "200")
def _(to):
    """HEADER_TABLE_SIZE of 0: what is sent then uses no table"""
    c = connect(to, (HEADER_TABLE_SIZE, 0))
    c.decoder.max_allowed_table_size = 0
    get(c)
    get(c, 3)
    c.answer(1)
    return c.answer(3)


@case("http2/6.7", "same bytes")
def _(to):
    """PING is answered with its bytes"""
    c = connect(to)
    c.send(ping(b"\x00\xffabcdef"))
    answer = c.until(lambda f: f.kind == PING)
    return "same bytes" if "ACK" in answer.flags and answer.opaque_data == b"\x00\xffabcdef" else answer


@case("http2/6.7", "no answer")
def _(to):
    """PING with ACK is not answered"""
    c = connect(to)
    c.send(ping(b"unasked!", ack=True))
    assert c.outcome() == "NOTHING"
    return "answer" if any(f.opaque_data == b"unasked!" for f in c.saw(PING)) else "no answer"


table(
    "http2/6.7",
    ("PING on a stream", PROTOCOL, sends(frame(PING, 0, 1, bytes(8)))),
    ("PING of six bytes", SIZE, sends(ping(b"123456"))),
    ("PING of nine bytes", SIZE, sends(ping(b"123456789"))),
)
table(
    "http2/6.8",
    ("GOAWAY on a stream", PROTOCOL, sends(frame(GOAWAY, 0, 1, bytes(8)))),
    ("GOAWAY of seven bytes", SIZE, sends(frame(GOAWAY, 0, 0, bytes(7)))),
)
table(
    "http2/6.9",
    ("WINDOW_UPDATE of 0 on the connection", PROTOCOL, sends(window(0, 0))),
    ("WINDOW_UPDATE of 0 on a stream", ("RST PROTOCOL_ERROR", PROTOCOL), sends(window(1, 0), before=opened, stream=1)),
    ("WINDOW_UPDATE of three bytes", SIZE, sends(frame(WINDOW_UPDATE, 0, 0, bytes(3)))),
    ("WINDOW_UPDATE of five bytes", SIZE, sends(frame(WINDOW_UPDATE, 0, 0, bytes(5)))),
)


@case("http2/6.9.1", "1 byte")
def _(to):
    """INITIAL_WINDOW_SIZE of 1: one byte of an answer comes"""
    c = connect(to, (INITIAL_WINDOW_SIZE, 1))
    get(c)
    c.until(lambda f: f.kind == DATA)
    assert c.settle()
    return f"{len(c.body(1))} byte"


table(
    "http2/6.9.1",
    ("the connection's window above 2^31 - 1", FLOW, sends(window(0, MAX_WINDOW), window(0, MAX_WINDOW))),
    ("a stream's window above 2^31 - 1", "RST FLOW_CONTROL_ERROR", sends(window(1, MAX_WINDOW), window(1, MAX_WINDOW), before=hanging, stream=1)),
)


@case("http2/6.9.1", "all bytes")
def _(to):
    """an answer through a window that opens by one byte at a time"""
    c = connect(to, (INITIAL_WINDOW_SIZE, 0))
    get(c)
    assert c.settle() and not c.body(1)
    while not any("END_STREAM" in f.flags for f in c.saw(DATA)):
        c.send(window(1, 1))
        c.until(lambda f: f.kind == DATA)
    return "all bytes" if c.body(1) == b"ok\n" else c.body(1)


@case("http2/6.9.1", "RST FLOW_CONTROL_ERROR", FLOW)
def _(to):
    """more bytes than the server's window of the stream takes"""
    c = connect(to)
    opened(c)
    burst = b"".join(data(1, bytes(16384)) for _ in range(160))  # 2.5 MiB: more than both windows, unless it is read as fast
    for _ in range(20):
        c.send(burst)
        if not c.settle() or c.saw(RST_STREAM) or c.saw(GOAWAY):
            break
    return c.outcome(1)


@case("http2/6.9.2", "1 then 2 then all")
def _(to):
    """INITIAL_WINDOW_SIZE is changed after HEADERS"""
    c = connect(to, (INITIAL_WINDOW_SIZE, 1))
    get(c)
    c.until(lambda f: f.kind == DATA)
    c.send(settings((INITIAL_WINDOW_SIZE, 2)))
    c.until(lambda f: len(c.body(1)) == 2)
    c.send(settings((INITIAL_WINDOW_SIZE, 100)))
    return "1 then 2 then all" if c.answer(1) == "200" and c.body(1) == b"ok\n" else c.said()


@case("http2/6.9.2", "3 then nothing then 4")
def _(to):
    """INITIAL_WINDOW_SIZE makes a window negative"""
    c = connect(to, (INITIAL_WINDOW_SIZE, 3))
    c.send(headers(1, post(), end=False), data(1, chat(letters=100), end=True))
    c.until(lambda f: len(c.body(1)) == 3)
    c.send(settings((INITIAL_WINDOW_SIZE, 2)), window(1, 1))
    assert c.settle() and len(c.body(1)) == 3, len(c.body(1))
    c.send(window(1, 1))
    c.until(lambda f: len(c.body(1)) > 3)
    assert c.settle()
    return "3 then nothing then 4" if len(c.body(1)) == 4 else len(c.body(1))


table(
    "http2/6.9.2",
    ("INITIAL_WINDOW_SIZE of 2^31 while a stream is open", FLOW, sends(settings((INITIAL_WINDOW_SIZE, 2**31)), before=opened)),
    ("INITIAL_WINDOW_SIZE lifts an open stream's window above 2^31 - 1", FLOW, sends(window(1, MAX_WINDOW - 65535), settings((INITIAL_WINDOW_SIZE, MAX_WINDOW)), before=opened)),
)


FIELDS = block(head())


@case("http2/6.10", "200")
def _(to):
    """several CONTINUATION frames behind HEADERS"""
    c = connect(to)
    c.send(headers(1, FIELDS[:9], end_headers=False), continuation(1, FIELDS[9:12], False), continuation(1, FIELDS[12:]))
    return c.answer(1)


table(
    "http2/6.10",
    ("CONTINUATION, then DATA", PROTOCOL, sends(headers(1, FIELDS[:9], end_headers=False), continuation(1, FIELDS[9:], False), data(1, b"x"))),
    ("CONTINUATION on stream 0", PROTOCOL, sends(headers(1, FIELDS[:9], end_headers=False), continuation(0, FIELDS[9:]))),
    ("CONTINUATION behind HEADERS with END_HEADERS", PROTOCOL, sends(headers(1, post(), end=False), continuation(1, [("x", "y")]))),
    ("CONTINUATION behind CONTINUATION with END_HEADERS", PROTOCOL, sends(headers(1, FIELDS[:9], end=False, end_headers=False), continuation(1, FIELDS[9:]), continuation(1, [("x", "y")]))),
    ("CONTINUATION behind DATA", PROTOCOL, sends(headers(1, post(), end=False), data(1, b"x"), continuation(1, [("x", "y")]))),
    ("CONTINUATION of another stream", PROTOCOL, sends(headers(1, FIELDS[:9], end_headers=False), continuation(3, FIELDS[9:]))),
)

# --- 7, 8: codes, messages -------------------------------------------------------------------------------------------

table(
    "http2/7",
    ("GOAWAY with an unknown code", ("CLOSED", "GOAWAY NO_ERROR"), sends(frame(GOAWAY, 0, 0, struct.pack(">LL", 0, 0xFF)))),
    ("RST_STREAM with an unknown code", "NOTHING", sends(reset(1, 0xFF), before=opened, stream=1)),
)

MALFORMED = "RST PROTOCOL_ERROR"


def asks(fields, end=True):
    """A case whose only request has these fields, and that is answered one way or another."""

    def run(to):
        c = connect(to)
        c.send(headers(1, fields, end=end))
        return c.answer(1)

    return run


def without(name):
    return [field for field in head() if field[0] != name]


def twice(name, value):
    return [field for pair in head() for field in ([pair, (name, value)] if pair[0] == name else [pair])]


table(
    "http2/8.1",
    ("a second HEADERS frame without END_STREAM", MALFORMED, sends(data(1, b"x"), headers(1, [("x-sum", "1")], end=False), before=opened, stream=1)),
    ("trailers, then DATA", ("RST STREAM_CLOSED", CLOSED_CONNECTION), sends(headers(1, post(), end=False), data(1, chat("hang")), headers(1, [("x", "1")]), data(1, b"x"), stream=1)),
)
table(
    "http2/8.1.2",
    ("a field name in upper case", MALFORMED, asks(head() + [("X-TEST", "1")])),
)
table(
    "http2/8.1.2.1",
    ("an unknown pseudo field", MALFORMED, asks(head() + [(":test", "1")])),
    (":status in a request", MALFORMED, asks(head() + [(":status", "200")])),
    ("a pseudo field in trailers", MALFORMED, sends(data(1, chat("hang")), headers(1, [(":method", "GET")]), before=opened, stream=1)),
    ("a pseudo field behind a plain one", MALFORMED, asks(without(":path") + [("x", "1"), (":path", "/healthz")])),
)
table(
    "http2/8.1.2.2",
    ("connection", MALFORMED, asks(head() + [("connection", "keep-alive")])),
    ("te other than trailers", MALFORMED, asks(head() + [("te", "trailers, deflate")])),
    ("keep-alive", MALFORMED, asks(head() + [("keep-alive", "timeout=5")])),
    ("proxy-connection", MALFORMED, asks(head() + [("proxy-connection", "close")])),
    ("transfer-encoding", MALFORMED, asks(head() + [("transfer-encoding", "chunked")])),
    ("upgrade", MALFORMED, asks(head() + [("upgrade", "websocket")])),
)


@case("http2/8.1.2.2", "200")
def _(to):
    """te: trailers"""
    c = connect(to)
    get(c, 1, ("te", "trailers"))
    return c.answer(1)


table(
    "http2/8.1.2.3",
    ("an empty :path", MALFORMED, asks(head(path=""))),
    ("no :method", MALFORMED, asks(without(":method"))),
    ("no :scheme", MALFORMED, asks(without(":scheme"))),
    ("no :path", MALFORMED, asks(without(":path"))),
    (":method twice", MALFORMED, asks(twice(":method", "GET"))),
    (":scheme twice", MALFORMED, asks(twice(":scheme", "http"))),
    (":path twice", MALFORMED, asks(twice(":path", "/readyz"))),
    (":authority twice", MALFORMED, asks(twice(":authority", "localhost"))),
    ("neither :authority nor host", "400", asks(without(":authority"))),
)


@case("http2/8.1.2.3", "200")
def _(to):
    """host without :authority"""
    c = connect(to)
    c.send(headers(1, without(":authority") + [("host", "localhost")]))
    return c.answer(1)


def announced(length, *frames):
    return sends(headers(1, post(("content-length", str(length))), end=False), *frames, stream=1)


table(
    "http2/8.1.2.6",
    ("content-length above the DATA frame", MALFORMED, announced(9, data(1, b"test", end=True))),
    ("content-length above the sum of DATA frames", MALFORMED, announced(9, data(1, b"test"), data(1, b"test", end=True))),
    ("content-length below the DATA frame", MALFORMED, announced(3, data(1, b"test", end=True))),
    ("content-length below the sum of DATA frames", MALFORMED, announced(5, data(1, b"test"), data(1, b"test"))),
    ("content-length without DATA", MALFORMED, asks(post(("content-length", "1")))),
    ("content-length above DATA before trailers", MALFORMED, announced(9, data(1, b"test"), headers(1, [("x", "1")]))),
    ("two values of content-length", MALFORMED, asks(post(("content-length", "4"), ("content-length", "5")), end=False)),
    ("content-length that is no number", MALFORMED, asks(post(("content-length", "+4")), end=False)),
)
table(
    "http2/8.2",
    ("PUSH_PROMISE", PROTOCOL, sends(frame(PUSH_PROMISE, END_HEADERS, 1, struct.pack(">L", 2) + FIELDS), before=opened)),
)

# --- HPACK -----------------------------------------------------------------------------------------------------------

table(
    "hpack/2.3.3",
    ("an indexed field beyond the tables", COMPRESSION, asks(b"\x82\x86\x84\xff\x00")),
    ("a literal whose name is beyond the tables", COMPRESSION, asks(FIELDS + integer(80, 4) + string(b"x"))),
)
table(
    "hpack/4.2",
    ("a table size update behind the fields", COMPRESSION, asks(FIELDS + integer(0, 5, 0x20))),
    ("a table size update between the fields", COMPRESSION, asks(b"\x82" + integer(0, 5, 0x20) + FIELDS)),
)
table(
    "hpack/5.2",
    ("Huffman with more than seven bits of padding", COMPRESSION, asks(FIELDS + b"\x00\x01x" + b"\x82\x07\xff\xff"[:1] + b"\xff\xff")),
    ("Huffman padded with zeros", COMPRESSION, asks(FIELDS + b"\x00\x01x" + b"\x81\x00")),
    ("Huffman with the end symbol", COMPRESSION, asks(FIELDS + b"\x00\x01x" + b"\x84\xff\xff\xff\xff")),
    ("a string that is longer than the block", COMPRESSION, asks(FIELDS + b"\x00\x01x" + integer(2**30, 7))),
    ("an integer without an end", COMPRESSION, asks(FIELDS + b"\x00\x01x\x7f" + b"\xff" * 20 + b"\x01")),
)
table(
    "hpack/6.1",
    ("an indexed field with index 0", COMPRESSION, asks(FIELDS + b"\x80")),
)
table(
    "hpack/6.3",
    ("a table size update above SETTINGS_HEADER_TABLE_SIZE", COMPRESSION, asks(integer(4097, 5, 0x20) + FIELDS)),
    ("a table size update of 2^32", COMPRESSION, asks(integer(2**32, 5, 0x20) + FIELDS)),
)

# --- what RFC 9113 says besides --------------------------------------------------------------------------------------

BAD_VALUES = {"NUL": b"a\0b", "LF": b"a\nb", "CR": b"a\rb", "CRLF": b"a\r\nx: y", "DEL": b"a\x7f", "BEL": b"a\x07"}
BAD_NAMES = {"a space": b"x y", "a colon": b"x:y", "CRLF": b"x\r\ny", "NUL": b"x\0", "nothing": b"", "Latin-1": b"x\xe9", "a bracket": b"x(y"}
table(
    "rfc9113/8.2.1",
    *((f"a value with {words}", MALFORMED, asks(FIELDS + literal(b"x-a", value))) for words, value in BAD_VALUES.items()),
    *((f"a name with {words}", MALFORMED, asks(FIELDS + literal(name, b"1"))) for words, name in BAD_NAMES.items()),
    ("a value that begins with a space", (MALFORMED, "400"), asks(FIELDS + literal(b"x-a", b" 1"))),
    ("a value that ends with a tab", (MALFORMED, "400"), asks(FIELDS + literal(b"x-a", b"1\t"))),
    ("a bad value in trailers", MALFORMED, sends(data(1, chat("hang")), headers(1, literal(b"x", b"a\r\nb")), before=opened, stream=1)),
    ("a connection field in trailers", MALFORMED, sends(data(1, chat("hang")), headers(1, [("connection", "close")]), before=opened, stream=1)),
)
table(
    "rfc9113/8.3.1",
    *((f":path with {words}", (MALFORMED, "400"), asks(head(path=path))) for words, path in
      {"a space": "/a b", "CRLF": "/ HTTP/1.1\r\nx: y", "no slash": "healthz", "a fragment": "/healthz#a", "NUL": "/\0",
       "a whole URL": "http://localhost/healthz", "*": "*"}.items()),
    *((f":authority with {words}", (MALFORMED, "400"), asks(head(authority=name))) for words, name in
      {"a user": "u@localhost", "a space": "local host", "CRLF": "localhost\r\nx: y", "a slash": "localhost/x", "nothing": ""}.items()),
    *((f":method with {words}", (MALFORMED, "400"), asks(head(method=name))) for words, name in
      {"a space": "GET /x", "CRLF": "GET\r\n", "nothing": "", "a colon": "G:T"}.items()),
    (":scheme with a space", (MALFORMED, "400"), asks(head(scheme="ht tp"))),
    ("host other than :authority", (MALFORMED, "400"), asks(head() + [("host", "example.com")])),
    ("host twice", (MALFORMED, "400"), asks(head() + [("host", "localhost"), ("host", "localhost")])),
)
table(
    "rfc9113/8.5",
    ("CONNECT", ("405", MALFORMED), asks([(":method", "CONNECT"), (":authority", "localhost:1")])),
    ("CONNECT with a path", ("405", MALFORMED), asks(head("CONNECT"))),
    ("extended CONNECT that nobody offered", MALFORMED, asks(head("CONNECT", "/healthz", (":protocol", "websocket")))),
    ("TRACE", "405", asks(head("TRACE"))),
)


@case("rfc9113/8.2.3", "200")
def _(to):
    """cookies in pieces"""
    c = connect(to)
    get(c, 1, ("cookie", "a=b"), ("cookie", "c=d"))
    return c.answer(1)


@case("rfc9113/10.5.1", "431")
def _(to):
    """more fields than SETTINGS_MAX_HEADER_LIST_SIZE"""
    c = connect(to)
    most = next(f for f in c.saw(SETTINGS) if f.settings).settings[MAX_HEADER_LIST_SIZE]
    fields = block(head()) + literal("x", "y" * most)
    c.send(headers(1, fields[:16384], end_headers=False))
    pieces = [fields[at : at + 16384] for at in range(16384, len(fields), 16384)]
    c.send(*(continuation(1, piece, piece is pieces[-1]) for piece in pieces))
    return c.answer(1)


@case("rfc9113/10.5.1", "431")
def _(to):
    """more than a hundred fields"""
    c = connect(to)
    get(c, 1, *((f"x-{n}", "1") for n in range(101)))
    return c.answer(1)


@case("rfc9113/6.8", "200")
def _(to):
    """frames of a stream that the client has reset do no harm to the next one"""
    c = connect(to)
    for n in range(10):
        opened(c, 4 * n + 1)
        c.send(data(4 * n + 1, b"{"), reset(4 * n + 1))
        get(c, 4 * n + 3)
        assert c.answer(4 * n + 3) == "200"
    return c.of_stream(3)


@case("rfc9113/8.1", "all 413, then 200")
def _(to):
    """200 uploads at once that are refused before they end: what was on its way does the connection no harm"""
    c = connect(to)
    ids = [2 * n + 1 for n in range(200)]
    c.send(*(headers(i, post(("content-length", str(2**27))), end=False) for i in ids))
    c.until(lambda f: len(c.fields) == len(ids))
    told = {c.status(i) for i in ids}
    for _ in range(3):
        c.send(*(data(i, bytes(1000)) for i in ids))
        assert c.settle(), c.said()
    c.send(*(headers(i, [("x", "1")]) for i in ids))  # the trailers of an upload that has heard nothing yet
    assert c.settle(), c.said()
    c.send(headers(1001, head()))
    return f"all {told.pop()}, then {c.answer(1001)}" if len(told) == 1 else told


def main():
    upstream = Upstream()
    router = Router(upstream.provider())
    try:
        return suite.run(router.address)
    finally:
        router.stop()


if __name__ == "__main__":
    sys.exit(main())
