"""The official Python SDKs against every upstream dialect.

pytest tests/clients/sdk_python.py             through the gateway named by FLOW_ROUTER_BIN
pytest tests/clients/sdk_python.py --direct    without it: proves the suite and the scripted upstream
"""

import hashlib
import itertools
import json
import struct
import time
import zlib

import pytest

from adapters import ADAPTERS, Ask
from harness import model_of
from scripted.view import CONST

TEXT = "".join(CONST["text"])
THINKING = "".join(CONST["thinking"])
RESULTS = CONST["tool_results"]
TAGS = itertools.count(1)
both = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


def png():
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + bytes((x * 7 + y * 13) % 256 for x in range(48 * 3)) for y in range(48))
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", 48, 48, 8, 2, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


PNG = png()
PDF = b"%PDF-1.4\n" + bytes(range(256)) * 4 + b"\n%%EOF\n"
WAV = b"RIFF\x24\x00\x00\x00WAVEfmt " + bytes(200)


class Case:
    """One test: a client, an upstream, a tag of its own."""

    def __init__(self, world, pair, scenario):
        self.world, (client, self.up) = world, pair
        self.client = client
        self.tag = f"t{next(TAGS)}"
        self.sdk = ADAPTERS[client](world.base(), world.key())
        self.model = model_of(self.up)
        self.prompt = f"Please. [[scenario {scenario}]] [[tag {self.tag}]]"

    def ask(self, **kw):
        kw.setdefault("model", self.model)
        return Ask(prompt=self.prompt, **kw)

    def requests(self):
        return self.world.up.requests(self.tag)

    def sent(self, count):
        """No retry, no detour: exactly so many requests reached the upstream, all in its dialect, with its own key."""
        rs = self.requests()
        assert len(rs) == count, f"{len(rs)} requests reached the upstream: {[(r['path'], r['status'], r['refused']) for r in rs]}"
        for r in rs:
            assert r["dialect"] == self.up
            assert "client-key" not in json.dumps(r["headers"]), "the client's key reached the upstream"

    def finish(self, what):
        return self.sdk.finish[what]


@pytest.fixture
def case(world, pair):
    return lambda scenario: Case(world, pair, scenario)


# ------------------------------------------------------------------ text
@both
def test_text(case, stream):
    c = case("text")
    r = c.sdk.ask(c.ask(stream=stream))
    assert r.text == TEXT
    assert r.finish == c.finish("end")
    assert r.id and r.model and not r.calls and not r.think
    if stream:
        assert len(r.deltas) >= len(CONST["text"]), "deltas were merged"
    c.sent(1)


def test_text_by_provider_and_model(case):
    """`provider/model`, as well as the bare model name that the other tests use."""
    c = case("text")
    if c.world.direct:
        pytest.skip("needs the gateway")
    r = c.sdk.ask(c.ask(model="up-%s/%s" % (c.model.split("-")[0], c.model)))
    assert r.text == TEXT
    assert c.requests()[0]["body"].get("model", c.model) == c.model


@both
def test_system(case, stream):
    c = case("system")
    r = c.sdk.ask(c.ask(stream=stream, system="SYSTEM-MARK: be brief."))
    assert r.text == "system arrived"


def test_history(case):
    c = case("history")
    r = c.sdk.ask(c.ask(history=[("user", "My name is Ada."), ("assistant", "Hello Ada.")]))
    assert r.text == "You are Ada."


def test_split(case):
    """Network reads of three bytes, cut inside characters and inside line ends."""
    c = case("split")
    assert c.sdk.ask(c.ask(stream=True)).text == TEXT


def test_big(case):
    c = case("big")
    r = c.sdk.ask(c.ask(stream=True))
    want = "".join(f"chunk {i:04d} \u00e4\U0001f600 " + "x" * 180 for i in range(1000))
    assert hashlib.sha256(r.text.encode()).hexdigest() == hashlib.sha256(want.encode()).hexdigest()
    assert len(r.deltas) == 1000


def test_slow(case):
    """Each delta is passed on when it comes: the upstream takes 40 ms between two."""
    c = case("slow")
    times = []
    r = c.sdk.ask(c.ask(stream=True, on_delta=lambda _: times.append(time.monotonic())))
    assert r.text == "".join(f"{i} " for i in range(10))
    assert len(times) == 10
    assert times[-1] - times[0] > 0.25, "the answer came in one piece at the end"


class Enough(Exception):
    pass


