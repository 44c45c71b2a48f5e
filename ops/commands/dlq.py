"""`paymesh dlq`: what could not be processed, and what people do about it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from ops.commands import dlq_verdicts
from ops.commands.dlq_options import (
    AmountMax,
    AmountMin,
    Intent,
    Limit,
    NewerThan,
    OlderThan,
    Psp,
    Reasons,
    Records,
    ScanMax,
    StreamName,
    narrowed,
    streams,
    tell_missing,
    wanted,
)
from ops.commands.dlq_view import output as opened
from ops.commands.dlq_view import print_one, print_records, print_tallies, progress, tell_cut
from ops.commands.running import EXIT_WRONG, Confirm, Json, Reason, example, require_confirmed, run, spoken
from ops.console import err, out, print_json, table
from ops.dlq.addresses import Address
from ops.dlq.contents import describe
from ops.dlq.counting import Tally, count_dead_letters
from ops.dlq.discarding import Discarded, DiscardProspect, NotDiscarded, discard_record, foresee_discard
from ops.dlq.exporting import Exported, export
from ops.dlq.people import person
from ops.dlq.prospects import Prospect, foresee
from ops.dlq.reach import Reach, reach_stores
from ops.dlq.replaying import RATE_DEFAULT, RATE_MAX, Deed, Replayed, replay
from ops.dlq.search import LOOKED_AT_MAX, Search, Wanted
from ops.environment import find_settings
from shared.config import StoreSettings
from shared.errors import BadInput
from shared.ids import is_intent_id
from shared.sealing import KeyRing
from shared.streams.dead_letters import DeadLetterRecord

_LISTED: Final = 50
_FORESEEN_MAX: Final = 1000
_EVERYTHING: Final = 10_000_000

app = typer.Typer(no_args_is_help=True, help="Dead letters: what could not be processed, and what to do about it.")


@app.command(
    "list",
    epilog=example("paymesh dlq list --psp ipps --newer-than 24h", "paymesh dlq list --records --died-of decode"),
)
def list_(
    *,
    psp: Psp = None,
    stream: StreamName = None,
    died_of: Reasons = None,
    older_than: OlderThan = None,
    newer_than: NewerThan = None,
    amount_min: AmountMin = None,
    amount_max: AmountMax = None,
    intent: Intent = None,
    records: Annotated[bool, typer.Option("--records", help="List the records themselves.")] = False,
    limit: Limit = _LISTED,
    scan_max: ScanMax = LOOKED_AT_MAX,
    as_json: Json = False,
) -> None:
    """Count the dead letters by stream, reason, PSP and age; by amount or intent, list them."""

    async def work() -> tuple[list[Tally], list[dict[str, Any]], Search | None, list[str]]:
        meant = wanted(
            reasons=died_of, older_than=older_than, newer_than=newer_than,
            amount_min=amount_min, amount_max=amount_max, intent=intent,
        )  # fmt: skip
        async with reach_stores(find_settings()) as reach:
            names = await streams(reach, psp=psp, stream=stream)
            if meant.by_counts and not records:
                return await count_dead_letters(reach.redis, names, meant), [], None, reach.notes
            search = Search(reach.redis, names, meant, limit=limit, looked_at_max=scan_max)
            found = [describe(name, record) async for name, page in search.pages() for record in page]
            return [], found, search, reach.notes

    tallies, found, search, notes = run(work())
    if as_json:
        listed = {"records": found, "looked_at": search.looked_at, "cut": search.cut} if search is not None else {}
        print_json({"counts": tallies, "total": sum(tally.records for tally in tallies), **listed, "missing": notes})
    elif search is None:
        print_tallies(tallies)
    else:
        print_records(found)
        tell_cut(search)
    _end(notes)


@app.command(epilog=example("paymesh dlq show jobs.ipps:1732140000000-0 --json"))
def show(
    name: Annotated[
        str, typer.Argument(help="The address of a dead letter, or the id of an intent.", show_default=False)
    ],
    *,
    as_json: Json = False,
) -> None:
    """Show dead letters whole, personal data covered, and what a replay would do."""

    async def work() -> tuple[list[dict[str, Any]], list[str]]:
        meant = wanted(intent=name) if is_intent_id(name) else wanted(records=[name])
        async with reach_stores(find_settings()) as reach:
            names = [] if meant.records else await streams(reach, psp=None, stream=None)
            search = Search(reach.redis, names, meant, limit=_LISTED)
            shown = []
            async for stream, page in search.pages():
                prospects = await foresee(reach, page)
                shown += [
                    describe(stream, record) | {"replay": asdict(prospect)}
                    for record, prospect in zip(page, prospects, strict=True)
                ]
            return shown, reach.notes

    shown, notes = run(work())
    if as_json:
        print_json({"records": shown, "missing": notes})
    else:
        for one in shown:
            print_one(one)
    if not shown:
        err().print("no such dead letter stands here", markup=False)
        tell_missing(notes)
        raise typer.Exit(EXIT_WRONG)
    _end(notes)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a dry run found: how many records, what would become of them, and the first few."""

    would: str
    found: int
    cut: bool
    effects: dict[str, int]
    foreseen: int
    records: list[dict[str, Any]]
    missing: list[str]
    done: bool = False


