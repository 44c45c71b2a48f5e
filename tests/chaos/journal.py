"""What the client knows: everything it asked for, under which key, and every answer it heard.

The journal is the client's side of the proof, so nothing enters it but what came back over HTTP.
"""

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ops.client import Answer

Operation = Mapping[str, Any]


@dataclass(slots=True)
class Story:
    """One idempotency key: what was asked for under it, and what was heard."""

    key: str
    operation: Operation
    user_id: str
    lands: frozenset[str] = frozenset()
    """The states in which it may end; empty where it must not be accepted at all."""
    ids: set[str] = field(default_factory=set)
    """Every intent that a 200 or 202 has named."""
    refusals: Counter[str] = field(default_factory=Counter)
    """Definite refusals, by the problem's code: nothing was accepted by that request."""
    unanswered: int = 0
    """Requests that were cut off; each was asked again."""
    put_off: int = 0
    """Requests answered 503; each was asked again."""
    open: int = 0
    """Requests that are still being asked."""
    forgotten: bool = False
    """Whether Redis was made to forget the key, as it does after an hour: a second intent may then stand beside it."""


@dataclass(slots=True)
class Journal:
    """Every story of one test, and what no client should ever hear."""

    tag: str
    """What each key and wallet of the test begins with."""
    stories: dict[str, Story] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    codes: Counter[str] = field(default_factory=Counter)
    """Answers by HTTP status, and by the problem's code."""
    accepted: list[Story] = field(default_factory=list)
    """Stories in the order of their first acceptance."""
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def begin(self, operation: Operation, *, user_id: str, lands: frozenset[str]) -> Story:
        """Begin a story under a key that nobody has used."""
        story = Story(f"{self.tag}-{next(self._numbers)}", operation, user_id, lands)
        self.stories[story.key] = story
        return story

    def hear(self, story: Story, answer: Answer, *, must_refuse: bool) -> bool:
        """Write down an answer; say whether it is the last word on that request."""
        self.codes[f"{answer.status}"] += 1
        if answer.accepted:
            if must_refuse:
                self.faults.append(f"{story.key}: HTTP {answer.status} for what had to be refused")
            self._hear_accepted(story, answer)
            return True
        self.codes[answer.code or "no code"] += 1
        if answer.status == 503:
            story.put_off += 1
            if "Retry-After" not in answer.headers:
                self.faults.append(f"{story.key}: 503 {answer.code} without Retry-After")
            return False
        if answer.status >= 500:
            self.faults.append(f"{story.key}: HTTP {answer.status} {answer.code}")
            return False
        story.refusals[str(answer.code)] += 1
        if not must_refuse:
            self.faults.append(f"{story.key}: HTTP {answer.status} {answer.code} for what had to be accepted")
        return True

    def cut_off(self, story: Story, error: BaseException) -> None:
        """Write down a request that got no answer."""
        story.unanswered += 1
        self.codes[type(error).__name__] += 1

    @property
    def ids(self) -> set[str]:
        """Every accepted intent."""
        return {intent for story in self.accepted for intent in story.ids}

    def _hear_accepted(self, story: Story, answer: Answer) -> None:
        intent = answer.document.get("id")
        if not isinstance(intent, str):
            self.faults.append(f"{story.key}: accepted without an id")
            return
        if not story.ids:
            self.accepted.append(story)
        elif intent not in story.ids and not story.forgotten:
            self.faults.append(f"{story.key}: accepted as {intent} after it had been accepted as {story.ids}")
        story.ids.add(intent)
