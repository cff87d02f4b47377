"""What the scripted upstream answers. The request says it: `[[scenario NAME]]` in its last user text.

`[[tag X]]` beside it names the test, so that a test finds its own requests and a second turn its first.
A scenario that misses something in the request (a tool, an image, a signature) refuses it with a 400 that
says what: the client's exception then carries the reason to the test's report.
"""

import base64
import hashlib
import json

from .agent import agent
from .answer import NUMBERS, Answer, Piece
from .schema import instance
from .view import CONST, Refused, need


def tool_id(dialect, n, i):
    return {"anthropic": "toolu_01Scripted%012d%02d", "gemini": "g%06d%02d"}.get(dialect, "call_Scripted%014d%02d") % (n, i)


def sign(view, n, text, tag, name="", args=None, form="sig"):
    """An opaque blob of a realistic length and alphabet; remembered, so that its return can be checked."""
    seed = f"{view.dialect}/{n}/{form}/{text}".encode()
    blob = base64.b64encode(hashlib.sha512(seed).digest() * 3).decode()
    NUMBERS.issue(blob, text=text, dialect=view.dialect, tag=tag, name=name, args=args)
    return blob


def text(chunks):
    return Piece("text", list(chunks))


def tool(view, n, i, name, args, sig=""):
    return Piece("tool", id=tool_id(view.dialect, n, i), name=name, args=args, sig=sig)


def weather(view):
    need(view.tools, "script: no tools arrived")
    t = next((t for t in view.tools if t.name == "get_weather"), None)
    need(t, f"script: get_weather was not offered, but {[t.name for t in view.tools]}")
    need("city" in (t.schema.get("properties") or {}), f"script: the schema of get_weather arrived as {json.dumps(t.schema)}")
    return t.name


def answered(view, at, expected):
    """Checks that calls and results of the first turn came back as they were. -> texts of the results, in call order"""
    calls, results = view.since(at)
    need(len(calls) == len(expected), f"script: {len(calls)} calls came back, not {len(expected)}")
    for c, want in zip(calls, expected):
        need(
            c.args == want,
            f"script: arguments came back as {json.dumps(c.args, ensure_ascii=False)}, not {json.dumps(want, ensure_ascii=False)}",
        )
    need(len(results) == len(calls), f"script: {len(results)} results for {len(calls)} calls")
    if all(c.id for c in calls) and all(r.id for r in results):
        by_id = {r.id: r for r in results}
        need(set(by_id) == {c.id for c in calls}, "script: ids of calls and results differ")
        results = [by_id[c.id] for c in calls]
    return [r.text for r in results]


def one_tool(view, n, at, marks):
    if not view.since(at)[1]:
        sig = sign(view, n, "", marks.get("tag"), "get_weather", CONST["tool_args"]) if view.dialect == "gemini" else ""
        return Answer([tool(view, n, 0, weather(view), CONST["tool_args"], sig)], "tool")
    got = answered(view, at, [CONST["tool_args"]])
    return Answer([text(["Tool said: ", got[0]])])


def text_and_tool(view, n, at, marks):
    a = one_tool(view, n, at, marks)
    if a.finish == "tool":
        a.pieces.insert(0, text(["Let me", " look."]))
    return a


def two_tools(view, n, at, marks, interleave=False):
    asked = [{"city": c} for c in CONST["cities"]]
    if not view.since(at)[1]:
        name = weather(view)
        sig = sign(view, n, "", marks.get("tag"), name, asked[0]) if view.dialect == "gemini" else ""
        a = Answer([tool(view, n, i, name, x, "" if i else sig) for i, x in enumerate(asked)], "tool")
        a.interleave = interleave and view.dialect in ("openai_chat", "openai_responses")
        return a
    got = answered(view, at, asked)
    return Answer([text([f"{c}: {r}" for c, r in zip(CONST["cities"], [got[0] + " | ", got[1]])])])


def interleaved(view, n, at, marks):
    return two_tools(view, n, at, marks, True)


