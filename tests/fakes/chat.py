"""A small chat-completions server in a thread; a function of the last message answers."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

#: last user message, model -> status and content
Reply = Callable[[str, str], tuple[int, str]]


@dataclass
class Chat:
    """The fake. ``reply`` may be replaced while it runs."""

    url: str
    reply: Reply
    #: sent as ``x-limbeck-error`` with every refusal, as servers of ours do
    kind: str | None = None
    #: bodies and headers of all requests so far
    requests: list[tuple[dict[str, Any], dict[str, str]]] = field(default_factory=list)


@contextmanager
def chat_server(reply: Reply) -> Iterator[Chat]:
    chat = Chat(url="", reply=reply)

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            headers = {name.lower(): value for name, value in self.headers.items()}
            chat.requests.append((body, headers))
            status, content = chat.reply(body["messages"][-1]["content"], body["model"])
            answer: dict[str, Any] = {"error": {"message": content}}
            if status == 200:
                message = {"role": "assistant", "content": content}
                usage = {"prompt_tokens": 10, "completion_tokens": 5}
                answer = {"choices": [{"index": 0, "message": message}], "usage": usage}
            data = json.dumps(answer).encode()
            self.send_response(status)
            if status != 200 and chat.kind is not None:
                self.send_header("x-limbeck-error", chat.kind)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    chat.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield chat
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
