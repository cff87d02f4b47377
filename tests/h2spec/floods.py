"""Clients that keep the server busy for nothing. Whatever they do must cost little, end their own connection and no other:
beside each of them a well-behaved client, Python's `h2`, goes on asking and is answered."""

import sys
import threading
import time

import h2.connection
import h2.events

from cases import Suite
from router import Router
from server import CHAT, head, post
from upstream import Upstream, chat
from wire import *

suite = Suite("floods")
case = suite.case

MEMORY = 32 << 20  # bytes that the process may grow by
CPU = 3.0  # seconds; of a build without optimisation, on a busy machine
CALM = "GOAWAY ENHANCE_YOUR_CALM"


class Neighbour(threading.Thread):
    """A well-behaved client: one request after the other on one connection, until it is told to stop."""

    def __init__(self, address):
        super().__init__(daemon=True)
        self.address, self.over, self.answers, self.longest, self.fault = address, threading.Event(), 0, 0.0, None
        self.start()

    def run(self):
        try:
            with socket.create_connection(self.address, PATIENCE) as sock:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.settimeout(PATIENCE)
                client = h2.connection.H2Connection()
                client.initiate_connection()
                while not self.over.is_set() or self.answers == 0:
                    began = time.monotonic()
                    self.ask(client, sock)
                    self.answers += 1
                    self.longest = max(self.longest, time.monotonic() - began)
        except Exception as fault:
            self.fault = fault

    def ask(self, client, sock):
        stream = client.get_next_available_stream_id()
        client.send_headers(stream, post())
        client.send_data(stream, chat(letters=100), end_stream=True)
        status, body = None, b""
        while True:
            sock.sendall(client.data_to_send())
            incoming = sock.recv(65536)
            assert incoming, "the neighbour's connection was closed"
            for event in client.receive_data(incoming):
                if isinstance(event, h2.events.ResponseReceived):
                    status = dict(event.headers)[b":status" if isinstance(event.headers[0][0], bytes) else ":status"]
                elif isinstance(event, h2.events.DataReceived):
                    body += event.data
                    client.acknowledge_received_data(event.flow_controlled_length, stream)
                elif isinstance(event, h2.events.StreamEnded):
                    assert status in (b"200", "200") and b"x" * 100 in body, (status, body)
                    return
                elif isinstance(event, (h2.events.StreamReset, h2.events.ConnectionTerminated)):
                    raise AssertionError(f"the neighbour was told {event}")

    def stop(self):
        self.over.set()
        self.join(PATIENCE)
        assert not self.is_alive() and self.fault is None, f"the neighbour: {self.fault}"
        # What a flood takes from others is a turn of the loop, not seconds.
        assert self.longest < 10, f"a neighbour waited for {self.longest:.1f} s"


class World:
    """What the cases share: the gateway, what stands behind it, and the most that a case has cost."""

    def __init__(self):
        self.upstream = Upstream()
        self.router = Router(self.upstream.provider())
        self.costs = []

    def most(self, *cost):
        self.costs.append(cost)

    def summary(self):
        cpu, memory, longest = (max(column) for column in zip(*self.costs))
        return f"the most that one of them cost: {cpu:.2f} s of CPU, {memory / (1 << 20):.1f} MiB, {longest:.2f} s for a neighbour's request"


def flood(words, *expected, pairs=(), before=None, most=400):
    """A case: `make(n)` is sent until the server ends the connection, `most` times if it does not."""

    def add(make):
        def run(world):
            router, upstream = world.router, world.upstream
            neighbour = Neighbour(router.address)
            memory, cpu = router.memory(), router.cpu()
            c = connect(router.address, *pairs)
            if before:
                before(c)
            c.acks = False  # two threads must not write
            reader = threading.Thread(target=read_all, args=(c,), daemon=True)
            reader.start()
            sent = 0
            while sent < most and not c.gone:
                c.send(make(sent))
                sent += 1
            reader.join(PATIENCE if sent < most else 1.0)
            ended = bool(c.gone)
            c.sock.close()
            reader.join(PATIENCE)
            neighbour.stop()
            cpu, memory = router.cpu() - cpu, router.memory() - memory
            world.most(cpu, memory, neighbour.longest)
            assert cpu < CPU, f"{cpu:.1f} s of CPU"
            assert memory < MEMORY, f"{memory >> 20} MiB more"
            goaway = c.saw(GOAWAY)
            return f"GOAWAY {code_name(goaway[-1].error_code)}" if goaway else c.gone if ended else "goes on"

        run.__doc__ = words
        case("flood", *expected)(run)
        return run

    return add


