"""Let in, admit and decide: from a request's bytes to a passage, or a refusal. No I/O."""

from __future__ import annotations

from gateway.body import parse_head
from gateway.breakers import Breakers
from gateway.errors import Refusal
from gateway.exchange import MAX_BODY_BYTES, Headers
from gateway.in_force import InForce
from gateway.passage import Passage
from gateway.refuse import body_too_large
from gateway.request_headers import RequestHeaders, read_headers
from gateway.sticky import conversation_of, sticky_key
from router.assign import Request as Asked
from router.assign import assign, in_audit_sample
from router.snapshot import AppKey


def let_in(in_force: InForce, headers: Headers) -> tuple[RequestHeaders, AppKey]:
    """Check what the headers say, before any of the body is read; raise `Refusal`."""
    asked = read_headers(headers)
    key = in_force.authenticate(asked.api_key)
    if asked.content_length > MAX_BODY_BYTES:
        raise body_too_large(MAX_BODY_BYTES)
    return asked, key


def admit(
    in_force: InForce,
    body: bytes,
    breakers: Breakers,
    *,
    headers: RequestHeaders,
    key: AppKey,
    trace_id: str,
    now: float,
    started: float,
) -> Passage:
    """Check the body and decide who answers; raise `Refusal`.

    ``now`` is in Unix seconds, ``started`` in seconds of `time.monotonic`.
    """
    head = parse_head(body)
    route, pin = in_force.find(head.model)
    if headers.pin is not None:
        pin = _agreed(pin, headers.pin)
    if pin is not None and not key.may_pin:
        raise _may_not_pin(key)
    conversation = conversation_of(headers.conversation, head)
    sticky = sticky_key(conversation, head, trace_id=trace_id) if route.weighted else trace_id
    name, rules = route.name, route.route
    assignment = assign(
        rules,
        name,
        Asked(key=sticky, pin=pin, trace_id=trace_id),
        now=now,
        overridden=name in in_force.overrides,
        leased=in_force.leased,
        open_breakers=breakers.open_students(name, now),
    )
    recorded = head.store is not False and not headers.no_log
    student = assignment.student
    return Passage(
        trace_id=trace_id,
        ts_us=int(now * 1e6),
        started=started,
        total_by=started + _deadline_s(headers, rules.deadline_s),
        body=body,
        headers=headers,
        head=head,
        key=key,
        in_force=in_force,
        route=route,
        assignment=assignment,
        conversation=conversation,
        audit=recorded and rules.audit_rate > 0 and in_audit_sample(rules, name, trace_id),
        recorded=recorded,
        served_by=assignment.side,
        student=None if student is None else student.student,
        reason=assignment.reason,
        endpoint=route.teacher if student is None else route.students[student.student],
    )


def _deadline_s(headers: RequestHeaders, deadline_s: float) -> float:
    return deadline_s if headers.timeout_s is None else min(headers.timeout_s, deadline_s)


def _agreed(by_model: str | None, by_header: str) -> str:
    """Return the one pin that model name and header mean."""
    if by_model is None or by_model == by_header:
        return by_header
    if by_header == "student" and by_model != "teacher":
        return by_model
    raise Refusal(
        400,
        f"The model's name pins to {by_model!r}, the header x-limbeck-pin to {by_header!r};"
        " send one of them.",
        param="x-limbeck-pin",
        code="bad_header",
    )


def _may_not_pin(key: AppKey) -> Refusal:
    return Refusal(
        403,
        f"The key {key.name!r} may not pin requests to a side. Ask for the route by its name, or"
        " allow pins for this key.",
        type="permission_error",
        code="pin_not_allowed",
    )
