"""OpenAI Responses: the vendor's side."""

import json

from .answer import NUMBERS, cut
from .chat import KINDS, authorised, tool_name, tools_of  # noqa: F401  (authorised is this dialect's too)
from .view import Part, Refused, Tool, Turn, View, data_url, is_int, known, need, strict_schema

NAME = "openai_responses"
TOP = set(
    """model input instructions max_output_tokens max_tool_calls temperature top_p top_logprobs tools tool_choice parallel_tool_calls
    reasoning text include store background metadata truncation stream stream_options previous_response_id conversation prompt
    context_management prompt_cache_key prompt_cache_retention prompt_cache_options safety_identifier user service_tier moderation
    client_metadata""".split()
)
PREFIX = {"message": "msg", "reasoning": "rs", "function_call": "fc", "custom_tool_call": "ctc"}
ITEM = {
    "message": {"type", "id", "role", "content", "status", "phase"},
    "reasoning": {"type", "id", "summary", "content", "encrypted_content", "status"},
    "function_call": {"type", "id", "call_id", "name", "arguments", "namespace", "status"},
    "function_call_output": {"type", "id", "call_id", "output", "status"},
    "custom_tool_call": {"type", "id", "call_id", "name", "input", "namespace", "status"},
    "custom_tool_call_output": {"type", "id", "call_id", "output", "status", "name"},
    "additional_tools": {"type", "id", "role", "tools"},
}


def parts_of(value, where, allowed):
    if isinstance(value, str):
        return [Part("text", text=value)]
    need(isinstance(value, list), f"Invalid type for '{where}': expected a string or an array")
    out = []
    for i, p in enumerate(value):
        at = f"{where}[{i}]"
        need(
            isinstance(p, dict) and p.get("type") in allowed,
            f"Invalid value: '{p.get('type') if isinstance(p, dict) else p}' at '{at}'. Supported values are: {sorted(allowed)}",
        )
        if p["type"] in ("input_text", "output_text"):
            need(isinstance(p.get("text"), str), f"Missing required parameter: '{at}.text'.")
            known(p, {"type", "text", "annotations", "logprobs", "prompt_cache_breakpoint"}, at)
            out.append(Part("text", text=p["text"]))
        elif p["type"] == "refusal":
            out.append(Part("refusal", text=p["refusal"]))
        elif p["type"] == "input_image":
            known(p, {"type", "image_url", "file_id", "detail", "prompt_cache_breakpoint"}, at)
            need(isinstance(p.get("image_url"), str), f"Missing required parameter: '{at}.image_url'.")
            if p["image_url"].startswith("data:"):
                mime, data = data_url(p["image_url"], at)
                out.append(Part("image", mime=mime, data=data))
            else:
                out.append(Part("image", text=p["image_url"]))
        elif p["type"] == "input_file":
            known(p, {"type", "file_data", "file_url", "file_id", "filename", "detail", "prompt_cache_breakpoint"}, at)
            need(isinstance(p.get("filename"), str), f"Missing required parameter: '{at}.filename'.")
            mime, data = data_url(p.get("file_data") or "", at)
            out.append(Part("file", mime=mime, data=data, name=p["filename"]))
    return out


def unwrap_tool(t, where):
    need(isinstance(t, dict) and isinstance(t.get("type"), str), f"Missing required parameter: '{where}.type'.")
    if t["type"] == "function":
        need(isinstance(t.get("name"), str), f"Missing required parameter: '{where}.name'.")
        known(t, {"type", "name", "parameters", "strict", "description", "defer_loading", "allowed_callers", "output_schema"}, where)
        schema = t.get("parameters")
        need(
            schema is None or (isinstance(schema, dict) and schema.get("type") == "object"),
            f"Invalid schema for function '{t['name']}': schema must be of type object",
        )
        # strict is true unless said otherwise, in this dialect; the service relaxes only what the client marks
        return Tool(t["name"], schema or {}), t.get("strict", False) is True, where
    if t["type"] == "custom":
        known(t, {"type", "name", "description", "format", "defer_loading"}, where)
        return Tool(t.get("name"), {}, "custom"), False, where
    if t["type"] == "namespace":
        need(isinstance(t.get("name"), str) and isinstance(t.get("tools"), list), f"Missing required parameter: '{where}.tools'.")
        inner = [unwrap_tool(x, where)[0] for x in t["tools"]]
        for x in inner:
            x.namespace = t["name"]
        return inner, False, where
    need(
        t["type"]
        in {
            "web_search",
            "web_search_preview",
            "file_search",
            "code_interpreter",
            "image_generation",
            "mcp",
            "computer",
            "local_shell",
            "shell",
            "apply_patch",
            "tool_search",
        },
        f"Invalid value: '{t['type']}' at '{where}.type'.",
    )
    return None, False, where


