"""Gemini generateContent: the vendor's side."""

import json
import re
from urllib.parse import unquote

from .answer import NUMBERS
from .view import CONST, Part, Tool, Turn, View, is_int, known, need
from .view import b64 as standard_b64

NAME = "gemini"
TOP = set(
    "contents systemInstruction tools toolConfig safetySettings generationConfig cachedContent labels serviceTier store model".split()
)
CONFIG = set(
    """maxOutputTokens temperature topP topK seed candidateCount stopSequences presencePenalty frequencyPenalty responseMimeType
    responseSchema responseJsonSchema responseModalities speechConfig imageConfig mediaResolution responseLogprobs logprobs
    audioTimestamp thinkingConfig""".split()
)
DATA = ("text", "inlineData", "fileData", "functionCall", "functionResponse", "executableCode", "codeExecutionResult")
SCHEMA = set(
    """type format title description nullable enum items minItems maxItems properties required minProperties maxProperties minLength
    maxLength pattern minimum maximum example anyOf propertyOrdering default""".split()
)
UNKNOWN = "Invalid JSON payload received. Unknown name \"{name}\" at '{where}': Cannot find field."
SKIP = "skip_thought_signature_validator"
OPAQUE = {"args", "response", "parameters", "parametersJsonSchema", "responseSchema", "responseJsonSchema", "labels"}


def b64(text, where):
    """Proto JSON takes both alphabets; the Python SDK writes the URL-safe one."""
    return standard_b64(plain(text), where)


def plain(text):
    return text.replace("-", "+").replace("_", "/") if isinstance(text, str) else text


def authorised(headers, query):
    return any((v or "").startswith("test-key") for v in (headers.get("x-goog-api-key"), (query.get("key") or [""])[0]))


def camel(v):
    """Proto JSON takes both spellings."""
    if isinstance(v, list):
        return [camel(x) for x in v]
    if not isinstance(v, dict):
        return v
    out = {}
    for k, x in v.items():
        k = re.sub(r"_([a-z])", lambda m: m.group(1).upper(), k)
        out[k] = x if k in OPAQUE else camel(x)
    return out


def subset(schema, where):
    need(isinstance(schema, dict), f"{where}: schema expected")
    schema = {re.sub(r"_([a-z])", lambda m: m.group(1).upper(), k): v for k, v in schema.items()}
    known(schema, SCHEMA, where, UNKNOWN)
    need(not isinstance(schema.get("type"), list), f"Invalid value at '{where}.type': Proto field is not repeating, cannot start list.")
    for e in schema.get("enum") or []:
        need(isinstance(e, str), f"Invalid value at '{where}.enum' (TYPE_STRING), {e}")
    for k, s in (schema.get("properties") or {}).items():
        subset(s, f"{where}.properties.{k}")
    if "items" in schema:
        subset(schema["items"], where + ".items")
    for s in schema.get("anyOf") or []:
        subset(s, where + ".anyOf")
    need(set(schema.get("required") or []) <= set(schema.get("properties") or {}), f"{where}.required: property is not defined")


def part(p, at, role):
    known(p, set(DATA) | {"thought", "thoughtSignature", "videoMetadata", "mediaResolution", "partMetadata"}, at, UNKNOWN)
    data = [k for k in DATA if k in p]
    need(len(data) == 1, f"{at}: required oneof field 'data' must have one initialized field")
    sig = p.get("thoughtSignature") or ""
    if sig and sig != SKIP:
        b64(sig, at + ".thoughtSignature")
        sig = plain(sig)
        was = NUMBERS.issued.get(sig)
        need(was and was["dialect"] == NAME, f"{at}: Corrupted thought signature.")
    k = data[0]
    v = p[k]
    if k == "text":
        need(isinstance(v, str), f"Invalid value at '{at}.text'")
        return Part("think" if p.get("thought") else "text", text=v, sig=sig)
    if k == "inlineData":
        known(v, {"mimeType", "data", "displayName"}, at, UNKNOWN)
        mime = v.get("mimeType") or ""
        kind = "image" if mime.startswith("image/") else "audio" if mime.startswith("audio/") else "file"
        need("/" in mime, f"{at}.inlineData.mimeType: unsupported MIME type '{mime}'")
        return Part(kind, mime=mime, data=b64(v.get("data"), at), sig=sig)
    if k == "fileData":
        need(isinstance(v.get("fileUri"), str) and "/" in (v.get("mimeType") or ""), f"{at}.fileData: fileUri and mimeType are required")
        return Part("file", mime=v["mimeType"], text=v["fileUri"])
    if k == "functionCall":
        need(role == "model", f"{at}: function calls are only valid in the model role")
        known(v, {"id", "name", "args"}, at, UNKNOWN)
        need(isinstance(v.get("name"), str) and v["name"], f"{at}.functionCall.name: [REQUIRED]")
        need(isinstance(v.get("args", {}), dict), f"Invalid value at '{at}.functionCall.args' (type.googleapis.com/google.protobuf.Struct)")
        if sig and sig != SKIP:
            was = NUMBERS.issued[sig]
            need(
                (v["name"], v.get("args", {})) == (was["name"], was["args"]),
                f"{at}: Thought signature is not valid: the function call was changed.",
            )
        return Part("call", id=v.get("id") or "", name=v["name"], args=v.get("args", {}), sig=sig)
    need(k == "functionResponse", f"{at}: {k} is not supported by the script")
    known(v, {"id", "name", "response", "parts", "willContinue", "scheduling"}, at, UNKNOWN)
    need(isinstance(v.get("name"), str) and v["name"], f"{at}.functionResponse.name: [REQUIRED]")
    need(
        isinstance(v.get("response"), dict),
        f"Invalid value at '{at}.functionResponse.response' (type.googleapis.com/google.protobuf.Struct)",
    )
    r = v["response"]
    if set(r) == {"name", "content"} and r["name"] == v["name"]:  # the Vercel AI SDK's own convention
        r = {"output": r["content"]}
    one = r.get("output", r.get("result", r.get("error"))) if len(r) == 1 else None
    text = one if isinstance(one, str) else json.dumps(r if one is None else one, ensure_ascii=False)
    return Part("result", id=v.get("id") or "", name=v["name"], text=text)


