"""Verdicts that people give: doubts closed by two of them, and jobs voided only by winning their permits."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from ops.dlq.evidence import Evidence
from ops.dlq.jobs import permit_of, read_submitted
from ops.dlq.reach import Reach
from ops.dlq.requests import (
    Claim,
    Kind,
    OnePerson,
    Person,
    Request,
    approve,
    decline,
    find_request,
    list_requests,
    request_verdict,
)
from ops.dlq.voiding import foresee_void, void
from shared.contracts import Outcome, ResultMessage, Source, read_envelope, read_result
from shared.errors import BadInput, Transient
from shared.ids import IntentId
from shared.psp import FenceKind, SubmitFence
from shared.streams import keys, permits
from shared.streams.permits import LIFE_MS, Cancelled, PermitState
from tests.channels import PAYOUTS, TOPUPS
from tests.integration.ops.conftest import Mesh
from tests.integration.ops.dlq_scene import reaching, typed
from tests.integration.ops.looking import broken, look
from tests.integration.ops.psp_scene import PAYER, PspScene
from tests.integration.orchestrator.world import EPOCH
from tests.integration.streams.scene import stream_entries

ANN, BO = Person("Ann Lee", "ann@ops1"), Person("Bo Chan", "bo@ops2")
STATEMENT = "statement of 20 Nov, line 7: account 123-4-56789-0 paid, asked dee@ipps.example"
RESULTS = keys.results("ipps")


class Scene(PspScene):
    """Payments through PSPs, and the mesh that they are made in."""

    def __init__(self, mesh: Mesh) -> None:
        super().__init__(mesh.world)
        self.mesh = mesh


@pytest_asyncio.fixture
async def scene(mesh: Mesh) -> Scene:
    """A mesh whose PSP promises no fence: nothing but evidence closes a doubt."""
    unfenced = replace(PAYOUTS, submit_fence=SubmitFence(FenceKind.NONE))
    mesh.world.channels.manifests = (unfenced, TOPUPS)
    made = Scene(mesh)
    await made.set_up()
    for psp in ("ipps", "qp"):
        mesh_id, _, epoch = EPOCH.partition(":")
        await mesh.redis.hset(keys.mesh(psp), mapping={"id": mesh_id, "epoch": epoch})
    return made


@pytest_asyncio.fixture
async def reach(mesh: Mesh) -> AsyncIterator[Reach]:
    """The stores as a command reaches them."""
    async with reaching(mesh) as reach:
        yield reach


async def in_doubt(scene: Scene, *, taken_s_ago: int = 3600) -> IntentId:
    """A withdrawal that may have been paid, and of which the PSP says that it does not know it."""
    intent = await scene.paying()
    await scene.sent()
    await scene.told(intent, Outcome.UNKNOWN, code="timeout")
    await scene.told(intent, Outcome.NOT_FOUND, code="not_found")
    assert (await scene.state(intent))[0] == "IN_DOUBT"
    key = keys.permit("ipps", str(intent), 1, "IPPS_WITHDRAWAL")
    seconds, _ = await scene.mesh.redis.time()
    taken_ms = (seconds - taken_s_ago) * 1000
    await scene.mesh.redis.set(key, f"TAKEN somebody {taken_ms}", px=LIFE_MS - taken_s_ago * 1000)
    return intent


def settling(intent: IntentId, **changes: Any) -> Claim:
    """The claim that the PSP paid it."""
    plain = Claim(Kind.SETTLE, str(intent), Evidence(STATEMENT), psp_transaction_id=f"T-{intent}", amount_minor=300)
    return replace(plain, **changes)


def failing(intent: IntentId) -> Claim:
    """The claim that it did not."""
    return Claim(Kind.FAIL, str(intent), Evidence(STATEMENT))


async def words(scene: Scene) -> Sequence[ResultMessage]:
    """What stands in the PSP's results."""
    return [read_result(read_envelope(fields)) for _, fields in await stream_entries(scene.mesh.redis, RESULTS)]


async def heard(scene: Scene) -> ResultMessage:
    """The one word in the results, heard by the orchestrator's handler."""
    (word,) = await words(scene)
    await scene.hear(word)
    return word


async def spendable(scene: Scene) -> tuple[int, int]:
    """What the payer has, and what of it is held, by the read model."""
    row = await scene.mesh.pool.fetchrow(
        "SELECT b.posted, b.held FROM pm.account_balance b JOIN pm.tb_account_map m ON m.id = b.account_id"
        " WHERE m.name = $1",
        PAYER,
    )
    assert row is not None
    return int(row["posted"]), int(row["held"])


