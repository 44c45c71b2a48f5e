"""A small mesh's history: intents in the log, their transfers in the ledger, and days that end where a test says.

The session's TigerBeetle is shared: the digest starts after whatever others did, and accounts other than transit carry
this test's own name, which the map gives out as the plain one.
"""

import itertools
import json
import time
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Final
from uuid import UUID

import tigerbeetle as tb

from reconciler.reports.contents import Report
from reconciler.reports.days import BusinessDay
from reconciler.reports.digest import Digest
from reconciler.reports.periods import Span, day_span
from reconciler.reports.reading import make_report
from shared.accounts import parse_account
from shared.clock import new_intent_id
from shared.db.pool import Pool
from shared.ids import IntentId, Phase
from shared.ledger.accounts import ledger_account
from shared.ledger.chain import build_chain, build_post, build_void
from shared.ledger.codes import LegCode
from shared.ledger.port import Ledger
from shared.plans import Leg
from tests.waiting import until

FIRST: Final = date(2026, 11, 26)
"""A Thursday: a history of a week turns into the next week and the next month."""
_FAR_NS: Final = 1 << 62
_MS: Final = 10**6
_tags = itertools.count(time.time_ns())


@dataclass(slots=True)
class CutCalendar:
    """Days that end where they are cut; the last goes on."""

    starts_ns: int
    cuts: list[int] = field(default_factory=list)

    def first(self, at_ns: int) -> BusinessDay:
        assert at_ns >= self.starts_ns
        return self._day(0)

    def after(self, day: BusinessDay) -> BusinessDay:
        return self._day((day.day - FIRST).days + 1)

    def _day(self, number: int) -> BusinessDay:
        edges = [self.starts_ns, *self.cuts]
        ends_ns = edges[number + 1] if number + 1 < len(edges) else _FAR_NS
        return BusinessDay(FIRST + timedelta(days=number), "UTC", edges[number], ends_ns)


