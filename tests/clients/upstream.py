#!/usr/bin/env python3
"""A scripted provider for tests: five dialects on one port of 127.0.0.1, as strict as the vendors.

  upstream.py [--port N]      port 0 by default; prints one line of JSON {"port": N} when it listens

Paths: /v1/chat/completions, /v1/responses, /v1/messages(/count_tokens), /v1beta/models/M:METHOD,
/api/chat, /api/generate, and the model lists. What is answered stands in the request: see scripted/scenario.py.
GET /__requests[?tag=X] tells what arrived and how it ended, POST /__reset forgets it.
Not a product: no limits, no TLS, threads instead of an event loop.
"""

import argparse
import json
import re
import select
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from scripted import anthropic, chat, gemini, ollama, responses
from scripted.answer import NUMBERS
from scripted.scenario import play
from scripted.view import Refused

ROUTES = [
    (r"/v1/chat/completions", chat),
    (r"/v1/responses", responses),
    (r"/v1/messages(/count_tokens)?", anthropic),
    (r"/v1(beta)?/models/.+:(generateContent|streamGenerateContent|countTokens)", gemini),
    (r"/api/(chat|generate)", ollama),
]
LOG, LOG_LOCK = [], threading.Lock()
MODELS = ["chat-model", "resp-model", "anthropic-model", "gemini-model", "ollama-model"]


