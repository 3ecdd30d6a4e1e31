"""How a task takes its step: which errors it tries again, and as of which day a delivery has to be fresh."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from mlops.errors import ConfigError, InputError, SetupError
from pipelines.kubeflow_steps import RETRIES, fresh_day, tried


@pytest.mark.parametrize(
    ("error", "times", "taken"),
    [
        (SetupError("MLflow's database does not answer"), "2 0", 3),
        (OSError("connection reset"), "2 0", 3),
        (SetupError("no Java"), None, 1),  # with the local runner
        (InputError("the file is damaged"), "2 0", 1),
    ],
)
def test_only_what_may_pass_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, error: Exception, times: str | None, taken: int
) -> None:
    calls: list[int] = []

    def step(number: int) -> None:
        calls.append(number)
        raise error

    monkeypatch.delenv(RETRIES, raising=False)
    if times:
        monkeypatch.setenv(RETRIES, times)
    with pytest.raises(type(error)):
        tried(step)(7)
    assert calls == [7] * taken


def test_a_delivery_is_fresh_as_of_a_day_of_the_day_of_the_task_or_of_none() -> None:
    before = datetime.now(UTC).date()
    assert before <= (fresh_day("today") or date.min) <= datetime.now(UTC).date()
    assert fresh_day("2018-05-30") == date(2018, 5, 30) and fresh_day("") is None
    with pytest.raises(ConfigError, match="as_of: 'yesterday' is not a date"):
        fresh_day("yesterday")