@dataclass(slots=True)
class History:
    """What happens, day by day."""

    pool: Pool
    ledger: Ledger
    tag: str = ""
    calendar: CutCalendar = field(default_factory=lambda: CutCalendar(0))
    opened: set[str] = field(default_factory=set)

    async def begin(self) -> None:
        """Let the digest begin after what others have done to the ledger."""
        self.tag = f"t{next(_tags):x}"
        newest = await self.newest_ns()
        self.calendar.starts_ns = newest + 1
        await self.pool.execute("UPDATE pm.ledger_digest SET walked_ns = $1", newest)

    async def newest_ns(self) -> int:
        """The time of the newest transfer, by the ledger's clock."""
        found = await self.ledger.query_transfers(
            tb.QueryFilter(
                user_data_128=0, user_data_64=0, user_data_32=0, ledger=0, code=0, timestamp_min=0, timestamp_max=0,
                limit=1, flags=tb.QueryFilterFlags.REVERSED,
            )
        )  # fmt: skip
        return found[0].timestamp if found else 0

    async def end_day(self, *, before_last: int = 0) -> None:
        """End the day now, once everything in it is past; or within the last chain, so many legs before its end."""
        cut_ns = await self.newest_ns() + 1 - before_last if before_last else time.time_ns() + _MS
        self.calendar.cuts.append(cut_ns)
        # Where it has been opened already, its end is written down.
        day = FIRST + timedelta(days=len(self.calendar.cuts) - 1)
        await self.pool.execute("UPDATE pm.business_day SET ends_ns = $1 WHERE day = $2", cut_ns, day)
        await until(lambda: time.time_ns() > cut_ns + 2 * _MS, "the day to be over")

    def digest(self, *, page: int = 7) -> Digest:
        """A walk in pages so small that every seam is met."""
        return Digest(pool=self.pool, ledger=self.ledger, calendar=lambda _: self.calendar, page=page)

    async def report(self, span: Span | int = 0) -> Report:
        """Walk to the end and report on a period, or on the day of that number."""
        await self.digest().to_the_end()
        return await make_report(self.pool, self.day(span) if isinstance(span, int) else span)

    @staticmethod
    def day(number: int) -> Span:
        """The period of a day by its number."""
        return day_span(FIRST + timedelta(days=number))

    async def pay(self, kind: str, channel: str, legs: list[tuple[str, str, int, LegCode]], *, state: str = "SETTLED",
                  hold: bool = False) -> IntentId:  # fmt: skip
        """Log an intent and move its legs, or hold them."""
        intent = new_intent_id(0)
        ours = [Leg(self.own(debit), self.own(credit), amount, code) for debit, credit, amount, code in legs]
        await self._open(name for leg in ours for name in (leg.debit, leg.credit))
        await self.pool.execute(
            "INSERT INTO pm.intent (id, service_key_id, idempotency_key, operation_type, channel, amount_minor, "
            "currency, state, version, operation, created_at) "
            "VALUES ($1::uuid, 'shop', $1::uuid::text, $2, $3, $4, $5, $6, 1, '{}', now())",
            intent, kind, channel, legs[0][2], legs[0][0][-3:], state,
        )  # fmt: skip
        await self._event(intent, 1, "CREATED", state)
        await self._submit(build_chain(intent, 1, Phase.MOVE, ours, pending=hold))
        return intent

    async def settle(self, intent: IntentId, amounts: list[int]) -> None:
        """Post a hold."""
        held = [intent.int | 1 << 10 | leg for leg in range(len(amounts))]
        await self._submit(build_post(intent, 1, held, amounts))
        await self._decide(intent, "SETTLED")

    async def give_back(self, intent: IntentId, legs: int) -> None:
        """Void a hold."""
        await self._submit(build_void(intent, 1, [intent.int | 1 << 10 | leg for leg in range(legs)]))
        await self._decide(intent, "FAILED")

    async def deposit(self, amount: int, ccy: str = "THB", *, name: str = "ann") -> IntentId:
        """Money comes in through QP."""
        return await self.pay("QP_TOPUP", "QP", [
            (f"psp:qp:{ccy}", f"transit:{ccy}", amount, LegCode.TOPUP_RECEIVE),
            (f"transit:{ccy}", f"user:{name}:{ccy}", amount, LegCode.TOPUP_GIVE),
        ])  # fmt: skip

    async def transfer(self, amount: int, fee: int = 0, ccy: str = "THB") -> IntentId:
        """Ann pays Bo, a fee on top."""
        legs = [
            (f"user:ann:{ccy}", f"transit:{ccy}", amount, LegCode.P2P_PAY),
            (f"transit:{ccy}", f"user:bo:{ccy}", amount, LegCode.P2P_RECEIVE),
        ]
        if fee:
            legs += [
                (f"user:ann:{ccy}", f"transit:{ccy}", fee, LegCode.FEE_TAKE),
                (f"transit:{ccy}", f"fee:house:{ccy}", fee, LegCode.FEE_GIVE),
            ]
        return await self.pay("P2P_TRANSFER", "INTERNAL_P2P", legs)

    async def withdraw(self, amount: int, *, state: str = "AUTHORIZED") -> IntentId:
        """Ann's money is held on its way out through IPPS."""
        return await self.pay("IPPS_WITHDRAWAL", "IPPS", [
            ("user:ann:THB", "transit:THB", amount, LegCode.WITHDRAWAL_TAKE),
            ("transit:THB", "psp:ipps:THB", amount, LegCode.WITHDRAWAL_SEND),
        ], state=state, hold=True)  # fmt: skip

    def own(self, name: str) -> str:
        """The name of this test's own account; the map says the plain name, which reports shall show."""
        kind, *rest = name.split(":")
        return ":".join([kind, f"{rest[0]}-{self.tag}", rest[1]] if len(rest) == 2 else name.split(":"))

    async def _open(self, names: object) -> None:
        for name in {*names} - self.opened:  # type: ignore[misc]
            account = parse_account(name)
            await self.ledger.create_accounts([ledger_account(account)])
            await self.pool.execute(
                "INSERT INTO pm.tb_account_map (name, id, ledger, opened_by) VALUES ($1, $2, $3, 'test')",
                name.replace(f"-{self.tag}", ""), UUID(int=account.id), account.currency.number,
            )  # fmt: skip
            self.opened.add(name)

    async def _submit(self, transfers: list[tb.Transfer]) -> None:
        results = await self.ledger.create_transfers(transfers)
        assert {result.status for result in results} == {tb.CreateTransferStatus.CREATED}

    async def _decide(self, intent: IntentId, state: str) -> None:
        before = await self.pool.fetchval("SELECT state FROM pm.intent WHERE id = $1", intent)
        await self.pool.execute("UPDATE pm.intent SET state = $2, version = 2 WHERE id = $1", intent, state)
        await self._event(intent, 2, before, state)

    async def _event(self, intent: IntentId, seq: int, before: str, after: str) -> None:
        await self.pool.execute(
            "INSERT INTO pm.intent_event (intent_id, seq, from_state, to_state, detail) VALUES ($1, $2, $3, $4, $5)",
            intent, seq, before, after, json.dumps({}),
        )  # fmt: skip
