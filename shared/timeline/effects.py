"""What an intent does to accounts at present: by the ledger's transfers, or by their projection. Pure."""

from collections import Counter
from collections.abc import Iterable

from shared.states import Funds
from shared.timeline.story import Effect, Fact, Known


def effects_of(known: Known) -> tuple[tuple[Effect, ...], str]:
    """Return what the intent does to each account that it does anything to, and who says so."""
    if known.ledger_read:
        return _by_ledger(known.of("transfer")), "ledger"
    return _by_projection(known), "projection"


def _by_ledger(transfers: Iterable[Fact]) -> tuple[Effect, ...]:
    posted: Counter[str] = Counter()
    held: Counter[str] = Counter()
    coming: Counter[str] = Counter()
    for fact in transfers:
        body, amount = fact.body, fact.body["amount_minor"]
        if body["type"] in ("move", "post"):
            posted[body["debit"]] -= amount
            posted[body["credit"]] += amount
        elif body["type"] == "hold" and body["open"]:
            held[body["debit"]] += amount
            coming[body["credit"]] += amount
    return _effects(posted, held, coming)


def _by_projection(known: Known) -> tuple[Effect, ...]:
    posted: Counter[str] = Counter()
    held: Counter[str] = Counter()
    for fact in known.of("movement"):
        posted[fact.body["account"]] += fact.body["amount_minor"]
    intent = known.one("intent")
    if intent is not None and intent.body["funds"] == Funds.HELD:
        legs = next((fact.body["legs"] for fact in reversed(known.of("plan"))), None) or []
        for debit, _, amount, _ in legs:
            held[debit] += amount if debit == legs[0][0] else 0
    return _effects(posted, held, Counter())


def _effects(posted: Counter[str], held: Counter[str], coming: Counter[str]) -> tuple[Effect, ...]:
    names = sorted({*posted, *held, *coming})
    return tuple(
        Effect(name, name.rpartition(":")[2], posted[name], held[name], coming[name])
        for name in names
        if posted[name] or held[name] or coming[name]
    )
