"""Expressions: what may stand in a rule, and how whoever writes another thing is told where."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.rules.expressions import DEPTH_MAX, SOURCE_MAX, BadExpression, EvaluationFailed, compile_expression
from shared.rules.expressions import Context as EngineContext


@pytest.mark.parametrize(
    ("source", "needs"),
    [
        ("true", set()),
        ("amount > 1000 && currency == 'THB'", {"amount", "currency"}),
        ('"vip" in tags || size(tags) > 3', {"tags"}),
        ("tags.exists(t, t.startsWith('vip'))", {"tags"}),
        ("has(metadata.tier) && metadata['tier'] == 'gold'", {"metadata"}),
        ("hour >= 22 || weekday in [6, 7]", {"hour", "weekday"}),
        ("user_id.contains('(') && channel.endsWith(']')", {"user_id", "channel"}),
    ],
)
def test_what_may_stand_in_a_rule(source: str, needs: set[str]) -> None:
    """And which variables it needs; the one that a comprehension binds is its own."""
    assert compile_expression(source).needs == needs


@pytest.mark.parametrize(
    ("source", "column", "words"),
    [
        ("amout > 5", 1, "there is no variable amout; there are amount"),
        ("amount > 5 && amnt", 15, "there is no variable amnt"),
        ("amount >", 9, "mismatched input"),
        ("amount > 5)", 11, "closes nothing"),
        ("(" * (DEPTH_MAX + 1) + "1" + ")" * (DEPTH_MAX + 1), DEPTH_MAX + 1, "deep"),
        ("'a'.matches('a+')", 5, "matches may not be used"),
        ("double(amount) > 1.0", 1, "double may not be used"),
        ("timestamp('2020-01-01T00:00:00Z') == 1", 1, "timestamp may not be used"),
        ("[1, 2].map(x, x * 2) == []", None, "walks tags or metadata"),
        ("tags.all(t, tags.all(u, t == u))", 13, "one comprehension at most"),
        ("tags.all(amount, amount == 'x')", 10, "a name of its own"),
        ("   ", None, "says something"),
        ("1" * (SOURCE_MAX + 1), None, "characters"),
    ],
)
def test_what_may_not_is_refused_where_it_stands(source: str, column: int | None, words: str) -> None:
    """With the column, as far as it is known."""
    with pytest.raises(BadExpression, match=words) as refused:
        compile_expression(source)
    if column is not None:
        assert refused.value.column == column


_NESTED = "tags.all(amount, tags.all(amount, tags.all(amount, true)))"


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (_NESTED.replace("(amount", "(//\namount"), "no comments"),
        (_NESTED.replace("tags.all", "tags.//\nall"), "no comments"),
        (_NESTED.replace("(amount", "((amount)"), "one comprehension at most"),
        (f"r'\\' == '' || {_NESTED} || '' == ''", "raw text has no backslash"),
        (f'R"\\" == "" || {_NESTED} || "" == ""', "raw text has no backslash"),
        (f"'''x' ''' == '' || {_NESTED} || '' == ''' 'y'''", "three quotes"),
        (_NESTED.replace("all", "existsOne"), "one comprehension at most"),
        (_NESTED.replace("all(amount,", "map(amount, true,"), "one comprehension at most"),
        ("tags.all((amount), true)", "walks tags or metadata"),
    ],
)
def test_no_way_of_writing_hides_a_comprehension(source: str, words: str) -> None:
    """Else three inside each other would walk sixteen tags sixteen by sixteen times, and eight would never end."""
    with pytest.raises(BadExpression, match=words):
        compile_expression(source)


@pytest.mark.parametrize("source", ["user_id == '// no comment'", "r'a' in tags", "user_id == '\\'tags.all(x, 1)\\''"])
def test_what_stands_in_a_text_is_no_part_of_the_expression(source: str) -> None:
    """Neither a comment nor a comprehension."""
    assert compile_expression(source).source == source


@given(st.text(max_size=60) | st.from_regex(r"[a-z0-9 ().,\[\]&|<>=!+*/'\"-]{0,60}", fullmatch=True))
def test_no_text_does_more_than_be_refused(source: str) -> None:
    """Whatever is typed, it compiles or says why not; and evaluates or says why not."""
    try:
        expression = compile_expression(source)
    except BadExpression:
        return
    context = EngineContext()
    context.set({"amount": 5, "currency": "THB", "operation_type": "X", "channel": "C", "user_id": "u", "hour": 1,
                 "weekday": 1, "tags": ["a"], "metadata": {"a": "b"}})  # fmt: skip
    for ask in (context.condition, context.amount):
        with suppress(EvaluationFailed):
            assert type(ask(expression)) in (bool, int)
