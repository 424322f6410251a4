"""A fake upstream in a thread that understands DSPy's prompts: a teacher's LM or a student server.

What a field gets is a function of the field and the input text, so that every answer can be traced
to its own request. The fault of a request is chosen by the model name or by the text.
"""

from __future__ import annotations

import http.server
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

#: body -> status and content (or error message)
Reply = Callable[[dict[str, Any]], tuple[int, str]]

_CHAT = re.compile(r"starting with the field (.*)", re.DOTALL)
_CHAT_FIELD = re.compile(r"`\[\[ ## (\w+) ## \]\]`")
_JSON = re.compile(r"Respond with a JSON object in the following order of fields: (.*)", re.DOTALL)
_JSON_FIELD = re.compile(r"`(\w+)`")
_INPUT = re.compile(r"\[\[ ## \w+ ## \]\]\n(.*?)\n\n", re.DOTALL)


@dataclass
class Upstream:
    """A running fake. ``reply`` may be replaced while it runs."""

    base_url: str
    reply: Reply
    #: bodies of all requests so far
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)


def value_of(name: str, text: str) -> object:
    """What the fake says for an output field."""
    if name == "confidence":
        return 0.75
    if name == "urgent":
        return "help" in text
    if name == "priority":
        return "high" if "!" in text else "low"
    if name in ("category", "answer"):
        return f"{name} of <{text}>"
    return f"{name} about {text}"


def teacher(body: dict[str, Any]) -> tuple[int, str]:
    """Answer a prompt of ChatAdapter or JSONAdapter. The first input is the text."""
    last = str(body["messages"][-1]["content"])
    found = _INPUT.search(last + "\n\n")
    text = found.group(1) if found else last
    fault = re.search(r"fault (\d+)", text)
    if fault:
        return int(fault.group(1)), "as the request asked"
    if "slow" in text:
        time.sleep(0.5)
    if "nonsense" in text:
        return 200, "I will not follow the format."
    chat, as_json = _CHAT.search(last), _JSON.search(last)
    if chat:
        names = [name for name in _CHAT_FIELD.findall(chat.group(1)) if name != "completed"]
        parts = [f"[[ ## {name} ## ]]\n{value_of(name, text)}" for name in names]
        return 200, "\n\n".join([*parts, "[[ ## completed ## ]]"])
    if as_json:
        names = _JSON_FIELD.findall(as_json.group(1))
        return 200, json.dumps({name: value_of(name, text) for name in names})
    return 200, f"echo: {last}"


def student(body: dict[str, Any]) -> tuple[int, str]:
    """Answer as a classifier student: JSON made from the inputs beside the prompt."""
    text = str(json.loads(body["metadata"]["limbeck_inputs"])["text"])
    fault = re.search(r"student (\d+)", text)
    if fault:
        return int(fault.group(1)), "as the request asked"
    if "garbage" in text:
        return 200, "[]"
    return 200, json.dumps({"category": f"student's <{text}>", "confidence": 0.5})


@contextmanager
def upstream(reply: Reply) -> Iterator[Upstream]:
    """Run a fake upstream on a free port."""
    running = Upstream(base_url="", reply=reply)

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            running.requests.append(body)
            running.headers.append({k.lower(): v for k, v in self.headers.items()})
            status, content = running.reply(body)
            answer: dict[str, Any] = {"error": {"message": content, "code": "fake"}}
            if status == 200:
                message = {"role": "assistant", "content": content}
                answer = {
                    "id": "chatcmpl-1",
                    "object": "chat.completion",
                    "created": 1,
                    "model": body["model"],
                    "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                    "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110},
                }
            data = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Server(http.server.ThreadingHTTPServer):
        request_queue_size = 256
        daemon_threads = True

    server = Server(("127.0.0.1", 0), Handler)
    running.base_url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield running
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
