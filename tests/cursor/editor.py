"""An editor as Cursor is one, made of Google's protobuf and python-hyper's h2: asks while its own side of the stream stays
open, sends signs of life, and reads answers strictly (no field that it does not know, nothing behind the end).

The messages are declared here once more, from the same tables as the router's.
"""

import gzip
import json
import socket
import struct
import sys

import h2.config
import h2.connection
import h2.events
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, unknown_fields

F = descriptor_pb2.FieldDescriptorProto
KINDS = {"text": F.TYPE_STRING, "bytes": F.TYPE_BYTES, "int": F.TYPE_UINT64, "flag": F.TYPE_BOOL, "double": F.TYPE_DOUBLE}

MESSAGES = {
    "Words": {"text": (1, "text")},
    "Bubble": {"text": (1, "text"), "type": (2, "int")},
    "Model": {"name": (1, "text")},
    "McpTool": {"name": (1, "text"), "description": (2, "text"), "parameters": (3, "text"), "server": (4, "text")},
    "McpParams": {"tools": (1, "*McpTool")},
    "Chat": {"conversation": (1, "*Bubble"), "model": (5, "Model"), "conversation_id": (23, "text"), "tools": (34, "*McpTool")},
    "ChatClient": {"request": (1, "Chat")},
    "Call": {
        "tool": (1, "int"), "id": (3, "text"), "name": (9, "text"), "raw_args": (10, "text"), "is_streaming": (14, "flag"),
        "is_last": (15, "flag"), "params": (27, "McpParams"), "index": (48, "int"),
    },
    "Thinking": {"text": (1, "text"), "signature": (2, "text"), "redacted": (3, "text")},
    "Response": {"text": (1, "text"), "thinking": (25, "Thinking"), "call": (36, "Call")},
    "ChatServer": {"call": (1, "Call"), "response": (2, "Response")},
    "UserMessage": {"text": (1, "text"), "id": (2, "text"), "mode": (4, "int")},
    "UserAction": {"message": (1, "UserMessage")},
    "Action": {"user": (1, "UserAction")},
    "Run": {"action": (2, "Action"), "conversation_id": (5, "text"), "model": (9, "Model")},
    "Empty": {},
    "AgentClient": {"run": (1, "Run"), "heartbeat": (7, "Empty")},
    "ThinkingDelta": {"text": (1, "text"), "style": (2, "int")},
    "TurnEnded": {"input": (1, "int"), "output": (2, "int"), "cache_read": (3, "int"), "cache_write": (4, "int")},
    "Update": {
        "text": (1, "Words"), "thinking": (4, "ThinkingDelta"), "thought": (5, "Empty"), "heartbeat": (13, "Empty"),
        "ended": (14, "TurnEnded"),
    },
    "AgentServer": {"update": (1, "Update")},
}


def declare():
    file = descriptor_pb2.FileDescriptorProto(name="cursor.proto", package="c", syntax="proto3")
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, (number, kind) in fields.items():
            repeated = kind.startswith("*")
            kind = kind.lstrip("*")
            one = message.field.add(name=field, number=number)
            one.label = F.LABEL_REPEATED if repeated else F.LABEL_OPTIONAL
            if kind in KINDS:
                one.type = KINDS[kind]
            else:
                one.type, one.type_name = F.TYPE_MESSAGE, ".c." + kind
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName("c." + name)) for name in MESSAGES}


C = declare()


def envelope(message, compressed=False):
    payload = message.SerializeToString()
    if compressed:
        payload = gzip.compress(payload)
    return struct.pack(">BI", int(compressed), len(payload)) + payload


def known(message):
    """Fails for a field that the message's declaration does not have."""
    assert len(unknown_fields.UnknownFieldSet(message)) == 0, f"unknown field in {message}"
    for field, value in message.ListFields():
        if field.message_type:
            for one in value if field.is_repeated else [value]:
                known(one)
    return message


