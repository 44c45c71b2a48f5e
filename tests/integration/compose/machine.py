"""A machine that runs services of the compose files as processes: their commands, environments and health checks.

Only what a network and a disk would give is put in place of what is written: addresses, ports and paths.
"""

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ops.embedded.server import Server
from tests.ports import Lease
from tests.unit.compose.cases import environment, port_of, seconds
from tests.unit.compose.reading import ComposeFile, argv, images
from tests.unit.compose.standing_in import Container


class Machine:
    """Runs the services of one compose file."""

    def __init__(self, file: ComposeFile, folder: Path, places: Mapping[str, str], lease: Lease) -> None:
        self._services = file.services()
        self._folder = folder
        self._images = images()
        self._containers: dict[str, Container] = {}
        self._ports = {
            (name, port): str(lease()) for name, service in self._services.items() for port in port_of(service)
        }
        self._places = dict(places)
        for (name, port), here in self._ports.items():
            self._places[f"{name}:{port}"] = f"127.0.0.1:{here}"

    def environ(self, name: str) -> dict[str, str]:
        """Return a service's environment, with its places here."""
        return dict(self._placed(name))

    def _placed(self, name: str) -> Iterator[tuple[str, str]]:
        for variable, value in environment(self._services[name]).items():
            if variable in self._places:
                yield variable, self._places[variable]
            elif (name, value) in self._ports and variable.endswith("_PORT"):
                yield variable, self._ports[name, value]
            else:
                text = value
                for written, here in self._places.items():
                    text = text.replace(written, here)
                yield variable, text

    def container(self, name: str) -> Container:
        """Lay out a service's image, or return the one that lies there."""
        if name not in self._containers:
            image = self._images.target(self._services[name]["build"]["target"])
            self._containers[name] = Container(image, self._folder / name)
        return self._containers[name]

    def run(self, name: str, *words: str) -> "subprocess.CompletedProcess[str]":
        """Run a service that ends to its end; with words, that command of it."""
        container = self.container(name)
        service: dict[str, Any] = self._services[name] | ({"command": list(words)} if words else {})
        return subprocess.run(
            container.argv(argv(service, self._images)),
            cwd=container.cwd,
            env=container.environ(self.environ(name)),
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )

    def start(self, name: str, closing: ExitStack) -> Server:
        """Start a service and wait until its own health check finds it healthy."""
        container = self.container(name)
        service = self._services[name]
        server = Server(
            name=name,
            argv=container.argv(argv(service, self._images)),
            log=self._folder / f"{name}.log",
            ready=lambda: self._healthy(name, container),
            env=container.environ(self.environ(name)),
            cwd=container.cwd,
            start_timeout_s=60,
            stop_timeout_s=seconds(service["stop_grace_period"]),
        )
        closing.callback(server.kill)
        server.start()
        return server

    def _healthy(self, name: str, container: Container) -> bool:
        kind, *words = self._services[name]["healthcheck"]["test"]
        assert kind == "CMD"
        placed = words
        for (owner, port), here in self._ports.items():
            if owner == name:
                placed = [word.replace(f"127.0.0.1:{port}/", f"127.0.0.1:{here}/") for word in placed]
        done = subprocess.run(
            container.argv(placed), env=container.environ({}), capture_output=True, timeout=30, check=False
        )
        return done.returncode == 0
