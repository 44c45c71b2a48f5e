"""Service keys, as the gateway's register sees them: made, rotated with an overlap, disabled, always audited."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gateway.keys import KeyRegister
from ops.key_changes import KeyChange, change_key
from ops.keys import create_key, disable_key, enable_key, list_keys, rotate_key, set_permissions, show_key
from ops.refusals import Refused
from shared.errors import BadInput
from tests.integration.ops.commanding import commands_on
from tests.integration.ops.conftest import Mesh

PERMISSIONS = {"operations": ["P2P_TRANSFER"], "accounts": ["user:*"]}


async def made(mesh: Mesh, key: str = "shop") -> str:
    """Make a key and return its secret."""
    new = await create_key(
        mesh.pool, mesh.settings.keyring(), key=key, owner="Shop", permissions=PERMISSIONS, actor="me@here"
    )
    return new.secret


async def secrets_in_force(mesh: Mesh, key: str = "shop", *, at: datetime | None = None) -> tuple[str, ...]:
    """Return what a gateway would verify signatures against."""
    register = KeyRegister(pool=mesh.pool, ring=mesh.settings.keyring(), stale_max_s=60)
    found = await register.find(key)
    assert found is not None
    if found.disabled:
        return ()
    both = found.secrets((at or datetime.now(UTC)).timestamp())
    return tuple(secret.decode() for secret in both if secret is not None)


async def audited(mesh: Mesh) -> list[tuple[str, str, str, str | None]]:
    """Return the audit log."""
    rows = await mesh.pool.fetch("SELECT actor, action, target, reason FROM pm.audit_log ORDER BY id")
    return [tuple(row) for row in rows]


async def test_a_new_key_is_what_the_gateway_verifies_with(mesh: Mesh) -> None:
    """The secret shown is the secret in force, and nowhere stored in the clear."""
    secret = await made(mesh)
    assert await secrets_in_force(mesh) == (secret,)
    stored = await mesh.pool.fetchval("SELECT s::text FROM pm.service_key AS s")
    logged = await mesh.pool.fetchval("SELECT string_agg(a::text, '') FROM pm.audit_log AS a")
    assert secret not in stored
    assert secret not in logged
    assert await audited(mesh) == [("me@here", "key.create", "shop", None)]


async def test_two_keys_never_share_a_secret(mesh: Mesh) -> None:
    """Secrets are random, and long enough."""
    one, two = await made(mesh, "one"), await made(mesh, "two")
    assert one != two
    assert min(len(one), len(two)) >= 40


async def test_a_rotated_key_has_two_secrets_until_the_overlap_ends(mesh: Mesh) -> None:
    """Callers change over in their own time; afterwards only the new one counts."""
    old = await made(mesh)
    new = await rotate_key(
        mesh.pool, mesh.settings.keyring(), key="shop", overlap=timedelta(hours=24), actor="me@here", reason="yearly"
    )
    assert await secrets_in_force(mesh) == (new.secret, old)
    assert await secrets_in_force(mesh, at=datetime.now(UTC) + timedelta(hours=25)) == (new.secret,)
    assert new.previous_ends_at is not None
    assert timedelta(hours=23) < new.previous_ends_at - datetime.now(UTC) < timedelta(hours=25)
    assert (await audited(mesh))[-1] == ("me@here", "key.rotate", "shop", "yearly")


async def test_rotating_twice_ends_the_oldest_secret(mesh: Mesh) -> None:
    """Never more than two secrets are live."""
    await made(mesh)
    turns = [
        await rotate_key(
            mesh.pool, mesh.settings.keyring(), key="shop", overlap=timedelta(hours=1), actor="me@here", reason="again"
        )
        for _ in range(2)
    ]
    assert await secrets_in_force(mesh) == (turns[1].secret, turns[0].secret)


async def test_rotating_without_overlap_ends_the_old_secret_at_once(mesh: Mesh) -> None:
    """A leaked secret is gone with the command."""
    await made(mesh)
    new = await rotate_key(
        mesh.pool, mesh.settings.keyring(), key="shop", overlap=timedelta(0), actor="me@here", reason="leaked"
    )
    assert await secrets_in_force(mesh) == (new.secret,)
    assert new.previous_ends_at is None


async def test_a_disabled_key_is_refused_and_stays_so(mesh: Mesh) -> None:
    """Neither disabled twice nor rotated back to life."""
    await made(mesh)
    await disable_key(mesh.pool, key="shop", actor="me@here", reason="gone")
    assert await secrets_in_force(mesh) == ()
    with pytest.raises(BadInput, match="disabled"):
        await disable_key(mesh.pool, key="shop", actor="me@here", reason="again")
    with pytest.raises(BadInput, match="disabled"):
        await rotate_key(
            mesh.pool, mesh.settings.keyring(), key="shop", overlap=timedelta(0), actor="me@here", reason="back"
        )
    assert [line[1] for line in await audited(mesh)] == ["key.create", "key.disable"]


async def test_a_key_that_cannot_be_made_leaves_no_trace(mesh: Mesh) -> None:
    """A taken id, a malformed id, permissions no gateway understands: refused, nothing written."""
    await made(mesh)
    ring = mesh.settings.keyring()
    with pytest.raises(BadInput, match="already"):
        await create_key(mesh.pool, ring, key="shop", owner="x", permissions=PERMISSIONS, actor="me@here")
    with pytest.raises(BadInput, match="1 to 64"):
        await create_key(mesh.pool, ring, key="a b", owner="x", permissions=PERMISSIONS, actor="me@here")
    with pytest.raises(BadInput, match="star"):
        await create_key(mesh.pool, ring, key="b", owner="x", permissions={"accounts": ["u*r"]}, actor="me@here")
    assert [key.id for key in await list_keys(mesh.pool)] == ["shop"]
    assert len(await audited(mesh)) == 1


async def test_keys_that_are_not_there_are_named(mesh: Mesh) -> None:
    """No silent success."""
    with pytest.raises(BadInput, match="no key nobody"):
        await disable_key(mesh.pool, key="nobody", actor="me@here", reason="x")
    with pytest.raises(BadInput, match="overlap"):
        await rotate_key(
            mesh.pool, mesh.settings.keyring(), key="x", overlap=timedelta(days=31), actor="me@here", reason="x"
        )


async def test_a_list_shows_everything_but_secrets(mesh: Mesh) -> None:
    """Permissions, overlap and end, by id."""
    secrets = [await made(mesh, "b"), await made(mesh, "a")]
    await rotate_key(
        mesh.pool, mesh.settings.keyring(), key="b", overlap=timedelta(hours=1), actor="me@here", reason="x"
    )
    rows = await list_keys(mesh.pool)
    assert [(row.id, row.permissions, row.previous_ends_at is not None) for row in rows] == [
        ("a", PERMISSIONS, False),
        ("b", PERMISSIONS, True),
    ]
    shown = json.dumps([repr(row) for row in rows])
    assert not [secret for secret in secrets if secret in shown]


async def test_a_key_that_is_enabled_again_has_a_new_secret_unless_the_old_ones_are_kept(mesh: Mesh) -> None:
    """What may have leaked does not come back by itself; a key in force is refused."""
    old = await made(mesh)
    ring = mesh.settings.keyring()
    await rotate_key(mesh.pool, ring, key="shop", overlap=timedelta(hours=1), actor="me@here", reason="x")
    await disable_key(mesh.pool, key="shop", actor="me@here", reason="leaked")
    new = await enable_key(mesh.pool, ring, key="shop", keep_secrets=False, actor="me@here", reason="mended")
    assert new is not None
    assert await secrets_in_force(mesh) == (new.secret,)
    assert old != new.secret
    assert [line[1] for line in await audited(mesh)][-3:] == ["key.disable", "key.enable", "key.rotate"]
    with pytest.raises(BadInput, match="in force"):
        await enable_key(mesh.pool, ring, key="shop", keep_secrets=True, actor="me@here", reason="again")
    await disable_key(mesh.pool, key="shop", actor="me@here", reason="by mistake")
    assert await enable_key(mesh.pool, ring, key="shop", keep_secrets=True, actor="me@here", reason="oops") is None
    assert await secrets_in_force(mesh) == (new.secret,)


async def test_a_change_is_whole_or_nothing_and_says_what_was_before(mesh: Mesh) -> None:
    """In the transaction of whoever makes it; where nothing differs nothing is written."""
    await made(mesh)
    change = KeyChange(
        owner="New Shop", permissions={**PERMISSIONS, "rate": {"requests": 5, "per_s": 1}}, disabled=True
    )
    async with mesh.pool.acquire() as connection:
        undone = connection.transaction()
        await undone.start()
        assert await change_key(connection, key="shop", change=change, actor="me@here", reason="plan")
        await undone.rollback()
    assert [key.owner for key in await list_keys(mesh.pool)] == ["Shop"]
    async with mesh.pool.acquire() as connection, connection.transaction():
        assert await change_key(connection, key="shop", change=change, actor="me@here", reason="plan")
        assert not await change_key(connection, key="shop", change=change, actor="me@here", reason="plan")
    row, deeds = await show_key(mesh.pool, "shop")
    assert (row.owner, row.permissions, row.disabled_at is not None) == ("New Shop", change.permissions, True)
    assert {(deed.action, deed.reason) for deed in deeds} == {
        ("key.create", None), ("key.own", "plan"), ("key.permit", "plan"), ("key.disable", "plan"),
    }  # fmt: skip
    detail = await mesh.pool.fetchval("SELECT detail FROM pm.audit_log WHERE action = 'key.permit'")
    assert json.loads(detail) == {"permissions": change.permissions, "before": PERMISSIONS}


async def test_a_change_that_no_gateway_understands_is_refused_with_the_field(mesh: Mesh) -> None:
    """And so is one of a key that is not there."""
    await made(mesh)
    with pytest.raises(BadInput, match=r"rate\.requests"):
        await set_permissions(mesh.pool, key="shop", permissions={"rate": {"requests": 0, "per_s": 1}}, actor="me@here")
    with pytest.raises(BadInput, match="no key nobody"):
        await set_permissions(mesh.pool, key="nobody", permissions=PERMISSIONS, actor="me@here")
    assert [line[1] for line in await audited(mesh)] == ["key.create"]


async def test_of_two_changes_made_of_one_look_the_second_is_refused(mesh: Mesh) -> None:
    """Permissions are replaced as a whole: whoever looked before somebody else's change would take it back unseen."""
    await made(mesh)
    narrowed = PERMISSIONS | {"addresses": ["10.0.0.0/8"]}
    wiring: dict[str, Any] = {"pool": mesh.pool, "key": "shop", "actor": "me@here", "before": PERMISSIONS}
    await set_permissions(permissions=narrowed, **wiring)
    with pytest.raises(Refused, match="changed since this change was shown"):
        await set_permissions(permissions=PERMISSIONS | {"timeline": True}, **wiring)
    row, _ = await show_key(mesh.pool, "shop")
    assert row.permissions == narrowed