def parse(body, headers, query, path):
    m = re.search(r"/models/(.+):(\w+)$", path)
    model, method = unquote(m.group(1)), m.group(2)
    body = camel(body)
    if method == "countTokens" and "generateContentRequest" in body:
        body = body["generateContentRequest"]
    known(body, TOP, "request", UNKNOWN)
    cs = body.get("contents")
    need(isinstance(cs, list) and cs, "* GenerateContentRequest.contents: contents is not specified")
    turns = []
    for i, c in enumerate(cs):
        at = f"contents[{i}]"
        known(c, {"role", "parts"}, at, UNKNOWN)
        role = c.get("role") or "user"
        need(role in ("user", "model", "function"), "Please use a valid role: user, model.")
        need(isinstance(c.get("parts"), list) and c["parts"], f"* GenerateContentRequest.{at}.parts: contents.parts must not be empty.")
        parts = [part(p, f"{at}.parts[{j}]", role) for j, p in enumerate(c["parts"])]
        role = "assistant" if role == "model" else "user"
        if turns and turns[-1].role == role:
            turns[-1].parts += parts
        else:
            turns.append(Turn(role, parts))
    for i, t in enumerate(turns):
        results = [p for p in t.parts if p.kind == "result"]
        calls = [p for p in turns[i - 1].parts if p.kind == "call"] if i else []
        need(
            len(results) == len(calls),
            "Please ensure that the number of function response parts is equal to the number of function call parts of the function call turn.",
        )
        need(
            [r.name for r in results] == [c.name for c in calls],
            "Please ensure that function responses are in the order and with the names of the function calls.",
        )
        for r, c in zip(results, calls):
            need(not r.id or not c.id or r.id == c.id, "function response id does not match its function call")
        if any(p.kind == "call" for p in t.parts):
            need(i > 0, "Please ensure that function call turn comes immediately after a user turn or after a function response turn.")
            if "gemini-3" in model:
                first = next(p for p in t.parts if p.kind == "call")
                need(
                    first.sig,
                    f"Function call is missing a thought_signature in functionCall parts. Function call `default_api:{first.name}`",
                )
    need(turns[-1].role == "user", "Please ensure that single turn requests end with a user role.")

    gc = body.get("generationConfig") or {}
    known(gc, CONFIG, "generation_config", UNKNOWN)
    mx = gc.get("maxOutputTokens")
    need(mx is None or (is_int(mx) and mx > 0), "Invalid value at 'generation_config.max_output_tokens'")
    need(len(gc.get("stopSequences") or []) <= 5, "at most 5 stop sequences")
    tc = gc.get("thinkingConfig") or {}
    known(tc, {"includeThoughts", "thinkingBudget", "thinkingLevel"}, "generation_config.thinking_config", UNKNOWN)
    need(not ("thinkingBudget" in tc and "thinkingLevel" in tc), "You can only set only one of thinking budget and thinking level.")
    need("thinkingLevel" not in tc or "gemini-2" not in model, "Thinking level is not supported for this model.")
    need(not ("responseSchema" in gc and "responseJsonSchema" in gc), "only one of response_schema and response_json_schema")
    schema = gc.get("responseSchema") or gc.get("responseJsonSchema")
    if schema:
        need(gc.get("responseMimeType") == "application/json", "response_schema needs response_mime_type application/json")
        if "responseSchema" in gc:
            subset(gc["responseSchema"], "generation_config.response_schema")
        need(
            "gemini-2" not in model or not body.get("tools"),
            "Function calling with a response mime type: 'application/json' is unsupported",
        )
    tools = []
    for i, t in enumerate(body.get("tools") or []):
        for j, d in enumerate(t.get("functionDeclarations") or []):
            at = f"tools[{i}].function_declarations[{j}]"
            known(
                d, {"name", "description", "parameters", "parametersJsonSchema", "response", "responseJsonSchema", "behavior"}, at, UNKNOWN
            )
            need(
                re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.:-]{0,63}", d.get("name") or ""),
                f"{at}.name: Invalid function name. Must start with a letter or an underscore.",
            )
            need(d["name"] not in [x.name for x in tools], f"Duplicate function declaration found: {d['name']}")
            need(not ("parameters" in d and "parametersJsonSchema" in d), f"{at}: both parameters and parameters_json_schema are set")
            if "parameters" in d:
                subset(d["parameters"], at + ".parameters")
                need(
                    d["parameters"].get("properties") or (d["parameters"].get("type") or "").upper() != "OBJECT",
                    f"{at}.parameters.properties: should be non-empty for OBJECT type",
                )
            tools.append(Tool(d["name"], d.get("parameters") or d.get("parametersJsonSchema") or {}))
    fc = (body.get("toolConfig") or {}).get("functionCallingConfig") or {}
    need(not fc.get("allowedFunctionNames") or fc.get("mode") in ("ANY", "VALIDATED"), "allowed_function_names needs mode ANY")
    for n in fc.get("allowedFunctionNames") or []:
        need(n in [t.name for t in tools], f"allowed_function_names: {n} is not declared")
    si = body.get("systemInstruction")
    system = ""
    if si:
        need(isinstance(si, dict) and isinstance(si.get("parts"), list) and si["parts"], "system_instruction.parts must not be empty")
        system = "\n".join(p.get("text") or "" for p in si["parts"])
    v = View(NAME, model, method == "streamGenerateContent", turns, system, tools, schema, bool(tc.get("includeThoughts")), True, body)
    v.sse = query.get("alt") == ["sse"]
    return v


