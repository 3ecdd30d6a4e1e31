"""Links between the project's own documents lead somewhere: to a file, and to a heading where they name one."""

from __future__ import annotations

import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CODE = re.compile(r"^ *(```+|~~~+).*?^ *\1 *$|^(?: {4}|\t).*?$", re.MULTILINE | re.DOTALL)


def _documents() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [ROOT / line for line in listed.stdout.splitlines() if (ROOT / line).exists()]


@cache
def _anchors(document: Path) -> frozenset[str]:
    """What a link into the document can name: its headings as GitHub writes them, and what it says itself."""
    text = CODE.sub("", document.read_text())
    found: list[str] = []
    for title in re.findall(r"^#{1,6} +(.+?)(?: +#+)?$", text, re.MULTILINE):
        plain = re.sub(r"!?\[([^]]*)\](?:\([^)]*\)|\[[^]]*\])", r"\1", title).lower().strip()
        name = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        number = sum(re.fullmatch(re.escape(name) + r"(-\d+)?", one) is not None for one in found)
        found.append(f"{name}-{number}" if name in found else name)
    return frozenset([*found, *re.findall(r'<a (?:id|name)="([^"]+)"', text)])


def _missing(document: Path) -> list[str]:
    """The links of a document that lead nowhere."""
    text = document.read_text()
    links = re.findall(r"\]\(([^)\s]+)[^)]*\)", text) + re.findall(r'(?:src|href)="([^"]+)"', text)
    wrong = []
    for link in links:
        if re.match(r"[a-z]+:|(\.\./){2,}(blob|actions)/", link):  # elsewhere, or another page of the forge
            continue
        path, _, anchor = link.partition("#")
        target = document.parent / path if path else document
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in _anchors(target)):
            wrong.append(link)
    return wrong


@pytest.mark.parametrize("document", _documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_files_and_headings(document: Path) -> None:
    assert _missing(document) == []


def test_headings_are_named_as_github_names_them(tmp_path: Path) -> None:
    document = tmp_path / "page.md"
    document.write_text(
        "# Late *labels*, `mlops erase` & costs\n\n## Why\n\n## Why\n\n## [A link](x.md) – here\n\n"
        '## snake_case, 90 %\n\n```sh\n# no heading\n```\n\n    # nor this\n\n<a id="own"></a>\n'
    )
    assert _anchors(document) == {
        "late-labels-mlops-erase--costs",
        "why",
        "why-1",
        "a-link--here",
        "snake_case-90-",
        "own",
    }


@pytest.mark.parametrize(
    ("link", "leads"),
    [
        ("page.md", True),
        ("page.md#why", True),
        ("#here", True),
        ("page.md#nowhere", False),
        ("#nowhere", False),
        ("absent.md", False),
        ("absent.md#why", False),
        ("https://example.com/#x", True),
        ("../../blob/status/nightly.md", True),
    ],
)
def test_a_link_to_no_file_or_no_heading_is_found(tmp_path: Path, link: str, leads: bool) -> None:
    (tmp_path / "page.md").write_text("# Why\n")
    document = tmp_path / "from.md"
    document.write_text(f"# Here\n\n[there]({link})\n")
    assert _missing(document) == ([] if leads else [link])
