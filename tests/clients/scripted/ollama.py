"""Ollama /api/chat and /api/generate: the server's side."""

import json

from .view import Part, Tool, Turn, View, b64, need

NAME = "ollama"
GO = "json: cannot unmarshal {got} into Go struct field {where} of type {want}"


def authorised(headers, query):
    return True


def kind_of(v):
    return {str: "string", bool: "bool", int: "number", float: "number", list: "array", dict: "object", type(None): "null"}[type(v)]


def typed(v, types, where, want):
    need(isinstance(v, types), GO.format(got=kind_of(v), where=where, want=want))


def parse(body, headers, query, path):
    need(isinstance(body.get("model"), str) and body["model"], "model is required")
    stream = body.get("stream", True)
    typed(stream, (bool, type(None)), "ChatRequest.stream", "bool")
    think = body.get("think")
    need(
        think in (None, True, False, "low", "medium", "high", "max"),
        f'invalid think value: "{think}" (must be "high", "medium", "low", true, or false)',
    )
    fmt = body.get("format")
    need(fmt in (None, "", "json") or isinstance(fmt, dict), f'invalid format: "{fmt}"; expected "json" or a JSON schema')
    typed(body.get("options") or {}, dict, "ChatRequest.options", "map[string]interface {}")
    turns, system, open_calls = [], [], []
    if path.endswith("/generate"):
        typed(body.get("prompt", ""), str, "GenerateRequest.prompt", "string")
        msgs = [{"role": "user", "content": body.get("prompt", ""), "images": body.get("images") or []}]
    else:
        msgs = body.get("messages") or []
        typed(msgs, list, "ChatRequest.messages", "[]api.Message")
    for m in msgs:
        typed(m, dict, "ChatRequest.messages", "api.Message")
        role = m.get("role")
        need(role in ("system", "user", "assistant", "tool"), f"invalid role: {role}")
        typed(m.get("content", ""), (str, type(None)), "Message.messages.content", "string")
        text = m.get("content") or ""
        images = [Part("image", mime="", data=b64(x, "illegal base64 data")) for x in m.get("images") or []]
        if role == "system":
            system.append(text)
        elif role == "user":
            turns.append(Turn("user", [Part("text", text=text)] + images))
        elif role == "assistant":
            parts = [Part("think", text=m["thinking"])] if m.get("thinking") else []
            if text:
                parts.append(Part("text", text=text))
            need(not open_calls, f"script: tool calls without results: {open_calls}")
            for c in m.get("tool_calls") or []:
                f = c.get("function")
                typed(f, dict, "ToolCall.function", "api.ToolCallFunction")
                typed(f.get("arguments"), dict, "ToolCallFunction.arguments", "api.ToolCallFunctionArguments")
                open_calls.append([c.get("id") or "", f.get("name")])
                parts.append(Part("call", id=c.get("id") or "", name=f.get("name"), args=f["arguments"]))
            turns.append(Turn("assistant", parts))
        else:
            need(open_calls, "script: a tool message without a tool call before it")
            # ids where both sides have them, else the first open call of that name, else the first
            ident, name = m.get("tool_call_id") or "", m.get("tool_name") or ""
            hit = next((c for c in open_calls if ident and c[0] == ident), None)
            hit = hit or next((c for c in open_calls if name and c[1] == name), None)
            need(hit or not name, f"script: tool message for {name!r}, open are {open_calls}")
            hit = hit or open_calls[0]
            open_calls.remove(hit)
            turns.append(Turn("user", [Part("result", id=hit[0], name=hit[1], text=text, parts=images)]))
    need(not open_calls, f"script: tool calls without results: {open_calls}")
    tools = []
    for t in body.get("tools") or []:
        need(isinstance(t, dict) and t.get("type") == "function" and isinstance(t.get("function"), dict), "tools: function expected")
        f = t["function"]
        typed(f.get("parameters", {}), dict, "ToolFunction.parameters", "api.ToolFunctionParameters")
        tools.append(Tool(f.get("name"), f.get("parameters") or {}))
    return View(
        NAME,
        body["model"],
        stream is not False,
        turns,
        "\n".join(system),
        tools,
        fmt if isinstance(fmt, dict) else None,
        bool(think),
        True,
        body,
    )


def base(view):
    return {"model": view.model, "created_at": "2026-09-20T10:00:00.123456789Z"}


def put(view, message, **more):
    if "prompt" in view.body:
        row = {"response": message.get("content", "")}
        if message.get("thinking"):
            row["thinking"] = message["thinking"]
        return base(view) | row | more
    return base(view) | {"message": {"role": "assistant"} | message} | more


def tail(answer):
    u = answer.usage
    return {
        "done": True,
        "done_reason": "length" if answer.finish == "length" else "stop",
        "total_duration": 5043500667,
        "load_duration": 5025959,
        "prompt_eval_count": u["uncached"] + u["read"] + u["write"],
        "prompt_eval_duration": 325953000,
        "eval_count": u["output"],
        "eval_duration": 4709213000,
    }


def calls(answer):
    return [
        {"id": p.id, "function": {"index": i, "name": p.name, "arguments": p.args}}
        for i, p in enumerate(p for p in answer.pieces if p.kind == "tool")
    ]


def document(answer, view):
    m = {"content": "".join(p.text for p in answer.pieces if p.kind in ("text", "refusal"))}
    think = "".join(p.text for p in answer.pieces if p.kind == "think")
    if think:
        m["thinking"] = think
    if calls(answer):
        m["tool_calls"] = calls(answer)
    return put(view, m, **tail(answer))


def row(obj):
    return json.dumps(obj, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def stream(answer, view):
    for p in answer.pieces:
        for c in p.chunks if p.kind in ("think", "text", "refusal") else []:
            yield "content", row(put(view, {"content": "", "thinking": c} if p.kind == "think" else {"content": c}, done=False))
    if calls(answer):
        yield "content", row(put(view, {"content": "", "tool_calls": calls(answer)}, done=False))
    yield "post", row(put(view, {"content": ""}, **tail(answer)))


KINDS = {"invalid": 400, "auth": 401, "not_found": 404, "rate_limit": 429, "overloaded": 503, "api": 500}


def error(kind, message, retry_after=None):
    return KINDS[kind], {"error": message}, {"retry-after": str(retry_after)} if retry_after else {}


def error_event(kind, message, sequence=0):
    return row({"error": message})


CONTENT_TYPE = "application/x-ndjson"
