"""What IPPS promises, as data: the ordinary terms as `MANIFEST`, and those of any agreement through `manifest_of`.

Partners agree on different submit fences, so the fence is a term and not a constant. The adapter, the PSP register and
the sandbox must be told the same terms: a manifest that promises more than the agreement voids what is then paid. The
limits are those that Thai providers commonly set for one transfer, 1 to 700,000 THB. This module must never do I/O.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from shared.psp import (
    BadManifest,
    FenceKind,
    Manifest,
    OperationRules,
    PollSchedule,
    ReferenceFormat,
    SubmitFence,
    check_manifest,
)

PSP: Final = "ipps"
WITHDRAWAL: Final = "IPPS_WITHDRAWAL"
QR_PAY: Final = "THAI_QR_PAY"
CURRENCY: Final = "THB"

_AMOUNT_MIN_SATANG: Final = 100
_AMOUNT_MAX_SATANG: Final = 70_000_000
_DEADLINE_S: Final = 60
_REFERENCE: Final = ReferenceFormat("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", 15)
FINAL_ANSWERS: Final = (
    "over_limit",
    "account_closed",
    "unknown_proxy",
    "invalid_proxy",
    "invalid_qr",
    "amount_mismatch",
    "lookup_expired",
    "cancelled",
)
"""The refusals that the contract of the API names. IPPS may refuse for other reasons too: those are asked about."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What differs from agreement to agreement; times in seconds.

    Attributes:
        submit_fence: what bars a transfer that may still be on its way.
        idempotency_s: with `resubmit`, how long IPPS remembers a reference.
        lookup_ttl_s: with `reference_ttl`, how long a look-up may be used; never less than IPPS allows.
        fence_margin_s: what of these is left to clocks and networks, and to IPPS for showing what it has done.
        job_ttl_s: a job that has not been submitted after so long never will be.
        poll_first_s: how soon the first question follows.
    """

    submit_fence: FenceKind = FenceKind.RESUBMIT
    idempotency_s: int = 86_400
    lookup_ttl_s: int = 120
    fence_margin_s: int = 60
    job_ttl_s: int = 3_600
    poll_first_s: int = 10


def manifest_of(terms: Terms) -> Manifest:
    """Return the manifest for an agreement.

    Raises:
        BadManifest: the terms contradict themselves.
    """
    rules = OperationRules("out", CURRENCY, _AMOUNT_MIN_SATANG, _AMOUNT_MAX_SATANG, deadline_s=_DEADLINE_S)
    return check_manifest(
        Manifest(
            psp=PSP,
            channel=PSP.upper(),
            operations={WITHDRAWAL: rules, QR_PAY: rules},
            reference=_REFERENCE,
            status_by_our_reference=True,
            submit_fence=_fence(terms),
            final_answers=FINAL_ANSWERS,
            job_ttl_s=terms.job_ttl_s,
            poll=PollSchedule(first_s=terms.poll_first_s),
        )
    )


def read_terms(words: Mapping[str, str]) -> Terms:
    """Read terms as people write them, ``{"submit_fence": "cancel", "job_ttl_s": "600"}``; the rest is ordinary.

    Raises:
        BadManifest: there is no such term, or no such value.
    """
    known = Terms.__dataclass_fields__
    if unknown := sorted(words.keys() - known.keys()):
        raise BadManifest(f"{PSP} has no term {', '.join(unknown)}; its terms are {', '.join(known)}")
    try:
        return Terms(
            **{name: FenceKind(word) if name == "submit_fence" else int(word) for name, word in words.items()}  # type: ignore[arg-type]  # by name
        )
    except ValueError:
        fences = ", ".join(FenceKind)
        raise BadManifest(f"submit_fence is one of {fences}; every other term is a whole number of seconds") from None


def _fence(terms: Terms) -> SubmitFence:
    match terms.submit_fence:
        case FenceKind.RESUBMIT:
            return SubmitFence(FenceKind.RESUBMIT, terms.idempotency_s, terms.fence_margin_s)
        case FenceKind.REFERENCE_TTL:
            return SubmitFence(FenceKind.REFERENCE_TTL, terms.lookup_ttl_s, terms.fence_margin_s)
        case FenceKind.CANCEL | FenceKind.NONE:
            return SubmitFence(terms.submit_fence)


MANIFEST: Final = manifest_of(Terms())