def check_id(item, where):
    ident = item.get("id")
    if ident is not None and item["type"] in PREFIX:
        need(
            isinstance(ident, str) and ident.startswith(PREFIX[item["type"]]),
            f"Invalid '{where}.id': '{ident}'. Expected an ID that begins with '{PREFIX[item['type']]}'.",
        )
        need(len(ident) <= 64, f"Invalid '{where}.id': string too long. Expected a string with maximum length 64.")


def parse(body, headers, query, path):
    known(body, TOP, "", "Unknown parameter: '{name}'.")
    need(isinstance(body.get("model"), str), "Missing required parameter: 'model'.")
    need(not body.get("previous_response_id"), f"Previous response with id '{body.get('previous_response_id')}' not found.")
    need("input" in body, "Missing required parameter: 'input'.")
    m = body.get("max_output_tokens")
    need(m is None or (is_int(m) and m >= 16), "Invalid 'max_output_tokens': integer below minimum value. Expected a value >= 16.")
    stream = body.get("stream") or False
    need(isinstance(stream, bool), "Invalid type for 'stream': expected a boolean")
    turns, system = [], [body["instructions"]] if body.get("instructions") else []
    items = body["input"]
    if isinstance(items, str):
        items = [{"type": "message", "role": "user", "content": items}]
    need(isinstance(items, list) and items, "Invalid 'input': expected a string or a non-empty array")
    open_calls, more_tools = {}, []
    waiting = None  # reasoning item that needs a following item

    def assistant():
        if not turns or turns[-1].role != "assistant":
            turns.append(Turn("assistant", []))
        return turns[-1].parts

    for i, it in enumerate(items):
        at = f"input[{i}]"
        need(isinstance(it, dict), f"Invalid type for '{at}': expected an object")
        it = {"type": "message"} | it if "role" in it else it
        typ = it.get("type")
        need(typ in ITEM, f"Invalid value: '{typ}' at '{at}.type'.")
        known(it, ITEM[typ], at, "Unknown parameter: '{where}.{name}'.")
        check_id(it, at)
        if typ != "reasoning":
            if waiting and not (typ in ("function_call", "custom_tool_call") or (typ == "message" and it.get("role") == "assistant")):
                raise Refused(f"Item '{waiting}' of type 'reasoning' was provided without its required following item.")
            waiting = None
        if typ == "message":
            role = it.get("role")
            need(role in ("user", "assistant", "system", "developer"), f"Invalid value: '{role}' at '{at}.role'.")
            need("content" in it, f"Missing required parameter: '{at}.content'.")
            if role == "assistant":
                assistant().extend(parts_of(it["content"], at + ".content", {"output_text", "refusal"}))
            else:
                ps = parts_of(it["content"], at + ".content", {"input_text", "input_image", "input_file"})
                if role == "user":
                    turns.append(Turn("user", ps))
                else:
                    system += [p.text for p in ps]
        elif typ == "reasoning":
            need(isinstance(it.get("summary"), list), f"Missing required parameter: '{at}.summary'.")
            text = "\n\n".join(s["text"] for s in it["summary"])
            enc = it.get("encrypted_content")
            if enc:
                was = NUMBERS.issued.get(enc)
                need(
                    was and was["dialect"] == NAME,
                    f"The encrypted content for item {it.get('id')} could not be verified. Reason: Encrypted content could not be decrypted or parsed.",
                )
                need(
                    not it.get("id") or it["id"] == was["item_id"],
                    f"The encrypted content for item {it.get('id')} could not be verified: it belongs to {was['item_id']}",
                )
                need(not text or text == was["text"], f"{at}: the summary of the reasoning item was changed")
            else:
                need(not it.get("id"), f"Item with id '{it.get('id')}' not found. Items are not persisted when `store` is set to false.")
            waiting = it.get("id") or at
            assistant().append(Part("think", text=text, sig=enc or ""))
        elif typ in ("function_call", "custom_tool_call"):
            for k in ("call_id", "name", "arguments" if typ == "function_call" else "input"):
                need(isinstance(it.get(k), str), f"Missing required parameter: '{at}.{k}'.")
            need(0 < len(it["call_id"]) <= 64, f"Invalid '{at}.call_id': expected 1 to 64 characters")
            need(it["call_id"] not in open_calls, f"Duplicate call_id '{it['call_id']}' at {at}")
            tool_name(it["name"], at + ".name")
            if typ == "function_call":
                try:
                    args = json.loads(it["arguments"] or "{}")
                except ValueError:
                    raise Refused(f"'{at}.arguments' is not JSON") from None
            else:
                args = it["input"]
            open_calls[it["call_id"]] = typ
            assistant().append(Part("call", id=it["call_id"], name=it["name"], args=args))
        elif typ == "additional_tools":
            for j, t in enumerate(it.get("tools") or []):
                one = unwrap_tool(t, f"{at}.tools[{j}]")[0]
                more_tools += one if isinstance(one, list) else [one] if one else []
        else:
            cid = it.get("call_id")
            need(open_calls.get(cid) == typ.removesuffix("_output"), f"No tool call found for {typ.replace('_', ' ')} with call_id {cid}.")
            open_calls.pop(cid)
            need("output" in it, f"Missing required parameter: '{at}.output'.")
            ps = parts_of(it["output"], at + ".output", {"input_text", "input_image", "input_file"})
            turns.append(
                Turn(
                    "user",
                    [
                        Part(
                            "result",
                            id=cid,
                            text="\n".join(p.text for p in ps if p.kind == "text"),
                            parts=[p for p in ps if p.kind != "text"],
                        )
                    ],
                )
            )
    need(not open_calls, f"No tool output found for function call {', '.join(open_calls)}.")
    need(not waiting, f"Item '{waiting}' of type 'reasoning' was provided without its required following item.")
    fmt = (body.get("text") or {}).get("format")
    schema = None
    if fmt:
        need(fmt.get("type") in ("text", "json_object", "json_schema"), "Invalid 'text.format.type'")
        if fmt["type"] == "json_schema":
            known(fmt, {"type", "name", "schema", "strict", "description"}, "text.format")
            need(isinstance(fmt.get("name"), str), "Missing required parameter: 'text.format.name'.")
            need(isinstance(fmt.get("schema"), dict), "Missing required parameter: 'text.format.schema'.")
            if fmt.get("strict"):
                strict_schema(fmt["schema"], "text.format")
            schema = fmt["schema"]
    if "reasoning" in body and body["reasoning"]:
        known(body["reasoning"], {"effort", "summary", "generate_summary", "context", "mode"}, "reasoning")
    v = View(
        NAME,
        body["model"],
        stream,
        turns,
        "\n".join(system),
        tools_of(body, unwrap_tool, bool(more_tools)) + more_tools,
        schema,
        bool(body.get("reasoning")),
        True,
        body,
    )
    v.reveal = "reasoning.encrypted_content" in (body.get("include") or [])
    return v


