"""Facts into a story: a table of what is known, and what is told of it."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.ids import IntentId, intent_id
from shared.states import TERMINAL, IntentState
from shared.timeline.compose import compose
from shared.timeline.story import Fact, Known, Timeline

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
INTENT = intent_id(int(NOON.timestamp() * 1_000_000), 0, 7)
CHILD = intent_id(int(NOON.timestamp() * 1_000_000) + 5_000_000, 0, 8)
OUT = [["user:a:THB", "transit:THB", 300, 301], ["transit:THB", "psp:ipps:THB", 300, 302]]


def at(second: float) -> datetime:
    """A moment so long after noon."""
    return NOON + timedelta(seconds=second)


def fact(kind: str, second: float = 0, /, *, intent: IntentId = INTENT, **body: Any) -> Fact:
    """One thing that is known."""
    return Fact(intent, kind, at(second), body)


def intent(state: str, funds: str = "none", *, of: IntentId = INTENT, **more: Any) -> Fact:
    """The intent's row: a withdrawal unless said otherwise."""
    row: dict[str, Any] = {
        "state": state, "attempt": 1, "funds": funds, "error_code": None, "alias_of": None, "parent_id": None,
        "service_key_id": "shop", "user_id": "a", "operation_type": "IPPS_WITHDRAWAL", "amount_minor": 300,
        "currency": "THB", "next_poll_at": None, "polls": 0, "asks_payer_until_ms": None,
    }  # fmt: skip
    return fact("intent", 0, intent=of, **(row | more))


def plan(kind: str | None = "hold", legs: list[list[Any]] | None = None, **more: Any) -> Fact:
    """Its plan."""
    body: dict[str, Any] = {
        "attempt": 1, "channel": "IPPS", "route": {"id": 3, "version": 2}, "kind": kind, "legs": legs or OUT,
        "psp": "ipps", "operation": "IPPS_WITHDRAWAL", "reference": "REF7", "burned_at": None,
    }  # fmt: skip
    return fact("plan", 0.01, **(body | more))


def step(seq: int, before: str, state: str, second: float, error: str | None = None) -> Fact:
    """A state change."""
    return fact("step", second, seq=seq, from_state=before, to_state=state, error=error)


def said(outcome: str, second: float, *, source: str = "job", **more: Any) -> Fact:
    """A word of the PSP."""
    return fact("said", second, psp="ipps", source=source, outcome=outcome, **({"action": "submit"} | more))


def job(second: float = 0.02, sent: float | None = 0.03) -> Fact:
    """Its submission in the outbox."""
    sent_at = None if sent is None else at(sent).isoformat()
    return fact("job", second, attempt=1, action="submit", psp="ipps", sent_at=sent_at)


def tell(*facts: Fact, now: float = 60, children: Mapping[Any, tuple[Fact, ...]] | None = None) -> Timeline:
    """The story of these facts."""
    return compose(Known(INTENT, facts, children or {}), now=at(now))


def next_of(*facts: Fact, now: float = 60) -> list[str]:
    """What happens next, in sentences."""
    return [one.text for one in tell(*facts, now=now).next]


POLL: dict[str, Any] = {"next_poll_at": at(190).isoformat(), "polls": 2}