def no_arguments(view, n, at, marks):
    if not view.since(at)[1]:
        sig = sign(view, n, "", marks.get("tag"), "ping", {}) if view.dialect == "gemini" else ""
        need(any(t.name == "ping" for t in view.tools), "script: the tool ping was not offered")
        return Answer([tool(view, n, 0, "ping", {}, sig)], "tool")
    return Answer([text(["Tool said: ", answered(view, at, [{}])[0]])])


def thinking(view, n, at, marks, strict=True, redacted=False):
    """Turn one thinks, signs and calls. Turn two must bring the signature back, byte for byte."""
    tag = marks.get("tag")
    if not view.since(at)[1]:
        need(view.reasoning, "script: reasoning was not asked for")
        chunks = list(CONST["thinking"])
        whole = "".join(chunks)
        usage = dict(CONST["plain_usage"], output=29, reasoning=20)
        args = CONST["tool_args"]
        name = weather(view)
        if view.dialect == "gemini":
            sig = sign(view, n, whole, tag, name, args)
            return Answer([Piece("think", chunks), tool(view, n, 0, name, args, sig)], "tool", usage)
        if view.dialect == "openai_responses":
            need(view.reveal, "script: include reasoning.encrypted_content is missing")
        if redacted and view.dialect == "anthropic":
            first = Piece("redacted", sig=sign(view, n, "", tag, form="red"))
        else:
            first = Piece("think", chunks, sign(view, n, whole, tag))
        return Answer([first, tool(view, n, 0, name, args)], "tool", usage)
    got = answered(view, at, [CONST["tool_args"]])
    if strict and view.dialect in ("anthropic", "openai_responses", "gemini"):
        want = NUMBERS.of_tag(tag)
        if view.dialect == "gemini":
            have = [c.sig for c in view.since(at)[0]]
        else:
            have = [p.sig for p in view.thinking_since(at)]
        need(want and any(w in have for w in want), f"script: the signature of turn one did not come back (got {[h[:24] for h in have]})")
    return Answer([text(["Tool said: ", got[0]])])


def lenient(view, n, at, marks):
    return thinking(view, n, at, marks, strict=False)


def redacted(view, n, at, marks):
    return thinking(view, n, at, marks, redacted=True)


def think_text(view, n, at, marks):
    need(view.reasoning, "script: reasoning was not asked for")
    chunks = list(CONST["thinking"])
    sig = sign(view, n, "".join(chunks), marks.get("tag")) if view.dialect != "gemini" else ""
    return Answer([Piece("think", chunks, sig), text(CONST["text"])], usage=dict(CONST["plain_usage"], output=29, reasoning=20))


def media(kind):
    def scenario(view, n, at, marks):
        found = [p for t in view.turns for p in t.parts if p.kind == kind]
        need(found, f"script: no {kind} arrived")
        p = found[0]
        need(p.data, f"script: the {kind} arrived without its bytes")
        return Answer([text([f"{kind} of {len(p.data)} bytes, sha256 {hashlib.sha256(p.data).hexdigest()[:16]}"])])

    return scenario


def tool_image(view, n, at, marks):
    """The result of the call is an image; dialects that cannot hold it there carry it in the next user message."""
    if not view.since(at)[1]:
        return one_tool(view, n, at, marks)
    found = [p for t in view.turns for q in t.parts for p in [q, *q.parts] if p.kind == "image"]
    need(found, "script: the image of the tool result did not arrive")
    return Answer([text([f"image of {len(found[0].data)} bytes, sha256 {hashlib.sha256(found[0].data).hexdigest()[:16]}"])])


def structured(view, n, at, marks):
    need(view.schema, "script: no JSON schema arrived")
    props = view.schema.get("properties") or {}
    need(set(CONST["structured"]) <= set(props), f"script: the schema arrived as {json.dumps(view.schema)}")
    whole = json.dumps(CONST["structured"], ensure_ascii=False)
    return Answer([text([whole[:11], whole[11:30], whole[30:]])])


