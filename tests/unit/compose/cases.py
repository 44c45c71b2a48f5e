"""What the tests of `compose/` go over: every service, its settings, and what can be read off it."""

import re
from typing import Any

from pydantic_settings import BaseSettings

from adapters.ipps.settings import IppsSettings
from adapters.qp.settings import QpSettings
from adapters.sandbox.settings import SandboxSettings
from gateway.settings import GatewaySettings
from orchestrator.settings import OrchestratorSettings
from reconciler.settings import ReconcilerSettings
from shared.config import StoreSettings, _names
from tests.unit.compose.reading import (
    FILES,
    ComposeFile,
    is_ours,
)

SETTINGS: dict[str, type[BaseSettings]] = {
    "gateway.main": GatewaySettings,
    "orchestrator.main": OrchestratorSettings,
    "reconciler.main": ReconcilerSettings,
    "ops.cli": StoreSettings,
    "adapters.ipps.main": IppsSettings,
    "adapters.qp.main": QpSettings,
    "adapters.sandbox.ipps": SandboxSettings,
    "adapters.sandbox.qp": SandboxSettings,
}
Service = dict[str, Any]
ALL = [(file, name) for file in FILES for name in file.services()]
OURS = [(file, name) for file, name in ALL if is_ours(file.services()[name])]


def named(value: object) -> str:
    """Name a case by its file and service."""
    return value.path.stem if isinstance(value, ComposeFile) else str(value)


def environment(service: Service) -> dict[str, str]:
    """Return a service's variables."""
    return {name: str(value) for name, value in service.get("environment", {}).items()}


def variables(settings: type[BaseSettings]) -> dict[str, bool]:
    """Return the variables of a settings class, and whether each is required."""
    return {
        name: info.is_required()
        for field, info in settings.model_fields.items()
        for name in _names(settings, field, info)
    }


def mounts(service: Service) -> dict[str, str]:
    """Return the sources of a service's volumes by where they are mounted."""
    return {volume.split(":")[1]: volume.split(":")[0] for volume in service.get("volumes", ())}


def port_of(service: Service, suffix: str = "_PORT") -> set[str]:
    """Return the ports that a service is told to listen on."""
    return {value for name, value in environment(service).items() if name.endswith(suffix)}


def seconds(span: str) -> float:
    """Read a span such as ``30s``."""
    match = re.fullmatch(r"(\d+)s", span)
    assert match, span
    return float(match[1])
