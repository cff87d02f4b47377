"""Anthropic Messages: the vendor's side."""

import json
import re

from .answer import NUMBERS, cut
from .view import CONST, Part, Refused, Tool, Turn, View, b64, is_int, known, need

NAME = "anthropic"
TOP = set(
    """model max_tokens messages system stream temperature top_p top_k stop_sequences tools tool_choice thinking output_config output_format
    metadata service_tier speed inference_geo container diagnostics cache_control context_management mcp_servers fallbacks""".split()
)
COUNT = TOP - {"max_tokens", "stream", "temperature", "top_p", "top_k", "stop_sequences", "metadata"}
BLOCK = {
    "text": {"type", "text", "cache_control", "citations"},
    "image": {"type", "source", "cache_control", "transformations"},
    "document": {"type", "source", "title", "context", "citations", "cache_control"},
    "thinking": {"type", "thinking", "signature"},
    "redacted_thinking": {"type", "data"},
    "tool_use": {"type", "id", "name", "input", "cache_control", "caller", "toolset_name"},
    "tool_result": {"type", "tool_use_id", "content", "is_error", "cache_control"},
}
FORM = "{where}.{name}: Extra inputs are not permitted"


def authorised(headers, query):
    return (headers.get("x-api-key") or "").startswith("test-key") or (headers.get("authorization") or "").startswith("Bearer test-key")


def adaptive_only(model):
    """claude-*-4-6 and later take adaptive thinking; older ones only a budget; other names both."""
    m = re.search(r"claude-[a-z]+-(\d+)-(\d+)", model)
    return None if not m else (int(m.group(1)), int(m.group(2))) >= (4, 6)


def text_block(p, at):
    need(isinstance(p.get("text"), str), f"{at}.text: Field required")
    need(p["text"], f"{at}: text content blocks must be non-empty")
    need(p["text"].strip(), f"{at}: text content blocks must contain non-whitespace text")
    return Part("text", text=p["text"])


def source(p, at):
    s = p.get("source")
    need(isinstance(s, dict), f"{at}.source: Field required")
    if s.get("type") == "base64":
        known(s, {"type", "media_type", "data"}, at + ".source", FORM)
        data = b64(s.get("data"), at + ".source.data")
        if p["type"] == "image":
            need(
                s.get("media_type") in ("image/jpeg", "image/png", "image/gif", "image/webp"), f"{at}.source.media_type: not an image type"
            )
            real = {b"\x89PN": "image/png", b"\xff\xd8\xff": "image/jpeg", b"GIF": "image/gif", b"RIF": "image/webp"}.get(data[:3])
            need(
                real == s["media_type"],
                f"{at}.source: The image was specified using the {s['media_type']} media type, but the image appears to be another one",
            )
        else:
            need(s.get("media_type") == "application/pdf", f"{at}.source.media_type: Input should be 'application/pdf'")
        return Part("image" if p["type"] == "image" else "file", mime=s["media_type"], data=data, name=p.get("title") or "")
    if s.get("type") == "text" and p["type"] == "document":
        need(s.get("media_type") == "text/plain" and isinstance(s.get("data"), str), f"{at}.source: text/plain expected")
        return Part("file", mime="text/plain", data=s["data"].encode(), name=p.get("title") or "")
    need(s.get("type") == "url" and isinstance(s.get("url"), str), f"{at}.source: Input tag '{s.get('type')}' found")
    return Part("image" if p["type"] == "image" else "file", text=s["url"])


def result_parts(value, at):
    if value is None:
        return []
    if isinstance(value, str):
        return [Part("text", text=value)]
    need(isinstance(value, list), f"{at}.content: Input should be a valid list")
    out = []
    for i, p in enumerate(value):
        pat = f"{at}.content.{i}"
        need(isinstance(p, dict) and p.get("type") in ("text", "image", "document"), f"{pat}: type")
        out.append(Part("text", text=p["text"]) if p["type"] == "text" else source(p, pat))
    return out


