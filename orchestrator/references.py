"""Our reference at a PSP: short, in the PSP's own alphabet, and the same whenever it is worked out again. Pure.

It follows from the intent and the attempt alone. A PSP's alphabet and length may leave few bits, so two intents can
hash to one reference: the database, where every reference is claimed before anything is sent, decides who has it.
"""

import hashlib
from uuid import UUID

from shared.psp import ReferenceFormat


def reference_for(intent: UUID, attempt: int, form: ReferenceFormat) -> str:
    """Return the reference of one attempt at a PSP that takes references of `form`."""
    digest = hashlib.sha256(intent.bytes + bytes([attempt])).digest()
    rest, base = int.from_bytes(digest), len(form.alphabet)
    characters: list[str] = []
    for _ in range(form.length):
        rest, digit = divmod(rest, base)
        characters.append(form.alphabet[digit])
    return "".join(characters)
