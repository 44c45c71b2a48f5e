"""What is wrong with a document, beyond the shape of its entries: everything at once, each at its place.

A rule that gets past here can still refuse an intent (an overflow on an amount that no sample has), but it never
passes one wrongly: see `shared.rules.expressions`. This module must never let a rule pass because it could not be
looked at; what only a mesh knows is checked where one is at hand.
"""

from collections.abc import Iterator
from typing import Final

from ops.rules.books import book_of, scope_of
from ops.rules.documents import Document, Placed
from ops.rules.entries import FeeEntry, KeyEntry, LimitEntry, RouteEntry, SwitchEntry, VelocityEntry
from ops.rules.facts import INTERNAL_CHANNELS, Facts
from ops.rules.findings import Finding
from shared.accounts import AccountKind, parse_account
from shared.errors import BadInput
from shared.rules.book import ALLOWANCES_MAX, FEES_MAX, VELOCITY_MAX
from shared.rules.model import RuleFault, Subject
from shared.streams.control import NEW_WORK, WHOLE_PSP

_TRIED_TOGETHER: Final = (10_000, 10**12)
"""Amounts on which all fees of an operation and currency are added up."""


def validate(document: Document, facts: Facts) -> list[Finding]:
    """Return everything that is wrong with a document, and what is worth a second look."""
    # The second engine takes longer to import than most commands take to run.
    from ops.rules.trials import try_condition, try_fee  # noqa: PLC0415

    found: list[Finding] = []
    for placed in (each for entries in document.sections.values() for each in entries):
        match placed.entry:
            case FeeEntry() as fee:
                found += _check_fee(document, placed, fee, facts)
                found += try_fee(document, placed, fee, facts.channels)
            case VelocityEntry() as velocity:
                found += try_condition(document, placed, velocity, facts.channels)
            case RouteEntry() as route:
                found += _check_route(document, placed, route, facts)
            case SwitchEntry() as switch:
                found += _check_switch(document, placed, switch, facts)
            case KeyEntry() as key:
                found += _check_key(document, placed, key, facts)
            case _:
                continue
    found += _crowded(document)
    if not any(not finding.warning for finding in found):
        found += _together(document)
    return found


def accounts_named(document: Document) -> list[str]:
    """Return the accounts that a document names."""
    return [placed.entry.beneficiary for placed in document.entries("fees") if isinstance(placed.entry, FeeEntry)]


def _check_fee(document: Document, placed: Placed, entry: FeeEntry, facts: Facts) -> Iterator[Finding]:
    text = _beneficiary_fault(entry, facts)
    if text is not None:
        yield document.finding(placed, "beneficiary", text)


def _beneficiary_fault(entry: FeeEntry, facts: Facts) -> str | None:
    try:
        account = parse_account(entry.beneficiary)
    except BadInput as error:
        return str(error)
    if account.kind is not AccountKind.FEE and not account.is_customer:
        return f"fees go to a fee, user or merchant account, not to {account.kind}"
    if account.currency.code != entry.currency:
        return f"the fee is in {entry.currency}, the account in {account.currency.code}"
    if account.is_customer and facts.open_accounts is not None and account.name not in facts.open_accounts:
        return "this wallet is not open"
    return None


def _check_route(document: Document, placed: Placed, entry: RouteEntry, facts: Facts) -> Iterator[Finding]:
    inside = INTERNAL_CHANNELS.get(entry.operation_type)
    if inside is not None:
        if entry.channel != inside:
            yield document.finding(placed, "channel", f"{entry.operation_type} stays in the house: {inside}")
        return
    if entry.channel in INTERNAL_CHANNELS.values():
        yield document.finding(placed, "channel", f"{entry.operation_type} is carried by a PSP, not inside the house")
        return
    if facts.psps is None:
        return
    if entry.operation_type not in facts.operations:
        known = ", ".join(sorted(facts.operations))
        yield document.finding(placed, "operation_type", f"there is no such operation; there are {known}")
    elif entry.channel not in facts.channels.get(entry.operation_type, ()):
        text = f"no registered PSP offers {entry.operation_type} there, so that it carries nothing at present"
        yield document.finding(placed, "channel", text, warning=True)


def _check_switch(document: Document, placed: Placed, entry: SwitchEntry, facts: Facts) -> Iterator[Finding]:
    if facts.psps is None:
        return
    offered = facts.psps.get(entry.psp)
    if offered is None:
        yield document.finding(placed, "psp", "no such PSP is registered; see `paymesh psp list`")
    elif entry.operation not in {WHOLE_PSP, NEW_WORK, *offered}:
        yield document.finding(placed, "operation", f"it offers {', '.join(sorted(offered))}")


def _check_key(document: Document, placed: Placed, entry: KeyEntry, facts: Facts) -> Iterator[Finding]:
    if facts.keys is None:
        return
    if entry.key not in facts.keys:
        yield document.finding(placed, "key", "there is no such key; make it by `paymesh keys create`")
    elif facts.keys[entry.key] and not entry.disabled:
        text = "a disabled key is enabled by `paymesh keys enable` alone, which asks what becomes of its secrets"
        yield document.finding(placed, "disabled", text)


def _crowded(document: Document) -> Iterator[Finding]:
    """Yield the rules that are too many for their operation and currency, whose number bounds the work per intent."""
    bounds = {"fees": FEES_MAX, "limits": ALLOWANCES_MAX, "velocity": VELOCITY_MAX}
    for section, most in bounds.items():
        counts: dict[tuple[str, str], int] = {}
        for placed in document.entries(section):
            entry = placed.entry
            if not isinstance(entry, FeeEntry | LimitEntry | VelocityEntry):
                continue
            units = entry.allowances if isinstance(entry, LimitEntry) else 1
            for operation in entry.operations:
                before = counts.get((operation, entry.currency), 0)
                counts[operation, entry.currency] = before + units
                if before <= most < before + units:
                    what = "allowances" if section == "limits" else "rules of this kind"
                    text = f"with it, {operation} in {entry.currency} has more than {most} {what}"
                    yield document.finding(placed, "operations", text)


def _together(document: Document) -> Iterator[Finding]:
    """Yield the fee rules that are too much together, as a warning: their tags may exclude each other."""
    fees = [(placed, placed.entry) for placed in document.entries("fees") if isinstance(placed.entry, FeeEntry)]
    if not fees:
        return
    book = book_of({"fees": [(entry, 1) for _, entry in fees]})
    told: set[str] = set()
    for operation, currency in sorted({(name, entry.currency) for _, entry in fees for name in entry.operations}):
        tags = {tag for _, entry in fees if operation in entry.operations for tag in scope_of(entry).tags}
        for amount in _TRIED_TOGETHER:
            for carried in ((), tuple(sorted(tags))):
                quote = book.quote(Subject(operation, currency, amount, 0, "user:alice", tags=carried))
                if isinstance(quote, RuleFault) and quote.rule not in told:
                    told.add(quote.rule)
                    placed = next(placed for placed, entry in fees if entry.name == quote.rule)
                    text = f"{quote.detail}, on {amount} minor units of {operation}"
                    yield document.finding(placed, "amount", text, warning=True)