@pytest.mark.parametrize(
    ("facts", "sentence"),
    [
        ((), "an orchestrator takes it from its stream"),
        ((intent("VALIDATED"),), "the ledger is asked next"),
        ((intent("AUTHORIZED", "held"), job(sent=None)), "its submit for ipps waits in the outbox to be sent"),
        ((intent("AUTHORIZED", "held", **POLL), job()), "the PSP is asked again at 12:03:10"),
        (
            (intent("AUTHORIZED", "held", next_poll_at=at(30).isoformat()), job()),
            "the PSP is asked as soon as possible: it has been due since 12:00:30",
        ),
        (
            (intent("AUTHORIZED", next_poll_at=None, asks_payer_until_ms=int(at(86_400).timestamp() * 1000)),),
            "the payer has to pay the code, which expires at 2026-02-01 12:00:00 UTC",
        ),
        ((intent("IN_DOUBT", "held", **POLL), job()), "the PSP is asked again at 12:03:10"),
        ((intent("IN_DOUBT", "held"), job()), "a settlement line or two people close it"),
        (
            (
                intent("IN_DOUBT", "held"),
                fact("request", 9, id=4, kind="settle", requested_by="Ann", decision=None),
            ),
            "request 4 of Ann to settle it waits for somebody else: `paymesh dlq approve 4`",
        ),
        (
            (
                intent("IN_DOUBT", "held"),
                fact("request", 9, id=4, kind="fail", requested_by="Ann", decision="approved"),
            ),
            "request 4 to fail it is approved and not carried out yet",
        ),
        (
            (intent("AUTHORIZED", "held"), fact("resolution", 9, attempt=1, kind="void", state="FAILED", code="x")),
            "the void that was resolved is carried out, which makes it FAILED",
        ),
        (
            (
                intent("AUTHORIZED", "held"),
                fact("pause", -60, psp="ipps", operation="*", reason="it pays twice", paused_by="ann@desk"),
            ),
            "ipps is paused by ann@desk: it pays twice",
        ),
        ((intent("SETTLED", "moved"),), "nothing: it is settled"),
        ((intent("FAILED"),), "nothing: it has failed, and what was held is released"),
        ((intent("EXPIRED"),), "nothing: nobody paid"),
        ((intent("REJECTED"),), "nothing: it was refused before any money was touched"),
        ((intent("DUPLICATE", alias_of="the-first"),), "ask for intent the-first"),
        ((intent("SETTLED", "moved", **POLL),), "its code may still be paid: the PSP is asked again at 12:03:10"),
        (
            (fact("dead_letter", 5, address="intents.{i0}:7-0", reason="invariant", deliveries=1),),
            "dead letter intents.{i0}:7-0 (invariant) waits: `paymesh dlq show 'intents.{i0}:7-0'`",
        ),
        (
            (
                intent("SETTLED", "moved"),
                fact("alert", 5, kind="paid_twice", severity="critical", seen=1, closed_at=None),
            ),
            "somebody has to look at the critical alert paid_twice",
        ),
    ],
)
def test_what_happens_next(facts: tuple[Fact, ...], sentence: str) -> None:
    """Every state says it, and so does whatever stands in the way."""
    assert any(sentence in text for text in next_of(*facts)), next_of(*facts)


@pytest.mark.parametrize("state", [state for state in IntentState if state is not IntentState.CREATED])
def test_every_state_has_something_to_say(state: IntentState) -> None:
    """Never an empty answer; a final state says that nothing happens to it, an open one never does."""
    told = tell(intent(state), plan(), job()).next
    assert told
    assert (told[0].code == "nothing") is (state in TERMINAL)


def test_a_pause_of_another_operation_is_none_of_its_business() -> None:
    """Nor a closed alert, nor a resolution of an attempt that is over."""
    told = next_of(
        intent("AUTHORIZED", "held", attempt=2, **POLL),
        fact("pause", 0, psp="ipps", operation="THAI_QR_PAY", reason="no", paused_by="ann"),
        fact("alert", 5, kind="x", severity="warning", seen=1, closed_at=at(9).isoformat()),
        fact("resolution", 9, attempt=1, kind="void", state="FAILED", code="x"),
    )
    assert told == ["the PSP is asked again at 12:03:10"]


TIMED_OUT = (
    intent("SETTLED", "moved"),
    plan(),
    fact("reference", 0.01, attempt=1, psp="ipps", reference="REF7", psp_ids={"txn_no": "X7"}),
    step(1, "CREATED", "VALIDATED", 0.01),
    step(2, "VALIDATED", "AUTHORIZED", 0.02),
    job(),
    fact("permit", 0.04, psp="ipps", attempt=1, state="TAKEN"),
    said("UNKNOWN", 10, code="timeout"),
    step(3, "AUTHORIZED", "IN_DOUBT", 10.01),
    said("PAID", 20, action="inquire", amount_minor=300, currency="THB", psp_transaction_id="T1", final=True,
         summary={"payee": "S***"}),
    fact("resolution", 20.01, attempt=1, kind="post", state="SETTLED", code=None, amount_minor=300,
         psp_transaction_id="T1"),
    step(4, "IN_DOUBT", "SETTLED", 20.02),
    fact("movement", 20.015, account="user:a:THB", transfer_id="t", amount_minor=-300, code=301),
)  # fmt: skip


PLANNED = (
    "attempt 1 goes through IPPS (by route 3, version 2): holds 3.00 THB user:a:THB → transit:THB → psp:ipps:THB; "
    "asks ipps for IPPS_WITHDRAWAL as REF7"
)


