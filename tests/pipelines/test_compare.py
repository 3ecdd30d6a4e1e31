"""What a change is worth: a home's candidates beside the champion of another, on the same test events."""

from __future__ import annotations

import json
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import numpy as np
import pyarrow.parquet as pq
import pytest

from mlops import metrics
from mlops.deployment import read_deployment
from mlops.errors import InputError, IntegrityError
from mlops.settings import Settings
from pipelines import lifecycle
from pipelines.cli import main
from pipelines.compare import Comparison, compare
from pipelines.compare_page import REPORT, markdown, write_comparison
from tests.training import example
from tests.training.rules.given import SLICES
from training.train import train_candidate


def trained(home: Path, *, seed: int, promote: bool, **world: object) -> Settings:
    """A home whose only candidate went through the gate."""
    settings = example.settings(home)
    features = example.write_feature_table(settings.features, **world)  # type: ignore[arg-type]
    spec = example.spec(home, features, seed=seed)
    result = train_candidate(spec)
    with ThreadPoolExecutor(1) as pool:
        released = lifecycle.release(settings, [result], pool=pool, table=features)
    if promote:
        assert released.version is not None, released.sentence
        lifecycle.promote(settings, released.version)
    return settings


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """The home of the code before a change, with its champion."""
    return trained(tmp_path_factory.mktemp("base"), seed=0, promote=True)


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """The home of the code after it."""
    return trained(tmp_path_factory.mktemp("head"), seed=7, promote=False)


@pytest.fixture(scope="module")
def found(base: Settings, head: Settings) -> Comparison:
    return compare(head, base.home)


def scores(settings: Settings) -> dict[str, np.ndarray]:
    """The scored test events of a home with one bundle, in the order of their ids."""
    (path,) = settings.bundles.glob("*/evaluation.parquet")
    table = pq.read_table(path).sort_by("id")
    return {name: table[name].to_numpy() for name in table.column_names}


def test_the_difference_is_that_of_the_two_models_on_the_same_events(
    base: Settings, head: Settings, found: Comparison
) -> None:
    ours, theirs = scores(head), scores(base)
    (candidate,) = found.candidates
    assert not found.apart and candidate.better is not None
    expected = metrics.average_precision(ours["label"], ours["score"]) - metrics.average_precision(
        theirs["label"], theirs["score"]
    )
    assert candidate.better.value == pytest.approx(expected, abs=1e-12)
    assert candidate.better.low < candidate.better.value < candidate.better.high
    assert candidate.report.figures.ap.value - found.champion.report.figures.ap.value == pytest.approx(
        expected, abs=1e-6
    )


def test_what_decisions_save_is_the_difference_of_both_costs(found: Comparison) -> None:
    (candidate,) = found.candidates
    assert candidate.cheaper is not None
    ours, theirs = candidate.report.figures.cost, found.champion.report.figures.cost
    assert candidate.cheaper.value == pytest.approx(theirs.total - ours.total)


def test_the_gate_judges_against_the_other_home_s_champion(head: Settings, found: Comparison) -> None:
    """At home there was nobody to be better than; a model like the champion is not promoted in its place."""
    released = json.loads((head.home / lifecycle.RELEASE).read_text())
    (at_home,) = [c for c in released["verdicts"]["trees"]["checks"] if c["name"] == "champion"]
    (candidate,) = found.candidates
    (judged,) = [c for c in candidate.checks if c.name == "champion"]
    assert at_home["passed"] is None and judged.passed is False and not candidate.admitted
    assert len(candidate.checks) == len(released["verdicts"]["trees"]["checks"])


