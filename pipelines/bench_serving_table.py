"""What the bench of serving found, in short: a table to be read or pasted, and what makes its figures doubtful."""

from __future__ import annotations

from collections.abc import Iterator

from pipelines.bench_serving import ServingBench
from pipelines.bench_serving_load import Rate

__all__ = ["NOISE", "doubts", "table"]

NOISE = 0.1
"""The share of a core that others may have while something is measured on it."""

_AT_LEAST = {
    "tensor_rps": 14_000,
    "event_rps": 8_000,
    "goodput_at_2x": 0.9,
    "vs_mlflow": 50,
    "vs_mlserver": 20,
    "vs_bentoml": 50,
}
_AT_MOST = {"p99_ms_at_500": 1.5, "p99_ms_at_2000": 3, "ready_s": 1.5, "uss_mb": 150}
_FIGURES = (
    *(
        "tensor_rps",
        "event_rps",
        "p99_ms_at_500",
        "p99_ms_at_2000",
        "bare_p99_ms_at_500",
        "bare_p99_ms_at_2000",
    ),
    *("goodput_at_2x", "ready_s", "uss_mb", "vs_mlflow", "vs_mlflow_tensor", "vs_mlserver", "vs_bentoml"),
    *("ceiling_rps", "generator_rps"),
)
_RATES = ("tensor", "events", "bare")


def table(result: ServingBench) -> str:
    """Each figure, what is asked of it, and where an event's time goes, in Markdown."""
    cores = f"one of {result.cores} cores of {result.machine}"
    lines = [
        f"{result.measured_at[:10]}, {cores}, Python {result.versions['python']}",
        "",
        "| figure | measured | asked for |",
        "|---|---|---|",
    ]
    lines += [f"| {name} | {_shown(getattr(result, name))} | {_asked(result, name)} |" for name in _FIGURES]
    stages = sorted(result.stage_us.items(), key=lambda each: -each[1])
    told = ", ".join(f"{stage} {us:.1f}" for stage, us in stages)
    return "\n".join([*lines, "", f"An event's processor time, {result.event_cpu_us:.1f} µs: {told}."])


def doubts(result: ServingBench) -> list[str]:
    """A line for each thing that was measured while others had much of a core, and for each server that was not."""
    lines = [
        f"warning: {what}: others had {share:.0%} of {core}; not to be trusted"
        for what, rate in _measured(result)
        for core, share in (("the server's core", rate.others), ("the load's core", rate.load_others))
        if share > NOISE
    ]
    if strange := set(result.statuses_at_2x) - {"200", "503"}:
        lines.append(
            f"warning: at twice the saturation there were other answers: {', '.join(sorted(strange))}"
        )
    return lines + [
        f"not measured: {name}: {peer.failed}" for name, peer in result.peers.items() if peer.failed
    ]


def _measured(result: ServingBench) -> Iterator[tuple[str, Rate]]:
    for number, each in enumerate(result.rounds, start=1):
        for name in _RATES:
            yield f"round {number}, {name}", getattr(each, name)
        for name, rate in each.open.items():
            yield f"round {number}, {name}", rate
    for name, peer in result.peers.items():
        for number, rate in enumerate(peer.rates, start=1):
            yield f"{name}, round {number}", rate


def _shown(value: float | None) -> str:
    if value is None:
        return "not measured"
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def _asked(result: ServingBench, name: str) -> str:
    if name in _AT_LEAST:
        return f"at least {_AT_LEAST[name]:,}"
    if name not in _AT_MOST:
        return ""
    bare = getattr(result, f"bare_{name}", None)
    twice = f", or twice the bare framework's: {2 * bare:.4g}" if bare else ""
    return f"at most {_AT_MOST[name]:,}{twice}"
