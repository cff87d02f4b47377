"""One reading of a request, whatever the dialect: turns, parts, tools.

The dialect modules validate a body as the vendor would and then fill these; scenarios look only at these.
"""

import base64
import binascii
import json
import os
import re
from dataclasses import dataclass, field

with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "constants.json"), encoding="utf-8") as f:
    CONST = json.load(f)


class Refused(Exception):
    """The request is not what the vendor takes. `kind` is rendered by the dialect."""

    def __init__(self, message, kind="invalid", retry_after=None):
        super().__init__(message)
        self.message, self.kind, self.retry_after = message, kind, retry_after


def need(condition, message):
    if not condition:
        raise Refused(message)


def is_int(v):
    return isinstance(v, int) and not isinstance(v, bool)


def known(obj, allowed, where, form="{where}: unknown member {name!r}"):
    """Refuses members that the vendor does not know."""
    for name in obj:
        if name not in allowed:
            raise Refused(form.format(where=where, name=name))


def b64(text, where):
    need(isinstance(text, str) and text, f"{where}: base64 text expected")
    need(not text.startswith("data:"), f"{where}: base64 expected, not a data URL")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as e:
        raise Refused(f"{where}: not base64 ({e})") from None


def data_url(url, where):
    """-> (mime, bytes) of a base64 data URL."""
    m = re.match(r"data:([\w.+-]+/[\w.+-]+);base64,(.*)$", url, re.S)
    need(m, f"{where}: not a base64 data URL")
    return m.group(1), b64(m.group(2), where)


@dataclass
class Part:
    kind: str  # text | think | redacted | refusal | image | file | audio | call | result
    text: str = ""
    mime: str = ""
    data: bytes = b""
    id: str = ""
    name: str = ""
    args: object = None
    sig: str = ""
    parts: list = field(default_factory=list)


@dataclass
class Turn:
    role: str  # user | assistant
    parts: list


@dataclass
class Tool:
    name: str
    schema: dict
    kind: str = "function"  # function | custom
    namespace: str = ""


@dataclass
class View:
    dialect: str
    model: str
    stream: bool
    turns: list
    system: str = ""
    tools: list = field(default_factory=list)
    schema: object = None  # JSON schema of a structured answer
    reasoning: bool = False
    include_usage: bool = True
    body: dict = field(default_factory=dict)
    sse: bool = True  # Gemini without alt=sse answers an array
    reveal: bool = True  # Responses: encrypted reasoning was asked for
    echo: bool = False  # Chat: this vendor wants its reasoning back

    def texts(self, role="user"):
        return [p.text for t in self.turns if t.role == role for p in t.parts if p.kind == "text"]

    def marks(self):
        """-> (index of the turn that names the scenario, the marks in its text)."""
        for i in range(len(self.turns) - 1, -1, -1):
            if self.turns[i].role != "user":
                continue
            text = "\n".join(p.text for p in self.turns[i].parts if p.kind == "text")
            found = re.findall(r"\[\[(\w+) (.*?)\]\]", text)
            if any(k == "scenario" for k, _ in found):
                return i, dict(found)
        return -1, {}

    def since(self, index):
        """Calls and results after the turn that named the scenario, with results paired to calls."""
        calls, results = [], []
        for t in self.turns[index + 1 :]:
            for p in t.parts:
                if p.kind == "call":
                    calls.append(p)
                elif p.kind == "result":
                    results.append(p)
        return calls, results

    def thinking_since(self, index):
        return [p for t in self.turns[index + 1 :] if t.role == "assistant" for p in t.parts if p.kind in ("think", "redacted")]


STRICT_SCHEMA = "Invalid schema for {where}: 'additionalProperties' is required to be supplied and to be false in strict mode"


def strict_schema(schema, where):
    """OpenAI's strict mode: every object closed, every property required."""
    if not isinstance(schema, dict):
        return
    if schema.get("type") == "object" or "properties" in schema:
        need(schema.get("additionalProperties") is False, STRICT_SCHEMA.format(where=where))
        props = schema.get("properties") or {}
        need(
            set(schema.get("required") or []) == set(props),
            f"Invalid schema for {where}: 'required' must name every property in strict mode",
        )
    for key in ("properties", "$defs", "definitions"):
        for sub in (schema.get(key) or {}).values():
            strict_schema(sub, where)
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            strict_schema(schema[key], where)
    for key in ("anyOf", "oneOf", "allOf"):
        for sub in schema.get(key) or []:
            strict_schema(sub, where)
