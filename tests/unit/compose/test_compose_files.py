"""The compose files: every command, variable, port, volume and condition they name means something in the code.

What a process then does with it is under test in `tests/integration/compose`.
"""

import importlib.util
import os
import re
from pathlib import Path

import pytest
import typer.main
from aiohttp import web
from prometheus_client import CollectorRegistry

from adapters.ipps import callbacks as ipps_callbacks
from adapters.ipps.settings import IppsSettings
from adapters.qp import callbacks as qp_callbacks
from adapters.qp.settings import QpSettings
from gateway.main import DRAIN_TIMEOUT_S
from gateway.routes import ROUTES
from gateway.settings import BODY_BYTES_MAX, KEEPALIVE_TIMEOUT_S, GatewaySettings
from orchestrator.settings import OrchestratorSettings
from shared.config import load
from shared.health import Health, add_routes
from tests.unit.compose.cases import (
    ALL,
    OURS,
    SETTINGS,
    environment,
    mounts,
    named,
    port_of,
    seconds,
    variables,
)
from tests.unit.compose.reading import (
    ADAPTERS,
    COMPOSE,
    FILES,
    MESH,
    ROOT,
    ComposeFile,
    argv,
    images,
    is_ours,
    module,
)


def test_every_service_of_the_mesh_and_of_the_adapters_is_there() -> None:
    """And none that these tests do not know."""
    assert set(MESH.services()) == {
        "edge", "gateway", "orchestrator", "reconciler", "migrate", "ops",
        "valkey", "postgres", "tigerbeetle-format", "tigerbeetle",
    }  # fmt: skip
    assert set(ADAPTERS.services()) == {"adapter-ipps", "adapter-qp", "sandbox-ipps", "sandbox-qp"}


@pytest.mark.parametrize(("file", "name"), OURS, ids=named)
def test_a_command_names_a_module_that_runs(file: ComposeFile, name: str) -> None:
    """It is there, and does something when it is run."""
    found = module(file.services()[name], images())
    spec = importlib.util.find_spec(found)
    assert spec is not None
    if spec.submodule_search_locations:
        spec = importlib.util.find_spec(f"{found}.__main__")
    assert spec is not None
    assert spec.origin is not None
    assert 'if __name__ == "__main__":' in Path(spec.origin).read_text()
    assert found in SETTINGS


@pytest.mark.parametrize(("file", "name"), OURS, ids=named)
def test_every_variable_is_a_setting_and_every_setting_that_is_required_is_given(file: ComposeFile, name: str) -> None:
    """By the settings class of the service's own module."""
    service = file.services()[name]
    settings = SETTINGS[module(service, images())]
    given, known = environment(service), variables(settings)
    assert not set(given) - set(known)
    assert not {variable for variable, required in known.items() if required} - set(given)