async def audited(scene: Scene, intent: IntentId) -> list[tuple[str, str]]:
    """What is on record about an intent: action and actor."""
    rows = await scene.mesh.pool.fetch(
        "SELECT action, actor FROM pm.audit_log WHERE target = $1 ORDER BY id", f"intent:{intent}"
    )
    return [(row["action"], row["actor"]) for row in rows]


async def test_a_doubt_is_settled_by_two_people_with_evidence(scene: Scene, reach: Reach) -> None:
    """The hold is posted, everything is on record, the books hold, and nobody can submit it any more."""
    intent = await in_doubt(scene)
    number = await request_verdict(reach, settling(intent), ANN, reason="IPPS confirms")
    assert await words(scene) == []
    done = await approve(reach, number, BO, reason="read it too")
    assert (done.decision, done.decided_by, done.carried_out_at is not None) == ("approved", "Bo Chan", True)
    word = await heard(scene)
    assert (word.outcome, word.source, word.final) == (Outcome.PAID, Source.VERDICT, True)
    assert (await scene.state(intent))[0] == "SETTLED"
    assert await spendable(scene) == (700, 0)
    assert await audited(scene, intent) == [
        ("dlq.settle_requested", "ann@ops1"),
        ("dlq.settle_approved", "bo@ops2"),
        ("dlq.settle", "bo@ops2"),
    ]
    known = await read_submitted(reach.pool, str(intent))
    token: bytes = await scene.mesh.redis.execute_command("GET", permit_of(known.asked()).key)
    assert token.startswith(f"TAKEN barred.request.{number} ".encode())
    assert not broken(await look(scene.mesh, allow_alerts=True))


async def test_a_doubt_fails_by_two_people_with_evidence(scene: Scene, reach: Reach) -> None:
    """The hold goes back to the payer."""
    intent = await in_doubt(scene)
    number = await request_verdict(reach, failing(intent), ANN, reason="not in the file")
    await approve(reach, number, BO, reason="looked too")
    word = await heard(scene)
    assert (word.outcome, word.code, word.final) == (Outcome.DECLINED, "operator_decision", True)
    row = await scene.mesh.world.row(intent)
    assert (row["state"], row["error_code"]) == ("FAILED", "operator_decision")
    assert "two operators" in str(row["error_detail"])
    assert await spendable(scene) == (1000, 0)
    assert not broken(await look(scene.mesh, allow_alerts=True))


@pytest.mark.parametrize(
    "alone",
    [
        ANN,
        Person("Somebody Else", "ann@ops1"),
        Person("Somebody Else", "ann@another-host"),
        Person(" ann lee ", "bo@ops2"),
    ],
    ids=["both", "the account", "the account from another host", "the name"],
)
async def test_one_person_alone_closes_nothing(scene: Scene, reach: Reach, alone: Person) -> None:
    """Neither under another name nor from another host; nothing is said, and the doubt stays."""
    intent = await in_doubt(scene)
    number = await request_verdict(reach, settling(intent), ANN, reason="I am sure")
    with pytest.raises(OnePerson):
        await approve(reach, number, alone, reason="still sure")
    assert await words(scene) == []
    assert (await find_request(reach, number)).decision is None
    assert (await scene.state(intent))[0] == "IN_DOUBT"
    with pytest.raises(asyncpg.CheckViolationError):
        await scene.mesh.pool.execute(
            "UPDATE pm.operator_request SET decision = 'approved', decided_by = $2, decider = $3, decided_at = now()"
            " WHERE id = $1",
            number,
            alone.name,
            alone.actor,
        )


async def test_approving_again_carries_on_what_was_interrupted(scene: Scene, reach: Reach) -> None:
    """Approved, and the process gone before anything was said; then said, and gone before that was written down."""
    intent = await in_doubt(scene)
    number = await request_verdict(reach, settling(intent), ANN, reason="IPPS confirms")
    await approve(reach, number, BO, reason="read it too")
    await scene.mesh.pool.execute("UPDATE pm.operator_request SET carried_out_at = NULL")
    await approve(reach, number, BO, reason="read it too")
    both = await words(scene)
    assert len(both) == 2
    for word in both:
        await scene.hear(word)
    assert await spendable(scene) == (700, 0)
    await scene.mesh.pool.execute("UPDATE pm.operator_request SET carried_out_at = NULL")
    done = await approve(reach, number, BO, reason="read it too")
    assert done.carried_out_at is not None
    assert len(await words(scene)) == 2
    with pytest.raises(BadInput):
        await approve(reach, number, BO, reason="once more")