def parse(body, headers, query, path):
    counting = path.endswith("/count_tokens")
    need(headers.get("anthropic-version"), "anthropic-version: header is required")
    known(body, COUNT if counting else TOP, "", "{name}: Extra inputs are not permitted")
    need(isinstance(body.get("model"), str), "model: Field required")
    if not counting:
        need("max_tokens" in body, "max_tokens: Field required")
        need(is_int(body["max_tokens"]) and body["max_tokens"] >= 1, "max_tokens: Input should be greater than or equal to 1")
    msgs = body.get("messages")
    need(isinstance(msgs, list), "messages: Field required")
    need(msgs, "messages: at least one message is required")
    marks = json.dumps(body).count('"cache_control": {')
    need(marks <= 4, f"A maximum of 4 blocks with cache_control may be provided. Found {marks}.")
    system = body.get("system")
    if isinstance(system, list):
        for i, p in enumerate(system):
            need(isinstance(p, dict) and p.get("type") == "text", f"system.{i}.type: Input should be 'text'")
            known(p, BLOCK["text"], f"system.{i}", FORM)
            text_block(p, f"system.{i}")
        system = "\n".join(p["text"] for p in system)
    need(system is None or isinstance(system, str), "system: Input should be a valid string or list")

    turns, pending, mid_system = [], [], []
    need(msgs[0].get("role") == "user", 'messages: first message must use the "user" role')
    for i, m in enumerate(msgs):
        at = f"messages.{i}"
        known(m, {"role", "content"}, at, FORM)
        role = m.get("role")
        need(role in ("user", "assistant", "system"), f"{at}.role: Input should be 'user' or 'assistant'")
        c = m.get("content")
        need(isinstance(c, (str, list)), f"{at}.content: Field required")
        last = i == len(msgs) - 1
        need(
            c or (last and role == "assistant"),
            f"{at}: all messages must have non-empty content except for the optional final assistant message",
        )
        if isinstance(c, str):
            need(c.strip() or not c, f"{at}: text content blocks must contain non-whitespace text")
            c = [{"type": "text", "text": c}] if c else []
        if role == "system":
            mid_system += [p["text"] for p in c]
            continue
        parts, results_over, ids = [], False, []
        for j, p in enumerate(c):
            bat = f"{at}.content.{j}"
            need(
                isinstance(p, dict) and p.get("type") in BLOCK,
                f"{bat}: Input tag '{p.get('type') if isinstance(p, dict) else p}' found using 'type' does not match any of the expected tags",
            )
            typ = p["type"]
            known(p, BLOCK[typ], bat, FORM)
            need(
                role == "assistant" or typ not in ("thinking", "redacted_thinking", "tool_use"),
                f"{bat}: `{typ}` blocks can only be in `assistant` messages",
            )
            need(role == "user" or typ not in ("tool_result", "image", "document"), f"{bat}: `{typ}` blocks can only be in `user` messages")
            if typ == "text":
                parts.append(text_block(p, bat))
                results_over = True
            elif typ in ("image", "document"):
                parts.append(source(p, bat))
                results_over = True
            elif typ == "thinking":
                need(isinstance(p.get("signature"), str) and isinstance(p.get("thinking"), str), f"{bat}.signature: Field required")
                was = NUMBERS.issued.get(p["signature"])
                need(was and was["dialect"] == NAME, f"{bat}: Invalid `signature` in `thinking` block")
                need(
                    p["thinking"] in ("", was["text"]),
                    f"{bat}: `thinking` or `redacted_thinking` blocks in the latest assistant message cannot be modified. These blocks must remain as they were in the original response.",
                )
                parts.append(Part("think", text=p["thinking"], sig=p["signature"]))
            elif typ == "redacted_thinking":
                was = NUMBERS.issued.get(p.get("data"))
                need(was and was["dialect"] == NAME, f"{bat}: Invalid `data` in `redacted_thinking` block")
                parts.append(Part("redacted", sig=p["data"]))
            elif typ == "tool_use":
                need(re.fullmatch(r"[a-zA-Z0-9_-]+", p.get("id") or ""), f"{bat}.id: String should match pattern '^[a-zA-Z0-9_-]+$'")
                need(
                    re.fullmatch(r"[a-zA-Z0-9_-]{1,128}", p.get("name") or ""),
                    f"{bat}.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'",
                )
                need(isinstance(p.get("input"), dict), f"{bat}.input: Input should be a valid dictionary")
                need(p["id"] not in ids, "`tool_use` ids must be unique")
                ids.append(p["id"])
                parts.append(Part("call", id=p["id"], name=p["name"], args=p["input"]))
            else:
                tid = p.get("tool_use_id")
                need(
                    tid in pending,
                    f"{bat}: unexpected `tool_use_id` found in `tool_result` blocks: {tid}. Each `tool_result` block must have a corresponding `tool_use` block in the previous message.",
                )
                need(not results_over, f"{bat}: tool_result blocks must come first in the message, before any other block")
                pending.remove(tid)
                rp = result_parts(p.get("content"), bat)
                parts.append(
                    Part(
                        "result", id=tid, text="\n".join(x.text for x in rp if x.kind == "text"), parts=[x for x in rp if x.kind != "text"]
                    )
                )
        need(
            not pending,
            f"{at}: `tool_use` ids were found without `tool_result` blocks immediately after: {', '.join(pending)}. Each `tool_use` block must have a corresponding `tool_result` block in the next message.",
        )
        if ids:
            need(not last, "messages: the final message must not hold `tool_use` blocks")
        pending = list(ids)
        if last and role == "assistant" and parts and parts[-1].kind == "text":
            need(parts[-1].text == parts[-1].text.rstrip(), "messages: final assistant content cannot end with trailing whitespace")
        if turns and turns[-1].role == role:
            turns[-1].parts += parts
        else:
            turns.append(Turn(role, parts))

    tools, seen = [], set()
    for i, t in enumerate(body.get("tools") or []):
        at = f"tools.{i}"
        typ = t.get("type", "custom")
        need(t.get("name") not in seen, "tools: Tool names must be unique.")
        seen.add(t.get("name"))
        if typ != "custom":
            continue
        known(
            t,
            {
                "name",
                "input_schema",
                "description",
                "strict",
                "cache_control",
                "input_examples",
                "defer_loading",
                "eager_input_streaming",
                "allowed_callers",
                "type",
            },
            at + ".custom",
            FORM,
        )
        need(
            re.fullmatch(r"[a-zA-Z0-9_-]{1,128}", t.get("name") or ""),
            f"{at}.custom.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'",
        )
        s = t.get("input_schema")
        need(isinstance(s, dict), f"{at}.custom.input_schema: Field required")
        need(s.get("type") == "object", f"{at}.custom.input_schema.type: Field required")
        need(
            not {"oneOf", "anyOf", "allOf"} & set(s),
            f"{at}.custom.input_schema: input_schema does not support oneOf, allOf, or anyOf at the top level",
        )
        tools.append(Tool(t["name"], s))
    need(
        tools or body.get("tools") or not any(p.kind in ("call", "result") for t in turns for p in t.parts),
        "Requests which include `tool_use` or `tool_result` blocks must define tools.",
    )
    tc = body.get("tool_choice")
    if tc is not None:
        need(body.get("tools"), "tool_choice: may only be specified while providing tools")
        need(isinstance(tc, dict) and tc.get("type") in ("auto", "any", "tool", "none"), "tool_choice.type")
        known(tc, {"type", "name", "disable_parallel_tool_use"}, "tool_choice", FORM)

    th = body.get("thinking") or {}
    thinking = th.get("type") in ("enabled", "adaptive")
    family = adaptive_only(body["model"])
    if th:
        need(th.get("type") in ("enabled", "adaptive", "disabled"), "thinking.type")
        if th["type"] == "enabled":
            need(
                is_int(th.get("budget_tokens")) and th["budget_tokens"] >= 1024,
                "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024",
            )
            need(counting or body["max_tokens"] > th["budget_tokens"], "`max_tokens` must be greater than `thinking.budget_tokens`")
        need(th["type"] != "adaptive" or family is not False, f"adaptive thinking is not supported by {body['model']}")
    if thinking:
        need(body.get("temperature") in (None, 1), "`temperature` may only be set to 1 when thinking is enabled")
        need("top_k" not in body, "`top_k` must be unset when thinking is enabled")
        need(not tc or tc["type"] in ("auto", "none"), "Thinking may not be enabled when tool_choice forces tool use.")
        need(turns[-1].role == "user", "This model does not support assistant message prefill with thinking.")
        # only the turn in progress counts: the assistant turns after the last user text
        current = []
        for t in reversed(turns):
            if t.role == "user" and any(p.kind != "result" for p in t.parts) and not any(p.kind == "result" for p in t.parts):
                break
            current.append(t)
        # Adaptive thinking does not ask for it: earlier turns need not begin with a thinking block.
        if current and body["thinking"]["type"] == "enabled":
            first = [t for t in reversed(current) if t.role == "assistant"]
            if first and any(p.kind == "call" for p in first[0].parts):
                need(
                    first[0].parts[0].kind in ("think", "redacted"),
                    "Expected `thinking` or `redacted_thinking`, but found `tool_use`. When `thinking` is enabled, a final `assistant` message must start with a thinking block (preceeding the lastmost set of `tool_use` and `tool_result` blocks).",
                )
    t = body.get("temperature")
    need(t is None or 0 <= t <= 1, "temperature: range: 0..1")
    need(
        not (family and t is not None and body.get("top_p") is not None),
        "`temperature` and `top_p` cannot both be specified for this model.",
    )
    for s in body.get("stop_sequences") or []:
        need(s.strip(), "stop_sequences: each stop sequence must contain non-whitespace")
    oc = body.get("output_config") or {}
    known(oc, {"effort", "format", "task_budget"}, "output_config", FORM)
    fmt = oc.get("format") or body.get("output_format")
    schema = None
    if fmt:
        need(fmt.get("type") == "json_schema" and isinstance(fmt.get("schema"), dict), "output_config.format: json_schema expected")
        known(fmt, {"type", "schema"}, "output_config.format", FORM)
        schema = fmt["schema"]
        closed(schema)
    return View(
        NAME,
        body["model"],
        bool(body.get("stream")),
        turns,
        "\n".join(filter(None, [system] + mid_system)),
        tools,
        schema,
        thinking,
        True,
        body,
    )


