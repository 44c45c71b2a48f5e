"""The Prefer header: `wait` is honoured, everything else is ignored."""

import pytest
from aiohttp.test_utils import make_mocked_request

from gateway.prefer import wait_seconds


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], 7),
        (["wait=5"], 5),
        (["wait = 5"], 5),
        (['wait="5"'], 5),
        (["WAIT=5"], 5),
        (["respond-async, wait=5"], 5),
        (["respond-async", "wait=5"], 5),
        (["wait=5, wait=9"], 5),
        (["wait=0"], 0),
        (["wait=31"], 30),
        (["wait=999999"], 30),
        (["wait=9999999"], 7),
        (["wait=-1"], 7),
        (["wait=1.5"], 7),
        (["wait=soon"], 7),
        (["await=5"], 7),
        (["wait"], 7),
        (["wait=\u0665"], 7),
        ([""], 7),
    ],
)
def test_wait_is_read_where_it_can_be(values: list[str], expected: int) -> None:
    """The first one counts, up to what is allowed; what cannot be read changes nothing."""
    request = make_mocked_request("GET", "/", headers=[("Prefer", value) for value in values])
    assert wait_seconds(request, default_s=7, max_s=30) == expected
