"""Files are taken in from folders and SFTP servers: once, whole, and only if their manifest names their content."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncssh
import pytest
from prometheus_client import CollectorRegistry

from adapters.sandbox.settlement import publish
from reconciler.settlement.delivery import Folder, FolderSource, SftpSource, Unreachable, read_manifest
from reconciler.settlement.intake import Intake
from reconciler.settlement.reading import note_file
from reconciler.settlement.rounds import SettlementRounds
from shared.clock import wall_ms
from shared.settlement.layout import write_layout
from tests.integration.reconciler.settlement.scene import IPPS, Line, Scene, ipps_file

NAME = "ipps-2026-11-20.txt"


@pytest.fixture
def drop(tmp_path: Path) -> Path:
    """Where files are delivered."""
    folder = tmp_path / "drop"
    folder.mkdir()
    return folder


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    """Where copies are read."""
    folder = tmp_path / "spool"
    folder.mkdir()
    return folder


def left(folder: Path) -> list[str]:
    """What lies in a folder."""
    return sorted(path.name for path in folder.iterdir())


async def test_a_delivered_file_is_taken_once(scene: Scene, drop: Path, spool: Path) -> None:
    """Its copy goes when it has been read; the delivery stays as it is, and is not copied again."""
    intent = await scene.doubt()
    sha256 = publish(drop, NAME, ipps_file(Line(await scene.reference(intent))))
    before = left(drop)
    intake = Intake(pool=scene.pool, spool=spool)
    (file,) = await intake.take_from(Folder(drop), IPPS)
    assert (file.name, file.sha256, file.state, file.taken) == (NAME, sha256, "DONE", 1)
    assert left(spool) == []
    assert left(drop) == before
    (drop / NAME).write_bytes(b"nobody reads this")
    assert await Intake(pool=scene.pool, spool=spool).take_from(Folder(drop), IPPS) == []
    assert (await scene.hear(), await scene.breaks()) == (1, [])


async def test_a_file_without_a_manifest_is_not_there_yet(scene: Scene, drop: Path, spool: Path) -> None:
    """It may still be on its way."""
    (drop / NAME).write_bytes(ipps_file())
    assert await Intake(pool=scene.pool, spool=spool).take_from(Folder(drop), IPPS) == []
    assert await scene.pool.fetchval("SELECT count(*) FROM pm.settlement_file") == 0


async def test_not_a_byte_is_believed_that_the_manifest_does_not_vouch_for(
    scene: Scene, drop: Path, spool: Path
) -> None:
    """It is told once; when the right content has come, it is taken, and the break is gone."""
    intent = await scene.doubt()
    content = ipps_file(Line(await scene.reference(intent)))
    publish(drop, NAME, content)
    (drop / NAME).write_bytes(content.replace(b"SETTLED", b"REJECTED")[: len(content)])
    intake = Intake(pool=scene.pool, spool=spool)
    for _ in range(2):
        assert await intake.take_from(Folder(drop), IPPS) == []
    assert (await scene.verdicts(), left(spool)) == ([], [])
    assert await scene.breaks() == [("file_differs", "critical")]
    assert await scene.pool.fetchval("SELECT seen FROM pm.reconciliation_break") == 1
    publish(drop, NAME, content)
    (file,) = await intake.take_from(Folder(drop), IPPS)
    assert (file.state, await scene.breaks()) == ("DONE", [])


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"a" * 64, "a" * 64),
        (b"A" * 64 + b"\n", "a" * 64),
        (b"a" * 64 + b"  " + NAME.encode() + b"\n", "a" * 64),
        (b"a" * 64 + b" *" + NAME.encode(), "a" * 64),
        (b"a" * 64 + b"  other.txt\n", None),
        (b"a" * 63, None),
        (b"a" * 64 + b"\n" + b"b" * 64, None),
        (b"", None),
        (b"\xff" * 64, None),
    ],
)
def test_a_manifest_is_one_digest_of_this_very_file(content: bytes, found: str | None) -> None:
    """As `sha256sum` writes it."""
    assert read_manifest(content, NAME) == found


async def test_a_link_is_no_delivery_and_keeps_nobody_from_the_next(scene: Scene, drop: Path, spool: Path) -> None:
    """It could lead anywhere."""
    content = ipps_file()
    outside = drop.parent / "outside.txt"
    outside.write_bytes(content)
    (drop / NAME).symlink_to(outside)
    (drop / f"{NAME}.sha256").write_text(hashlib.sha256(content).hexdigest())
    publish(drop, f"z-{NAME}", content)
    (file,) = await Intake(pool=scene.pool, spool=spool).take_from(Folder(drop), IPPS)
    assert file.name == f"z-{NAME}"


@pytest.mark.parametrize("what", ["link", "pipe", "folder"])
@pytest.mark.parametrize("where", ["file", "manifest"])
async def test_what_is_no_file_is_told_and_keeps_nobody_from_the_next(
    scene: Scene, drop: Path, spool: Path, what: str, where: str
) -> None:
    """However many there are: who may write to the folder must not be able to stop it being read."""
    content = ipps_file()
    (drop.parent / "outside.txt").write_bytes(content)
    for number in range(4):
        file, manifest = drop / f"a{number}", drop / f"a{number}.sha256"
        made, other = (file, manifest) if where == "file" else (manifest, file)
        other.write_text(hashlib.sha256(content).hexdigest())
        match what:
            case "link":
                made.symlink_to(drop.parent / "outside.txt")
            case "pipe":
                os.mkfifo(made)
            case _:
                made.mkdir()
    publish(drop, f"z-{NAME}", content)
    (done,) = await Intake(pool=scene.pool, spool=spool).take_from(Folder(drop), IPPS)
    assert done.name == f"z-{NAME}"
    assert await scene.breaks() == [("file_differs", "critical")] * 4


async def test_what_was_being_read_is_carried_on_though_its_delivery_is_gone(scene: Scene, spool: Path) -> None:
    """The copy is counted again first: one that was cut off is not read."""
    content = ipps_file(Line("NOBODY"))
    sha256 = hashlib.sha256(content).hexdigest()
    await note_file(scene.pool, psp="ipps", name=NAME, sha256=sha256, size=len(content))
    copy = spool / f"ipps.{sha256}"
    intake = Intake(pool=scene.pool, spool=spool)
    copy.write_bytes(content[:-5])
    assert await intake.carry_on(IPPS) == []
    copy.write_bytes(content)
    (file,) = await intake.carry_on(IPPS)
    assert (file.state, file.counted, left(spool)) == ("DONE", 1, [])


async def test_two_reconcilers_at_once_take_a_file_once(scene: Scene, drop: Path, tmp_path: Path) -> None:
    """Whoever comes second leaves it alone."""
    publish(drop, NAME, ipps_file(*(Line(f"NOBODY{number}", f"T{number}") for number in range(200))))
    spools = [tmp_path / f"spool{number}" for number in range(3)]
    for spool in spools:
        spool.mkdir()
    await asyncio.gather(*(Intake(pool=scene.pool, spool=spool).take_from(Folder(drop), IPPS) for spool in spools))
    for spool in spools:
        await Intake(pool=scene.pool, spool=spool).take_from(Folder(drop), IPPS)
    row = await scene.pool.fetchrow("SELECT state, counted, taken FROM pm.settlement_file")
    assert row is not None
    assert tuple(row) == ("DONE", 200, 200)
    assert len(await scene.breaks()) == 200


@asynccontextmanager
async def sftp_server(root: Path, keys: Path) -> AsyncIterator[SftpSource]:
    """An SFTP server on loopback that shows a folder, and the source that knows it."""
    host_key, client_key = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
    client_key.write_private_key(keys / "client")
    client_key.write_public_key(keys / "authorized")
    server = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_host_keys=[host_key],
        authorized_client_keys=str(keys / "authorized"),
        sftp_factory=lambda channel: asyncssh.SFTPServer(channel, chroot=os.fsencode(root)),
    )
    port = server.get_port()
    known = host_key.export_public_key().decode()
    (keys / "known_hosts").write_text(f"[127.0.0.1]:{port} {known}")
    try:
        yield SftpSource(
            kind="sftp", psp="ipps", host="127.0.0.1", port=port, user="paymesh", folder="/", timeout_s=10,
            key_file=keys / "client", known_hosts=keys / "known_hosts",
        )  # fmt: skip
    finally:
        server.close()
        await server.wait_closed()


async def test_a_file_is_taken_from_an_sftp_server(scene: Scene, drop: Path, spool: Path, tmp_path: Path) -> None:
    """With our key, its host key, and the same manifest; longer than one read of it."""
    lines = [Line(f"NOBODY{number}", f"T{number}") for number in range(5_000)]
    sha256 = publish(drop, NAME, ipps_file(*lines))
    async with sftp_server(drop, tmp_path) as source, source.open() as place:
        intake = Intake(pool=scene.pool, spool=spool)
        (file,) = await intake.take_from(place, IPPS)
        assert (file.sha256, file.state, file.taken) == (sha256, "DONE", 5_000)
        assert await intake.take_from(place, IPPS) == []


async def test_a_corrected_manifest_on_a_server_is_looked_at_again(
    scene: Scene, drop: Path, spool: Path, tmp_path: Path
) -> None:
    """Though the file itself is as it was; and a manifest that is no file keeps nobody from the next."""
    content = ipps_file(Line("NOBODY"))
    publish(drop, NAME, content)
    right = (drop / f"{NAME}.sha256").read_text()
    (drop / f"{NAME}.sha256").write_text("0" * 64)
    (drop / "a.txt").write_bytes(content)
    (drop / "a.txt.sha256").mkdir()
    async with sftp_server(drop, tmp_path) as source, source.open() as place:
        intake = Intake(pool=scene.pool, spool=spool)
        assert await intake.take_from(place, IPPS) == []
        (drop / f"{NAME}.sha256").write_text(right)
        (file,) = await intake.take_from(place, IPPS)
        assert (file.name, file.state) == (NAME, "DONE")


async def test_files_that_cannot_be_copied_keep_nobody_from_the_next_for_long(
    scene: Scene, drop: Path, spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A round gives up after a few; the next begins with those that it has not tried."""
    for name in (*(f"a{number}" for number in range(4)), f"z-{NAME}"):
        publish(drop, name, ipps_file())
    copy = Folder._copy

    def fails(folder: Folder, name: str, to: Path) -> str:
        if name.startswith("a"):
            raise Unreachable("it may not be read")
        return copy(folder, name, to)

    monkeypatch.setattr(Folder, "_copy", fails)
    intake = Intake(pool=scene.pool, spool=spool)
    with pytest.raises(Unreachable):
        await intake.take_from(Folder(drop), IPPS)
    with pytest.raises(Unreachable):
        await intake.take_from(Folder(drop), IPPS)
    assert await scene.pool.fetchval("SELECT array_agg(name) FROM pm.settlement_file") == [f"z-{NAME}"]


