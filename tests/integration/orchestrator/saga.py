"""A world with PSPs: intents that were dispatched, words about them, and what became of both."""

import itertools
import time
from typing import Any
from uuid import UUID

import tigerbeetle as tb
from prometheus_client import CollectorRegistry

from orchestrator.metrics import ResultMetrics
from orchestrator.results import Results
from shared.accounts import parse_account
from shared.clock import new_intent_id
from shared.contracts import Action, Kind, Outcome, ResultMessage, Source, result_envelope
from shared.ids import IntentId, account_id
from shared.ledger.accounts import ledger_account
from shared.ledger.port import Ledger
from shared.operations import IppsWithdrawal, P2PTransfer, QpTopup
from shared.streams.verdicts import Entry, Verdict
from tests.integration.orchestrator.world import World, intent_entry, message, new_id

_serial = itertools.count(1)


class Saga:
    """A world with PSPs: intents that were dispatched, and results of them."""

    def __init__(self, world: World) -> None:
        self.world = world

    async def prepare(self) -> None:
        """Open the PSPs' accounts and route to them."""
        names = [f"{kind}:{psp}:{ccy}" for kind in ("psp", "suspense") for psp, ccy in (("ipps", "THB"), ("qp", "RUB"))]
        await self.open(*names, "transit:RUB", "equity:RUB", "transit:THB", "equity:THB")
        await self.world.pool.execute(
            "INSERT INTO pm.payment_route (operation_type, currency, channel) VALUES"
            " ('IPPS_WITHDRAWAL', 'THB', 'IPPS'), ('QP_TOPUP', 'RUB', 'QP')"
        )

    async def open(self, *names: str) -> None:
        """Open accounts of the house."""
        await self.world.ledger.create_accounts([ledger_account(parse_account(name)) for name in names])
        await self.world.pool.executemany(
            "INSERT INTO pm.tb_account_map (name, id, ledger, opened_by) VALUES ($1, $2, $3, 'test')"
            " ON CONFLICT DO NOTHING",
            [(name, UUID(int=account_id(name)), parse_account(name).currency.number) for name in names],
        )

    async def withdraw(self, payer: str, amount_minor: int = 300) -> IntentId:
        """An accepted withdrawal, carried as far as it goes without a PSP."""
        intent = new_id()
        operation = IppsWithdrawal(
            from_account=payer, amount_minor=amount_minor, currency="THB", proxy_type="MOBILE", proxy="k1:AAAA:BBBB"
        )
        await self.world.handle(intent_entry(message(operation), intent))
        return intent

    async def top_up(self, payee: str, amount_minor: int = 500) -> IntentId:
        """An accepted top-up."""
        intent = new_id()
        operation = QpTopup(to_account=payee, amount_minor=amount_minor, currency="RUB")
        await self.world.handle(intent_entry(message(operation), intent))
        return intent

    async def hear(self, *said: ResultMessage | Entry, ledger: Ledger | None = None) -> list[Verdict]:
        """Carry words of one PSP through a handler that remembers nothing."""
        entries = [one if isinstance(one, Entry) else self.entry(one) for one in said]
        psp = entries[0].stream.partition("{")[2].rstrip("}")
        results = Results(
            psp=psp,
            pool=self.world.pool,
            ledger=ledger or self.world.ledger,
            carry_out=self.world.carry_out(ledger),
            manifest=self.world.channels.manifest,
            new_id=new_intent_id,
            metrics=ResultMetrics(CollectorRegistry()),
            poke=lambda: None,
        )
        return await results(entries)

    def entry(self, said: ResultMessage) -> Entry:
        """The stream entry of a word."""
        heard = said.source is Source.CALLBACK
        fields = result_envelope(said, kind=Kind.OBSERVATION if heard else Kind.RESULT).fields()
        return Entry(f"results.{{{said.psp}}}", b"%d-%d" % (time.time_ns() // 1000, next(_serial)), fields, 1)

    def said(self, intent: IntentId | None, outcome: Outcome, *, psp: str = "ipps", **more: Any) -> ResultMessage:
        """A word of the PSP."""
        ccy = {"ipps": "THB", "qp": "RUB"}[psp]
        paid = {"psp_transaction_id": f"T-{intent}", "amount_minor": 300, "currency": ccy}
        fields: dict[str, Any] = {
            "psp": psp,
            "intent_id": None if intent is None else str(intent),
            "attempt": 0 if intent is None else 1,
            "action": Action.SUBMIT,
            "source": Source.JOB,
            "outcome": outcome,
            "at_ms": 1,
        }
        return ResultMessage.model_validate(fields | (paid if outcome is Outcome.PAID else {}) | more)

    async def state(self, intent: UUID) -> tuple[object, object, object]:
        """State, funds and error of an intent."""
        row = await self.world.row(intent)
        return row["state"], row["funds"], row["error_code"]

    async def children(self, intent: UUID) -> list[tuple[str, str, int]]:
        """Type, state and amount of its children."""
        rows = await self.world.pool.fetch(
            "SELECT operation_type, state, amount_minor FROM pm.intent WHERE parent_id = $1 ORDER BY id", intent
        )
        return [(row["operation_type"], row["state"], row["amount_minor"]) for row in rows]

    async def alerts(self) -> set[str]:
        """The kinds of alerts that were raised."""
        rows = await self.world.pool.fetch("SELECT kind FROM pm.reconciliation_alert")
        return {row["kind"] for row in rows}

    async def booked(self, name: str) -> tuple[int, int]:
        """What the ledger says of an account: posted balance, and what is pending on it."""
        (account,) = await self.world.ledger.lookup_accounts([account_id(name)])
        return (
            account.credits_posted - account.debits_posted,
            account.credits_pending - account.debits_pending,
        )

    async def held(self, name: str) -> int:
        """What the read model says is held of a wallet."""
        held = await self.world.pool.fetchval(
            "SELECT held FROM pm.account_balance WHERE account_id = $1", UUID(int=account_id(name))
        )
        return int(held or 0)


async def deltas(saga: Saga, *names: str) -> dict[str, int]:
    """Posted balances, to compare later: the accounts of PSPs are shared by all tests."""
    return {name: (await saga.booked(name))[0] for name in names}


def p2p_rub(payer: str, payee: str, amount_minor: int) -> P2PTransfer:
    """A transfer in roubles."""
    return P2PTransfer(from_account=payer, to_account=payee, amount_minor=amount_minor, currency="RUB")


async def close(saga: Saga, name: str) -> tb.Transfer:
    """Close an account in the ledger, behind everybody's back; return the pending transfer that did."""
    account = parse_account(name)
    transfer = tb.Transfer(
        id=tb.id(),
        debit_account_id=account.id,
        credit_account_id=account_id(f"equity:{account.currency.code}"),
        amount=0,
        ledger=account.currency.number,
        code=1,
        flags=tb.TransferFlags.PENDING | tb.TransferFlags.CLOSING_DEBIT,
    )
    (result,) = await saga.world.ledger.create_transfers([transfer])
    assert result.status is tb.CreateTransferStatus.CREATED
    return transfer


async def reopen(saga: Saga, closing: tb.Transfer) -> None:
    """Void the transfer that closed an account."""
    void = tb.Transfer(id=tb.id(), pending_id=closing.id, flags=tb.TransferFlags.VOID_PENDING_TRANSFER, amount=0)
    (result,) = await saga.world.ledger.create_transfers([void])
    assert result.status is tb.CreateTransferStatus.CREATED
