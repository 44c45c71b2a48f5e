"""Sealing: opens only where it was sealed, under any key of the ring, and says nothing about what is inside."""

import base64
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st

from shared.sealing import (
    BadKeyRing,
    CannotUnseal,
    KeyRing,
    fingerprint,
    generate,
    is_sealed,
    mask,
    reseal,
    seal,
    seal_fields,
    unseal,
    unseal_fields,
)

SECRET_1 = bytes(range(32))
SECRET_2 = bytes(range(32, 64))
ENTRY_1 = "k1:" + base64.b64encode(SECRET_1).decode()
ENTRY_2 = "k2:" + base64.b64encode(SECRET_2).decode()
OLD = KeyRing.parse(ENTRY_1)
RING = KeyRing.parse(f"{ENTRY_2},{ENTRY_1}")
CONTEXT = "0198c1f2-7a10-7123-8abc-def012030000"


def decode(part: str) -> bytes:
    """Undo URL-safe base64 without padding."""
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


@given(st.text(), st.text(), st.text(min_size=1))
def test_what_is_sealed_opens_in_its_place(text: str, context: str, field: str) -> None:
    """Any text, empty ones included."""
    assert (
        unseal(RING, context=context, field=field, sealed=seal(RING, context=context, field=field, text=text)) == text
    )


def test_a_sealed_text_is_what_the_documents_say() -> None:
    """Opened here by the RFC's own steps: HKDF-SHA256 per context, AES-256-GCM, place as associated data."""
    key_id, nonce, ciphertext = seal(RING, context=CONTEXT, field="comment", text="ค่าเช่า").split(":")
    assert key_id == "k2"
    sub_key = HKDF(SHA256(), 32, salt=b"paymesh key ring v1", info=b"seal\0" + CONTEXT.encode()).derive(SECRET_2)
    opened = AESGCM(sub_key).decrypt(decode(nonce), decode(ciphertext), CONTEXT.encode() + b"\0comment")
    assert opened.decode() == "ค่าเช่า"


def test_a_text_sealed_by_an_earlier_release_opens() -> None:
    """A change of the format would lose every stored name."""
    sealed = "k1:AAAAAAAAAAAAAAAA:cP7ufvCX5Ospn7sQfGoxnHf9rqLX"
    assert unseal(RING, context=CONTEXT, field="from_name", sealed=sealed) == "Alice"


def test_the_same_text_never_seals_to_the_same_bytes() -> None:
    """A random nonce each time; equal names do not show."""
    assert len({seal(RING, context=CONTEXT, field="f", text="Alice") for _ in range(100)}) == 100


def test_several_fields_seal_as_each_alone_would() -> None:
    """One derivation for all of them, and each opens only as itself."""
    texts = {"from_name": "Alice", "to_name": "Bob", "comment": "rent"}
    sealed = seal_fields(RING, context=CONTEXT, texts=texts)
    assert unseal_fields(RING, context=CONTEXT, sealed=sealed) == texts
    assert {name: unseal(RING, context=CONTEXT, field=name, sealed=text) for name, text in sealed.items()} == texts


@pytest.mark.parametrize(("context", "field"), [("other", "comment"), (CONTEXT, "to_name"), (CONTEXT + "\0x", "")])
def test_a_sealed_text_does_not_open_elsewhere(context: str, field: str) -> None:
    """Nobody can show Alice's name as Bob's by copying ciphertext."""
    sealed = seal(RING, context=CONTEXT, field="comment", text="rent")
    with pytest.raises(CannotUnseal):
        unseal(RING, context=context, field=field, sealed=sealed)


@given(st.data())
def test_a_changed_byte_never_opens(data: st.DataObject) -> None:
    """Nonce, ciphertext and tag are all covered."""
    key_id, nonce, ciphertext = seal(RING, context=CONTEXT, field="f", text="Alice").split(":")
    raw = bytearray(decode(nonce) + decode(ciphertext))
    place = data.draw(st.integers(0, len(raw) - 1))
    raw[place] ^= data.draw(st.integers(1, 255))
    parts = [base64.urlsafe_b64encode(part).decode() for part in (raw[:12], raw[12:])]
    with pytest.raises(CannotUnseal):
        unseal(RING, context=CONTEXT, field="f", sealed=":".join([key_id, *parts]))


@pytest.mark.parametrize("sealed", ["", "k2", "k2:", "k2::", "k2:AAAA:", "k2:!!!!:????", "Alice", "k2:ä:ö", "k2:A:A"])
def test_what_was_never_sealed_is_refused_as_such(sealed: str) -> None:
    """Garbage is no crash."""
    with pytest.raises(CannotUnseal):
        unseal(RING, context=CONTEXT, field="f", sealed=sealed)


def test_an_unknown_key_is_told_from_a_broken_text() -> None:
    """An operator who removed a key too early must be able to see it."""
    with pytest.raises(CannotUnseal) as refusal:
        unseal(OLD, context=CONTEXT, field="f", sealed=seal(RING, context=CONTEXT, field="f", text="Alice"))
    assert refusal.value.code == "unknown_key"


def test_errors_name_neither_text_nor_key() -> None:
    """They are written to logs."""
    sealed = seal(RING, context=CONTEXT, field="f", text="Alice")
    with pytest.raises(CannotUnseal) as refusal:
        unseal(RING, context="other", field="f", sealed=sealed)
    assert "Alice" not in str(refusal.value)
    assert sealed.split(":")[2] not in str(refusal.value)


