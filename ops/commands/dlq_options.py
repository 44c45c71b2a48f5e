"""The options that commands about dead letters share, and what they mean."""

import time
from collections.abc import Sequence
from typing import Annotated

import typer

from ops.commands.keys import parse_span
from ops.console import err
from ops.dlq.addresses import Address, parse_stream
from ops.dlq.reach import Reach, streams_of
from ops.dlq.search import Wanted
from ops.refusals import Refused
from shared.errors import BadInput
from shared.ids import parse_intent_id

Psp = Annotated[str | None, typer.Option(help="Only what concerns this PSP.", show_default=False)]
StreamName = Annotated[
    str | None, typer.Option("--stream", help="Only this stream, such as intents.i0 or jobs.ipps.", show_default=False)
]
Reasons = Annotated[
    list[str] | None,
    typer.Option(
        "--died-of", help="Only this reason, such as permanent or max_deliveries; repeat.", show_default=False
    ),
]
OlderThan = Annotated[str | None, typer.Option(help="Only what died longer ago: 30m, 24h, 7d.", show_default=False)]
NewerThan = Annotated[str | None, typer.Option(help="Only what died since: 30m, 24h, 7d.", show_default=False)]
AmountMin = Annotated[int | None, typer.Option(help="Only amounts from this, in minor units.", show_default=False)]
AmountMax = Annotated[int | None, typer.Option(help="Only amounts up to this, in minor units.", show_default=False)]
Intent = Annotated[str | None, typer.Option(help="Only what names this intent.", show_default=False)]
Limit = Annotated[int, typer.Option(help="At most so many records.", min=1, max=10_000_000)]
ScanMax = Annotated[int, typer.Option(help="Look at no more records than this.", min=1, max=10_000_000)]
Records = Annotated[
    list[str] | None, typer.Argument(help="Addresses of dead letters; else what the options say.", show_default=False)
]


def wanted(
    *,
    records: Sequence[str] | None = None,
    reasons: Sequence[str] | None = None,
    older_than: str | None = None,
    newer_than: str | None = None,
    amount_min: int | None = None,
    amount_max: int | None = None,
    intent: str | None = None,
) -> Wanted:
    """Return what the options ask for.

    Raises:
        BadInput: one of them makes no sense.
    """
    now_ms = time.time_ns() // 1_000_000
    return Wanted(
        reasons=frozenset(reasons or ()),
        before_ms=now_ms - _ms(older_than) if older_than is not None else None,
        since_ms=now_ms - _ms(newer_than) if newer_than is not None else None,
        amount_min=amount_min,
        amount_max=amount_max,
        intent=str(parse_intent_id(intent)) if intent is not None else None,
        records=tuple(Address.parse(text) for text in records or ()),
    )


async def streams(reach: Reach, *, psp: str | None, stream: str | None) -> list[str]:
    """Return the streams that the options ask for.

    Raises:
        BadInput: they exclude each other, or there is no such stream.
        Transient: no store can say which there are.
    """
    if psp is not None and stream is not None:
        raise BadInput("--psp and --stream exclude each other")
    found = await streams_of(reach, psp)
    if stream is None:
        return found
    name = parse_stream(stream)
    if name not in found and reach.pool_or_none is not None:
        raise Refused(f"this mesh has no stream {name}", code="unknown_stream")
    return [name]


def narrowed(wanted: Wanted, *, psp: str | None, stream: str | None) -> bool:
    """Say whether anything was said about what is meant; what moves records takes no silence for everything."""
    return wanted != Wanted() or psp is not None or stream is not None


def tell_missing(reach_notes: Sequence[str]) -> None:
    """Say what could not be reached."""
    for note in dict.fromkeys(reach_notes):
        err().print("note:", note, style="yellow", markup=False, soft_wrap=True)


def _ms(span: str) -> int:
    return int(parse_span(span).total_seconds() * 1000)
