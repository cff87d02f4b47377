"""What a client writes in HTTP/2 must not become something else in HTTP/1. Each case sends one request that tries; either
it is refused and nothing at all reaches the upstream, or the upstream, whose parser is h11, sees one request that is
whole, with the body that was sent and nothing that was smuggled into its head. A good request before and behind it on the
same upstream connection would show any byte too many or too few."""

import json
import sys

from cases import Suite
from router import Router
from server import CHAT, head, post
from upstream import Upstream, chat
from wire import *

suite = Suite("downgrade")
MARK = b"x-smuggled"


def asks(c, stream, fields, body):
    c.send(headers(stream, fields, end=not body))
    if body:
        c.send(data(stream, body, end=True))
    return c.answer(stream)


def tries(section, words, fields, body=None, expected=("refused",), before_end=b""):
    """`fields`: the header block of the request."""
    body = chat() if body is None else body

    def run(world):
        router, upstream = world
        seen = len(upstream.exchanges)
        c = connect(router.address)
        assert asks(c, 1, post(), chat()) == "200"
        c.send(headers(3, fields, end=False), before_end or data(3, body, end=True))
        outcome = c.answer(3)
        # On a connection of its own, if that one was ended; on the same upstream connection in any case.
        after = c if not c.gone and not outcome.startswith("GOAWAY") else connect(router.address)
        stream = 5 if after is c else 1
        assert asks(after, stream, post(("x-after", "1")), chat()) == "200"
        assert not upstream.faults, upstream.faults
        mine = upstream.exchanges[seen:]
        assert dict(mine[-1].head.headers)[b"x-after"] == b"1", "the last request is the last one"
        assert all(exchange.body == chat() for exchange in mine[::2] if len(mine) == 2)
        for exchange in mine:
            fields_seen = exchange.head.headers.raw_items()
            lengths = [value for name, value in fields_seen if name.lower() == b"content-length"]
            hosts = [value for name, value in fields_seen if name.lower() == b"host"]
            names = {name.lower() for name, _ in fields_seen}
            assert exchange.head.method == b"POST" and exchange.head.target.partition(b"?")[0] == CHAT.encode(), exchange.head
            assert lengths == [str(len(exchange.body)).encode()], lengths
            assert hosts == [f"127.0.0.1:{upstream.port}".encode()], hosts
            assert not names & {b"transfer-encoding", b"te", b"trailer", b"upgrade", b"keep-alive", MARK}, names
            assert not any(MARK in value or b"\r" in value or b"\n" in value for _, value in fields_seen), fields_seen
        if len(mine) == 2:
            assert not outcome.startswith("200"), "an answer without a request"
            return "refused"
        assert len(mine) == 3 and outcome == "200", (outcome, len(mine))
        assert mine[1].document == json.loads(body)
        return "passed"

    run.__doc__ = words
    suite.case(section, *expected)(run)


def plus(*pairs):
    return block(post()) + b"".join(literal(*one) for one in pairs)


def instead(name, value):
    return block([(n, value if n == name else v) for n, v in post()])


HARMLESS = ("passed",)
EITHER = ("refused", "passed")
SMUGGLED = "x\r\nx-smuggled: 1"

for words, name in {
    "upper case": "X-Smuggled", "a colon": "x: y\r\nx-smuggled", "a CR": "x\rx-smuggled", "a LF": "x\nx-smuggled",
    "a space": "x x-smuggled", "a trailing space": "x-smuggled ", "a tab": "x-smuggled\t", "NUL": "x\0x-smuggled",
    "a colon first": ":x-smuggled", "nothing": "", "a whole request": "x: y\r\n\r\nGET /admin HTTP/1.1\r\nx-smuggled",
    "a byte above ASCII": "x-smuggled\xe9", "a trailing colon": "transfer-encoding:",
}.items():
    tries("name", f"a field name with {words}", plus((name, "1")))
for words, value in {
    "CRLF": SMUGGLED, "LF": "x\nx-smuggled: 1", "CR": "x\rx-smuggled: 1", "NUL": "x\0x-smuggled",
    "two line ends and a request": "x\r\n\r\nGET / HTTP/1.1\r\nx-smuggled: 1\r\n\r\n", "CRLF last": "x\r\n",
    "a fold": "x\r\n x-smuggled",
}.items():
    tries("value", f"a value with {words}", plus(("x-a", value)))
    tries("value", f"a credential with {words}", plus(("authorization", value)))
tries("value", "a value with spaces around", plus(("x-a", " 1 ")), expected=HARMLESS)
tries("value", "a value of UTF-8", plus(("x-a", "gr\xc3\xbc\xc3\x9fe".encode("latin-1"))), expected=HARMLESS)
for name, value in [
    ("transfer-encoding", "chunked"), ("transfer-encoding", "identity"), ("transfer-encoding", ""), ("connection", "close, x-a"),
    ("connection", "content-length"), ("keep-alive", "1"), ("proxy-connection", "close"), ("upgrade", "websocket"), ("upgrade", "h2c"),
    ("te", "chunked"), ("te", "trailers, chunked"), ("te", ""),
]:
    tries("connection", f"{name}: {value}", plus((name, value)))
