"""Scenario `agent`: makes a coding agent write a file, run a command and stop, with the tools that it offered.

The prompt carries `[[file PATH]]`, `[[content TEXT]]` and `[[command LINE]]`. The command's output must
come back in its tool result (it holds `[[expect TEXT]]`), else the last answer says that it did not.
"""

import json
import os

from .answer import NUMBERS, Answer, Piece
from .schema import instance
from .view import CONST

WRITERS = ("write", "write_file", "writefile", "create_file", "apply_patch")
# Codex's code mode: one free-form tool that runs JavaScript, from which the others are called
CODE = ("exec",)
# dialects whose thinking carries a signature (Gemini's calls carry theirs)
SIGNED = ("anthropic", "openai_responses")
SHELLS = ("bash", "run_shell_command", "exec_command", "shell_command", "shell", "local_shell", "terminal")


def short(name):
    return name.lower().split("__")[-1].split(".")[-1]


def find(tools, names):
    for want in names:
        for t in tools:
            if short(t.name) == want:
                return t
    return None


def write_args(t, path, content):
    patch = f"*** Begin Patch\n*** Add File: {os.path.basename(path)}\n+{content}\n*** End Patch"
    if t.kind == "custom":
        return patch
    hints = dict.fromkeys(("file_path", "filePath", "path", "filename"), path) | dict.fromkeys(
        ("content", "contents", "text"), content + "\n"
    )
    if short(t.name) == "apply_patch":
        hints = dict.fromkeys(("input", "patch", "patchText"), patch)
    return instance(t.schema, hints)


def shell_args(t, line):
    props = t.schema.get("properties") or {}
    hints = {"description": "Runs the command", "timeout": 20000, "cmd": line, "command": line, "timeout_ms": 20000, "yield_time_ms": 10000}
    if (props.get("command") or {}).get("type", "string") in ("array", "ARRAY"):
        hints["command"] = ["bash", "-lc", line]
    required = t.schema.get("required") or []
    return instance(t.schema, {k: v for k, v in hints.items() if k in ("cmd", "command", "description", "yield_time_ms") or k in required})


def agent(view, n, at, marks):
    calls, results = view.since(at)
    issued = NUMBERS.of_tag(marks.get("tag"))
    came = {c.sig for c in calls} | {p.sig for p in view.thinking_since(at)}
    lost = sum(s not in came for s in issued)
    a = turn(view, n, at, marks, results)
    if lost:
        a.note = f"{lost} of {len(issued)} signatures did not come back"
    return a


def code_args(line):
    return f"const r = await tools.exec_command({{cmd: {json.dumps(line)}}});\ntext(JSON.stringify(r));"


def turn(view, n, at, marks, results):
    from .scenario import sign, tool_id

    if not view.tools:
        return Answer([Piece("text", ["Write a file"])])
    shell = find(view.tools, SHELLS)
    run = shell_args
    if shell is None:
        shell, run = (
            find(view.tools, CODE),
            lambda t, line: code_args(line) if t.kind == "custom" else instance(t.schema, {"input": code_args(line)}),
        )
    if len(results) == 0:
        t = find(view.tools, WRITERS)
        if t:
            args = write_args(t, marks["file"], marks["content"])
        else:
            t, args = shell, shell and run(shell, f"printf '%s\\n' '{marks['content']}' > hello.txt")
    elif len(results) == 1:
        t, args = shell, shell and run(shell, marks["command"])
    else:
        ok = marks["expect"] in results[-1].text
        said = CONST["agent_done"] if ok else f"AGENT-FAILED: the command's result was {results[-1].text[:200]!r}"
        return Answer([Piece("text", [said[:5], said[5:]])])
    if t is None:
        return Answer([Piece("text", [f"AGENT-FAILED: no usable tool among {[x.name for x in view.tools]}"])])
    pieces = []
    thought = "I will use " + t.name
    sig = ""
    if view.dialect == "gemini":
        sig = sign(view, n, thought, marks.get("tag"), t.name, args)
    if view.reasoning:
        mine = sign(view, n, thought, marks.get("tag")) if view.dialect in SIGNED else ""
        pieces.append(Piece("think", [thought[:6], thought[6:]], mine))
    else:
        pieces.append(Piece("text", ["Using ", t.name, "."]))
    pieces.append(
        Piece("tool", id=tool_id(view.dialect, n, 0), name=t.name, args=args, sig=sig, custom=t.kind == "custom", namespace=t.namespace)
    )
    return Answer(pieces, "tool")
