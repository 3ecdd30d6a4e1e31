"""A member that is there twice is found wherever it stands, and nothing else is taken for one."""

from __future__ import annotations

import json
import time
import tracemalloc
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops.errors import InputError
from serving.members import check_members, decode_json, decoded

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.sampled_from('ab"\\'), max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.sampled_from('ab"\\'), max_size=2), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(value=JSON)
def test_what_has_each_member_once_is_what_it_says(value: Any) -> None:
    for escaped in (True, False):
        assert decoded(json.dumps(value, ensure_ascii=escaped).encode()) == value


@given(value=JSON, name=st.text(st.sampled_from('ab"\\'), max_size=2), first=JSON, second=JSON)
def test_a_member_that_is_there_twice_is_found_at_any_depth(
    value: Any, name: str, first: Any, second: Any
) -> None:
    key, one, two = (json.dumps(part) for part in (name, first, second))
    twice = f"[{json.dumps(value)}, {{{key}: {one}, {key}: {two}}}]"
    with pytest.raises(InputError, match="is there twice"):
        decoded(twice.encode())


def test_it_is_named_after_its_place_in_a_list_however_deep() -> None:
    for body, said in (
        (b'{"a": [[{"b": 1, "b": 2}]]}', "b: is there twice"),
        (b'[{"a": 1}, 7, [{"b": {"c": 1, "c": "c"}}]]', r"\[2\].c: is there twice"),
    ):
        with pytest.raises(InputError, match=f"^{said}"):
            decoded(body)


def test_a_member_that_is_there_twice_is_found_among_very_many_as_fast_as_they_are_read() -> None:
    names = b",".join(b'"%d":1' % number for number in range(200_000))
    for check in (decoded, lambda body: check_members(body, decode_json(body))):
        started = time.process_time()
        with pytest.raises(InputError, match=r"^0: is there twice"):
            check(b'{%b,"0":1}' % names)
        assert time.process_time() - started < 10  # by the square of their number it would take ten minutes


@pytest.mark.parametrize("ending", [b"", b',"b":[]'])
def test_what_is_decoded_is_let_go_before_a_member_that_is_there_twice_is_looked_for(ending: bytes) -> None:
    rows = b'"\\"":[%b[1]]' % (b"[1]," * 20_000)
    tracemalloc.start()
    try:
        decoded(b'{%b,"b":1}' % rows)
        once = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        with suppress(InputError):
            decoded(b'{%b,"b":1%b}' % (rows, ending))
        assert tracemalloc.get_traced_memory()[1] < 1.3 * once
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"a": tru}'])
def test_what_is_no_json_is_said(body: bytes) -> None:
    with pytest.raises(InputError, match="the body is not JSON"):
        decoded(body)