@app.command(
    "replay",
    epilog=example(
        "paymesh dlq replay jobs.ipps:1732140000000-0",
        "paymesh dlq replay --psp ipps --died-of permanent --confirm --reason 'adapter mended'",
    ),
)
def replay_(
    addresses: Records = None,
    *,
    psp: Psp = None,
    stream: StreamName = None,
    died_of: Reasons = None,
    older_than: OlderThan = None,
    newer_than: NewerThan = None,
    amount_min: AmountMin = None,
    amount_max: AmountMax = None,
    intent: Intent = None,
    limit: Limit = 10_000,
    scan_max: ScanMax = _EVERYTHING,
    rate: Annotated[int, typer.Option(help="At most so many a second.", min=1, max=RATE_MAX)] = RATE_DEFAULT,
    confirm: Confirm = False,
    reason: Reason = "",
    as_json: Json = False,
) -> None:
    """Put dead letters back on their streams, each once; first say what that would do, and whether it is safe."""
    meant = _meant(
        psp, stream, records=addresses, reasons=died_of, older_than=older_than, newer_than=newer_than,
        amount_min=amount_min, amount_max=amount_max, intent=intent,
    )  # fmt: skip

    async def foreseen() -> Plan:
        async with reach_stores(find_settings()) as reach:
            search = await _search(reach, meant, psp, stream, limit=limit, scan_max=scan_max)
            return await _foresee_replay(reach, search)

    async def work() -> Replayed:
        async with reach_stores(find_settings()) as reach:
            search = await _search(reach, meant, psp, stream, limit=limit, scan_max=scan_max)
            deed = Deed(
                await person(reach), reason, {"limit": limit, "rate": rate, "wanted": _words(meant, psp, stream)}
            )
            with progress("put back") as advance:
                return await replay(reach, search, deed, rate=rate, advance=advance)

    if not confirm or not reason.strip():
        _refuse(run(foreseen()), as_json=as_json, confirm=confirm, reason=reason)
        return
    done = run(work())
    if as_json:
        print_json(done)
    else:
        out().print(f"{done.moved} put back; {done.gone} gone already; {done.no_payload} with nothing to put back")
        if done.barred:
            out().print(f"{done.barred} of them are submissions that will only inquire, or say that they never were")
        if done.cut:
            err().print("it stopped at its bound: there may be more (--limit, --scan-max)")


