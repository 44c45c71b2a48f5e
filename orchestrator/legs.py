"""What each operation moves: its legs, between which accounts, and where a PSP comes in. Pure.

Every movement passes the currency's transit account, so that transit stands at zero whenever no chain is under way.
This module must never choose a channel or an id.
"""

from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache
from typing import Final, assert_never

from shared.accounts import Account, AccountKind, at_psp, equity, parse_account, transit
from shared.errors import BadInput
from shared.ledger.codes import LegCode
from shared.operations import (
    Adjustment,
    ChildOperation,
    ChildType,
    IppsWithdrawal,
    Operation,
    P2PTransfer,
    QpTopup,
    ThaiQrPay,
)
from shared.plans import Leg
from shared.rules.fees import Quote
from shared.rules.model import Timing

_WITHDRAWAL_WORDS: Final = ("proxy_type", "proxy", "bank_code", "recipient_name", "comment")
_QR_WORDS: Final = ("qr", "comment")


def internal_legs(operation: P2PTransfer | Adjustment, quote: Quote) -> tuple[Leg, ...]:
    """Return the legs of an operation that stays in the house, and of its fees.

    Raises:
        BadInput: an account cannot take part; `code` says why.
    """
    match operation:
        case P2PTransfer():
            return _p2p_legs(operation, quote)
        case Adjustment():
            return _adjustment_legs(operation)
        case _ as unreachable:
            assert_never(unreachable)


def withdrawal_legs(operation: IppsWithdrawal | ThaiQrPay, psp: str, quote: Quote) -> tuple[Leg, ...]:
    """Return the legs of money that leaves through a PSP, and of its fees: held first, posted or voided later.

    Raises:
        BadInput: as `internal_legs`.
    """
    _wallet(operation.from_account, operation.currency)
    return _with_fees(
        operation.from_account,
        at_psp(psp, operation.currency),
        quote,
        LegCode.WITHDRAWAL_TAKE,
        LegCode.WITHDRAWAL_SEND,
    )


def topup_legs(operation: QpTopup, psp: str, quote: Quote) -> tuple[Leg, ...]:
    """Return the legs of money that comes in through a PSP, and of its fees, for the amount that is asked for there.

    Whoever pays there pays fees on top in one sum with the amount.

    Raises:
        BadInput: as `internal_legs`.
    """
    _wallet(operation.to_account, operation.currency)
    receive, give = _through(
        at_psp(psp, operation.currency),
        operation.to_account,
        quote.payee_gets_minor,
        LegCode.TOPUP_RECEIVE,
        LegCode.TOPUP_GIVE,
    )
    given = (Leg(give.debit, fee.beneficiary, fee.amount_minor, LegCode.FEE_GIVE) for fee in quote.fees)
    return replace(receive, amount_minor=quote.payer_pays_minor), give, *given


_CHILD_CODES: Final = {
    ChildType.LATE_CREDIT: (LegCode.LATE_CREDIT_RECEIVE, LegCode.LATE_CREDIT_GIVE),
    ChildType.REVERSAL: (LegCode.REVERSAL_TAKE, LegCode.REVERSAL_GIVE),
    ChildType.SUSPENSE: (LegCode.SUSPENSE_TAKE, LegCode.SUSPENSE_GIVE),
}


def child_legs(operation: ChildOperation) -> tuple[Leg, ...]:
    """Return the legs of an intent that a PSP's payment opened."""
    ours = at_psp(operation.psp, operation.currency)
    payer, payee = (ours, operation.account) if operation.direction == "in" else (operation.account, ours)
    return _through(payer, payee, operation.amount_minor, *_CHILD_CODES[operation.operation_type])