def read_all(c):
    """Keeps what the server sends from filling its pipes."""
    try:
        while True:
            c.next()
            if len(c.seen) > 1000:
                c.seen = [f for f in c.seen if f.kind == GOAWAY]
    except (Closed, OSError, AssertionError, ValueError):
        c.gone = c.gone or "CLOSED"


GET = block(head())
POST = block(post())


def pair(n):
    """The stream of the n-th request."""
    return 2 * n + 1


@flood("rapid reset: HEADERS and RST_STREAM at once (CVE-2023-44487)", CALM)
def _(n):
    return b"".join(headers(pair(n * 100 + i), GET) + reset(pair(n * 100 + i)) for i in range(100))


@flood("rapid reset of requests that are going on: the server has begun them", CALM, most=4000)
def _(n):
    return headers(pair(n), POST, end=False) + data(pair(n), chat("hang")[:20]) + (reset(pair(n - 10)) if n >= 10 else b"")


@flood("requests whose window overflows (CVE-2025-8671)", CALM)
def _(n):
    ids = [pair(n * 20 + i) for i in range(20)]
    return b"".join(headers(i, POST, end=False) + window(i, MAX_WINDOW) + window(i, 1) for i in ids)


@flood("requests with a WINDOW_UPDATE of 0 (CVE-2025-8671)", "GOAWAY PROTOCOL_ERROR")
def _(n):
    ids = [pair(n * 20 + i) for i in range(20)]
    return b"".join(headers(i, POST, end=False) + window(i, 0) for i in ids)


@flood("requests with more DATA than they announced (CVE-2025-8671)", CALM)
def _(n):
    ids = [pair(n * 20 + i) for i in range(20)]
    return b"".join(headers(i, POST + literal("content-length", "1"), end=False) + data(i, b"xx") for i in ids)


@flood("more streams than are allowed", CALM)
def _(n):
    return b"".join(headers(pair(n * 100 + i), POST, end=False) for i in range(100))


@flood("CONTINUATION without end (CVE-2024-27316)", CALM, "GOAWAY COMPRESSION_ERROR")
def _(n):
    first = headers(1, GET, end_headers=False) if n == 0 else b""
    return first + continuation(1, block([(f"x-{n}-{i}", "y" * 100) for i in range(100)]), False)


@flood("empty CONTINUATION without end", CALM)
def _(n):
    return (headers(1, GET, end_headers=False) if n == 0 else b"") + continuation(1, b"", False) * 1000


@flood("SETTINGS without end (CVE-2019-9515)", CALM)
def _(n):
    return settings((INITIAL_WINDOW_SIZE, 65535 + n % 2)) * 500


@flood("PING without end (CVE-2019-9512)", CALM)
def _(n):
    return ping() * 500


@flood("PING between small pieces of a body", CALM)
def _(n):
    return (headers(1, POST, end=False) if n == 0 else b"") + data(1, b" ") + ping() * 500


@flood("empty DATA without end (CVE-2019-9518)", CALM)
def _(n):
    return (headers(1, POST, end=False) if n == 0 else b"") + data(1) * 500


@flood("PRIORITY without end (CVE-2019-9513)", CALM)
def _(n):
    return b"".join(priority(pair(i), on=pair(i + n), weight=i % 256) for i in range(500) if n)


@flood("WINDOW_UPDATE without end", CALM)
def _(n):
    return window(0, 1) * 500


@flood("unknown frames without end", CALM)
def _(n):
    return frame(0xEE, 0, 0, b"12345678") * 500


@flood("RST_STREAM of closed streams without end", CALM, before=lambda c: (c.send(headers(1, GET)), c.answer(1)))
def _(n):
    return reset(1) * 500


@flood("a header bomb: a field of 4 KB in the table, named over and over", CALM, "GOAWAY COMPRESSION_ERROR", "goes on", most=40)
def _(n):
    first = GET + b"\x40" + string(b"x-bomb") + integer(3900, 7) + b"b" * 3900 if n == 0 else GET
    return headers(pair(n), first + b"\xbe" * 10000)


