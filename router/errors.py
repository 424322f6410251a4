"""The router's errors.

RouterError
├── EvidenceError   a pair, weight or stored state that must not become evidence
├── IllegalEvent    an event that the state table does not know in this stage
└── ChainError      the event log is damaged, out of order, or does not fit the table
"""

from __future__ import annotations


class RouterError(Exception):
    """Base of everything that the router raises."""


class EvidenceError(RouterError, ValueError):
    """A pair, weight or stored state is refused; the evidence is as it was before."""


class IllegalEvent(RouterError):
    """The state table has no row for this event in this stage; nothing changed."""


class ChainError(RouterError):
    """The event log can't be trusted from the named row on."""
