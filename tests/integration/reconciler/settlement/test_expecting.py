"""What is expected of a PSP and does not come is missed, once, and no longer when it has come."""

from dataclasses import replace

from reconciler.settlement.expecting import expect
from shared.contracts import Outcome, Source
from shared.settlement.layout import Deadlines
from tests.integration.reconciler.settlement.scene import IPPS, QP, Line, Scene, ipps_file

MISSING = ("psp_missing", "critical")
SOON = replace(IPPS, deadlines=Deadlines(answer_s=60, line_s=120))


async def sent(scene: Scene, *, ago_s: int) -> None:
    """Let every submission have left so long ago."""
    await scene.pool.execute("UPDATE pm.outbox_event SET sent_at = now() - make_interval(secs => $1)", float(ago_s))


async def test_an_answer_that_is_due_is_missed_until_it_comes(scene: Scene) -> None:
    """Nothing is concluded about the payment."""
    intent = await scene.saga.withdraw(scene.payer)
    await expect(scene.pool, SOON)
    await sent(scene, ago_s=59)
    await expect(scene.pool, SOON)
    assert await scene.breaks() == []
    await sent(scene, ago_s=61)
    for _ in range(2):
        await expect(scene.pool, SOON)
    assert await scene.breaks() == [MISSING]
    assert (await scene.saga.state(intent))[:2] == ("AUTHORIZED", "held")
    await scene.saga.hear(scene.saga.said(intent, Outcome.PAID, psp_transaction_id="T1"))
    await expect(scene.pool, SOON)
    assert (await scene.breaks(), await scene.breaks("RESOLVED")) == ([], [MISSING])


async def test_a_code_is_not_due_while_it_may_be_paid(scene: Scene) -> None:
    """Nobody knows when a payer pays."""
    payee = f"user:payee-{scene.saga.world.tag}:RUB"
    await scene.saga.world.fund({payee: 0})
    intent = await scene.saga.top_up(payee)
    action = '{"kind": "qr", "expires_ms": %d}'
    soon = replace(QP, deadlines=SOON.deadlines)
    await sent(scene, ago_s=500)
    now_ms = int(await scene.pool.fetchval("SELECT (extract(epoch FROM now()) * 1000)::bigint"))
    await scene.pool.execute("UPDATE pm.intent SET next_action = $2 WHERE id = $1", intent, action % (now_ms - 30_000))
    await expect(scene.pool, soon)
    assert await scene.breaks() == []
    await scene.pool.execute("UPDATE pm.intent SET next_action = $2 WHERE id = $1", intent, action % (now_ms - 90_000))
    await expect(scene.pool, soon)
    assert await scene.breaks() == [MISSING]


async def test_a_payment_without_a_line_is_missed_until_the_line_comes(scene: Scene) -> None:
    """From the first file on: of what was paid before, no file ever told."""
    before, intent = await scene.doubt(), await scene.doubt(200)
    await scene.saga.hear(scene.saga.said(before, Outcome.PAID, psp_transaction_id="T0"))
    await scene.saga.hear(scene.saga.said(intent, Outcome.PAID, psp_transaction_id="T1", amount_minor=200))
    ago = "now() - make_interval(secs => $1)"
    await scene.pool.execute(f"UPDATE pm.psp_tx_map SET created_at = {ago}", 300.0)
    await expect(scene.pool, SOON)
    assert await scene.breaks() == []
    await scene.take(ipps_file())
    await scene.pool.execute(f"UPDATE pm.settlement_file SET found_at = {ago}", 200.0)
    await scene.pool.execute(f"UPDATE pm.psp_tx_map SET created_at = {ago} WHERE intent_id = $2", 130.0, intent)
    for _ in range(2):
        await expect(scene.pool, SOON)
    assert await scene.breaks() == [MISSING]
    await scene.take(ipps_file(Line(await scene.reference(intent), amount_minor=200)))
    await expect(scene.pool, SOON)
    assert (await scene.breaks(), await scene.breaks("RESOLVED")) == ([], [MISSING])


async def test_a_payment_that_a_file_names_otherwise_is_not_missed(scene: Scene) -> None:
    """In parts, without the PSP's own name, or as one that was taken back: the PSP has told of it."""
    parts, nameless, back = await scene.doubt(), await scene.doubt(200), await scene.doubt(100)
    await scene.saga.hear(scene.saga.said(parts, Outcome.PAID, psp_transaction_id="T1"))
    await scene.saga.hear(scene.saga.said(nameless, Outcome.PAID, psp_transaction_id="T2", amount_minor=200))
    await scene.saga.hear(scene.saga.said(back, Outcome.REVERSED, psp_transaction_id="T3", final=True))
    references = [await scene.reference(intent) for intent in (parts, nameless, back)]
    lines = (
        Line(references[0], "T1A", amount_minor=100),
        Line(references[0], "T1B", amount_minor=200),
        Line(references[1], "", amount_minor=200),
        Line(references[2], "T3", "REVERSED", amount_minor=100),
    )
    first = await scene.take(ipps_file())
    await scene.pool.execute("UPDATE pm.settlement_file SET found_at = now() - interval '5 minutes'")
    await scene.pool.execute("UPDATE pm.psp_tx_map SET created_at = now() - interval '4 minutes'")
    assert first.state == "DONE"
    await scene.take(ipps_file(*lines))
    await scene.look_again()
    assert await scene.verdicts() == ["part", "part", "agrees", "agrees"]
    await expect(scene.pool, SOON)
    assert await scene.breaks() == []


async def test_a_payment_that_is_missed_is_missed_no_more_once_a_file_names_its_parts(scene: Scene) -> None:
    """The break ends as it does where one line names all of it."""
    intent = await scene.doubt()
    await scene.saga.hear(scene.saga.said(intent, Outcome.PAID, psp_transaction_id="T1"))
    await scene.take(ipps_file())
    await scene.pool.execute("UPDATE pm.settlement_file SET found_at = now() - interval '5 minutes'")
    await scene.pool.execute("UPDATE pm.psp_tx_map SET created_at = now() - interval '4 minutes'")
    await expect(scene.pool, SOON)
    assert await scene.breaks() == [MISSING]
    reference = await scene.reference(intent)
    await scene.take(ipps_file(Line(reference, "A", amount_minor=100), Line(reference, "B", amount_minor=200)))
    await scene.look_again()
    await expect(scene.pool, SOON)
    assert (await scene.breaks(), await scene.breaks("RESOLVED")) == ([], [MISSING])


async def test_a_payment_that_was_told_and_is_nobodys_is_a_break_until_it_is_known(scene: Scene) -> None:
    """The orchestrator keeps what it cannot match; here somebody is told by whom, how much, and when."""
    said = scene.saga.said(
        None, Outcome.PAID, source=Source.CALLBACK, action=None, reference="LATER", callback_id="c",
        psp_transaction_id="T9",
    )  # fmt: skip
    await scene.saga.hear(said)
    await scene.pool.execute("UPDATE pm.psp_result SET received_at = now() - interval '2 minutes'")
    for _ in range(2):
        await expect(scene.pool, SOON)
    assert await scene.breaks() == [("psp_unknown", "critical")]
    intent = await scene.doubt()
    await scene.pool.execute("UPDATE pm.psp_reference SET reference = 'LATER' WHERE intent_id = $1", intent)
    await expect(scene.pool, SOON)
    assert await scene.breaks() == []
