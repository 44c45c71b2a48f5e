"""From answers to results: what is final, what is open, and what is never passed on."""

from typing import Any

import pytest

from adapters.runtime.handler import finished, opened
from adapters.runtime.psp import Call, Definite, Observation
from adapters.runtime.work import Teller, Told
from shared.contracts import Action, JobMessage, Outcome, ResultMessage, Source, read_envelope, read_result
from shared.psp import FenceKind
from shared.sealing import CannotUnseal, KeyRing, generate, seal
from tests.contract.psp.bank_psp import manifest_of

ID = "0198c1f2-7a10-7123-8abc-def012030000"
RING = KeyRing.parse(generate("k1"))
TELL = Teller(manifest_of(FenceKind.NONE), lambda: 1_000)


def a_job(action: Action = Action.SUBMIT, **destination: str) -> JobMessage:
    """Return a job."""
    return JobMessage(
        psp="bank",
        intent_id=ID,
        attempt=1,
        operation="BANK_PAYOUT",
        action=action,
        reference="R1",
        amount_minor=5,
        currency="THB",
        created_ms=1,
        epoch="m:1",
        destination=destination,
        psp_ids={"old": "1"},
    )


@pytest.mark.parametrize(
    ("asked", "code", "claimed", "final"),
    [
        (Action.SUBMIT, "over_limit", True, True),
        (Action.SUBMIT, "over_limit", False, False),
        (Action.SUBMIT, "moody", True, False),
        (Action.INQUIRE, "moody", True, True),
        (Action.INQUIRE, "moody", False, False),
    ],
)
def test_a_decline_is_final_if_the_psp_says_so_and_the_manifest_or_an_inquiry_backs_it(
    asked: Action, code: str, *, claimed: bool, final: bool
) -> None:
    """The bank's manifest promises `over_limit`."""
    answer = Definite(Outcome.DECLINED, code=code, final=claimed)
    assert TELL.answer(a_job(), answer, asked=asked).result.final is final


def test_what_the_psp_called_it_before_and_now_goes_together() -> None:
    """Ids learnt later join those known."""
    answer = Definite(Outcome.PENDING, psp_ids={"new": "2"})
    assert TELL.answer(a_job(), answer, asked=Action.INQUIRE).result.psp_ids == {"old": "1", "new": "2"}


@pytest.mark.parametrize(("action", "outcome"), [(Action.SUBMIT, Outcome.UNKNOWN), (Action.INQUIRE, Outcome.PENDING)])
def test_not_knowing_is_doubt_about_a_submission_and_no_news_to_an_inquiry(action: Action, outcome: Outcome) -> None:
    """An unanswered question must not put a healthy intent in doubt."""
    result = TELL.open(a_job(action), "timeout", 2.2).result
    assert (result.outcome, result.code, result.retry_after_s, result.final) == (outcome, "timeout", 3, False)


@pytest.mark.parametrize(("action", "outcome"), [(Action.SUBMIT, Outcome.UNKNOWN), (Action.INQUIRE, Outcome.NOT_FOUND)])
def test_an_absence_that_nothing_bars_is_never_fenced(action: Action, outcome: Outcome) -> None:
    """It proves nothing."""
    result = TELL.absent(a_job(action)).result
    assert (result.outcome, result.fenced, result.final) == (outcome, False, False)


def test_a_word_that_is_none_of_ours_does_not_keep_a_fact_from_being_told() -> None:
    """Nor does a sentence that is too long."""
    answer = Definite(Outcome.DECLINED, code="OVER LIMIT!", detail="x" * 900, final=True)
    result = TELL.answer(a_job(), answer, asked=Action.INQUIRE).result
    assert (result.code, len(result.detail or "")) == ("other", 256)
    assert TELL.open(a_job(), "HTTP 503!").result.code == "other"


def test_a_callback_names_no_intent() -> None:
    """Whoever reads it finds out."""
    heard = TELL.heard(Observation(Definite(Outcome.EXPIRED), "R1"), callback_id="c", raw="r")
    assert (heard.intent_id, heard.attempt, heard.source, heard.reference) == (None, 0, Source.CALLBACK, "R1")


