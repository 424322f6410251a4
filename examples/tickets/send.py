"""Sends tickets through limbeck as an app would, and the truth about each answer.

`python send.py FIRST LAST` sends these rows of tickets.csv, the first row being number 1.
"""

from __future__ import annotations

import csv
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
from openai import OpenAI

BASE_URL = "http://127.0.0.1:8000/v1"
app = OpenAI(base_url=BASE_URL, api_key="any", max_retries=0)
helpdesk = httpx.Client(base_url=BASE_URL, headers={"authorization": "Bearer any"})


def send(row: dict[str, str]) -> tuple[str, bool]:
    """Ask, then tell the truth. Returns who answered, and whether the answer was right."""
    answer = app.chat.completions.with_raw_response.create(
        model="tickets", messages=[{"role": "user", "content": row["text"]}]
    )
    feedback = {
        "inference_id": answer.headers["x-limbeck-inference-id"],
        "source": "helpdesk",
        "gold": {"category": row["category"]},
    }
    helpdesk.post("feedback", json=feedback).raise_for_status()
    right = answer.parse().choices[0].message.content == row["category"]
    return answer.headers["x-limbeck-served-by"], right


def wanted(words: list[str]) -> list[dict[str, str]]:
    """The rows FIRST to LAST of tickets.csv; ends the program where there are none such."""
    with Path(__file__).with_name("tickets.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    try:
        first, last = map(int, words)
    except ValueError:
        sys.exit(f"usage: python send.py FIRST LAST (rows of tickets.csv, 1 to {len(rows)})")
    if not 1 <= first <= last <= len(rows):
        sys.exit(
            f"tickets.csv has the rows 1 to {len(rows)}, not {first} to {last}; "
            "any of them may be sent again"
        )
    return rows[first - 1 : last]


def main() -> None:
    rows = wanted(sys.argv[1:])
    with ThreadPoolExecutor(max_workers=8) as pool:
        results = list(pool.map(send, rows))
    for side, count in sorted(Counter(side for side, _ in results).items()):
        right = sum(right for by, right in results if by == side)
        print(f"{side}: {count} answers, {right / count:.3f} of them right")


if __name__ == "__main__":
    main()