@app.command(
    "discard",
    epilog=example(
        "paymesh dlq discard results.ipps:1732140000000-0",
        "paymesh dlq discard --stream intents.i0 --died-of decode --confirm --reason 'a test tool wrote them'",
    ),
)
def discard_(
    addresses: Records = None,
    *,
    psp: Psp = None,
    stream: StreamName = None,
    died_of: Reasons = None,
    older_than: OlderThan = None,
    newer_than: NewerThan = None,
    amount_min: AmountMin = None,
    amount_max: AmountMax = None,
    intent: Intent = None,
    limit: Limit = 100,
    scan_max: ScanMax = LOOKED_AT_MAX,
    confirm: Confirm = False,
    reason: Reason = "",
    as_json: Json = False,
) -> None:
    """Take dead letters away for good, kept in the database; their intents are ended first where that is safe."""
    meant = _meant(
        psp, stream, records=addresses, reasons=died_of, older_than=older_than, newer_than=newer_than,
        amount_min=amount_min, amount_max=amount_max, intent=intent,
    )  # fmt: skip

    async def foreseen() -> Plan:
        async with reach_stores(find_settings()) as reach:
            search = await _search(reach, meant, psp, stream, limit=limit, scan_max=scan_max)
            return await _foresee_discards(reach, search)

    async def work() -> tuple[list[Discarded], list[str]]:
        settings = find_settings()
        async with reach_stores(settings) as reach:
            search = await _search(reach, meant, psp, stream, limit=limit, scan_max=scan_max)
            return await _discard_all(reach, search, settings.keyring(), await person(reach), reason)

    if not confirm or not reason.strip():
        _refuse(run(foreseen()), as_json=as_json, confirm=confirm, reason=reason)
        return
    done, refused = run(work())
    if as_json:
        print_json({"discarded": done, "refused": refused})
    else:
        taken = sum(not one.gone for one in done)
        out().print(f"{taken} taken away and kept in the database; {len(done) - taken} gone already")
    for why in refused:
        err().print("not done:", why, style="yellow", markup=False, soft_wrap=True)
    if refused:
        raise typer.Exit(EXIT_WRONG)


@app.command("export", epilog=example("paymesh dlq export --psp ipps --newer-than 7d --output dead.jsonl"))
def export_(
    addresses: Records = None,
    *,
    psp: Psp = None,
    stream: StreamName = None,
    died_of: Reasons = None,
    older_than: OlderThan = None,
    newer_than: NewerThan = None,
    amount_min: AmountMin = None,
    amount_max: AmountMax = None,
    intent: Intent = None,
    limit: Limit = 100_000,
    scan_max: ScanMax = _EVERYTHING,
    output: Annotated[
        Path | None, typer.Option(help="The file to write; else standard output.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON lines are all that this writes; no change.")] = False,
) -> None:
    """Write dead letters as JSON lines, personal data covered and original bytes sealed."""
    del as_json

    async def work() -> tuple[Exported, list[str]]:
        meant = wanted(
            records=addresses, reasons=died_of, older_than=older_than, newer_than=newer_than,
            amount_min=amount_min, amount_max=amount_max, intent=intent,
        )  # fmt: skip
        settings = find_settings()
        async with reach_stores(settings) as reach:
            search = await _search(reach, meant, psp, stream, limit=limit, scan_max=scan_max)
            with opened(output) as write:
                return await export(search, _ring(settings), write), reach.notes

    done, notes = run(work())
    err().print(f"{done.records} written")
    if not done.originals:
        err().print("note: no key ring (PAYMESH_KEYRING_FILE): the original bytes were left out", style="yellow")
    if done.cut:
        err().print("it stopped at its bound: there may be more (--limit, --scan-max)")
    _end(notes)


dlq_verdicts.add_to(app)


def _meant(psp: str | None, stream: str | None, **options: Any) -> Wanted:
    """Return what is to be moved or taken away; nothing said does not mean everything.

    Raises:
        typer.Exit: nothing was said, or it makes no sense.
    """
    with spoken():
        meant = wanted(**options)
        _check_narrowed(meant, psp, stream)
    return meant


def _check_narrowed(meant: Wanted, psp: str | None, stream: str | None) -> None:
    if not narrowed(meant, psp=psp, stream=stream):
        raise BadInput("say which: addresses, or --psp, --stream, --died-of, --older-than, --intent …")


async def _search(
    reach: Reach, meant: Wanted, psp: str | None, stream: str | None, *, limit: int, scan_max: int
) -> Search:
    names = [] if meant.records else await streams(reach, psp=psp, stream=stream)
    return Search(reach.redis, names, meant, limit=limit, looked_at_max=scan_max)


