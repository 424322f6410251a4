"""File descriptors: a request takes two, and the usual soft limit is 1024."""

from __future__ import annotations

import logging
import resource

logger = logging.getLogger(__name__)


def allow_many_descriptors() -> None:
    """Raise this process's soft limit of open files to its hard one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError) as error:
        # macOS has another limit below an infinite hard one.
        logger.warning("at most %d files can be open at once: %s", soft, error)
