"""`paymesh keys`: who may post."""

import re
from datetime import timedelta
from typing import Annotated, Any

import typer

from ops import keys
from ops.audit import actor
from ops.commands.running import Confirm, Json, Reason, example, require_confirmed, run
from ops.console import err, out, print_json, table
from ops.environment import find_settings
from ops.keys import KeyRow, NewSecret
from ops.stores import open_stores
from shared.errors import BadInput
from shared.sealing import generate

app = typer.Typer(no_args_is_help=True, help="Service keys: who may post, with which secret, until when.")

_SPAN = re.compile(r"(\d{1,4})([smhd])")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}

KeyId = Annotated[str, typer.Argument(help="The key's id: 1 to 64 of A-Z a-z 0-9 _ -", show_default=False)]


@app.command(
    epilog=example("paymesh keys create shop1 --owner 'Shop One' --operation P2P_TRANSFER --account 'merchant:shop1:*'")
)
def create(
    key: KeyId,
    *,
    owner: Annotated[str, typer.Option(help="Who answers for the key.", show_default=False)],
    operation: Annotated[
        list[str] | None, typer.Option(help="An operation type it may post; repeat.", show_default=False)
    ] = None,
    account: Annotated[
        list[str] | None,
        typer.Option(help="An account it may debit, open and read; a star at the end; repeat.", show_default=False),
    ] = None,
    address: Annotated[
        list[str] | None, typer.Option(help="A network it may be used from, as CIDR; repeat.", show_default=False)
    ] = None,
    open_accounts: Annotated[bool, typer.Option("--open-accounts", help="Let it open accounts.")] = False,
    timeline: Annotated[
        bool, typer.Option("--timeline", help="Let it read how its intents came to be, operators' reasons included.")
    ] = False,
    adjust_max: Annotated[int, typer.Option(help="The largest adjustment, in minor units.", min=0)] = 0,
    adjust_alone_max: Annotated[
        int, typer.Option(help="The largest adjustment without a second key's signature.", min=0)
    ] = 0,
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
            ["key", "owner", "operations", "accounts", "state"],
            [
                [
                    row.id,
                    row.owner,
                    " ".join(row.permissions.get("operations", [])),
                    " ".join(row.permissions.get("accounts", [])),
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
