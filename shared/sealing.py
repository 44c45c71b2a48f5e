"""Sealing: personal data and secrets become ciphertext before they enter any stream, table or file.

A sealed text reads ``<key id>:<nonce>:<ciphertext>``, the latter two in URL-safe base64 without padding. It is
AES-256-GCM (NIST SP 800-38D) under a sub-key of its context (an intent id, say), with a random 96-bit nonce and
``context NUL field`` as associated data, so that a value opens only in the place it was sealed for. Sub-keys come
from HKDF-SHA256 (RFC 5869); the extract step is done once per key, which leaves one HMAC per context.

A ring's first key writes; every key reads. A key must stay in the ring for as long as anything names it. This
module must never put a plaintext or a key into an exception, a repr or a log line.
"""

import base64
import binascii
import hmac
import os
import re
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Final, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from shared.errors import Misconfigured, Permanent

KEY_BYTES: Final = 32
KEYS_MAX: Final = 16
_NONCE_BYTES: Final = 12
_KEY_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,32}")
_SEALED: Final = re.compile(r"[A-Za-z0-9_-]{1,32}:[A-Za-z0-9_-]{16}:[A-Za-z0-9_-]{22,}")
_EXTRACT_SALT: Final = b"paymesh key ring v1"
_SEAL_INFO: Final = b"seal\0"
_FINGERPRINT_INFO: Final = b"fingerprint\0"
_MASK: Final = "***"


class BadKeyRing(Misconfigured):
    """The key ring cannot be read."""

    code = "bad_key_ring"


class CannotUnseal(Permanent):
    """A sealed value was changed, moved, or sealed under a key this ring does not hold."""

    code = "cannot_unseal"


