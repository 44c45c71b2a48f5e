"""The on-call drill: a PSP, a consumer and messages are broken, and put right by what the runbook says, nothing else.

Everything is typed exactly as `docs/operations.md` has it, and has to answer as it shows there. What breaks things, and
what a provider or a developer mends in their own house, is not in the runbook and done by the test.
"""

import json
import signal
import time
from collections.abc import Iterator
from typing import Any, Final

import psutil
import pytest

from adapters.sandbox.client import SandboxControl
from ops.client import Answer
from ops.stores import OpenStores
from shared.contracts import Outcome, ResultMessage, Source, result_envelope
from shared.streams import keys
from shared.streams.append import append_entry
from shared.streams.client import command
from tests.chaos.stumbling import FAILS, clear_the_way, put_in_the_way
from tests.e2e.conftest import Home
from tests.e2e.drill_mesh import PAYMENT, WITHDRAWAL, WITHDRAWN_MINOR, DrillMesh, drill_mesh
from tests.e2e.runbook import Runbook, Typed, pasted, shape, sitting, steps_of
from tests.waiting import until_sync

SILENT_S: Final = 5.0
"""An hour of silence in the drill; whoever lives is heard of every two seconds."""
BUSY: Final = 12
STREAM: Final = "intents.0"


@pytest.fixture
def mesh(home: Home, monkeypatch: pytest.MonkeyPatch) -> Iterator[DrillMesh]:
    """A mesh with money in it, in which an hour of silence and ten minutes of patience pass in seconds."""
    monkeypatch.setattr("ops.top.consumers.SILENT_S", SILENT_S)
    monkeypatch.setattr("ops.dlq.requests.TAKEN_MS_MIN", 1_000)
    with drill_mesh(home) as running:
        running.fund()
        yield running


@pytest.mark.slow
def test_whatever_breaks_is_put_right_by_the_runbook(mesh: DrillMesh) -> None:
    """A PSP, two payments in doubt, a consumer, three messages; in the end doctor and invariants find nothing."""
    book = Runbook.read(mesh.home)
    book.take("first-look")
    psp_breaks(mesh, book)
    doubted = payment_is_in_doubt(mesh, book)
    payment_never_arrived(mesh, book)
    consumer_breaks(mesh, book)
    message_fails(mesh, book)
    message_is_no_message(mesh, book)
    psp_speaks_of_nobody(mesh, book)
    mesh_is_drained(mesh, book)
    assert "the mesh is well" in book.take("all-clear")
    story = book.take("explain", INTENT=doubted)
    assert all(word in story for word in ("IN_DOUBT", "SETTLED", "Ann Lee", "Bo Chan"))
    book.finish()


def psp_breaks(mesh: DrillMesh, book: Runbook) -> None:
    """It refuses connections: the breaker opens, jobs wait, the door says so; nothing is lost over a pause."""
    mesh.sandbox(lambda ipps: ipps.begin_outage(seconds=600))
    answers = [mesh.post(WITHDRAWAL) for _ in range(BUSY)]
    until_sync(lambda: posted(mesh, answers).code == "psp_unavailable", "a door that is shut for the PSP's sake")
    accepted = [answer.document["id"] for answer in answers if answer.accepted]
    waiting = [intent for intent in accepted if mesh.state(intent) == "AUTHORIZED"]
    assert waiting
    assert "OPEN" in book.take("psp-look", status=1)
    book.take("psp-pause")
    mesh.sandbox(SandboxControl.end_outage)
    assert {"AUTHORIZED"} <= {mesh.state(intent) for intent in waiting} <= {"AUTHORIZED", "SETTLED"}
    book.take("psp-resume")
    assert mesh.decided(waiting) == {"SETTLED"}
    until_sync(lambda: posted(mesh, answers).accepted, "a door that is open again")
    assert mesh.decided([answer.document["id"] for answer in answers if answer.accepted]) <= {"SETTLED", "REJECTED"}


