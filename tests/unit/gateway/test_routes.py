"""Routing, problems and their description: three tables that must agree."""

import re
from typing import Any

import pytest
from aiohttp import web
from openapi_spec_validator import OpenAPIV31SpecValidator

from gateway.app import Router
from gateway.calls import Call
from gateway.openapi import openapi_document
from gateway.operations import OPERATIONS
from gateway.problems import PROBLEMS, Problem, Retry, problem_document, problem_response, refusal
from gateway.routes import ROUTES


async def _nothing(_call: Call) -> web.Response:
    return web.Response()


ROUTER = Router({route.name: _nothing for route in ROUTES})


@pytest.mark.parametrize(
    ("method", "target", "name", "params", "query"),
    [
        ("POST", "/v1/intents", "post_intent", {}, {}),
        ("POST", "/intents", "post_intent", {}, {}),
        ("GET", "/v1/intents/7", "get_intent", {"id": "7"}, {}),
        ("HEAD", "/v1/intents/7", "get_intent", {"id": "7"}, {}),
        ("POST", "/v1/intents/7/cancel", "cancel_intent", {"id": "7"}, {}),
        ("GET", "/v1/accounts/user%3Aa%3ATHB/balance", "get_balance", {"name": "user:a:THB"}, {}),
        ("GET", "/v1/accounts/a%2Fb/balance", "get_balance", {"name": "a/b"}, {}),
        ("GET", "/v1/accounts/a/history?limit=5&cursor=", "get_history", {"name": "a"}, {"limit": "5", "cursor": ""}),
        ("GET", "/v1/accounts/user%3Aa%3ATHB/limits", "get_limits", {"name": "user:a:THB"}, {}),
        ("POST", "/v1/fees/dry-run", "dry_run", {}, {}),
        ("GET", "/livez", "livez", {}, {}),
        ("GET", "/livez?", "livez", {}, {}),
    ],
)
def test_a_target_finds_its_route(
    method: str, target: str, name: str, params: dict[str, str], query: dict[str, str]
) -> None:
    """With what its path and query say."""
    route, _, found_params, found_query = ROUTER.find(method, target)
    assert (route.name, found_params, found_query) == (name, params, query)


@pytest.mark.parametrize(
    ("method", "target", "code"),
    [
        ("GET", "/", "not_found"),
        ("GET", "", "not_found"),
        ("GET", "*", "not_found"),
        ("GET", "http://x/livez", "not_found"),
        ("GET", "/livez/", "not_found"),
        ("GET", "//livez", "not_found"),
        ("GET", "/v1/intents/7/", "not_found"),
        ("GET", "/v1/intents/../livez", "not_found"),
        ("PATCH", "/v1/intents", "method_not_allowed"),
        ("post", "/v1/intents", "method_not_allowed"),
        ("HEAD", "/v1/intents", "method_not_allowed"),
        ("GET", "/livez?verbose=1", "bad_parameter"),
        ("POST", "/v1/intents?x", "bad_parameter"),
        ("GET", "/v1/accounts/a/history?limit=1&limit=1", "bad_parameter"),
        ("GET", "/" + "a" * 3000, "bad_request"),
    ],
)
def test_a_target_that_leads_nowhere_is_a_problem(method: str, target: str, code: str) -> None:
    """Never another exception."""
    with pytest.raises(Problem) as raised:
        ROUTER.find(method, target)
    assert raised.value.code == code


def test_the_description_is_valid_openapi() -> None:
    """3.1, by the validator's word."""
    document = openapi_document(version="1.2.3")
    OpenAPIV31SpecValidator(document).validate()
    assert document["info"]["version"] == "1.2.3"


def test_the_description_names_every_route_every_model_and_every_problem() -> None:
    """And each of them once."""
    document = openapi_document(version="1")
    described = {(path, method) for path, methods in document["paths"].items() for method in methods}
    expected = {(path, route.method.lower()) for route in ROUTES for path in (route.path, *route.aliases)}
    assert described == expected
    names = [operation["operationId"] for methods in document["paths"].values() for operation in methods.values()]
    assert len(names) == len(set(names))
    said = set(re.findall(r"`([a-z_0-9]+)`:", str(document["paths"])))
    assert said == set(PROBLEMS) - {"not_found", "method_not_allowed"}


