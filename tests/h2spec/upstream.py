"""A plain HTTP/1.1 upstream that keeps what it was sent, byte for byte. Requests are framed by h11, an implementation
that is independent of ours."""

import json
import socket
import threading

import h11


class Exchange:
    """One request as it arrived, with the time that the connection behind it stayed open."""

    def __init__(self, head, body):
        self.head, self.body = head, body
        self.document = json.loads(body)
        self.ended = threading.Event()


class Upstream:
    """Model `hang` is never answered, every other one with as many letters as `user` of the request says."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port = self.listener.getsockname()[1]
        self.exchanges, self.faults = [], []
        self.changed = threading.Condition()
        threading.Thread(target=self.accept, daemon=True).start()

    def provider(self, name="up", models=("echo", "hang"), extra=""):
        return (
            f'[providers.{name}]\ndialect = "openai_chat"\nbase_url = "http://127.0.0.1:{self.port}/v1"\n'
            f'api_key = "upstream-key"\nmodels = {json.dumps(list(models))}\n{extra}\n'
        )

    def accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(sock,), daemon=True).start()

    def serve(self, sock):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection, raw = h11.Connection(h11.SERVER), b""
        with sock:
            while True:
                head, body = None, b""
                while True:
                    try:
                        event = connection.next_event()
                    except h11.RemoteProtocolError as fault:
                        with self.changed:
                            self.faults.append(f"{fault}: {raw!r}")
                            self.changed.notify_all()
                        return
                    if event is h11.NEED_DATA:
                        try:
                            more = sock.recv(65536)
                        except OSError:
                            more = b""
                        if not more:
                            return
                        raw += more
                        connection.receive_data(more)
                    elif isinstance(event, h11.Request):
                        head = event
                    elif isinstance(event, h11.Data):
                        body += bytes(event.data)
                    elif isinstance(event, h11.EndOfMessage):
                        break
                    else:
                        return
                exchange = Exchange(head, body)
                with self.changed:
                    self.exchanges.append(exchange)
                    self.changed.notify_all()
                if exchange.document["model"] == "hang":
                    try:
                        sock.recv(1)  # until the gateway gives up
                    except OSError:
                        pass
                    exchange.ended.set()
                    return
                answer = document(int(exchange.document.get("user", "1")))
                fields = [("content-type", "application/json"), ("content-length", str(len(answer)))]
                out = connection.send(h11.Response(status_code=200, headers=fields))
                out += connection.send(h11.Data(data=answer)) + connection.send(h11.EndOfMessage())
                try:
                    sock.sendall(out)
                except OSError:
                    return
                exchange.ended.set()
                if connection.our_state is not h11.DONE:
                    return
                connection.start_next_cycle()

    def wait(self, count, seconds=20):
        """Waits for so many requests in all. -> all"""
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.exchanges) >= count, seconds), f"{len(self.exchanges)} of {count}"
            return list(self.exchanges)


def document(letters):
    choice = {"index": 0, "message": {"role": "assistant", "content": "x" * letters}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    whole = {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}
    return json.dumps(whole).encode()


def chat(model="echo", letters=1, **more):
    """The body of a request to it."""
    return json.dumps({"model": model, "messages": [{"role": "user", "content": "hi"}], "user": str(letters), **more}).encode()