def test_a_time_out_and_its_inquiry_are_told_in_order() -> None:
    """Whatever order the stores gave."""
    for facts in (TIMED_OUT, tuple(reversed(TIMED_OUT))):
        story = tell(*facts)
        assert [(event.source, event.text) for event in story.events] == [
            ("accepted", "IPPS_WITHDRAWAL of 3.00 THB, posted with key shop for user a"),
            ("plan", PLANNED),
            ("reference", "known to ipps as REF7; ipps calls it txn_no X7"),
            ("state", "CREATED → VALIDATED: its whole plan is written down, no money touched"),
            ("state", "VALIDATED → AUTHORIZED: funds are held, or somebody is asked to pay"),
            ("outbox", "submit for ipps is written to the outbox, attempt 1"),
            ("outbox", "submit for ipps leaves the outbox for the adapters"),
            ("permit", "an adapter takes the permit to submit to ipps: from here on the call may have happened"),
            ("psp", "ipps answers submit: UNKNOWN timeout"),
            ("state", "AUTHORIZED → IN_DOUBT: a call to the PSP may have happened, and nobody knows what became of it"),
            ("psp", "ipps answers inquire: PAID 3.00 THB as T1 final (payee S***)"),
            ("resolution", "resolved: what is held is posted for payment T1, which leads to SETTLED"),
            ("movement", "user:a:THB -3.00 THB (WITHDRAWAL_TAKE)"),
            ("state", "IN_DOUBT → SETTLED: the money has moved"),
        ]  # fmt: skip
        assert [(one.account, one.posted_minor) for one in story.effects] == [("user:a:THB", -300)]
        assert story.effects_by == "projection"


@pytest.mark.parametrize(
    ("one", "source", "text"),
    [
        (said("PAID", 1, source="callback", amount_minor=300, currency="THB", psp_transaction_id="T1"), "callback",
         "ipps calls back: PAID 3.00 THB as T1"),
        (said("NOT_SUBMITTED", 1, source="verdict", code="job_ttl", final=True), "verdict",
         "a verdict on submit at ipps: NOT_SUBMITTED job_ttl final"),
        (said("NOT_FOUND", 1, fenced=True), "psp", "ipps answers submit: NOT_FOUND fenced"),
        (fact("permit", 1, psp="ipps", attempt=1, state="CANCELLED", who="poller"), "permit",
         "the permit is cancelled by poller: it was never submitted to ipps and never will be"),
        (fact("permit", 1, psp="ipps", attempt=1, state="TAKEN", barred=True), "permit",
         "the permit is barred: ipps is only asked about it from now on"),
        (step(2, "VALIDATED", "REJECTED", 1, "insufficient_funds"), "state",
         "VALIDATED → REJECTED because of insufficient_funds: refused, no money was held"),
        (fact("deed", 1, actor="ann@desk", action="dlq.void", reason="a wrong number", detail=None), "operator",
         "ann@desk: dlq.void, because: a wrong number"),
        (fact("alert", 1, kind="paid_twice", severity="critical", seen=3, closed_at=None), "alert",
         "critical alert paid_twice (open, seen 3 times)"),
        (fact("something_new", 1, x=1), "something_new", "something new"),
    ],
)  # fmt: skip
def test_each_kind_of_fact_is_told(one: Fact, source: str, text: str) -> None:
    """Also one that nobody here knows."""
    assert [(event.source, event.text) for event in tell(intent("AUTHORIZED"), one).events][1:] == [(source, text)]


def test_a_burned_attempt_says_that_nothing_of_it_can_move() -> None:
    """Beside what it had planned."""
    told = [event.text for event in tell(intent("REJECTED"), plan(burned_at=at(5).isoformat())).events]
    assert told[-1] == "attempt 1 is burned: nothing of it can ever move"


def test_acceptance_comes_first_whatever_the_clocks_say() -> None:
    """The gateway's clock may be ahead of the database's."""
    story = tell(intent("VALIDATED"), step(1, "CREATED", "VALIDATED", -0.5))
    assert [event.source for event in story.events] == ["accepted", "state"]


def transfer(kind: str, debit: str, credit: str, *, leg: int = 0, still: bool = False, posted: int = 0) -> Fact:
    """One transfer as the ledger has it."""
    return fact("transfer", 0.015, type=kind, debit=debit, credit=credit, amount_minor=300, leg=leg, open=still,
                posted_minor=posted)  # fmt: skip


@pytest.mark.parametrize(
    ("transfers", "effects"),
    [
        ([], []),
        ([transfer("hold", "user:a:THB", "transit:THB", still=True)],
         [("transit:THB", 0, 0, 300), ("user:a:THB", 0, 300, 0)]),
        ([transfer("hold", "user:a:THB", "transit:THB", posted=300), transfer("post", "user:a:THB", "transit:THB")],
         [("transit:THB", 300, 0, 0), ("user:a:THB", -300, 0, 0)]),
        ([transfer("hold", "user:a:THB", "transit:THB"), transfer("void", "user:a:THB", "transit:THB")], []),
        ([transfer("move", "user:a:THB", "transit:THB"), transfer("move", "transit:THB", "user:b:THB", leg=1)],
         [("user:a:THB", -300, 0, 0), ("user:b:THB", 300, 0, 0)]),
    ],
)  # fmt: skip
def test_the_ledger_says_what_an_intent_does_to_accounts(
    transfers: list[Fact], effects: list[tuple[str, int, int, int]]
) -> None:
    """What passes through is nothing; its projection is not told a second time."""
    movement = fact("movement", 1, account="user:a:THB", transfer_id="t", amount_minor=-300, code=301)
    known = Known(INTENT, (intent("AUTHORIZED", "held"), plan(), movement, *transfers), ledger_read=True)
    story = compose(known, now=at(60))
    told = [(one.account, one.posted_minor, one.held_minor, one.coming_minor) for one in story.effects]
    assert (told, story.effects_by) == (effects, "ledger")
    assert "movement" not in [event.source for event in story.events]


