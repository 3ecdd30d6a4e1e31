"""What is asked of a run of the Kubeflow pipeline, and refused before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlops.errors import ConfigError
from mlops.settings import Settings
from pipelines import kubeflow_runs
from pipelines.cli import main
from pipelines.kubeflow import COMPILED, compile_pipeline
from pipelines.kubeflow_arguments import checked, checked_there
from pipelines.kubeflow_pods import Options


def _refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """What is said of a command that ends with 2."""
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    assert ended.value.code == 2
    return capsys.readouterr().err


def test_arguments_are_checked_against_the_compiled_pipeline(tmp_path: Path) -> None:
    given = {"seed": 3, "monitor": True, "candidates": ["a"], "as_of": "", "effort": "standard"}
    assert checked(COMPILED, given) == given
    assert checked(COMPILED, {"as_of": "today"}) == {"as_of": "today"}
    for arguments, said in (
        ({"sed": 3}, "sed: no such parameter; it has against, as_of"),
        ({"seed": True}, "seed: True is not of type int"),
        ({"seed": -1}, "seed: -1 is not between 0 and 4294967295"),
        ({"events": 3}, "events: 3 is not of type str"),
        ({"events": "s3://key:secret@raw-events"}, "events: holds a password, which Kubeflow would keep"),
        ({"events": "https://[raw-events"}, "events: is no path or URI"),
        ({"against": "2018-13-01"}, "against: '2018-13-01' is not a date"),
        ({"monitor_as_of": "today"}, "monitor_as_of: 'today' is not a date"),
    ):
        with pytest.raises(ConfigError, match=said):
            checked(COMPILED, arguments)
    with pytest.raises(ConfigError, match="is no compiled pipeline; mlops kubeflow compile --out FILE"):
        checked(tmp_path / "none.yaml", {})


@pytest.mark.parametrize(
    ("pairs", "said"),
    [
        (
            [],
            "events: not said where they are; add --set events=PATH|URI, such as runs/events after "
            "`mlops simulate runs/events`",
        ),
        (["events={tmp}/nowhere"], "{tmp}/nowhere: no such file or folder"),
        (
            ["events={tmp}", "effort=huge"],
            "effort: no effort 'huge'; choose one of quick, standard, full",
        ),
        (
            ["events=s3://raw-events", "train_from=tomorrow"],
            "train_from: 'tomorrow' is not a date; write it as 2018-07-25",
        ),
        (["events={tmp}", 'candidates=["nobody"]'], "nobody"),
    ],
)
def test_what_cannot_be_run_here_is_refused_before_anything_runs(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    pairs: list[str],
    said: str,
) -> None:
    monkeypatch.setattr(kubeflow_runs, "run_here", None)
    pairs = [f"--set={pair.format(tmp=tmp_path)}" for pair in pairs]
    error = _refused(capsys, "--home", tmp_path / "home", "kubeflow", "run", *pairs)
    assert error.startswith("mlops: ") and said.format(tmp=tmp_path) in error and error.count("\n") == 1
    assert not (tmp_path / "home").exists()


def test_a_loop_that_would_be_empty_is_told_before_a_run_and_not_hours_into_it(tmp_path: Path) -> None:
    compiled = tmp_path / "gpu.yaml"
    compile_pipeline(Options(accelerated=("mlp-torch", "gru-torch"), accelerated_image="cuda"), compiled)
    settings = Settings(home=tmp_path)
    for given in ({}, {"candidates": ["mlp-torch", "watchful-trees"]}, {"effort": "full"}):
        assert checked_there(settings, compiled, given) == given
    for given, said in (
        (["watchful-trees"], "none of watchful-trees is trained with an accelerator"),
        (["mlp-torch", "gru-torch"], "none of mlp-torch, gru-torch is trained without an accelerator"),
        (["nobody"], "no candidate 'nobody'"),
    ):
        with pytest.raises(ConfigError, match=said):
            checked_there(settings, compiled, {"candidates": given})
    assert checked_there(settings, COMPILED, {"candidates": ["mlp-torch"]})


def test_where_to_compile_to_has_to_be_said(capsys: pytest.CaptureFixture[str]) -> None:
    before = COMPILED.stat()
    assert "Missing option '--out'" in _refused(capsys, "kubeflow", "compile", "--image", "mine:1")
    assert COMPILED.stat() == before


def test_a_candidate_that_there_is_not_is_named_before_what_it_would_want(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = ("kubeflow", "compile", "--out", tmp_path / "any.yaml", "--accelerate")
    assert "nonsense" in (error := _refused(capsys, *words, "nonsense")) and "CPU" not in error
    assert "trains on the CPU; name an image" in _refused(capsys, *words, "mlp-torch")
    assert not (tmp_path / "any.yaml").exists()


def test_a_label_that_is_none_is_named_and_nothing_is_for_an_accelerator_that_nobody_uses(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = ("kubeflow", "compile", "--out", tmp_path / "any.yaml")
    for label in ("c", "=b", "c="):
        said = f"--node: {label!r} is not LABEL=VALUE"
        assert said in _refused(capsys, *words, "--node", "a=b", "--node", label)
    for option, value in (("--node", "a=b"), ("--accelerator", "any/gpu"), ("--accelerated-image", "mine:1")):
        said = f"{option}: no candidate is for an accelerator; name one with --accelerate"
        assert said in _refused(capsys, *words, option, value)
    assert not (tmp_path / "any.yaml").exists()