def usage(u):
    total = u["uncached"] + u["read"] + u["write"]
    return {
        "input_tokens": total,
        "input_tokens_details": {"cached_tokens": u["read"], "cache_write_tokens": u["write"]},
        "output_tokens": u["output"],
        "output_tokens_details": {"reasoning_tokens": u["reasoning"]},
        "total_tokens": total + u["output"],
    }


def skeleton(answer, view, status, output, with_usage=False):
    b = view.body
    incomplete = {"length": "max_output_tokens", "filter": "content_filter"}.get(answer.finish) if status == "incomplete" else None
    return {
        "id": "resp_scripted%040d" % answer.n,
        "object": "response",
        "created_at": 1790000000,
        "status": status,
        "background": False,
        "error": None,
        "incomplete_details": {"reason": incomplete} if incomplete else None,
        "instructions": b.get("instructions"),
        "max_output_tokens": b.get("max_output_tokens"),
        "max_tool_calls": None,
        "model": view.model,
        "output": output,
        "parallel_tool_calls": b.get("parallel_tool_calls", True),
        "previous_response_id": None,
        "prompt_cache_key": b.get("prompt_cache_key"),
        "reasoning": {"effort": (b.get("reasoning") or {}).get("effort"), "summary": (b.get("reasoning") or {}).get("summary")},
        "safety_identifier": None,
        "service_tier": "default",
        "store": b.get("store", True),
        "temperature": b.get("temperature", 1.0),
        "text": {"format": (b.get("text") or {}).get("format") or {"type": "text"}, "verbosity": "medium"},
        "tool_choice": b.get("tool_choice", "auto"),
        "tools": b.get("tools") or [],
        "top_logprobs": 0,
        "top_p": b.get("top_p", 1.0),
        "truncation": b.get("truncation") or "disabled",
        "usage": usage(answer.usage) if with_usage else None,
        "user": None,
        "metadata": b.get("metadata") or {},
    }