async def test_one_payment_settles_one_intent_and_a_slip_in_its_amount_is_shouted(scene: Scene) -> None:
    """The statement that closed one doubt closes no other; both people are told of an amount that nobody planned."""
    first, intent, settings = await scene.paying(100), await in_doubt(scene), scene.mesh.settings
    await scene.told(first, Outcome.PAID, amount_minor=100)
    asking = ("dlq", "settle", str(intent), "--evidence", STATEMENT, "--requested-by", "Ann Lee")
    reused = await typed(settings, *asking, "--psp-transaction-id", f"T-{first}", "--amount-minor", "300")
    assert (reused.code, "one payment settles one intent" in reused.errors) == (1, True)
    slip = (*asking, "--psp-transaction-id", "T1", "--amount-minor", "3")
    assert "NOT the 300 THB" in (await typed(settings, *slip)).errors
    asked = await typed(settings, *slip, "--confirm", "--reason", "x", "--json", environ={"LOGNAME": "ann"})
    await scene.mesh.pool.execute("UPDATE pm.operator_request SET requester = 'ann@here'")
    dry = await typed(settings, "dlq", "approve", str(asked.json["request"]), "--approved-by", "Bo Chan")
    assert "NOT the 300 THB" in dry.errors
    right = await typed(settings, *asking, "--psp-transaction-id", "T1", "--amount-minor", "300")
    assert "planned" not in right.errors


async def test_nobody_says_unpaid_while_somebody_may_be_sending(scene: Scene, reach: Reach) -> None:
    """A permit that was taken a moment ago: the PSP may hear of it after its settlement file was written."""
    intent = await in_doubt(scene, taken_s_ago=30)
    number = await request_verdict(reach, failing(intent), ANN, reason="not in the file")
    with pytest.raises(Transient, match="may be sending"):
        await approve(reach, number, BO, reason="looked too")
    assert await words(scene) == []
    assert (await find_request(reach, number)).decision is None


async def test_nobody_says_unpaid_while_somebody_may_be_asking_by_submitting_again(scene: Scene, reach: Reach) -> None:
    """Sent an hour ago, taken over just now: it is barred first, and the verdict waits until that is over."""
    intent = await in_doubt(scene)
    permit = permit_of((await read_submitted(reach.pool, str(intent))).asked())
    assert (await permits.take_over(scene.mesh.redis, permit=permit, token="somebody")).status is permits.Begin.GO
    number = await request_verdict(reach, failing(intent), ANN, reason="not in the file")
    for _ in range(2):
        with pytest.raises(Transient, match="submitting it again"):
            await approve(reach, number, BO, reason="looked too")
        assert await words(scene) == []
    assert (await permits.take_over(scene.mesh.redis, permit=permit, token="somebody")).reason == "barred"
    await scene.mesh.redis.pexpire(permit.key, LIFE_MS - 61_000)
    await approve(reach, number, BO, reason="looked too")
    assert (await heard(scene)).outcome is Outcome.DECLINED


async def test_only_doubts_are_closed_and_one_request_at_a_time(scene: Scene, reach: Reach) -> None:
    """An intent under way is the PSP's to decide; a second opinion needs the first one declined."""
    under_way = await scene.paying(100)
    with pytest.raises(BadInput, match="IN_DOUBT"):
        await request_verdict(reach, settling(under_way), ANN, reason="x")
    intent = await in_doubt(scene)
    number = await request_verdict(reach, settling(intent, amount_minor=299), ANN, reason="x")
    with pytest.raises(BadInput, match="asked for"):
        await request_verdict(reach, settling(intent), BO, reason="x")
    assert (await decline(reach, number, ANN, reason="wrong amount")).decision == "declined"
    with pytest.raises(BadInput, match="declined"):
        await approve(reach, number, BO, reason="x")
    await request_verdict(reach, settling(intent), ANN, reason="x")
    assert await words(scene) == []


async def test_a_doubt_that_the_psp_closes_first_needs_no_people(scene: Scene, reach: Reach) -> None:
    """The request finds no doubt any more."""
    intent = await in_doubt(scene)
    number = await request_verdict(reach, failing(intent), ANN, reason="not in the file")
    await scene.told(intent, Outcome.PAID)
    with pytest.raises(BadInput, match="SETTLED"):
        await approve(reach, number, BO, reason="x")
    assert await words(scene) == []


async def test_evidence_is_kept_sealed_and_shown_covered(scene: Scene, reach: Reach) -> None:
    """Account numbers and addresses are nobody's business on a terminal."""
    intent = await in_doubt(scene)
    await request_verdict(reach, settling(intent), ANN, reason="x")
    stored = await scene.mesh.pool.fetchval("SELECT evidence FROM pm.operator_request")
    assert "statement" not in stored
    shown: list[Request] = await list_requests(reach)
    assert shown[0].evidence == "statement of 20 Nov, line 7: account ***7890 paid, asked ***@***"
    assert shown[0].evidence_sha256 == Evidence(STATEMENT).sha256


