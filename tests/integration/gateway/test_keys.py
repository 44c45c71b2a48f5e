"""Service keys in force: rotated, disabled, added and narrowed while gateways run."""

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Any

import pytest

from gateway.keys import KeyRegister
from shared.sealing import seal
from tests.integration.gateway.stand import FREE, SECRET, TRANSFER, Client, Stand
from tests.waiting import until

NEW_SECRET = "pms_" + "n" * 32


def as_key(client: Client, key: str, secret: str = SECRET) -> Client:
    """Return the same client under another key."""
    return Client(client.url, client.port, client.session, key=key, secret=secret)


async def rotate(stand: Stand, ends: str) -> None:
    """Give the key a new secret; the old one ends at an SQL expression."""
    await stand.pool.execute(
        f"""UPDATE pm.service_key SET previous_secret = secret, previous_ends_at = {ends}, secret = $1
            WHERE id = 'shop'""",
        seal(stand.ring, context="shop", field="secret", text=NEW_SECRET),
    )


async def test_a_new_key_works_at_once(stand: Stand, client: Client) -> None:
    """An unknown key makes the gateway look before it refuses."""
    await stand.add_key("fresh", SECRET, FREE)
    assert (await as_key(client, "fresh").post()).status == 202


async def test_both_secrets_are_good_until_the_old_one_ends(stand: Stand, client: Client) -> None:
    """Rotation without a gap."""
    await rotate(stand, "now() + interval '1 hour'")
    renewed = as_key(client, "shop", NEW_SECRET)
    await until(renewed.accepted, "the new secret")
    assert (await client.post()).status == 202


async def test_the_old_secret_ends_at_its_date(stand: Stand, client: Client) -> None:
    """By the clock, without anybody touching the register again."""
    await rotate(stand, "now() + interval '2 seconds'")
    renewed = as_key(client, "shop", NEW_SECRET)
    await until(renewed.accepted, "the new secret")
    await until(partial(client.refused_as, "bad_signature"), "the old secret's end")
    assert (await renewed.post()).status == 202


async def test_a_disabled_key_is_refused_within_a_second_and_only_its_holder_learns_why(
    stand: Stand, client: Client
) -> None:
    """Whoever cannot sign hears of a bad signature."""
    await stand.pool.execute("UPDATE pm.service_key SET disabled_at = now() WHERE id = 'shop'")
    await until(partial(client.refused_as, "key_disabled"), "the key is disabled", timeout_s=1.5)
    assert (await as_key(client, "shop", NEW_SECRET).post()).code == "bad_signature"


async def test_narrowed_permissions_hold_within_a_second(stand: Stand, client: Client) -> None:
    """So does a key that is deleted."""
    await stand.pool.execute("UPDATE pm.service_key SET permissions = '{}'")
    await until(partial(client.refused_as, "operation_not_permitted"), "the permissions", timeout_s=1.5)
    await stand.pool.execute("DELETE FROM pm.service_key")
    await until(partial(client.refused_as, "unknown_key"), "the key is gone", timeout_s=1.5)


async def test_a_flood_of_unknown_keys_does_not_become_a_flood_of_queries(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One look a second at most, whatever is asked for."""
    looks: list[int] = []
    original = KeyRegister._try_refresh

    async def counted(register: KeyRegister) -> None:
        looks.append(1)
        await original(register)

    monkeypatch.setattr(KeyRegister, "_try_refresh", counted)
    answers = await asyncio.gather(*(as_key(client, f"nobody-{turn}").post() for turn in range(200)))
    assert {answer.code for answer in answers} == {"unknown_key"}
    assert 1 <= len(looks) <= 10


FORWARDED: Mapping[str, tuple[dict[str, str], str | None]] = {
    "the proxy names an allowed client": ({"X-Forwarded-For": "10.1.2.3"}, None),
    "a client in front of it names itself": ({"X-Forwarded-For": "10.1.2.3, 203.0.113.9"}, "address_not_permitted"),
    "two proxies of ours": ({"X-Forwarded-For": "203.0.113.9, 10.1.2.3, 127.0.0.1"}, None),
    "the proxy names nobody": ({}, "address_not_permitted"),
    "the proxy names nonsense": ({"X-Forwarded-For": "10.1.2.3, unknown"}, "address_not_permitted"),
    "an allowed client over IPv6": ({"X-Forwarded-For": "::ffff:10.1.2.3"}, None),
}


async def test_an_address_is_believed_only_as_far_as_our_own_proxies_vouch_for_it(stand: Stand) -> None:
    """Anybody can write a header; only the part written by a trusted proxy counts."""
    permissions: dict[str, Any] = {**FREE, "addresses": ["10.0.0.0/8"]}
    await stand.add_key("office", SECRET, permissions)
    async with stand.gateway(trusted_proxies="127.0.0.0/8") as behind, stand.gateway() as direct:
        for case, (headers, code) in FORWARDED.items():
            assert (await as_key(behind, "office").post(TRANSFER, headers=headers)).code == code, case
        assert (await as_key(direct, "office").post(headers={"X-Forwarded-For": "10.1.2.3"})).status == 403
    await stand.pool.execute("""UPDATE pm.service_key SET permissions = '{"addresses": ["127.0.0.1/32"]}'""")
    async with stand.gateway() as direct:
        assert (await direct.post()).code == "operation_not_permitted"
