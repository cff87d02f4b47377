"""The official Python SDKs behind one face, each used as its documentation shows.

An adapter asks (`ask`) and answers tool calls (`follow`); it reports what a program that uses the SDK
would see. History is kept in the SDK's own types and handed back as the SDK gave it, unless `strip` asks
for the bare minimum that careless clients send.
"""

import base64
import json
from dataclasses import dataclass, field

import anthropic
import ollama
import openai
from google import genai
from google.genai import errors as genai_errors
from google.genai import types as gt
from pydantic import BaseModel

TOOLS = [
    {
        "name": "get_weather",
        "description": "Weather of a city",
        "schema": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "Name"},
                "days": {"type": "integer"},
                "ratio": {"type": "number"},
                "tags": {"type": "array", "items": {"type": "string"}},
                "nested": {"type": "object", "properties": {"deep": {"type": "array", "items": {"type": "boolean"}}}},
            },
            "required": ["city"],
        },
    },
    {"name": "ping", "description": "No arguments", "schema": {"type": "object", "properties": {}}},
]


class City(BaseModel):
    city: str
    population: int
    languages: list[str]


class StreamFailed(Exception):
    """The SDK delivered an error as an event; a program has to raise it itself."""


@dataclass
class Result:
    text: str = ""
    think: str = ""
    refusal: str = ""
    calls: list = field(default_factory=list)  # (id, name, arguments object)
    finish: str = ""
    usage: dict = field(default_factory=dict)
    id: str = ""
    model: str = ""
    deltas: list = field(default_factory=list)
    parsed: object = None
    history: list = field(default_factory=list)  # what the next request has to start with


@dataclass
class Ask:
    model: str
    prompt: str
    stream: bool = False
    tools: bool = False
    think: bool = False
    schema: bool = False
    system: str = ""
    image: bytes = b""
    pdf: bytes = b""
    audio: bytes = b""
    history: list = field(default_factory=list)  # [(role, text)]
    on_delta: object = None


def clean(obj, drop):
    """Members that the SDK adds to its own objects and does not send."""
    if isinstance(obj, dict):
        return {k: clean(v, drop) for k, v in obj.items() if k not in drop}
    if isinstance(obj, list):
        return [clean(v, drop) for v in obj]
    return obj


class Adapter:
    name = ""
    errors = ()
    finish = {}

    def __init__(self, base, key):
        self.base, self.key = base, key

    def delta(self, ask, result, text):
        result.deltas.append(text)
        if ask.on_delta:
            ask.on_delta(text)