async def test_a_void_wins_the_permit_or_is_refused(scene: Scene, reach: Reach) -> None:
    """Free: voided, and the funds are back. Taken, or lost: refused, and nothing is said."""
    free, taken = await scene.paying(200), await scene.paying(100)
    await scene.sent()
    job = (await read_submitted(reach.pool, str(taken))).asked()
    await permits.bar(scene.mesh.redis, permit=permit_of(job), token="somebody")
    lost = await in_doubt(scene)
    await scene.mesh.redis.delete(keys.permit("ipps", str(lost), 1, "IPPS_WITHDRAWAL"))
    for intent in (taken, lost):
        assert not (await foresee_void(reach, str(intent))).safe
        assert not (await void(reach, str(intent), actor="ann@ops1", reason="x")).won
    refused = await typed(scene.mesh.settings, "dlq", "void", str(taken), "--confirm", "--reason", "x", "--json")
    assert (refused.code, refused.json["won"], "was not voided" in refused.errors) == (1, False, True)
    assert await words(scene) == []
    assert (await foresee_void(reach, str(free))).safe
    assert (await void(reach, str(free), actor="ann@ops1", reason="x")).permit is Cancelled.CANCELLED
    assert (await heard(scene)).outcome is Outcome.NOT_SUBMITTED
    assert (await scene.state(free))[0] == "FAILED"
    assert await audited(scene, free) == [("dlq.void_begun", "ann@ops1"), ("dlq.void", "ann@ops1")]
    assert await audited(scene, lost) == [("dlq.void_begun", "ann@ops1"), ("dlq.void_refused", "ann@ops1")]
    seen = await permits.look(scene.mesh.redis, permit=permit_of(job))
    assert seen.state is PermitState.TAKEN


async def test_two_people_close_a_doubt_at_the_terminal(scene: Scene) -> None:
    """The commands: dry runs say what they would do; one account alone is refused, whatever LOGNAME says."""
    intent, settings = await in_doubt(scene), scene.mesh.settings
    asking = ("dlq", "settle", str(intent), "--psp-transaction-id", "T1", "--amount-minor", "300", "--evidence",
              STATEMENT, "--requested-by", "Ann Lee")  # fmt: skip
    dry = await typed(settings, *asking)
    assert (dry.code, "nothing was done" in dry.errors) == (0, True)
    sure = ("--confirm", "--reason", "IPPS confirms")
    asked = await typed(settings, *asking, *sure, "--json", environ={"LOGNAME": "ann"})
    assert asked.code == 0, asked.errors
    number = str(asked.json["request"])
    agreeing = ("dlq", "approve", number, "--approved-by", "Bo Chan", *sure)
    alone = await typed(settings, *agreeing, environ={"LOGNAME": "bo"})
    assert alone.code == 1
    assert "from somebody else" in alone.errors
    for environment in ("test", "development"):
        alone = await typed(settings, *agreeing, environ={"LOGNAME": "bo", "PAYMESH_ENVIRONMENT": environment})
        assert (alone.code, "from somebody else" in alone.errors) == (1, True), environment
    listed = await typed(settings, "dlq", "requests", "--json")
    assert [one["decision"] for one in listed.json] == [None]
    assert "123-4-56789-0" not in listed.output + dry.output + asked.output
    await scene.mesh.pool.execute("UPDATE pm.operator_request SET requester = 'ann@here'")
    done = await typed(settings, *agreeing)
    assert done.code == 0, done.errors
    await heard(scene)
    assert (await scene.state(intent))[0] == "SETTLED"
    for late in (agreeing, asking, ("dlq", "void", str(intent))):
        refused = await typed(settings, *late)
        assert (refused.code, refused.errors.startswith("error: ")) == (1, True), refused.errors


async def test_one_person_may_be_two_in_a_mesh_that_is_for_tests(scene: Scene) -> None:
    """Its database says so, and no setting: LOGNAME counts there, and one name is still one person."""
    intent, settings = await in_doubt(scene), scene.mesh.settings
    await scene.mesh.pool.execute("UPDATE pm.mesh SET environment = 'test'")
    sure = ("--confirm", "--reason", "IPPS confirms")
    asked = await typed(
        settings, "dlq", "settle", str(intent), "--psp-transaction-id", "T1", "--amount-minor", "300", "--evidence",
        STATEMENT, "--requested-by", "Ann Lee", *sure, "--json", environ={"LOGNAME": "ann"},
    )  # fmt: skip
    agreeing = ("dlq", "approve", str(asked.json["request"]), "--approved-by", "Bo Chan", *sure)
    assert (await typed(settings, *agreeing, environ={"LOGNAME": "ann"})).code == 1
    done = await typed(settings, *agreeing, environ={"LOGNAME": "bo", "PAYMESH_ENVIRONMENT": "production"})
    assert done.code == 0, done.errors
