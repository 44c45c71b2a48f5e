"""The script of the demo: who pays whom, and what must come of it. Pure, and the same for the same seed.

The expected balances follow from this script alone: nothing the mesh says enters them. Nobody who pays in the script
can ever be short, whatever order the payments arrive in; who is to be refused is refused in any order.
"""

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

CURRENCY: Final = "THB"
FUNDING_MINOR: Final = 1_000_000
TRANSFERS: Final = 240
ALONE: Final = 25
_AMOUNT_MAX_MINOR: Final = 20_000
_WAIT_S: Final = 5
_OWNERS: Final = (
    "anong", "boon", "chai", "dao", "ek", "fah", "gai", "hansa", "intira", "jai",
    "kanya", "lek", "malee", "nok", "ort", "ploy", "rung", "som", "tida", "wan",
)  # fmt: skip
_BROKE: Final = "yod"


class Kind(StrEnum):
    """What a step shows."""

    FUNDING = "funding"
    TRANSFER = "transfer"
    ALONE = "alone"
    REFUSED = "refused"
    REPEATED = "repeated"
    PAYOUT = "payout"
    TOPUP = "top-up"


@dataclass(frozen=True, slots=True)
class Expected:
    """What must come of a step: an HTTP status, and the intent's state or the error's code.

    `same_as` names the step whose intent must be the answer.
    """

    status: tuple[int, ...] = (200, 202)
    state: str | None = None
    code: str | None = None
    same_as: str | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """One request: what is posted, for whom, under which idempotency key, and what must come of it."""

    name: str
    kind: Kind
    operation: Mapping[str, Any]
    expected: Expected
    user: str = ""
    wait_s: int | None = _WAIT_S
    forged: bool = False
    """Signed with a secret that is not the key's."""
    key_of: str | None = None
    """The step whose idempotency key it takes."""
    after_s: int = 0
    """How far the timestamp is from now."""

    @property
    def key(self) -> str:
        """The idempotency key."""
        return (self.key_of or self.name).replace(" ", "-").replace(",", "")


@dataclass(frozen=True, slots=True)
class Script:
    """The whole play: wallets by account name, steps in acts, and what every wallet must hold in the end."""

    wallets: tuple[str, ...]
    funding: tuple[Step, ...]
    transfers: tuple[Step, ...]
    """Payments that may run at once."""
    alone: tuple[Step, ...]
    """Payments one after the other, each waiting for its answer."""
    crowd: Step
    """A payment that is posted many times at once under its one key."""
    refusals: tuple[Step, ...]
    expected_minor: Mapping[str, int]

    @property
    def steps(self) -> tuple[Step, ...]:
        """Every step, in the order of the play."""
        return (*self.funding, *self.transfers, *self.alone, self.crowd, *self.refusals)


def write_script(seed: int, *, run: str, transfers: int = TRANSFERS) -> Script:
    """Write a script; `run` makes its names and keys differ from every other run's on the same stores."""
    rng = random.Random(seed)  # noqa: S311 - a reproducible play, not a secret
    owners = [f"{owner}{run}" for owner in _OWNERS]
    broke = f"{_BROKE}{run}"
    funding = tuple(_fund(owner, run) for owner in owners)
    payments = tuple(_transfer(number, owners, rng, run) for number in range(transfers))
    alone = tuple(
        replace(_transfer(transfers + number, owners, rng, run), wait_s=_WAIT_S, kind=Kind.ALONE)
        for number in range(ALONE)
    )
    crowd = replace(_transfer(transfers + ALONE, owners, rng, run), wait_s=_WAIT_S, kind=Kind.REPEATED)
    refusals = _refusals(owners, broke, payments[0], run)
    wallets = (*map(_wallet, owners), _wallet(broke))
    script = Script(wallets, funding, payments, alone, crowd, refusals, {})
    return replace(script, expected_minor=expected_balances(wallets, script.steps))