@pytest.mark.parametrize("fault", ["host key", "client key", "nobody there"])
async def test_a_server_that_is_not_the_one_we_know_is_not_talked_to(tmp_path: Path, drop: Path, fault: str) -> None:
    """Whoever answers under its address could deliver anything."""
    async with sftp_server(drop, tmp_path) as source:
        stranger, place = asyncssh.generate_private_key("ssh-ed25519"), source
        if fault == "host key":
            known = stranger.export_public_key().decode()
            await asyncio.to_thread(source.known_hosts.write_text, f"[127.0.0.1]:{source.port} {known}")
        elif fault == "client key":
            stranger.write_private_key(source.key_file)
        else:
            place = source.model_copy(update={"port": 1})
        with pytest.raises(Unreachable):
            async with place.open():
                raise AssertionError("it was let in")


async def test_a_round_takes_files_of_psps_whose_layout_is_registered(
    scene: Scene, drop: Path, spool: Path, tmp_path: Path
) -> None:
    """A place out of order keeps nobody from the next."""
    intent = await scene.doubt()
    publish(drop, NAME, ipps_file(Line(await scene.reference(intent))))
    await scene.pool.execute(
        "INSERT INTO pm.psp (psp, manifest, settlement) VALUES ('ipps', '{}', $1), ('bad', '{}', '{}')",
        write_layout(IPPS),
    )
    registry = CollectorRegistry()
    sources = [FolderSource(psp="ipps", folder=tmp_path / "gone"), FolderSource(psp="ipps", folder=drop)]
    rounds = SettlementRounds(
        pool=scene.pool, redis=scene.redis, sources=sources, spool=spool, now_ms=wall_ms, registry=registry
    )
    await rounds.files()
    await rounds.words()
    assert len(await scene.words()) == 1
    read = {"psp": "ipps", "state": "DONE"}
    assert registry.get_sample_value("paymesh_settlement_files_total", read) == 1
    assert registry.get_sample_value("paymesh_settlement_lines_open", {"psp": "ipps"}) == 1


async def test_a_spool_that_is_out_of_order_costs_a_round_and_ends_nothing(
    scene: Scene, drop: Path, tmp_path: Path
) -> None:
    """Its disk is full, or gone: whatever else a reconciler does goes on."""
    publish(drop, NAME, ipps_file())
    await scene.pool.execute(
        "INSERT INTO pm.psp (psp, manifest, settlement) VALUES ('ipps', '{}', $1)", write_layout(IPPS)
    )
    async with sftp_server(drop, tmp_path) as source:
        rounds = SettlementRounds(
            pool=scene.pool, redis=scene.redis, sources=[source], spool=tmp_path / "gone", now_ms=wall_ms,
            registry=CollectorRegistry(),
        )  # fmt: skip
        await rounds.files()
    assert await scene.pool.fetchval("SELECT count(*) FROM pm.settlement_file") == 0
