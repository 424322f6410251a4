"""Fill a spool with frames of the size that the gateway benchmark has: fill.py FOLDER FRAMES."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from fastuuid import uuid7

from traces.record import RequestEnd, pack
from traces.spool import SpoolWriter


def main() -> None:
    folder, frames = Path(sys.argv[1]), int(sys.argv[2])
    messages = [
        {"role": "system", "content": "You sort support tickets. " * 20},
        {"role": "user", "content": "my parcel has not arrived, order 12345 " * 15},
    ]
    request = json.dumps({"model": "gpt-4o-mini", "messages": messages}).encode()
    answer = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "choices": [
            {"index": 0, "finish_reason": "stop",
             "message": {"role": "assistant", "content": "track_order " * 70}}
        ],
        "usage": {"prompt_tokens": 280, "completion_tokens": 140, "total_tokens": 420},
    }  # fmt: skip
    response = json.dumps(answer).encode()
    (folder / "spool").mkdir(parents=True, exist_ok=True)
    writer = SpoolWriter(folder / "spool")
    for _ in range(frames):
        header = RequestEnd(
            trace_id=str(uuid7()), worker="bench", ts_us=time.time_ns() // 1000,
            model="gpt-4o-mini", route="gpt-4o-mini", upstream="provider",
            upstream_model="gpt-4o-mini", status=200, latency_us=1000,
            request_len=len(request), content_type="application/json",
        )  # fmt: skip
        writer.append(pack(header, request, response))
    writer.close()


if __name__ == "__main__":
    main()
