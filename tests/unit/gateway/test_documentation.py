"""`docs/api.md` against the code: its vectors, its examples and its tables."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from gateway.events import HEARTBEAT_S, RECONNECT_MS
from gateway.fields import PROXY_CHARS_MAX, QR_CHARS_MAX, TTL_S_MAX, TTL_S_MIN, WORDS_CHARS_MAX
from gateway.operations import OPERATIONS
from gateway.problems import PROBLEMS, refusal
from gateway.requests import parse_operation
from gateway.routes import ROUTES
from gateway.rule_views import DryRunView, LimitsView
from gateway.settings import BODY_BYTES_MAX, GatewaySettings
from gateway.views import IntentView, ProblemView, RefusalView, StepView, TimelineView
from shared.rules.limits import LIMIT_EXCEEDED
from shared.rules.refusals import FEE_RULE_FAILED, VELOCITY_EXCEEDED, VELOCITY_RULE_FAILED
from shared.signing import TOLERANCE_S, SignedRequest, canonical, sign
from shared.states import TERMINAL, IntentState

DOCUMENT = (Path(__file__).parents[3] / "docs" / "api.md").read_text()
SECRET = "pms_example_secret_do_not_use"
TIMESTAMP = "1767225600"


def blocks(language: str) -> list[str]:
    """Return the code blocks of one language."""
    return re.findall(rf"```{language}\n(.*?)\n```", DOCUMENT, flags=re.DOTALL)


def rows(columns: int) -> list[tuple[str, ...]]:
    """Return the cells of every table row of that width."""
    found = [
        tuple(cell.strip() for cell in line.strip("|").split("|")) for line in DOCUMENT.splitlines() if line[:1] == "|"
    ]
    return [cells for cells in found if len(cells) == columns]


BODY = blocks("json")[0].encode()
EXAMPLE = SignedRequest("POST", "/v1/intents", TIMESTAMP, "order-1001", "alice", BODY)


def test_the_worked_example_is_signed_as_the_document_says() -> None:
    """String and signature, and the vector without key, user and body."""
    _, signed, signature, bare, *_ = blocks("text")
    assert canonical(EXAMPLE).decode() == signed
    assert sign(SECRET.encode(), EXAMPLE) == signature
    history = SignedRequest("GET", "/v1/accounts/user:alice:THB/history?limit=10", TIMESTAMP)
    assert sign(SECRET.encode(), history) == bare
    parse_operation(BODY)


def test_the_python_of_the_document_makes_the_same_signature() -> None:
    """As an integrator would paste it."""
    names: dict[str, Any] = {}
    exec(blocks("python")[0], names)  # noqa: S102 - our own document
    made = names["signature"](SECRET, "POST", "/v1/intents", TIMESTAMP, "order-1001", "alice", BODY)
    assert made == sign(SECRET.encode(), EXAMPLE)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl on PATH")
def test_the_shell_of_the_document_makes_the_same_signature() -> None:
    """With curl and date replaced by something that tells."""
    script = f"date() {{ echo {TIMESTAMP}; }}\ncurl() {{ printf '%s\\n' \"$@\"; }}\n" + blocks("sh")[0]
    run = subprocess.run(
        ["sh", "-euc", script],
        env={"PATH": "/usr/bin:/bin", "PAYMESH_SERVICE_KEY": "demo", "PAYMESH_SERVICE_SECRET": SECRET},
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"X-Signature: {sign(SECRET.encode(), EXAMPLE)}" in run.stdout.splitlines()
    assert BODY.decode() in run.stdout.splitlines()


def test_the_table_of_errors_is_the_table_of_problems() -> None:
    """Row by row, in its order."""
    expected = [(str(kind.status), f"`{kind.code}`", f"`{kind.retry}`", kind.title) for kind in PROBLEMS.values()]
    assert [row for row in rows(4) if row[0].isdigit()] == expected


def test_the_table_of_refusals_says_what_the_code_says() -> None:
    """Each with its retry; whatever a rule refuses by is among them."""
    listed = {row[0].strip("`"): row[1].strip("`") for row in rows(3) if row[1] in ("`new_key`", "`never`")}
    assert listed == {code: refusal(code, None)["retry"] for code in listed}
    assert set(listed) >= {
        LIMIT_EXCEEDED, VELOCITY_EXCEEDED, FEE_RULE_FAILED, VELOCITY_RULE_FAILED, "plan_too_long", "no_route",
        "amount_out_of_range", "psp_unavailable", "unknown_account", "insufficient_funds",
    }  # fmt: skip


def test_the_table_of_states_names_every_state_and_which_are_final() -> None:
    """So that a client knows when to stop asking."""
    listed = {row[0].strip("`"): row[1] == "yes" for row in rows(3) if row[0].strip("`") in IntentState.__members__}
    assert listed == {state.value: state in TERMINAL for state in IntentState}


def test_every_path_of_the_document_exists_and_every_path_is_in_the_document() -> None:
    """The first table."""
    for route in ROUTES:
        for path in (route.path, *route.aliases):
            assert f"{path}`" in DOCUMENT or f"`{path}`" in DOCUMENT, path


def test_every_operation_has_an_example_that_is_accepted() -> None:
    """As an integrator would paste it."""
    bodies = [block for block in blocks("json") if block.startswith('{"operation_type"')]
    posted = [parse_operation(body.encode()).operation_type for body in bodies]
    assert posted == ["P2P_TRANSFER", "IPPS_WITHDRAWAL", "THAI_QR_PAY", "QP_TOPUP"]


def test_every_field_of_every_operation_stands_in_the_document() -> None:
    """Those that several operations share are named once, in the first table that has them."""
    for kind in OPERATIONS.values():
        for name in kind.request.model_fields:
            assert f"`{name}" in DOCUMENT, name


def test_the_examples_keep_the_promise_of_the_models() -> None:
    """Answers as they are sent."""
    shown = [json.loads(block) for block in blocks("json")]
    intents = [document for document in shown if "state" in document and "events" not in document]
    (told,) = (document for document in shown if "events" in document)
    TimelineView.model_validate(told)
    problems = [document for document in shown if "type" in document]
    refused = [document for document in shown if {"code", "retry"} <= set(document) and "type" not in document]
    (ran,) = (document for document in shown if "fees" in document)
    (limited,) = (document for document in shown if "name" in document and "limits" in document)
    views = [IntentView.model_validate(document) for document in intents]
    assert [view.operation and view.operation.operation_type for view in views] == [
        "P2P_TRANSFER", "QP_TOPUP", "QP_TOPUP", "LATE_CREDIT",
    ]  # fmt: skip
    assert [RefusalView.model_validate(one).code for one in refused] == ["insufficient_funds", "limit_exceeded"]
    DryRunView.model_validate(ran)
    LimitsView.model_validate(limited)
    for document in problems:
        problem = ProblemView.model_validate(document)
        kind = PROBLEMS[problem.code]
        assert (problem.title, problem.status, problem.retry) == (kind.title, kind.status, kind.retry)
        assert problem.type == (kind.type_uri or f"urn:problem-type:paymesh:{kind.code}")
    assert {document["code"] for document in problems} == {"amount_out_of_range", "psp_unavailable", "rate_limited"}


def test_the_numbers_of_the_document_are_the_numbers_of_the_code() -> None:
    """Bounds an integrator plans with."""
    assert f"at most {TOLERANCE_S} off" in DOCUMENT
    assert f"over {BODY_BYTES_MAX // 1024} KiB" in DOCUMENT
    assert f"1 to {WORDS_CHARS_MAX} characters" in DOCUMENT
    assert f"up to {PROXY_CHARS_MAX} characters" in DOCUMENT
    assert f"up to {QR_CHARS_MAX} characters of printable ASCII" in DOCUMENT
    assert f"{TTL_S_MIN} to {TTL_S_MAX} seconds" in DOCUMENT
    own = GatewaySettings.model_fields
    assert f"{own['rate_requests'].default:,} in\n{own['rate_per_s'].default} seconds unless" in DOCUMENT


def test_the_example_of_a_stream_keeps_the_promise_of_the_model() -> None:
    """Events as they are sent, at the pace that is promised."""
    example = blocks("text")[-1]
    steps = [StepView.model_validate_json(data) for data in re.findall(r"^data: (.*)$", example, flags=re.MULTILINE)]
    assert [(str(step.seq), step.final) for step in steps] == [
        (number, step.state in TERMINAL)
        for number, step in zip(re.findall(r"^id: (.*)$", example, flags=re.MULTILINE), steps, strict=True)
    ]
    assert f"retry: {RECONNECT_MS}\n" in example
    assert f"comment comes every {HEARTBEAT_S:.0f} seconds" in DOCUMENT