def destination(operation: IppsWithdrawal | ThaiQrPay | QpTopup) -> dict[str, str]:
    """Return what an adapter needs to know besides amount and reference; personal values stay sealed."""
    match operation:
        case IppsWithdrawal():
            return _words(operation, _WITHDRAWAL_WORDS)
        case ThaiQrPay():
            return _words(operation, _QR_WORDS)
        case QpTopup():
            said = {"static": "true" if operation.static else "false"}
            return (
                said
                | ({} if operation.ttl_s is None else {"ttl_s": str(operation.ttl_s)})
                | _words(operation, ("comment",))
            )
        case _ as unreachable:
            assert_never(unreachable)


def holder_of(operation: Operation) -> str:
    """Return whose allowances an operation uses: the owner of the wallet that pays, or is paid into from outside."""
    match operation:
        case P2PTransfer() | IppsWithdrawal() | ThaiQrPay():
            return operation.from_account.rpartition(":")[0]
        case QpTopup():
            return operation.to_account.rpartition(":")[0]
        case Adjustment():
            return operation.account.rpartition(":")[0]
        case _ as unreachable:
            assert_never(unreachable)


def accounts_named(operation: Operation, psps: Iterable[str]) -> tuple[str, ...]:
    """Return the names of the accounts that a plan of this operation may use, `psps` being those that may carry it."""
    currency = operation.currency
    match operation:
        case P2PTransfer():
            return operation.from_account, operation.to_account, transit(currency)
        case Adjustment():
            return operation.account, transit(currency), equity(currency)
        case IppsWithdrawal() | ThaiQrPay():
            return operation.from_account, transit(currency), *(at_psp(psp, currency) for psp in psps)
        case QpTopup():
            return operation.to_account, transit(currency), *(at_psp(psp, currency) for psp in psps)
        case _ as unreachable:
            assert_never(unreachable)


def _p2p_legs(operation: P2PTransfer, quote: Quote) -> tuple[Leg, ...]:
    _wallet(operation.from_account, operation.currency)
    _wallet(operation.to_account, operation.currency)
    if operation.from_account == operation.to_account:
        raise BadInput("an account cannot pay itself", code="self_transfer")
    return _with_fees(operation.from_account, operation.to_account, quote, LegCode.P2P_PAY, LegCode.P2P_RECEIVE)


def _adjustment_legs(operation: Adjustment) -> tuple[Leg, ...]:
    _wallet(operation.account, operation.currency)
    house = equity(operation.currency)
    payer, payee = (house, operation.account) if operation.direction == "CREDIT" else (operation.account, house)
    return _through(payer, payee, operation.amount_minor, LegCode.ADJUSTMENT_TAKE, LegCode.ADJUSTMENT_GIVE)


def _with_fees(payer: str, payee: str, quote: Quote, take: LegCode, give: LegCode) -> tuple[Leg, ...]:
    """Return the legs between two accounts and of their fees; what the payer pays on top are legs of their own."""
    taken, given = _through(payer, payee, quote.amount_minor, take, give)
    between = taken.credit
    legs = [taken, replace(given, amount_minor=quote.payee_gets_minor)]
    for fee in quote.fees:
        if fee.timing == Timing.PRE:
            legs.append(Leg(payer, between, fee.amount_minor, LegCode.FEE_TAKE))
        legs.append(Leg(between, fee.beneficiary, fee.amount_minor, LegCode.FEE_GIVE))
    return tuple(legs)


def _through(payer: str, payee: str, amount_minor: int, take: LegCode, give: LegCode) -> tuple[Leg, ...]:
    between = transit(payer.rpartition(":")[2])
    return Leg(payer, between, amount_minor, take), Leg(between, payee, amount_minor, give)


_account: Final = lru_cache(maxsize=65_536)(parse_account)


def _wallet(name: str, currency: str) -> Account:
    account = _account(name)
    if account.kind not in (AccountKind.USER, AccountKind.MERCHANT):
        raise BadInput("only user and merchant accounts can pay or be paid", code="account_not_payable")
    if account.currency.code != currency:
        raise BadInput("the account is kept in another currency", code="currency_mismatch")
    return account


def _words(operation: object, names: tuple[str, ...]) -> dict[str, str]:
    return {name: text for name in names if (text := getattr(operation, name)) is not None}
