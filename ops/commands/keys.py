"""`paymesh keys`: who may post."""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from datetime import timedelta
from typing import Annotated, Any

import typer

from ops import keys
from ops.audit import actor
from ops.commands.running import Confirm, Json, Reason, example, require_confirmed, run
from ops.console import err, out, print_json, table
from ops.environment import find_settings
from ops.keys import AuditRow, KeyRow, NewSecret
from ops.stores import open_stores
from shared.errors import BadInput
from shared.sealing import generate

app = typer.Typer(no_args_is_help=True, help="Service keys: who may post, with which secret, until when.")

_SPAN = re.compile(r"(\d{1,4})([smhd])")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}

_RATE = re.compile(r"(\d{1,8})/(\d{1,4}[smhd])")

KeyId = Annotated[str, typer.Argument(help="The key's id: 1 to 64 of A-Z a-z 0-9 _ -", show_default=False)]
Operations = Annotated[
    list[str] | None, typer.Option("--operation", help="An operation type it may post; repeat.", show_default=False)
]
Accounts = Annotated[
    list[str] | None,
    typer.Option(
        "--account", help="An account it may debit, open and read; a star at the end; repeat.", show_default=False
    ),
]
Addresses = Annotated[
    list[str] | None,
    typer.Option("--address", help="A network it may be used from, as CIDR; repeat.", show_default=False),
]
Rate = Annotated[
    str, typer.Option("--rate", help="How many requests in how long, such as 100/10s.", show_default=False)
]
PerUser = Annotated[int, typer.Option("--rate-per-user", help="And of them for each user; 0: any number.", min=0)]


@app.command(
    epilog=example("paymesh keys create shop1 --owner 'Shop One' --operation P2P_TRANSFER --account 'merchant:shop1:*'")
)
def create(
    key: KeyId,
    *,
    owner: Annotated[str, typer.Option(help="Who answers for the key.", show_default=False)],
    operation: Operations = None,
    account: Accounts = None,
    address: Addresses = None,
    open_accounts: Annotated[bool, typer.Option("--open-accounts", help="Let it open accounts.")] = False,
    timeline: Annotated[
        bool, typer.Option("--timeline", help="Let it read how its intents came to be, operators' reasons included.")
    ] = False,
    adjust_max: Annotated[int, typer.Option(help="The largest adjustment, in minor units.", min=0)] = 0,
    adjust_alone_max: Annotated[
        int, typer.Option(help="The largest adjustment without a second key's signature.", min=0)
    ] = 0,
    rate: Rate = "",
    rate_per_user: PerUser = 0,
    as_json: Json = False,
) -> None:
    """Make a key; its secret is shown this once."""
    permissions: dict[str, Any] = {
        "operations": operation or [],
        "accounts": account or [],
        "open_accounts": open_accounts,
    }
    if address:
        permissions["addresses"] = address
    if timeline:
        permissions["timeline"] = True
    if adjust_max:
        permissions["adjustment"] = {"max_minor": adjust_max, "alone_max_minor": adjust_alone_max}

    async def work() -> NewSecret:
        if rate:
            permissions["rate"] = parse_rate(rate, per_user=rate_per_user)
        settings = find_settings()
        async with open_stores(settings) as stores:
            return await keys.create_key(
                stores.pool, settings.keyring(), key=key, owner=owner, permissions=permissions, actor=actor()
            )

    _show(run(work()), as_json=as_json)


@app.command(epilog=example("paymesh keys rotate shop1 --overlap 24h --confirm --reason 'yearly rotation'"))
def rotate(
    key: KeyId,
    *,
    overlap: Annotated[str, typer.Option(help="How long the old secret stays good: 30m, 24h, 7d, 0s.")] = "24h",
    confirm: Confirm = False,
    reason: Reason = "",
    as_json: Json = False,
) -> None:
    """Give a key a new secret; the old one stays good for the overlap."""

    async def work() -> NewSecret:
        span = parse_span(overlap)
        require_confirmed(
            confirm=confirm,
            reason=reason,
            what=f"give key {key} a new secret; the present one would end in {overlap}, one before it at once",
        )
        settings = find_settings()
        async with open_stores(settings) as stores:
            return await keys.rotate_key(
                stores.pool, settings.keyring(), key=key, overlap=span, actor=actor(), reason=reason
            )

    _show(run(work()), as_json=as_json)


