"""The callback receiver: address, signature, sense, append, and only then 200.

A callback is a hint. It is appended to the results as an observation, as often as it comes, and whoever reads it
decides what it is worth; so copies and reordering do no harm, and a forged one is refused before anybody reads it.
The bytes are kept as they came, sealed. An answer other than 200 makes the PSP come again, which is right whenever the
append is not certain. This module must never log what a callback says.
"""

import base64
import hmac
from collections.abc import Callable, Sequence
from http import HTTPStatus
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Final

import structlog
from aiohttp import web
from redis.asyncio import Redis

from adapters.runtime.metrics import AdapterMetrics
from adapters.runtime.psp import BadCallback, CallbackRules, Psp
from adapters.runtime.work import Teller
from shared.contracts import Kind, ResultMessage, result_envelope
from shared.errors import OutcomeUnknown, Transient
from shared.sealing import KeyRing, fingerprint, seal
from shared.streams import keys
from shared.streams.append import append_entry
from shared.streams.permits import Replicas

BODY_BYTES_MAX: Final = 64 * 1024
_SIGNATURES_MAX: Final = 4
_TIMESTAMP_DIGITS_MAX: Final = 12
_log = structlog.get_logger(__name__)
Network = IPv4Network | IPv6Network


class Receiver:
    """Receives one PSP's callbacks."""

    def __init__(
        self,
        *,
        client: Redis,
        psp: Psp,
        rules: CallbackRules,
        keyring: KeyRing,
        teller: Teller,
        replicas: Replicas,
        metrics: AdapterMetrics,
        proxies: Sequence[str],
        clock_ms: Callable[[], int],
    ) -> None:
        self._client = client
        self._psp = psp
        self._rules = rules
        self._keyring = keyring
        self._tell = teller
        self._replicas = replicas
        self._metrics = metrics
        self._networks = _networks(rules.networks)
        self._proxies = _networks(proxies)
        self._clock_ms = clock_ms

    def application(self) -> web.Application:
        """Return what serves the callback's path, and nothing else."""
        application = web.Application(client_max_size=BODY_BYTES_MAX)
        application.router.add_post(self._rules.path, self.receive)
        return application

    async def receive(self, request: web.Request) -> web.Response:
        """Take one callback in."""
        if not _within(self._caller(request), self._networks):
            return self._refuse("foreign_address", HTTPStatus.FORBIDDEN)
        raw = await request.read()
        headers = request.headers
        timestamp = headers.get(self._rules.timestamp_header, "")
        if not self._genuine(timestamp, headers.get(self._rules.signature_header, ""), raw):
            return self._refuse("bad_signature", HTTPStatus.UNAUTHORIZED)
        try:
            observation = self._observation(dict(headers), raw)
        except (BadCallback, ValueError):
            return self._refuse("nonsense", HTTPStatus.BAD_REQUEST)
        envelope = result_envelope(observation, kind=Kind.OBSERVATION)
        try:
            await append_entry(self._client, keys.results(observation.psp), envelope, replicas=self._replicas)
        except (Transient, OutcomeUnknown):
            # It may stand in the stream already; a copy does no harm.
            return self._refuse("not_stored", HTTPStatus.SERVICE_UNAVAILABLE)
        self._metrics.callbacks.labels(observation.psp, "taken").inc()
        _log.info("psp_callback", psp=observation.psp, outcome=observation.outcome, callback=observation.callback_id)
        return web.Response(body=self._rules.acknowledgement, content_type="application/json")

    def _observation(self, headers: dict[str, str], raw: bytes) -> ResultMessage:
        psp = self._psp.manifest.psp
        seen = self._psp.parse_callback(headers, raw)
        callback_id = fingerprint(self._keyring, [psp.encode(), raw])[0]
        sealed = seal(
            self._keyring,
            context=f"callback:{psp}:{callback_id}",
            field="raw",
            text=base64.b64encode(raw).decode(),
        )
        return self._tell.heard(seen, callback_id=callback_id, raw=sealed)

    def _genuine(self, timestamp: str, signatures: str, raw: bytes) -> bool:
        """Compare every signature with what every secret gives; all of them are computed, whichever fits."""
        recent = self._recent(timestamp)
        claimed = [part.strip().lower().encode() for part in signatures.split(",")[:_SIGNATURES_MAX]]
        fits = False
        for secret in self._rules.secrets:
            right = hmac.digest(secret, timestamp.encode() + b"." + raw, "sha256").hex().encode()
            for claim in claimed:
                fits |= hmac.compare_digest(claim, right)
        return recent and fits

    def _recent(self, timestamp: str) -> bool:
        if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= _TIMESTAMP_DIGITS_MAX):
            return False
        return abs(int(timestamp) * 1000 - self._clock_ms()) <= self._rules.age_max_s * 1000

    def _caller(self, request: web.Request) -> str:
        """Return who calls; our own proxies are believed about whom they speak for."""
        peer = request.remote or ""
        forwarded = request.headers.get("X-Forwarded-For", "")
        if forwarded and _within(peer, self._proxies):
            return forwarded.rpartition(",")[2].strip()
        return peer

    def _refuse(self, fate: str, status: HTTPStatus) -> web.Response:
        self._metrics.callbacks.labels(self._psp.manifest.psp, fate).inc()
        _log.warning("psp_callback_refused", psp=self._psp.manifest.psp, fate=fate)
        return web.json_response({"error": fate}, status=status)


def _networks(blocks: Sequence[str]) -> tuple[Network, ...]:
    return tuple(ip_network(block.strip()) for block in blocks if block.strip())


def _within(address: str, networks: Sequence[Network]) -> bool:
    try:
        known = ip_address(address)
    except ValueError:
        return False
    return any(known in network for network in networks)
