"""`paymesh dlq void|settle|fail|approve|requests`: what people say of payments that the machines cannot decide."""

from typing import Annotated

import typer

from ops.commands.dlq_options import tell_missing
from ops.commands.running import EXIT_WRONG, Confirm, Json, Reason, example, require_confirmed, run
from ops.console import err, out, print_json, table
from ops.dlq.evidence import Evidence
from ops.dlq.people import person
from ops.dlq.reach import reach_stores
from ops.dlq.requests import (
    Claim,
    Kind,
    Person,
    Request,
    approve,
    check_claim,
    check_people,
    check_request,
    decline,
    find_request,
    list_requests,
    other_amount,
    request_verdict,
)
from ops.dlq.voiding import Voided, VoidProspect, foresee_void, void
from ops.environment import find_settings

IntentId = Annotated[str, typer.Argument(help="The intent's id.", show_default=False)]
EvidenceText = Annotated[
    str, typer.Option("--evidence", help="A file, or a sentence: what proves it; kept sealed.", show_default=False)
]
RequestedBy = Annotated[str, typer.Option(help="Your name; somebody else approves.", show_default=False)]


def add_to(app: typer.Typer) -> None:
    """Add the commands to `paymesh dlq`."""
    app.command("void", epilog=example("paymesh dlq void 0199a1b2-c3d4-7e5f-8a9b-0c1d2e030000"))(void_)
    app.command(
        "settle",
        epilog=example(
            "paymesh dlq settle 0199a1b2-c3d4-7e5f-8a9b-0c1d2e030000 --psp-transaction-id T1 --amount-minor 300"
            " --evidence statement.txt --requested-by 'Ann Lee' --confirm --reason 'IPPS confirms by mail'"
        ),
    )(settle)
    app.command(
        "fail",
        epilog=example(
            "paymesh dlq fail 0199a1b2-c3d4-7e5f-8a9b-0c1d2e030000 --evidence 'not in the settlement file of 20 Nov'"
            " --requested-by 'Ann Lee' --confirm --reason 'IPPS never had it'"
        ),
    )(fail)
    app.command(
        "approve",
        epilog=example("paymesh dlq approve 7 --approved-by 'Bo Chan' --confirm --reason 'read the statement too'"),
    )(approve_)
    app.command("requests", epilog=example("paymesh dlq requests --all --json"))(requests)


def void_(intent: IntentId, *, confirm: Confirm = False, reason: Reason = "", as_json: Json = False) -> None:
    """Say that a payment was never handed to its PSP, by winning its permit, and release what is held."""

    async def foreseen() -> VoidProspect:
        async with reach_stores(find_settings()) as reach:
            return await foresee_void(reach, intent)

    async def work() -> Voided:
        async with reach_stores(find_settings()) as reach:
            return await void(reach, intent, actor=await person(reach), reason=reason)

    if not confirm or not reason.strip():
        found = run(foreseen())
        if as_json:
            print_json(found)
        else:
            out().print(f"{found.intent} is {found.state} at {found.psp}; {found.why}", soft_wrap=True)
        what = "win CANCELLED and say NOT_SUBMITTED" if found.safe else "be refused: the permit cannot be won"
        require_confirmed(confirm=confirm, reason=reason, what=what)
    done = run(work())
    if as_json:
        print_json(done)
    elif done.won:
        out().print(f"{done.intent} is voided: the orchestrator releases what is held")
    if not done.won:
        err().print(f"{done.intent} was not voided: its permit is {done.permit}, so it may have been submitted")
        raise typer.Exit(EXIT_WRONG)


def settle(
    intent: IntentId,
    *,
    psp_transaction_id: Annotated[str, typer.Option(help="What the PSP calls the payment.", show_default=False)],
    amount_minor: Annotated[int, typer.Option(help="What the PSP paid, in minor units.", show_default=False)],
    evidence: EvidenceText,
    requested_by: RequestedBy,
    confirm: Confirm = False,
    reason: Reason = "",
    as_json: Json = False,
) -> None:
    """Ask for an intent in doubt to be settled, by evidence that the PSP paid; somebody else approves it."""
    _request(
        intent, Kind.SETTLE, evidence, requested_by, confirm=confirm, reason=reason, as_json=as_json,
        psp_transaction_id=psp_transaction_id, amount_minor=amount_minor,
    )  # fmt: skip


def fail(
    intent: IntentId,
    *,
    evidence: EvidenceText,
    requested_by: RequestedBy,
    confirm: Confirm = False,
    reason: Reason = "",
    as_json: Json = False,
) -> None:
    """Ask for an intent in doubt to fail, by evidence that the PSP did not pay; somebody else approves it."""
    _request(intent, Kind.FAIL, evidence, requested_by, confirm=confirm, reason=reason, as_json=as_json)