def test_slices_are_left_to_the_champion_s_home_which_is_not_to_say_that_there_is_no_champion(
    base: Settings, head: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    sliced = msgspec.structs.replace(example.USE_CASE, slices=SLICES)
    monkeypatch.setattr("pipelines.compare.use_case_of", lambda _: sliced)
    (candidate,) = compare(head, base.home).candidates
    (judged,) = [c for c in candidate.checks if c.name == "slices"]
    assert judged.passed is None and "left to the gate of the champion's home" in judged.text
    assert "there is no champion" not in " ".join(c.text for c in candidate.checks)


def test_the_same_model_differs_by_nothing(base: Settings) -> None:
    (candidate,) = compare(base, base.home).candidates
    assert candidate.better is not None and candidate.cheaper is not None
    assert (candidate.better.low, candidate.better.high) == (0, 0)
    assert (candidate.cheaper.low, candidate.cheaper.high) == (0, 0)


def test_other_test_events_are_told_apart_and_not_paired(base: Settings, tmp_path: Path) -> None:
    other = trained(tmp_path, seed=0, promote=False, turned=True)  # the same ids and labels, other amounts
    apart = compare(other, base.home)
    (candidate,) = apart.candidates
    assert apart.apart == "the test events are not the champion's, their column 'amount' differs"
    assert candidate.better is None and candidate.cheaper is None
    assert [c.passed for c in candidate.checks if c.name == "champion"] == [None]
    text = markdown(apart, example.USE_CASE)
    assert apart.apart in text and "mermaid" not in text and "would" not in text.splitlines()[0]


def test_the_report_has_figures_with_intervals_the_verdict_a_chart_and_what_each_takes(
    base: Settings, head: Settings, found: Comparison
) -> None:
    text = markdown(found, example.USE_CASE)
    (candidate,) = found.candidates
    assert text.startswith("## Machines that fail: the gate would keep the champion")
    for one in (found.champion, candidate):
        ap = one.report.figures.ap
        assert f"{ap.value:.3f} ({ap.low:.3f} to {ap.high:.3f})" in text
    assert f"{candidate.better.value:+.4g}" in text and f"{candidate.cheaper.value:+,.0f}" in text
    assert "Refused: an average precision of" in text
    assert f"bar [{candidate.better.value:.5f}]" in text
    for home, role in ((base, "**champion** (trees)"), (head, "trees")):
        released = json.loads((home.home / lifecycle.RELEASE).read_text())
        (took,) = [c["observed"] for c in released["verdicts"]["trees"]["checks"] if c["name"] == "latency"]
        assert re.search(rf"^\| {re.escape(role)} \| [\d.]+ \| {took:.3f} \| ", text, re.MULTILINE)
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert rows and all(re.fullmatch(r"\|( .* \|)+", row) for row in rows)


def test_the_folder_holds_the_report_and_pictures_that_stand_alone(found: Comparison, tmp_path: Path) -> None:
    report = write_comparison(found, example.USE_CASE, tmp_path / "out")
    assert report.name == REPORT and report.read_text() == markdown(found, example.USE_CASE)
    pictures = {path.name: ElementTree.parse(path) for path in report.parent.glob("*.svg")}
    assert {"difference.svg", "champion-precision-and-recall.svg", "candidate-reliability.svg"} <= set(
        pictures
    )
    for picture in pictures.values():
        root = picture.getroot()
        assert root.tag == "{http://www.w3.org/2000/svg}svg" and root[0].tag.endswith("style")


def test_only_an_earlier_comparison_is_replaced(found: Comparison, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for _ in range(2):
        write_comparison(found, example.USE_CASE, out)
    for name in ("keep.txt", "champion-cup.jpg"):
        (out / name).write_text("precious")
        with pytest.raises(InputError, match=f"would be replaced, but holds {name}"):
            write_comparison(found, example.USE_CASE, out)
        (out / name).unlink()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / REPORT).write_text("precious")
    for path, said in ((tmp_path / "mine", "holds report.md"), (out / REPORT, "is not a folder")):
        with pytest.raises(InputError, match=said):
            write_comparison(found, example.USE_CASE, path)
    assert (tmp_path / "mine" / REPORT).read_text() == "precious"


def test_a_candidate_s_name_cannot_call_anybody_or_leave_its_cell(found: Comparison) -> None:
    (candidate,) = found.candidates
    named = msgspec.structs.replace(candidate, name="a|b <img> @everyone `x`")
    text = markdown(msgspec.structs.replace(found, candidates=(named,)), example.USE_CASE)
    assert "a\\|b \\<img\\> \\@everyone" in text
    assert " @everyone" not in text.replace("\\@", "")


def test_without_a_champion_there_is_nothing_to_compare_with(head: Settings) -> None:
    assert read_deployment(head.pointer) is None
    with pytest.raises(InputError, match="nobody was promoted there"):
        compare(head, head.home)


def test_a_bundle_that_was_changed_is_not_reported(base: Settings, head: Settings, tmp_path: Path) -> None:
    shutil.copytree(base.home, tmp_path / "base")
    (evaluation,) = (tmp_path / "base" / "bundles").glob("*/bundle/evaluation.json")
    evaluation.write_text(evaluation.read_text().replace('"ap":', '"ap" :'))
    with pytest.raises(IntegrityError):
        compare(head, tmp_path / "base")


def test_the_command_prints_the_report_and_writes_it(
    base: Settings, head: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--home", str(head.home), "--usecase", head.usecase]
    main([*options, "compare", str(base.home), "--out", str(tmp_path / "out")])
    assert capsys.readouterr().out == (tmp_path / "out" / REPORT).read_text()
    (tmp_path / "out" / "keep.txt").write_text("precious")
    for out, said in ((tmp_path / "out", "holds keep.txt"), (Path(), "would be replaced")):
        with pytest.raises(SystemExit) as ended:
            main([*options, "compare", str(base.home), "--out", str(out)])
        assert ended.value.code == 2 and said in capsys.readouterr().err
    assert (tmp_path / "out" / "keep.txt").read_text() == "precious"
    with pytest.raises(SystemExit) as ended:
        main([*options, "compare", str(tmp_path / "nowhere")])
    assert ended.value.code == 2
    assert "nobody was promoted there" in capsys.readouterr().err
