"""Programs behind interception, with the libraries that they are made of. See run.sh."""

import http.client
import json
import sys
from urllib.parse import urlsplit

import anthropic
import openai
from botocore.eventstream import EventStreamBuffer
from google.genai import types


def post(case):
    """The status, and the body in the pieces in which it comes."""
    url = urlsplit(case["url"])
    connection = http.client.HTTPConnection(url.netloc, timeout=20)
    target = url.path + (f"?{url.query}" if url.query else "")
    connection.request("POST", target, case["body"], {"content-type": "application/json"})
    response = connection.getresponse()

    def pieces():
        while piece := response.read1(37):
            yield piece

    return response.status, pieces()


def kiro(case, heard):
    status, pieces = post(case)
    assert status == 200, status
    parser = EventStreamBuffer()
    calls = {}
    for piece in pieces:
        parser.add_data(piece)
        for event in parser:
            message = event.to_response_dict()
            headers, payload = message["headers"], json.loads(message["body"])
            # What botocore makes of an exception: an error that ends the stream.
            if message["status_code"] == 400:
                heard["error"] = payload["message"]
                return
            match headers[":event-type"]:
                case "assistantResponseEvent":
                    heard["text"] += payload["content"]
                case "reasoningContentEvent":
                    heard["thinking"] += payload.get("text", "")
                case "toolUseEvent":
                    call = calls.setdefault(payload["toolUseId"], [payload["name"], ""])
                    call[1] += payload.get("input", "")
                    if payload.get("stop"):
                        heard["calls"].append([call[0], json.loads(call[1])])
                case "metadataEvent":
                    usage = payload["tokenUsage"]
                    heard["usage"] = [usage["uncachedInputTokens"], usage["outputTokens"]]
                    heard["ended"] = True


def antigravity(case, heard):
    status, pieces = post(case)
    assert status == 200, status
    stream = b"".join(pieces).decode()
    for event in stream.split("\r\n\r\n")[:-1]:
        data = json.loads(event.removeprefix("data: "))
        if "error" in data:
            heard["error"] = data["error"]["message"]
            return
        # Unknown members are errors to these types.
        response = types.GenerateContentResponse.model_validate(data["response"])
        for part in response.candidates[0].content.parts:
            if part.function_call:
                assert part.thought_signature
                heard["calls"].append([part.function_call.name, part.function_call.args])
            elif part.thought:
                heard["thinking"] += part.text
            else:
                heard["text"] += part.text
        if response.candidates[0].finish_reason:
            usage = response.usage_metadata
            heard["usage"] = [usage.prompt_token_count, usage.candidates_token_count]
            heard["ended"] = True


def copilot_chat(case, heard):
    client = openai.OpenAI(base_url=case["url"], api_key="copilot", max_retries=0)
    messages = [{"role": "user", "content": "Say hello"}]
    calls = []
    for chunk in client.chat.completions.create(model=case["model"], messages=messages, stream=True):
        if chunk.usage:
            heard["usage"] = [chunk.usage.prompt_tokens, chunk.usage.completion_tokens]
        for choice in chunk.choices:
            heard["text"] += choice.delta.content or ""
            heard["thinking"] += getattr(choice.delta, "reasoning_text", None) or ""
            for call in choice.delta.tool_calls or []:
                if call.id:
                    calls.append([call.function.name, ""])
                calls[-1][1] += call.function.arguments or ""
            heard["ended"] |= choice.finish_reason is not None
    heard["calls"] = [[name, json.loads(arguments)] for name, arguments in calls]


def copilot_messages(case, heard):
    client = anthropic.Anthropic(base_url=case["url"], api_key="copilot", max_retries=0)
    messages = [{"role": "user", "content": "Say hello"}]
    with client.messages.stream(model=case["model"], max_tokens=64, messages=messages) as stream:
        for event in stream:
            if event.type == "text":
                heard["text"] += event.text
            if event.type == "thinking":
                heard["thinking"] += event.thinking
        message = stream.get_final_message()
    heard["calls"] = [[block.name, block.input] for block in message.content if block.type == "tool_use"]
    heard["usage"] = [message.usage.input_tokens, message.usage.output_tokens]
    heard["ended"] = message.stop_reason is not None


def copilot_responses(case, heard):
    client = openai.OpenAI(base_url=case["url"], api_key="copilot", max_retries=0)
    with client.responses.stream(model=case["model"], input="Say hello") as stream:
        for event in stream:
            if event.type == "response.output_text.delta":
                heard["text"] += event.delta
            if event.type in ("response.reasoning_summary_text.delta", "response.reasoning_text.delta"):
                heard["thinking"] += event.delta
            if event.type == "response.failed":
                heard["error"] = event.response.error.message
            if event.type == "response.completed":
                output = event.response.output
                calls = [item for item in output if item.type == "function_call"]
                heard["calls"] = [[call.name, json.loads(call.arguments)] for call in calls]
                heard["usage"] = [event.response.usage.input_tokens, event.response.usage.output_tokens]
                heard["ended"] = True


def main():
    all_heard = []
    for case in json.load(sys.stdin):
        heard = {"text": "", "thinking": "", "calls": [], "usage": None, "ended": False, "error": None}
        try:
            globals()[case["ide"]](case, heard)
        except (openai.APIError, anthropic.APIError) as error:
            heard["error"] = error.message
            heard["ended"] = False
        all_heard.append(heard)
    json.dump(all_heard, sys.stdout)


main()