def test_client_leaves(case):
    """A client that hangs up takes its upstream request with it."""
    c = case("endless")
    seen = []

    def leave(text):
        seen.append(text)
        if len(seen) == 3:
            raise Enough

    with pytest.raises(Enough):
        c.sdk.ask(c.ask(stream=True, on_delta=leave))
    # closing the SDK's connection is what hanging up means; a generator left behind would keep it open
    for attr in ("c", "_client"):
        close = getattr(getattr(c.sdk, attr, None), "close", None)
        if close:
            close()
    if c.client == "ollama":
        c.sdk.c._client.close()
    record = c.world.up.wait(c.tag, "client_gone")
    assert record["events"] < 2000


# ------------------------------------------------------------------ tools
@both
@pytest.mark.parametrize("scenario", ["tool", "text_tool"])
def test_tool(case, stream, scenario):
    c = case(scenario)
    a = c.ask(stream=stream, tools=True)
    r = c.sdk.ask(a)
    assert [(n, x) for _, n, x in r.calls] == [("get_weather", CONST["tool_args"])]
    assert r.finish == c.finish("tool")
    assert r.text == ("Let me look." if scenario == "text_tool" else "")
    if c.client not in ("ollama", "gemini"):
        assert r.calls[0][0]
    r2 = c.sdk.follow(a, r, [RESULTS[0]])
    assert r2.text == "Tool said: " + RESULTS[0]
    assert r2.finish == c.finish("end")
    c.sent(2)


@both
@pytest.mark.parametrize("scenario", ["tools2", "tools2_interleaved"])
def test_two_tools(case, stream, scenario):
    c = case(scenario)
    a = c.ask(stream=stream, tools=True)
    r = c.sdk.ask(a)
    assert [(n, x) for _, n, x in r.calls] == [("get_weather", {"city": x}) for x in CONST["cities"]]
    assert r.finish == c.finish("tool")
    if c.client not in ("ollama", "gemini"):
        assert len({i for i, _, _ in r.calls}) == 2
    r2 = c.sdk.follow(a, r, RESULTS)
    assert r2.text == " | ".join(f"{x}: {y}" for x, y in zip(CONST["cities"], RESULTS))
    c.sent(2)


@both
def test_tool_without_arguments(case, stream):
    c = case("tool_no_args")
    a = c.ask(stream=stream, tools=True)
    r = c.sdk.ask(a)
    assert [(n, x) for _, n, x in r.calls] == [("ping", {})]
    assert c.sdk.follow(a, r, ["pong"]).text == "Tool said: pong"


# ------------------------------------------------------------------ thinking
def thinking(c, stream, scenario="think", strip=False, model=None):
    a = c.ask(stream=stream, tools=True, think=True, **({"model": model} if model else {}))
    r = c.sdk.ask(a)
    if scenario != "redacted":
        assert r.think == THINKING
    assert [(n, x) for _, n, x in r.calls] == [("get_weather", CONST["tool_args"])]
    assert r.text == ""
    r2 = c.sdk.follow(a, r, [RESULTS[0]], strip=strip)
    assert r2.text == "Tool said: " + RESULTS[0]
    c.sent(2)


@both
def test_thinking(case, pair, stream):
    """Over two turns; the upstream checks that its signature came back. Ollama's client has no place for one."""
    scenario = "think_lenient" if pair[0] == "ollama" else "think"
    thinking(case(scenario), stream, scenario)


@both
def test_thinking_stripped(case, pair, stream):
    """Clients that drop what they do not know: the turn must still be legal; where the vendor insists, the gateway remembers."""
    if pair == ("anthropic", "anthropic"):
        pytest.skip("the vendor refuses it, and same-dialect requests are forwarded as they are")
    insists = pair[0] in ("openai_chat", "gemini") and pair[0] != pair[1]
    c = case("think" if insists else "think_lenient")
    if c.world.direct:
        pytest.skip("needs the gateway")
    thinking(c, stream, strip=True)


@both
def test_redacted_thinking(case, pair, stream):
    if pair[1] != "anthropic":
        pytest.skip("only Anthropic has it")
    scenario = "think_lenient" if pair[0] in ("ollama", "gemini") else "redacted"
    thinking(case(scenario), stream, scenario)


@both
@pytest.mark.parametrize("model", ["claude-sonnet-4-5", "claude-opus-4-6", "gemini-2.5-flash", "gemini-3-pro"])
def test_thinking_of_families(case, pair, stream, model):
    """Models whose name says which form of thinking they take."""
    if model.split("-")[0] != {"anthropic": "claude", "gemini": "gemini"}.get(pair[1]):
        pytest.skip("another vendor's model")
    scenario = "think_lenient" if pair[0] == "ollama" else "think"
    thinking(case(scenario), stream, scenario, model=model)


@both
def test_thinking_then_text(case, stream):
    c = case("think_text")
    r = c.sdk.ask(c.ask(stream=stream, think=True))
    assert (r.think, r.text) == (THINKING, TEXT)
    assert r.finish == c.finish("end")