def status_of(answer):
    return "incomplete" if answer.finish in ("length", "filter") else "completed"


def item_id(answer, i, kind):
    return "%s_scripted%032d%02d" % (PREFIX[kind], answer.n, i)


def item(answer, view, i, p, last, done=True):
    status = ("incomplete" if last and answer.finish in ("length", "filter") else "completed") if done else "in_progress"
    if p.kind == "think":
        out = {
            "id": item_id(answer, i, "reasoning"),
            "type": "reasoning",
            "summary": [{"type": "summary_text", "text": p.text}] if done and p.chunks else [],
        }
        if view.reveal and p.sig:
            out["encrypted_content"] = p.sig if done else ""
            NUMBERS.issued.get(p.sig, {}).setdefault("item_id", out["id"])
        return out
    if p.kind == "tool":
        if p.custom:
            out = {
                "id": item_id(answer, i, "custom_tool_call"),
                "type": "custom_tool_call",
                "status": status,
                "call_id": p.id,
                "input": p.args_text if done else "",
                "name": p.name,
            }
        else:
            out = {
                "id": item_id(answer, i, "function_call"),
                "type": "function_call",
                "status": status,
                "arguments": p.args_text if done else "",
                "call_id": p.id,
                "name": p.name,
            }
        if p.namespace:
            out["namespace"] = p.namespace
        return out
    part = (
        {"type": "refusal", "refusal": p.text}
        if p.kind == "refusal"
        else {"type": "output_text", "annotations": [], "logprobs": [], "text": p.text}
    )
    return {
        "id": item_id(answer, i, "message"),
        "type": "message",
        "status": status,
        "content": [part] if done else [],
        "role": "assistant",
    }


def pieces_of(answer):
    return [p for p in answer.pieces if p.kind != "redacted"]


def document(answer, view):
    ps = pieces_of(answer)
    return skeleton(answer, view, status_of(answer), [item(answer, view, i, p, i == len(ps) - 1) for i, p in enumerate(ps)], True)


def frame(obj):
    return b"event: %s\ndata: %s\n\n" % (obj["type"].encode(), json.dumps(obj, ensure_ascii=False, separators=(",", ":")).encode())