def expected_balances(wallets: Sequence[str], steps: Sequence[Step]) -> dict[str, int]:
    """Add up what every wallet must hold once all steps have come out as expected."""
    held = Counter(dict.fromkeys(wallets, 0))
    for step in steps:
        if step.expected.state != "SETTLED" or step.expected.same_as is not None:
            continue
        operation = step.operation
        if operation["operation_type"] == "ADJUSTMENT":
            held[operation["account"]] += operation["amount_minor"]
        else:
            held[operation["from_account"]] -= operation["amount_minor"]
            held[operation["to_account"]] += operation["amount_minor"]
    return dict(held)


def _wallet(owner: str) -> str:
    return f"user:{owner}:{CURRENCY}"


def _pay(payer: str, payee: str, amount_minor: int, **more: Any) -> dict[str, Any]:
    return {
        "operation_type": "P2P_TRANSFER",
        "from_account": _wallet(payer),
        "to_account": _wallet(payee),
        "amount_minor": amount_minor,
        "currency": CURRENCY,
        **more,
    }


def _fund(owner: str, run: str) -> Step:
    operation = {
        "operation_type": "ADJUSTMENT",
        "account": _wallet(owner),
        "direction": "CREDIT",
        "amount_minor": FUNDING_MINOR,
        "currency": CURRENCY,
        "comment": "demo funds",
    }
    return Step(f"fund{run}-{owner}", Kind.FUNDING, operation, Expected(state="SETTLED"))


def _transfer(number: int, owners: Sequence[str], rng: random.Random, run: str) -> Step:
    payer, payee = rng.sample(owners, 2)
    amount_minor = rng.randint(1, _AMOUNT_MAX_MINOR)
    operation = _pay(payer, payee, amount_minor, comment=f"payment {number}", metadata={"tags": ["demo"]})
    return Step(
        f"pay{run}-{number}",
        Kind.TRANSFER,
        operation,
        Expected(state="SETTLED"),
        user=payer,
        wait_s=_WAIT_S if number % 2 else None,  # every other one is answered 202 and asked about afterwards
    )


def _refusals(owners: Sequence[str], broke: str, first: Step, run: str) -> tuple[Step, ...]:
    payer, payee = owners[0], owners[1]
    good = _pay(payer, payee, 100)

    def refused(name: str, operation: Mapping[str, Any], expected: Expected, **more: Any) -> Step:
        return Step(f"{name}{run}", more.pop("kind", Kind.REFUSED), operation, expected, **{"user": payer, **more})

    def error(status: int, code: str) -> Expected:
        return Expected((status,), code=code)

    def declined(code: str) -> Expected:
        return Expected(state="REJECTED", code=code)

    return (
        refused("short of funds", _pay(broke, payee, 1), declined("insufficient_funds"), user=broke),
        refused("more than it holds", _pay(payer, payee, 10**12), declined("insufficient_funds")),
        refused("unknown payee", _pay(payer, f"nobody{run}", 100), declined("unknown_account")),
        refused("unknown payer", _pay(f"nobody{run}", payee, 100), declined("unknown_account"), user=f"nobody{run}"),
        refused("bad signature", good, error(401, "bad_signature"), forged=True),
        refused("old timestamp", good, error(401, "signature_expired"), after_s=-3600),
        refused("foreign user", good, error(403, "foreign_user"), user=payee),
        refused("pays itself", _pay(payer, payer, 100), error(400, "self_transfer")),
        refused("a float", {**good, "amount_minor": 1.5}, error(400, "float_not_allowed")),
        refused("unknown field", {**good, "fee": 1}, error(400, "unknown_field")),
        refused(
            "reused key, other body",
            {**first.operation, "amount_minor": first.operation["amount_minor"] + 1},
            error(422, "idempotency_key_reused"),
            user=first.user,
            key_of=first.key,
        ),
        refused(
            "replayed key",
            first.operation,
            Expected(state="SETTLED", same_as=first.name),
            user=first.user,
            key_of=first.key,
            kind=Kind.REPEATED,
        ),
    )
