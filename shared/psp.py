"""What a PSP promises: its manifest, written as data next to its adapter and stored as JSON in the PSP register.

The saga, the poller and the adapter runtime act on nothing but these promises, so adding a PSP touches none of them.
A manifest that promises too little for what it offers is refused here, before anything is paid on it. This module
must never know a PSP by name, and never do I/O.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any, Final, Literal

from shared.errors import BadInput
from shared.money import AMOUNT_MINOR_MAX

MANIFEST_VERSION: Final = 1
PERMIT_AGE_MAX_S: Final = 12 * 3600
"""Beyond this age of a job its permit can no longer be won, whatever a manifest says."""

_PSP: Final = re.compile(r"[a-z][a-z0-9]{1,15}")
_OPERATION: Final = re.compile(r"[A-Z][A-Z0-9_]{1,31}")
_CURRENCY: Final = re.compile(r"[A-Z]{3}")
_CODE: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")
_REFERENCE_BITS_MIN: Final = 48
_REFERENCE_LENGTH_MAX: Final = 64


class BadManifest(BadInput):
    """The manifest promises too little, or contradicts itself."""

    code = "bad_manifest"


class FenceKind(StrEnum):
    """What makes "we have never seen your reference" final, although a request may still be on its way.

    Each is a promise of the PSP's; without one, only a settlement file or two people close a doubt.
    """

    RESUBMIT = "resubmit"
    """The same reference gets the same answer, declines included, for `period_s`: submitting again is asking."""
    CANCEL = "cancel"
    """A confirmed cancellation also bars a reference that the PSP has not seen yet."""
    REFERENCE_TTL = "reference_ttl"
    """A submission uses a reference that the PSP gave out at the preparation and refuses once it is `period_s` old;
    an inquiry made `margin_s` after that is final."""
    NONE = "none"
    """Nothing does."""


@dataclass(frozen=True, slots=True)
class SubmitFence:
    """The fence, how long the promise lasts, and how much of that is left to clocks and networks."""

    kind: FenceKind
    period_s: int = 0
    margin_s: int = 0


@dataclass(frozen=True, slots=True)
class OperationRules:
    """One operation that the PSP offers.

    `ttl_s` is how long an unpaid request of money in stands (0: it does not end), `deadline_s` how long the PSP may
    take before the poller begins to ask.
    """

    direction: Literal["out", "in"]
    currency: str
    min_minor: int
    max_minor: int
    ttl_s: int = 0
    deadline_s: int = 60


@dataclass(frozen=True, slots=True)
class ReferenceFormat:
    """What the PSP takes as the partner's own reference: exactly `length` characters of `alphabet`."""

    alphabet: str
    length: int


@dataclass(frozen=True, slots=True)
class PollSchedule:
    """When to ask about what is open: first after `first_s`, then ever more rarely, `until_s` at the usual pace.

    After `until_s` the pause stays `max_s` for as long as the doubt lasts.
    """

    first_s: int = 10
    factor: float = 2.0
    max_s: int = 900
    until_s: int = 86_400


@dataclass(frozen=True, slots=True)
class Manifest:
    """What one PSP promises.

    Attributes:
        psp: its id, which is also the hash tag of its keys.
        channel: what routes call it; its id in capitals.
        operations: by operation type.
        reference: how our references look.
        status_by_our_reference: it can be asked by our reference; without that no money goes out.
        submit_fence: what makes an absence final.
        final_answers: codes of declines that it never takes back, said in the answer to the submission itself. A
            decline with another code stays open until an inquiry confirms it.
        job_ttl_s: a job that has not been submitted after so long never will be.
        callback_trusted: a signed callback counts as an answer; otherwise it only prompts an inquiry.
        refundable: payments can be given back.
        partial_refund: in parts.
        poll: when to ask.
    """

    psp: str
    channel: str
    operations: Mapping[str, OperationRules]
    reference: ReferenceFormat
    status_by_our_reference: bool
    submit_fence: SubmitFence
    final_answers: tuple[str, ...] = ()
    job_ttl_s: int = 3600
    callback_trusted: bool = False
    refundable: bool = False
    partial_refund: bool = False
    poll: PollSchedule = PollSchedule()


def agreement(manifest: Manifest, psp: str) -> Manifest:
    """Return a manifest under the name of another agreement with the same PSP: its name and a number, as in ``ipps2``.

    Raises:
        BadManifest: it is not such a name.
    """
    if psp.rstrip("0123456789") != manifest.psp:
        raise BadManifest(f"an agreement with {manifest.psp} is called {manifest.psp}, or that and a number: not {psp}")
    return replace(manifest, psp=psp, channel=psp.upper())