class Gone(Exception):
    """The other side has left."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "scripted-upstream"
    disable_nagle_algorithm = True

    def log_message(self, *args):
        pass

    # ---------------------------------------------------------------- in
    def body(self):
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            out = b""
            while True:
                size = int(self.rfile.readline().split(b";")[0], 16)
                out += self.rfile.read(size)
                self.rfile.readline()
                if size == 0:
                    return out
        return self.rfile.read(int(self.headers.get("content-length") or 0))

    def do_GET(self):
        url = urlsplit(self.path)
        if url.path == "/__requests":
            tag = parse_qs(url.query).get("tag", [None])[0]
            with LOG_LOCK:
                return self.json(200, [r for r in LOG if tag is None or r["tag"] == tag])
        if url.path == "/v1/models" and self.headers.get("anthropic-version"):
            data = [{"type": "model", "id": m, "display_name": m, "created_at": "2026-01-01T00:00:00Z"} for m in MODELS]
            return self.json(200, {"data": data, "has_more": False, "first_id": MODELS[0], "last_id": MODELS[-1]})
        if url.path == "/v1beta/models" or (url.path == "/v1/models" and self.headers.get("x-goog-api-key")):
            return self.json(
                200,
                {
                    "models": [
                        {
                            "name": "models/" + m,
                            "displayName": m,
                            "inputTokenLimit": 1000000,
                            "outputTokenLimit": 65536,
                            "supportedGenerationMethods": ["generateContent", "countTokens"],
                        }
                        for m in MODELS
                    ]
                },
            )
        if url.path == "/v1/models":
            return self.json(
                200,
                {"object": "list", "data": [{"id": m, "object": "model", "created": 1790000000, "owned_by": "scripted"} for m in MODELS]},
            )
        if url.path == "/api/tags":
            details = {
                "parent_model": "",
                "format": "gguf",
                "family": "scripted",
                "families": None,
                "parameter_size": "1B",
                "quantization_level": "Q4_0",
            }
            return self.json(
                200,
                {
                    "models": [
                        {"name": m, "model": m, "modified_at": "2026-01-01T00:00:00Z", "size": 1, "digest": "0" * 64, "details": details}
                        for m in MODELS
                    ]
                },
            )
        if url.path == "/api/version":
            return self.json(200, {"version": "0.20.0"})
        self.json(404, {"error": {"message": f"no such path: {self.path}", "type": "invalid_request_error", "param": None, "code": None}})

    def do_POST(self):
        raw = self.body()
        url = urlsplit(self.path)
        if url.path == "/__reset":
            with LOG_LOCK:
                LOG.clear()
            return self.json(200, {})
        dialect = next((d for pattern, d in ROUTES if re.fullmatch(pattern, url.path)), None)
        n = NUMBERS.next()
        record = {
            "n": n,
            "dialect": dialect.NAME if dialect else None,
            "path": self.path,
            "headers": {k.lower(): v for k, v in self.headers.items()},
            "body": None,
            "tag": None,
            "scenario": None,
            "status": None,
            "refused": None,
            "outcome": "open",
            "started": time.monotonic(),
        }
        with LOG_LOCK:
            LOG.append(record)
        try:
            if dialect is None:
                return self.json(404, {"error": {"message": f"no such path: {self.path}"}}, record=record)
            try:
                self.answer(dialect, raw, url, n, record)
            except Refused as r:
                status, doc, headers = dialect.error(r.kind, r.message, r.retry_after)
                record["refused"] = r.message
                self.json(status, doc, headers, record)
        except (Gone, OSError):
            record["outcome"] = "client_gone"
            self.close_connection = True
        finally:
            record["ended"] = time.monotonic()
            if record["outcome"] == "open":
                record["outcome"] = "done"

    # ---------------------------------------------------------------- out
    def answer(self, dialect, raw, url, n, record):
        headers = {k.lower(): v for k, v in self.headers.items()}
        query = parse_qs(url.query)
        try:
            body = json.loads(raw)
        except ValueError as e:
            raise Refused(f"We could not parse the JSON body of your request: {e}") from None
        record["body"] = body
        found = re.findall(r"\[\[(tag|scenario) (.*?)\]\]", raw.decode("utf-8", "replace"))
        for k, v in found:
            record[k] = v
        if not isinstance(body, dict):
            raise Refused("the body must be a JSON object")
        if b"frt1." in raw:
            raise Refused("script: a tagged rider of the gateway reached the vendor")
        if not dialect.authorised(headers, query):
            raise Refused("script: the key did not arrive where this vendor wants it", "auth")
        view = dialect.parse(body, headers, query, url.path)
        if url.path.endswith(("/count_tokens", ":countTokens")):
            return self.json(200, dialect.count(), record=record)
        if record["scenario"] == "hang":
            self.wait_for_leave(60)
        answer = play(view, n)
        record["note"] = answer.note
        if view.stream:
            self.stream(dialect, answer, view, record)
        elif answer.fault in ("overload", "error_mid"):
            raise Refused(
                "scripted: overloaded" if answer.fault == "overload" else "scripted: broke in the middle",
                "overloaded" if answer.fault == "overload" else "api",
            )
        else:
            doc = json.dumps(dialect.document(answer, view), ensure_ascii=False).encode()
            cut = len(doc) // 2 if answer.fault in ("cut", "cut_clean") else None
            self.json(200, doc, {"x-request-id": f"req_{n}"}, record, cut)

    def json(self, status, doc, headers=None, record=None, cut=None):
        raw = doc if isinstance(doc, bytes) else json.dumps(doc, ensure_ascii=False).encode()
        if record is not None:
            record["status"] = status
        self.send_response(status)
        self.send_header("content-type", "application/json; charset=utf-8")
        self.send_header("content-length", str(len(raw)))
        for k, v in (headers or {}).items():
            self.send_header(k, v)
        self.end_headers()
        self.wfile.write(raw[:cut])
        if cut is not None:
            self.drop()
            record["outcome"] = "cut"

    def drop(self):
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True

    def left(self):
        """Has the client closed its side?"""
        ready, _, _ = select.select([self.connection], [], [], 0)
        return bool(ready) and self.connection.recv(1, socket.MSG_PEEK) == b""

    def wait_for_leave(self, seconds):
        ready, _, _ = select.select([self.connection], [], [], seconds)
        if ready and self.connection.recv(1, socket.MSG_PEEK) == b"":
            raise Gone

    def chunk(self, data, split):
        for i in range(0, len(data), split or len(data)):
            piece = data[i : i + split] if split else data
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))

    def stream(self, dialect, answer, view, record):
        record["status"] = 200
        self.send_response(200)
        ctype = dialect.CONTENT_TYPE if view.sse else "application/json; charset=UTF-8"
        self.send_header("content-type", ctype)
        self.send_header("cache-control", "no-cache")
        self.send_header("transfer-encoding", "chunked")
        self.send_header("x-request-id", f"req_{answer.n}")
        self.end_headers()
        record["events"] = content = 0
        for kind, data in dialect.stream(answer, view):
            if answer.fault and (kind == "post" or (kind == "content" and content >= answer.fault_after)):
                break
            content += kind == "content"
            if answer.pace:
                time.sleep(answer.pace)
                if self.left():
                    raise Gone
            self.chunk(data, answer.split)
            record["events"] += 1
        if answer.fault == "cut":
            record["outcome"] = "cut"
            return self.drop()
        if answer.fault == "overload":
            self.chunk(dialect.error_event("overloaded", "scripted: overloaded", record["events"]), 0)
        elif answer.fault == "error_mid":
            if dialect is gemini and not view.sse:
                self.chunk(b"," + json.dumps(gemini.error("api", "scripted: broke in the middle")[1]).encode() + b"]", 0)
            else:
                self.chunk(dialect.error_event("api", "scripted: broke in the middle", record["events"]), 0)
        self.wfile.write(b"0\r\n\r\n")


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, request, address):
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, address)


def start(port=0):
    """Starts the upstream in this process. -> Server; its port is `server_address[1]`."""
    server = Server(("127.0.0.1", port), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


if __name__ == "__main__":
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--port", type=int, default=0)
    s = Server(("127.0.0.1", ap.parse_args().port), Handler)
    print(json.dumps({"port": s.server_address[1]}), flush=True)
    try:
        s.serve_forever()
    except KeyboardInterrupt:
        pass
