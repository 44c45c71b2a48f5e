"""What will happen to an intent next, and who has to do what for it. Pure.

It is never empty: an intent to which nothing will happen says so. This module must never read a clock.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from shared.states import TERMINAL, IntentState
from shared.timeline.story import Fact, Known, Next

_ENDS: Final = {
    IntentState.SETTLED: "nothing: it is settled",
    IntentState.FAILED: "nothing: it has failed, and what was held is released",
    IntentState.EXPIRED: "nothing: nobody paid, and nothing was held",
    IntentState.REJECTED: "nothing: it was refused before any money was touched",
}


def outlook(known: Known, *, now: datetime) -> tuple[Next, ...]:
    """Say what happens next, the most likely first."""
    intent = known.one("intent")
    if intent is None:
        steps = [*_stands_still(known)] or [
            Next("queued", "an orchestrator takes it from its stream; whether one is running, `paymesh top` shows")
        ]
        return tuple(steps)
    state = IntentState(intent.body["state"])
    if state in TERMINAL:
        return (*_ended(known, intent, state, now), *_stands_still(known))
    if state is IntentState.VALIDATED:
        text = "the ledger is asked next; if that was interrupted, the reconciler's sweep has it carried on"
        return (*_stands_still(known), Next("ledger", text))
    steps = [*_open(known, intent, state, now), *_stands_still(known)]
    return tuple(steps) or (Next("answer", "the PSP's answer is waited for"),)


def _ended(known: Known, intent: Fact, state: IntentState, now: datetime) -> Iterator[Next]:
    if state is IntentState.DUPLICATE:
        yield Next("nothing", f"nothing here: ask for intent {intent.body['alias_of']}, which this one is a name of")
    else:
        yield Next("nothing", _ENDS[state])
    for child, facts in known.children.items():
        own = next((fact.body for fact in facts if fact.kind == "intent"), {})
        if own.get("state") not in TERMINAL:
            yield Next("child", f"intent {child}, which it has opened, is {own.get('state', 'not recorded yet')}")
    due = _moment(intent.body.get("next_poll_at"))
    if due is not None:
        yield Next("watch", f"its code may still be paid: the PSP is asked again {_when(due, now)}", due)


def _open(known: Known, intent: Fact, state: IntentState, now: datetime) -> Iterator[Next]:
    resolution = next((one for one in known.of("resolution") if one.body["attempt"] == intent.body["attempt"]), None)
    if resolution is not None:
        body = resolution.body
        yield Next("resolution", f"the {body['kind']} that was resolved is carried out, which makes it {body['state']}")
        return
    for job in known.of("job"):
        if not job.body.get("sent_at"):
            yield Next("outbox", f"its {job.body['action']} for {job.body['psp']} waits in the outbox to be sent")
    expires_ms = intent.body.get("asks_payer_until_ms")
    if expires_ms is not None and state is IntentState.AUTHORIZED:
        expires = datetime.fromtimestamp(expires_ms / 1000, UTC)
        yield Next("payer", f"the payer has to pay the code, which expires {_when(expires, now)}", expires)
    due = _moment(intent.body.get("next_poll_at"))
    if due is not None:
        again = "again " if intent.body["polls"] else ""
        yield Next("poll", f"the PSP is asked {again}{_when(due, now)}", due)
    if state is IntentState.IN_DOUBT:
        yield from _doubt(known)
    yield from _paused(known)


def _doubt(known: Known) -> Iterator[Next]:
    yield Next(
        "evidence",
        "IN_DOUBT: only the PSP's own word, a settlement line or two people close it "
        "(`paymesh dlq settle` or `fail` with evidence, then `paymesh dlq approve` by somebody else)",
    )
    for request in known.of("request"):
        body = request.body
        if body.get("decision") is None:
            text = f"request {body['id']} of {body['requested_by']} to {body['kind']} it waits for somebody else"
            yield Next("approval", f"{text}: `paymesh dlq approve {body['id']}`")
        else:
            text = f"request {body['id']} to {body['kind']} it is approved and not carried out yet"
            yield Next("approval", f"{text}: approve it again if that does not change")


def _paused(known: Known) -> Iterator[Next]:
    """Tell which pauses hold it up: those of everything at the PSP, and of its own operation."""
    intent = known.one("intent")
    own = intent.body["operation_type"] if intent is not None else None
    for pause in known.of("pause"):
        body = pause.body
        if body["operation"] in ("*", own):
            what = body["psp"] if body["operation"] == "*" else f"{body['operation']} at {body['psp']}"
            yield Next("paused", f"{what} is paused by {body['paused_by']}: {body['reason']}")


def _stands_still(known: Known) -> Iterator[Next]:
    for letter in known.of("dead_letter"):
        body = letter.body
        text = f"dead letter {body['address']} ({body['reason']}) waits: `paymesh dlq show '{body['address']}'`"
        yield Next("dead_letter", text)
    for alert in known.of("alert"):
        if not alert.body.get("closed_at"):
            yield Next("alert", f"somebody has to look at the {alert.body['severity']} alert {alert.body['kind']}")


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _when(moment: datetime, now: datetime) -> str:
    """Write a moment in UTC; the day only where it is another one."""
    moment = moment.astimezone(UTC)
    clock = f"{moment:%H:%M:%S}" if moment.date() == now.astimezone(UTC).date() else f"{moment:%Y-%m-%d %H:%M:%S} UTC"
    return f"at {clock}" if moment > now else f"as soon as possible: it has been due since {clock}"
