"""The embedded trainer: a tokenizer and a model of half a million weights, made from the rows.

Only this package imports torch, transformers, trl and datasets, and only in a training worker.
"""

from __future__ import annotations