def payment_is_in_doubt(mesh: DrillMesh, book: Runbook) -> str:
    """The PSP paid, its answer is lost, and it does not find the payment: two people settle it by its statement."""
    intent = doubted(mesh, "timeout_after_commit+unseen:3600000+callback_lost")
    paid = mesh.sandbox(SandboxControl.books)["movements"][-1]
    assert paid["amountSatang"] == WITHDRAWN_MINOR
    statement = mesh.home.path / "statement.txt"
    statement.write_text(f"IPPS, statement of today, line 7: {paid['txnNo']} {paid['partnerTxnUid']} 250.00 THB\n")
    words = {"INTENT": intent, "TRANSACTION": paid["txnNo"], "AMOUNT": WITHDRAWN_MINOR, "STATEMENT": statement}
    assert "TAKEN" in book.take("doubt-look", **words)
    book.take("doubt-settle", **words)
    approve(mesh, book, "doubt-approve")
    assert mesh.decided([intent]) == {"SETTLED"}
    return intent


def payment_never_arrived(mesh: DrillMesh, book: Runbook) -> None:
    """The PSP says in writing that it never had it: two people fail it, and what was held goes back."""
    intent = doubted(mesh, "timeout_before_commit")
    book.take("doubt-fail", INTENT=intent)
    approve(mesh, book, "doubt-approve-fail")
    assert mesh.decided([intent]) == {"FAILED"}


def consumer_breaks(mesh: DrillMesh, book: Runbook) -> None:
    """An orchestrator hangs with an entry in its hands: another takes it over, and the name is forgotten."""
    frozen = mesh.children()["orchestrator-1"]
    payments: list[str] = []

    def held() -> bool:
        # Stopped while it waits for entries, it is given one: those who wait take turns, for as long as a read waits.
        mesh.signal("orchestrator-1", signal.SIGCONT)
        until_sync(lambda: psutil.Process(frozen).status() == psutil.STATUS_SLEEPING, "a process that waits")
        mesh.signal("orchestrator-1", signal.SIGSTOP)
        payments.extend(mesh.accepted(PAYMENT) for _ in range(8))
        rows = typed(mesh, "streams", "pending", STREAM)["rows"]
        return any(f"-{frozen}-" in row["hold"]["consumer"] for row in rows)

    until_sync(held, "an entry in the hands of the process that hangs", timeout_s=20)
    until_sync(lambda: typed(mesh, "streams", "pending", STREAM, "--idle", "1")["rows"], "nobody beats for it")
    assert f"-{frozen}-" in book.take("consumer-look", STREAM=STREAM)
    assert mesh.decided(payments) == {"SETTLED"}
    mesh.signal("orchestrator-1", signal.SIGKILL)
    until_sync(lambda: mesh.children().get("orchestrator-1", frozen) != frozen, "another process")
    until_sync(lambda: silent(mesh, frozen), "an hour of silence", timeout_s=20)
    assert "forgotten: 0" not in book.take("consumer-reap")
    assert not consumers(mesh, frozen)


def message_fails(mesh: DrillMesh, book: Runbook) -> None:
    """An intent that no database takes dies alone; once that is mended it is replayed, and settles."""
    mesh.stores(lambda stores: put_in_the_way(stores, key="poison", deed=FAILS))
    intent = mesh.accepted(PAYMENT, key="poison")
    until_sync(lambda: typed(mesh, "dlq", "list")["total"], "a dead letter", timeout_s=20)
    assert "permanent" in book.take("message-look", INTENT=intent)
    mesh.stores(clear_the_way)
    assert "1 put back" in book.take("message-replay", INTENT=intent)
    assert mesh.decided([intent]) == {"SETTLED"}


def message_is_no_message(mesh: DrillMesh, book: Runbook) -> None:
    """Bytes that nobody can read, in a PSP's results: doctor says so, and they are taken away, kept, for good."""

    async def plant(stores: OpenStores) -> None:
        await command(stores.redis, "XADD", keys.results("ipps"), "*", b"noise", b"\xff")

    mesh.stores(plant)
    found = until_sync(lambda: typed(mesh, "dlq", "list", "--records")["records"], "a dead letter")
    assert "paymesh dlq list" in book.take("noise-look", status=1)
    assert "1 taken away" in book.take("noise-discard", LETTER=found[0]["address"])


