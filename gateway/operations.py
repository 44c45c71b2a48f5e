"""The operations that may be posted: their HTTP models, and one table of how the gateway treats each.

The table says which wallets an operation names, which of them it debits, what of it is personal and which message it
becomes; nothing else in the gateway knows one operation from another, but for adjustments, which two people approve.
This module must never let a personal field into a message unsealed.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from gateway.fields import (
    AccountName,
    AmountMinor,
    BankCode,
    CurrencyCode,
    MetadataRequest,
    ProxyText,
    QrText,
    RequestModel,
    ScenarioText,
    TtlSeconds,
    Words,
    personal_fields,
)
from gateway.problems import Problem
from shared import operations
from shared.operations import Metadata
from shared.rules.model import Subject
from shared.sealing import KeyRing, fingerprint, seal_fields


class P2PTransferRequest(RequestModel):
    """Move money from one wallet to another inside the house."""

    operation_type: Literal["P2P_TRANSFER"]
    from_account: AccountName
    to_account: AccountName
    amount_minor: AmountMinor
    currency: CurrencyCode
    from_name: Words | None = None
    to_name: Words | None = None
    comment: Words | None = None
    metadata: MetadataRequest = MetadataRequest()
    requires_monitoring: bool = False


class AdjustmentRequest(RequestModel):
    """Move money between a wallet and the house's equity."""

    operation_type: Literal["ADJUSTMENT"]
    account: AccountName
    direction: Literal["CREDIT", "DEBIT"]
    amount_minor: AmountMinor
    currency: CurrencyCode
    comment: Words | None = None
    metadata: MetadataRequest = MetadataRequest()
    requires_monitoring: bool = False


class IppsWithdrawalRequest(RequestModel):
    """Pay out of a wallet to a PromptPay proxy or a bank account."""

    operation_type: Literal["IPPS_WITHDRAWAL"]
    from_account: AccountName
    amount_minor: AmountMinor
    currency: CurrencyCode
    proxy_type: Literal["MOBILE", "NATIONAL_ID", "EWALLET", "BANK_ACCOUNT"]
    proxy: ProxyText
    bank_code: BankCode | None = None
    recipient_name: Words | None = None
    comment: Words | None = None
    test_scenario: ScenarioText | None = None
    metadata: MetadataRequest = MetadataRequest()
    requires_monitoring: bool = False


class ThaiQrPayRequest(RequestModel):
    """Pay a Thai QR code out of a wallet."""

    operation_type: Literal["THAI_QR_PAY"]
    from_account: AccountName
    amount_minor: AmountMinor
    currency: CurrencyCode
    qr: QrText
    comment: Words | None = None
    test_scenario: ScenarioText | None = None
    metadata: MetadataRequest = MetadataRequest()
    requires_monitoring: bool = False


class QpTopupRequest(RequestModel):
    """Let somebody pay into a wallet through SBP."""

    operation_type: Literal["QP_TOPUP"]
    to_account: AccountName
    amount_minor: AmountMinor
    currency: CurrencyCode
    ttl_s: TtlSeconds | None = None
    static: bool = False
    comment: Words | None = None
    test_scenario: ScenarioText | None = None
    metadata: MetadataRequest = MetadataRequest()
    requires_monitoring: bool = False


PspRequest = IppsWithdrawalRequest | ThaiQrPayRequest | QpTopupRequest
OperationRequest = P2PTransferRequest | AdjustmentRequest | PspRequest


@dataclass(frozen=True, slots=True)
class OperationKind:
    """How one operation is treated.

    Attributes:
        request: its HTTP model.
        message: what it becomes in the stream; every field of the model is one of the message.
        wallets: the fields that name wallets, which are all kept in the operation's currency.
        debits: the one among them that pays, where the caller may not debit just anybody.
        personal: the fields that are sealed and masked.
        instant: it is decided without a PSP.
        cancellable: it can be taken back while it waits for somebody to act.
    """

    request: type[OperationRequest]
    message: Callable[..., operations.Operation]
    wallets: tuple[str, ...]
    debits: str | None
    personal: tuple[str, ...]
    instant: bool = False
    cancellable: bool = False


def _kind(
    request: type[OperationRequest],
    message: Callable[..., operations.Operation],
    *wallets: str,
    debits: str | None = None,
    instant: bool = False,
    cancellable: bool = False,
) -> OperationKind:
    return OperationKind(request, message, wallets, debits, personal_fields(request), instant, cancellable)


OPERATIONS: Final = {
    "P2P_TRANSFER": _kind(
        P2PTransferRequest, operations.P2PTransfer, "from_account", "to_account", debits="from_account", instant=True
    ),
    "ADJUSTMENT": _kind(AdjustmentRequest, operations.Adjustment, "account", instant=True),
    "IPPS_WITHDRAWAL": _kind(IppsWithdrawalRequest, operations.IppsWithdrawal, "from_account", debits="from_account"),
    "THAI_QR_PAY": _kind(ThaiQrPayRequest, operations.ThaiQrPay, "from_account", debits="from_account"),
    "QP_TOPUP": _kind(QpTopupRequest, operations.QpTopup, "to_account", cancellable=True),
}
"""Every operation that may be posted, by its type."""

