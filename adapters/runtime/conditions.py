"""Whether the PSP may be called just now: kill switch, breaker, and room among the results.

One task looks at all three several times a second and reports what the process's own calls came to. What was seen
last is forgotten after `BLIND_S`: whoever cannot see the kill switch must not go on as if it were off. This module must
never decide about money; it only holds work back.
"""

import asyncio
import random
from collections.abc import Callable
from typing import Final

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from adapters.runtime.metrics import AdapterMetrics
from shared.errors import StoreMismatch, Transient
from shared.streams import keys
from shared.streams.breaker import OUTCOMES_MAX, Breaker, BreakerRules, BreakerState, may_probe, record
from shared.streams.client import command
from shared.streams.control import Control, read_control
from shared.streams.events import wait_up_to

BLIND_S: Final = 3.0
"""For how long the last look is believed."""
_SHORT_PAUSE_S: Final = 0.05
_GAUGE: Final = {BreakerState.CLOSED: 0, BreakerState.HALF_OPEN: 1, BreakerState.OPEN: 2}
_log = structlog.get_logger(__name__)


class Conditions:
    """The weather at one PSP, as this process sees it."""

    def __init__(
        self,
        *,
        client: Redis,
        psp: str,
        results_max: int,
        watch_ms: int,
        rules: BreakerRules,
        metrics: AdapterMetrics,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._client = client
        self._psp = psp
        self._results_max = results_max
        self._watch_s = watch_ms / 1000
        self._rules = rules
        self._metrics = metrics
        self._jitter = jitter
        self._outcomes: list[str] = []
        self._report = asyncio.Event()
        self._changed = asyncio.Event()
        self._seen_s: float | None = None
        self._control = Control()
        self._breaker = Breaker(BreakerState.CLOSED)
        self._results_full = False
        self._marked = True
        self._probe_refused = False

    @property
    def open(self) -> bool:
        """Whether jobs may be taken on."""
        return not (
            self._blind()
            or self._control.all_paused
            or self._results_full
            or self._breaker.state is BreakerState.OPEN
            or self._probe_refused
        )

    def may_submit(self, operation: str) -> bool:
        """Say whether the kill switch lets an operation be submitted."""
        return not (self._blind() or self._control.pauses(operation))

    async def may_call(self) -> bool:
        """Say whether the breaker lets a job make its first call; while it is half open, one caller at a time may."""
        if self._breaker.state is BreakerState.CLOSED:
            return True
        if self._breaker.state is BreakerState.OPEN:
            return False
        allowed = await may_probe(self._client, self._psp, rules=self._rules)
        self._probe_refused = not allowed
        return allowed

    def report(self, *, answered: bool) -> None:
        """Note what a call came to."""
        if len(self._outcomes) < OUTCOMES_MAX:
            self._outcomes.append("1" if answered else "0")
        self._report.set()

    async def gate(self, stop: asyncio.Event) -> None:
        """Wait until jobs may be taken on, or until `stop` is set."""
        while not self.open and not stop.is_set():
            # Cleared before the next look, so that no change is missed; a stop is noticed with the next look at most.
            self._changed.clear()
            await wait_up_to(self._changed, self._watch_s)

    async def watch(self, stop: asyncio.Event) -> None:
        """Look, and report, until `stop` is set."""
        while not stop.is_set():
            await self.look()
            self._report.clear()
            await wait_up_to(self._report, self._watch_s)
            if self._report.is_set():
                # A moment more, so that what follows is reported along with it.
                await asyncio.sleep(min(_SHORT_PAUSE_S, self._watch_s))

    async def check(self) -> None:
        """Raise unless the last look is fresh and the slot carries the mesh's mark, without which nothing is submitted.

        Raises:
            StoreMismatch: the mark is missing: the PSP was never registered here, or the store was emptied.
            Transient: nothing has been seen for a while.
        """
        if self._blind():
            raise Transient("kill switch and breaker have not been seen for a while")
        if not self._marked:
            raise StoreMismatch(f"slot {self._psp} carries no mark of a mesh")

    async def look(self) -> None:
        """Look once; an outage of the server changes nothing but how long ago the last look was."""
        outcomes, self._outcomes = "".join(self._outcomes), []
        try:
            breaker = await record(self._client, self._psp, outcomes, rules=self._rules, jitter=self._jitter())
            control = await read_control(self._client, self._psp)
            waiting: int = await command(self._client, "XLEN", keys.results(self._psp))
            marked = bool(await command(self._client, "EXISTS", keys.mesh(self._psp)))
        except (RedisError, OSError) as error:
            _log.warning("psp_conditions_unseen", psp=self._psp, error=type(error).__name__)
            return
        if breaker.state is not self._breaker.state:
            _log.warning("psp_breaker", psp=self._psp, state=breaker.state, was=self._breaker.state)
        if control != self._control:
            _log.warning("psp_control", psp=self._psp, paused=sorted(control.paused))
        if not marked and (self._marked or self._seen_s is None):
            _log.error("psp_slot_unmarked", psp=self._psp)
        self._breaker, self._control, self._marked = breaker, control, marked
        self._results_full = waiting >= self._results_max
        self._probe_refused = False
        self._seen_s = asyncio.get_running_loop().time()
        self._metrics.breaker.labels(self._psp).set(_GAUGE[breaker.state])
        self._metrics.paused.labels(self._psp).set(control.all_paused)
        self._changed.set()

    def _blind(self) -> bool:
        return self._seen_s is None or asyncio.get_running_loop().time() - self._seen_s > BLIND_S
