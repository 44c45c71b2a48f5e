"""Control: by which tests set the stage, look into the books and turn the knobs. On a port of its own, never closed.

=======  ==========================  ==============================================================================
GET      /livez /readyz              200 while the sandbox runs
GET      /control/books              what really happened; ``?reference=`` for one reference
GET      /control/calls              calls of the API, oldest first; ``?reference=``, ``?operation=``; an ``outcome`` of
                                     null is a call that is still being served, ``committed`` says what it did
GET      /control/callbacks          callbacks with their attempts and answers; ``?reference=``
POST     /control/callbacks          ``{reference, status?, amountMinor?, manner?, copies?}``: tell (again, or a lie)
GET      /control/scenarios          the rules in force
POST     /control/scenarios          ``{scenario, on?, times?, match?}`` → ``{ruleId}``
DELETE   /control/scenarios[/<id>]   take rules back
POST     /control/outage             ``{seconds, mode: refuse | unavailable, retryAfterS?}``
DELETE   /control/outage             end it now
GET      /control/clock              ``{nowMs, aheadMs}``
POST     /control/clock              ``{advanceMs}``: what would expire or fall due by then, does
GET      /control/terms              the terms in force
PATCH    /control/terms              any of them, in camel case
POST     /control/settlement-files   ``{folder, day?, name?}`` → ``{name, sha256, bytes, lines}``: write the file of a
                                     business day out of the books, with its manifest
=======  ==========================  ==============================================================================

``on`` is an operation, several, or ``"*"``; by default the one that moves money. ``times`` limits a rule to the next
calls that fit. ``match`` asks for request fields by name, as text; ``reference`` is the partner's own.
Errors are ``{"code", "detail"}``. This module must never change the books in a way that a provider could not.
"""

from dataclasses import asdict
from typing import Annotated

from aiohttp import web
from pydantic import Field, ValidationError
from pydantic.alias_generators import to_camel

from adapters.sandbox.answers import Body, Refused, read_body, refuse_invalid
from adapters.sandbox.callbacks import ACTION, Manner
from adapters.sandbox.outage import SECONDS_MAX, Mode
from adapters.sandbox.parts import Parts, Provider
from adapters.sandbox.scenario import BadScenario
from adapters.sandbox.script import AMOUNT_MINOR_MAX, MS_MAX
from adapters.sandbox.stage import Rule


class NewRule(Body):
    """POST /control/scenarios."""

    scenario: str = Field(max_length=400)
    on: str | list[str] | None = None
    times: Annotated[int, Field(ge=1)] | None = None
    match: dict[str, str] = Field(default_factory=dict)


class NewOutage(Body):
    """POST /control/outage."""

    seconds: float = Field(gt=0, le=SECONDS_MAX)
    mode: Mode = "refuse"
    retry_after_s: Annotated[int, Field(ge=0)] | None = None


class NewCallback(Body):
    """POST /control/callbacks."""

    reference: str
    status: str | None = None
    amount_minor: int | None = Field(default=None, ge=1, le=AMOUNT_MINOR_MAX)
    manner: Manner = "genuine"
    copies: int = Field(default=1, ge=1, le=100)


class ClockMove(Body):
    """POST /control/clock."""

    advance_ms: int = Field(ge=0, le=31 * 24 * MS_MAX)