class Chat(Adapter):
    name = "openai_chat"
    errors = (openai.APIError,)
    finish = {"end": "stop", "tool": "tool_calls", "length": "length", "filter": "content_filter"}

    def __init__(self, base, key):
        super().__init__(base, key)
        self.c = openai.OpenAI(base_url=base + "/v1", api_key=key, max_retries=0, timeout=60)

    def ask(self, a):
        content = a.prompt
        if a.image or a.pdf or a.audio:
            content = [{"type": "text", "text": a.prompt}]
            if a.image:
                content.append({"type": "image_url", "image_url": {"url": "data:image/png;base64," + base64.b64encode(a.image).decode()}})
            if a.pdf:
                content.append(
                    {
                        "type": "file",
                        "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64," + base64.b64encode(a.pdf).decode()},
                    }
                )
            if a.audio:
                content.append({"type": "input_audio", "input_audio": {"format": "wav", "data": base64.b64encode(a.audio).decode()}})
        messages = [{"role": "system", "content": a.system}] if a.system else []
        messages += [{"role": r, "content": t} for r, t in a.history] + [{"role": "user", "content": content}]
        return self.run(a, messages)

    def run(self, a, messages):
        kw = dict(model=a.model, messages=messages)
        if a.tools:
            kw["tools"] = [
                {"type": "function", "function": {"name": t["name"], "description": t["description"], "parameters": t["schema"]}}
                for t in TOOLS
            ]
        if a.think:
            kw["reasoning_effort"] = "medium"
        if a.schema:
            kw["response_format"] = City
        r = Result()
        if a.stream:
            finish = text = ""
            with self.c.chat.completions.stream(**kw, stream_options={"include_usage": True}) as st:
                for ev in st:
                    if ev.type != "chunk":
                        continue
                    for c in ev.chunk.choices:
                        r.think += (c.delta.model_extra or {}).get("reasoning_content") or ""
                        finish = c.finish_reason or finish
                        if c.delta.content:
                            text += c.delta.content
                            self.delta(a, r, c.delta.content)
                snap = st.current_completion_snapshot
            done = st.get_final_completion() if a.schema else snap
            assert text == (done.choices[0].message.content or ""), "deltas and the SDK's own sum differ"
            assert finish == done.choices[0].finish_reason
        else:
            done = self.c.chat.completions.parse(**kw) if a.schema else self.c.chat.completions.create(**kw)
            r.think = (done.choices[0].message.model_extra or {}).get("reasoning_content") or ""
        m = done.choices[0].message
        r.text, r.refusal, r.finish, r.id, r.model = m.content or "", m.refusal or "", done.choices[0].finish_reason, done.id, done.model
        r.calls = [(t.id, t.function.name, json.loads(t.function.arguments)) for t in m.tool_calls or []]
        r.parsed = getattr(m, "parsed", None)
        u = done.usage
        r.usage = u and {
            "input": u.prompt_tokens,
            "output": u.completion_tokens,
            "total": u.total_tokens,
            "read": u.prompt_tokens_details.cached_tokens,
            "write": getattr(u.prompt_tokens_details, "cache_write_tokens", None),
            "reasoning": u.completion_tokens_details.reasoning_tokens,
        }
        r.history = messages + [clean(m.model_dump(exclude_none=True), {"parsed", "parsed_arguments"})]
        if r.history[-1].get("tool_calls"):
            for t in r.history[-1]["tool_calls"]:
                t.pop("index", None)
        return r

    def follow(self, a, r, results, strip=False):
        history = r.history
        if strip:
            last = {k: v for k, v in history[-1].items() if k in ("role", "content", "tool_calls")}
            last["tool_calls"] = [{k: v for k, v in t.items() if k in ("id", "type", "function")} for t in last["tool_calls"]]
            history = history[:-1] + [last]
        tool = [{"role": "tool", "tool_call_id": c[0], "content": x} for c, x in zip(r.calls, results)]
        return self.run(a, history + tool)

    def models(self):
        return [m.id for m in self.c.models.list()]