def test_a_plan_tells_its_rules() -> None:
    """The channels passed over, every fee with who bears it, and what is used of which allowance."""
    told = tell(
        intent("AUTHORIZED", "held"),
        plan(
            route={"id": 3, "version": 2, "passed_over": [["BANK", "paused"], ["SLOW", "takes 900ms"]]},
            fees=[["pre", 4, "PRE", 25, "fee:pre:THB"], ["post", 1, "POST", 5, "user:p:THB"]],
            limits=[
                ["day", 7, "amount", "limit:user:a:THB:day:amount:2026-01-31", 300, 1000, 0],
                ["day", 7, "count", "limit:user:a:THB:day:count:2026-01-31", 1, 5, 0],
            ],
        ),
    )
    text = next(event.text for event in told.events if event.source == "plan")
    assert "goes through IPPS instead of BANK (paused), SLOW (takes 900ms) (by route 3, version 2)" in text
    assert (
        "; fees: 0.25 THB to fee:pre:THB on top by pre version 4, 0.05 THB to user:p:THB out of the amount by" in text
    )
    assert "; allowances: 3.00 THB of 10.00 THB in 2026-01-31 by day version 7, 1 intents of 5 intents in" in text


@pytest.mark.parametrize(
    ("detail", "sentence"),
    [
        ({}, "because of x: refused"),
        ({"rule": "bad", "version": 2}, "because of x by bad version 2: refused"),
        (
            {
                "limit": {
                    "rule": "day", "version": 2, "measure": "amount", "period": "2026-01-31", "cap": 1000, "left": 5,
                    "resets_at": "2026-02-01T00:00:00Z",
                },
                "currency": "THB",
            },
            "by day version 2 (0.05 THB left of 10.00 THB in 2026-01-31, anew at 2026-02-01T00:00:00Z): refused",
        ),
        (
            {
                "limit": {
                    "rule": "once", "version": 1, "measure": "amount", "period": "transaction", "cap": 1000,
                    "resets_at": None,
                },
                "currency": "THB",
            },
            "by once version 1 (at most 10.00 THB at once): refused",
        ),
        (
            {
                "limit": {
                    "rule": "day", "version": 1, "measure": "count", "period": "2026-01", "cap": 3, "left": 0,
                    "resets_at": "2026-02-01T00:00:00Z",
                },
                "currency": "THB",
            },
            "by day version 1 (0 intents left of 3 intents in 2026-01, anew at",
        ),
        (
            {"monitored_by": [{"rule": "a", "version": 1}, {"rule": "b", "version": 3}]},
            "; to be watched, by a version 1, b version 3",
        ),
    ],
)  # fmt: skip
def test_a_step_tells_which_rule_refused_or_watches(detail: dict[str, Any], sentence: str) -> None:
    """In words, with money as money."""
    refused = fact("step", 1, seq=1, from_state="CREATED", to_state="REJECTED", error="x", **detail)
    (text,) = [event.text for event in tell(intent("REJECTED"), refused).events if event.source == "state"]
    assert sentence in text


def test_without_the_ledger_what_is_held_follows_from_the_plan() -> None:
    """Of the payer's account alone."""
    (effect,) = tell(intent("AUTHORIZED", "held"), plan()).effects
    assert (effect.account, effect.posted_minor, effect.held_minor) == ("user:a:THB", 0, 300)


def test_a_child_is_told_in_short_and_waited_for() -> None:
    """Its own acceptance and states, nothing else of it."""
    row = intent("VALIDATED", of=CHILD, operation_type="REVERSAL", parent_id=str(INTENT))
    facts = (
        row,
        fact("step", 6, intent=CHILD, seq=1, from_state="CREATED", to_state="VALIDATED", error=None),
        fact("movement", 7, intent=CHILD, account="user:a:THB", transfer_id="t", amount_minor=1, code=1),
    )
    story = tell(intent("SETTLED", "moved"), children={CHILD: facts})
    (child,) = story.children
    assert (child.id, child.operation_type, child.state) == (str(CHILD), "REVERSAL", "VALIDATED")
    assert [event.source for event in child.events] == ["accepted", "state"]
    assert f"opened for intent {INTENT}" in child.events[0].text
    assert f"intent {CHILD}, which it has opened, is VALIDATED" in [one.text for one in story.next]