@app.command(epilog=example("paymesh keys disable shop1 --confirm --reason 'secret leaked'"))
def disable(key: KeyId, *, confirm: Confirm = False, reason: Reason = "", as_json: Json = False) -> None:
    """Refuse a key from now on, both its secrets."""

    async def work() -> None:
        require_confirmed(
            confirm=confirm, reason=reason, what=f"refuse everything signed by key {key}, within a second"
        )
        async with open_stores(find_settings()) as stores:
            await keys.disable_key(stores.pool, key=key, actor=actor(), reason=reason)

    run(work())
    if as_json:
        print_json({"key": key, "disabled": True})
    else:
        out().print(f"key {key} is disabled")


@app.command(epilog=example("paymesh keys enable shop1 --confirm --reason 'found to be harmless'"))
def enable(
    key: KeyId,
    *,
    keep_secrets: Annotated[
        bool, typer.Option("--keep-secrets", help="Let the secrets it had be good again; never where one has leaked.")
    ] = False,
    confirm: Confirm = False,
    reason: Reason = "",
    as_json: Json = False,
) -> None:
    """Let a disabled key be used again, with a new secret."""

    async def work() -> NewSecret | None:
        secrets = "its old secrets" if keep_secrets else "a new secret"
        require_confirmed(confirm=confirm, reason=reason, what=f"let key {key} be used again, with {secrets}")
        settings = find_settings()
        async with open_stores(settings) as stores:
            return await keys.enable_key(
                stores.pool, settings.keyring(), key=key, keep_secrets=keep_secrets, actor=actor(), reason=reason
            )

    made = run(work())
    if made is not None:
        _show(made, as_json=as_json)
    elif as_json:
        print_json({"key": key, "disabled": False})
    else:
        out().print(f"key {key} is in force again")


@app.command(epilog=example("paymesh keys permit shop1 --rate 100/10s --confirm --reason 'as agreed'"))
def permit(
    key: KeyId,
    *,
    operation: Operations = None,
    account: Accounts = None,
    address: Addresses = None,
    anywhere: Annotated[bool, typer.Option("--anywhere", help="Let it be used from everywhere.")] = False,
    open_accounts: Annotated[bool | None, typer.Option(help="Whether it may open accounts.")] = None,
    timeline: Annotated[bool | None, typer.Option(help="Whether it may read how intents came to be.")] = None,
    adjust_max: Annotated[int | None, typer.Option(help="The largest adjustment; 0: none.", min=0)] = None,
    adjust_alone_max: Annotated[
        int, typer.Option(help="The largest adjustment without a second key's signature.", min=0)
    ] = 0,
    rate: Rate = "",
    rate_per_user: PerUser = 0,
    no_rate: Annotated[bool, typer.Option("--no-rate", help="Leave its rate to the gateway's own.")] = False,
    confirm: Confirm = False,
    reason: Reason = "",
    as_json: Json = False,
) -> None:
    """Change what a key may do; what is not named stays as it is, what is named replaces what it had."""

    async def work() -> KeyRow:
        named = {
            "operations": operation or None,
            "accounts": account or None,
            "addresses": address or None,
            "open_accounts": open_accounts,
            "timeline": timeline,
            "adjustment": {"max_minor": adjust_max, "alone_max_minor": adjust_alone_max} if adjust_max else None,
            "rate": parse_rate(rate, per_user=rate_per_user) if rate else None,
        }
        taken = {name for name, away in (("addresses", anywhere), ("rate", no_rate)) if away}
        if adjust_max == 0:
            taken.add("adjustment")
        async with open_stores(find_settings()) as stores:
            row, _ = await keys.show_key(stores.pool, key)
            permissions = {name: value for name, value in row.permissions.items() if name not in taken}
            permissions |= {name: value for name, value in named.items() if value is not None}
            _say_differences(row.permissions, permissions)
            require_confirmed(confirm=confirm, reason=reason, what=f"let key {key} do that, within a second")
            await keys.set_permissions(
                stores.pool, key=key, permissions=permissions, actor=actor(), reason=reason, before=row.permissions
            )
            row, _ = await keys.show_key(stores.pool, key)
            return row

    row = run(work())
    if as_json:
        print_json(row)
    else:
        out().print(f"key {key} is changed")


