"""HTTP/2 on a raw socket, for either side: frames that are right (hyperframe), frames that are not (bytes), and what the
peer made of them, in words.

Nothing here sleeps. What the peer did is known once it has answered two PINGs: whatever it had to say about the frames
before them has been written by then.
"""

import socket
import ssl
import struct

import hpack
from hyperframe.frame import Frame

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
PATIENCE = 20.0  # seconds; only a failing case waits so long

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
PRIORITIZED = 0x20

HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE = range(1, 7)

CODES = [
    "NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED",
    "FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM",
    "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED",
]
MAX_WINDOW = 2**31 - 1


def frame(kind, flags=0, stream=0, payload=b"", length=None, reserved=False):
    """Any frame, right or wrong; `length` lies about the payload."""
    length = len(payload) if length is None else length
    head = length.to_bytes(3, "big") + bytes([kind, flags]) + (stream | (reserved << 31)).to_bytes(4, "big")
    return head + payload


def settings(*pairs, ack=False):
    return frame(SETTINGS, ACK if ack else 0, 0, b"".join(struct.pack(">HL", *pair) for pair in pairs))


def ping(data=b"12345678", ack=False):
    return frame(PING, ACK if ack else 0, 0, data)


def window(stream, increment):
    return frame(WINDOW_UPDATE, 0, stream, struct.pack(">L", increment))


def reset(stream, code=8):
    return frame(RST_STREAM, 0, stream, struct.pack(">L", code))


def priority(stream, on=0, weight=15, exclusive=False):
    return frame(PRIORITY, 0, stream, struct.pack(">LB", on | (exclusive << 31), weight))


def data(stream, payload=b"", end=False):
    return frame(DATA, END_STREAM if end else 0, stream, payload)


def string(text, huffman=False):
    """A string literal of HPACK (RFC 7541 §5.2) of less than 127 bytes, or of any length by `integer`."""
    if huffman:
        from hpack.huffman import HuffmanEncoder
        from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH

        coded = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH).encode(text)
        return integer(len(coded), 7, 0x80) + coded
    return integer(len(text), 7) + text


def integer(value, bits, first=0):
    """An integer of HPACK (RFC 7541 §5.1)."""
    limit = (1 << bits) - 1
    if value < limit:
        return bytes([first | value])
    out, value = [first | limit], value - limit
    while value >= 128:
        out.append(value % 128 + 128)
        value //= 128
    return bytes(out + [value])


def literal(name, value, huffman=False):
    """A field as a literal without indexing: any bytes, no table, the same block for every connection."""
    name, value = (part.encode("latin-1") if isinstance(part, str) else part for part in (name, value))
    return b"\x00" + string(name, huffman) + string(value, huffman)


def block(fields):
    return b"".join(literal(name, value) for name, value in fields)


def headers(stream, fields, end=True, end_headers=True, flags=0):
    """HEADERS of `fields`, a list of pairs or a header block."""
    fields = fields if isinstance(fields, bytes) else block(fields)
    flags |= (END_STREAM if end else 0) | (END_HEADERS if end_headers else 0)
    return frame(HEADERS, flags, stream, fields)


def continuation(stream, fields=b"", end_headers=True):
    fields = fields if isinstance(fields, bytes) else block(fields)
    return frame(CONTINUATION, END_HEADERS if end_headers else 0, stream, fields)


def code_name(code):
    return CODES[code] if code < len(CODES) else f"code {code}"


class Closed(Exception):
    """The peer is gone: `how` is CLOSED (an end) or CUT (a reset of TCP)."""

    def __init__(self, how):
        super().__init__(how)
        self.how = how


