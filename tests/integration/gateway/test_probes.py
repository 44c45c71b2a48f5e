"""What machines ask: probes, metrics, and the description of the API, live."""

import json
import re

from openapi_spec_validator import OpenAPIV31SpecValidator

from tests.integration.gateway.stand import TRANSFER, Client, Stand
from tests.waiting import until


async def test_a_gateway_on_sound_stores_is_alive_and_ready(client: Client) -> None:
    """With the name of every check."""
    alive = await client.raw("GET", "/livez", b"", {})
    ready = await client.raw("GET", "/readyz", b"", {})
    assert (alive.status, alive.document) == (200, {"status": "ok"})
    assert (ready.status, ready.document["status"]) == (200, "ok")
    assert ready.document["checks"] == {"database": "ok", "redis": "ok", "mesh": "ok"}


async def test_a_head_request_is_answered_without_a_body(client: Client) -> None:
    """As load balancers ask."""
    async with client.session.head(f"{client.url}/livez") as response:
        assert response.status == 200
        assert await response.read() == b""


async def test_a_store_of_another_mesh_fails_readiness(stand: Stand, client: Client) -> None:
    """An emptied Redis is noticed although it answers."""
    await stand.redis.flushall()
    await until(client.unready, "not ready")
    answer = await client.raw("GET", "/readyz", b"", {})
    assert "emptied" in answer.document["checks"]["mesh"]
    assert (await client.post()).code == "wrong_mesh"


async def test_metrics_count_answers_by_route_and_problems_by_code(client: Client) -> None:
    """And nothing that a request could make up."""
    await client.post()
    await client.post({**TRANSFER, "amount_minor": 0})
    await client.raw("GET", "/nowhere/at-all", b"", {})
    async with client.session.get(f"{client.url}/metrics") as response:
        text = await response.text()
    assert 'paymesh_gateway_seconds_count{route="post_intent",status="202"} 1.0' in text
    assert 'paymesh_gateway_problems_total{code="amount_out_of_range"} 1.0' in text
    assert 'paymesh_gateway_seconds_count{route="unrouted",status="404"} 1.0' in text
    assert "paymesh_gateway_accept_batch_count 1.0" in text
    assert "nowhere" not in text


async def test_the_api_describes_itself(client: Client) -> None:
    """OpenAPI 3.1, valid, as served."""
    answer = await client.raw("GET", "/openapi.json", b"", {})
    assert answer.document["openapi"] == "3.1.0"
    OpenAPIV31SpecValidator(answer.document).validate()
    assert re.fullmatch(r"\d+\.\d+\.\d+", answer.document["info"]["version"])
    assert "/v1/intents/{id}/cancel" in json.dumps(answer.document)