class Stream:
    """One request on a connection of its own; its side stays open until the answer is over."""

    def __init__(self, address, path):
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout=60)
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.h2.initiate_connection()
        self.id = self.h2.get_next_available_stream_id()
        fields = [
            (":method", "POST"), (":scheme", "http"), (":authority", "api2.cursor.sh"), (":path", path),
            ("content-type", "application/connect+proto"), ("connect-protocol-version", "1"),
            ("connect-accept-encoding", "gzip"), ("authorization", "Bearer SECRET"), ("x-cursor-checksum", "SECRET"),
        ]
        self.h2.send_headers(self.id, fields)

    def send(self, data, end=False):
        self.h2.send_data(self.id, data, end_stream=end)
        self.socket.sendall(self.h2.data_to_send())

    def answer(self):
        """Data envelopes, and the JSON of the last one."""
        head, body, over = None, b"", False
        while not over:
            data = self.socket.recv(65536)
            assert data, "the connection was closed"
            for event in self.h2.receive_data(data):
                if isinstance(event, h2.events.ResponseReceived):
                    head = dict(event.headers)
                elif isinstance(event, h2.events.DataReceived):
                    body += event.data
                    self.h2.acknowledge_received_data(event.flow_controlled_length, self.id)
                elif isinstance(event, h2.events.StreamEnded):
                    over = True
                elif isinstance(event, (h2.events.StreamReset, h2.events.ConnectionTerminated)):
                    assert over, f"{event} before the end"
            self.socket.sendall(self.h2.data_to_send())
        self.socket.close()
        payloads, end = [], None
        while body:
            flags, length = struct.unpack(">BI", body[:5])
            payload, body = body[5 : 5 + length], body[5 + length :]
            assert len(payload) == length and end is None
            if flags == 2:
                end = json.loads(payload)
            else:
                assert flags == 0
                payloads.append(payload)
        assert head[":status"] == "200" and head["content-type"] == "application/connect+proto", head
        return payloads, end


def chat(model, text):
    tool = C["McpTool"](
        name="read_file", description="Reads", parameters='{"type":"object"}', server="files"
    )
    return C["Chat"](
        conversation=[C["Bubble"](text=text, type=1)], model=C["Model"](name=model), conversation_id="SECRET", tools=[tool]
    )


def hear_chat(payloads, end, wrapped):
    text, thinking, calls = "", "", {}
    for payload in payloads:
        if wrapped:
            message = known(C["ChatServer"].FromString(payload))
            response, call = message.response, message.call if message.HasField("call") else None
        else:
            response = known(C["Response"].FromString(payload))
            call = response.call if response.HasField("call") else None
        text += response.text
        thinking += response.thinking.text
        if call:
            assert call.tool == 19
            seen = calls.setdefault(call.id, {"name": None, "args": "", "over": False})
            assert not seen["over"]
            if call.HasField("params"):
                one = call.params.tools[0]
                seen["name"] = f"{one.server}/{one.name}"
                assert call.name == f"mcp_{one.server}_{one.name}"
            seen["args"] += call.raw_args
            seen["over"] = call.is_last
    made = [[one["name"], json.loads(one["args"])] for one in calls.values() if one["over"]]
    return {"text": text, "thinking": thinking, "calls": made, "end": end}


def hear_agent(payloads, end):
    text, thinking, ended = "", "", None
    for payload in payloads:
        message = known(C["AgentServer"].FromString(payload))
        assert ended is None and message.HasField("update")
        update = message.update
        text += update.text.text
        thinking += update.thinking.text
        if update.HasField("ended"):
            ended = [update.ended.input, update.ended.output]
    return {"text": text, "thinking": thinking, "ended": ended, "end": end}


def main(address):
    heard = {}
    for name, path, wrapped, compressed in [
        ("chat", "/aiserver.v1.ChatService/StreamUnifiedChat", False, False),
        ("tools", "/aiserver.v1.ChatService/StreamUnifiedChatWithTools", True, False),
        ("gzip", "/aiserver.v1.ChatService/StreamUnifiedChatWithTools", True, True),
    ]:
        request = chat("auto", "Say hello")
        message = C["ChatClient"](request=request) if wrapped else request
        stream = Stream(address, path)
        # In two pieces, and with no end.
        data = envelope(message, compressed)
        stream.send(data[:7])
        stream.send(data[7:])
        heard[name] = hear_chat(*stream.answer(), wrapped)
    user = C["UserMessage"](text="Say hello", id="SECRET", mode=2)
    run = C["Run"](action=C["Action"](user=C["UserAction"](message=user)), model=C["Model"](name="auto"), conversation_id="SECRET")
    stream = Stream(address, "/agent.v1.AgentService/Run")
    stream.send(envelope(C["AgentClient"](run=run)))
    alive = envelope(C["AgentClient"](heartbeat=C["Empty"]()))
    stream.send(alive + alive)
    heard["agent"] = hear_agent(*stream.answer())
    print(json.dumps(heard))


main(sys.argv[1])
