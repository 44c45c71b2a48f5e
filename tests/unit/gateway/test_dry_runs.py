"""The dry run against the plan: for any rules and operation, what is told is what would be carried out."""

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gateway.operations import destination_of, sealed_message, subject_of
from gateway.requests import parse_operation
from gateway.rule_views import DryRunView, Usage, dry_run_document
from orchestrator.plan import plan_operation
from orchestrator.plan import subject_of as planned_subject
from shared.contracts import IntentMessage
from shared.ids import intent_id, unix_ms_of
from shared.plans import Plan
from shared.rules.book import RuleBook
from shared.rules.calendar import BusinessCalendar
from shared.rules.limits import allowances
from shared.rules.model import RULE_OPERATIONS, FeeAmount, FeeRule, LimitRule, Scope, Subject, Timing
from shared.rules.refusals import limit_refusal
from shared.rules.routes import Route
from shared.rules.terms import Terms, terms_of
from shared.sealing import KeyRing
from tests.channels import FixedChannels

RING = KeyRing.parse("k1:ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA=")
INTENT = intent_id(1_767_225_600_000_000, 1, 7)
AMOUNT_MAX = 5_000
BODIES: Sequence[dict[str, Any]] = (
    {"operation_type": "P2P_TRANSFER", "from_account": "user:a:THB", "to_account": "user:b:THB", "currency": "THB"},
    {"operation_type": "ADJUSTMENT", "account": "user:a:THB", "direction": "CREDIT", "currency": "THB"},
    {
        "operation_type": "IPPS_WITHDRAWAL", "from_account": "user:a:THB", "currency": "THB",
        "proxy_type": "MOBILE", "proxy": "0801234567",
    },
    {"operation_type": "THAI_QR_PAY", "from_account": "user:a:THB", "currency": "THB", "qr": "000201"},
    {"operation_type": "QP_TOPUP", "to_account": "user:a:RUB", "currency": "RUB"},
)  # fmt: skip
PAYER = {"QP_TOPUP": "psp:qp:RUB", "ADJUSTMENT": "equity:THB"}
PAYEE = {
    "P2P_TRANSFER": "user:b:THB", "ADJUSTMENT": "user:a:THB", "IPPS_WITHDRAWAL": "psp:ipps:THB",
    "THAI_QR_PAY": "psp:ipps:THB", "QP_TOPUP": "user:a:RUB",
}  # fmt: skip

