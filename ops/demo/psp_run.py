"""The second act from beginning to end: played, told, and held against the sandboxes' own books."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import aiohttp
from rich.console import Console

from adapters.sandbox.client import SandboxControl
from ops.client import Client
from ops.demo.play import Stage, Tally
from ops.demo.psp_play import Board, PspStage
from ops.demo.psp_script import PspScript
from ops.demo.psp_story import compare_books, tell
from ops.demo.psp_view import books_table, declines_table, psp_shown, story_table, topups_table
from ops.demo.view import balances_table, states_line, wrong_balances
from ops.embedded.stack import Stack
from ops.stores import open_stores

_CONTROL_TIMEOUT_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class _Act:
    console: Console
    stack: Stack
    script: PspScript
    ipps: SandboxControl
    qp: SandboxControl
    board: Board
    tally: Tally

    async def play(self, client: Client) -> Mapping[str, int]:
        """Play, and return what the wallets hold in the end."""
        script, console = self.script, self.console
        funder = Stage(client, Tally(), lambda: None)
        await funder.open_wallets(script.wallets)
        await funder.play(script.funding)
        self.tally.faults += funder.tally.faults
        payouts, topups = len(script.payouts), len(script.topups)
        console.print(
            f"withdrawing {payouts} times through PromptPay and Thai QR codes, topping up {topups} through SBP"
        )
        started = time.monotonic()
        with psp_shown(console, self.board, script) as view:
            stage = Stage(client, self.tally, view.changed)
            await PspStage(stage, self.ipps, self.qp, self.board, view.show_code, view.moved).play(script)
        states = states_line(self.tally)
        console.print(f"{payouts} payouts, {topups} top-ups in {time.monotonic() - started:.1f} s: {states}")
        return await stage.balances(script.wallets)

    async def tell(self, held: Mapping[str, int], before: Mapping[str, int]) -> list[str]:
        """Show what came of it, and return what is wrong with that."""
        script, console = self.script, self.console
        console.print(declines_table(self.board, script))
        console.print(topups_table(self.board, script))
        faults = await self._tell_doubts()
        console.print(balances_table(held, script.expected_minor))
        rows, differences = await compare_books(ipps=self.ipps, qp=self.qp, script=script, held=held, before=before)
        console.print(books_table(rows))
        return [*faults, *wrong_balances(held, script.expected_minor), *differences]

    async def _tell_doubts(self) -> list[str]:
        faults = []
        self.console.print("how a payout is settled whose answer is lost", style="bold")
        async with open_stores(self.stack.stores.settings()) as stores:
            for payout in self.script.doubts:
                story = await tell(stores.pool, self.ipps, self.board, payout)
                self.console.print(story_table(story))
                faults += [f"{story.name}: {fault}" for fault in story.faults]
        return faults


async def play_psps(console: Console, stack: Stack, client: Client, script: PspScript) -> list[str]:
    """Play the act and return every expectation that did not hold."""
    timeout = aiohttp.ClientTimeout(total=_CONTROL_TIMEOUT_S)
    async with aiohttp.ClientSession(timeout=timeout) as http:
        controls = {place.psp: SandboxControl(http=http, control_url=place.control_url) for place in stack.psps}
        before = {psp: int((await control.books())["paidMinor"]) for psp, control in controls.items()}
        act = _Act(console, stack, script, controls["ipps"], controls["qp"], Board(), Tally())
        held = await act.play(client)
        return [*act.tally.faults, *await act.tell(held, before)]
