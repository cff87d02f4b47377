"""OpenAI Chat Completions: the vendor's side."""

import json
import re

from .answer import cut
from .view import Part, Refused, Tool, Turn, View, data_url, is_int, known, need, strict_schema

NAME = "openai_chat"
TOP = set(
    """model messages stream stream_options max_completion_tokens max_tokens temperature top_p presence_penalty frequency_penalty seed n
    logit_bias logprobs top_logprobs stop tools tool_choice parallel_tool_calls functions function_call response_format reasoning_effort
    verbosity modalities audio prediction store metadata service_tier user safety_identifier prompt_cache_key prompt_cache_retention
    prompt_cache_options moderation web_search_options top_k min_p repetition_penalty thinking reasoning enable_thinking
    chat_template_kwargs provider""".split()
)
MESSAGE = {
    "system": {"role", "content", "name"},
    "developer": {"role", "content", "name"},
    "user": {"role", "content", "name"},
    "assistant": set(
        "role content name refusal tool_calls function_call audio annotations reasoning_content reasoning reasoning_details images".split()
    ),
    "tool": {"role", "content", "tool_call_id", "name"},
}


def authorised(headers, query):
    return (headers.get("authorization") or "").startswith("Bearer test-key")


def content(value, where, allowed):
    if value is None:
        return []
    if isinstance(value, str):
        return [Part("text", text=value)]
    need(isinstance(value, list), f"Invalid type for '{where}': expected a string or an array of parts")
    need(value, f"Invalid '{where}': empty array")
    out = []
    for i, p in enumerate(value):
        at = f"{where}[{i}]"
        need(isinstance(p, dict) and isinstance(p.get("type"), str), f"Missing required parameter: '{at}.type'.")
        need(p["type"] in allowed, f"Invalid value: '{p['type']}' at '{at}.type'. Supported values are: {sorted(allowed)}")
        known(p, {"type", p["type"], "prompt_cache_breakpoint", "cache_control"}, at)
        v = p.get(p["type"])
        if p["type"] == "text":
            need(isinstance(v, str), f"'{at}.text' must be a string")
            out.append(Part("text", text=v))
        elif p["type"] == "refusal":
            out.append(Part("refusal", text=v))
        elif p["type"] == "image_url":
            need(isinstance(v, dict) and isinstance(v.get("url"), str), f"'{at}.image_url.url' is required")
            known(v, {"url", "detail"}, at + ".image_url")
            if v["url"].startswith("data:"):
                mime, data = data_url(v["url"], at)
                out.append(Part("image", mime=mime, data=data))
            else:
                out.append(Part("image", text=v["url"]))
        elif p["type"] == "input_audio":
            known(v, {"data", "format"}, at)
            need(v.get("format") in ("wav", "mp3"), f"'{at}.input_audio.format' must be wav or mp3")
            from .view import b64

            out.append(Part("audio", mime="audio/" + v["format"], data=b64(v.get("data"), at)))
        elif p["type"] == "file":
            known(v, {"file_data", "filename", "file_id"}, at)
            mime, data = data_url(v.get("file_data") or "", at)
            need(isinstance(v.get("filename"), str), f"'{at}.file.filename' is required with file_data")
            out.append(Part("file", mime=mime, data=data, name=v["filename"]))
    return out


def tool_name(name, where):
    need(
        isinstance(name, str) and re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", name),
        f"Invalid '{where}': '{name}' does not match '^[a-zA-Z0-9_-]{{1,64}}$'.",
    )


def tools_of(body, unwrap, elsewhere=False):
    """The tools of a body; `unwrap` gives (tool or tools, strict, where) of one entry. `elsewhere`: Responses may hold tools in its input too."""
    tools = body.get("tools")
    if tools is None and elsewhere:
        return []
    if tools is None:
        need(
            not body.get("tool_choice") or body["tool_choice"] in ("none", "auto"),
            "'tool_choice' is only allowed when 'tools' are specified.",
        )
        need("parallel_tool_calls" not in body, "'parallel_tool_calls' is only allowed when 'tools' are specified.")
        return []
    need(isinstance(tools, list) and tools, "Invalid 'tools': empty array. Expected an array with minimum length 1.")
    out, seen = [], set()
    for i, t in enumerate(tools):
        tool, strict, where = unwrap(t, f"tools[{i}]")
        if tool is None:
            continue
        for one in tool if isinstance(tool, list) else [tool]:
            tool_name(one.name, where + ".name")
            need((one.namespace, one.name) not in seen, f"Invalid '{where}.name': duplicate tool '{one.name}'")
            seen.add((one.namespace, one.name))
            if strict:
                strict_schema(one.schema, f"function '{one.name}'")
            out.append(one)
    return out


