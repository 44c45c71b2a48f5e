"""`paymesh demo`, `paymesh dev` and `paymesh migrate`: bring a mesh into being."""

from typing import Annotated

import typer

from ops.commands.running import EXIT_WRONG, Json, example, run
from ops.console import out, print_json
from ops.demo.run import demo as play_demo
from ops.demo.script import TRANSFERS
from ops.dev.run import dev as keep_dev
from ops.embedded.stack import LedgerChoice
from ops.environment import data_folder, find_settings
from ops.install import PARTITIONS_DEFAULT, Installed, install

Ledger = Annotated[
    LedgerChoice,
    typer.Option(help="Which ledger: auto takes TigerBeetle where its server is found, else PostgreSQL."),
]

DEMO_EPILOG = example("paymesh demo --ledger postgres")
DEV_EPILOG = example("paymesh dev --port 8080")
MIGRATE_EPILOG = example("DATABASE_URL=postgresql://… REDIS_URL=redis://… paymesh migrate --partitions 4")


def demo(
    *,
    ledger: Ledger = "auto",
    transfers: Annotated[int, typer.Option(help="How many payments among 20 wallets.", min=1, max=100_000)] = TRANSFERS,
    seed: Annotated[int, typer.Option(help="Another number, other payments.")] = 1,
) -> None:
    """Start a clean mesh, make real payments over HTTP, check every one of them, stop.

    The exit status is 0 only if every payment, every refusal, every balance and every invariant is as computed.
    """
    if not run(play_demo(folder=data_folder("demo"), ledger=ledger, transfers=transfers, seed=seed)):
        raise typer.Exit(EXIT_WRONG)


def dev(
    *,
    ledger: Ledger = "auto",
    port: Annotated[
        int | None,
        typer.Option(help="The gateway's port; else a private one, kept.", min=1, max=65535, show_default=False),
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Delete what earlier runs left, money included.")] = False,
) -> None:
    """Keep a mesh up, with its data kept between runs; Ctrl-C stops it."""
    run(keep_dev(folder=data_folder("dev"), ledger=ledger, port=port, fresh=fresh), exit_interrupted=0)


def migrate(
    *,
    partitions: Annotated[
        int | None,
        typer.Option(
            help=f"How many intent streams there shall be; {PARTITIONS_DEFAULT} at first. Their number only grows.",
            min=1,
            max=256,
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Bring the database up to date and make database, streams and ledger one mesh; safe to repeat."""

    async def work() -> Installed:
        return await install(find_settings(), partitions=partitions)

    done = run(work())
    if as_json:
        print_json(done)
        return
    for name in done.applied:
        out().print(f"applied {name}")
    mesh = done.mesh
    out().print(
        f"mesh {mesh.id}, epoch {mesh.epoch}, {mesh.partitions} partitions, ledger in {mesh.ledger_kind}, "
        f"for {done.environment}",
        soft_wrap=True,
    )