async def _foresee_replay(reach: Reach, search: Search) -> Plan:
    effects: Counter[str] = Counter()
    first: list[dict[str, Any]] = []
    foreseen = 0
    async for stream, page in search.pages():
        looked = page[: max(0, _FORESEEN_MAX - foreseen)]
        prospects: Sequence[Prospect] = await foresee(reach, looked) if looked else ()
        foreseen += len(looked)
        effects.update(prospect.effect.value for prospect in prospects)
        first += [
            _brief(stream, record) | {"effect": prospect.effect, "why": prospect.why}
            for record, prospect in zip(looked, prospects, strict=True)
        ][: _LISTED - len(first)]
    would = f"put {search.found} dead letters back on their streams, past admission, each to be processed alone"
    return Plan(would, search.found, search.cut, dict(effects), foreseen, first, reach.notes)


async def _foresee_discards(reach: Reach, search: Search) -> Plan:
    effects: Counter[str] = Counter()
    first: list[dict[str, Any]] = []
    async for stream, page in search.pages():
        for record in page:
            found = await foresee_discard(reach, stream, record)
            effect = _effect(found)
            effects[effect] += 1
            if len(first) < _LISTED:
                first.append(_brief(stream, record) | {"effect": effect, "why": found.why})
    would = f"take {search.found - effects['refused']} dead letters away for good, kept in the database"
    return Plan(would, search.found, search.cut, dict(effects), search.found, first, reach.notes)


async def _discard_all(
    reach: Reach, search: Search, ring: KeyRing, actor: str, reason: str
) -> tuple[list[Discarded], list[str]]:
    done: list[Discarded] = []
    refused: list[str] = []
    async for stream, page in search.pages():
        for record in page:
            try:
                done.append(await discard_record(reach, stream, record, ring=ring, actor=actor, reason=reason))
            except NotDiscarded as error:
                refused.append(str(error))
    return done, refused


def _effect(found: DiscardProspect) -> str:
    if not found.safe:
        return "refused"
    return "ends_intent" if found.ends else "taken_away"


def _brief(stream: str, record: DeadLetterRecord) -> dict[str, Any]:
    return {
        "address": str(Address(stream, record.entry_id)),
        "reason": record.reason,
        "intent_id": record.id if is_intent_id(record.id) else None,
    }


def _refuse(plan: Plan, *, as_json: bool, confirm: bool, reason: str) -> None:
    """Say what would be done, and that it was not."""
    if as_json:
        print_json(plan)
    else:
        rows = [[one["address"], one["reason"], one["effect"], one["why"]] for one in plan.records]
        if rows:
            out().print(table(None, ["dead letter", "died of", "effect", "why"], rows))
        if plan.found > len(rows):
            out().print(f"… and {plan.found - len(rows)} more")
        counts = ", ".join(f"{effect} {count}" for effect, count in sorted(plan.effects.items()))
        out().print(f"of {plan.foreseen} looked at: {counts or 'nothing'}")
        if plan.cut:
            err().print("it stopped at its bound: there may be more (--limit, --scan-max)")
    tell_missing(plan.missing)
    require_confirmed(confirm=confirm, reason=reason, what=plan.would)


def _end(notes: Sequence[str]) -> None:
    tell_missing(notes)
    if notes:
        raise typer.Exit(EXIT_WRONG)


def _words(meant: Wanted, psp: str | None, stream: str | None) -> dict[str, Any]:
    """Return what was asked for as the audit log keeps it."""
    return {
        "psp": psp,
        "stream": stream,
        "died_of": sorted(meant.reasons),
        "before_ms": meant.before_ms,
        "since_ms": meant.since_ms,
        "amount_min": meant.amount_min,
        "amount_max": meant.amount_max,
        "intent": meant.intent,
        "records": [str(address) for address in meant.records[:_LISTED]],
    }


def _ring(settings: StoreSettings) -> KeyRing | None:
    return settings.keyring() if settings.keyring_text or settings.keyring_file else None