@pytest.mark.parametrize(("file", "name"), OURS, ids=named)
def test_a_services_environment_is_one_it_starts_with(
    file: ComposeFile, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its settings load from exactly what it is given, as the example has it."""
    service = file.services()[name]
    for variable in list(os.environ):
        monkeypatch.delenv(variable)
    for variable, value in environment(service).items():
        monkeypatch.setenv(variable, value)
    loaded = load(SETTINGS[module(service, images())])
    assert getattr(loaded, "redis_url", "redis://").startswith("redis://")


@pytest.mark.parametrize(("file", "name"), [case for case in OURS if port_of(case[0].services()[case[1]])], ids=named)
def test_whoever_is_called_listens_beyond_its_own_container(
    file: ComposeFile, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loopback of a container is nobody else's."""
    service = file.services()[name]
    for variable, value in environment(service).items():
        monkeypatch.setenv(variable, value)
    loaded = load(SETTINGS[module(service, images())])
    hosts = {field: getattr(loaded, field) for field in type(loaded).model_fields if field.endswith("host")}
    assert set(hosts.values()) <= {"0.0.0.0"}  # noqa: S104 - compared, not bound to
    assert hosts or name in {"orchestrator", "reconciler"}


@pytest.mark.parametrize("name", ["adapter-ipps", "adapter-qp"])
def test_adapters_are_made_for_production_too(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the changes that the example's notes ask for."""
    told = ADAPTERS.environment() | {
        "PAYMESH_ENVIRONMENT": "production",
        "IPPS_BASE_URL": "https://api.ipps.example",
        "QP_BASE_URL": "https://api.qp.example",
    }
    service = ADAPTERS.services(told)[name]
    for variable, value in environment(service).items():
        monkeypatch.setenv(variable, value)
    load(SETTINGS[module(service, images())])


@pytest.mark.parametrize(("file", "name"), OURS, ids=named)
def test_a_service_that_seals_or_opens_is_given_the_key_ring(file: ComposeFile, name: str) -> None:
    """And nobody else; where it is told to look, there it is mounted."""
    service = file.services()[name]
    needs = name in {"gateway", "ops", "adapter-ipps", "adapter-qp"}
    assert service.get("secrets", []) == (["keyring"] if needs else [])
    assert environment(service).get("PAYMESH_KEYRING_FILE") == ("/run/secrets/keyring" if needs else None)
    assert "file" in file.document()["secrets"]["keyring"]


@pytest.mark.parametrize(("file", "name"), OURS, ids=named)
def test_a_port_is_the_same_wherever_it_is_named(file: ComposeFile, name: str) -> None:
    """In the setting, in the image, in the health check and in what is published."""
    service = file.services()[name]
    told = port_of(service)
    assert images().target(service["build"]["target"]).exposed == told
    published = {str(port).split(":")[-1] for port in service.get("ports", ())}
    assert published <= told
    if "healthcheck" in service:
        assert set(re.findall(r"127\.0\.0\.1:(\d+)", " ".join(service["healthcheck"]["test"]))) <= told


@pytest.mark.parametrize(("file", "name"), ALL, ids=named)
def test_ports_are_published_on_the_loopback_alone(file: ComposeFile, name: str) -> None:
    """TLS ends in front; nothing of a mesh answers the world by itself. No two ask for the same port."""
    ports = [port for service in file.services().values() for port in service.get("ports", ())]
    assert all(port.startswith("127.0.0.1:") for port in file.services()[name].get("ports", ()))
    assert len({port.rsplit(":", 1)[0] for port in ports}) == len(ports)


@pytest.mark.parametrize(("file", "name"), ALL, ids=named)
def test_whoever_goes_on_running_has_a_health_check(file: ComposeFile, name: str) -> None:
    """With bounds; those that end, and those that people run, have none."""
    service = file.services()[name]
    ends = name in {"migrate", "ops", "tigerbeetle-format"}
    assert ("healthcheck" in service) is not ends
    if not ends:
        assert {"test", "interval", "timeout", "retries", "start_period"} <= set(service["healthcheck"])


@pytest.mark.parametrize(("file", "name"), [case for case in OURS if case[1] not in {"migrate", "ops"}], ids=named)
def test_a_health_check_asks_for_a_path_that_is_served(file: ComposeFile, name: str) -> None:
    """By the gateway's routes, or on the health port of a worker, or by a sandbox's control."""
    words = " ".join(file.services()[name]["healthcheck"]["test"])
    (path,) = re.findall(r"127\.0\.0\.1:\d+(/\w+)", words)
    if name == "gateway":
        served = {route.path for route in ROUTES}
    elif name.startswith("sandbox"):
        served = set(re.findall(r'web\.get\("(/\w+)"', (ROOT / "adapters" / "sandbox" / "control.py").read_text()))
    else:
        application = web.Application()
        add_routes(application, Health(CollectorRegistry()))
        served = {resource.canonical for resource in application.router.resources()}
    assert path == "/readyz"
    assert path in served


@pytest.mark.parametrize(("file", "name"), ALL, ids=named)
def test_images_are_pinned(file: ComposeFile, name: str) -> None:
    """What comes from elsewhere has a version, the database's at least its major one; what is ours has a tag."""
    image = file.services()[name]["image"]
    tag = image.rpartition(":")[2]
    assert is_ours(file.services()[name]) or re.match(r"\d+", tag), image
    assert image.count(":") == 1
    assert "latest" not in tag
    if is_ours(file.services()[name]):
        assert image == f"paymesh-{file.services()[name]['build']['target']}:dev"


def test_base_images_are_pinned() -> None:
    """The interpreter of the images is the one the tests run on."""
    (base,) = images().bases
    assert base == "python:3.11-slim"
    assert 'python_version = "3.11"' in (ROOT / "pyproject.toml").read_text()


@pytest.mark.parametrize("file", FILES, ids=named)
def test_every_variable_of_a_compose_file_is_explained_in_its_example(file: ComposeFile) -> None:
    """And nothing is explained that does not exist; what is required is left empty there, so that nobody forgets it."""
    asked = {variable.name for variable in file.variables()}
    assert asked == set(file.examples()) - {"COMPOSE_PROFILES"}
    for variable in file.variables():
        assert variable.kind in {"-", "?"}, f"{variable.name} has no default and is not required"
        if variable.kind == "?":
            assert file.examples()[variable.name] == ""
            with pytest.raises(ValueError, match=variable.name):
                file.document(file.environment() | {variable.name: ""})


@pytest.mark.parametrize("file", FILES, ids=named)
def test_an_example_says_what_the_file_would_do_without_it(file: ComposeFile) -> None:
    """Except where it is for sandboxes: the file itself is for production."""
    different = {
        variable.name
        for variable in file.variables()
        if variable.kind == "-" and variable.rest != file.examples()[variable.name]
    }
    assert different == ({"PAYMESH_ENVIRONMENT"} if file is ADAPTERS else set())


@pytest.mark.parametrize("file", FILES, ids=named)
def test_no_secret_is_written_down(file: ComposeFile) -> None:
    """Neither in the file nor in its example; and what is filled in is not committed."""
    for variable in file.variables():
        if re.search(r"PASSWORD|SECRET|API_KEY", variable.name):
            assert variable.kind == "?"
    ignored = (COMPOSE / ".gitignore").read_text().split()
    assert {".env", "adapters.env", "secrets/"} <= set(ignored)


@pytest.mark.parametrize(("file", "name"), ALL, ids=named)
def test_whoever_is_waited_for_exists_and_can_be_waited_for(file: ComposeFile, name: str) -> None:
    """Healthy is said of those with a health check, completed of those that end."""
    for other, wait in file.services()[name].get("depends_on", {}).items():
        condition = wait["condition"]
        assert other in file.services()
        ends = other in {"migrate", "tigerbeetle-format"}
        assert condition == ("service_completed_successfully" if ends else "service_healthy")


def test_everything_waits_for_what_it_cannot_start_without() -> None:
    """Stores, then the schema, then the services, then the door."""
    needs = {name: set(service.get("depends_on", ())) for name, service in MESH.services().items()}
    assert needs["tigerbeetle"] == {"tigerbeetle-format"}
    assert needs["migrate"] == {"valkey", "postgres", "tigerbeetle"}
    assert needs["gateway"] == {"valkey", "postgres", "migrate"}
    assert needs["orchestrator"] == needs["reconciler"] == {"valkey", "postgres", "tigerbeetle", "migrate"}
    assert needs["edge"] == {"gateway"}


@pytest.mark.parametrize(("file", "name"), ALL, ids=named)
def test_every_container_is_confined(file: ComposeFile, name: str) -> None:
    """Its files are read-only, its rights dropped, its size bounded."""
    service = file.services()[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert {"cpus", "memory", "pids"} <= set(service["deploy"]["resources"]["limits"])
    assert service["logging"]["options"]["max-size"]
    if is_ours(service):
        assert "cap_add" not in service


@pytest.mark.parametrize("psp", ["ipps", "qp"])
def test_an_adapter_and_its_sandbox_find_each_other(psp: str) -> None:
    """By the same names, ports, path, keys and secrets."""
    services = ADAPTERS.services()
    adapter, sandbox = environment(services[f"adapter-{psp}"]), environment(services[f"sandbox-{psp}"])
    (url,) = [value for name, value in adapter.items() if name.endswith("_URL") and name != "REDIS_URL"]
    assert url == f"http://sandbox-{psp}:{sandbox['SANDBOX_PORT']}"
    path = {"ipps": ipps_callbacks.PATH, "qp": qp_callbacks.PATH}[psp]
    assert sandbox["SANDBOX_CALLBACK_URL"] == f"http://adapter-{psp}:{adapter['ADAPTER_CALLBACK_PORT']}{path}"
    (secrets,) = [value for name, value in adapter.items() if name.endswith("CALLBACK_SECRETS")]
    assert secrets == sandbox["SANDBOX_CALLBACK_SECRET"] != ""
    (key,) = [value for name, value in adapter.items() if name.endswith("API_KEY")]
    assert key == sandbox["SANDBOX_API_KEY"] != ""
    (network,) = [value for name, value in adapter.items() if name.endswith("CALLBACK_NETWORKS")]
    assert network == ADAPTERS.document()["networks"]["psp"]["ipam"]["config"][0]["subnet"]


@pytest.mark.parametrize(
    ("file", "name", "drain_s"),
    [
        (MESH, "gateway", DRAIN_TIMEOUT_S),
        (MESH, "orchestrator", OrchestratorSettings.model_fields["drain_s"].default),
        (ADAPTERS, "adapter-ipps", IppsSettings.model_fields["drain_s"].default),
        (ADAPTERS, "adapter-qp", QpSettings.model_fields["drain_s"].default),
    ],
    ids=named,
)
def test_whoever_drains_is_given_the_time(file: ComposeFile, name: str, drain_s: float) -> None:
    """Docker kills after the grace period."""
    assert seconds(file.services()[name]["stop_grace_period"]) >= drain_s + 5


def test_the_door_suits_the_gateway() -> None:
    """Ports, sizes and times of nginx.conf, next to the settings they depend on."""
    text = re.sub(r"#.*", "", (COMPOSE / "nginx.conf").read_text())
    found = {line.split()[0]: line.split()[1:] for line in re.findall(r"([a-z_]+ [^;{}]+);", text)}
    services = MESH.services()
    gateway = environment(services["gateway"])
    assert re.findall(r"server (\S+) resolve", text) == [f"gateway:{gateway['GATEWAY_PORT']}"]
    assert services["edge"]["ports"][0].rpartition(":")[2] == found["listen"][0]
    assert int(found["client_max_body_size"][0].removesuffix("k")) * 1024 == BODY_BYTES_MAX
    assert seconds(found["proxy_read_timeout"][0]) > 5 + GatewaySettings.model_fields["wait_max_s"].default
    upstream = re.findall(r"upstream \w+ \{([^}]*)\}", text)[0]
    (idle,) = re.findall(r"keepalive_timeout (\d+)s", upstream)
    assert float(idle) < KEEPALIVE_TIMEOUT_S
    assert "proxy_set_header X-Forwarded-For $remote_addr;" in text
    assert gateway["GATEWAY_TRUSTED_PROXIES"] == services["edge"]["networks"]["edge"]["ipv4_address"] + "/32"
    assert "non_idempotent" not in text
    closed = re.findall(r"location = (\S+) \{\s*return 404", text)
    assert closed == ["/metrics"]
    assert set(closed) <= {route.path for route in ROUTES}
    assert mounts(services["edge"]) == {"/etc/nginx/nginx.conf": "./nginx.conf"}


def test_the_installation_runs_a_command_that_exists() -> None:
    """With the options it has."""
    from ops.cli import app  # noqa: PLC0415 - the command line loads every client library

    name, option, value = argv(MESH.services()["migrate"], images())[3:]
    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    assert option in {spelt for parameter in command.params for spelt in parameter.opts}
    assert int(value) >= 1