class Control:
    """The handlers of control that every sandbox has."""

    def __init__(self, *, parts: Parts, provider: Provider) -> None:
        self._parts = parts
        self._provider = provider

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.get("/livez", self.alive),
            web.get("/readyz", self.alive),
            web.get("/control/books", self.books),
            web.get("/control/calls", self.calls),
            web.get("/control/callbacks", self.callbacks),
            web.post("/control/callbacks", self.tell),
            web.get("/control/scenarios", self.rules),
            web.post("/control/scenarios", self.add_rule),
            web.delete("/control/scenarios", self.remove_rules),
            web.delete("/control/scenarios/{rule}", self.remove_rules),
            web.post("/control/outage", self.begin_outage),
            web.delete("/control/outage", self.end_outage),
            web.get("/control/clock", self.time),
            web.post("/control/clock", self.advance),
            web.get("/control/terms", self.terms),
            web.patch("/control/terms", self.change_terms),
        ]

    async def alive(self, _request: web.Request) -> web.Response:
        """Say that we are here."""
        return web.json_response({"status": "ok"})

    async def books(self, request: web.Request) -> web.Response:
        """Show what really happened."""
        return web.json_response(self._provider.books(request.query.get("reference")))

    async def calls(self, request: web.Request) -> web.Response:
        """Show who called."""
        query = request.query
        served = self._parts.desk.served(operation=query.get("operation"), reference=query.get("reference"))
        shown = [{to_camel(name): value for name, value in asdict(line).items()} for line in served]
        return web.json_response({"calls": shown})

    async def callbacks(self, request: web.Request) -> web.Response:
        """Show what was told, and what the answers were."""
        tasks = self._parts.agenda.tasks(action=ACTION, reference=request.query.get("reference"))
        shown = [task.model_dump(mode="json", by_alias=True) for task in tasks]
        return web.json_response({"callbacks": shown})

    async def tell(self, request: web.Request) -> web.Response:
        """Send a callback out of turn."""
        wish = await read_body(request, NewCallback)
        task = self._parts.callbacks.send(
            self._provider.news(wish.reference),
            status=wish.status,
            amount_minor=wish.amount_minor,
            at_ms=self._parts.clock.now_ms(),
            manner=wish.manner,
            copies=wish.copies,
        )
        if task is None:
            raise Refused(409, "NO_CALLBACK_URL", "no callback URL is agreed")
        return web.json_response({"taskId": task.id}, status=202)

    async def rules(self, _request: web.Request) -> web.Response:
        """Show the rules in force."""
        return web.json_response({"rules": [_shown(rule) for rule in self._parts.stage.rules()]})

    async def add_rule(self, request: web.Request) -> web.Response:
        """Put a rule in force."""
        wish = await read_body(request, NewRule)
        try:
            rule = self._parts.stage.add(
                scenario=wish.scenario, on=self._operations(wish.on), match=wish.match, times=wish.times
            )
        except BadScenario as error:
            raise Refused(400, "INVALID_SCENARIO", str(error)) from None
        return web.json_response({"ruleId": rule.id}, status=201)

    async def remove_rules(self, request: web.Request) -> web.Response:
        """Take one rule back, or all."""
        return web.json_response({"removed": self._parts.stage.remove(request.match_info.get("rule"))})

    async def begin_outage(self, request: web.Request) -> web.Response:
        """Be out of order."""
        wish = await read_body(request, NewOutage)
        await self._parts.outage.begin(seconds=wish.seconds, mode=wish.mode, retry_after_s=wish.retry_after_s)
        return web.json_response({"status": "out_of_order"})

    async def end_outage(self, _request: web.Request) -> web.Response:
        """Be in order."""
        await self._parts.outage.end()
        return web.json_response({"status": "ok"})

    async def time(self, _request: web.Request) -> web.Response:
        """Show the sandbox's time."""
        clock = self._parts.clock
        return web.json_response({"nowMs": clock.now_ms(), "aheadMs": clock.ahead_ms})

    async def advance(self, request: web.Request) -> web.Response:
        """Move the sandbox's time ahead."""
        wish = await read_body(request, ClockMove)
        self._parts.clock.advance(wish.advance_ms)
        self._parts.agenda.wake()
        return await self.time(request)

    async def terms(self, _request: web.Request) -> web.Response:
        """Show the terms in force."""
        return web.json_response(self._parts.contract.terms.model_dump(mode="json", by_alias=True))

    async def change_terms(self, request: web.Request) -> web.Response:
        """Change some of the terms."""
        try:
            changes = await request.json()
        except ValueError:
            raise Refused(400, "INVALID_REQUEST", "body: no JSON") from None
        if not isinstance(changes, dict):
            raise Refused(400, "INVALID_REQUEST", "body: no object")
        try:
            self._parts.contract.change(changes)
        except ValidationError as error:
            refuse_invalid(error)
        return await self.terms(request)

    def _operations(self, on: str | list[str] | None) -> frozenset[str] | None:
        stage = self._parts.stage
        if on == "*":
            return None
        named = {stage.main} if on is None else {on} if isinstance(on, str) else set(on)
        if not named <= stage.operations:
            raise Refused(400, "INVALID_SCENARIO", f"operations are {', '.join(sorted(stage.operations))}")
        return frozenset(named)


def _shown(rule: Rule) -> dict[str, object]:
    return {
        "ruleId": rule.id,
        "scenario": rule.scenario.text,
        "on": "*" if rule.on is None else sorted(rule.on),
        "match": dict(rule.match),
        "timesLeft": rule.times_left,
        "hits": rule.hits,
    }