class Responses(Adapter):
    name = "openai_responses"
    errors = (openai.APIError, StreamFailed)
    finish = {"end": "completed", "tool": "completed", "length": "incomplete", "filter": "incomplete"}

    def __init__(self, base, key):
        super().__init__(base, key)
        self.c = openai.OpenAI(base_url=base + "/v1", api_key=key, max_retries=0, timeout=60)

    def ask(self, a):
        content = a.prompt
        if a.image or a.pdf:
            content = [{"type": "input_text", "text": a.prompt}]
            if a.image:
                content.append(
                    {"type": "input_image", "detail": "auto", "image_url": "data:image/png;base64," + base64.b64encode(a.image).decode()}
                )
            if a.pdf:
                content.append(
                    {
                        "type": "input_file",
                        "filename": "a.pdf",
                        "file_data": "data:application/pdf;base64," + base64.b64encode(a.pdf).decode(),
                    }
                )
        items = [{"role": r, "content": t if r == "user" else [{"type": "output_text", "text": t}]} for r, t in a.history]
        return self.run(a, items + [{"role": "user", "content": content}])

    def run(self, a, items):
        kw = dict(model=a.model, input=items, store=False)
        if a.system:
            kw["instructions"] = a.system
        if a.tools:
            kw["tools"] = [
                {"type": "function", "name": t["name"], "description": t["description"], "parameters": t["schema"], "strict": False}
                for t in TOOLS
            ]
        if a.think:
            kw.update(reasoning={"effort": "medium", "summary": "auto"}, include=["reasoning.encrypted_content"])
        if a.schema:
            kw["text_format"] = City
        r = Result()
        if a.stream:
            text, think, done, last = "", "", None, -1
            with self.c.responses.stream(**kw) as st:
                for ev in st:
                    assert ev.sequence_number == last + 1, f"{ev.type}: sequence {ev.sequence_number} after {last}"
                    last = ev.sequence_number
                    if ev.type == "response.output_text.delta":
                        text += ev.delta
                        self.delta(a, r, ev.delta)
                    elif ev.type == "response.reasoning_summary_text.delta":
                        think += ev.delta
                    elif ev.type in ("response.completed", "response.incomplete"):
                        done = ev.response
                    elif ev.type == "response.failed":
                        raise StreamFailed(ev.response.error.message)
                    elif ev.type == "error":
                        raise StreamFailed(ev.message)
            if done is None:
                raise StreamFailed("the stream ended without a terminal event")
            assert text == done.output_text, "deltas and the final response differ"
        else:
            done = self.c.responses.parse(**kw) if a.schema else self.c.responses.create(**kw)
        if done.status == "failed":
            raise StreamFailed(done.error.message)
        r.text, r.finish, r.id, r.model = done.output_text, done.status, done.id, done.model
        for i in done.output:
            if i.type == "function_call":
                r.calls.append((i.call_id, i.name, json.loads(i.arguments)))
            elif i.type == "reasoning":
                r.think += "".join(s.text for s in i.summary)
            elif i.type == "message":
                r.refusal += "".join(c.refusal for c in i.content if c.type == "refusal")
        if a.stream:
            assert think == r.think, "reasoning deltas and the final response differ"
        r.parsed = getattr(done, "output_parsed", None)
        u = done.usage
        r.usage = {
            "input": u.input_tokens,
            "output": u.output_tokens,
            "total": u.total_tokens,
            "read": u.input_tokens_details.cached_tokens,
            "write": getattr(u.input_tokens_details, "cache_write_tokens", None),
            "reasoning": u.output_tokens_details.reasoning_tokens,
        }
        r.history = items + [clean(i.model_dump(exclude_none=True), {"parsed", "parsed_arguments"}) for i in done.output]
        return r

    def follow(self, a, r, results, strip=False):
        history = [i for i in r.history if not strip or i.get("type") != "reasoning"]
        return self.run(a, history + [{"type": "function_call_output", "call_id": c[0], "output": x} for c, x in zip(r.calls, results)])

    def models(self):
        return [m.id for m in self.c.models.list()]