def test_permissions_are_changed_by_command_the_difference_first(mesh: Mesh, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not named stays as it is; show and list tell what holds now."""
    invoke = commands_on(mesh, monkeypatch)
    create = ["create", "shop", "--owner", "Shop", "--operation", "P2P_TRANSFER", "--rate", "100/10s"]
    assert invoke("keys", *create, "--rate-per-user", "20", "--address", "10.0.0.0/8").exit_code == 0
    changed = ["permit", "shop", "--rate", "50/1m", "--anywhere", "--open-accounts"]
    dry = invoke("keys", *changed)
    assert (dry.exit_code, "nothing was done" in dry.output) == (0, True)
    assert 'addresses: ["10.0.0.0/8"] → null' in dry.output
    assert "open_accounts: false → true" in dry.output
    assert invoke("keys", *changed, "--confirm", "--reason", "as agreed").exit_code == 0
    shown = json.loads(invoke("keys", "show", "shop", "--json").output)
    assert shown["permissions"] == {
        "operations": ["P2P_TRANSFER"], "accounts": [], "open_accounts": True, "rate": {"requests": 50, "per_s": 60},
    }  # fmt: skip
    assert [(deed["action"], deed["reason"]) for deed in shown["audit"]] == [
        ("key.permit", "as agreed"), ("key.create", None),
    ]  # fmt: skip
    assert "50/60s" in invoke("keys", "list").output
    assert "as agreed" in invoke("keys", "show", "shop").output
    assert invoke("keys", "permit", "shop", "--no-rate", "--confirm", "--reason", "x").exit_code == 0
    assert "the gateway's" in invoke("keys", "list").output
    assert invoke("keys", "permit", "nobody", "--no-rate").exit_code == 1
    assert invoke("keys", "permit", "shop", "--rate", "9/9h9", "--confirm", "--reason", "x").exit_code == 2
