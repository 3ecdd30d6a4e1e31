"""The pages as bytes: whole, from one answer, and with a policy that allows what is in them and nothing else."""

from __future__ import annotations

import http.client
import re
from base64 import b64encode
from hashlib import sha256

import pytest

from tests.serving.example import World


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, dict[str, str]]]:
    """Text and headers of each page, from a server that asks for keys elsewhere."""
    folder = tmp_path_factory.mktemp("pages")
    (folder / "api-keys.json").write_text('{"keys": []}')
    (folder / "api-keys.json").chmod(0o600)
    found = {}
    with World(folder).server("--keys", str(folder / "api-keys.json")) as server:
        for path in ("/", "/docs"):
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
            connection.request("GET", path)
            response = connection.getresponse()
            assert response.status == 200
            headers = {name.lower(): value for name, value in response.getheaders()}
            found[path] = response.read().decode(), headers
            connection.close()
    return found


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_a_page_is_one_answer_that_loads_nothing(
    pages: dict[str, tuple[str, dict[str, str]]], path: str
) -> None:
    html, headers = pages[path]
    assert headers["content-type"] == "text/html; charset=utf-8"
    assert not re.findall(r"""(?:src|srcset|action)=|\burl\(|@import|href=["'](?:https?:)?//""", html)
    assert not re.search(r"/\* [a-z]+\.(css|js)", html), "a file was not put in"


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_the_policy_allows_the_pages_style_and_script_alone(
    pages: dict[str, tuple[str, dict[str, str]]], path: str
) -> None:
    html, headers = pages[path]
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    for kind in ("style", "script"):
        (text,) = re.findall(rf"<{kind}>(.*?)</{kind}>", html, re.DOTALL)
        digest = b64encode(sha256(text.encode()).digest()).decode()
        assert policy[f"{kind}-src"] == f"'sha256-{digest}'"
    assert policy["default-src"] == policy["form-action"] == policy["frame-ancestors"] == "'none'"
    assert policy["connect-src"] == "'self'"
    assert not re.search(r" style=| on[a-z]+=|innerHTML|eval\(", html)
