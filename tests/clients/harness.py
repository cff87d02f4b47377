"""Starts what the client suites talk to: the scripted upstream and the gateway before it.

Direct mode (no gateway) proves the suites and the script themselves: each SDK talks to the upstream in its own dialect.
"""

import json
import os
import re
import subprocess
import tempfile
import threading
import time
import urllib.request

import upstream

DIALECTS = ["openai_chat", "openai_responses", "anthropic", "gemini", "ollama"]
SHORT = {"openai_chat": "chat", "openai_responses": "resp", "anthropic": "anthropic", "gemini": "gemini", "ollama": "ollama"}
SUFFIX = {"openai_chat": "/v1", "openai_responses": "/v1", "anthropic": "", "gemini": "/v1beta", "ollama": ""}
# names by which the gateway knows a family's habits (thinking form, signatures), besides a name that says nothing
EXTRA = {"anthropic": ["claude-sonnet-4-5", "claude-opus-4-6"], "gemini": ["gemini-2.5-flash", "gemini-3-pro"]}
CLIENT_KEY = "client-key"  # must never reach an upstream: the gateway holds its own


def model_of(dialect):
    return SHORT[dialect] + "-model"


def config(port):
    out = []
    for d in DIALECTS:
        models = json.dumps([model_of(d)] + EXTRA.get(d, []))
        out.append(
            f'[providers.up-{SHORT[d]}]\ndialect = "{d}"\nbase_url = "http://127.0.0.1:{port}{SUFFIX[d]}"\napi_key = "test-key"\nmodels = {models}\n'
        )
    return "\n".join(out)


class Upstream:
    def __init__(self):
        self.server = upstream.start()
        self.port = self.server.server_address[1]
        self.base = f"http://127.0.0.1:{self.port}"

    def requests(self, tag=None):
        with upstream.LOG_LOCK:
            return [dict(r) for r in upstream.LOG if tag is None or r["tag"] == tag]

    def wait(self, tag, outcome, seconds=5.0):
        """Waits until the (only) request of `tag` ended as `outcome`. -> its record"""
        deadline = time.monotonic() + seconds
        while True:
            found = [r for r in self.requests(tag) if r["outcome"] == outcome]
            if found:
                return found[0]
            if time.monotonic() > deadline:
                raise AssertionError(f"no request of {tag} ended as {outcome}: {[(r['outcome'], r['status']) for r in self.requests(tag)]}")
            time.sleep(0.005)


class Gateway:
    """One process of the binary under test, on a port of its own choice, with a data directory of its own."""

    def __init__(self, binary, upstream_port, extra=""):
        self.dir = tempfile.TemporaryDirectory(prefix="flow-router-clients-")
        cfg = os.path.join(self.dir.name, "config.toml")
        with open(cfg, "w", encoding="utf-8") as f:
            f.write(config(upstream_port) + extra)
        env = {k: v for k, v in os.environ.items() if not re.search(r"(?i)(_api_key|_proxy)$", k)}
        data = os.path.join(self.dir.name, "data")
        os.makedirs(data, exist_ok=True)
        try:
            self.process = subprocess.Popen(
                [os.path.abspath(binary), "--addr", "127.0.0.1:0", "--config", cfg, "--data-dir", data],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=env,
                cwd=self.dir.name,
            )
        except OSError as e:
            raise RuntimeError(f"cannot start the gateway: {e}") from None
        self.log, self.base, ready = [], None, threading.Event()

        def read():
            for line in self.process.stdout:
                line = line.decode("utf-8", "replace").rstrip()
                self.log = (self.log + [line])[-400:]
                m = re.search(r"listening on (http://[\d.:\[\]a-f]+)", line)
                if m and not self.base:
                    self.base = m.group(1).rstrip("/")
                    ready.set()
            ready.set()

        threading.Thread(target=read, daemon=True).start()
        if not ready.wait(30) or not self.base:
            self.process.kill()
            raise RuntimeError("the gateway did not say `listening on http://…`; its output:\n" + "\n".join(self.log))

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.dir.cleanup()
        return self.process.returncode

    def get(self, path):
        with urllib.request.urlopen(self.base + path, timeout=10) as r:
            return r.status, r.read()


class World:
    """The upstream and, unless direct, the gateway before it. One gateway serves all tests, those of errors too:
    each model has one provider, which is asked even while it is cooling down."""

    def __init__(self, direct):
        self.direct = direct
        self.up = Upstream()
        self.binary = os.environ.get("FLOW_ROUTER_BIN")
        self.gateway = None
        if not direct and not self.binary:
            raise SystemExit("FLOW_ROUTER_BIN is not set: the path of the gateway's binary (or use --direct)")

    def base(self):
        if self.direct:
            return self.up.base
        self.gateway = self.gateway or Gateway(self.binary, self.up.port)
        return self.gateway.base

    def key(self):
        return "test-key" if self.direct else CLIENT_KEY

    def alive(self):
        return self.gateway is None or self.gateway.process.poll() is None

    def log(self):
        return "\n".join(self.gateway.log[-40:]) if self.gateway else ""

    def close(self):
        if self.gateway:
            self.gateway.stop()
        self.up.server.shutdown()


def serve():
    """For suites in other languages: says {"base", "key", "upstream"} on stdout, and ends with stdin."""
    import argparse
    import sys

    ap = argparse.ArgumentParser()
    ap.add_argument("--direct", action="store_true")
    world = World(ap.parse_args().direct)
    try:
        try:
            answer = {"base": world.base(), "key": world.key(), "upstream": world.up.base}
        except Exception as e:
            answer = {"error": str(e)}
        print(json.dumps(answer), flush=True)
        sys.stdin.read()
        if not world.alive():
            print("a gateway died:\n" + world.log(), file=sys.stderr)
            sys.exit(1)
    finally:
        world.close()


if __name__ == "__main__":
    serve()