def psp_speaks_of_nobody(mesh: DrillMesh, book: Runbook) -> None:
    """The PSP says that it paid what nobody here knows: an alert, which somebody looks at and closes."""
    said = ResultMessage(
        psp="ipps",
        source=Source.CALLBACK,
        outcome=Outcome.PAID,
        reference="ZZZZZZZZZZZZZZZ",
        psp_transaction_id="E3C474576ADCA6F78280",
        amount_minor=WITHDRAWN_MINOR,
        currency="THB",
        at_ms=time.time_ns() // 1_000_000,
    )
    mesh.stores(lambda stores: append_entry(stores.redis, keys.results("ipps"), result_envelope(said)))
    found = until_sync(lambda: mesh_alerts(mesh), "an alert")
    assert "unmatched_result" in book.take("alert-look", ALERT=found[0]["id"])
    book.take("alert-close", ALERT=found[0]["id"])


def mesh_is_drained(mesh: DrillMesh, book: Runbook) -> None:
    """Nothing new is accepted while it is drained, and everything is afterwards."""
    book.take("drain")
    until_sync(lambda: mesh.post(PAYMENT).code == "intake_closed", "a closed door")
    book.take("drain-reopen")
    until_sync(lambda: mesh.post(PAYMENT).accepted, "an open door")
    until_sync(lambda: typed(mesh, "top", "--once")["in_doubt"] == 0, "nothing in doubt")


def posted(mesh: DrillMesh, answers: list[Answer]) -> Answer:
    """Post one more withdrawal, and keep what was answered."""
    answers.append(mesh.post(WITHDRAWAL))
    return answers[-1]


def doubted(mesh: DrillMesh, scenario: str) -> str:
    """Make a withdrawal that goes so at the PSP, and nobody knows how."""
    mesh.sandbox(lambda ipps: ipps.play(scenario, times=1))
    intent = mesh.accepted(WITHDRAWAL)
    until_sync(lambda: mesh.state(intent) == "IN_DOUBT", "a doubt", timeout_s=20)
    return intent


def approve(mesh: DrillMesh, book: Runbook, step: str) -> None:
    """Approve what was asked for last, as somebody else; the person who asked may not."""
    number = typed(mesh, "dlq", "requests")[-1]["id"]
    sure = ("--confirm", "--reason", "me too")
    same = mesh.home.invoke("dlq", "approve", str(number), "--approved-by", "Bo Chan", *sure, more=sitting("ann"))
    assert same.exit_code == 1, same.output
    dry = ("dlq", "approve", str(number), "--approved-by", "Bo Chan")
    until_sync(lambda: mesh.home.invoke(*dry, more=sitting("bo")).exit_code == 0, "ten minutes since it was sent")
    book.take(step, who="bo", REQUEST=number)


def typed(mesh: DrillMesh, *arguments: str) -> Any:
    """Return what a command says to programs, whatever its exit status."""
    return json.loads(mesh.home.invoke(*arguments, "--json").stdout)


def mesh_alerts(mesh: DrillMesh) -> list[Any]:
    """Return the open alerts."""
    return list(typed(mesh, "alerts", "list"))


def consumers(mesh: DrillMesh, process: int) -> list[Any]:
    """Return the names of a process in the groups."""
    return [row for row in typed(mesh, "streams", "consumers")["consumers"] if f"-{process}-" in row["consumer"]]


def silent(mesh: DrillMesh, process: int) -> bool:
    """Say whether nothing has been heard of a process for an hour, and it holds nothing."""
    return all(row["idle_s"] > SILENT_S and not row["held"] for row in consumers(mesh, process))


def test_a_block_is_typed_line_by_line_and_compared_by_its_shape() -> None:
    """Ids, figures and rows may differ; a column or a sentence may not."""
    top, listed = Typed("paymesh top", "┏━┓\n┃ a ┃\n│ 1 │\n"), Typed("paymesh dlq list", "3 dead\n")
    before, after = "words\n<!-- drill: one -->\n```console\n", "```\nmore words\n"
    text = f"{before}$ {top.line}\n{top.answer}$ {listed.line}\n{listed.answer}{after}"
    assert steps_of(text) == {"one": [top, listed]}
    assert pasted(text, {"one": [Typed(top.line, "┃ b ┃  \n\n")]}) == f"{before}$ {top.line}\n┃ b ┃\n{after}"
    assert shape("┃ a ┃\n│ 1 │\n3 dead") == shape("┃ a ┃\n│ 2 │\n│ 3 │\n17 dead")
    assert shape("┃ a ┃") != shape("┃ b ┃")
    assert shape("3 dead") != shape("3 alive")