def approve_(
    number: Annotated[int, typer.Argument(help="The request's number.", show_default=False)],
    *,
    approved_by: Annotated[str, typer.Option(help="Your name; not that of whoever asked.", show_default=False)],
    declining: Annotated[bool, typer.Option("--decline", help="Close it without a verdict instead.")] = False,
    confirm: Confirm = False,
    reason: Reason = "",
    as_json: Json = False,
) -> None:
    """Approve what somebody else asked for, and say the verdict; or decline it."""

    async def foreseen() -> tuple[Request, str]:
        async with reach_stores(find_settings()) as reach:
            request = await find_request(reach, number)
            if not declining:
                check_people(request, Person(approved_by, await person(reach)))
                job = await check_request(reach, request)
                return request, other_amount(request.amount_minor, job)
            return request, ""

    async def work() -> Request:
        async with reach_stores(find_settings()) as reach:
            deed = decline if declining else approve
            return await deed(reach, number, Person(approved_by, await person(reach)), reason=reason)

    if not confirm or not reason.strip():
        found, warning = run(foreseen())
        _show(found, as_json=as_json)
        what = "close the request without a verdict" if declining else _verdict_words(found) + warning
        require_confirmed(confirm=confirm, reason=reason, what=what)
    _show(run(work()), as_json=as_json)


def requests(
    *,
    everything: Annotated[bool, typer.Option("--all", help="Those that were decided, too.")] = False,
    as_json: Json = False,
) -> None:
    """List the verdicts that were asked for and wait for somebody."""

    async def work() -> tuple[list[Request], list[str]]:
        async with reach_stores(find_settings()) as reach:
            return await list_requests(reach, everything=everything), reach.notes

    found, notes = run(work())
    if as_json:
        print_json(found)
    else:
        columns = ["request>", "asks to", "intent", "psp", "amount>", "asked by", "at", "decided"]
        out().print(table(None, columns, [_cells(request) for request in found]))
    tell_missing(notes)


def _request(
    intent: str,
    kind: Kind,
    evidence: str,
    requested_by: str,
    *,
    confirm: bool,
    reason: str,
    as_json: bool,
    psp_transaction_id: str | None = None,
    amount_minor: int | None = None,
) -> None:
    async def work(*, really: bool) -> tuple[int | None, str]:
        claim = Claim(kind, intent, Evidence.read(evidence), psp_transaction_id, amount_minor)
        async with reach_stores(find_settings()) as reach:
            if really:
                who = Person(requested_by, await person(reach))
                return await request_verdict(reach, claim, who, reason=reason), ""
            _, job = await check_claim(reach, claim)
            return None, other_amount(amount_minor, job)

    really = confirm and bool(reason.strip())
    number, warning = run(work(really=really))
    if as_json:
        print_json({"request": number, "intent": intent, "kind": kind})
    if number is None:
        paid = "" if amount_minor is None else f" as paid: {amount_minor} minor units, {psp_transaction_id}{warning}"
        what = f"ask for {intent} to {kind}{paid}; somebody other than {requested_by} has to approve it"
        require_confirmed(confirm=confirm, reason=reason, what=what)
    elif not as_json:
        out().print(f"request {number}; somebody else approves it: paymesh dlq approve {number} --approved-by …")


def _verdict_words(request: Request) -> str:
    if request.kind is Kind.SETTLE:
        paid = f"{request.amount_minor} {request.currency} (minor units), {request.psp_transaction_id}"
        return f"bar the job from being submitted and settle {request.intent_id}: {request.psp} paid {paid}"
    return f"bar the job from being submitted and fail {request.intent_id}: what is held goes back to the payer"


def _show(request: Request, *, as_json: bool) -> None:
    if as_json:
        print_json(request)
        return
    names = [name for name in Request.__dataclass_fields__ if getattr(request, name) is not None]
    rows = [[name.replace("_", " "), getattr(request, name)] for name in names]
    out().print(table(f"request {request.id}", ["", ""], rows))


def _cells(request: Request) -> list[object]:
    decided = None if request.decision is None else f"{request.decision} by {request.decided_by}"
    if request.decision == "approved" and request.carried_out_at is None:
        decided = f"{decided}, not carried out yet: approve again"
    amount = None if request.amount_minor is None else f"{request.amount_minor} {request.currency}"
    return [
        request.id, request.kind, request.intent_id, request.psp, amount, request.requested_by, request.requested_at,
        decided,
    ]  # fmt: skip
