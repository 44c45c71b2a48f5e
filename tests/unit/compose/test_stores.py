"""The stores and networks of the compose files: nothing is lost there, and nobody gets where they do not belong."""

import re
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from ops.embedded.valkey import valkey
from tests.unit.compose.cases import OURS, environment, mounts, named
from tests.unit.compose.reading import (
    ADAPTERS,
    FILES,
    MESH,
    ROOT,
    ComposeFile,
    images,
    locked,
    networks,
)

LEDGER_CLIENTS_MAX = 32
"""Connections that a TigerBeetle server takes unless told otherwise."""


def test_the_ledgers_server_and_client_are_of_one_version() -> None:
    """A client must never be newer than its server."""
    client = re.search(r"^tigerbeetle==(\S+)", (ROOT / "requirements" / "orchestrator.lock").read_text(), re.MULTILINE)
    assert client is not None
    for name in ("tigerbeetle", "tigerbeetle-format"):
        assert MESH.services()[name]["image"].endswith(f":{client[1]}")


def test_every_store_keeps_its_data_in_a_volume() -> None:
    """Where it really writes it."""
    services = MESH.services()
    (valkey_data,) = mounts(services["valkey"])
    assert services["valkey"]["command"][services["valkey"]["command"].index("--dir") + 1] == valkey_data
    assert list(mounts(services["postgres"])) == ["/var/lib/postgresql"]
    assert mounts(services["tigerbeetle"]) == mounts(services["tigerbeetle-format"])
    assert services["tigerbeetle"]["command"][-1].startswith(f"{next(iter(mounts(services['tigerbeetle'])))}/")
    for name in ("sandbox-ipps", "sandbox-qp"):
        (folder,) = mounts(ADAPTERS.services()[name])
        assert environment(ADAPTERS.services()[name])["SANDBOX_BOOKS"].startswith(f"{folder}/")
        made = [one for one in images().target("sandbox").instructions if one.word == "RUN" and folder in one.arguments]
        assert made, "a volume takes the owner of the folder it covers"
    for file in FILES:
        used = [
            source
            for service in file.services().values()
            for source in mounts(service).values()
            if not source.startswith(".")
        ]
        assert set(used) == set(file.document()["volumes"])
        assert len(used) == len(set(used)) + used.count("tigerbeetle-data") - (file is MESH)


def test_valkey_is_as_durable_as_the_one_the_tests_run_on(tmp_path: Path) -> None:
    """Flag by flag, where flags are about losing nothing."""
    words = MESH.services()["valkey"]["command"][1:]
    flags = {words[n].removeprefix("--"): words[n + 1] for n in range(0, len(words), 2)}
    proven = valkey(tmp_path, 1).argv[1:]
    for name, value in zip(proven[::2], proven[1::2], strict=True):
        if name.removeprefix("--") not in {"port", "bind", "dir", "daemonize", "logfile"}:
            assert flags[name.removeprefix("--")] == value, name
    assert flags["appendfsync"] == "always"
    assert flags["maxmemory-policy"] == "noeviction"


def test_valkey_has_room_to_rewrite_its_file() -> None:
    """A rewrite may need as much again as the data."""
    words = MESH.services()["valkey"]["command"]
    held = int(words[words.index("--maxmemory") + 1].removesuffix("mb"))
    assert int(MESH.services()["valkey"]["deploy"]["resources"]["limits"]["memory"].removesuffix("M")) >= 2 * held


def test_postgres_commits_to_disk() -> None:
    """What it says is committed, is."""
    words = MESH.services()["postgres"]["command"]
    settings = dict(word.split("=", 1) for word in words if "=" in word)
    assert settings["synchronous_commit"] == settings["fsync"] == settings["full_page_writes"] == "on"


@pytest.mark.parametrize(("file", "name"), OURS, ids=named)
def test_io_uring_is_open_to_ledger_clients_and_to_nobody_else(file: ComposeFile, name: str) -> None:
    """Docker's own profile forbids it, and the client cannot do without."""
    service = file.services()[name]
    lock = images().target(service["build"]["target"]).lock
    assert lock is not None
    client = "TIGERBEETLE_ADDRESSES" in environment(service)
    assert client is ("tigerbeetle" in locked(lock))
    assert ("seccomp=unconfined" in service["security_opt"]) is client
    assert ("ulimits" in service) is client


