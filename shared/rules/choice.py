"""The choice of a channel: the first on an intent's route that offers the operation, takes it on, and does well. Pure.

A channel whose PSP is paused, broken or full is passed over; so is one past its route's objective, unless every other
is passed over too: slow is better than nothing. This module must never touch a store; what is known of channels at the
moment is handed in.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol
from uuid import UUID

from shared.plans import PassedOver
from shared.psp import Manifest
from shared.rules.model import Subject
from shared.rules.routes import ChannelHealth, Route, candidates, in_order, past_objective

INTERNAL: Final = frozenset({"P2P_TRANSFER", "ADJUSTMENT"})
"""The operations that stay in the house: no PSP stands behind their channel."""


class Channels(Protocol):
    """What is known about PSPs at the moment."""

    def manifest_of_channel(self, channel: str) -> Manifest | None:
        """Return what the PSP behind a channel promises, None where there is no such PSP."""
        ...

    def refusal(self, psp: str, operation: str) -> str | None:
        """Say in a word why the PSP takes nothing on, None where it does."""
        ...

    def health(self, psp: str) -> ChannelHealth:
        """Return how the PSP has done lately."""
        ...


@dataclass(frozen=True, slots=True)
class Choice:
    """The route taken, the manifest of its PSP (None inside the house), and the channels passed over on the way."""

    route: Route
    manifest: Manifest | None = None
    passed_over: tuple[PassedOver, ...] = ()


@dataclass(frozen=True, slots=True)
class NoChannel:
    """Why no channel carries an operation: a stable code, a sentence, and the channels that take nothing on now."""

    code: str
    detail: str
    passed_over: tuple[PassedOver, ...] = ()


_NO_ROUTE: Final = NoChannel("no_route", "no channel carries this operation type, currency and amount at present")
_OUT_OF_RANGE: Final = NoChannel(
    "amount_out_of_range", "the amount lies outside what the channels of this operation carry"
)


def choose(routes: Sequence[Route], subject: Subject, intent: UUID, channels: Channels) -> Choice | NoChannel:
    """Choose the channel of an intent.

    Args:
        routes: those in force, by priority.
        subject: what is to be carried; its channel is what this decides.
        intent: settles who goes where among routes of one priority.
        channels: the PSPs, and how they do.
    """
    kind, currency, amount_minor = subject.operation_type, subject.currency, subject.amount_minor
    fitting = in_order(candidates(routes, kind, currency, amount_minor, subject.tags), intent)
    if not fitting:
        return _NO_ROUTE
    if kind in INTERNAL:
        return Choice(fitting[0])
    passed_over: list[PassedOver] = []
    second_best: Choice | None = None
    offered = False
    for route in fitting:
        manifest = channels.manifest_of_channel(route.channel)
        rules = manifest.operations.get(kind) if manifest is not None else None
        if manifest is None or rules is None or rules.currency != currency:
            continue
        offered = True
        if not rules.min_minor <= amount_minor <= rules.max_minor:
            continue
        reason = channels.refusal(manifest.psp, kind)
        if reason is None:
            reason = past_objective(route, channels.health(manifest.psp))
            if reason is None:
                return Choice(route, manifest, tuple(passed_over))
            second_best = second_best or Choice(route, manifest, tuple(passed_over))
        passed_over.append(PassedOver(route.channel, reason))
    if second_best is not None:
        others = tuple(one for one in passed_over if one.channel != second_best.route.channel)
        return Choice(second_best.route, second_best.manifest, others)
    if passed_over:
        told = ", ".join(f"{one.channel}: {one.reason}" for one in passed_over)
        return NoChannel("psp_unavailable", f"no channel takes it on at the moment ({told})", tuple(passed_over))
    return _OUT_OF_RANGE if offered else _NO_ROUTE
