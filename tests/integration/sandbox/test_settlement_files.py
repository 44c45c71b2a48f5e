"""The sandboxes' settlement files say what their books say, in the layout that the adapters declare."""

import asyncio
import hashlib
from collections import Counter
from pathlib import Path

import pytest

from adapters.ipps.settlement_file import SETTLEMENT as IPPS
from adapters.qp.settlement_file import SETTLEMENT as QP
from adapters.sandbox.client import ControlError, SandboxControl
from reconciler.settlement.delivery import read_manifest
from shared.settlement.layout import Layout
from shared.settlement.lines import Batch, LineReader
from tests.integration.sandbox.world import IppsPartner, QpPartner

_FILES = "/control/settlement-files"


async def delivered(control: SandboxControl, layout: Layout, folder: Path) -> Batch:
    """Have the day's file written; return its lines, each of which made sense."""
    made = await control.call("POST", _FILES, {"folder": str(folder)})
    content = await asyncio.to_thread((folder / made["name"]).read_bytes)
    manifest = await asyncio.to_thread((folder / f"{made['name']}.sha256").read_bytes)
    assert hashlib.sha256(content).hexdigest() == made["sha256"] == read_manifest(manifest, made["name"])
    batch = LineReader(layout).read(content.split(b"\n")[:-1], 1)
    assert batch.refused == []
    assert batch.trailers == [(batch.counted, sum(batch.amounts))]
    assert not any(batch.odd)
    return batch


def said(batch: Batch) -> Counter[tuple[str | None, str, int]]:
    """What lines say: of which reference, what, and how much."""
    return Counter(zip(batch.references, batch.means, batch.amounts, strict=True))


async def test_every_movement_and_refusal_of_ipps_has_a_line(ipps: IppsPartner, tmp_path: Path) -> None:
    """Paid, refused, paid and taken back; what is under way has none."""
    await ipps.pay("PAID")
    await ipps.pay("REFUSED", "decline:over_limit")
    await ipps.pay("BACK")
    await ipps.control.call("POST", "/control/transfers/BACK/reverse", {})
    await ipps.pay("BUSY", "processing")
    batch = await delivered(ipps.control, IPPS, tmp_path)
    assert said(batch) == Counter(
        [
            ("PAID", "paid", 10_000),
            ("REFUSED", "failed", 10_000),
            ("BACK", "paid", 10_000),
            ("BACK", "reversed", 10_000),
        ]
    )
    books = await ipps.control.books()
    assert {row["txnNo"] for row in books["movements"]} <= set(batch.transactions)


async def test_every_payment_and_refund_of_qp_has_a_line(qp: QpPartner, tmp_path: Path) -> None:
    """A refund says nothing about the top-up."""
    for order in ("A", "B"):
        await qp.create(order)
    (payment,) = await qp.somebody_pays("A")
    await qp.somebody_pays("B", scenario="payment_declined:declined")
    await qp.call("POST", "/qp/v1/refunds", {"refundId": "R1", "paymentId": payment["paymentId"], "amount": 10})
    batch = await delivered(qp.control, QP, tmp_path)
    assert said(batch) == Counter([("A", "paid", 30_510), ("B", "failed", 30_510), ("A", "nothing", 10)])


async def test_a_day_on_which_nothing_happened_has_a_file_of_its_own(ipps: IppsPartner, tmp_path: Path) -> None:
    """And a folder that is not there is told."""
    await ipps.pay("PAID")
    made = await ipps.control.call("POST", _FILES, {"folder": str(tmp_path), "day": "2020-01-01", "name": "x.txt"})
    assert (made["name"], made["lines"]) == ("x.txt", 2)
    with pytest.raises(ControlError, match="NO_FOLDER"):
        await ipps.control.call("POST", _FILES, {"folder": str(tmp_path / "gone")})