def closed(schema):
    """Structured outputs want closed objects and a subset of the keywords."""
    if isinstance(schema, list):
        for s in schema:
            closed(s)
    elif isinstance(schema, dict):
        if schema.get("type") == "object":
            need(
                schema.get("additionalProperties") is False,
                "output_config.format.schema: For 'object' type, 'additionalProperties' must be explicitly set to false",
            )
        for k in ("minimum", "maximum", "minLength", "maxLength", "multipleOf", "oneOf"):
            need(k not in schema or isinstance(schema[k], dict), f"output_config.format.schema: property '{k}' is not supported")
        for k, v in schema.items():
            if k in ("properties", "$defs"):
                for s in v.values():
                    closed(s)
            elif k in ("items", "anyOf", "allOf"):
                closed(v)


def usage(u):
    out = {
        "input_tokens": u["uncached"],
        "cache_creation_input_tokens": u["write"],
        "cache_read_input_tokens": u["read"],
        "cache_creation": {"ephemeral_5m_input_tokens": u["write"], "ephemeral_1h_input_tokens": 0},
        "output_tokens": u["output"],
        "service_tier": "standard",
    }
    if u["reasoning"]:
        out["output_tokens_details"] = {"thinking_tokens": u["reasoning"]}
    return out


STOP = {"end": "end_turn", "tool": "tool_use", "length": "max_tokens", "filter": "refusal"}