def check_manifest(manifest: Manifest) -> Manifest:
    """Return the manifest if money may be moved on its promises.

    Raises:
        BadManifest: naming every fault.
    """
    faults = [*_form_faults(manifest), *_promise_faults(manifest)]
    for name, rules in manifest.operations.items():
        faults += [f"{name}: {fault}" for fault in _operation_faults(name, rules)]
    if faults:
        raise BadManifest(f"{manifest.psp}: {'; '.join(faults)}")
    return manifest


def _form_faults(manifest: Manifest) -> list[str]:
    alphabet, length = manifest.reference.alphabet, manifest.reference.length
    different = len(set(alphabet))
    checks = {
        "its id is no lower-case word of 2 to 16 characters": _PSP.fullmatch(manifest.psp),
        "its channel is not its id in capitals": manifest.channel == manifest.psp.upper(),
        "it offers nothing": manifest.operations,
        "its references repeat a character of their alphabet": different == len(alphabet) > 1,
        f"its references are longer than {_REFERENCE_LENGTH_MAX}": length <= _REFERENCE_LENGTH_MAX,
        f"its references hold less than {_REFERENCE_BITS_MIN} bits": different**length >= 1 << _REFERENCE_BITS_MIN,
        "a final answer is no code of ours": all(_CODE.fullmatch(code) for code in manifest.final_answers),
        "it gives back in parts, but not as a whole": manifest.refundable or not manifest.partial_refund,
    }
    return [fault for fault, holds in checks.items() if not holds]


def _promise_faults(manifest: Manifest) -> list[str]:
    fence, poll = manifest.submit_fence, manifest.poll
    pays_out = any(rules.direction == "out" for rules in manifest.operations.values())
    timed = fence.kind in (FenceKind.RESUBMIT, FenceKind.REFERENCE_TTL)
    checks = {
        "money out needs a status by our reference": manifest.status_by_our_reference or not pays_out,
        f"the fence {fence.kind} needs a period longer than its margin": not timed
        or 0 <= fence.margin_s < fence.period_s,
        f"the fence {fence.kind} has no period": timed or fence.period_s == fence.margin_s == 0,
        f"job_ttl_s lies outside 1..{PERMIT_AGE_MAX_S}": 0 < manifest.job_ttl_s < PERMIT_AGE_MAX_S,
        "its poll schedule does not move on": 0 < poll.first_s <= poll.max_s and poll.factor >= 1 and poll.until_s > 0,
    }
    return [fault for fault, holds in checks.items() if not holds]


def _operation_faults(name: str, rules: OperationRules) -> list[str]:
    checks = {
        "no operation type": _OPERATION.fullmatch(name),
        "it goes neither out nor in": rules.direction in ("out", "in"),
        "no ISO 4217 code": _CURRENCY.fullmatch(rules.currency),
        "its amounts have no range": 0 < rules.min_minor <= rules.max_minor <= AMOUNT_MINOR_MAX,
        "a time is negative": rules.ttl_s >= 0 and rules.deadline_s > 0,
    }
    return [fault for fault, holds in checks.items() if not holds]


def write_manifest(manifest: Manifest) -> str:
    """Return the manifest as the JSON text to store."""
    operations = {name: asdict(rules) for name, rules in manifest.operations.items()}
    stored = {"v": MANIFEST_VERSION} | asdict(manifest) | {"operations": operations}
    return json.dumps(stored, separators=(",", ":"))


def read_manifest(text: str) -> Manifest:
    """Read a stored manifest and check it again.

    Raises:
        BadManifest: it was not written by `write_manifest`, or promises too little.
    """
    try:
        stored: dict[str, Any] = json.loads(text)
        if stored.pop("v") != MANIFEST_VERSION:
            raise BadManifest("a stored manifest of another version")
        fence = stored.pop("submit_fence")
        manifest = Manifest(
            operations={name: OperationRules(**rules) for name, rules in stored.pop("operations").items()},
            reference=ReferenceFormat(**stored.pop("reference")),
            submit_fence=SubmitFence(FenceKind(fence.pop("kind")), **fence),
            poll=PollSchedule(**stored.pop("poll")),
            final_answers=tuple(stored.pop("final_answers")),
            **stored,
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise BadManifest(f"no stored manifest: {type(error).__name__}") from None
    return check_manifest(manifest)
