"""One chat completion of a usual size, as all benchmarks of our own send and answer it."""

from __future__ import annotations

import json

REQUEST = json.dumps(
    {
        "model": "gpt-4o-mini",
        "messages": [
            {"role": "system", "content": "You sort support tickets. " * 20},
            {"role": "user", "content": "my parcel has not arrived, order 12345 " * 15},
        ],
    }
).encode()
RESPONSE = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "gpt-4o-mini",
        "choices": [
            {
                "index": 0,
                "finish_reason": "stop",
                "message": {"role": "assistant", "content": "track_order " * 70},
            }
        ],
        "usage": {"prompt_tokens": 280, "completion_tokens": 140, "total_tokens": 420},
    }
).encode()