def details(answer):
    return {"stop_details": {"type": "refusal", "category": "cyber", "explanation": "scripted"}} if answer.finish == "filter" else {}


def message(answer, view, content, stop, use):
    return {
        "id": "msg_01Scripted%016d" % answer.n,
        "type": "message",
        "role": "assistant",
        "model": view.model,
        "content": content,
        "stop_reason": stop,
        "stop_sequence": None,
        "usage": use,
    }


def block(p):
    if p.kind == "think":
        return {"type": "thinking", "thinking": p.text, "signature": p.sig}
    if p.kind == "redacted":
        return {"type": "redacted_thinking", "data": p.sig}
    if p.kind == "tool":
        return {"type": "tool_use", "id": p.id, "name": p.name, "input": p.args}
    return {"type": "text", "text": p.text}


def shown(answer, view):
    """`display: omitted` keeps the signature and hides the text."""
    if (view.body.get("thinking") or {}).get("display") == "omitted":
        for p in answer.pieces:
            if p.kind == "think":
                p.chunks = []
    return answer.pieces


def document(answer, view):
    return message(answer, view, [block(p) for p in shown(answer, view)], STOP[answer.finish], usage(answer.usage)) | details(answer)


def frame(obj):
    return b"event: %s\ndata: %s\n\n" % (obj["type"].encode(), json.dumps(obj, ensure_ascii=False, separators=(",", ":")).encode())