def stream(answer, view):
    seq = -1

    def ev(typ, **members):
        nonlocal seq
        seq += 1
        return frame({"type": typ, "sequence_number": seq} | members)

    yield "pre", ev("response.created", response=skeleton(answer, view, "in_progress", []))
    yield "pre", ev("response.in_progress", response=skeleton(answer, view, "in_progress", []))
    ps = pieces_of(answer)
    done_items = {}

    def open_(i, p):
        return ev("response.output_item.added", output_index=i, item=item(answer, view, i, p, False, done=False))

    def close(i, p):
        done_items[i] = item(answer, view, i, p, i == len(ps) - 1)
        return ev("response.output_item.done", output_index=i, item=done_items[i])

    def tool_names(p):
        return ("custom_tool_call_input", "input") if p.custom else ("function_call_arguments", "arguments")

    def tool_delta(i, p, f):
        return ev(
            f"response.{tool_names(p)[0]}.delta", item_id=item(answer, view, i, p, False)["id"], output_index=i, delta=f, obfuscation="xyz"
        )

    def tool_done(i, p):
        stem, member = tool_names(p)
        extra = {member: p.args_text}
        if not p.custom:
            extra["name"] = p.name
        return ev(f"response.{stem}.done", item_id=item(answer, view, i, p, False)["id"], output_index=i, **extra)

    tools = [(i, p) for i, p in enumerate(ps) if p.kind == "tool"]
    for i, p in enumerate(ps):
        if p.kind == "tool":
            if answer.interleave:
                continue
            yield "content", open_(i, p)
            for f in cut(p.args_text):
                yield "content", tool_delta(i, p, f)
            yield "content", tool_done(i, p)
            yield "content", close(i, p)
            continue
        iid = item(answer, view, i, p, False)["id"]
        yield "content", open_(i, p)
        if p.kind == "think":
            if p.chunks:
                at = dict(item_id=iid, output_index=i, summary_index=0)
                yield "content", ev("response.reasoning_summary_part.added", **at, part={"type": "summary_text", "text": ""})
                for c in p.chunks:
                    yield "content", ev("response.reasoning_summary_text.delta", **at, delta=c, obfuscation="abc")
                yield "content", ev("response.reasoning_summary_text.done", **at, text=p.text)
                yield "content", ev("response.reasoning_summary_part.done", **at, part={"type": "summary_text", "text": p.text})
        else:
            at = dict(item_id=iid, output_index=i, content_index=0)
            refusal = p.kind == "refusal"
            empty = (
                {"type": "refusal", "refusal": ""} if refusal else {"type": "output_text", "annotations": [], "logprobs": [], "text": ""}
            )
            yield "content", ev("response.content_part.added", **at, part=empty)
            for c in p.chunks:
                if refusal:
                    yield "content", ev("response.refusal.delta", **at, delta=c)
                else:
                    yield "content", ev("response.output_text.delta", **at, delta=c, logprobs=[], obfuscation="abcdef")
            if refusal:
                yield "content", ev("response.refusal.done", **at, refusal=p.text)
            else:
                yield "content", ev("response.output_text.done", **at, text=p.text, logprobs=[])
            yield "content", ev("response.content_part.done", **at, part=item(answer, view, i, p, False)["content"][0])
        yield "content", close(i, p)
    if answer.interleave:
        for i, p in tools:
            yield "content", open_(i, p)
        rows = [cut(p.args_text) for _, p in tools]
        for k in range(max(map(len, rows))):
            for (i, p), row in zip(tools, rows):
                if k < len(row):
                    yield "content", tool_delta(i, p, row[k])
        for i, p in tools:
            yield "content", tool_done(i, p)
            yield "content", close(i, p)
    status = status_of(answer)
    yield "post", ev(f"response.{status}", response=skeleton(answer, view, status, [done_items[k] for k in sorted(done_items)], True))


def error(kind, message, retry_after=None):
    from . import chat

    return chat.error(kind, message, retry_after)


def error_event(kind, message, sequence=0):
    code = {"rate_limit": "rate_limit_exceeded", "overloaded": "server_is_overloaded", "invalid": "invalid_prompt"}.get(
        kind, "server_error"
    )
    return frame({"type": "error", "sequence_number": sequence, "code": code, "message": message, "param": None})


CONTENT_TYPE = "text/event-stream; charset=utf-8"
assert set(KINDS) >= {"invalid", "rate_limit", "overloaded"}