def system(view, n, at, marks):
    need("SYSTEM-MARK" in view.system, f"script: the system prompt arrived as {view.system[:80]!r}")
    return Answer([text(["system arrived"])])


def history(view, n, at, marks):
    """Three turns of text: each must have come with its role."""
    roles = [(t.role, "".join(p.text for p in t.parts if p.kind == "text")) for t in view.turns]
    need([r for r, _ in roles] == ["user", "assistant", "user"], f"script: turns arrived as {roles}")
    need(roles[0][1] == "My name is Ada." and roles[1][1] == "Hello Ada.", f"script: texts arrived as {roles}")
    return Answer([text(["You are Ada."])])


def plain(view, n, at, marks):
    return Answer([text(CONST["text"])])


def usage(view, n, at, marks):
    return Answer([text(["counted"])], usage=dict(CONST["usage"]))


def length(view, n, at, marks):
    return Answer([text(["cut by", " the limit"])], "length")


def refusal(view, n, at, marks):
    kind = "refusal" if view.dialect in ("openai_chat", "openai_responses") else "text"
    finish = "end" if view.dialect in ("openai_chat", "openai_responses", "ollama") else "filter"
    return Answer([Piece(kind, ["I cannot", " help with that."])], finish)


def slow(view, n, at, marks):
    return Answer([text([f"{i} " for i in range(10)])], pace=0.04)


def endless(view, n, at, marks):
    return Answer([text([f"{i} " for i in range(4000)])], pace=0.005)


def big(view, n, at, marks):
    return Answer([text([f"chunk {i:04d} \u00e4\U0001f600 " + "x" * 180 for i in range(1000)])])


def split(view, n, at, marks):
    """The network cuts everywhere, also inside characters."""
    return Answer([text(CONST["text"])], split=3)


def failing(kind, key, retry_after=None):
    def scenario(view, n, at, marks):
        raise Refused(CONST["messages"][key], kind, retry_after)

    return scenario


def faulty(fault, with_tool=False):
    def scenario(view, n, at, marks):
        a = one_tool(view, n, at, marks) if with_tool else plain(view, n, at, marks)
        a.fault = fault
        a.fault_after = 0 if fault == "overload" else 4
        return a

    return scenario


SCENARIOS = {
    "text": plain,
    "tool": one_tool,
    "text_tool": text_and_tool,
    "tools2": two_tools,
    "tools2_interleaved": interleaved,
    "tool_no_args": no_arguments,
    "tool_image": tool_image,
    "think": thinking,
    "think_lenient": lenient,
    "think_text": think_text,
    "redacted": redacted,
    "image": media("image"),
    "pdf": media("file"),
    "audio": media("audio"),
    "structured": structured,
    "system": system,
    "history": history,
    "usage": usage,
    "length": length,
    "refusal": refusal,
    "slow": slow,
    "endless": endless,
    "big": big,
    "split": split,
    "err429": failing("rate_limit", "err429", CONST["retry_after"]),
    "overload": failing("overloaded", "overload"),
    "err400": failing("invalid", "err400"),
    "err401": failing("auth", "err401"),
    "err404": failing("not_found", "err404"),
    "err500": failing("api", "err500"),
    "overload_in_stream": faulty("overload"),
    "cut": faulty("cut"),
    "cut_clean": faulty("cut_clean"),
    "cut_tool": faulty("cut", with_tool=True),
    "error_mid": faulty("error_mid"),
    "agent": agent,
}


def play(view, n):
    """-> (name, tag, Answer)"""
    at, marks = view.marks()
    name = marks.get("scenario")
    if name is None or name == "hang":
        a = Answer([text([json.dumps(instance(view.schema))])]) if view.schema else Answer([text(["ok"])])
    else:
        need(name in SCENARIOS, f"script: no scenario {name!r}")
        a = SCENARIOS[name](view, n, at, marks)
    a.n = n
    return a
