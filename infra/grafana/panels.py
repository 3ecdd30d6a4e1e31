"""Panels, queries and variables in Grafana's classic dashboard model.

`@` in a query stands for the job and the servers that were chosen.
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "SOURCE", "grown", "heat", "lines", "mean", "number", "panel", "quantile", "rate", "variable"
]  # fmt: skip

SOURCE = {"type": "prometheus", "uid": "${datasource}"}
CHOSEN = 'job="$job", instance=~"$instance"'

Queries = dict[str, str]
"""PromQL by legend."""


def rate(series: str, by: str = "") -> str:
    """What a counter grows by a second."""
    return f"sum{f' by ({by})' if by else ''} (rate({series}[$__rate_interval]))"


def grown(series: str, by: str) -> str:
    """What a counter grew by from point to point."""
    return f"sum by ({by}) (increase({series}[$__rate_interval]))"


def quantile(q: float, histogram: str, labels: str, by: str = "") -> str:
    """Of a histogram's values."""
    return f"histogram_quantile({q:g}, {rate(f'{histogram}_bucket{{{labels}}}', by + 'le')})"


def mean(histogram: str, labels: str, by: str = "") -> str:
    """Of a histogram's values."""
    return f"{rate(f'{histogram}_sum{{{labels}}}', by)} / {rate(f'{histogram}_count{{{labels}}}', by)}"


def panel(type_: str, title: str, about: str, queries: Queries, **more: Any) -> dict[str, Any]:
    """Any panel; `_size` is width and height on a grid of 24."""
    targets = [
        {"refId": chr(65 + i), "datasource": SOURCE, "editorMode": "code", "expr": query.replace("@", CHOSEN)}
        | {"legendFormat": legend, "range": True, "instant": False}
        for i, (legend, query) in enumerate(queries.items())
    ]
    made = {"type": type_, "title": title, "description": about, "datasource": SOURCE, "targets": targets}
    return made | {"_size": (8, 8)} | more


def lines(
    title: str,
    unit: str,
    queries: Queries,
    about: str = "",
    *,
    stacked: bool = False,
    bound: float | None = None,
    right: tuple[str, str] | None = None,
) -> dict[str, Any]:
    """Values over time.

    Args:
        bound: where a line is drawn.
        right: which legends, a pattern, are of another unit, on the right.
    """
    custom: dict[str, Any] = {"drawStyle": "line", "lineWidth": 1, "showPoints": "never", "spanNulls": False}
    custom["fillOpacity"] = 30 if stacked else 8
    defaults: dict[str, Any] = {"unit": unit, "min": 0, "custom": custom}
    if stacked:
        custom["stacking"] = {"mode": "normal", "group": "A"}
    if bound is not None:
        custom["thresholdsStyle"] = {"mode": "line"}
        defaults["thresholds"] = steps(("green", None), ("red", bound))
    overrides = []
    if right is not None:
        properties = [{"id": "unit", "value": right[1]}, {"id": "custom.axisPlacement", "value": "right"}]
        overrides = [{"matcher": {"id": "byRegexp", "options": right[0]}, "properties": properties}]
    options = {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    config = {"defaults": defaults, "overrides": overrides}
    return panel("timeseries", title, about, queries, fieldConfig=config, options=options)


def number(
    title: str, unit: str, query: str, about: str, *limits: tuple[str, float | None], words: Any = ()
) -> dict[str, Any]:
    """The last value, large, in the colour of the highest limit below it."""
    defaults = {"unit": unit, "thresholds": steps(*limits), "mappings": list(words)}
    options = {
        "colorMode": "value",
        "graphMode": "area",
        "justifyMode": "auto",
        "orientation": "auto",
        "textMode": "auto",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
    }
    config = {"defaults": defaults, "overrides": []}
    return panel("stat", title, about, {"": query}, fieldConfig=config, options=options, _size=(4, 4))


def heat(title: str, unit: str, query: str, about: str) -> dict[str, Any]:
    """A histogram over time."""
    options = {
        "calculate": False,
        "cellGap": 1,
        "color": {"mode": "scheme", "scheme": "Oranges", "exponent": 0.5, "fill": "dark-orange"}
        | {"scale": "exponential", "steps": 64, "reverse": False},
        "exemplars": {"color": "rgba(255,0,255,0.7)"},
        "filterValues": {"le": 1e-9},
        "legend": {"show": True},
        "rowsFrame": {"layout": "auto"},
        "showValue": "never",
        "tooltip": {"mode": "single", "yHistogram": False, "showColorScale": False},
        "yAxis": {"axisPlacement": "left", "unit": unit, "reverse": False},
    }
    config = {"defaults": {"custom": {"scaleDistribution": {"type": "linear"}}}, "overrides": []}
    made = panel("heatmap", title, about, {"{{le}}": query}, fieldConfig=config, options=options)
    made["targets"][0]["format"] = "heatmap"
    return made


def steps(*limits: tuple[str, float | None]) -> dict[str, Any]:
    """Colours from a value on."""
    return {"mode": "absolute", "steps": [{"color": color, "value": value} for color, value in limits]}


def variable(name: str, label: str, query: str, **more: Any) -> dict[str, Any]:
    """One whose values Prometheus knows."""
    asked = {"query": query, "refId": "PrometheusVariableQueryEditor-VariableQuery", "qryType": 1}
    made = {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": SOURCE,
        "definition": query,
        "query": asked,
    }
    rest = {
        "regex": "",
        "refresh": 2,
        "sort": 1,
        "hide": 0,
        "includeAll": False,
        "multi": False,
        "options": [],
    }
    return made | rest | {"current": {}, "skipUrlSync": False} | more
