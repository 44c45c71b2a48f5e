"""A client under load: it pays, repeats itself, makes mistakes, and never lets go of a request before it is answered.

A request that is cut off, or answered 503, is sent again under the same key until there is an answer, as a real
client would. Every choice comes from the random source it is given; only the timing is the machine's.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, Final

import aiohttp
from redis.exceptions import RedisError

from gateway.accept import partition_for
from ops.client import Client
from shared.streams import keys
from tests.chaos.clock import lapse
from tests.chaos.journal import Journal, Operation, Story
from tests.chaos.mesh import PARTITIONS, SERVICE_KEY, Mesh
from tests.waiting import until

CURRENCY: Final = "THB"
RICH_MINOR: Final = 10**9
"""What a rich wallet is given: more than it can spend."""
TIGHT_MINOR: Final = 2_000
"""What a tight wallet is given: it runs short, depending on who comes first."""

_TICK_S: Final = 0.01
_REQUEST_TIMEOUT_S: Final = 8.0
_PAUSES_S: Final = (0.02, 0.05, 0.1, 0.2)
_ANSWER_TIMEOUT_S: Final = 90.0
_LATELY: Final = 500
SETTLED: Final = frozenset({"SETTLED"})
REJECTED: Final = frozenset({"REJECTED"})
NOWHERE: Final[frozenset[str]] = frozenset()


@dataclass(frozen=True, slots=True)
class Wallets:
    """The wallets of one test."""

    rich: tuple[str, ...]
    tight: tuple[str, ...]
    empty: str
    """Has nothing and never gets anything."""
    missing: str
    """Was never opened."""

    @classmethod
    def of(cls, tag: str) -> "Wallets":
        """Name the wallets of a test."""
        return cls(
            tuple(_wallet(f"{tag}-rich{number}") for number in range(12)),
            tuple(_wallet(f"{tag}-tight{number}") for number in range(6)),
            _wallet(f"{tag}-empty"),
            _wallet(f"{tag}-missing"),
        )

    @property
    def opened(self) -> tuple[str, ...]:
        """Every wallet that exists."""
        return (*self.rich, *self.tight, self.empty)


def pay(payer: str, payee: str, amount_minor: int) -> dict[str, Any]:
    """A transfer between two wallets, as posted."""
    return {
        "operation_type": "P2P_TRANSFER",
        "from_account": payer,
        "to_account": payee,
        "amount_minor": amount_minor,
        "currency": CURRENCY,
    }


def adjust(account: str, direction: str, amount_minor: int) -> dict[str, Any]:
    """An adjustment of a wallet, as posted."""
    return {
        "operation_type": "ADJUSTMENT",
        "account": account,
        "direction": direction,
        "amount_minor": amount_minor,
        "currency": CURRENCY,
    }


def payer_of(operation: Operation) -> str:
    """Return the user who must have signed, empty where none must."""
    return str(operation["from_account"]).split(":")[1] if operation["operation_type"] == "P2P_TRANSFER" else ""


@dataclass(slots=True)
class Load:
    """Steady load on a mesh: about `rate_per_s` requests, at most `in_flight_max` of them unanswered."""

    mesh: Mesh
    journal: Journal
    rng: Random
    rate_per_s: float = 300.0
    in_flight_max: int = 200
    wait_share: float = 0.1
    """How many requests ask the gateway to wait for the decision."""
    _tasks: set["asyncio.Task[None]"] = field(default_factory=set)
    _wallets: Wallets = field(init=False)

    def __post_init__(self) -> None:
        self._wallets = Wallets.of(self.journal.tag)

    @property
    def client(self) -> Client:
        """The client whose signature holds."""
        return self.mesh.client

    async def open_wallets(self) -> None:
        """Open the wallets and fund them; the grants are part of the journal."""
        await asyncio.gather(*(self._open(name) for name in self._wallets.opened))
        await asyncio.gather(
            *(self._fund(name, RICH_MINOR) for name in self._wallets.rich),
            *(self._fund(name, TIGHT_MINOR) for name in self._wallets.tight),
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Send requests until `stop`, then stay until every one of them is answered.

        Raises:
            AssertionError: a request was not answered in time.
        """
        steps = self._steps()
        started_s, sent = time.monotonic(), 0
        while not stop.is_set():
            owed = int((time.monotonic() - started_s) * self.rate_per_s) - sent
            room = self.in_flight_max - len(self._tasks)
            for _ in range(min(owed, room)):
                self._spawn(self._choose(steps)())
            sent += owed  # what there was no room for is not made up for
            await lapse(_TICK_S, unless=stop)
        await self.answered()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keep the load up for the length of the block, then stay until everything is answered."""
        stop = asyncio.Event()
        sending = asyncio.create_task(self.run(stop))
        try:
            yield
        finally:
            stop.set()
            await sending

    async def burst(self, count: int) -> None:
        """Send many plain payments at once and return when all are answered."""
        await asyncio.gather(*(self._pay() for _ in range(count)))

    async def answered(self) -> None:
        """Wait until every request so far has its answer."""
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=_ANSWER_TIMEOUT_S)
            assert not late, f"{len(late)} requests had no answer {_ANSWER_TIMEOUT_S:.0f} s after the last fault"

    async def post(self, operation: Operation, *, lands: frozenset[str] = SETTLED, wait_s: int | None = None) -> Story:
        """Tell a new story to its end: post until answered."""
        story = self.journal.begin(operation, user_id=payer_of(operation), lands=lands)
        await self.insist(story, wait_s=wait_s)
        return story

    async def insist(
        self,
        story: Story,
        *,
        wait_s: int | None = None,
        operation: Operation | None = None,
        client: Client | None = None,
        idempotency_key: str | None = None,
        must_refuse: bool = False,
    ) -> None:
        """Post a story's request, or a variation of it, until somebody answers."""
        sender = client or self.client
        key = story.key if idempotency_key is None else idempotency_key
        pauses = iter(_PAUSES_S)
        pause_s = 0.0
        story.open += 1
        while True:
            try:
                async with asyncio.timeout(_REQUEST_TIMEOUT_S + (wait_s or 0)):
                    answer = await sender.post_intent(
                        operation or story.operation, idempotency_key=key, user_id=story.user_id, wait_s=wait_s
                    )
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                self.journal.cut_off(story, error)
            else:
                if self.journal.hear(story, answer, must_refuse=must_refuse):
                    break
            pause_s = next(pauses, pause_s)
            await lapse(pause_s)
        story.open -= 1

    # What a client does.

    def _steps(self) -> Mapping[Callable[[], Any], int]:
        return {
            self._pay: 70,
            self._pay_tight: 8,
            self._pay_from_empty: 5,
            self._pay_unknown: 3,
            self._adjust: 3,
            self._repeat: 5,
            self._post_twice_at_once: 2,
            self._repeat_otherwise: 1,
            self._repeat_forgotten: 1,
            self._err: 2,
        }

    def _choose(self, steps: Mapping[Callable[[], Any], int]) -> Callable[[], Any]:
        return self.rng.choices(list(steps), weights=list(steps.values()))[0]

    async def _pay(self) -> None:
        payer, payee = self.rng.sample(self._wallets.rich, 2)
        await self.post(pay(payer, payee, self.rng.randint(1, 500)), wait_s=self._patience())

    async def _pay_tight(self) -> None:
        payer, payee = self.rng.sample(self._wallets.tight, 2)
        await self.post(pay(payer, payee, self.rng.randint(200, 2000)), lands=SETTLED | REJECTED)

    async def _pay_from_empty(self) -> None:
        operation = pay(self._wallets.empty, self._rich(), self.rng.randint(1, 500))
        await self.post(operation, lands=REJECTED, wait_s=self._patience())

    async def _pay_unknown(self) -> None:
        await self.post(pay(self._rich(), self._wallets.missing, self.rng.randint(1, 500)), lands=REJECTED)

    async def _adjust(self) -> None:
        direction = self.rng.choice(("CREDIT", "DEBIT"))
        await self.post(adjust(self._rich(), direction, self.rng.randint(1, 500)))

    async def _repeat(self) -> None:
        """Ask again for what has been accepted: the answer must name the same intent."""
        if story := self._lately_accepted():
            await self.insist(story, wait_s=self._patience())

    async def _post_twice_at_once(self) -> None:
        payer, payee = self.rng.sample(self._wallets.rich, 2)
        operation = pay(payer, payee, self.rng.randint(1, 500))
        story = self.journal.begin(operation, user_id=payer_of(operation), lands=SETTLED)
        await asyncio.gather(self.insist(story), self.insist(story), self.insist(story, wait_s=1))

    async def _repeat_otherwise(self) -> None:
        """Use a key again for another request: never a second movement, and 422 while Redis remembers."""
        story = self._lately_accepted()
        if story is None or story.forgotten:
            return
        other = {**story.operation, "amount_minor": int(story.operation["amount_minor"]) + 1}
        await self.insist(story, operation=other, must_refuse=True)

    async def _repeat_forgotten(self) -> None:
        """Repeat a request whose key Redis has forgotten: the second intent must be an alias of the first."""
        story = self._lately_accepted()
        if story is None or story.open or story.refusals:
            return
        story.forgotten = True
        partition = partition_for(SERVICE_KEY, story.key, PARTITIONS)
        try:
            await self.mesh.stores.redis.delete(keys.idem(partition, SERVICE_KEY, story.key))
        except (RedisError, OSError):
            return  # the store is away: it may or may not have forgotten
        await self.insist(story)

    async def _err(self) -> None:
        """Send what must be refused: forged, without a key, with a field too many, or another user's."""
        operation = pay(self._rich(), self._rich(), self.rng.randint(1, 500))
        story = self.journal.begin(operation, user_id=payer_of(operation), lands=NOWHERE)
        match self.rng.randrange(4):
            case 0:
                forger = replace(self.client, secret=f"{self.client.secret}x")
                await self.insist(story, client=forger, must_refuse=True)
            case 1:
                await self.insist(story, idempotency_key="", must_refuse=True)
            case 2:
                await self.insist(story, operation={**operation, "colour": "red"}, must_refuse=True)
            case _:
                story.user_id = "somebody-else"
                await self.insist(story, must_refuse=True)

    # Choices.

    def _rich(self) -> str:
        return self.rng.choice(self._wallets.rich)

    def _patience(self) -> int | None:
        return 2 if self.rng.random() < self.wait_share else None

    def _lately_accepted(self) -> Story | None:
        lately: Sequence[Story] = self.journal.accepted[-_LATELY:]
        return self.rng.choice(lately) if lately else None

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.journal.faults.append(f"the client itself failed: {error!r}")

    async def _open(self, name: str) -> None:
        async def opened() -> bool:
            return (await self.client.open_account(name)).status in (200, 201)

        await until(opened, f"{name} to be open")

    async def _fund(self, name: str, amount_minor: int) -> None:
        story = await self.post(adjust(name, "CREDIT", amount_minor), wait_s=2)
        for intent in story.ids:
            await self.client.decided(intent, timeout_s=10)


def _wallet(owner: str) -> str:
    return f"user:{owner}:{CURRENCY}"