class Anthropic(Adapter):
    name = "anthropic"
    errors = (anthropic.APIError,)
    finish = {"end": "end_turn", "tool": "tool_use", "length": "max_tokens", "filter": "refusal"}

    def __init__(self, base, key):
        super().__init__(base, key)
        self.c = anthropic.Anthropic(base_url=base, api_key=key, max_retries=0, timeout=60)

    def ask(self, a):
        content = a.prompt
        if a.image or a.pdf:
            content = []
            if a.image:
                content.append(
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": base64.b64encode(a.image).decode()}}
                )
            if a.pdf:
                content.append(
                    {
                        "type": "document",
                        "title": "a.pdf",
                        "source": {"type": "base64", "media_type": "application/pdf", "data": base64.b64encode(a.pdf).decode()},
                    }
                )
            content.append({"type": "text", "text": a.prompt})
        return self.run(a, [{"role": r, "content": t} for r, t in a.history] + [{"role": "user", "content": content}])

    def run(self, a, messages):
        kw = dict(model=a.model, max_tokens=4096, messages=messages)
        if a.system:
            kw["system"] = [{"type": "text", "text": a.system, "cache_control": {"type": "ephemeral"}}]
        if a.tools:
            kw["tools"] = [{"name": t["name"], "description": t["description"], "input_schema": t["schema"]} for t in TOOLS]
        if a.think:
            adaptive = "claude-opus-4-6" in a.model
            kw["thinking"] = {"type": "adaptive"} if adaptive else {"type": "enabled", "budget_tokens": 2048}
        if a.schema:
            kw["output_format"] = City
        r = Result()
        if a.stream:
            text = think = ""
            with self.c.messages.stream(**kw) as st:
                for ev in st:
                    if ev.type == "content_block_delta" and ev.delta.type == "text_delta":
                        text += ev.delta.text
                        self.delta(a, r, ev.delta.text)
                    elif ev.type == "content_block_delta" and ev.delta.type == "thinking_delta":
                        think += ev.delta.thinking
                m = st.get_final_message()
            assert text == "".join(b.text for b in m.content if b.type == "text")
            assert think == "".join(b.thinking for b in m.content if b.type == "thinking")
        else:
            m = self.c.messages.parse(**kw) if a.schema else self.c.messages.create(**kw)
        for b in m.content:
            if b.type == "text":
                r.text += b.text
            elif b.type == "thinking":
                r.think += b.thinking
            elif b.type == "tool_use":
                r.calls.append((b.id, b.name, b.input))
        if a.schema:
            r.parsed = m.parsed_output
        r.finish, r.id, r.model = m.stop_reason, m.id, m.model
        u = m.usage
        details = getattr(u, "output_tokens_details", None)
        r.usage = {
            "input": u.input_tokens,
            "output": u.output_tokens,
            "read": u.cache_read_input_tokens,
            "write": u.cache_creation_input_tokens,
            "reasoning": details.thinking_tokens if details else 0,
        }
        r.history = messages + [{"role": "assistant", "content": m.content}]
        return r

    def follow(self, a, r, results, strip=False):
        history = r.history
        if strip:
            history = history[:-1] + [
                {"role": "assistant", "content": [b for b in history[-1]["content"] if b.type not in ("thinking", "redacted_thinking")]}
            ]
        return self.run(
            a,
            history
            + [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": c[0], "content": x} for c, x in zip(r.calls, results)]}],
        )

    def count(self, model):
        return self.c.messages.count_tokens(model=model, messages=[{"role": "user", "content": "How many tokens is this?"}]).input_tokens

    def models(self):
        return [m.id for m in self.c.models.list()]


class Gemini(Adapter):
    name = "gemini"
    errors = (genai_errors.APIError,)
    finish = {"end": "STOP", "tool": "STOP", "length": "MAX_TOKENS", "filter": "SAFETY"}

    def __init__(self, base, key):
        super().__init__(base, key)
        self.c = genai.Client(
            api_key=key, http_options=gt.HttpOptions(base_url=base, timeout=60000, retry_options=gt.HttpRetryOptions(attempts=1))
        )

    def ask(self, a):
        parts = [gt.Part.from_text(text=a.prompt)]
        for data, mime in ((a.image, "image/png"), (a.pdf, "application/pdf"), (a.audio, "audio/wav")):
            if data:
                parts.append(gt.Part.from_bytes(data=data, mime_type=mime))
        history = [gt.Content(role="model" if r == "assistant" else "user", parts=[gt.Part.from_text(text=t)]) for r, t in a.history]
        return self.run(a, history + [gt.Content(role="user", parts=parts)])

    def run(self, a, contents):
        cfg = gt.GenerateContentConfig()
        if a.system:
            cfg.system_instruction = a.system
        if a.tools:
            cfg.tools = [
                gt.Tool(
                    function_declarations=[
                        gt.FunctionDeclaration(name=t["name"], description=t["description"], parameters_json_schema=t["schema"])
                        for t in TOOLS
                    ]
                )
            ]
            cfg.automatic_function_calling = gt.AutomaticFunctionCallingConfig(disable=True)
        if a.think:
            cfg.thinking_config = gt.ThinkingConfig(include_thoughts=True, thinking_budget=None if "gemini-3" in a.model else 2048)
        if a.schema:
            cfg.response_mime_type = "application/json"
            cfg.response_schema = City
        r = Result()
        if a.stream:
            chunks = []
            for ch in self.c.models.generate_content_stream(model=a.model, contents=contents, config=cfg):
                chunks.append(ch)
                for p in self.parts(ch):
                    if p.text and not p.thought:
                        self.delta(a, r, p.text)
        else:
            chunks = [self.c.models.generate_content(model=a.model, contents=contents, config=cfg)]
        answer = []
        for ch in chunks:
            if ch.candidates and ch.candidates[0].content and ch.candidates[0].content.parts:
                answer.append(ch.candidates[0].content)
            for p in self.parts(ch):
                if p.function_call:
                    r.calls.append((p.function_call.id, p.function_call.name, p.function_call.args))
                elif p.text and p.thought:
                    r.think += p.text
                elif p.text:
                    r.text += p.text
            if ch.candidates and ch.candidates[0].finish_reason:
                r.finish = ch.candidates[0].finish_reason.value
        last = chunks[-1]
        r.id, r.model = last.response_id, last.model_version
        r.parsed = City.model_validate_json(r.text) if a.schema else None
        if a.schema and not a.stream:
            assert last.parsed == r.parsed, f"the SDK parsed {last.parsed!r}"
        u = last.usage_metadata
        if u:
            r.usage = {
                "input": u.prompt_token_count,
                "output": u.candidates_token_count or 0,
                "total": u.total_token_count,
                "read": u.cached_content_token_count or 0,
                "reasoning": u.thoughts_token_count or 0,
            }
        r.history = contents + answer
        return r

    @staticmethod
    def parts(ch):
        c = ch.candidates[0] if ch.candidates else None
        return (c.content.parts or []) if c and c.content else []

    def follow(self, a, r, results, strip=False):
        history = r.history
        if strip:
            history = [
                c.model_copy(update={"parts": [p.model_copy(update={"thought_signature": None}) for p in c.parts if not p.thought]})
                for c in history
            ]
            history = [c for c in history if c.parts]
        parts = []
        for c, x in zip(r.calls, results):
            p = gt.Part.from_function_response(name=c[1], response={"output": x})
            p.function_response.id = c[0]
            parts.append(p)
        return self.run(a, history + [gt.Content(role="user", parts=parts)])

    def count(self, model):
        return self.c.models.count_tokens(model=model, contents="How many tokens is this?").total_tokens

    def models(self):
        return [m.name.removeprefix("models/") for m in self.c.models.list()]


class Ollama(Adapter):
    name = "ollama"
    errors = (ollama.ResponseError,)
    finish = {"end": "stop", "tool": "stop", "length": "length", "filter": "stop"}

    def __init__(self, base, key):
        super().__init__(base, key)
        self.c = ollama.Client(host=base, headers={"authorization": "Bearer " + key}, timeout=60)

    def ask(self, a):
        messages = [{"role": "system", "content": a.system}] if a.system else []
        messages += [{"role": r, "content": t} for r, t in a.history]
        messages.append({"role": "user", "content": a.prompt} | ({"images": [a.image]} if a.image else {}))
        return self.run(a, messages)

    def run(self, a, messages):
        kw = dict(model=a.model, messages=messages)
        if a.tools:
            kw["tools"] = [
                {"type": "function", "function": {"name": t["name"], "description": t["description"], "parameters": t["schema"]}}
                for t in TOOLS
            ]
        if a.think:
            kw["think"] = True
        if a.schema:
            kw["format"] = City.model_json_schema()
        r = Result()
        message = {"role": "assistant", "content": ""}
        rows = self.c.chat(**kw, stream=True) if a.stream else [self.c.chat(**kw)]
        last = None
        for row in rows:
            last = row
            m = row.message
            if m.content:
                r.text += m.content
                if a.stream:
                    self.delta(a, r, m.content)
            r.think += m.thinking or ""
            for t in m.tool_calls or []:
                r.calls.append((None, t.function.name, dict(t.function.arguments)))
                message.setdefault("tool_calls", []).append(t)
        if last is None or not last.done:
            raise StreamFailed("the stream ended without done")
        message["content"] = r.text
        if r.think:
            message["thinking"] = r.think
        r.finish, r.id, r.model = last.done_reason, "none", last.model
        r.usage = {"input": last.prompt_eval_count, "output": last.eval_count}
        r.parsed = City.model_validate_json(r.text) if a.schema else None
        r.history = messages + [message]
        return r

    def follow(self, a, r, results, strip=False):
        return self.run(a, r.history + [{"role": "tool", "tool_name": c[1], "content": x} for c, x in zip(r.calls, results)])

    def models(self):
        return [m.model for m in self.c.list().models]


ADAPTERS = {c.name: c for c in (Chat, Responses, Anthropic, Gemini, Ollama)}