tries("connection", "te: trailers", plus(("te", "trailers")), expected=HARMLESS)
tries("connection", "trailer, and no trailers", plus(("trailer", "content-length, transfer-encoding")), expected=HARMLESS)
tries("connection", "http2-settings", plus(("http2-settings", "AAMAAABkAAQAoAAAAAIAAAAA")), expected=EITHER)
tries("connection", "expect: 100-continue", plus(("expect", "100-continue")), expected=EITHER)

LENGTH = len(chat())
for words, values in {
    "0": ["0"], "1 less": [LENGTH - 1], "1 more": [LENGTH + 1], "twice the same": [LENGTH, LENGTH], "two": [LENGTH, 0], "a list": [f"{LENGTH}, {LENGTH}"],
    "a sign": [f"+{LENGTH}"], "negative": ["-1"], "hexadecimal": [f"0x{LENGTH:x}"], "empty": [""], "2^64 more": [2**64 + LENGTH], "a fraction": [f"{LENGTH}.0"],
    "a point behind": [f"{LENGTH} 1"],
}.items():
    # Two of the same may be read as one (RFC 9110 §8.6).
    tries("content-length", f"content-length: {words}", plus(*(("content-length", str(v)) for v in values)), expected=EITHER if words == "twice the same" else ("refused",))
tries("content-length", "the right one", plus(("content-length", str(LENGTH))), expected=HARMLESS)
tries("content-length", "one with zeros in front", plus(("content-length", f"000{LENGTH}")), expected=EITHER)
tries("content-length", "none, and a body in pieces", block(post()), before_end=b"".join(data(3, chat()[i : i + 7]) for i in range(0, LENGTH, 7)) + data(3, b"", True), expected=HARMLESS)
tries("content-length", "a right one, and a body that goes on", plus(("content-length", str(LENGTH))), body=chat() + b"POST /admin HTTP/1.1\r\n\r\n")
tries("content-length", "trailers that would be a head", block(post()), before_end=data(3, chat()) + headers(3, [("content-length", "0"), ("host", "x-smuggled"), ("x-smuggled", "1")]), expected=HARMLESS)
tries("content-length", "trailers with CRLF", block(post()), before_end=data(3, chat()) + headers(3, literal("x", SMUGGLED)))

for words, path in {
    "a space": f"{CHAT} HTTP/1.1", "CRLF": f"{CHAT} HTTP/1.1\r\nx-smuggled: 1", "LF": f"{CHAT}\nx-smuggled: 1", "a tab": f"{CHAT}\tx", "NUL": f"{CHAT}\0",
    "nothing": "", "no slash": "v1/chat/completions", "a URL": f"http://x-smuggled{CHAT}", "two dots": f"/v1/../v1/admin", "*": "*",
    "a byte above ASCII": f"{CHAT}\xe9",
}.items():
    tries("path", f":path with {words}", instead(":path", path))
tries("path", ":path with a query", instead(":path", f"{CHAT}?x-smuggled=1"), expected=EITHER)
tries("path", ":path with a coded line end", instead(":path", f"{CHAT}%0d%0ax-smuggled:1"), expected=("refused",))
for words, method in {"a space": "POST /admin", "CRLF": f"POST / HTTP/1.1\r\nx-smuggled: 1\r\n\r\nPOST", "nothing": "", "lower case": "post"}.items():
    tries("method", f":method with {words}", instead(":method", method))
for words, name in {
    "CRLF": "localhost\r\nx-smuggled: 1", "a space": "localhost x-smuggled", "a user": "x-smuggled@localhost", "a path": "localhost/x-smuggled", "a comma": "localhost,x-smuggled",
    "nothing": "", "another host": "x-smuggled.example", "NUL": "localhost\0",
}.items():
    tries("authority", f":authority with {words}", instead(":authority", name))
# It names us and nobody else: the upstream is told its own name.
tries("authority", ":authority with a port that is none", instead(":authority", "localhost:x"), expected=EITHER)
tries("authority", "host as :authority", plus(("host", "localhost")), expected=HARMLESS)
tries("authority", "host other than :authority", plus(("host", "x-smuggled")))
tries("authority", "host twice", plus(("host", "localhost"), ("host", "localhost")))
tries("authority", ":authority twice", block([(":authority", "localhost")]) + block(post()))
tries("authority", "host alone, twice", block([f for f in post() if f[0] != ":authority"] + [("host", "localhost"), ("host", "x-smuggled")]))
tries("authority", "host with a line end", plus(("host", "localhost\r\nx-smuggled: 1")))
tries("scheme", ":scheme with a line end", instead(":scheme", "http\r\nx-smuggled: 1"))
tries("scheme", ":scheme with a host", instead(":scheme", "http://x-smuggled"))


def main():
    upstream = Upstream()
    router = Router(upstream.provider())
    try:
        return suite.run((router, upstream))
    finally:
        router.stop()


if __name__ == "__main__":
    sys.exit(main())
