"""The rollouts of all routes in memory: the fold of the event log, moved by appending to it."""

from __future__ import annotations

import threading
from collections.abc import Iterable

import msgspec

from control.events import BrokenChain, EventLog
from router.errors import ChainError
from router.events import RolloutEvent, Signal
from router.policy import Policy
from router.rollout import Refusal, Transition, apply, fold, step
from router.state import RouteRollouts


class Rollouts:
    """Every change goes through `take` or `signal`: first the log, then the state.

    Raises `BrokenChain` where the log does not fold.
    """

    def __init__(self, log: EventLog, routes: Iterable[str]) -> None:
        self.log = log
        # Invariant: between a decision and its event no other event gets in.
        self.lock = threading.RLock()
        known = {*routes, *(event.route for event in log.events)}
        try:
            self._states = {route: fold(route, log.events) for route in sorted(known)}
        except ChainError as error:
            raise BrokenChain(f"{log.path}: {error}") from error

    def of(self, route: str) -> RouteRollouts:
        """The rollouts of one route."""
        return self._states.get(route) or RouteRollouts(route=route)

    def signal(self, route: str, signal: Signal, policy: Policy) -> Transition | Refusal:
        """Ask the table about ``signal``; what it allows is logged and in force on return."""
        with self.lock:
            outcome = step(self.of(route), signal, policy)
            return self.take(outcome) if isinstance(outcome, Transition) else outcome

    def take(self, transition: Transition) -> Transition:
        """Log a transition that was just decided, and put it in force."""
        with self.lock:
            route = transition.event.route
            sealed = self.log.append(transition.event)
            self._states[route] = apply(self.of(route), sealed)
            return msgspec.structs.replace(transition, event=sealed)

    def events(self, route: str) -> list[RolloutEvent]:
        """The events of one route, oldest first."""
        return [event for event in self.log.events if event.route == route]
