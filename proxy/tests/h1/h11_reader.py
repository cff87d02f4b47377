"""What h11 makes of HTTP/1 bytes: one JSON object in, one out, a line each.

In:  {"method": null | METHOD, "bytes": hex}. Without a method the bytes are requests to a server that answers 404 and goes
     on as long as h11 lets it; with one they are the answer to such a request, up to the end of the connection.
Out: {"messages": [{"method", "start", "fields": [[name, value]], "body"}], "fault": null | why}. Only complete messages;
     all bytes as latin-1.
"""

import json
import sys

import h11

HEAD_BYTES = 100_000


def text(data):
    return bytes(data).decode("latin-1")


def fields(headers):
    return [[text(name).lower(), text(value)] for name, value in headers]


def events(connection):
    """Events until h11 wants more or will not go on."""
    while True:
        event = connection.next_event()
        if event in (h11.NEED_DATA, h11.PAUSED) or isinstance(event, h11.ConnectionClosed):
            return
        yield event


def requests(data):
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES)
    messages, current = [], None
    try:
        connection.receive_data(data)
        while True:
            over = True
            for event in events(connection):
                if isinstance(event, h11.Request):
                    version = event.http_version
                    current = {
                        "method": text(event.method),
                        "start": text(event.target),
                        "fields": fields(event.headers),
                        "body": "",
                    }
                elif isinstance(event, h11.Data):
                    current["body"] += text(event.data)
                elif isinstance(event, h11.EndOfMessage):
                    messages.append(current)
                    connection.send(h11.Response(status_code=404, headers=[("content-length", "0")]))
                    connection.send(h11.EndOfMessage())
                    if version < b"1.1":
                        return messages, "closes behind HTTP/1.0"
                    over = connection.our_state is not h11.DONE or connection.their_state is not h11.DONE
                    if not over:
                        connection.start_next_cycle()
                    break
            if over:
                return messages, None
    except h11.RemoteProtocolError as error:
        return messages, str(error)


def answer(method, data):
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_BYTES)
    target = "a:1" if method == "CONNECT" else "/"
    connection.send(h11.Request(method=method, target=target, headers=[("host", "a:1")]))
    connection.send(h11.EndOfMessage())
    current = None
    try:
        for piece in (data, b""):
            connection.receive_data(piece)
            for event in events(connection):
                if isinstance(event, h11.Response):
                    status = str(event.status_code)
                    current = {"method": method, "start": status, "fields": fields(event.headers), "body": ""}
                elif isinstance(event, h11.Data):
                    current["body"] += text(event.data)
                elif isinstance(event, h11.EndOfMessage):
                    return [current], None
    except h11.RemoteProtocolError as error:
        return [], str(error)
    return [], "no end"


for line in sys.stdin:
    case = json.loads(line)
    data = bytes.fromhex(case["bytes"])
    messages, fault = answer(case["method"], data) if case["method"] else requests(data)
    print(json.dumps({"messages": messages, "fault": fault}))
