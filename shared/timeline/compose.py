"""Facts into a story: what happened in its order, what it comes to, and what happens next. Pure.

A kind of fact that nobody here knows is told by its name: more is better than nothing at night. This module must
never read a clock or a store, and is given nothing that is sealed.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, Final

from shared.ids import IntentId, unix_ms_of
from shared.ledger.codes import LegCode
from shared.money import Money, currency
from shared.rules.limits import AT_ONCE
from shared.states import IntentState
from shared.timeline.effects import effects_of
from shared.timeline.outlook import outlook
from shared.timeline.story import Child, Event, Fact, Known, Timeline

_Teller = Callable[[Fact], Iterable[Event]]
_MEANINGS: Final = {
    IntentState.VALIDATED: "its whole plan is written down, no money touched",
    IntentState.AUTHORIZED: "funds are held, or somebody is asked to pay",
    IntentState.IN_DOUBT: "a call to the PSP may have happened, and nobody knows what became of it",
    IntentState.SETTLED: "the money has moved",
    IntentState.FAILED: "what was held is released",
    IntentState.EXPIRED: "nobody paid",
    IntentState.REJECTED: "refused, no money was held",
    IntentState.DUPLICATE: "another name for an earlier intent",
}
_TIMINGS: Final = {"PRE": "on top", "POST": "out of the amount"}
_DOES: Final = {"move": "moves", "hold": "holds", "post": "posts", "void": "gives back"}
_RANKS: Final = (
    "accepted", "plan", "reference", "state", "ledger", "movement", "outbox", "permit", "psp", "callback", "verdict",
    "settlement", "resolution", "child", "alert", "dead_letter", "operator",
)  # fmt: skip
"""The order of what bears one time: most of it comes from one transaction."""


def compose(known: Known, *, now: datetime) -> Timeline:
    """Tell an intent from everything that is known of it."""
    intent = known.one("intent")
    body = intent.body if intent is not None else {}
    effects, by = effects_of(known)
    return Timeline(
        id=str(known.intent),
        state=body.get("state", IntentState.CREATED),
        funds=body.get("funds", "none"),
        headline=_headline(body),
        events=_told(_beginning(known), has_ledger=known.ledger_read),
        effects=effects,
        effects_by=by,
        next=outlook(known, now=now),
        children=tuple(_child(str(child), facts) for child, facts in known.children.items()),
        missing=known.missing,
    )


def _beginning(known: Known) -> Iterable[Fact]:
    """Return its facts, from its acceptance on: before anybody has looked at it, its id is all that tells of that."""
    if known.one("intent") is not None:
        return known.own
    accepted_at = datetime.fromtimestamp(unix_ms_of(IntentId(known.intent)) / 1000, UTC)
    return Fact(known.intent, "accepted", accepted_at), *known.own


def _told(facts: Iterable[Fact], *, has_ledger: bool) -> tuple[Event, ...]:
    """Tell facts in their order; what the ledger has told, its projection need not repeat."""
    events = [
        event
        for fact in facts
        if not (has_ledger and fact.kind == "movement")
        for event in _TELLERS.get(fact.kind, _unknown)(fact)
    ]
    return tuple(sorted(events, key=_order))


def _order(event: Event) -> tuple[bool, datetime, int, int, str]:
    """Order events by time; acceptance comes first whatever the clock of whoever made the id says."""
    rank = _RANKS.index(event.source) if event.source in _RANKS else len(_RANKS)
    detail = event.detail
    place = detail.get("seq") or detail.get("leg") or 0
    return event.source != "accepted", event.at, rank, place, detail.get("transfer_id", "")


def _child(child: str, facts: tuple[Fact, ...]) -> Child:
    own = next((fact.body for fact in facts if fact.kind == "intent"), {})
    short = [fact for fact in facts if fact.kind in ("intent", "step", "dead_letter")]
    return Child(
        id=child,
        operation_type=own.get("operation_type", "unknown"),
        state=own.get("state", IntentState.CREATED),
        events=_told(short, has_ledger=False),
    )


def _headline(body: Mapping[str, Any]) -> str:
    if not body:
        return "accepted; nobody has looked at it yet"
    return f"{body['operation_type']} of {money(body)}{_owner(body)}"


def _owner(body: Mapping[str, Any]) -> str:
    if body.get("parent_id"):
        return f", opened for intent {body['parent_id']} by what its PSP said"
    user = f" for user {body['user_id']}" if body.get("user_id") else ""
    return f", posted with key {body['service_key_id']}{user}"


def money(body: Mapping[str, Any]) -> str:
    """Write the amount of a fact for people."""
    return str(Money(int(body["amount_minor"]), currency(body["currency"])))


def _accepted(fact: Fact) -> Iterable[Event]:
    yield Event(fact.at, "accepted", _headline(fact.body), _without(fact.body, "state", "funds", "next_poll_at"))


def _waits(fact: Fact) -> Iterable[Event]:
    yield Event(fact.at, "accepted", _headline({}))


def _plan(fact: Fact) -> Iterable[Event]:
    body = fact.body
    legs = body["legs"] or []
    route = body.get("route") or {}
    chosen = f"by route {route['id']}, version {route['version']}" if route.get("id") else "by no route"
    over = route.get("passed_over") or []
    instead = f" instead of {', '.join(f'{channel} ({reason})' for channel, reason in over)}" if over else ""
    verb = {"hold": "holds", "credit": "will credit, once paid,"}.get(body.get("kind") or "", "moves")
    asks = f"; asks {body['psp']} for {body['operation']} as {body['reference']}" if body.get("psp") else ""
    channel = f"{body['channel']}{instead}"
    text = f"attempt {body['attempt']} goes through {channel} ({chosen}): {verb} {_way(legs)}{asks}{_ruled(body)}"
    yield Event(fact.at, "plan", text, _without(body, "burned_at"))
    if body.get("burned_at"):
        burned = datetime.fromisoformat(body["burned_at"])
        yield Event(burned, "plan", f"attempt {body['attempt']} is burned: nothing of it can ever move", body)


def _ruled(body: Mapping[str, Any]) -> str:
    """Tell the fees that a plan charges and the allowances that it uses."""
    fees = [
        f"{_amount(amount, beneficiary)} to {beneficiary} {_TIMINGS.get(timing, timing)} by {rule} version {version}"
        for rule, version, timing, amount, beneficiary in body.get("fees") or ()
    ]
    uses = [
        f"{_units(measure, units, account)} of {_units(measure, cap, account)} in {account.rpartition(':')[2]}"
        f" by {rule} version {version}"
        for rule, version, measure, account, units, cap, _ in body.get("limits") or ()
    ]
    told = [f"; fees: {', '.join(fees)}" if fees else "", f"; allowances: {', '.join(uses)}" if uses else ""]
    return "".join(told)


def _units(measure: str, units: int, allowance: str) -> str:
    """Write what is used of an allowance, whose name has its currency in fourth place."""
    return (
        money({"amount_minor": units, "currency": allowance.split(":")[3]})
        if measure == "amount"
        else f"{units} intents"
    )


def _way(legs: list[list[Any]]) -> str:
    """Write legs as one way where each begins where the one before ended."""
    if not legs:
        return "nothing"
    one_way = all(before[1] == after[0] and before[2] == after[2] for before, after in pairwise(legs))
    if one_way:
        return f"{_amount(legs[0][2], legs[0][0])} {' → '.join([legs[0][0], *(leg[1] for leg in legs)])}"
    return ", ".join(f"{_amount(leg[2], leg[0])} {leg[0]} → {leg[1]}" for leg in legs)


def _amount(amount_minor: int, account: str) -> str:
    """Write an amount in the currency of an account; one whose name is not known tells no currency."""
    if ":" not in account:
        return f"{amount_minor} minor units"
    return money({"amount_minor": amount_minor, "currency": account.rpartition(":")[2]})


def _step(fact: Fact) -> Iterable[Event]:
    body = fact.body
    why = f" because of {body['error']}{_by(body)}" if body.get("error") else ""
    meaning = _MEANINGS.get(body["to_state"], "")
    watchers = body.get("monitored_by") or []
    watched = ", ".join(f"{one['rule']} version {one['version']}" for one in watchers)
    to_watch = f"; to be watched, by {watched}" if watched else ""
    text = f"{body['from_state']} → {body['to_state']}{why}: {meaning}{to_watch}"
    yield Event(fact.at, "state", text, _without(body))


def _by(body: Mapping[str, Any]) -> str:
    """Tell which rule refused, and of a limit what was left of it and when it begins anew."""
    limit = body.get("limit")
    if not limit:
        return f" by {body['rule']} version {body['version']}" if body.get("rule") else ""

    def units(count: int) -> str:
        return money({**body, "amount_minor": count}) if limit["measure"] == "amount" else f"{count} intents"

    left = f"{units(limit['left'])} left of " if limit.get("left") is not None else "at most "
    anew = f", anew at {limit['resets_at']}" if limit.get("resets_at") else ""
    when = "at once" if limit["period"] == AT_ONCE else f"in {limit['period']}"
    return f" by {limit['rule']} version {limit['version']} ({left}{units(limit['cap'])} {when}{anew})"


def _movement(fact: Fact) -> Iterable[Event]:
    body = fact.body
    amount = _amount(body["amount_minor"], body["account"])
    yield Event(fact.at, "movement", f"{body['account']} {amount} ({_code(body['code'])})", body)


def _code(code: int) -> str:
    return LegCode(code).name if code in LegCode.__members__.values() else f"code {code}"


def _transfer(fact: Fact) -> Iterable[Event]:
    body = fact.body
    way = f"{_amount(body['amount_minor'], body['debit'])} {body['debit']} → {body['credit']}"
    yield Event(fact.at, "ledger", f"{_DOES[body['type']]} {way}{_since(body)}", body)


def _since(body: Mapping[str, Any]) -> str:
    """Tell what has become of a hold."""
    if body["type"] != "hold":
        return ""
    if body["open"]:
        return ": still held"
    posted = body["posted_minor"]
    return f": {_amount(posted, body['debit'])} of it posted since" if posted else ": given back since"


def _job(fact: Fact) -> Iterable[Event]:
    body = fact.body
    words = f"{body['action']} for {body['psp']}"
    yield Event(fact.at, "outbox", f"{words} is written to the outbox, attempt {body['attempt']}", body)
    if body.get("sent_at"):
        sent = datetime.fromisoformat(body["sent_at"])
        yield Event(sent, "outbox", f"{words} leaves the outbox for the adapters", body)


def _reference(fact: Fact) -> Iterable[Event]:
    body = fact.body
    ids = ", ".join(f"{name} {value}" for name, value in (body.get("psp_ids") or {}).items())
    calls = f"; {body['psp']} calls it {ids}" if ids else ""
    yield Event(fact.at, "reference", f"known to {body['psp']} as {body['reference']}{calls}", body)


def _permit(fact: Fact) -> Iterable[Event]:
    body = fact.body
    if body.get("barred"):
        yield Event(fact.at, "permit", f"the permit is barred: {body['psp']} is only asked about it from now on", body)
        return
    text = (
        f"an adapter takes the permit to submit to {body['psp']}: from here on the call may have happened"
        if body["state"] == "TAKEN"
        else f"the permit is cancelled by {body['who']}: it was never submitted to {body['psp']} and never will be"
    )
    yield Event(fact.at, "permit", text, body)


def _said(fact: Fact) -> Iterable[Event]:
    body = fact.body
    who = {
        "job": f"{body['psp']} answers {body.get('action') or 'a job'}",
        "callback": f"{body['psp']} calls back",
        "verdict": f"a verdict on {body.get('action') or 'a job'} at {body['psp']}",
        "settlement": f"a settlement file of {body['psp']} says",
    }.get(body["source"], body["psp"])
    what = [body["outcome"]]
    if body.get("code"):
        what.append(body["code"])
    if body.get("amount_minor") and body.get("currency"):
        what.append(money(body))
    if body.get("psp_transaction_id"):
        what.append(f"as {body['psp_transaction_id']}")
    what += [word for word in ("final", "fenced") if body.get(word)]
    said = ", ".join(f"{name} {value}" for name, value in (body.get("summary") or {}).items())
    more = "; ".join(part for part in (body.get("detail"), said) if part)
    sources = {"callback": "callback", "verdict": "verdict", "settlement": "settlement"}
    text = f"{who}: {' '.join(what)}{f' ({more})' if more else ''}"
    yield Event(fact.at, sources.get(body["source"], "psp"), text, body)


def _resolution(fact: Fact) -> Iterable[Event]:
    body = fact.body
    what = {
        "post": "what is held is posted",
        "void": "what is held is given back",
        "credit": "what was paid is credited",
        "close": "it is closed without money",
    }[body["kind"]]
    payment = f" for payment {body['psp_transaction_id']}" if body.get("psp_transaction_id") else ""
    why = f" because of {body['code']}" if body.get("code") else ""
    yield Event(fact.at, "resolution", f"resolved: {what}{payment}, which leads to {body['state']}{why}", body)


def _opened(fact: Fact) -> Iterable[Event]:
    body = fact.body
    text = f"payment {body['psp_transaction_id']} opens {body['purpose']}, intent {body['id']}"
    yield Event(fact.at, "child", text, body)


def _alert(fact: Fact) -> Iterable[Event]:
    body = fact.body
    times = f", seen {body['seen']} times" if body["seen"] > 1 else ""
    stands = "closed" if body.get("closed_at") else "open"
    yield Event(fact.at, "alert", f"{body['severity']} alert {body['kind']} ({stands}{times})", body)


def _deed(fact: Fact) -> Iterable[Event]:
    body = fact.body
    why = f", because: {body['reason']}" if body.get("reason") else ""
    detail = ", ".join(f"{name} {value}" for name, value in (body.get("detail") or {}).items())
    yield Event(fact.at, "operator", f"{body['actor']}: {body['action']}{f' ({detail})' if detail else ''}{why}", body)


def _dead_letter(fact: Fact) -> Iterable[Event]:
    body = fact.body
    error = f", {body['error_class']}: {body['error']}" if body.get("error_class") else ""
    replays = f", replayed {body['replay_count']} times before" if body.get("replay_count") else ""
    text = f"dead letter {body['address']}: {body['reason']} after {body['deliveries']} deliveries{error}{replays}"
    yield Event(fact.at, "dead_letter", text, body)


def _nothing(_fact: Fact) -> Iterable[Event]:
    """Tell nothing: it says how things stand, which `outlook` tells."""
    return ()


def _unknown(fact: Fact) -> Iterable[Event]:
    yield Event(fact.at, fact.kind, fact.kind.replace("_", " "), fact.body)


def _without(body: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name not in names and value is not None}


_TELLERS: Final[Mapping[str, _Teller]] = {
    "accepted": _waits,
    "intent": _accepted,
    "plan": _plan,
    "step": _step,
    "movement": _movement,
    "transfer": _transfer,
    "job": _job,
    "reference": _reference,
    "permit": _permit,
    "said": _said,
    "resolution": _resolution,
    "child": _opened,
    "alert": _alert,
    "deed": _deed,
    "dead_letter": _dead_letter,
    "request": _nothing,
    "pause": _nothing,
    "marker": _nothing,
}