# ------------------------------------------------------------------ content
@both
def test_image(case, stream):
    c = case("image")
    r = c.sdk.ask(c.ask(stream=stream, image=PNG))
    assert r.text == f"image of {len(PNG)} bytes, sha256 {hashlib.sha256(PNG).hexdigest()[:16]}"


def test_pdf(case, pair):
    if pair[0] == "ollama":
        pytest.skip("Ollama's clients cannot send one")
    c = case("pdf")
    if pair[1] == "ollama":
        with pytest.raises(c.sdk.errors) as e:
            c.sdk.ask(c.ask(pdf=PDF))
        assert problem(e.value).status == 400
        return
    r = c.sdk.ask(c.ask(pdf=PDF))
    assert r.text == f"file of {len(PDF)} bytes, sha256 {hashlib.sha256(PDF).hexdigest()[:16]}"


def test_audio(case, pair):
    if pair[0] not in ("openai_chat", "gemini"):
        pytest.skip("this client cannot send it")
    c = case("audio")
    if pair[1] not in ("openai_chat", "gemini"):
        with pytest.raises(c.sdk.errors) as e:
            c.sdk.ask(c.ask(audio=WAV))
        assert problem(e.value).status == 400
        return
    r = c.sdk.ask(c.ask(audio=WAV))
    assert r.text == f"audio of {len(WAV)} bytes, sha256 {hashlib.sha256(WAV).hexdigest()[:16]}"


@both
def test_structured(case, stream):
    c = case("structured")
    r = c.sdk.ask(c.ask(stream=stream, schema=True))
    assert json.loads(r.text) == CONST["structured"]
    assert r.parsed is not None and r.parsed.model_dump() == CONST["structured"]


# ------------------------------------------------------------------ ends and numbers
@both
def test_length(case, stream):
    c = case("length")
    r = c.sdk.ask(c.ask(stream=stream))
    assert (r.text, r.finish) == ("cut by the limit", c.finish("length"))


@both
def test_refusal(case, pair, stream):
    """Refusals keep their words, or at least their reason, wherever the dialect has a place for it."""
    client, up = pair
    c = case("refusal")
    r = c.sdk.ask(c.ask(stream=stream))
    said = "I cannot help with that."
    if up == "gemini":  # a blocked candidate has no content
        assert r.text == "" and r.refusal == ""
    else:
        assert said in (r.text, r.refusal)
    if up in ("anthropic", "gemini"):
        assert r.finish == c.finish("filter")
    if up in ("openai_chat", "openai_responses") and client == "anthropic":
        assert r.finish == "refusal"
    if up == client and up in ("openai_chat", "openai_responses"):
        assert r.refusal == said


def expected_usage(client, up):
    """The script's numbers as the upstream's dialect can say them, then as the client's can."""
    n = dict(CONST["usage"])
    if up == "gemini":
        n["uncached"], n["write"] = n["uncached"] + n["write"], 0
    if up == "ollama":
        n = dict(n, uncached=n["uncached"] + n["read"] + n["write"], read=0, write=0, reasoning=0)
    whole = n["uncached"] + n["read"] + n["write"]
    if client == "anthropic":
        return {"input": n["uncached"], "output": n["output"], "read": n["read"], "write": n["write"], "reasoning": n["reasoning"]}
    if client == "gemini":
        return {
            "input": whole,
            "output": n["output"] - n["reasoning"],
            "total": whole + n["output"],
            "read": n["read"],
            "reasoning": n["reasoning"],
        }
    if client == "ollama":
        return {"input": whole, "output": n["output"]}
    return {
        "input": whole,
        "output": n["output"],
        "total": whole + n["output"],
        "read": n["read"],
        "write": n["write"],
        "reasoning": n["reasoning"],
    }


@both
def test_usage(case, pair, stream):
    c = case("usage")
    assert c.sdk.ask(c.ask(stream=stream)).usage == expected_usage(*pair)


def test_count_tokens(case, pair):
    if pair[0] not in ("anthropic", "gemini"):
        pytest.skip("this client has no such call")
    c = case("text")
    n = c.sdk.count(c.model)
    assert n == CONST["count_tokens"] if pair[1] in ("anthropic", "gemini") else n > 0


def test_models(case):
    c = case("text")
    names = c.sdk.models()
    assert any(n == c.model or n.endswith("/" + c.model) for n in names), names


# ------------------------------------------------------------------ errors
class Problem:
    def __init__(self, e):
        self.name = type(e).__name__
        self.status = getattr(e, "status_code", None) or getattr(e, "code", None)
        response = getattr(e, "response", None)
        self.headers = getattr(response, "headers", None) or {}
        self.message = str(e)


