"""Pages as one HTML file each, with their style and pictures inside, that open without a network."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from mlops.storage import replace_file
from monitoring.page import words
from monitoring.page.bars import cost_bars, drift_bars, stage_bars
from monitoring.page.curves import draw_curves
from monitoring.page.daily import draw_daily
from monitoring.page.timeline import draw_timeline
from monitoring.results import MonitorResult
from monitoring.story import Story

__all__ = ["render", "render_report"]

_HERE = Path(__file__).parent


def render(story: Story, target: Path) -> None:
    """Write the demo's story to the HTML file `target`, atomically. Its links are relative to that file's folder."""
    title, lead = words.headline(story)
    _write(
        target,
        "index.html.j2",
        story=story,
        title=title,
        lead=lead,
        draw_timeline=draw_timeline,
        draw_daily=draw_daily,
        draw_curves=draw_curves,
        cost_bars=cost_bars(story),
        drift_bars=drift_bars(story.drift),
        stage_bars=stage_bars(story.stages),
    )


def render_report(result: MonitorResult, target: Path) -> None:
    """Write what one look of monitoring found to the HTML file `target`, beside `result.json`, atomically."""
    _write(
        target,
        "report.html.j2",
        result=result,
        title=words.verdict(result),
        drift_bars=None if result.drift is None else drift_bars(result.drift),
    )


def _write(target: Path, template: str, **values: object) -> None:
    env = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for name in ("ap", "count", "duration", "figures", "number", "share", "small"):
        env.filters[name] = getattr(words, name)
    page = env.get_template(template).render(**values)
    with replace_file(target) as path:
        path.write_text(page, encoding="utf-8")