def result(outcome: Outcome, *, fenced: bool = False) -> ResultMessage:
    """Return a result with everything that any outcome needs."""
    parts: dict[str, Any] = {
        "psp_transaction_id": "X",
        "amount_minor": 1,
        "currency": "THB",
        "code": "c",
        "fenced": fenced,
    }
    if outcome is Outcome.NEXT_ACTION:
        parts["next_action"] = {"kind": "qr", "expires_ms": 1}
    return TELL.tell(a_job(), outcome, **parts)


@pytest.mark.parametrize("outcome", list(Outcome))
def test_whoever_lost_the_entry_passes_on_facts_and_nothing_else(outcome: Outcome) -> None:
    """What the PSP said stays true; what we concluded belongs to whoever has the entry."""
    facts = {Outcome.PAID, Outcome.DECLINED, Outcome.NEXT_ACTION, Outcome.EXPIRED, Outcome.REVERSED}
    done = finished(Told(result(outcome)))
    assert len(done.append) == 1
    assert bool(done.append_if_lost) is (outcome in facts)
    assert all(fields[b"kind"] == b"observation" for _, fields in done.append_if_lost)


def test_what_an_answer_says_besides_is_observed_beside_the_one_result() -> None:
    """In the same step; and whoever lost the entry loses none of the facts."""
    second = Definite(Outcome.PAID, psp_transaction_id="P2", amount_minor=7, currency="THB", psp_ids={"new": "2"})
    first = Definite(Outcome.PAID, psp_transaction_id="P1", amount_minor=5, currency="THB", more=(second,))
    done = finished(TELL.answer(a_job(Action.INQUIRE), first, asked=Action.INQUIRE))
    said = [(fields[b"kind"], read_result(read_envelope(fields))) for _, fields in done.append]
    assert [(kind, result.psp_transaction_id) for kind, result in said] == [(b"result", "P1"), (b"observation", "P2")]
    assert (said[1][1].intent_id, said[1][1].amount_minor, said[1][1].psp_ids) == (ID, 7, {"old": "1", "new": "2"})
    lost = [read_result(read_envelope(fields)).psp_transaction_id for _, fields in done.append_if_lost]
    assert lost == ["P1", "P2"]


def test_a_fact_beside_an_open_result_survives_the_loss_of_the_entry() -> None:
    """The result itself is nobody's fact."""
    reversed_ = Definite(Outcome.REVERSED, psp_transaction_id="P1")
    done = finished(TELL.answer(a_job(), Definite(Outcome.PENDING, more=(reversed_,)), asked=Action.INQUIRE))
    assert len(done.append) == 2
    assert [read_result(read_envelope(fields)).outcome for _, fields in done.append_if_lost] == [Outcome.REVERSED]


def test_an_absence_that_the_fence_bars_is_a_fact() -> None:
    """It holds for everybody."""
    assert finished(Told(result(Outcome.NOT_FOUND, fenced=True))).append_if_lost


def test_a_destination_is_opened_where_it_was_sealed_and_stays_hidden() -> None:
    """Plain values stay as they are; the call shows none of them."""
    job = a_job(kind="MOBILE", to=seal(RING, context=ID, field="to", text="0801234567"))
    words = opened(RING, job)
    assert words == {"kind": "MOBILE", "to": "0801234567"}
    assert "0801234567" not in repr(Call(job, words, {"ticket": "0801234567"}))


def test_a_destination_moved_here_from_elsewhere_does_not_open() -> None:
    """Another intent's, another field's, or under a key of another mesh."""
    for sealed in (
        seal(RING, context="other", field="to", text="x"),
        seal(RING, context=ID, field="from", text="x"),
        seal(KeyRing.parse(generate("k9")), context=ID, field="to", text="x"),
    ):
        with pytest.raises(CannotUnseal):
            opened(RING, a_job(to=sealed))
