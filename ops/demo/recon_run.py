"""The last act: a payout in doubt is closed by its line in a settlement file, and the whole day is reconciled.

The PSP pays it, nobody hears of it, and every question is refused; so nothing but the file can say that it was paid.
This module must never make an expectation fit an outcome.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp
from rich.console import Console
from rich.text import Text

from adapters.sandbox.client import SandboxControl
from ops.client import Client
from ops.commands.recon_report import make, print_report
from ops.commands.recon_view import print_ran
from ops.console import state, table
from ops.embedded.stack import Stack
from ops.recon.running import pace_of, run_now
from ops.stores import OpenStores, open_stores
from shared.errors import OutcomeUnknown

AMOUNT_MINOR: Final = 123_45
_SCENARIO: Final = "timeout_after_commit+callback_lost;status=http_503_before_commit*99"
_TIMEOUT_S: Final = 60.0
_PAUSE_S: Final = 0.1
_WAIT_S: Final = 5
_SETTLE_S: Final = 0.5
_GRACE_S: Final = 1.0


@dataclass(slots=True)
class _Act:
    console: Console
    stack: Stack
    client: Client
    ipps: SandboxControl
    wallet: str
    faults: list[str] = field(default_factory=list)

    async def play(self, stores: OpenStores) -> None:
        """A doubt, a file, and everything compared."""
        await self._fund()
        posted = time.monotonic()
        intent = await self._pay_out()
        self.console.print("IPPS pays, its answer is lost, and every question is refused", style="bold")
        await self._until(intent, "IN_DOUBT", since=posted)
        folder = self.stack.folder / "settlement" / "ipps"
        wish = {"folder": str(folder.resolve()), "name": "ipps-today.txt"}
        made = await self.ipps.call("POST", "/control/settlement-files", wish)
        self.console.print(
            f"IPPS's settlement file is delivered: {made['name']}, {made['lines']} lines", soft_wrap=True
        )
        await self._until(intent, "SETTLED", since=time.monotonic())
        await self._tell_evidence(stores, intent)
        await self._reconcile(stores)

    async def _fund(self) -> None:
        self._expect("opening", (await self.client.open_account(self.wallet)).status, 201)
        grant = {"operation_type": "ADJUSTMENT", "account": self.wallet, "direction": "CREDIT"}
        answer = await self._post({**grant, "amount_minor": AMOUNT_MINOR, "currency": "THB"}, "fund", user="")
        self._expect("funding", answer.get("state"), "SETTLED")

    async def _pay_out(self) -> str:
        operation = {
            "operation_type": "IPPS_WITHDRAWAL",
            "from_account": self.wallet,
            "amount_minor": AMOUNT_MINOR,
            "currency": "THB",
            "proxy_type": "MOBILE",
            "proxy": "0801234599",
            "test_scenario": _SCENARIO,
        }
        return str((await self._post(operation, "doubt", user=self.wallet.split(":")[1]))["id"])

    async def _post(self, operation: dict[str, Any], name: str, *, user: str) -> dict[str, Any]:
        key = f"{self.wallet}-{name}"
        answer = await self.client.send_until_answered(operation, idempotency_key=key, user_id=user, wait_s=_WAIT_S)
        return answer.document

    async def _until(self, intent: str, wanted: str, *, since: float) -> None:
        while (now := (await self.client.intent(intent)).document.get("state")) != wanted:
            if time.monotonic() - since > _TIMEOUT_S:
                raise OutcomeUnknown(f"{intent} is still {now}, not {wanted}")
            await asyncio.sleep(_PAUSE_S)
        line = Text.assemble("  the payout is ", state(wanted), f" after {time.monotonic() - since:.1f} s")
        self.console.print(line)

    async def _tell_evidence(self, stores: OpenStores, intent: str) -> None:
        """Show what closed it: the line, by file and number."""
        row = await stores.pool.fetchrow("SELECT kind, evidence FROM pm.resolution WHERE intent_id = $1", intent)
        evidence = "" if row is None else str(row["evidence"])
        if "ipps-today.txt" not in evidence:
            self.faults.append(f"closed by something else than the file: {evidence}")
        books = await self.ipps.books(await stores.pool.fetchval(_REFERENCE, intent))
        self._expect("IPPS paid", (books["payouts"], books["paidMinor"]), (1, AMOUNT_MINOR))
        balance = (await self.client.balance(self.wallet)).document
        self._expect("the wallet", (balance.get("balance_minor"), balance.get("held_minor")), (0, 0))
        said = (await stores.pool.fetchval(_SAID, intent)) or "{}"
        rows = [["closed by", said], ["IPPS's books", f"{books['payouts']} payout of {books['paidMinor']} satang"]]
        self.console.print(table("why it is settled", ["", ""], rows))

    async def _reconcile(self, stores: OpenStores) -> None:
        self.console.print("everything that happened is compared: ledger, database, PSPs", style="bold")
        pace = pace_of(settle_s=_SETTLE_S, grace_s=_GRACE_S)
        ran = await run_now(stores, pace, full=True, progress=lambda _name, _count: None)
        print_ran(self.console, ran)
        self._expect("open breaks", ran.open_total, 0)
        report = await make(self.stack.stores.settings(), "today")
        print_report(self.console, report)
        if not report.report.holds:
            self.faults.append("the day's report does not add up")

    def _expect(self, what: str, found: object, wanted: object) -> None:
        if found != wanted:
            self.faults.append(f"{what}: {found} instead of {wanted}")


_REFERENCE: Final = "SELECT reference FROM pm.psp_reference WHERE intent_id = $1 ORDER BY attempt LIMIT 1"
_SAID: Final = (
    "SELECT body ->> 'detail' FROM pm.psp_result WHERE intent_id = $1 AND source = 'settlement'"
    " ORDER BY received_at LIMIT 1"
)


async def play_reconciliation(console: Console, stack: Stack, client: Client, *, run: str) -> Sequence[str]:
    """Play the act and return every expectation that did not hold."""
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
    async with aiohttp.ClientSession(timeout=timeout) as http, open_stores(stack.stores.settings()) as stores:
        control = SandboxControl(http=http, control_url=stack.psp("ipps").control_url)
        act = _Act(console, stack, client, control, f"user:doubted{run}:THB")
        await act.play(stores)
    return act.faults
