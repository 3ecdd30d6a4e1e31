"""The demo's page: one HTML file with its style and pictures inside, that opens without a network."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from mlops.storage import replace_file
from monitoring.page import words
from monitoring.page.bars import cost_bars, drift_bars, stage_bars
from monitoring.page.curves import draw_curves
from monitoring.page.daily import draw_daily
from monitoring.page.timeline import draw_timeline
from monitoring.story import Story

__all__ = ["render"]

_HERE = Path(__file__).parent


def render(story: Story, target: Path) -> None:
    """Write the story to the HTML file `target`, atomically. Links in it are relative to its folder."""
    env = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for name in ("ap", "count", "duration", "share", "small"):
        env.filters[name] = getattr(words, name)
    title, lead = words.headline(story)
    page = env.get_template("index.html.j2").render(
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
    with replace_file(target) as path:
        path.write_text(page, encoding="utf-8")