INSTANT: Final = frozenset(name for name, kind in OPERATIONS.items() if kind.instant)
PERSONAL_FIELDS: Final = tuple(dict.fromkeys(name for kind in OPERATIONS.values() for name in kind.personal))
"""The personal fields of all operations."""


def sealed_message(
    ring: KeyRing, *, context: str, request: OperationRequest, approved_by: str | None = None
) -> operations.Operation:
    """Return the operation as it is stored, its personal fields sealed for the intent that `context` names."""
    kind = OPERATIONS[request.operation_type]
    values = {**request.__dict__, "metadata": Metadata(tags=request.metadata.tags, labels=request.metadata.labels)}
    texts = {name: values[name] for name in kind.personal if values[name] is not None}
    if texts:
        values |= seal_fields(ring, context=context, texts=texts)
    if approved_by is not None:
        values["approved_by"] = approved_by
    return kind.message(**values)


def subject_of(request: OperationRequest, *, at_ms: int, user_id: str | None = None) -> Subject:
    """Return what rules may know of an operation that is about to be posted."""
    kind = OPERATIONS[request.operation_type]
    return Subject(
        operation_type=request.operation_type,
        currency=request.currency,
        amount_minor=request.amount_minor,
        at_ms=at_ms,
        holder=getattr(request, kind.wallets[0]).rpartition(":")[0],
        user_id=user_id or "",
        tags=request.metadata.tags,
        labels=request.metadata.labels or {},
    )


def destination_of(ring: KeyRing, request: OperationRequest) -> str | None:
    """Return what tells two payments to one place, without telling the place; None where a wallet's name does.

    A key that has just been put in front of the ring makes another one of it: whoever counts begins anew.
    """
    match request:
        case IppsWithdrawalRequest():
            place: tuple[str, ...] = (request.proxy_type, request.bank_code or "", _plain(request))
        case ThaiQrPayRequest():
            place = ("THAI_QR", "", request.qr)
        case _:
            return None
    return fingerprint(ring, (b"destination", *(part.encode() for part in place)))[0]


def _plain(request: IppsWithdrawalRequest) -> str:
    """Return the proxy without what may be written this way or that: separators, case, a country's prefix."""
    plain = request.proxy.translate(_SEPARATORS).upper()
    return plain[-_MOBILE_DIGITS:] if request.proxy_type == "MOBILE" else plain


@dataclass(frozen=True, slots=True)
class _ProxyForm:
    """How a proxy may be typed: which characters, and how many of them are left without the separators."""

    characters: re.Pattern[str]
    shortest: int
    longest: int


_MOBILE_DIGITS: Final = 9
"""Of a Thai mobile number, without its country's prefix or the 0 in place of it."""
_SEPARATORS: Final = str.maketrans("", "", " -.()+")
_PROXY_FORMS: Final = {
    "MOBILE": _ProxyForm(re.compile(r"\+?[0-9 .()-]+"), 10, 13),
    "NATIONAL_ID": _ProxyForm(re.compile(r"[0-9 .()-]+"), 13, 13),
    "EWALLET": _ProxyForm(re.compile(r"[0-9 .()-]+"), 15, 15),
    "BANK_ACCOUNT": _ProxyForm(re.compile(r"[0-9A-Za-z .()-]+"), 1, 40),
}


def check_payee(request: IppsWithdrawalRequest) -> None:
    """Refuse a payee whose name no PSP could read; whether anybody answers to it, only a PSP can tell.

    Raises:
        Problem: ``proxy_characters``, ``proxy_length``, ``bank_code_required`` or ``bank_code_not_allowed``.
    """
    form = _PROXY_FORMS[request.proxy_type]
    if not form.characters.fullmatch(request.proxy):
        raise _fault("proxy", "proxy_characters", f"a character that no {request.proxy_type} has")
    if not form.shortest <= len(request.proxy.translate(_SEPARATORS)) <= form.longest:
        wanted = f"{form.shortest}" if form.shortest == form.longest else f"{form.shortest} to {form.longest}"
        raise _fault("proxy", "proxy_length", f"{request.proxy_type} has {wanted} characters beside its separators")
    if request.proxy_type == "BANK_ACCOUNT" and request.bank_code is None:
        raise _fault("bank_code", "bank_code_required", "a bank account is named together with its bank")
    if request.proxy_type != "BANK_ACCOUNT" and request.bank_code is not None:
        raise _fault("bank_code", "bank_code_not_allowed", "only a bank account has a bank code")


def _fault(place: str, code: str, sentence: str) -> Problem:
    return Problem(code, f"{place}: {sentence}", faults=((place, code, sentence),))
