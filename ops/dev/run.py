"""`paymesh dev` from start to Ctrl-C."""

import asyncio
import os
import shlex
import sys
from pathlib import Path
from typing import Final

from rich.console import Console

from ops.client import Client, open_client
from ops.console import out
from ops.dev.key import ensure_dev_key
from ops.dev.logs import follow
from ops.embedded.psps import PSPS
from ops.embedded.server import ServerFailed
from ops.embedded.services import Stores
from ops.embedded.stack import LedgerChoice, Stack, StackPlan, running_stack
from ops.install import install
from ops.keys import NewSecret

_PAYER: Final = "user:alice:THB"
_PAYEE: Final = "user:bob:THB"
_ROUBLES: Final = "user:alice:RUB"
_FUNDS_MINOR: Final = 100_000
_TIMEOUT_S: Final = 20.0


async def dev(*, folder: Path, ledger: LedgerChoice, port: int | None, fresh: bool) -> None:
    """Keep a mesh up until cancelled."""
    console = out()
    plan = StackPlan(folder=folder, environ=os.environ, ledger=ledger, gateway_port=port, clean=fresh, psps=PSPS)
    keys: list[NewSecret] = []

    async def prepare(stores: Stores) -> None:
        settings = stores.settings()
        await install(settings, embedded=plan.environment)
        keys.append(await ensure_dev_key(folder, settings))

    console.print(f"starting the mesh in {folder}", soft_wrap=True)
    async with running_stack(plan, prepare=prepare, say=lambda line: console.print(line, soft_wrap=True)) as stack:
        async with open_client(url=stack.url, key=keys[0].key, secret=keys[0].secret) as client:
            await _furnish(client)
        for line in banner(stack, keys[0]):
            console.print(line, soft_wrap=True, markup=False)
        await _stay(console, stack)


async def _stay(console: Console, stack: Stack) -> None:
    await follow(console, [(child.name, child.log) for child in stack.services])
    await asyncio.Event().wait()


async def _furnish(client: Client) -> None:
    """Open three wallets and fund one, once: the lines that are shown have to work."""
    for name in (_PAYER, _PAYEE, _ROUBLES):
        answer = await client.open_account(name)
        if not answer.accepted:
            raise ServerFailed(f"the mesh does not open accounts: HTTP {answer.status} {answer.code}")
    funds = {
        "operation_type": "ADJUSTMENT",
        "account": _PAYER,
        "direction": "CREDIT",
        "amount_minor": _FUNDS_MINOR,
        "currency": "THB",
    }
    answer = await client.send_until_answered(funds, idempotency_key="dev-funds-1", wait_s=5, timeout_s=_TIMEOUT_S)
    if not answer.accepted:
        raise ServerFailed(f"the mesh takes no intents: HTTP {answer.status} {answer.code}")


def banner(stack: Stack, key: NewSecret) -> list[str]:
    """Return what is said once the mesh is up; the lines after "Try" work as they stand, in this folder."""
    paymesh, paid_at = program(), stack.psp("qp").control_url
    return [
        "",
        f"The mesh is up. Ctrl-C stops all of it; its data stays in {stack.folder}",
        f"  gateway   {stack.url}  (/openapi.json /readyz /metrics)",
        f"  redis     {stack.stores.redis_url}",
        f"  database  {stack.stores.database_url}",
        f"  ledger    {stack.stores.tigerbeetle_addresses or 'in the database'}",
        f"  key       {key.key}",
        f"  secret    {key.secret}",
        "The PSPs are sandboxes; each is told how to behave, and shows its books, at:",
        *(f"  {place.psp:<9} {place.control_url}  (/control/books /control/calls)" for place in stack.psps),
        "",
        f"Try, in another terminal in {Path.cwd()}:",
        *(f"  {line}" for line in curl_lines(stack.url, paymesh)),
        *(f"  {line}" for line in withdrawal_lines(stack.url, paymesh)),
        *(f"  {line}" for line in topup_lines(stack.url, paymesh, paid_at)),
        f"  {paymesh} accounts list",
        f"  {paymesh} invariants",
        "",
    ]


def curl_lines(url: str, paymesh: str) -> list[str]:
    """Return shell lines that pay through the gateway and look at what came of it."""
    body = (
        f'{{"operation_type":"P2P_TRANSFER","from_account":"{_PAYER}","to_account":"{_PAYEE}",'
        '"amount_minor":1000,"currency":"THB"}'
    )
    balance = f"/v1/accounts/{_PAYEE}/balance"
    return [
        f"BODY={shlex.quote(body)}",
        _post(url, paymesh, "BODY", user="alice"),
        f"{paymesh} sign GET {balance} | curl -sS -H @- {url}{balance}",
    ]


def withdrawal_lines(url: str, paymesh: str) -> list[str]:
    """Return shell lines that pay out to a mobile number."""
    body = (
        f'{{"operation_type":"IPPS_WITHDRAWAL","from_account":"{_PAYER}","amount_minor":500,"currency":"THB",'
        '"proxy_type":"MOBILE","proxy":"080-123-4567"}'
    )
    return [f"OUT={shlex.quote(body)}", _post(url, paymesh, "OUT", user="alice")]


def topup_lines(url: str, paymesh: str, paid_at: str) -> list[str]:
    """Return shell lines that ask for a code, pay it as the payer's bank would, and look at what came of it."""
    body = f'{{"operation_type":"QP_TOPUP","to_account":"{_ROUBLES}","amount_minor":30510,"currency":"RUB"}}'
    cut_id = 's|^{"id":"\\([^"]*\\).*|\\1|p'
    cut_code = 's|.*"link":"https://qr.nspk.ru/\\([^?"]*\\).*|\\1|p'
    return [
        f"IN={shlex.quote(body)}",
        f"ANSWER=$({_post(url, paymesh, 'IN')})",
        'echo "$ANSWER"',
        f"ID=$(echo \"$ANSWER\" | sed -n '{cut_id}'); CODE=$(echo \"$ANSWER\" | sed -n '{cut_code}')",
        f"curl -sS -d '{{\"qrcId\":\"'$CODE'\"}}' {paid_at}/control/pay",
        f"{paymesh} sign GET /v1/intents/$ID | curl -sS -H @- -H 'Prefer: wait=10' {url}/v1/intents/$ID",
    ]


def _post(url: str, paymesh: str, variable: str, *, user: str = "") -> str:
    """Return the line that posts a shell variable as an intent and waits for what comes of it."""
    signed_for = f" --user-id {user}" if user else ""
    sign = f'{paymesh} sign POST /v1/intents{signed_for} --body "${variable}"'
    return f"{sign} | curl -sS -H @- -H 'Prefer: wait=10' -d \"${variable}\" {url}/v1/intents"


def program() -> str:
    """Return how this program is called from here."""
    called = Path(sys.argv[0])
    if called.name != "paymesh" or not called.exists():
        return f"{sys.executable} -m ops.cli"
    here = Path.cwd()
    absolute = called.absolute()
    return str(absolute.relative_to(here)) if absolute.is_relative_to(here) else str(absolute)
