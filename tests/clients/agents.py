#!/usr/bin/env python3
"""Real coding agents, headless, against every upstream dialect. Run by agents.sh.

Each agent gets a fresh HOME, a fresh working directory and one prompt that names scenario `agent`: the
scripted upstream makes it write hello.txt and run a command with whatever tools it offers. Checked: the
file, the command's effect, the exit code, the agent's last words, and that exactly three requests with
tools reached the upstream, none of them refused (no retry, no detour).

  agents.py [--direct] [--only AGENT[:UPSTREAM]] [--keep]      AGENT: claude codex codex-patch codex-code gemini opencode
"""

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

from harness import DIALECTS, SHORT, World, model_of
from scripted.view import CONST

OUT = os.path.abspath(os.environ.get("CLIENTS_TARGET") or os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../target/clients"))
BIN = os.path.join(OUT, "agents", "node_modules", ".bin")
TIMEOUT = 180
CONTENT = "hello from flow router"


class Sink:
    """The agents' HTTPS proxy: refuses every connection and remembers who was asked for."""

    def __init__(self):
        self.asked = []
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port = self.server.getsockname()[1]
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            try:
                c, _ = self.server.accept()
            except OSError:
                return
            try:
                c.settimeout(2)
                line = c.recv(4096).split(b"\r\n")[0].decode("latin-1").split(" ")
                self.asked.append(line[1] if len(line) > 1 else "?")
                c.sendall(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            except OSError:
                pass
            finally:
                c.close()


class Run:
    """What an agent is started with: addresses, key, model, and its own two directories."""

    def __init__(self, base, key, model, home, work):
        self.base, self.key, self.model, self.home, self.work = base, key, model, home, work

    def write(self, path, text):
        path = os.path.join(self.home, path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)


def claude(r, prompt):
    env = {
        "ANTHROPIC_BASE_URL": r.base,
        "ANTHROPIC_API_KEY": r.key,
        "ANTHROPIC_MODEL": r.model,
        "ANTHROPIC_DEFAULT_HAIKU_MODEL": r.model,
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_TELEMETRY": "1",
        "DISABLE_ERROR_REPORTING": "1",
        "DISABLE_AUTOUPDATER": "1",
        "MAX_THINKING_TOKENS": "2048",
    }
    return ["claude", "-p", prompt, "--model", r.model, "--allowedTools", "Write", "Bash", "--output-format", "json"], env


def codex(r, prompt):
    r.write(
        ".codex/config.toml",
        f"""model = "{r.model}"
model_provider = "router"
check_for_update_on_startup = false
model_reasoning_effort = "medium"
model_reasoning_summary = "auto"

[analytics]
enabled = false

[model_providers.router]
name = "Flow Router"
base_url = "{r.base}/v1"
env_key = "ROUTER_KEY"
wire_api = "responses"
request_max_retries = 0
stream_max_retries = 0
""",
    )
    return ["codex", "exec", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox", prompt], {"ROUTER_KEY": r.key}


def gemini(r, prompt):
    settings = {
        "security": {"auth": {"selectedType": "gemini-api-key"}, "folderTrust": {"enabled": False}},
        "privacy": {"usageStatisticsEnabled": False},
        "telemetry": {"enabled": False},
        "general": {"disableAutoUpdate": True, "disableUpdateNag": True, "enableAutoUpdate": False},
    }
    r.write(".gemini/settings.json", json.dumps(settings))
    env = {
        "GEMINI_API_KEY": r.key,
        "GOOGLE_GEMINI_BASE_URL": r.base,
        "GEMINI_CLI_TRUST_WORKSPACE": "true",
        "GEMINI_TELEMETRY_ENABLED": "false",
    }
    return ["gemini", "-p", prompt, "--yolo", "--model", r.model], env


def opencode(r, prompt):
    config = {
        "$schema": "https://opencode.ai/config.json",
        "autoupdate": False,
        "share": "disabled",
        "model": "router/" + r.model,
        "small_model": "router/" + r.model,
        "enabled_providers": ["router"],
        "permission": {"edit": "allow", "bash": "allow", "external_directory": "allow"},
        "provider": {
            "router": {
                "npm": "@ai-sdk/openai-compatible",
                "name": "Flow Router",
                "options": {"baseURL": r.base + "/v1", "apiKey": r.key},
                "models": {r.model: {"name": r.model, "tool_call": True, "reasoning": True, "limit": {"context": 200000, "output": 8000}}},
            }
        },
    }
    r.write(".config/opencode/opencode.json", json.dumps(config))
    env = {
        "OPENCODE_DISABLE_MODELS_FETCH": "1",
        "OPENCODE_DISABLE_AUTOUPDATE": "1",
        "OPENCODE_DISABLE_LSP_DOWNLOAD": "1",
        "OPENCODE_DISABLE_DEFAULT_PLUGINS": "1",
    }
    return ["opencode", "run", "--model", "router/" + r.model, prompt], env


# name: (set-up, dialect that it speaks, model whose name brings out other tools of the agent)
AGENTS = {
    "claude": (claude, "anthropic", None),
    "codex": (codex, "openai_responses", None),
    "codex-patch": (codex, "openai_responses", "gpt-5.5"),  # adds the free-form tool apply_patch
    "codex-code": (codex, "openai_responses", "gpt-6.1-sol"),  # tools inside the input; one of them, `exec`, runs JavaScript
    "gemini": (gemini, "gemini", None),
    "opencode": (opencode, "openai_chat", None),
}


def one(world, agent, upstream, tag, keep):
    """-> (complaints, seconds, hosts asked for, output of the agent)"""
    setup, _, model = AGENTS[agent]
    model = f"up-{SHORT[upstream]}/{model}" if model else model_of(upstream)
    root = tempfile.mkdtemp(prefix=f"flow-router-{agent}-")
    home, work = os.path.join(root, "home"), os.path.join(root, "work")
    os.makedirs(home)
    os.makedirs(work)
    subprocess.run(["git", "init", "-q", work], check=False, env={"PATH": os.environ["PATH"], "HOME": home})
    path = os.path.join(work, "hello.txt")
    # only a real run of the command can say the number of bytes; no $(…), which some agents refuse
    command = "cat hello.txt > ran.txt && wc -c ran.txt"
    expect = f"{len(CONTENT) + 1} ran.txt"
    prompt = f"Write the file, then run the command. [[scenario agent]] [[tag {tag}]] [[file {path}]] [[content {CONTENT}]] [[command {command}]] [[expect {expect}]]"
    sink = Sink()
    argv, more = setup(Run(world.base(), world.key(), model, home, work), prompt)
    env = {
        "PATH": BIN + os.pathsep + os.environ["PATH"],
        "HOME": home,
        "TMPDIR": root,
        "TERM": "xterm-256color",
        "COLORTERM": "truecolor",
        "LANG": "C.UTF-8",
        "CI": "1",
        "NO_COLOR": "1",
        "HTTPS_PROXY": f"http://127.0.0.1:{sink.port}",
        "https_proxy": f"http://127.0.0.1:{sink.port}",
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
        "DO_NOT_TRACK": "1",
        "NO_UPDATE_NOTIFIER": "1",
    } | more
    started = time.monotonic()
    process = subprocess.Popen(
        [os.path.join(BIN, argv[0]), *argv[1:]],
        cwd=work,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        output = process.communicate(timeout=TIMEOUT)[0].decode("utf-8", "replace")
        code = process.returncode
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        output, code = process.communicate()[0].decode("utf-8", "replace"), "timeout"
    seconds = time.monotonic() - started

    bad = []
    if code != 0:
        bad.append(f"exit code {code}")
    for name, what in ((path, "hello.txt"), (os.path.join(work, "ran.txt"), "ran.txt")):
        have = open(name, encoding="utf-8").read() if os.path.exists(name) else None
        if have is None or have.rstrip("\n") != CONTENT:
            bad.append(f"{what} holds {have!r}")
    if CONST["agent_done"] not in output:
        bad.append("the last words are not the script's")
    requests = world.up.requests(tag)
    refused = [(r["path"], r["status"], r["refused"]) for r in requests if r["status"] != 200]
    if refused:
        bad.append(f"refused upstream: {refused}")
    turns = [
        r
        for r in requests
        if r["body"]
        and (
            r["body"].get("tools") or any(i.get("type") == "additional_tools" for i in r["body"].get("input") or [] if isinstance(i, dict))
        )
    ]
    if len(turns) != 3:
        bad.append(f"{len(turns)} requests with tools instead of 3 ({[(r['path'], r['status'], r['outcome']) for r in requests]})")
    if any(r["dialect"] != upstream for r in requests):
        bad.append("a request reached another upstream")
    lost = [r["note"] for r in requests if r.get("note")]
    if lost:
        print(f"note: {agent} -> {upstream}: {lost[-1]}")
    sink.server.close()
    if keep:
        print(f"  kept: {root}")
    else:
        shutil.rmtree(root, ignore_errors=True)
    return bad, seconds, sorted(set(sink.asked)), output


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--direct", action="store_true", help="no gateway: each agent talks to the upstream in its own dialect")
    ap.add_argument("--only", default="", metavar="AGENT[:UPSTREAM]")
    ap.add_argument("--keep", action="store_true", help="keep HOME and working directories")
    ap.add_argument("-v", "--verbose", action="store_true", help="show what the agents print")
    args = ap.parse_args()
    world = World(args.direct)
    agent_wanted, _, up_wanted = args.only.partition(":")
    passed = failed = skipped = n = 0
    try:
        for agent, (_, native, _) in AGENTS.items():
            if agent_wanted not in ("", agent):
                continue
            for up in DIALECTS:
                if (args.direct and up != native) or up_wanted not in ("", up):
                    continue
                if not os.path.exists(os.path.join(BIN, agent.split("-")[0])):
                    print(f"SKIPPED: {agent} is not installed", flush=True)
                    skipped += 1
                    continue
                n += 1
                bad, seconds, asked, output = one(world, agent, up, f"agent{n}", args.keep)
                print(
                    f"{'FAIL' if bad else 'ok  '} {agent:11} -> {up:17} {seconds:5.1f} s"
                    + (f"  (refused outside: {', '.join(asked)})" if asked else ""),
                    flush=True,
                )
                for b in bad:
                    print(f"       {b}")
                if bad or args.verbose:
                    print("       " + "\n       ".join(output.strip().splitlines()[-25:]))
                if args.verbose:
                    for r in world.up.requests(f"agent{n}"):
                        print(f"       {r['path']} {r['status']} {r['outcome']}")
                failed += bool(bad)
                passed += not bad
        if not world.alive():
            print("a gateway died:\n" + world.log())
            failed += 1
    finally:
        world.close()
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed or not passed + skipped else 0


if __name__ == "__main__":
    sys.exit(main())
