"""``limbeck.toml``: parsed once, all problems together, into immutable values.

Import from the modules: `control.config.values` is light, `control.config.load` needs pydantic.
"""

from __future__ import annotations
