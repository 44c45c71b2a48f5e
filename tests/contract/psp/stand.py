"""What a PSP folder's tests provide, so that the contract suite can try its adapter against its sandbox.

A folder `adapters/<psp>/` with a manifest has its stand in `tests/contract/psp/<psp>_stand.py`: an asynchronous
context manager ``open_stand()`` that starts a sandbox and gives a `Stand`. Scenarios are in the sandboxes' words.
"""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Literal, Protocol

from adapters.runtime.psp import Call, Psp

Where = Literal["submit", "inquire", "prepare", "cancel"]


class Stand(Protocol):
    """One adapter with its sandbox."""

    @property
    def psp(self) -> Psp:
        """The adapter."""
        ...

    @property
    def personal(self) -> Sequence[str]:
        """Values among the destinations that nobody may see: proxies, names."""
        ...

    def call(self, operation: str, *, scenario: str = "success", on: Where = "submit", timeout_s: float = 10.0) -> Call:
        """Describe a call about a new job, under a reference of its own, that goes as the scenario says.

        The scenario is for the calls named by `on` only; everything else about the job goes well.
        """
        ...

    async def paid(self, reference: str) -> int:
        """Return how often the PSP's books say that money moved under our reference."""
        ...

    async def pay(self, reference: str) -> None:
        """Money in: have somebody pay."""
        ...

    async def age(self, seconds: float) -> None:
        """Move the PSP's clock ahead."""
        ...

    def out_of_reach(self) -> AbstractAsyncContextManager[None]:
        """Refuse every connection for the length of a block."""
        ...

    async def callback(self, reference: str) -> tuple[dict[str, str], bytes] | None:
        """Return a genuine callback about a reference, headers and body; None if the PSP sends none."""
        ...