@dataclass(frozen=True, slots=True)
class Key:
    """One key of the ring: its id, and what HKDF extracted from it."""

    id: str
    extracted: bytes = field(repr=False)
    fingerprint: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class KeyRing:
    """All live keys, the writing one first."""

    keys: tuple[Key, ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``kid:base64,kid2:base64``, separated by commas or line ends; each key is 32 bytes.

        Raises:
            BadKeyRing: saying which entry is at fault and why, never its value.
        """
        entries = [entry.strip() for entry in text.replace("\n", ",").split(",") if entry.strip()]
        if not 1 <= len(entries) <= KEYS_MAX:
            raise BadKeyRing(f"a key ring has 1 to {KEYS_MAX} keys, written kid:base64; this one has {len(entries)}")
        keys = tuple(_parse_key(number, entry) for number, entry in enumerate(entries, start=1))
        if len({key.id for key in keys}) < len(keys) or len({key.extracted for key in keys}) < len(keys):
            raise BadKeyRing("two entries of the key ring share an id or a key")
        return cls(keys)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a ring from a file that nobody but its owner may read.

        Raises:
            BadKeyRing: the file cannot be read, others may read it, or it holds no ring.
        """
        try:
            with path.open(encoding="ascii") as file:
                mode = os.fstat(file.fileno()).st_mode
                text = file.read()
        except (OSError, UnicodeDecodeError) as error:
            raise BadKeyRing(f"the key ring file {path} cannot be read: {type(error).__name__}") from None
        if stat.S_IMODE(mode) & 0o077:
            raise BadKeyRing(f"others may read the key ring file {path}; run chmod 600 on it")
        return cls.parse(text)

    def key(self, key_id: str) -> Key | None:
        """Return the key with this id, or None."""
        return next((key for key in self.keys if key.id == key_id), None)


def generate(key_id: str) -> str:
    """Return a fresh ring entry, ``kid:base64``, from the system's randomness."""
    return f"{key_id}:{base64.b64encode(os.urandom(KEY_BYTES)).decode()}"


def _parse_key(number: int, entry: str) -> Key:
    key_id, separator, encoded = entry.partition(":")
    if not separator or not _KEY_ID.fullmatch(key_id):
        raise BadKeyRing(f"entry {number} of the key ring does not read kid:base64")
    try:
        secret = base64.b64decode(encoded, validate=True)
    except binascii.Error:
        raise BadKeyRing(f"key {key_id} of the ring is not base64") from None
    if len(secret) != KEY_BYTES:
        raise BadKeyRing(f"key {key_id} of the ring has {len(secret)} bytes instead of {KEY_BYTES}")
    extracted = hmac.digest(_EXTRACT_SALT, secret, "sha256")
    return Key(key_id, extracted, _expand(extracted, _FINGERPRINT_INFO))


def _expand(extracted: bytes, info: bytes) -> bytes:
    """RFC 5869, section 2.3, for exactly one block of output."""
    return hmac.digest(extracted, info + b"\x01", "sha256")


def _cipher(key: Key, context: str) -> AESGCM:
    return AESGCM(_expand(key.extracted, _SEAL_INFO + context.encode()))


def _place(context: str, field_name: str) -> bytes:
    return f"{context}\0{field_name}".encode()


def seal(ring: KeyRing, *, context: str, field: str, text: str) -> str:
    """Seal one text for one field of one context."""
    return seal_fields(ring, context=context, texts={field: text})[field]


def seal_fields(ring: KeyRing, *, context: str, texts: Mapping[str, str]) -> dict[str, str]:
    """Seal several fields of one context at the price of one key derivation."""
    key = ring.keys[0]
    cipher = _cipher(key, context)
    sealed = {}
    for name, text in texts.items():
        nonce = os.urandom(_NONCE_BYTES)
        ciphertext = cipher.encrypt(nonce, text.encode(), _place(context, name))
        sealed[name] = f"{key.id}:{_encode(nonce)}:{_encode(ciphertext)}"
    return sealed


def unseal(ring: KeyRing, *, context: str, field: str, sealed: str) -> str:
    """Open one text in the place it was sealed for.

    Raises:
        CannotUnseal: unknown key, another place, or not the bytes that were sealed.
    """
    key_id, _, rest = sealed.partition(":")
    nonce, _, ciphertext = rest.partition(":")
    key = ring.key(key_id)
    if key is None:
        raise CannotUnseal(f"{field}: no key of the ring has the id it was sealed under", code="unknown_key")
    try:
        opened = _cipher(key, context).decrypt(_decode(nonce), _decode(ciphertext), _place(context, field))
    except (InvalidTag, ValueError):
        raise CannotUnseal(f"{field}: not what was sealed here under key {key.id}") from None
    return opened.decode()


def unseal_fields(ring: KeyRing, *, context: str, sealed: Mapping[str, str]) -> dict[str, str]:
    """Open several fields of one context.

    Raises:
        CannotUnseal: naming the first field that does not open.
    """
    return {name: unseal(ring, context=context, field=name, sealed=text) for name, text in sealed.items()}


def is_sealed(text: str) -> bool:
    """Say whether a text has the form of a sealed one: key id, twelve bytes of nonce, sixteen or more of the rest."""
    return _SEALED.fullmatch(text) is not None


def reseal(ring: KeyRing, *, context: str, field: str, sealed: str) -> str | None:
    """Move a sealed text to the ring's first key; None when it lies under that key already.

    Raises:
        CannotUnseal: as `unseal`.
    """
    if sealed.partition(":")[0] == ring.keys[0].id:
        return None
    return seal(ring, context=context, field=field, text=unseal(ring, context=context, field=field, sealed=sealed))


def mask(text: str) -> str:
    """Show no more of a person's words than the first character; the length stays hidden too."""
    return (text[:1] if len(text) > len(_MASK) else "") + _MASK


def fingerprint(ring: KeyRing, parts: Sequence[bytes]) -> tuple[str, ...]:
    """Return ``<key id>:<hex HMAC-SHA256>`` of the parts under every key, the writing key's first.

    Each part is preceded by its length, so that no two lists of parts run together. Two requests are the same
    when any fingerprint of one equals any of the other.
    """
    message = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
    digest = sha256(message).digest()
    return tuple(f"{key.id}:{hmac.digest(key.fingerprint, digest, 'sha256').hex()}" for key in ring.keys)


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