small = st.integers(0, 300)
operations = st.builds(
    lambda body, amount, tags, labels: {
        **body,
        "amount_minor": amount,
        "metadata": {"tags": tags} | ({"labels": labels} if labels else {}),
    },
    st.sampled_from(BODIES),
    st.integers(1, AMOUNT_MAX),
    st.lists(st.sampled_from(["vip", "staff"]), unique=True, max_size=2),
    st.dictionaries(st.sampled_from(["tier", "shop"]), st.sampled_from(["gold", "tin"]), max_size=2),
)
scopes = st.builds(
    Scope,
    st.lists(st.sampled_from(RULE_OPERATIONS), min_size=1, unique=True).map(tuple),
    st.sampled_from(["THB", "RUB"]),
    st.sampled_from([(), (), ("vip",)]),
)
data = st.builds(FeeAmount, fixed_minor=small, bps=st.integers(0, 1_000), min_minor=small)
expressions = st.sampled_from(
    ["amount / 20", "amount > 1000 ? 7 : 3", "size(tags)", "1 / (amount - 500)", "amount * 2"]
)
conditions = st.sampled_from(
    [
        "true", "true", "true", "amount > 700", 'user_id == "a"', 'metadata.tier == "gold"', 'channel == "IPPS"',
        "weekday < 6",
    ]
)  # fmt: skip
fees = st.lists(
    st.builds(
        lambda number, scope, timing, amount, condition, final: FeeRule(
            f"fee-{number}", number, scope, timing, amount, f"fee:f{number}:{scope.currency}", condition, number, final
        ),
        st.integers(1, 9), scopes, st.sampled_from(Timing), data | expressions, conditions, st.booleans(),
    ),
    max_size=6,
    unique_by=lambda rule: rule.name,
)  # fmt: skip
cap = st.none() | st.integers(0, 2 * AMOUNT_MAX)
limits = st.lists(
    st.builds(LimitRule, st.sampled_from(["day", "month", "once"]), st.integers(1, 9), scopes, cap, cap, cap, cap, cap),
    max_size=3,
    unique_by=lambda rule: rule.name,
)
routes = st.lists(
    st.sampled_from(
        [
            Route(1, 1, "P2P_TRANSFER", None, 1, AMOUNT_MAX, "INTERNAL_P2P"),
            Route(2, 3, "ADJUSTMENT", None, 1, AMOUNT_MAX, "INTERNAL_ADJUSTMENT"),
            Route(3, 1, "IPPS_WITHDRAWAL", "THB", 1, AMOUNT_MAX, "BANK"),
            Route(4, 1, "IPPS_WITHDRAWAL", "THB", 1, AMOUNT_MAX, "IPPS", priority=200),
            Route(5, 1, "THAI_QR_PAY", None, 1, AMOUNT_MAX, "IPPS"),
            Route(6, 1, "QP_TOPUP", None, 1, AMOUNT_MAX, "QP"),
        ]
    ),
    min_size=5,
    unique_by=lambda route: route.id,
)
channels = st.builds(
    lambda refusals: FixedChannels(refusals=refusals),
    st.dictionaries(st.sampled_from(["ipps", "qp"]), st.just("paused"), max_size=1),
)


def message(request: Any) -> IntentMessage:
    """The request as the orchestrator is given it."""
    return IntentMessage(
        service_key="shop",
        user_id="a",
        idempotency_key="k",
        fingerprints=("k1:aa",),
        operation=sealed_message(RING, context=str(INTENT), request=request),
        destination=destination_of(RING, request),
    )


@given(operations, fees, limits, routes, channels)
def test_what_is_told_is_what_would_be_carried_out(
    body: dict[str, Any],
    fee_rules: list[FeeRule],
    limit_rules: list[LimitRule],
    ways: list[Route],
    ways_out: FixedChannels,
) -> None:
    """Figure by figure against the legs of the plan; refused by the same code, sentence and data."""
    book = RuleBook(calendar=BusinessCalendar("Asia/Bangkok"), fees=fee_rules, limits=limit_rules, routes=ways)
    request = parse_operation(json.dumps(body).encode())
    subject = subject_of(request, at_ms=unix_ms_of(INTENT), user_id="a")
    told = dry_run_document(subject, terms_of(subject, intent=INTENT, book=book, channels=ways_out), used={})
    DryRunView.model_validate(told)
    plan = plan_operation(message(request), intent=INTENT, book=book, is_open=lambda _: True, channels=ways_out)
    if not isinstance(plan, Plan):
        error = told["refusal"]
        assert (error["code"], error["detail"]) == (plan.code, plan.detail)
        assert error.get("limit") == plan.data.get("limit")
        assert error.get("rule", {}).get("name") == plan.data.get("rule")
        return
    assert told["refusal"] is None
    taken: Counter[str] = Counter()
    given_to: Counter[str] = Counter()
    for leg in plan.legs:
        taken[leg.debit] += leg.amount_minor
        given_to[leg.credit] += leg.amount_minor
    kind = body["operation_type"]
    assert told["channel"] == plan.channel
    assert told["payer_pays_minor"] == taken[PAYER.get(kind, "user:a:THB")]
    assert told["payee_gets_minor"] == given_to[PAYEE[kind]]
    assert told["psp_amount_minor"] == (plan.dispatch.amount_minor if plan.dispatch else None)
    if plan.dispatch is not None:
        at_psp = taken["psp:qp:RUB"] if kind == "QP_TOPUP" else given_to["psp:ipps:THB"]
        assert told["psp_amount_minor"] == at_psp
    charged = {fee["beneficiary"]: fee["amount_minor"] for fee in told["fees"]}
    assert charged == {name: amount for name, amount in given_to.items() if name.startswith("fee:")}
    assert [(one["rule"], one["version"], one["units"], one["cap"], one["measure"]) for one in told["limits"]] == [
        (use.rule, use.version, use.units, use.cap, use.measure) for use in plan.limits
    ]
    assert [(one["channel"], one["reason"]) for one in told["passed_over"]] == [
        (one.channel, one.reason) for one in plan.passed_over
    ]


