"""OpenAPI 3.1, generated from the route table, the problem table and the pydantic models.

Nothing is written twice: a route, a field or a problem that exists is in the document, and nothing else is.
"""

from collections.abc import Iterable
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from gateway.auth import X_SERVICE_KEY, X_SIGNATURE, X_TIMESTAMP
from gateway.problems import CONTENT_TYPE, PROBLEMS
from gateway.rates import RATE_LIMIT, RATE_LIMIT_POLICY
from gateway.routes import ROUTES, SIGNED_PROBLEMS, Parameter, Route
from gateway.views import REPLAYED_HEADER, ProblemView

TOO_MANY: Final = 429
_REF: Final = "#/components/schemas/{model}"
_RATE_HEADERS: Final[dict[str, Any]] = {
    RATE_LIMIT: {
        "description": 'What is left by policy, and in how many seconds it is more: `"key";r=50;t=3`; absent while '
        "nobody can count",
        "schema": {"type": "string"},
    },
    RATE_LIMIT_POLICY: {
        "description": 'Each policy, its requests and its seconds: `"key";q=100;w=10, "user";q=20;w=10`',
        "schema": {"type": "string"},
    },
}
_RETRY_AFTER: Final[dict[str, Any]] = {
    "Retry-After": {"description": "In how many seconds to send it again", "schema": {"type": "integer"}}
}
_REPLAYED: Final[dict[str, Any]] = {
    REPLAYED_HEADER: {
        "description": "`true` where an earlier request under the same key is answered for",
        "schema": {"type": "string", "const": "true"},
    }
}
_DESCRIPTION: Final = """\
A payment manager: intents are accepted durably, moved once, and explain themselves.

Every request but the probes is signed: `X-Signature` is `v1=` and the hex HMAC-SHA256, under the service key's
secret, of these lines joined by line feeds: `v1`, the method, path and query as sent, `X-Timestamp`,
`Idempotency-Key` as sent, `X-User-Id`, and the hex SHA-256 of the body. Once an intent is accepted, every answer is
200 or 202 with its state; an HTTP error always means that nothing was accepted, except `outcome_unknown`, which asks
for the same request under the same key.
"""


def openapi_document(*, version: str) -> dict[str, Any]:
    """Return the whole document."""
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
        for alias in route.aliases:
            operation = _operation(route)
            operation["operationId"] += "_alias"
            paths.setdefault(alias, {})[route.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {"title": "Paymesh", "version": version, "description": _DESCRIPTION},
        "paths": paths,
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {
                "serviceKey": {"type": "apiKey", "in": "header", "name": X_SERVICE_KEY},
                "timestamp": {"type": "apiKey", "in": "header", "name": X_TIMESTAMP},
                "signature": {"type": "apiKey", "in": "header", "name": X_SIGNATURE},
            },
        },
    }


def _schemas() -> dict[str, Any]:
    requests = {body for route in ROUTES for body in route.bodies}
    answers = {model for route in ROUTES for _, model in route.answers.values() if model is not None} | {ProblemView}
    models: list[tuple[type[BaseModel], Any]] = [(model, "validation") for model in _sorted(requests)]
    models += [(model, "serialization") for model in _sorted(answers)]
    _, schema = models_json_schema(models, ref_template=_REF)
    definitions: dict[str, Any] = schema["$defs"]
    return dict(sorted(definitions.items()))


def _sorted(models: Iterable[type[BaseModel]]) -> list[type[BaseModel]]:
    return sorted(models, key=lambda model: model.__name__)


def _operation(route: Route) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.summary,
        "parameters": [*map(_parameter, _path_parameters(route)), *map(_parameter, route.parameters)],
        "responses": _responses(route),
    }
    if route.bodies:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": _body(route)}}}
    if route.signed:
        operation["security"] = [{"serviceKey": [], "timestamp": [], "signature": []}]
    return operation


def _path_parameters(route: Route) -> list[Parameter]:
    names = [segment[1:-1] for segment in route.path.split("/") if segment.startswith("{")]
    words = {"id": "The intent's id", "name": "The account's name"}
    return [Parameter(name, "path", words[name], required=True) for name in names]


def _parameter(parameter: Parameter) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": parameter.place,
        "required": parameter.required,
        "description": parameter.description,
        "schema": {"type": parameter.schema},
    }


def _body(route: Route) -> dict[str, Any]:
    refs = [_ref(body) for body in route.bodies]
    if len(refs) == 1:
        return refs[0]
    mapping = {
        body.model_fields["operation_type"].annotation.__args__[0]: _ref(body)["$ref"]  # type: ignore[union-attr]
        for body in route.bodies
    }
    return {"oneOf": refs, "discriminator": {"propertyName": "operation_type", "mapping": mapping}}


def _responses(route: Route) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    for status, (description, model) in sorted(route.answers.items()):
        response: dict[str, Any] = {"description": description}
        headers = dict(_RATE_HEADERS) if route.signed else {}
        if model is not None:
            response["content"] = {route.media_type: {"schema": _ref(model)}}
            if route.name in ("post_intent", "get_intent"):
                headers |= _REPLAYED
        if headers:
            response["headers"] = headers
        responses[str(status)] = response
    codes: dict[int, list[str]] = {}
    for code in dict.fromkeys((*route.problems, *(SIGNED_PROBLEMS if route.signed else ()))):
        codes.setdefault(PROBLEMS[code].status, []).append(code)
    for status, named in sorted(codes.items()):
        responses[str(status)] = {
            "description": "; ".join(f"`{code}`: {PROBLEMS[code].title}" for code in named),
            "content": {CONTENT_TYPE: {"schema": _ref(ProblemView)}},
        }
        if status == TOO_MANY:
            responses[str(status)]["headers"] = _RATE_HEADERS | _RETRY_AFTER
    return responses


def _ref(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": _REF.format(model=model.__name__)}
