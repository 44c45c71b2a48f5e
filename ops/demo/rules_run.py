"""The rules' act from beginning to end: rules are applied while the mesh runs, and every payment is as they say.

This module must never make an expectation fit an outcome.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from rich.console import Console
from rich.text import Text

from ops.audit import actor
from ops.client import Answer, Client
from ops.console import table
from ops.demo.rules_script import (
    AFTER,
    BEFORE,
    CHANGED,
    FEES_AND_LIMIT,
    FUNDING_MINOR,
    PAUSED,
    REFUSED,
    RESUMED,
    ROUTES,
    Payment,
    RulesScript,
)
from ops.demo.view import balances_table, wrong_balances
from ops.embedded.stack import Stack
from ops.rules.difference import shown
from ops.rules.documents import read_document
from ops.rules.proposal import carry_out, propose
from ops.stores import OpenStores, open_stores
from shared.money import Money, currency

IN_FORCE_S: Final = 1.0
"""How soon a change must be in force everywhere."""
_WAIT_S: Final = 5
_TIMEOUT_S: Final = 30.0
_REASON: Final = "the demo"


async def apply(stores: OpenStores, text: str) -> Any:
    """Put a document into force; return what of it is worth showing."""
    proposal = await propose(stores.pool, read_document(text.encode()))
    await carry_out(stores.pool, proposal, actor=actor(), reason=_REASON)
    return shown(proposal.edits)


async def prepare_routes(stack: Stack) -> None:
    """Put the second agreement with IPPS behind the first, before anything is paid."""
    async with open_stores(stack.stores.settings()) as stores:
        await apply(stores, ROUTES)


@dataclass(slots=True)
class _Act:
    console: Console
    client: Client
    stores: OpenStores
    script: RulesScript
    rows: list[Sequence[Any]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    async def play(self) -> None:
        """Fees, a limit, a change of both, and a way out that is paused."""
        await self._fund()
        self.console.print("rules applied while the mesh runs", style="bold")
        self.console.print(await apply(self.stores, FEES_AND_LIMIT))
        await asyncio.sleep(IN_FORCE_S)
        await self._pay(BEFORE)
        await self._pay(REFUSED)
        self.console.print("the sender's fee and the limit are changed", style="bold")
        self.console.print(await apply(self.stores, CHANGED))
        await self._until_quoted(AFTER)
        await self._pay(AFTER)
        self.console.print(table("by the rules", ["payment", "amount>", "payer pays>", "payee gets>", ""], self.rows))
        await self._skip_a_paused_way()

    async def _fund(self) -> None:
        for wallet in (self.script.payer, self.script.payee):
            self._expect("opening", (await self.client.open_account(wallet)).status, 201)
        grant = {
            "operation_type": "ADJUSTMENT",
            "account": self.script.payer,
            "direction": "CREDIT",
            "amount_minor": FUNDING_MINOR,
            "currency": self.script.payer.rpartition(":")[2],
        }
        answer = await self._post(grant, "funding")
        self._expect("funding", answer.document.get("state"), "SETTLED")

    async def _pay(self, payment: Payment) -> None:
        """Ask what a payment costs, make it, and hold both against the script."""
        operation = self.script.transfer(payment)
        quote = (await self.client.send("POST", "/v1/fees/dry-run", operation, user_id=self._user)).document
        answer = await self._post(operation, payment.name)
        document = answer.document
        self._expect(payment.name, document.get("state"), payment.state)
        if payment.state == "SETTLED":
            told = (quote.get("payer_pays_minor"), quote.get("payee_gets_minor"))
            due = (payment.payer_pays_minor, payment.payee_gets_minor)
            self._expect(f"{payment.name}, asked beforehand", told, due)
            self.rows.append([payment.name, *map(_baht, (payment.amount_minor, *told)), "SETTLED"])
            return
        limit = document.get("error", {}).get("limit", {})
        self._expect(payment.name, (answer.code, limit.get("left")), ("limit_exceeded", payment.left_minor))
        refused = f"REJECTED: {_baht(limit.get('left'))} of {limit.get('rule')} is left until {limit.get('resets_at')}"
        self.rows.append([payment.name, _baht(payment.amount_minor), None, None, refused])

    async def _until_quoted(self, payment: Payment) -> None:
        """Measure how soon a change is in force at the door; orchestrators are notified by the same word."""
        started = time.monotonic()
        while True:
            answer = await self.client.send(
                "POST", "/v1/fees/dry-run", self.script.transfer(payment), user_id=self._user
            )
            taken_s = time.monotonic() - started
            if answer.document.get("payer_pays_minor") == payment.payer_pays_minor:
                break
            if taken_s > IN_FORCE_S:
                self.faults.append(f"a change is not in force after {IN_FORCE_S:.0f} s")
                return
            await asyncio.sleep(0.01)
        self.console.print(f"in force without a restart, {taken_s * 1000:.0f} ms later")
        await asyncio.sleep(max(IN_FORCE_S - taken_s, 0))

    async def _skip_a_paused_way(self) -> None:
        """Pause the first way out: the next withdrawal takes the second, and says why."""
        await apply(self.stores, PAUSED)
        await asyncio.sleep(IN_FORCE_S)
        answer = await self._post(self.script.withdrawal(), "around a paused PSP")
        intent = str(answer.document.get("id"))
        final = await self.client.decided(intent, timeout_s=_TIMEOUT_S)
        self._expect("around a paused PSP", final.document.get("state"), "SETTLED")
        plan = await self.stores.pool.fetchrow(
            "SELECT plan ->> 'channel' AS channel, plan #>> '{route,passed_over}' AS passed_over"
            " FROM pm.intent_attempt WHERE intent_id = $1",
            intent,
        )
        told = (None, None) if plan is None else (plan["channel"], plan["passed_over"])
        self._expect("its way", told, ("IPPS2", '[["IPPS","paused"]]'))
        await apply(self.stores, RESUMED)
        await asyncio.sleep(IN_FORCE_S)
        line = Text.assemble("IPPS is paused: the withdrawal goes by ", (str(told[0]), "green"), " and is SETTLED")
        self.console.print(line)

    async def tell(self) -> None:
        """Hold what the wallets have against the script."""
        answers = {name: await self.client.balance(name) for name in self.script.expected_minor}
        held = {name: int(answer.document.get("balance_minor", -1)) for name, answer in answers.items()}
        self.console.print(balances_table(held, self.script.expected_minor))
        self.faults += wrong_balances(held, self.script.expected_minor)

    @property
    def _user(self) -> str:
        return self.script.payer.split(":")[1]

    async def _post(self, operation: dict[str, Any], name: str) -> Answer:
        user = self._user if operation["operation_type"] != "ADJUSTMENT" else ""
        key = f"{self._user}-{name}".replace(" ", "-").replace(",", "")
        return await self.client.send_until_answered(
            operation, idempotency_key=key, user_id=user, wait_s=_WAIT_S, timeout_s=_TIMEOUT_S
        )

    def _expect(self, what: str, found: object, wanted: object) -> None:
        if found != wanted:
            self.faults.append(f"{what}: {found} instead of {wanted}")


async def play_rules(console: Console, stack: Stack, client: Client, script: RulesScript) -> list[str]:
    """Play the act and return every expectation that did not hold."""
    async with open_stores(stack.stores.settings()) as stores:
        act = _Act(console, client, stores, script)
        await act.play()
        await act.tell()
    return act.faults


def _baht(minor: int | None) -> str | None:
    return None if minor is None else str(Money(minor, currency("THB")))
