"""The second act of the demo: who withdraws and who tops up, and what must come of it. Pure.

What wallets must hold in the end, and what the PSPs must have been paid, follow from this script alone. A payout that
is to be declined is declined for what it asks for, except where only a sandbox can know better (`test_scenario`).
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from adapters.crc import crc16_hex
from adapters.ipps.emvco import encode
from adapters.ipps.payees import Bill
from adapters.ipps.payees import Transfer as ToProxy
from adapters.ipps.proxies import ewallet, mobile, national_id
from ops.demo.script import Expected, Kind, Step

FUNDING_SATANG: Final = 5_000_000
LIMIT_SATANG: Final = 2_000_000
"""What the payees' banks take at once, as the sandbox is told for the play."""
_AMOUNT_MAX_SATANG: Final = 200_000
_AMOUNT_MAX_KOPECKS: Final = 500_000
_PAYERS: Final = ("bua", "fon", "nat", "oat", "pim")
_TOPPED_UP: Final = ("alyona", "boris", "nina", "vera")
_TTL_S: Final = 900
_COMMITTED_UNHEARD: Final = "timeout_after_commit+callback_lost"
_QUESTIONS_UNANSWERED: Final = "status=http_503_before_commit*3"


class Way(StrEnum):
    """How money leaves or comes in, as people call it."""

    MOBILE = "PromptPay mobile"
    NATIONAL_ID = "PromptPay national ID"
    EWALLET = "PromptPay e-wallet"
    BANK_ACCOUNT = "bank account"
    QR = "Thai QR code"
    SBP = "SBP top-up"


class Fate(StrEnum):
    """What becomes of a top-up's code."""

    PAID = "paid"
    UNPAID = "expires unpaid"
    LATE = "paid after expiry"
    TWICE = "static, paid twice"


PAYMENTS: Final = {Fate.PAID: 1, Fate.UNPAID: 0, Fate.LATE: 1, Fate.TWICE: 2}
"""How often the payer pays."""
LATE_CREDITS: Final = {Fate.PAID: 0, Fate.UNPAID: 0, Fate.LATE: 1, Fate.TWICE: 1}
"""How many of these payments become intents of their own."""


@dataclass(frozen=True, slots=True)
class Payout:
    """Money out: a step, and whether the PSP's answer is lost on the way, after which it also may hear no questions."""

    way: Way
    step: Step
    unheard: bool = False
    unanswered: bool = False

    @property
    def paid(self) -> bool:
        """Whether the PSP pays."""
        return self.step.expected.state == "SETTLED"


@dataclass(frozen=True, slots=True)
class Topup:
    """Money in: a step, and what becomes of its code."""

    step: Step
    fate: Fate


@dataclass(frozen=True, slots=True)
class PspScript:
    """The act: wallets by account name, money to begin with, payouts, top-ups."""

    wallets: tuple[str, ...]
    funding: tuple[Step, ...]
    payouts: tuple[Payout, ...]
    topups: tuple[Topup, ...]

    @property
    def declines(self) -> tuple[Payout, ...]:
        """The payouts that must not be."""
        return tuple(payout for payout in self.payouts if not payout.paid)

    @property
    def doubts(self) -> tuple[Payout, ...]:
        """The payouts whose answer is lost."""
        return tuple(payout for payout in self.payouts if payout.unheard)

    @property
    def paid_out_minor(self) -> int:
        """What IPPS must have paid, in satang."""
        return sum(payout.step.operation["amount_minor"] for payout in self.payouts if payout.paid)

    @property
    def paid_in_minor(self) -> int:
        """What QP must have been paid, in kopecks."""
        return sum(topup.step.operation["amount_minor"] * PAYMENTS[topup.fate] for topup in self.topups)

    @property
    def expected_minor(self) -> Mapping[str, int]:
        """What every wallet must hold in the end."""
        held = dict.fromkeys(self.wallets, 0)
        for step in self.funding:
            held[step.operation["account"]] += step.operation["amount_minor"]
        for payout in self.payouts:
            if payout.paid:
                held[payout.step.operation["from_account"]] -= payout.step.operation["amount_minor"]
        for topup in self.topups:
            held[topup.step.operation["to_account"]] += topup.step.operation["amount_minor"] * PAYMENTS[topup.fate]
        return held