@app.command(epilog=example("paymesh keys show shop1"))
def show(key: KeyId, *, as_json: Json = False) -> None:
    """Show one key, without secrets, and what was done to it last."""

    async def work() -> tuple[KeyRow, list[AuditRow]]:
        async with open_stores(find_settings()) as stores:
            return await keys.show_key(stores.pool, key)

    row, deeds = run(work())
    if as_json:
        print_json({**asdict(row), "audit": deeds})
        return
    granted = [[name, json.dumps(value, ensure_ascii=False)] for name, value in row.permissions.items()]
    out().print(table(f"{row.id}, {row.owner}: {_state(row)}", ["permission", "value"], granted))
    lines = [[f"{deed.at:%Y-%m-%d %H:%M:%S}", deed.action, deed.actor, deed.reason or ""] for deed in deeds]
    out().print(table("done to it", ["at", "what", "who", "why"], lines))


@app.command("list", epilog=example("paymesh keys list --json"))
def list_(*, as_json: Json = False) -> None:
    """List the keys, without secrets."""

    async def work() -> list[KeyRow]:
        async with open_stores(find_settings()) as stores:
            return await keys.list_keys(stores.pool)

    rows = run(work())
    if as_json:
        print_json(rows)
        return
    out().print(
        table(
            None,
            ["key", "owner", "operations", "accounts", "rate", "state"],
            [
                [
                    row.id,
                    row.owner,
                    " ".join(row.permissions.get("operations", [])),
                    " ".join(row.permissions.get("accounts", [])),
                    _rate(row.permissions.get("rate")),
                    _state(row),
                ]
                for row in rows
            ],
        )
    )


@app.command("generate", epilog=example("paymesh keys generate k2 >> keyring"))
def generate_(key: Annotated[str, typer.Argument(help="The new key's id in the ring.")] = "k1") -> None:
    """Print a fresh entry for the key ring (PAYMESH_KEYRING_FILE), which seals secrets and personal data."""
    out().print(generate(key), soft_wrap=True)


def parse_span(text: str) -> timedelta:
    """Read a span of time such as ``24h``.

    Raises:
        BadInput: it is not one.
    """
    match = _SPAN.fullmatch(text)
    if match is None:
        raise BadInput("a span of time reads 30m, 24h, 7d or 0s", code="bad_span")
    return timedelta(seconds=int(match[1]) * _UNITS[match[2]])


def parse_rate(text: str, *, per_user: int = 0) -> dict[str, int]:
    """Read a rate such as ``100/10s`` as a permission document has it.

    Raises:
        BadInput: it is not one.
    """
    match = _RATE.fullmatch(text)
    if match is None:
        raise BadInput("a rate reads 100/10s: so many requests in so long a time", code="bad_rate")
    rate = {"requests": int(match[1]), "per_s": int(parse_span(match[2]).total_seconds())}
    return rate | ({"per_user_requests": per_user} if per_user else {})


def _rate(rate: dict[str, int] | None) -> str:
    if not rate:
        return "the gateway's"
    per_user = f", {rate['per_user_requests']} a user" if rate.get("per_user_requests") else ""
    return f"{rate['requests']}/{rate['per_s']}s{per_user}"


def _say_differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    for name in sorted({*before, *after}):
        old, new = before.get(name), after.get(name)
        if old != new:
            old, new = (json.dumps(value, ensure_ascii=False) for value in (old, new))
            err().print(f"{name}: {old} → {new}", markup=False, soft_wrap=True)


def _show(made: NewSecret, *, as_json: bool) -> None:
    if as_json:
        print_json({"key": made.key, "secret": made.secret, "previous_ends_at": made.previous_ends_at})
        return
    out().print(f"key     {made.key}\nsecret  {made.secret}", soft_wrap=True)
    err().print("Keep the secret: it is not shown again.")
    if made.previous_ends_at is not None:
        err().print(f"The previous secret stays good until {made.previous_ends_at:%Y-%m-%d %H:%M:%S} UTC.")


def _state(row: KeyRow) -> str:
    if row.disabled_at is not None:
        return f"disabled {row.disabled_at:%Y-%m-%d %H:%M}"
    if row.previous_ends_at is not None:
        return f"two secrets until {row.previous_ends_at:%Y-%m-%d %H:%M}"
    return "in force"
