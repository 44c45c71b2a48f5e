"""The HTTP server: routes a request to its handler, and whatever goes wrong to its problem document.

It stands on aiohttp's low-level server, since one table (`routes`) routes, counts and documents. Every failure
becomes a problem document here and nowhere else; what nobody foresaw becomes ``internal_error``, logged with its
trace and without anything of the request. This module must never let an exception's words reach a client unless
they are a `Problem`'s or a `BadInput`'s.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl, unquote

import structlog
from aiohttp import web

from gateway.calls import Call, Handler, trace_id
from gateway.metrics import UNROUTED, GatewayMetrics
from gateway.problems import PROBLEMS, Problem, new_correlation_id, problem_response
from gateway.routes import ROUTES, Route
from gateway.settings import KEEPALIVE_TIMEOUT_S, LINGERING_TIME_S
from shared.errors import BadInput, InvariantViolation, OutcomeUnknown, Transient

SLOW_S: Final = 1.0
"""A request that takes longer, waiting on the client's behalf left out, is logged."""
LINES_PER_SECOND_MAX: Final = 20
TARGET_CHARS_MAX: Final = 2048
OPERATORS_BUSINESS: Final = frozenset({"internal_error", "clock_skew", "wrong_mesh"})
"""Problems that do not pass by themselves."""

_log = structlog.get_logger(__name__)

_Methods = dict[str, tuple[Route, Handler]]


@dataclass(frozen=True, slots=True)
class _Pattern:
    segments: tuple[str, ...]
    methods: _Methods

    def match(self, segments: list[str]) -> dict[str, str] | None:
        if len(segments) != len(self.segments):
            return None
        params = {}
        for expected, segment in zip(self.segments, segments, strict=True):
            if expected.startswith("{"):
                params[expected[1:-1]] = unquote(segment)
            elif expected != segment:
                return None
        return params


class Router:
    """Finds the handler of a method and path."""

    def __init__(self, handlers: Mapping[str, Handler]) -> None:
        self._exact: dict[str, _Methods] = {}
        patterns: dict[str, _Methods] = {}
        for route in ROUTES:
            table = patterns if "{" in route.path else self._exact
            for path in (route.path, *route.aliases):
                table.setdefault(path, {})[route.method] = (route, handlers[route.name])
        self._patterns = [_Pattern(tuple(path.split("/")), methods) for path, methods in patterns.items()]

    def find(self, method: str, target: str) -> tuple[Route, Handler, dict[str, str], dict[str, str]]:
        """Return route, handler, path parameters and query parameters of a request target.

        Raises:
            Problem: ``not_found``, ``method_not_allowed``, ``bad_parameter`` or ``bad_request``.
        """
        if len(target) > TARGET_CHARS_MAX:
            raise Problem("bad_request", f"a request target has at most {TARGET_CHARS_MAX} characters")
        path, _, query = target.partition("?")
        methods, params = self._methods(path)
        found = methods.get("GET" if method == "HEAD" else method)
        if found is None:
            raise Problem("method_not_allowed", headers={"Allow": ", ".join(sorted(methods))})
        return *found, params, _query(query, found[0]) if query else {}

    def _methods(self, path: str) -> tuple[_Methods, dict[str, str]]:
        methods = self._exact.get(path)
        if methods is not None:
            return methods, {}
        segments = path.split("/")
        for pattern in self._patterns:
            params = pattern.match(segments)
            if params is not None:
                return pattern.methods, params
        raise Problem("not_found")


def _query(text: str, route: Route) -> dict[str, str]:
    try:
        pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=True, max_num_fields=8)
    except ValueError:
        raise Problem("bad_parameter", "the query cannot be read") from None
    query = dict(pairs)
    if len(query) != len(pairs) or not query.keys() <= route.query:
        known = ", ".join(sorted(route.query)) or "none"
        raise Problem("bad_parameter", f"a query parameter is unknown or stands there twice; known here: {known}")
    return query


