"""`paymesh sign`: the headers that authenticate one request, for curl and for whoever writes a client."""

import os
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from ops.client import new_idempotency_key, signed_headers
from ops.commands.running import Json, example, spoken
from ops.console import print_json
from ops.dev.key import read_dev_key
from ops.environment import data_folder
from shared.errors import BadInput

EPILOG = example('T=/v1/accounts/user:alice:THB/balance; paymesh sign GET $T | curl -sS -H @- "$PAYMESH_URL$T"')


def sign(
    method: Annotated[str, typer.Argument(help="GET or POST.", show_default=False)],
    target: Annotated[str, typer.Argument(help="Path and query, exactly as sent.", show_default=False)],
    *,
    body: Annotated[str, typer.Option(help="The body, exactly as sent; @file reads a file, @- standard input.")] = "",
    user_id: Annotated[str, typer.Option(help="On whose behalf (X-User-Id).")] = "",
    idempotency_key: Annotated[
        str, typer.Option(help="The Idempotency-Key of a POST; a new one if not given.", show_default=False)
    ] = "",
    as_json: Json = False,
) -> None:
    """Print the headers that sign a request, one a line: curl reads them with `-H @-`.

    The key is PAYMESH_SERVICE_KEY with PAYMESH_SERVICE_SECRET, or else the one of the `paymesh dev` in this folder.
    """
    verb = method.upper()
    with spoken():
        key, secret = _key()
        headers = signed_headers(
            key=key,
            secret=secret,
            method=verb,
            target=target,
            body=_body(body),
            timestamp=str(int(time.time())),
            idempotency_key=idempotency_key or (new_idempotency_key() if verb == "POST" else ""),
            user_id=user_id,
        )
    if as_json:
        print_json(headers)
    else:
        sys.stdout.write("".join(f"{name}: {value}\n" for name, value in headers.items()))


def _key() -> tuple[str, str]:
    key, secret = os.environ.get("PAYMESH_SERVICE_KEY"), os.environ.get("PAYMESH_SERVICE_SECRET")
    if key and secret:
        return key, secret
    found = read_dev_key(data_folder("dev"))
    if found is None:
        raise BadInput("who signs? Set PAYMESH_SERVICE_KEY and PAYMESH_SERVICE_SECRET, or start `paymesh dev` here")
    return found.key, found.secret


def _body(text: str) -> bytes:
    if text == "@-":
        return sys.stdin.buffer.read()
    return Path(text[1:]).read_bytes() if text.startswith("@") else text.encode()
