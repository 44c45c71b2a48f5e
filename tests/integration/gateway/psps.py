"""What gateway tests need of PSPs: operations to post, manifests to register, and what an orchestrator would record."""

import json
from dataclasses import replace
from typing import Any
from uuid import UUID

from shared import mesh
from shared.contracts import Action, JobMessage
from shared.ids import IntentId, intent_id, unix_ms_of
from shared.psp import FenceKind, Manifest, OperationRules, ReferenceFormat, SubmitFence, write_manifest
from tests.integration.gateway.stand import Accepted, Stand

WITHDRAWAL: dict[str, Any] = {
    "operation_type": "IPPS_WITHDRAWAL",
    "from_account": "user:alice:THB",
    "amount_minor": 25_000,
    "currency": "THB",
    "proxy_type": "MOBILE",
    "proxy": "080-123-4567",
    "recipient_name": "Somchai Jaidee",
    "comment": "for the rent",
}
QR_PAY: dict[str, Any] = {
    "operation_type": "THAI_QR_PAY",
    "from_account": "user:alice:THB",
    "amount_minor": 422,
    "currency": "THB",
    "qr": "00020101021229370016A000000677010111011300660000000005802TH530376454044.226304E469",
    "comment": "two coffees",
}
TOPUP: dict[str, Any] = {
    "operation_type": "QP_TOPUP",
    "to_account": "user:alice:RUB",
    "amount_minor": 30_510,
    "currency": "RUB",
    "ttl_s": 900,
    "comment": "pocket money",
}
OPERATIONS = (WITHDRAWAL, QR_PAY, TOPUP)
LINK = "https://qr.nspk.ru/AD10004MV5CJ3D638358RO81129CE63P?type=02&bank=100000000004&sum=30510&cur=RUB&crc=B754"

_OUT = OperationRules("out", "THB", 100, 70_000_000)
IPPS = Manifest(
    psp="ipps",
    channel="IPPS",
    operations={"IPPS_WITHDRAWAL": _OUT, "THAI_QR_PAY": _OUT},
    reference=ReferenceFormat("ABCDEFGHJKLMNPQRSTUVWXYZ23456789", 15),
    status_by_our_reference=True,
    submit_fence=SubmitFence(FenceKind.RESUBMIT, 86_400, 600),
)
BANK = replace(IPPS, psp="bank", channel="BANK", operations={"IPPS_WITHDRAWAL": _OUT})
QP = replace(
    IPPS, psp="qp", channel="QP", operations={"QP_TOPUP": OperationRules("in", "RUB", 100, 100_000_000, ttl_s=1200)}
)


async def register(stand: Stand, *manifests: Manifest) -> None:
    """Register PSPs, and a route to each of their operations."""
    for manifest in manifests:
        async with mesh.psp_marked(pool=stand.pool, redis=stand.redis, psp=manifest.psp) as connection:
            await connection.execute(
                "INSERT INTO pm.psp (psp, manifest) VALUES ($1, $2)", manifest.psp, write_manifest(manifest)
            )
        for operation in manifest.operations:
            await stand.pool.execute(
                "INSERT INTO pm.payment_route (operation_type, channel) VALUES ($1, $2)", operation, manifest.channel
            )


async def pause(stand: Stand, psp: str, operation: str = "*") -> None:
    """Throw the kill switch."""
    await stand.pool.execute(
        "INSERT INTO pm.psp_control (psp, operation, reason, paused_by) VALUES ($1, $2, 'a test', 'test')",
        psp,
        operation,
    )


async def resume(stand: Stand) -> None:
    """Take every pause back."""
    await stand.pool.execute("DELETE FROM pm.psp_control")


async def queue(stand: Stand, psp: str, count: int) -> None:
    """Put jobs into a PSP's outbox."""
    await stand.pool.execute(
        """INSERT INTO pm.outbox_event (intent_id, attempt, action, psp, body)
           SELECT gen_random_uuid(), 1, 'submit', $1, '{}' FROM generate_series(1, $2)""",
        psp,
        count,
    )


async def ask_the_payer(stand: Stand, entry: Accepted, *, expires_ms: int = 1_767_226_500_000) -> None:
    """Record a top-up whose code the PSP has made, and the job that asked for it, as the orchestrator would."""
    await stand.record(entry, "AUTHORIZED", funds="none")
    action = {"kind": "qr", "link": LINK, "qr": LINK, "expires_ms": expires_ms}
    await stand.pool.execute("UPDATE pm.intent SET next_action = $2 WHERE id = $1", entry.intent, json.dumps(action))
    job = JobMessage(
        psp="qp",
        intent_id=entry.envelope.id,
        attempt=1,
        operation="QP_TOPUP",
        action=Action.SUBMIT,
        reference="REF7",
        amount_minor=30_510,
        currency="RUB",
        created_ms=unix_ms_of(entry.intent),
        epoch="mesh:1",
        destination={"ttl_s": "900"},
        psp_ids={"order": "o-1"},
    )
    await stand.pool.execute(
        """INSERT INTO pm.outbox_event (intent_id, attempt, action, psp, body, sent_at)
           VALUES ($1, 1, 'submit', 'qp', $2, now())""",
        entry.intent,
        job.model_dump_json(),
    )
    await stand.pool.execute(
        "INSERT INTO pm.psp_reference (psp, reference, intent_id, attempt, psp_ids) VALUES ('qp', 'REF7', $1, 1, $2)",
        entry.intent,
        json.dumps({"qrc_id": "AD10004MV5CJ3D638358RO81129CE63P"}),
    )


async def add_child(stand: Stand, parent: Accepted, number: int = 1, *, kind: str = "LATE_CREDIT") -> IntentId:
    """Record an intent that a payment has opened under another one, as the orchestrator would."""
    child = intent_id((unix_ms_of(parent.intent) + number) * 1000, 0, number)
    operation = {
        "operation_type": kind,
        "account": "user:alice:RUB",
        "direction": "in",
        "amount_minor": 30_510,
        "currency": "RUB",
        "psp": "qp",
        "psp_transaction_id": f"A6001-{number}",
        "metadata": {"tags": []},
        "requires_monitoring": False,
    }
    await stand.pool.execute(
        """INSERT INTO pm.intent (id, service_key_id, user_id, idempotency_key, operation_type, amount_minor, currency,
               state, version, funds, parent_id, operation, created_at)
           SELECT $1, service_key_id, user_id, $2, $3, 30510, 'RUB', 'SETTLED', 1, 'moved', id, $4,
               created_at + $5 * interval '1 ms'
           FROM pm.intent WHERE id = $6""",
        UUID(int=child.int),
        f"child {number}",
        kind,
        json.dumps(operation),
        number,
        parent.intent,
    )
    return child
