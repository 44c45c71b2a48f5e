"""Lua scripts: the text is read once, sent once, and afterwards called by its hash.

A server forgets its scripts when it restarts or fails over, so every call must be ready to send the text again. A
script must never be sent twice for any other reason: EVALSHA answered NOSCRIPT is the one case in which nothing ran.
"""

from collections.abc import Sequence
from functools import cached_property
from hashlib import sha1
from importlib.resources import files
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import NoScriptError

from shared.streams.client import command

Argument = str | bytes | int


class Script:
    """A script of `shared/streams/lua`, optionally preceded by files of shared Lua functions."""

    def __init__(self, name: str, *preludes: str) -> None:
        self.name = name
        self._preludes = preludes

    @cached_property
    def text(self) -> str:
        """The whole Lua text."""
        folder = files("shared.streams") / "lua"
        return "\n".join((folder / f"{part}.lua").read_text("utf-8") for part in (*self._preludes, self.name))

    @cached_property
    def sha(self) -> str:
        """What the server calls it."""
        return sha1(self.text.encode(), usedforsecurity=False).hexdigest()

    async def run(self, client: Redis, keys: Sequence[str], args: Sequence[Argument]) -> Any:
        """Call the script and return its raw reply."""
        try:
            return await command(client, "EVALSHA", self.sha, len(keys), *keys, *args)
        except NoScriptError:
            return await command(client, "EVAL", self.text, len(keys), *keys, *args)
