"""Faults of ours: what nobody foresaw is an honest 500 under the same key, and contradictions end the process."""

import pytest

from gateway.intents import Intents
from gateway.reads import Reads
from shared.errors import InvariantViolation, violated
from shared.ids import IntentId
from tests.integration.gateway.stand import Answer, Client, Stand


async def test_an_unforeseen_fault_is_a_problem_document_and_tells_nothing(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """500 with the same key, without the exception's words; the next request is served."""

    def broken(_intents: Intents, *_: object, **__: object) -> None:
        raise ZeroDivisionError("open sesame")

    with monkeypatch.context() as patch:
        patch.setattr(Intents, "_offer", broken)
        answer = await client.post(key="k")
    assert (answer.status, answer.code, answer.document["retry"]) == (500, "internal_error", "same_key")
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert "sesame" not in str(answer.document)
    assert (await client.post(key="k")).status == 202


async def test_a_fault_in_a_shared_read_answers_everybody_and_nobody_waits_for_ever(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An accepted intent is 202 although reading it back fails."""

    async def broken(_reads: Reads, _intents: list[IntentId]) -> list[None]:
        raise ZeroDivisionError

    monkeypatch.setattr(Reads, "_read_intents", broken)
    async with stand.gateway() as client:
        answer = await client.post(key="k", wait_s=1)
        read = await client.get(answer.document["id"])
    assert (answer.status, answer.document["state"]) == (202, "CREATED")
    assert (read.status, read.document["retry"]) == (503, "same_key")


async def test_a_contradiction_ends_the_process_after_its_answer(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    """An invariant violation is never caught; a supervisor takes over from here."""
    monkeypatch.setattr("gateway.main.new_intent_id", lambda _partition: violated("the books contradict themselves"))
    answers: list[Answer] = []

    async def until_it_ends() -> None:
        async with stand.gateway() as client:
            answers.append(await client.post())

    with pytest.raises(ExceptionGroup) as raised:
        await until_it_ends()
    assert raised.group_contains(InvariantViolation)
    assert [(answer.status, answer.code) for answer in answers] == [(500, "internal_error")]