@flood("requests with a field above all limits", CALM, "GOAWAY COMPRESSION_ERROR", most=40)
def _(n):
    return headers(pair(n), GET + literal("x-a", b"y" * 16000)[:16000], end_headers=False) + continuation(pair(n), b"y" * 16384, False) * 100


@flood("a window that opens byte by byte (CVE-2019-9511)", CALM, pairs=((INITIAL_WINDOW_SIZE, 0),),
       before=lambda c: c.send(headers(1, POST, end=False), data(1, chat(letters=100_000), end=True)))
def _(n):
    time.sleep(0)  # the other thread takes what came
    return window(1, 1) * 20


# --- those that only hold on -----------------------------------------------------------------------------------------


def holding(words, expected, pairs, letters, streams=256):
    """A case: `streams` answers of so many letters are asked for and not taken. Nothing piles up."""

    def run(world):
        router, upstream = world.router, world.upstream
        neighbour = Neighbour(router.address)
        memory, cpu = router.memory(), router.cpu()
        c = connect(router.address, *pairs)
        for n in range(streams):
            c.send(headers(pair(n), POST, end=False), data(pair(n), chat(letters=letters), end=True))
        served = len(upstream.wait(0)) + 1
        c.until(lambda f: len(c.fields) == streams)  # each was begun
        alive = c.settle()
        grown, used = router.memory() - memory, router.cpu() - cpu
        c.sock.close()
        neighbour.stop()
        assert alive and served
        world.most(used, grown, neighbour.longest)
        assert used < CPU * 2, f"{used:.1f} s of CPU for {streams} answers"
        assert grown < MEMORY + streams * letters, f"{grown >> 20} MiB more"
        return "held"

    run.__doc__ = words
    case("hold", expected)(run)


holding("256 answers of 20 KB and a window of 0", "held", ((INITIAL_WINDOW_SIZE, 0),), 20_000)
holding("256 answers of 20 KB and a window of 1", "held", ((INITIAL_WINDOW_SIZE, 1),), 20_000)
holding("256 answers of 20 KB and a connection's window that is used up", "held", (), 20_000)


@case("wear", "GOAWAY NO_ERROR, all answered")
def _(world):
    """an empty DATA frame per request: the connection is ended in good order before the crate ends it"""
    c = connect(world.router.address)
    for n in range(90):
        c.send(headers(pair(n), POST, end=False), data(pair(n)), data(pair(n), chat(), end=True))
        answer = c.answer(pair(n)) if not c.saw(GOAWAY) else c.of_stream(pair(n))
        if c.saw(GOAWAY):
            first = c.saw(GOAWAY)[0]
            return f"GOAWAY {code_name(first.error_code)}, {'all answered' if all(c.status(pair(i)) == 200 for i in range(n)) else 'not all answered'}"
        assert answer == "200", answer
    return "goes on"


def hanging(world, requests=50):
    """A connection with so many requests that nobody answers. -> it, and their exchanges at the upstream"""
    before = len(world.upstream.exchanges)
    c = connect(world.router.address)
    for n in range(requests):
        c.send(headers(pair(n), POST, end=False), data(pair(n), chat("hang"), end=True))
    return c, world.upstream.wait(before + requests)[before:]


@case("hold", "gone")
def _(world):
    """requests that are given up with their connection are given up upstream"""
    c, mine = hanging(world)
    c.send(ping() * 5000)  # a flood ends them as well as leaving does
    try:
        while True:
            c.next()
    except Closed:
        pass
    assert c.saw(GOAWAY), c.said()
    return "gone" if all(exchange.ended.wait(PATIENCE) for exchange in mine) else "still there"


@case("hold", "gone")
def _(world):
    """requests that the server had to reset are given up upstream (CVE-2025-8671)"""
    c, mine = hanging(world)
    c.send(*(window(pair(n), MAX_WINDOW) for n in range(50)))
    assert c.settle() and len(c.saw(RST_STREAM)) == 50, c.said()
    gone = all(exchange.ended.wait(PATIENCE) for exchange in mine)
    c.send(headers(201, head()))
    assert c.answer(201) == "200"
    return "gone" if gone else "still there"


def main():
    world = World()
    # What is allocated once is not counted against the first case.
    for _ in range(3):
        warm = Neighbour(world.router.address)
        warm.stop()
    try:
        code = suite.run(world)
        print(f"floods: {world.summary()}" if world.costs else "")
        return code
    finally:
        world.router.stop()


if __name__ == "__main__":
    sys.exit(main())
