"""What orchestrator tests share: accepted entries as the gateway would write them, and an intake over real stores."""

import itertools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from uuid import UUID

from prometheus_client import CollectorRegistry

from orchestrator.accounts import OpenAccounts, open_beneficiaries
from orchestrator.carry_out import CarryOut
from orchestrator.intake import Intake
from orchestrator.metrics import IntakeMetrics
from shared.contracts import Envelope, IntentMessage, Kind, OpenAccountMessage, ResumeMessage
from shared.db.pool import Pool
from shared.ids import IntentId, account_id, intent_id
from shared.ledger.port import Ledger
from shared.operations import Adjustment, Operation, P2PTransfer
from shared.rules.load import RuleRegister
from shared.streams.verdicts import Entry, Verdict
from tests.channels import FixedChannels

EPOCH = "0198c1f2-0000-7000-8000-000000000000:1"

_serial = itertools.count(1)


def new_id(partition: int = 0) -> IntentId:
    """An intent id of now."""
    return intent_id(time.time_ns() // 1000, partition, next(_serial) * 7919 + time.time_ns())


def entry(envelope: Envelope, *, deliveries: int = 1) -> Entry:
    """A delivered stream entry around an envelope."""
    return Entry("intents.{i0}", b"%d-0" % next(_serial), envelope.fields(), deliveries)


def message(operation: Operation, *, key: str | None = None, fingerprint: str = "k2:aa", service_key: str = "shop",
            waiter: str | None = None) -> IntentMessage:  # fmt: skip
    """An accepted operation."""
    return IntentMessage(
        service_key=service_key,
        user_id=None,
        idempotency_key=key or f"key-{next(_serial)}",
        fingerprints=(fingerprint,),
        operation=operation,
        waiter=waiter,
    )


def intent_entry(body: IntentMessage, intent: IntentId | None = None) -> Entry:
    """The entry of an accepted intent."""
    chosen = intent or new_id()
    return entry(Envelope(Kind.INTENT, str(chosen), body.model_dump_json().encode()))


def open_entry(name: str) -> Entry:
    """The entry that asks for an account."""
    body = OpenAccountMessage(service_key="shop", name=name)
    return entry(Envelope(Kind.OPEN_ACCOUNT, str(new_id()), body.model_dump_json().encode()))


def resume_entry(intent: UUID) -> Entry:
    """The entry by which the sweeper asks to carry on."""
    return entry(Envelope(Kind.RESUME, str(intent), ResumeMessage(reason="stuck").model_dump_json().encode()))


def p2p(payer: str, payee: str, amount_minor: int) -> P2PTransfer:
    """A transfer in baht between two wallets."""
    return P2PTransfer(from_account=payer, to_account=payee, amount_minor=amount_minor, currency="THB")


def grant(account: str, amount_minor: int) -> Adjustment:
    """An adjustment that funds a wallet."""
    return Adjustment(account=account, direction="CREDIT", amount_minor=amount_minor, currency="THB")


@dataclass(slots=True)
class World:
    """An intake over real stores, and wallets whose names no other test uses."""

    pool: Pool
    ledger: Ledger
    channels: FixedChannels = field(default_factory=FixedChannels)
    poked: list[str] = field(default_factory=list)
    told: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)
    """Events of the feed, as they were told."""
    tag: str = field(default_factory=lambda: f"{time.time_ns():x}")

    def wallet(self, name: str) -> str:
        """The account name of a wallet of this test."""
        return f"user:{name}-{self.tag}:THB"

    async def intake(self, ledger: Ledger | None = None, *, known: OpenAccounts | None = None) -> Intake:
        """Another orchestrator's handler, with nothing remembered."""
        known = known or OpenAccounts(pool=self.pool)
        rules = RuleRegister(pool=self.pool, prepare=partial(open_beneficiaries, self.pool, self.ledger, known))
        await rules.refresh()
        return Intake(
            pool=self.pool,
            ledger=ledger or self.ledger,
            rules=rules,
            channels=self.channels,
            known=known,
            carry_out=self.carry_out(ledger),
            tell=self.hear,
        )

    def carry_out(self, ledger: Ledger | None = None) -> CarryOut:
        """Another orchestrator's hands."""
        return CarryOut(
            pool=self.pool,
            ledger=ledger or self.ledger,
            metrics=IntakeMetrics(CollectorRegistry()),
            epoch=lambda _: EPOCH,
            manifest=self.channels.manifest,
            poke=self.poked.append,
        )

    async def hear(self, kind: str, bodies: Sequence[Mapping[str, Any]]) -> None:
        """Take events in."""
        self.told += [(kind, body) for body in bodies]

    async def handle(self, *entries: Entry) -> Sequence[Verdict]:
        """Carry one batch through a fresh intake."""
        return await (await self.intake())(entries)

    async def fund(self, balances: dict[str, int]) -> None:
        """Open wallets and put money into them."""
        await self.handle(*(open_entry(name) for name in balances))
        await self.handle(*(intent_entry(message(grant(name, held))) for name, held in balances.items() if held))

    async def row(self, intent: UUID) -> dict[str, object]:
        """The intent as the log has it."""
        found = await self.pool.fetchrow("SELECT * FROM pm.intent WHERE id = $1", intent)
        assert found is not None, f"intent {intent} is not in the log"
        return dict(found)

    async def ledger_balance(self, name: str) -> int:
        """What the ledger says a wallet holds."""
        accounts = await self.ledger.lookup_accounts([account_id(name)])
        return sum(account.credits_posted - account.debits_posted for account in accounts)

    async def database_balance(self, name: str) -> int:
        """What the read model says a wallet holds."""
        held = await self.pool.fetchval(
            "SELECT posted FROM pm.account_balance WHERE account_id = $1", UUID(int=account_id(name))
        )
        return int(held or 0)