@given(operations)
def test_rules_are_asked_about_the_same_subject_before_and_after_acceptance(body: dict[str, Any]) -> None:
    """All but the destination, which only velocity rules count by."""
    request = parse_operation(json.dumps(body).encode())
    ours, theirs = (
        subject_of(request, at_ms=unix_ms_of(INTENT), user_id="a"),
        planned_subject(message(request).operation, INTENT, message(request)),
    )
    names = [name for name in Subject.__dataclass_fields__ if name != "destination"]
    assert [getattr(ours, name) for name in names] == [getattr(theirs, name) for name in names]


def test_an_allowance_that_is_nearly_used_up_is_told_and_refuses() -> None:
    """By the sentence of the saga; the first that is exceeded, though all are told."""
    rule = LimitRule("day", 4, Scope(("P2P_TRANSFER",), "THB"), daily_max_minor=1_000, daily_max_count=5)
    book = RuleBook(
        calendar=BusinessCalendar("UTC"), limits=[rule], routes=[Route(1, 1, "P2P_TRANSFER", None, 1, 9_999, "HOUSE")]
    )
    request = parse_operation(json.dumps({**BODIES[0], "amount_minor": 300}).encode())
    subject = subject_of(request, at_ms=unix_ms_of(INTENT))
    terms = terms_of(subject, intent=INTENT, book=book, channels=FixedChannels())
    assert isinstance(terms, Terms)
    amount, count = allowances(rule, "user:a", subject.at_ms, book.calendar)
    for spent, exceeds in ((Usage(500, 200), False), (Usage(500, 201), True), (Usage(2_000), True)):
        told = dry_run_document(subject, terms, used={amount.account: spent, count.account: Usage(4)})
        left = max(1_000 - spent.used - spent.reserved, 0)
        first, second = told["limits"]
        assert (first["units"], first["left"], first["would_exceed"]) == (300, left, exceeds)
        assert (second["units"], second["left"], second["would_exceed"]) == (1, 1, False)
        refused = limit_refusal(terms.limits[0], "THB", left=left)
        assert told["refusal"] == (
            None
            if not exceeds
            else {"code": "limit_exceeded", "detail": refused.detail, "retry": "new_key", "retryable": True}
            | {"limit": refused.data["limit"]}
        )


def test_a_wallet_that_nobody_has_opened_is_told_before_any_limit() -> None:
    """As the saga would: it looks at accounts before the ledger looks at allowances."""
    rule = LimitRule("day", 4, Scope(("P2P_TRANSFER",), "THB"), daily_max_minor=1_000)
    book = RuleBook(
        calendar=BusinessCalendar("UTC"), limits=[rule], routes=[Route(1, 1, "P2P_TRANSFER", None, 1, 9_999, "HOUSE")]
    )
    request = parse_operation(json.dumps({**BODIES[0], "amount_minor": 300}).encode())
    subject = subject_of(request, at_ms=unix_ms_of(INTENT))
    terms = terms_of(subject, intent=INTENT, book=book, channels=FixedChannels())
    assert isinstance(terms, Terms)
    used = {terms.limits[0].account: Usage(1_000)}
    told = dry_run_document(subject, terms, used=used, unopened=["user:b:THB"])
    assert told["refusal"]["code"] == "unknown_account"
    assert told["refusal"]["detail"] == "no account named user:b:THB has been opened"
    assert told["limits"][0]["would_exceed"]
