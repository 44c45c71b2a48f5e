"""What IPPS tells about a transfer: in answers, and in callbacks."""

from typing import Final

from pydantic import JsonValue

from adapters.ipps.amounts import format_satang
from adapters.sandbox.answers import Answer
from adapters.sandbox.callbacks import News
from adapters.sandbox.clock import iso
from adapters.sandbox.ipps.records import Bar, Lookup, Transfer, TransferStatus

OK: Final = "00"
ERROR: Final = "10"
DECLINED: Final = "DECLINED"
"""The error code a callback makes up where a scenario has it claim a rejection that never was."""
_CURRENCY: Final = "THB"
_S = TransferStatus
_CONTRARY: Final = {
    _S.SETTLED: _S.REJECTED,
    _S.REJECTED: _S.SETTLED,
    _S.PROCESSING: _S.SETTLED,
    _S.REVERSED: _S.SETTLED,
    _S.CANCELLED: _S.SETTLED,
}
_EARLIER: Final = {
    _S.SETTLED: _S.PROCESSING,
    _S.REJECTED: _S.PROCESSING,
    _S.PROCESSING: _S.PROCESSING,
    _S.REVERSED: _S.SETTLED,
    _S.CANCELLED: _S.PROCESSING,
}


def lookup_answer(lookup: Lookup) -> Answer:
    """Answer a look-up."""
    amount = lookup.payable.amount_satang
    return Answer(
        {
            "statusCode": OK,
            "lookupRef": lookup.lookup_ref,
            "expiresAt": iso(lookup.expires_at_ms),
            "accountNameMasked": lookup.payable.account_name_masked,
            "bankCode": lookup.payable.bank_code,
            "amount": None if amount is None else format_satang(amount),
        }
    )


def refusal_answer(code: str, detail: str) -> Answer:
    """Answer a request that business forbids."""
    return Answer({"statusCode": ERROR, "errorCode": code, "errorDesc": detail})


def transfer_answer(found: Transfer | Bar) -> Answer:
    """Answer with a transfer, or with the bar of its reference."""
    if isinstance(found, Bar):
        return Answer(
            {
                "statusCode": ERROR,
                "partnerTxnUid": found.partner_txn_uid,
                "txnNo": None,
                "status": _S.CANCELLED,
                "amount": None,
                "currency": None,
                "errorCode": "CANCELLED",
            }
        )
    shown = _shown(found, found.status, found.amount_satang)
    return Answer({"statusCode": ERROR if found.error_code else OK, **shown})


def news(transfer: Transfer) -> News:
    """Return what there is to tell about a transfer."""
    return News(
        reference=transfer.partner_txn_uid,
        status=transfer.status,
        earlier=_EARLIER[transfer.status],
        contrary=_CONTRARY[transfer.status],
        amount_minor=transfer.amount_satang,
        write=lambda status, amount_satang: _shown(transfer, status, amount_satang),
    )


def _shown(transfer: Transfer, status: str, amount_satang: int) -> dict[str, JsonValue]:
    return {
        "partnerTxnUid": transfer.partner_txn_uid,
        "txnNo": transfer.txn_no,
        "status": status,
        "amount": format_satang(amount_satang),
        "currency": _CURRENCY,
        "errorCode": (transfer.error_code or DECLINED) if status == _S.REJECTED else None,
    }