@pytest.mark.parametrize("name", ["tigerbeetle", "tigerbeetle-format"])
def test_the_ledgers_server_may_use_io_uring_and_lock_its_memory(name: str) -> None:
    """It starts with nothing less."""
    service = MESH.services()[name]
    assert "seccomp=unconfined" in service["security_opt"]
    assert service["cap_add"] == ["IPC_LOCK"]
    assert service["ulimits"]["memlock"] == {"soft": -1, "hard": -1}


def test_the_ledgers_clients_stay_within_its_connections() -> None:
    """Orchestrators and reconcilers, the installation and an operator at once; as shipped, and at the bound stated."""
    bound = re.search(r"(\d+) is the most\.\nORCHESTRATOR_REPLICAS=", MESH.example.read_text())
    assert bound is not None
    for told in (MESH.environment(), MESH.environment() | {"ORCHESTRATOR_REPLICAS": bound[1]}):
        clients = 0
        for service in MESH.services(told).values():
            if "TIGERBEETLE_ADDRESSES" in environment(service):
                clients += int(service["deploy"].get("replicas", 1))
        assert 4 <= clients <= LEDGER_CLIENTS_MAX - 1


def test_the_ledger_is_where_its_clients_look_for_it() -> None:
    """At an address that no other container is ever given, in one cluster."""
    services, document = MESH.services(), MESH.document()
    address = services["tigerbeetle"]["networks"]["ledger"]["ipv4_address"]
    port = next(word for word in services["tigerbeetle"]["command"] if "--addresses" in word).rpartition(":")[2]
    clients = [environment(service) for service in services.values() if "TIGERBEETLE_ADDRESSES" in environment(service)]
    assert {client["TIGERBEETLE_ADDRESSES"] for client in clients} == {f"{address}:{port}"}
    clusters = {client["TIGERBEETLE_CLUSTER_ID"] for client in clients}
    assert clusters == {environment(services["tigerbeetle-format"])["TIGERBEETLE_CLUSTER_ID"]}
    assert services["tigerbeetle"]["healthcheck"]["test"][-1] == port
    for network, fixed in (("ledger", address), ("edge", services["edge"]["networks"]["edge"]["ipv4_address"])):
        (config,) = document["networks"][network]["ipam"]["config"]
        assert ip_address(fixed) in ip_network(config["subnet"])
        assert ip_address(fixed) not in ip_network(config["ip_range"])
        assert ip_network(config["ip_range"]).subnet_of(ip_network(config["subnet"]))  # type: ignore[arg-type]
        room = ip_network(config["ip_range"]).num_addresses
        assert room >= LEDGER_CLIENTS_MAX


def test_only_ledger_clients_can_reach_the_ledger() -> None:
    """It asks nobody who they are."""
    on_it = {name for name, service in MESH.services().items() if "ledger" in networks(service)}
    assert on_it == {"tigerbeetle", "orchestrator", "reconciler", "migrate", "ops"}
    assert MESH.document()["networks"]["ledger"]["internal"] is True
    assert MESH.document()["networks"]["stores"]["internal"] is True


def test_adapters_meet_nothing_of_the_mesh_but_valkey() -> None:
    """One network, made by the mesh and joined by name."""
    assert [name for name, service in MESH.services().items() if "adapters" in networks(service)] == ["valkey"]
    made, joined = MESH.document()["networks"]["adapters"], ADAPTERS.document()["networks"]["adapters"]
    assert joined == {"name": made["name"], "external": True}
    for name, service in ADAPTERS.services().items():
        assert networks(service) == ({"adapters", "psp"} if name.startswith("adapter") else {"psp"})
        assert not {"DATABASE_URL", "TIGERBEETLE_ADDRESSES"} & set(environment(service))


def test_the_two_files_do_not_take_each_others_addresses() -> None:
    """They run on one machine while people try them."""
    subnets = [
        ip_network(config["subnet"])
        for file in FILES
        for network in file.document()["networks"].values()
        for config in network.get("ipam", {}).get("config", ())
    ]
    assert len(subnets) == 3
    assert not [(a, b) for a in subnets for b in subnets if a is not b and a.overlaps(b)]