def unwrap_tool(t, where):
    need(
        isinstance(t, dict) and t.get("type") in ("function", "custom"), f"Invalid value at '{where}.type': expected 'function' or 'custom'"
    )
    known(t, {"type", t["type"], "cache_control"}, where)
    f = t.get(t["type"])
    need(isinstance(f, dict), f"Missing required parameter: '{where}.{t['type']}'.")
    if t["type"] == "custom":
        known(f, {"name", "description", "format"}, where)
        return Tool(f.get("name"), {}, "custom"), False, where
    known(f, {"name", "description", "parameters", "strict"}, where)
    schema = f.get("parameters")
    need(schema is None or isinstance(schema, dict), f"'{where}.function.parameters' must be an object")
    if schema is not None:
        need(
            schema.get("type") == "object",
            f"Invalid schema for function '{f.get('name')}': schema must be a JSON Schema of 'type: \"object\"', got 'type: \"{schema.get('type')}\"'.",
        )
    return Tool(f.get("name"), schema or {}), f.get("strict") is True, where


def parse(body, headers, query, path):
    known(body, TOP, "", "Unrecognized request argument supplied: {name}")
    need(isinstance(body.get("model"), str), "you must provide a model parameter")
    msgs = body.get("messages")
    need(isinstance(msgs, list), "Missing required parameter: 'messages'.")
    need(msgs, "Invalid 'messages': empty array. Expected an array with minimum length 1.")
    stream = body.get("stream", False)
    need(isinstance(stream, bool), "Invalid type for 'stream': expected a boolean")
    need(stream or "stream_options" not in body, "The 'stream_options' parameter is only allowed when 'stream' is enabled.")
    need(
        not ("max_tokens" in body and "max_completion_tokens" in body),
        "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.",
    )
    for k in ("max_tokens", "max_completion_tokens"):
        need(k not in body or body[k] is None or (is_int(body[k]) and body[k] > 0), f"Invalid '{k}': integer above 0 expected")
    stop = body.get("stop")
    need(not isinstance(stop, list) or len(stop) <= 4, "Invalid 'stop': array too long. Expected an array with maximum length 4.")
    t = body.get("temperature")
    need(t is None or 0 <= t <= 2, "Invalid 'temperature': expected 0 to 2")
    turns, system, open_ids = [], [], []
    for i, m in enumerate(msgs):
        at = f"messages[{i}]"
        need(
            isinstance(m, dict) and m.get("role") in MESSAGE,
            f"Invalid value: '{m.get('role') if isinstance(m, dict) else m}' at '{at}.role'.",
        )
        role = m["role"]
        known(m, MESSAGE[role], at)
        if role != "tool":
            need(
                not open_ids,
                "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. "
                f"The following tool_call_ids did not have response messages: {', '.join(open_ids)}",
            )
        if role in ("system", "developer"):
            system += [p.text for p in content(m.get("content"), at + ".content", {"text"})]
            need(m.get("content") is not None, f"Missing required parameter: '{at}.content'.")
        elif role == "user":
            need(m.get("content") is not None, f"Missing required parameter: '{at}.content'.")
            turns.append(Turn("user", content(m["content"], at + ".content", {"text", "image_url", "input_audio", "file"})))
        elif role == "assistant":
            parts = []
            if m.get("reasoning_content"):
                parts.append(Part("think", text=m["reasoning_content"]))
            parts += content(m.get("content"), at + ".content", {"text", "refusal"})
            need(
                m.get("content") is not None or m.get("tool_calls") or m.get("refusal") or m.get("function_call"),
                f"Invalid value for '{at}.content': expected a string, got null.",
            )
            calls = m.get("tool_calls")
            need(
                calls is None or (isinstance(calls, list) and calls),
                f"Invalid '{at}.tool_calls': empty array. Expected an array with minimum length 1.",
            )
            for j, c in enumerate(calls or []):
                cat = f"{at}.tool_calls[{j}]"
                need(isinstance(c, dict) and isinstance(c.get("id"), str) and 0 < len(c["id"]) <= 64, f"Invalid '{cat}.id'")
                need(c.get("type") in ("function", "custom"), f"Missing required parameter: '{cat}.type'.")
                known(c, {"id", "type", "function", "custom"}, cat)
                need(c["id"] not in open_ids, f"Invalid '{cat}.id': duplicate tool call id")
                f = c[c["type"]]
                tool_name(f.get("name"), cat + ".name")
                if c["type"] == "function":
                    need(isinstance(f.get("arguments"), str), f"Invalid type for '{cat}.function.arguments': expected a string")
                    try:
                        args = json.loads(f["arguments"] or "{}")
                    except ValueError:
                        raise Refused(f"'{cat}.function.arguments' is not JSON: {f['arguments'][:80]}") from None
                else:
                    need(isinstance(f.get("input"), str), f"Invalid type for '{cat}.custom.input': expected a string")
                    args = f["input"]
                open_ids.append(c["id"])
                parts.append(Part("call", id=c["id"], name=f["name"], args=args))
            turns.append(Turn("assistant", parts))
        else:
            need(isinstance(m.get("tool_call_id"), str), f"Missing required parameter: '{at}.tool_call_id'.")
            need(
                m["tool_call_id"] in open_ids,
                f"Invalid parameter: messages with role 'tool' must be a response to a preceding message with 'tool_calls' ({at}, {m['tool_call_id']}).",
            )
            open_ids.remove(m["tool_call_id"])
            parts = content(m.get("content"), at + ".content", {"text"})
            need(m.get("content") is not None, f"Missing required parameter: '{at}.content'.")
            turns.append(Turn("user", [Part("result", id=m["tool_call_id"], text="\n".join(p.text for p in parts))]))
    need(
        not open_ids,
        f"An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. Missing: {', '.join(open_ids)}",
    )
    tools = tools_of(body, unwrap_tool)
    schema = None
    rf = body.get("response_format")
    if rf is not None:
        need(isinstance(rf, dict) and rf.get("type") in ("text", "json_object", "json_schema"), "Invalid 'response_format.type'")
        if rf["type"] == "json_schema":
            js = rf.get("json_schema")
            need(
                isinstance(js, dict) and re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", js.get("name") or ""),
                "Missing required parameter: 'response_format.json_schema.name'.",
            )
            known(js, {"name", "schema", "strict", "description"}, "response_format.json_schema")
            need(isinstance(js.get("schema"), dict), "Missing required parameter: 'response_format.json_schema.schema'.")
            if js.get("strict"):
                strict_schema(js["schema"], f"response_format '{js['name']}'")
            schema = js["schema"]
    so = body.get("stream_options") or {}
    known(so, {"include_usage", "include_obfuscation"}, "stream_options")
    return View(
        NAME,
        body["model"],
        stream,
        turns,
        "\n".join(system),
        tools,
        schema,
        bool(body.get("reasoning_effort") or body.get("thinking")),
        bool(so.get("include_usage")),
        body,
    )


