"""What handlers of both sandboxes share: reading a body, answering, refusing."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NoReturn, TypeVar

from aiohttp import web
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

BODY_BYTES_MAX = 65_536


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer that has been decided and not yet been sent; a body of None is left away."""

    body: Mapping[str, object]
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


class Refused(Exception):
    """A request that gets an error status; the PSP's words are put around it by its API."""

    def __init__(self, status: int, code: str, detail: str, *, extra: Mapping[str, object] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.extra = extra or {}


class Body(BaseModel):
    """A request's body: strict, camel case, deaf to nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, alias_generator=to_camel)


BodyT = TypeVar("BodyT", bound=BaseModel)


async def read_body(request: web.Request, model: type[BodyT]) -> BodyT:
    """Read and check a body.

    Raises:
        Refused: 400 INVALID_REQUEST, naming the first field at fault and never its value.
    """
    raw = await request.read()
    try:
        return model.model_validate_json(raw or b"{}")
    except ValidationError as error:
        refuse_invalid(error)


def refuse_invalid(error: ValidationError) -> NoReturn:
    """Turn a validation error into a refusal.

    Raises:
        Refused: 400 INVALID_REQUEST.
    """
    first = error.errors(include_input=False, include_context=False, include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"]) or "body"
    raise Refused(400, "INVALID_REQUEST", f"{place}: {first['type']}") from None


def as_response(answer: Answer) -> web.Response:
    """Make the HTTP response of an answer."""
    return web.json_response(dict(answer.body), status=answer.status, headers=answer.headers)
