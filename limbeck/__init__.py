"""What users import. It reaches limbeck over HTTP only and loads no other package of ours."""

from __future__ import annotations
