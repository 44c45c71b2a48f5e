"""Reading intents: an accepted id never answers 404, another's id always does."""

from uuid import UUID

import pytest

from gateway.reads import Reads
from gateway.views import IntentRow, IntentView, ProblemView
from shared.ids import IntentId, partition_of
from shared.streams import keys
from tests.integration.gateway.stand import FREE, TRANSFER, Client, Stand


async def test_an_accepted_intent_is_found_before_the_database_knows_it(stand: Stand) -> None:
    """By its marker, on a gateway that did not accept it."""
    async with stand.gateway() as one, stand.gateway() as two:
        posted = (await one.post()).document
        answer = await two.get(posted["id"])
    assert answer.status == 202
    assert answer.document == {name: posted[name] for name in ("id", "state", "funds", "created_at", "updated_at")}


async def test_an_intent_recorded_between_two_looks_is_found(
    stand: Stand, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not in the database at first, its marker gone by the second look: the third look finds it."""
    posted = (await client.post()).document["id"]
    entry = await stand.only_entry()
    looks: list[IntentRow | None] = []
    original = Reads.intent

    async def recorded_meanwhile(reads: Reads, intent: IntentId) -> IntentRow | None:
        row = await original(reads, intent)
        if not looks:
            await stand.record(entry)
            await stand.finish(entry)
        looks.append(row)
        return row

    monkeypatch.setattr(Reads, "intent", recorded_meanwhile)
    answer = await client.get(posted)
    assert looks[0] is None
    assert len(looks) == 2
    assert (answer.status, answer.document["state"]) == (200, "SETTLED")


async def test_an_intent_is_read_with_its_words_masked(stand: Stand, client: Client) -> None:
    """They are sealed at rest, and opened only to show how they begin."""
    words = {"from_name": "Alice Liddell", "to_name": "Robert", "comment": "for the picnic"}
    posted = (await client.post({**TRANSFER, **words})).document
    await stand.record(await stand.only_entry())
    answer = await client.get(posted["id"])
    assert answer.document["operation"] == posted["operation"]
    assert answer.document["operation"]["to_name"] == "R***"
    stored = await stand.pool.fetchval("SELECT operation FROM pm.intent")
    assert not any(text in stored for text in words.values())


async def test_words_that_cannot_be_unsealed_are_masked_altogether(stand: Stand, client: Client) -> None:
    """A key that has left the ring costs a letter, not the answer."""
    posted = (await client.post({**TRANSFER, "comment": "for the picnic"})).document["id"]
    await stand.record(await stand.only_entry())
    await stand.pool.execute("""UPDATE pm.intent SET operation = replace(operation::text, '"k2:', '"k9:')::json""")
    answer = await client.get(posted)
    assert answer.status == 200
    assert answer.document["operation"]["comment"] == "***"


@pytest.mark.parametrize("recorded", [False, True])
async def test_another_key_and_another_user_get_404_like_for_an_unknown_id(
    stand: Stand, client: Client, *, recorded: bool
) -> None:
    """Whether the id is found in Redis or in PostgreSQL, and to the letter the same answer."""
    await stand.add_key("other", "x" * 32, FREE)
    posted = (await client.post()).document["id"]
    entry = await stand.only_entry()
    if recorded:
        await stand.record(entry)
        await stand.finish(entry)
    other = Client(client.url, client.port, client.session, key="other", secret="x" * 32)
    unknown = str(UUID(int=entry.intent.int ^ (1 << 30)))
    answers = [await other.get(posted), await client.get(posted, user_id="bob"), await client.get(unknown)]
    for answer in answers:
        assert answer.status == 404
        answer.document.pop("correlation_id")
        assert answer.document == answers[0].document
    assert (await client.get(posted, user_id="alice")).status in (200, 202)
    assert (await client.get(posted)).status in (200, 202)


async def test_an_alias_of_anothers_intent_is_not_shown(stand: Stand, client: Client) -> None:
    """The alias is checked by its own owner."""
    await client.post(key="k")
    entry = await stand.only_entry()
    await stand.record(entry)
    await stand.finish(entry)
    await stand.redis.delete(keys.idem(partition_of(entry.intent), "shop", "k"))
    await client.post(key="k")
    alias = await stand.only_entry()
    await stand.record(alias, "DUPLICATE", funds="none", alias_of=entry.intent)
    await stand.pool.execute("UPDATE pm.intent SET service_key_id = 'other' WHERE id = $1", alias.intent)
    assert (await client.get(alias.envelope.id)).status == 404


async def test_an_alias_whose_original_has_been_dropped_speaks_for_itself(stand: Stand, client: Client) -> None:
    """Months are dropped one by one; the alias must not vanish with its original."""
    await client.post()
    entry = await stand.only_entry()
    await stand.record(entry, "DUPLICATE", funds="none", alias_of=UUID(int=7))
    answer = await client.get(entry.envelope.id)
    assert (answer.status, answer.document["id"], answer.document["state"]) == (200, entry.envelope.id, "DUPLICATE")


async def test_an_undecided_intent_is_202_and_a_decided_one_is_200(stand: Stand, client: Client) -> None:
    """Whatever decided means."""
    posted = (await client.post()).document["id"]
    entry = await stand.only_entry()
    for state, funds, status in (
        ("VALIDATED", "none", 202),
        ("AUTHORIZED", "held", 202),
        ("IN_DOUBT", "unknown", 202),
        ("SETTLED", "moved", 200),
        ("FAILED", "none", 200),
        ("EXPIRED", "none", 200),
    ):
        await stand.record(entry, state, funds=funds)
        answer = await client.get(posted)
        assert (answer.status, answer.document["state"], answer.document["funds"]) == (status, state, funds)


async def test_cancelling_is_refused_with_the_state_and_changes_nothing(stand: Stand, client: Client) -> None:
    """409, before and after the decision; 404 for another's intent."""
    posted = (await client.post()).document["id"]
    target = f"/v1/intents/{posted}/cancel"
    before = await client.send("POST", target)
    await stand.settle(await stand.only_entry())
    after = await client.send("POST", target, b"{}")
    for answer, state in ((before, "CREATED"), (after, "SETTLED")):
        assert (answer.status, answer.code, answer.document["intent_id"]) == (409, "not_cancellable", posted)
        assert state in answer.document["detail"]
    assert (await client.send("POST", target, b'{"reason":"x"}')).code == "unknown_field"
    assert (await client.send("POST", target, user_id="bob")).status == 404


async def test_answers_keep_the_promise_of_their_models(stand: Stand, client: Client) -> None:
    """What OpenAPI says is what is sent."""
    posted = await client.post({**TRANSFER, "comment": "x", "metadata": {"tags": ["a"]}})
    IntentView.model_validate(posted.document)
    await stand.record(await stand.only_entry(), "REJECTED", funds="none", error=("no_route", "no channel"))
    IntentView.model_validate((await client.get(posted.document["id"])).document)
    for problem in (
        await client.get("x"),
        await client.post({**TRANSFER, "a": 1}),
        await client.raw("GET", "/", b"", {}),
    ):
        ProblemView.model_validate(problem.document)