def usage(u):
    prompt = u["uncached"] + u["read"] + u["write"]
    return {
        "prompt_tokens": prompt,
        "completion_tokens": u["output"],
        "total_tokens": prompt + u["output"],
        "prompt_tokens_details": {"cached_tokens": u["read"], "cache_write_tokens": u["write"], "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": u["reasoning"],
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


FINISH = {"end": "stop", "tool": "tool_calls", "length": "length", "filter": "content_filter"}


def finish_of(answer):
    return FINISH[answer.finish]


def base(answer, view, kind):
    return {"id": "chatcmpl-Scripted%021d" % answer.n, "object": kind, "created": 1790000000, "model": view.model}


def call(p):
    if p.custom:
        return {"id": p.id, "type": "custom", "custom": {"name": p.name, "input": p.args_text}}
    return {"id": p.id, "type": "function", "function": {"name": p.name, "arguments": p.args_text}}


def document(answer, view):
    text = "".join(p.text for p in answer.pieces if p.kind == "text")
    refusal = "".join(p.text for p in answer.pieces if p.kind == "refusal")
    think = "".join(p.text for p in answer.pieces if p.kind == "think")
    calls = [call(p) for p in answer.pieces if p.kind == "tool"]
    message = {
        "role": "assistant",
        "content": text if text or not (calls or refusal) else None,
        "refusal": refusal or None,
        "annotations": [],
    }
    if think:
        message["reasoning_content"] = think
    if calls:
        message["tool_calls"] = calls
    return base(answer, view, "chat.completion") | {
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": finish_of(answer)}],
        "usage": usage(answer.usage),
        "service_tier": "default",
        "system_fingerprint": "fp_scripted",
    }


def frame(obj):
    return b"data: " + json.dumps(obj, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


def stream(answer, view):
    head = base(answer, view, "chat.completion.chunk") | {"service_tier": "default", "system_fingerprint": "fp_scripted"}

    def chunk(delta, finish=None):
        o = head | {"choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]}
        if view.include_usage:
            o["usage"] = None
        o["obfuscation"] = "x" * (7 - answer.n % 7)
        return frame(o)

    yield "pre", chunk({"role": "assistant", "content": "" if not any(p.kind == "tool" for p in answer.pieces) else None, "refusal": None})
    tools = [p for p in answer.pieces if p.kind == "tool"]
    for p in answer.pieces:
        if p.kind == "think":
            for c in p.chunks:
                yield "content", chunk({"reasoning_content": c})
        elif p.kind == "text":
            for c in p.chunks:
                yield "content", chunk({"content": c})
        elif p.kind == "refusal":
            for c in p.chunks:
                yield "content", chunk({"refusal": c})

    def opening(i, p):
        if p.custom:
            return chunk({"tool_calls": [{"index": i, "id": p.id, "type": "custom", "custom": {"name": p.name, "input": ""}}]})
        return chunk({"tool_calls": [{"index": i, "id": p.id, "type": "function", "function": {"name": p.name, "arguments": ""}}]})

    def fragment(i, p, f):
        key, member = ("custom", "input") if p.custom else ("function", "arguments")
        return chunk({"tool_calls": [{"index": i, key: {member: f}}]})

    if answer.interleave:
        rows = [cut(p.args_text) for p in tools]
        for i, p in enumerate(tools):
            yield "content", opening(i, p)
        for k in range(max(map(len, rows))):
            for i, p in enumerate(tools):
                if k < len(rows[i]):
                    yield "content", fragment(i, p, rows[i][k])
    else:
        for i, p in enumerate(tools):
            yield "content", opening(i, p)
            for f in cut(p.args_text):
                yield "content", fragment(i, p, f)
    yield "post", chunk({}, finish_of(answer))
    if view.include_usage:
        yield "post", frame(head | {"choices": [], "usage": usage(answer.usage), "obfuscation": ""})
    yield "post", b"data: [DONE]\n\n"


KINDS = {
    "invalid": (400, "invalid_request_error", None),
    "auth": (401, "invalid_request_error", "invalid_api_key"),
    "not_found": (404, "invalid_request_error", "model_not_found"),
    "rate_limit": (429, "rate_limit_error", "rate_limit_exceeded"),
    "overloaded": (503, "server_error", "overloaded"),
    "api": (500, "server_error", "server_error"),
}


def error(kind, message, retry_after=None):
    status, typ, code = KINDS[kind]
    headers = {"x-request-id": "req_scripted"}
    if retry_after:
        headers |= {"retry-after": str(retry_after), "x-ratelimit-remaining-requests": "0"}
    return status, {"error": {"message": message, "type": typ, "param": None, "code": code}}, headers


def error_event(kind, message, sequence=0):
    return frame(error(kind, message)[1])


CONTENT_TYPE = "text/event-stream; charset=utf-8"