class Edge:
    """Answers every request, one way or another."""

    def __init__(
        self,
        *,
        handlers: Mapping[str, Handler],
        metrics: GatewayMetrics,
        on_violation: Callable[[InvariantViolation], None],
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._router = Router(handlers)
        self._metrics = metrics
        self._on_violation = on_violation
        self._monotonic_s = monotonic_s
        self._second = 0
        self._lines = 0

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        start = self._monotonic_s()
        route_name = UNROUTED
        wait_s = 0.0
        headers: Mapping[str, str] = {}
        try:
            route, handler, params, query = self._router.find(request.method, request.raw_path)
            route_name = route.name
            call = Call(request, route_name, params, query)
            headers = call.headers
            response: web.StreamResponse = await handler(call)
            wait_s = call.wait_s
        except (Problem, BadInput, Transient, OutcomeUnknown) as error:
            response = self._refuse(request, route_name, _as_problem(error), error)
        if headers and not response.prepared:
            response.headers.update(headers)
        elapsed_s = self._monotonic_s() - start
        self._metrics.answered(route_name, response.status, elapsed_s)
        if elapsed_s - wait_s > SLOW_S and self._may_log():
            _log.warning("slow_request", route=route_name, status=response.status, ms=round(elapsed_s * 1000))
        return response

    def broken(self, request: web.BaseRequest, error: BaseException | None, *, foreseen: bool) -> web.Response:
        """Answer what could not be handled: bytes that are not HTTP (`foreseen`), or a fault of ours."""
        if isinstance(error, InvariantViolation):
            self._on_violation(error)
        code = "bad_request" if foreseen else "internal_error"
        problem = Problem(code, headers={"Connection": "close"})
        response = self._refuse(request, UNROUTED, problem, error)
        self._metrics.answered(UNROUTED, response.status, 0.0)
        return response

    def _refuse(
        self, request: web.BaseRequest, route_name: str, problem: Problem, error: BaseException | None
    ) -> web.Response:
        correlation_id = trace_id(request) or new_correlation_id()
        self._metrics.problems.labels(problem.code).inc()
        kind = problem.kind
        if kind.status >= 500 and self._may_log():  # noqa: PLR2004
            log = _log.error if kind.code in OPERATORS_BUSINESS else _log.warning
            log(
                "request_failed",
                route=route_name,
                code=kind.code,
                correlation_id=correlation_id,
                exc_info=error if kind.code == "internal_error" else None,
            )
        response = problem_response(problem, correlation_id=correlation_id)
        if problem.headers.get("Connection") == "close":
            response.force_close()
        return response

    def _may_log(self) -> bool:
        """Say whether this second has a line left: an outage must not become a flood of lines as well."""
        second = int(self._monotonic_s())
        if second != self._second:
            self._second, self._lines = second, 0
        self._lines += 1
        return self._lines <= LINES_PER_SECOND_MAX


def _as_problem(error: Problem | BadInput | Transient | OutcomeUnknown) -> Problem:
    match error:
        case Problem():
            return error
        case BadInput():
            return Problem(error.code if error.code in PROBLEMS else "bad_request", str(error))
        case _ if error.code.startswith("database"):
            return Problem("database_unavailable")
        case _ if error.code == "busy":
            return Problem("busy")
        case _:
            return Problem("stream_unavailable")


class Connection(web.RequestHandler):
    """One client connection; what aiohttp would answer in plain text becomes a problem document."""

    def __init__(self, manager: web.Server, *, edge: Edge, **options: Any) -> None:
        super().__init__(manager, **options)
        self._edge = edge

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - aiohttp's words quote the request
    ) -> web.StreamResponse:
        """Answer a request that could not be parsed, or whose handler failed."""
        return self._edge.broken(request, exc, foreseen=status == 400)  # noqa: PLR2004


class EdgeServer(web.Server):
    """Makes connections for one `Edge`."""

    def __init__(self, edge: Edge) -> None:
        super().__init__(edge.handle)
        self._edge = edge

    def __call__(self) -> web.RequestHandler:
        """Return the protocol of a new connection."""
        return Connection(
            self,
            edge=self._edge,
            loop=asyncio.get_running_loop(),
            access_log=None,
            keepalive_timeout=KEEPALIVE_TIMEOUT_S,
            lingering_time=LINGERING_TIME_S,
            auto_decompress=False,
        )