def write_psp_script(seed: int, *, run: str) -> PspScript:
    """Write the act; `run` makes its names and keys differ from every other run's on the same stores."""
    rng = random.Random(seed)  # noqa: S311 - a reproducible play, not a secret
    payers = [f"{owner}{run}" for owner in _PAYERS]
    topped_up = [f"{owner}{run}" for owner in _TOPPED_UP]
    writer = _Writer(rng, run)
    return PspScript(
        wallets=(*(_wallet(owner, "THB") for owner in payers), *(_wallet(owner, "RUB") for owner in topped_up)),
        funding=tuple(writer.fund(owner) for owner in payers),
        payouts=(
            *writer.doubts(payers),
            *(payout for owner in payers for payout in writer.withdrawals(owner)),
            *(payout for owner in payers[:3] for payout in writer.codes(owner)),
            *writer.declines(payers),
        ),
        topups=tuple(writer.topups(topped_up)),
    )


@dataclass(frozen=True, slots=True)
class _Writer:
    rng: random.Random
    run: str

    def fund(self, owner: str) -> Step:
        operation = {
            "operation_type": "ADJUSTMENT",
            "account": _wallet(owner, "THB"),
            "direction": "CREDIT",
            "amount_minor": FUNDING_SATANG,
            "currency": "THB",
        }
        return Step(f"fund-psp-{owner}", Kind.FUNDING, operation, Expected(state="SETTLED"))

    def doubts(self, payers: Sequence[str]) -> Iterator[Payout]:
        """Two payouts that are paid while the answer is lost: one that may be asked about, and one that may not yet."""
        for owner, name, script, unanswered in (
            (payers[0], "answer lost", _COMMITTED_UNHEARD, False),
            (payers[1], "answer lost, and asking fails", f"{_COMMITTED_UNHEARD};{_QUESTIONS_UNANSWERED}", True),
        ):
            step = self._withdrawal(name, owner, self._satang(), self._mobile(), test_scenario=script)
            yield Payout(Way.MOBILE, step, unheard=True, unanswered=unanswered)

    def withdrawals(self, owner: str) -> Iterator[Payout]:
        """One payout to each kind of name that an account has."""
        for way, payee in (
            (Way.MOBILE, self._mobile()),
            (Way.NATIONAL_ID, {"proxy_type": "NATIONAL_ID", "proxy": self._national_id()}),
            (Way.EWALLET, {"proxy_type": "EWALLET", "proxy": self._digits(15)}),
            (
                Way.BANK_ACCOUNT,
                {"proxy_type": "BANK_ACCOUNT", "bank_code": "004", "proxy": f"{self._digits(3)}-{self._digits(7)}"},
            ),
        ):
            more = {"recipient_name": "Somchai T.", "comment": "demo"}
            yield Payout(way, self._withdrawal(f"{way} {owner}", owner, self._satang(), payee | more))

    def codes(self, owner: str) -> Iterator[Payout]:
        """Codes of every make: static and with an amount, for a transfer and for a bill."""
        amount = self._satang()
        for name, code, satang in (
            ("static, mobile", encode(ToProxy(mobile(self._mobile()["proxy"]))), self._satang()),
            ("with an amount, e-wallet", encode(ToProxy(ewallet(self._digits(15))), amount_satang=amount), amount),
            ("static, national ID", encode(ToProxy(national_id(self._national_id()))), self._satang()),
            ("bill", encode(Bill(self._digits(15), "CUSTOMER1", "INV001", "SCB"), amount_satang=amount), amount),
        ):
            yield Payout(Way.QR, self._scanned(f"{name} {owner}", owner, satang, code))

    def declines(self, payers: Sequence[str]) -> Iterator[Payout]:
        """What must be refused, by the ledger, by the adapter or by the PSP; nobody loses a satang."""
        amount = 100_00
        code = encode(ToProxy(mobile(self._mobile()["proxy"])), amount_satang=amount)
        unknown, short = "lookup=decline:unknown_proxy", FUNDING_SATANG + 1
        wrong_id = self._national_id()
        wrong_id = wrong_id[:12] + str((int(wrong_id[12]) + 1) % 10)
        by_name: tuple[tuple[str, int, dict[str, str], str], ...] = (
            ("nobody has this number", amount, self._mobile() | {"test_scenario": unknown}, "unknown_proxy"),
            ("over the bank's limit", LIMIT_SATANG + 1, self._mobile(), "over_limit"),
            ("mistyped check digit", amount, {"proxy_type": "NATIONAL_ID", "proxy": wrong_id}, "bad_check_digit"),
        )
        for (name, satang, payee, refusal), owner in zip(by_name, payers, strict=False):
            way = Way.NATIONAL_ID if payee["proxy_type"] == "NATIONAL_ID" else Way.MOBILE
            yield Payout(way, self._withdrawal(name, owner, satang, payee, _failed(refusal)))
        none_left = Expected(state="REJECTED", code="insufficient_funds")
        yield Payout(Way.MOBILE, self._withdrawal("more than there is", payers[3], short, self._mobile(), none_left))
        for (name, scanned, refusal), owner in zip(spoilt(code), payers, strict=True):
            yield Payout(Way.QR, self._scanned(name, owner, amount, scanned, _failed(refusal)))

    def topups(self, owners: Sequence[str]) -> Iterator[Topup]:
        """A code for every fate, and two more that are simply paid."""
        fates = (Fate.PAID, Fate.UNPAID, Fate.LATE, Fate.TWICE, Fate.PAID, Fate.PAID)
        for number, fate in enumerate(fates):
            owner = owners[number % len(owners)]
            static = fate is Fate.TWICE
            operation = {
                "operation_type": "QP_TOPUP",
                "to_account": _wallet(owner, "RUB"),
                "amount_minor": self.rng.randint(100_00, _AMOUNT_MAX_KOPECKS),
                "currency": "RUB",
                "static": static,
                **({} if static else {"ttl_s": _TTL_S}),
            }
            state = "EXPIRED" if fate in (Fate.UNPAID, Fate.LATE) else "SETTLED"
            name = f"top-up {number + 1}{self.run}"
            yield Topup(Step(name, Kind.TOPUP, operation, Expected(state=state), user=owner), fate)

    def _withdrawal(
        self,
        name: str,
        owner: str,
        satang: int,
        payee: Mapping[str, str],
        expected: Expected = Expected(state="SETTLED"),  # noqa: B008 - frozen
        **more: Any,
    ) -> Step:
        return self._payout(name, owner, satang, {"operation_type": "IPPS_WITHDRAWAL", **payee, **more}, expected)

    def _scanned(
        self,
        name: str,
        owner: str,
        satang: int,
        code: str,
        expected: Expected = Expected(state="SETTLED"),  # noqa: B008 - frozen
    ) -> Step:
        return self._payout(name, owner, satang, {"operation_type": "THAI_QR_PAY", "qr": code}, expected)

    def _payout(self, name: str, owner: str, satang: int, what: Mapping[str, Any], expected: Expected) -> Step:
        payer = {"from_account": _wallet(owner, "THB"), "amount_minor": satang, "currency": "THB"}
        return Step(f"{name}{self.run}", Kind.PAYOUT, {**what, **payer}, expected, user=owner, wait_s=None)

    def _satang(self) -> int:
        return self.rng.randint(1_00, _AMOUNT_MAX_SATANG)

    def _digits(self, count: int) -> str:
        return "".join(self.rng.choices("0123456789", k=count))

    def _mobile(self) -> dict[str, str]:
        return {"proxy_type": "MOBILE", "proxy": f"08{self._digits(1)}-{self._digits(3)}-{self._digits(4)}"}

    def _national_id(self) -> str:
        first = f"{self.rng.randint(1, 8)}{self._digits(11)}"
        total = sum(int(digit) * weight for digit, weight in zip(first, range(13, 1, -1), strict=True))
        return f"{first}{(11 - total % 11) % 10}"


def spoilt(code: str) -> tuple[tuple[str, str, str], ...]:
    """Spoil a good code for 100.00 THB in five ways: what was done, the code, and what the defect is called."""
    return (
        ("QR, one digit misread", code[:-1] + ("0" if code[-1] != "0" else "1"), "bad_crc"),
        ("QR, cut off", _sealed(code[:-16]), "truncated"),
        ("QR in dollars", _sealed(code[:-4].replace("5303764", "5303840")), "foreign_currency"),
        ("QR with a third decimal", _sealed(code[:-4].replace("5406100.00", "5407100.005")), "too_many_decimals"),
        ("QR for another amount", _sealed(code[:-4].replace("5406100.00", "5406250.00")), "amount_mismatch"),
    )


def _sealed(body: str) -> str:
    return body + crc16_hex(body)


def _failed(code: str) -> Expected:
    return Expected(state="FAILED", code=code)


def _wallet(owner: str, currency: str) -> str:
    return f"user:{owner}:{currency}"