def usage(u):
    total = u["uncached"] + u["read"] + u["write"]
    out = {"promptTokenCount": total, "candidatesTokenCount": u["output"] - u["reasoning"], "totalTokenCount": total + u["output"]}
    if u["read"]:
        out["cachedContentTokenCount"] = u["read"]
    if u["reasoning"]:
        out["thoughtsTokenCount"] = u["reasoning"]
    return out


FINISH = {"end": "STOP", "tool": "STOP", "length": "MAX_TOKENS", "filter": "SAFETY"}


def wrap(answer, view, parts, finish=None, use=None):
    c = {"content": {"parts": parts, "role": "model"}, "index": 0}
    if not parts:
        c.pop("content")
    if finish:
        c["finishReason"] = finish
    return {"candidates": [c], "usageMetadata": use, "modelVersion": view.model, "responseId": "Scripted%014d" % answer.n}


def pieces(answer):
    for p in answer.pieces:
        if p.kind == "think":
            yield from ({"text": c, "thought": True} for c in p.chunks)
        elif p.kind == "tool":
            call = {"name": p.name, "args": p.args}
            if answer.n % 2:  # the service gives ids in some versions and none in others
                call["id"] = p.id
            yield {"functionCall": call} | ({"thoughtSignature": p.sig} if p.sig else {})
        elif p.kind != "redacted":
            yield from ({"text": c} for c in p.chunks)


def document(answer, view):
    parts = []
    for p in pieces(answer):
        if parts and "text" in p and "text" in parts[-1] and p.get("thought") == parts[-1].get("thought"):
            parts[-1]["text"] += p["text"]
        else:
            parts.append(dict(p))
    if answer.finish == "filter":
        parts = []
    return wrap(answer, view, parts, FINISH[answer.finish], usage(answer.usage))


def stream(answer, view):
    sent = 0

    def out(obj):
        nonlocal sent
        text = json.dumps(obj, ensure_ascii=False, separators=(",", ":")).encode()
        sent += 1
        if view.sse:
            return b"data: " + text + b"\r\n\r\n"
        return (b"[" if sent == 1 else b",\r\n") + text

    early = {"promptTokenCount": usage(answer.usage)["promptTokenCount"], "totalTokenCount": usage(answer.usage)["promptTokenCount"]}
    if answer.finish != "filter":
        for p in pieces(answer):
            yield "content", out(wrap(answer, view, [p], None, early))
    last = [] if answer.finish == "filter" else [{"text": ""}]
    yield "post", out(wrap(answer, view, last, FINISH[answer.finish], usage(answer.usage)))
    if not view.sse:
        yield "post", b"]"


KINDS = {
    "invalid": (400, "INVALID_ARGUMENT"),
    "auth": (401, "UNAUTHENTICATED"),
    "not_found": (404, "NOT_FOUND"),
    "rate_limit": (429, "RESOURCE_EXHAUSTED"),
    "overloaded": (503, "UNAVAILABLE"),
    "api": (500, "INTERNAL"),
}


def error(kind, message, retry_after=None):
    code, status = KINDS[kind]
    e = {"code": code, "message": message, "status": status}
    if retry_after:
        e["details"] = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{retry_after}s"}]
    return code, {"error": e}, {}


def error_event(kind, message, sequence=0):
    return b"data: " + json.dumps(error(kind, message)[1]).encode() + b"\r\n\r\n"


def count():
    return {"totalTokens": CONST["count_tokens"], "promptTokensDetails": [{"modality": "TEXT", "tokenCount": CONST["count_tokens"]}]}


CONTENT_TYPE = "text/event-stream"
