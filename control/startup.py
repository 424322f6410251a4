"""The check before anything of ours is imported: Python must find our packages, not a namesake.

Standard library only, and nothing is imported to find out.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

PACKAGES = ("gateway", "router", "distiller", "traces", "programs", "control", "limbeck")
ROOT = Path(__file__).resolve().parent.parent


def hidden_packages(root: Path = ROOT) -> list[str]:
    """One message for each package of ours that Python would load from somewhere else."""
    messages = []
    for name in PACKAGES:
        spec = find_spec(name)
        places = [*(spec.submodule_search_locations or ()), spec.origin] if spec else []
        if not any(place and Path(place).resolve() == root / name for place in places):
            found = next((place for place in reversed(places) if place), "nowhere")
            messages.append(
                f'limbeck\'s own package "{name}" is hidden: Python finds {found} instead of '
                f"{root / name}. Take that folder out of PYTHONPATH, or rename what lies there."
            )
    return messages