def test_the_description_carries_the_bounds_of_a_transfer() -> None:
    """A client that validates against it is refused for nothing but what it cannot know."""
    transfer = openapi_document(version="1")["components"]["schemas"]["P2PTransferRequest"]
    assert transfer["additionalProperties"] is False
    assert transfer["properties"]["amount_minor"]["maximum"] == 2**62
    assert transfer["properties"]["operation_type"]["const"] == "P2P_TRANSFER"
    assert set(transfer["required"]) == {"operation_type", "from_account", "to_account", "amount_minor", "currency"}


def test_the_description_tells_of_rates_on_every_signed_route_and_on_no_other() -> None:
    """With what is left on every answer, and when to come back on a refusal."""
    paths = openapi_document(version="1")["paths"]
    for route in ROUTES:
        responses = paths[route.path][route.method.lower()]["responses"]
        for status in route.answers:
            named = set(responses[str(status)].get("headers", {}))
            assert ({"RateLimit", "RateLimit-Policy"} <= named) is route.signed
        assert ("429" in responses) is route.signed
        if route.signed:
            assert "`rate_limited`" in responses["429"]["description"]
            assert set(responses["429"]["headers"]) == {"RateLimit", "RateLimit-Policy", "Retry-After"}


def test_the_description_tells_all_operations_apart() -> None:
    """By their type, each with a model of its own."""
    body = openapi_document(version="1")["paths"]["/v1/intents"]["post"]["requestBody"]
    schema = body["content"]["application/json"]["schema"]
    assert set(schema["discriminator"]["mapping"]) == set(OPERATIONS)
    assert len(set(schema["discriminator"]["mapping"].values())) == len(schema["oneOf"]) == len(OPERATIONS)


@pytest.mark.parametrize("code", PROBLEMS)
def test_every_problem_says_what_may_be_done_about_it(code: str) -> None:
    """An RFC 9457 document whose retry and retryable agree; what is for later says when."""
    problem = Problem(code, "words", intent_id="7")
    document = problem_document(problem, correlation_id="c")
    assert document["type"] == (problem.kind.type_uri or f"urn:problem-type:paymesh:{code}")
    assert document["status"] == problem.kind.status
    assert document["retryable"] is (document["retry"] is not Retry.NEVER)
    assert (document["detail"], document["intent_id"], document["correlation_id"]) == ("words", "7", "c")
    response = problem_response(problem, correlation_id="c")
    assert response.content_type == "application/problem+json"
    assert ("Retry-After" in response.headers) is (response.status in (429, 503))
    assert ("WWW-Authenticate" in response.headers) is (response.status == 401)
    assert response.status < 500 or document["retry"] is Retry.SAME_KEY


def test_the_retries_of_problems_that_are_the_requests_own_fault_are_never() -> None:
    """Except where time, or a new key, mends them."""
    exceptions = {"signature_expired", "body_timeout", "idempotency_key_reused", "too_many_streams", "rate_limited"}
    for kind in PROBLEMS.values():
        if kind.status < 500:
            assert (kind.retry is not Retry.NEVER) == (kind.code in exceptions), kind.code


@pytest.mark.parametrize(
    ("code", "retry"),
    [
        ("insufficient_funds", "new_key"),
        ("unknown_account", "new_key"),
        ("limit_exceeded", "new_key"),
        ("velocity_exceeded", "new_key"),
        ("fee_rule_failed", "new_key"),
        ("velocity_rule_failed", "new_key"),
        ("plan_too_long", "new_key"),
        ("self_transfer", "never"),
        ("brand_new", "new_key"),
    ],
)
def test_a_refused_intent_never_offers_its_own_key_again(code: str, retry: str) -> None:
    """The key is bound to the refusal for good."""
    error = refusal(code, None)
    assert (error["retry"], error["retryable"]) == (retry, retry != "never")
    assert error["detail"]


@pytest.mark.parametrize(
    ("data", "more"),
    [
        ({}, {}),
        ({"limit": {"rule": "day", "cap": 5}}, {"limit": {"rule": "day", "cap": 5}}),
        ({"rule": "bad", "version": 2}, {"rule": {"name": "bad", "version": 2}}),
        ({"of": "a later release"}, {}),
    ],
)
def test_a_refusal_names_the_limit_or_the_rule_that_refused(data: dict[str, Any], more: dict[str, Any]) -> None:
    """As it was stored; what is not known here is left out."""
    assert refusal("x", "y", data) == refusal("x", "y") | more


def test_long_words_are_cut_in_a_problem() -> None:
    """An answer is bounded too."""
    problem = Problem("wrong_type", "x" * 5000, faults=(("y" * 5000, "wrong_type", "z" * 5000),) * 50)
    assert len(str(problem_document(problem, correlation_id="c"))) < 30_000