def test_rotation_the_old_key_still_opens_and_new_texts_use_the_new_one() -> None:
    """The first key writes, every key reads."""
    before = seal(OLD, context=CONTEXT, field="f", text="Alice")
    assert before.startswith("k1:")
    assert unseal(RING, context=CONTEXT, field="f", sealed=before) == "Alice"
    after = reseal(RING, context=CONTEXT, field="f", sealed=before)
    assert after is not None
    assert after.startswith("k2:")
    assert unseal(RING, context=CONTEXT, field="f", sealed=after) == "Alice"
    assert reseal(RING, context=CONTEXT, field="f", sealed=after) is None, "what lies under the first key stays"


def test_a_ring_never_shows_its_keys() -> None:
    """Not even to a debugger's repr."""
    shown = repr(RING) + str(RING)
    assert "k1" in shown
    for secret in (SECRET_1, SECRET_2, RING.keys[0].extracted, RING.keys[0].fingerprint):
        assert repr(secret)[2:-1] not in shown
        assert base64.b64encode(secret).decode() not in shown


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "1 to 16 keys"),
        (" , ", "1 to 16 keys"),
        ("k1", "entry 1"),
        (":AAAA", "entry 1"),
        ("k 1:AAAA", "entry 1"),
        (f"{ENTRY_1},k2:not base64", "k2 of the ring is not base64"),
        ("k1:AAAA", "k1 of the ring has 3 bytes instead of 32"),
        (f"{ENTRY_1},{ENTRY_1}", "share an id or a key"),
        (f"{ENTRY_1},k9:{ENTRY_1[3:]}", "share an id or a key"),
        (f"{ENTRY_1},k1:{ENTRY_2[3:]}", "share an id or a key"),
        (",".join(generate(f"k{number}") for number in range(17)), "1 to 16 keys"),
    ],
)
def test_a_broken_ring_is_refused_without_showing_it(text: str, fault: str) -> None:
    """The message names the entry, never the key."""
    with pytest.raises(BadKeyRing, match=fault) as refusal:
        KeyRing.parse(text)
    assert "not base64" not in str(refusal.value).replace("is not base64", "")
    assert ENTRY_1[3:] not in str(refusal.value)


def test_a_ring_may_be_written_on_lines() -> None:
    """As in a file."""
    assert KeyRing.parse(f"{ENTRY_2}\n{ENTRY_1}\n") == RING


def test_a_generated_entry_is_a_ring_of_its_own() -> None:
    """And no two are alike."""
    assert KeyRing.parse(generate("k1")).keys[0].id == "k1"
    assert generate("k1") != generate("k1")


def test_a_ring_file_that_only_its_owner_reads_is_read(tmp_path: Path) -> None:
    """0600, or stricter."""
    path = tmp_path / "ring"
    path.write_text(f"{ENTRY_2}\n{ENTRY_1}\n")
    path.chmod(0o600)
    assert KeyRing.read(path) == RING


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o620, 0o644])
def test_a_ring_file_that_others_may_touch_is_refused(tmp_path: Path, mode: int) -> None:
    """With the command that mends it."""
    path = tmp_path / "ring"
    path.write_text(ENTRY_1)
    path.chmod(mode)
    with pytest.raises(BadKeyRing, match="chmod 600"):
        KeyRing.read(path)


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_a_ring_file_that_cannot_be_read_is_refused(tmp_path: Path, content: bytes | None) -> None:
    """Missing, or no text."""
    path = tmp_path / "ring"
    if content is not None:
        path.write_bytes(content)
        path.chmod(0o600)
    with pytest.raises(BadKeyRing, match="cannot be read"):
        KeyRing.read(path)


@given(st.text())
def test_a_masked_text_shows_at_most_one_character_and_no_length(text: str) -> None:
    """Short words, which one character would give away, show none."""
    masked = mask(text)
    assert masked in {"***", text[:1] + "***"}
    if len(text) < 4:
        assert masked == "***"


def test_fingerprints_come_from_every_key_the_writing_one_first() -> None:
    """What was stored under the old key is still recognised after a rotation."""
    before = fingerprint(OLD, [b"POST", b"/v1/intents", b"{}"])
    after = fingerprint(RING, [b"POST", b"/v1/intents", b"{}"])
    assert [value.split(":")[0] for value in after] == ["k2", "k1"]
    assert after[1] == before[0]
    assert len(after[0].split(":")[1]) == 64


@given(st.lists(st.binary(max_size=6), max_size=4), st.lists(st.binary(max_size=6), max_size=4))
def test_different_requests_have_different_fingerprints(parts: list[bytes], other: list[bytes]) -> None:
    """However the bytes are cut into parts."""
    assert (fingerprint(RING, parts) == fingerprint(RING, other)) == (parts == other)


def test_a_fingerprint_cannot_be_guessed_without_the_ring() -> None:
    """A plain hash of a body with few possible contents could be."""
    other = KeyRing.parse(generate("k2"))
    assert fingerprint(other, [b"{}"])[0] != fingerprint(RING, [b"{}"])[0]


@pytest.mark.parametrize("text", ["", "x", "0801234567", "a long sentence: with colons: three of them"])
def test_what_was_sealed_is_told_from_what_was_not(text: str) -> None:
    """Even of an empty text; a plain one has another form."""
    assert is_sealed(seal(RING, context="c", field="f", text=text))
    assert not is_sealed(text)
