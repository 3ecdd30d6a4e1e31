"""A member that is there twice is found wherever it stands, and nothing else is taken for one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops.errors import InputError
from serving.protocols.members import decoded

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


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"a": tru}'])
def test_what_is_no_json_is_said(body: bytes) -> None:
    with pytest.raises(InputError, match="the body is not JSON"):
        decoded(body)
