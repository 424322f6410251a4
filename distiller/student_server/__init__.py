"""Serves trained predictors over OpenAI's chat completions. Never imports torch."""

from __future__ import annotations
