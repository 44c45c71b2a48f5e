"""What was asked for makes sense, and how things stand refuses it.

This module must never be used for words that nobody could understand: those are `BadInput` and nothing more.
"""

from shared.errors import BadInput


class Refused(BadInput):
    """The state of what was named does not allow it, or nothing of that name is there."""

    code = "refused"