def stream(answer, view):
    early = usage(answer.usage) | {"output_tokens": 1}
    early.pop("output_tokens_details", None)
    yield "pre", frame({"type": "message_start", "message": message(answer, view, [], None, early)})
    for i, p in enumerate(shown(answer, view)):
        start = {
            "think": {"type": "thinking", "thinking": "", "signature": ""},
            "redacted": {"type": "redacted_thinking", "data": p.sig},
            "tool": {"type": "tool_use", "id": p.id, "name": p.name, "input": {}},
        }.get(p.kind, {"type": "text", "text": ""})
        yield (
            "pre" if i == 0 and p.kind != "redacted" else "content",
            frame({"type": "content_block_start", "index": i, "content_block": start}),
        )
        if i == 0:
            yield "pre", frame({"type": "ping"})

        def delta(kind, member, value, i=i):
            return frame({"type": "content_block_delta", "index": i, "delta": {"type": kind, member: value}})

        if p.kind == "think":
            for c in p.chunks:
                yield "content", delta("thinking_delta", "thinking", c)
            yield "content", delta("signature_delta", "signature", p.sig)
        elif p.kind == "tool":
            yield "content", delta("input_json_delta", "partial_json", "")
            for f in cut(p.args_text) if p.args else []:
                yield "content", delta("input_json_delta", "partial_json", f)
        elif p.kind != "redacted":
            for c in p.chunks:
                yield "content", delta("text_delta", "text", c)
        yield "content", frame({"type": "content_block_stop", "index": i})
    late = usage(answer.usage)
    late.pop("service_tier")
    late.pop("cache_creation")
    yield (
        "post",
        frame(
            {"type": "message_delta", "delta": {"stop_reason": STOP[answer.finish], "stop_sequence": None} | details(answer), "usage": late}
        ),
    )
    yield "post", frame({"type": "message_stop"})


KINDS = {
    "invalid": (400, "invalid_request_error"),
    "auth": (401, "authentication_error"),
    "not_found": (404, "not_found_error"),
    "rate_limit": (429, "rate_limit_error"),
    "overloaded": (529, "overloaded_error"),
    "api": (500, "api_error"),
}


def error(kind, text, retry_after=None):
    status, typ = KINDS[kind]
    headers = {"request-id": "req_011Scripted"}
    if retry_after:
        headers |= {"retry-after": str(retry_after), "anthropic-ratelimit-requests-remaining": "0"}
    return status, {"type": "error", "error": {"type": typ, "message": text}, "request_id": "req_011Scripted"}, headers


def error_event(kind, text, sequence=0):
    return frame(error(kind, text)[1])


def count():
    return {"input_tokens": CONST["count_tokens"]}


CONTENT_TYPE = "text/event-stream; charset=utf-8"
__all__ = ["Refused"]
