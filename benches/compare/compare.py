#!/usr/bin/env python3
"""CPU and memory of the gateway beside nginx as a plain keep-alive reverse proxy, in one alternating run.

  cargo build --release && python3 benches/compare/compare.py [--rounds 3] [--only small,stream]

Needs Linux, Python 3.9 and nginx (`apt-get install nginx`). Everything stays on 127.0.0.1 and ends by itself. The load
comes from this very program and is light on purpose: what is compared is the CPU time of the two processes per request
or per event (from the scheduler's own clock), not a rate. Trust the ratios of one run, not the absolute times.
"""
import argparse, asyncio, glob, json, os, signal, socket, statistics, subprocess, tempfile, time, urllib.request

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
TEXT = "the quick brown fox jumps over the"


# ---------------------------------------------------------------- what the upstream says
def chat_event(i):
    chunk = {"id": "chatcmpl-mock0001", "object": "chat.completion.chunk", "created": 1700000000, "model": "mock",
             "choices": [{"index": 0, "delta": {"content": f"{TEXT} {i}"}, "finish_reason": None}]}
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


CHAT_END = (b'data: {"id":"chatcmpl-mock0001","object":"chat.completion.chunk","created":1700000000,"model":"mock","choices":'
            b'[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n')
CHAT_BODY = json.dumps({
    "id": "chatcmpl-mock0001", "object": "chat.completion", "created": 1700000000, "model": "mock",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": TEXT * 4}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 12, "completion_tokens": 30, "total_tokens": 42}}).encode()


def named(kind, **rest):
    return f"event: {kind}\ndata: ".encode() + json.dumps({"type": kind, **rest}).encode() + b"\n\n"


MESSAGE = {"id": "msg_mock0001", "type": "message", "role": "assistant", "model": "mock", "content": [],
           "stop_reason": None, "stop_sequence": None, "usage": {"input_tokens": 12, "output_tokens": 1}}
MESSAGES_START = (named("message_start", message=MESSAGE)
                  + named("content_block_start", index=0, content_block={"type": "text", "text": ""}))
MESSAGES_END = (named("content_block_stop", index=0)
                + named("message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None}, usage={"output_tokens": 30})
                + named("message_stop"))


def messages_event(i):
    return named("content_block_delta", index=0, delta={"type": "text_delta", "text": f"{TEXT} {i}"})


def chunk(data):
    return b"%x\r\n%s\r\n" % (len(data), data)


async def upstream(reader, writer):
    """One connection. The prompt says how many events come, and the pause between them in ms: `[[200,5]]`."""
    writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            length = int(head.split("content-length:")[1].split("\r\n")[0])
            body = await reader.readexactly(length)
            if b'"stream": true' not in body and b'"stream":true' not in body:
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s"
                             % (len(CHAT_BODY), CHAT_BODY))
                continue
            events, pause = (int(word) for word in body.split(b"[[")[1].split(b"]]")[0].split(b","))
            messages = "/messages" in head.split("\r\n")[0]
            event = messages_event if messages else chat_event
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
            if messages:
                writer.write(chunk(MESSAGES_START))
            if pause:
                for i in range(events):
                    writer.write(chunk(event(i)))
                    await asyncio.sleep(pause / 1000)
            else:
                whole = b"".join(event(i) for i in range(events))
                for at in range(0, len(whole), 16384):
                    writer.write(chunk(whole[at:at + 16384]))
                    await writer.drain()
            writer.write(chunk(MESSAGES_END if messages else CHAT_END) + b"0\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
        writer.close()


# ---------------------------------------------------------------- the load
async def ask(port, path, payload, times, hold=None):
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    body = json.dumps(payload).encode()
    request = (f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\nanthropic-version: 2023-06-01\r\n"
               f"content-length: {len(body)}\r\n\r\n").encode() + body
    for _ in range(times):
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        assert head.startswith("http/1.1 200"), head
        if hold:
            await reader.read(1)
            await hold.wait()
            break
        if "content-length:" in head:
            await reader.readexactly(int(head.split("content-length:")[1].split("\r\n")[0]))
            continue
        while size := int((await reader.readline()).strip() or b"0", 16):
            await reader.readexactly(size + 2)
        await reader.readline()
    writer.close()


def prompt(model, events, pause):
    words = f"[[{events},{pause}]]" if events else "hello"
    return {"model": model, "stream": bool(events), "max_tokens": 100, "messages": [{"role": "user", "content": words}]}


#            name        clients, times, events, pause (ms), path through us, model, path through nginx
SCENARIOS = {
    "small": (8, 150, 0, 0, "/v1/chat/completions", "chat", "/v1/chat/completions"),
    "stream": (20, 1, 150, 5, "/v1/chat/completions", "chat", "/v1/chat/completions"),
    "bulk": (4, 10, 2000, 0, "/v1/chat/completions", "chat", "/v1/chat/completions"),
    "translated": (20, 1, 150, 5, "/v1/chat/completions", "messages", "/v1/messages"),
    "translated-bulk": (4, 10, 2000, 0, "/v1/chat/completions", "messages", "/v1/messages"),
}


# ---------------------------------------------------------------- the processes
def family(pid):
    children = open(f"/proc/{pid}/task/{pid}/children").read().split()
    return [pid] + [p for child in children for p in family(int(child))]


def cpu_seconds(pid):
    total = 0
    for process in family(pid):
        for task in glob.glob(f"/proc/{process}/task/*/schedstat"):
            total += int(open(task).read().split()[0])
    return total / 1e9


def memory_kib(pid):
    lines = [line for p in family(pid) for line in open(f"/proc/{p}/status")]
    return sum(int(line.split()[1]) for line in lines if line.startswith(("RssAnon", "RssFile")))


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def start_gateway(folder, upstream_port):
    port = free_port()
    with open(f"{folder}/config.toml", "w") as file:
        for name, dialect, base in (("c", "openai_chat", "/v1"), ("m", "anthropic", "")):
            model = "chat" if name == "c" else "messages"
            file.write(f'[providers.{name}]\ndialect = "{dialect}"\nbase_url = "http://127.0.0.1:{upstream_port}{base}"\n'
                       f'api_key = "k"\nmodels = ["{model}"]\n')
    began = time.monotonic()
    process = subprocess.Popen(
        [f"{ROOT}/target/release/flow-router", "--config", f"{folder}/config.toml", "--data-dir", f"{folder}/data",
         "--addr", f"127.0.0.1:{port}", "--log", "warn"], stdout=subprocess.DEVNULL)
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models", timeout=1).read()
            return process, port, time.monotonic() - began
        except OSError:
            time.sleep(0.001)


def start_nginx(folder, upstream_port):
    port = free_port()
    with open(f"{folder}/nginx.conf", "w") as file:
        file.write(f"""daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{ access_log off; client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s; keepalive_requests 1000000; client_body_buffer_size 64k;
upstream up {{ server 127.0.0.1:{upstream_port}; keepalive 64; keepalive_requests 1000000; }}
server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://up; proxy_http_version 1.1;
proxy_set_header Connection ""; proxy_buffering off; }} }} }}
""")
    process = subprocess.Popen(["nginx", "-c", f"{folder}/nginx.conf", "-p", folder], stderr=subprocess.DEVNULL)
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 0.1).close()
            return process, port
        except OSError:
            time.sleep(0.01)


async def measure(name, port, pid, ours):
    clients, times, events, pause, path, model, plain = SCENARIOS[name]
    payload = prompt(model, events, pause)
    load = lambda n: asyncio.gather(*(ask(port, path if ours else plain, payload, n) for _ in range(clients)))
    await load(1)
    before = cpu_seconds(pid)
    await load(times)
    return (cpu_seconds(pid) - before) * 1e6 / (clients * times * max(events, 1))


async def open_streams(port, pid, count):
    """KiB per open stream: all of them have got their first event and wait for the second one."""
    done, before = asyncio.Event(), memory_kib(pid)
    payload = prompt("chat", 2, 20_000)
    tasks = [asyncio.create_task(ask(port, "/v1/chat/completions", payload, 1, done)) for _ in range(count)]
    await asyncio.sleep(5)
    held = (memory_kib(pid) - before) / count
    done.set()
    await asyncio.gather(*tasks)
    return held


async def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--only", default=",".join(SCENARIOS))
    options.add_argument("--streams", type=int, default=400, help="open streams for the memory figure; 0 = skip")
    options = options.parse_args()
    server = await asyncio.start_server(upstream, "127.0.0.1", 0, backlog=1024, limit=1 << 20)
    upstream_port = server.sockets[0].getsockname()[1]
    started = []
    with tempfile.TemporaryDirectory() as folder:
        try:
            gateway, ours, cold = await asyncio.to_thread(start_gateway, folder, upstream_port)
            started.append(gateway)
            nginx, theirs = await asyncio.to_thread(start_nginx, folder, upstream_port)
            started.append(nginx)
            print(f"start to first answer {cold * 1000:.0f} ms; idle {memory_kib(gateway.pid) / 1024:.1f} MiB resident")
            print(f"{'CPU in us per request or event':32}{'flow-router':>12}{'nginx':>10}{'ratio':>8}")
            for name in options.only.split(","):
                figures = [(await measure(name, ours, gateway.pid, True), await measure(name, theirs, nginx.pid, False))
                           for _ in range(options.rounds)]
                mine, other = (statistics.median(column) for column in zip(*figures))
                print(f"{name:32}{mine:12.2f}{other:10.2f}{mine / other:8.2f}", flush=True)
            if options.streams:
                mine = await open_streams(ours, gateway.pid, options.streams)
                print(f"{'KiB per open stream':32}{mine:12.1f}")
        finally:
            for process in started:
                process.send_signal(signal.SIGTERM)
            for process in started:
                process.wait()


asyncio.run(main())