class Wire:
    """One side of a connection. What arrives is parsed by hyperframe and kept in `seen`."""

    def __init__(self, sock):
        self.sock = sock
        self.sock.settimeout(PATIENCE)
        self.buffer = b""
        self.seen = []
        self.pings = 0
        self.decoder = hpack.Decoder()
        self.fields = {}  # stream -> list of header lists
        self.fragment = b""
        self.acks = True  # of SETTINGS and PING
        self.gone = None

    def send(self, *frames):
        try:
            self.sock.sendall(b"".join(frames))
        except (ConnectionError, ssl.SSLError):
            pass  # what the peer said before is still to be read

    def close(self):
        self.sock.close()

    def fill(self, size):
        while len(self.buffer) < size:
            try:
                more = self.sock.recv(65536)
            except socket.timeout:
                raise AssertionError(f"the peer says nothing more; so far: {self.said()}") from None
            except (ConnectionError, ssl.SSLError):
                more, self.gone = b"", "CUT"
            if not more:
                self.gone = self.gone or "CLOSED"
                raise Closed(self.gone)
            self.buffer += more

    def next(self):
        """The next frame, a raw one with hyperframe's view of it as `view`."""
        if self.gone:
            raise Closed(self.gone)
        self.fill(9)
        length = int.from_bytes(self.buffer[:3], "big")
        assert length <= 16384, f"a frame of {length} bytes, though nobody allowed it"
        self.fill(9 + length)
        raw, self.buffer = self.buffer[: 9 + length], self.buffer[9 + length :]
        view, _ = Frame.parse_frame_header(memoryview(raw[:9]))
        view.parse_body(memoryview(raw[9:]))
        view.kind, view.payload = raw[3], raw[9:]
        self.seen.append(view)
        if view.kind == SETTINGS and "ACK" not in view.flags and self.acks:
            self.send(settings(ack=True))
        if view.kind == PING and "ACK" not in view.flags and self.acks:
            self.send(ping(view.opaque_data, ack=True))
        if view.kind in (HEADERS, CONTINUATION):
            self.fragment += view.data
            if "END_HEADERS" in view.flags:
                block, self.fragment = self.fragment, b""
                decoded = [(str(name), str(value)) for name, value in self.decoder.decode(block)]
                self.fields.setdefault(view.stream_id, []).append(decoded)
        return view

    def until(self, test):
        """Frames until one fits. -> that one"""
        while True:
            found = self.next()
            if test(found):
                return found

    def settle(self):
        """Two PINGs after everything that was sent. -> whether the connection lives on"""
        try:
            for _ in range(2):
                self.pings += 1
                mark = b"mark" + self.pings.to_bytes(4, "big")
                self.send(ping(mark))
                self.until(lambda f: f.kind == PING and "ACK" in f.flags and f.opaque_data == mark)
            return True
        except Closed:
            return False

    def outcome(self, stream=None):
        """What the peer made of what was sent, in words:

        GOAWAY <code>      the connection was ended, with a word and an end of the socket
        CLOSED, CUT        the connection was ended without a word
        RST <code>         the stream was reset
        <status>           the stream was answered
        NOTHING            the connection lives on, and nothing was said about the stream
        """
        alive = self.settle()
        goaway = next((f for f in self.seen if f.kind == GOAWAY), None)
        if goaway is not None:
            try:
                while True:
                    self.next()
            except Closed:
                return f"GOAWAY {code_name(goaway.error_code)}"
        if not alive:
            return self.gone
        return self.of_stream(stream)

    def of_stream(self, stream):
        gone = next((f for f in self.seen if f.kind == RST_STREAM and stream in (None, f.stream_id)), None)
        if gone is not None:
            return f"RST {code_name(gone.error_code)}"
        status = self.status(stream)
        return "NOTHING" if status is None else str(status)

    def answer(self, stream):
        """Reads to the end of a stream. -> the same words as `outcome`"""
        try:
            done = lambda f: f.stream_id == stream and (f.kind == RST_STREAM or "END_STREAM" in f.flags)
            if not any(done(f) for f in self.seen):
                self.until(lambda f: done(f) or f.kind == GOAWAY)
        except Closed as closed:
            return closed.how
        if any(f.kind == GOAWAY for f in self.seen):
            return self.outcome(stream)
        return self.of_stream(stream)

    def status(self, stream):
        for number, lists in self.fields.items():
            if stream in (None, number):
                return int(dict(lists[0]).get(":status", 0)) or None
        return None

    def body(self, stream):
        return b"".join(f.data for f in self.seen if f.kind == DATA and f.stream_id == stream)

    def saw(self, kind, stream=None):
        return [f for f in self.seen if f.kind == kind and stream in (None, f.stream_id)]

    def said(self):
        return [str(f)[:120] for f in self.seen[-12:]]


def connect(address, *pairs, preface=True, acks=True):
    """A client's connection with the settings `pairs`, whose own settings the server has acknowledged."""
    sock = socket.create_connection(address, PATIENCE)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    wire = Wire(sock)
    wire.acks = acks
    if preface:
        wire.send(PREFACE, settings(*pairs))
        wire.until(lambda f: f.kind == SETTINGS and "ACK" in f.flags)
    return wire