def problem(e):
    return Problem(e)


NAMES = {
    "err429": {
        "openai_chat": "RateLimitError",
        "openai_responses": "RateLimitError",
        "anthropic": "RateLimitError",
        "gemini": "ClientError",
        "ollama": "ResponseError",
    },
    "overload": {
        "openai_chat": "InternalServerError",
        "openai_responses": "InternalServerError",
        "anthropic": "OverloadedError",
        "gemini": "ServerError",
        "ollama": "ResponseError",
    },
    "err400": {
        "openai_chat": "BadRequestError",
        "openai_responses": "BadRequestError",
        "anthropic": "BadRequestError",
        "gemini": "ClientError",
        "ollama": "ResponseError",
    },
    "err401": {
        "openai_chat": "AuthenticationError",
        "openai_responses": "AuthenticationError",
        "anthropic": "AuthenticationError",
        "gemini": "ClientError",
        "ollama": "ResponseError",
    },
    "err404": {
        "openai_chat": "NotFoundError",
        "openai_responses": "NotFoundError",
        "anthropic": "NotFoundError",
        "gemini": "ClientError",
        "ollama": "ResponseError",
    },
    "err500": {
        "openai_chat": "InternalServerError",
        "openai_responses": "InternalServerError",
        "anthropic": "InternalServerError",
        "gemini": "ServerError",
        "ollama": "ResponseError",
    },
}
STATUS = {"err429": {429}, "err400": {400}, "err401": {401}, "err404": {404}, "err500": {500, 502}}


def overloaded(client):
    return {529} if client == "anthropic" else {503}


@both
@pytest.mark.parametrize("scenario", list(NAMES))
def test_error(case, pair, scenario, stream):
    """A failing upstream is a true HTTP error of the client's dialect, with the vendor's words."""
    c = case(scenario)
    with pytest.raises(c.sdk.errors) as e:
        c.sdk.ask(c.ask(stream=stream))
    p = problem(e.value)
    assert p.name == NAMES[scenario][c.client], p.message
    assert p.status in STATUS.get(scenario, overloaded(c.client)), p.message
    assert CONST["messages"][scenario] in p.message
    if scenario == "err429" and c.client != "ollama":  # Ollama's SDK does not show headers
        if pair == ("gemini", "gemini"):
            assert "'retryDelay': '7s'" in p.message  # where this vendor says it
        else:
            assert p.headers.get("retry-after") in ("6", "7"), dict(p.headers)
    c.sent(1)


def test_overload_in_stream(case, pair):
    """200, the prologue, then `overloaded`: the gateway holds the prologue, so the client sees a true 503 or 529."""
    c = case("overload_in_stream")
    with pytest.raises(c.sdk.errors) as e:
        c.sdk.ask(c.ask(stream=True))
    p = problem(e.value)
    assert "scripted: overloaded" in p.message
    if not c.world.direct:
        assert p.status in overloaded(c.client), p.message
    c.sent(1)


def broken(c, stream):
    """The exceptions that a cut may raise. Through the gateway only the SDK's own error will do, except for a
    document that is forwarded as it comes: there nothing but cutting the client off can tell."""
    if not c.world.direct and (stream or c.client != c.up):
        return c.sdk.errors
    import httpx
    import httpx2

    return c.sdk.errors + (httpx.HTTPError, httpx2.HTTPError)


@both
@pytest.mark.parametrize("scenario", ["cut", "cut_tool", "cut_clean", "error_mid"])
def test_broken_in_the_middle(case, pair, scenario, stream):
    """An answer that ends early is an exception, never a short answer."""
    c = case(scenario)
    if scenario == "cut_clean" and c.world.direct:
        pytest.skip("an SDK alone cannot see it")
    seen = []
    with pytest.raises(broken(c, stream)) as e:
        c.sdk.ask(c.ask(stream=stream, tools=scenario == "cut_tool", on_delta=seen.append))
    if stream and scenario not in ("cut_tool",):
        assert TEXT.startswith("".join(seen)) and seen, "what came before the break was not passed on"
    if scenario == "error_mid":
        assert CONST["messages"]["error_mid"] in str(e.value)
    c.sent(1)


# ------------------------------------------------------------------ bad requests of the client's own
def test_unknown_model(case):
    c = case("text")
    if c.world.direct:
        pytest.skip("needs the gateway")
    with pytest.raises(c.sdk.errors) as e:
        c.sdk.ask(c.ask(model="no-such-model"))
    assert problem(e.value).status == 404
    assert "no-such-model" in str(e.value)
    c.sent(0)
