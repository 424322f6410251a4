"""The fine-tuning service: OpenAI-shaped over HTTP, one child process a job."""

from __future__ import annotations
