"""What IPPS tells of its own accord: one callback for every status that a transfer reaches.

The receiver has verified address and signature before anything here is asked. A callback is a hint, whatever it says:
the manifest does not trust it, so it only prompts an inquiry. This module must never do I/O.
"""

from collections.abc import Sequence
from typing import Final

from pydantic import ValidationError

from adapters.ipps.mapping import ToldTransfer, standing
from adapters.runtime.psp import Ambiguous, BadCallback, CallbackRules, Observation

PATH: Final = "/callbacks/ipps"


def callback_rules(*, secrets: Sequence[bytes], networks: Sequence[str]) -> CallbackRules:
    """Return where callbacks come in, and how IPPS signs them."""
    return CallbackRules(
        path=PATH,
        timestamp_header="X-Ipps-Timestamp",
        signature_header="X-Ipps-Signature",
        secrets=tuple(secrets),
        networks=tuple(networks),
        acknowledgement=b'{"statusCode":"00"}',
    )


def parse_callback(raw: bytes) -> Observation:
    """Read ``{eventId, occurredAt, partnerTxnUid, txnNo, status, amount, currency, errorCode}``.

    Raises:
        BadCallback: it makes no sense.
    """
    try:
        told = ToldTransfer.model_validate_json(raw)
    except ValidationError:
        raise BadCallback("no callback of IPPS") from None
    answer = standing(told)
    if isinstance(answer, Ambiguous):
        raise BadCallback("a callback about nothing that IPPS reports")
    return Observation(answer, reference=told.partner_txn_uid)
