"""The published fifteen features as a pandas and a DuckDB user would write them, to be timed beside Spark's.

Both read the same Parquet and write the same columns. Times are whole seconds in the simulated events, which lets
DuckDB tell events of one second apart: it orders by microseconds, to which the place within the second is added.
Neither sums exactly; a mean may differ in its last digits.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import duckdb
import pandas as pd

__all__ = ["PEERS", "seconds"]

_DAYS = (1, 7, 30)
_DELAY = 7
_READ = ["transaction_id", "event_time", "customer_id", "terminal_id", "amount", "is_fraud"]


def with_pandas(events: Path, out: Path) -> None:
    """With `groupby().rolling()`; a delayed window is the difference of two."""
    frame = pd.read_parquet(events, columns=_READ).sort_values(["event_time", "transaction_id"])
    frame["is_weekend"] = (frame.event_time.dt.weekday >= 5).astype(float)
    frame["is_night"] = (frame.event_time.dt.hour <= 6).astype(float)
    frame["fraud"] = frame.is_fraud.fillna(False).astype(float)
    indexed = frame.set_index("event_time")

    def rolled(key: str, column: str, days: int, how: str) -> pd.Series:
        windows = indexed.groupby(key, sort=False)[column].rolling(f"{days}D")
        result = getattr(windows, how)()
        # In the order of the groups, which is the stable order by key's first appearance.
        return result.to_numpy()

    groups = indexed.groupby("customer_id", sort=False).indices
    by_customer = [place for key in frame.customer_id.unique() for place in groups[key]]
    for days in _DAYS:
        for how, name in (("count", "count"), ("mean", "mean_amount")):
            column = pd.Series(rolled("customer_id", "amount", days, how), index=frame.index[by_customer])
            frame[f"customer_id_{name}_{days}d"] = column
    groups = indexed.groupby("terminal_id", sort=False).indices
    by_terminal = frame.index[[place for key in frame.terminal_id.unique() for place in groups[key]]]
    delayed = {
        how: pd.Series(rolled("terminal_id", "fraud", _DELAY, how), index=by_terminal)
        for how in ("count", "sum")
    }
    for days in _DAYS:
        longer = {
            how: pd.Series(rolled("terminal_id", "fraud", _DELAY + days, how), index=by_terminal)
            - delayed[how]
            for how in ("count", "sum")
        }
        frame[f"terminal_id_count_{days}d"] = longer["count"]
        frame[f"terminal_id_rate_is_fraud_{days}d"] = (longer["sum"] / longer["count"]).fillna(0.0)
    frame.drop(columns="fraud").to_parquet(out, index=False)


def with_duckdb(events: Path, out: Path) -> None:
    """With window functions over RANGE frames."""
    day = 86_400_000_000
    inside = 500_000  # of a second: leaves out what lies on the far border
    windows, columns = [], []
    for days in _DAYS:
        far = days * day - inside
        windows.append(
            f"c{days} AS (PARTITION BY customer_id ORDER BY moment RANGE BETWEEN {far} PRECEDING AND CURRENT ROW)"
        )
        windows.append(
            f"t{days} AS (PARTITION BY terminal_id ORDER BY moment RANGE BETWEEN "
            f"{_DELAY * day + far} PRECEDING AND {_DELAY * day - inside} PRECEDING)"
        )
        columns += [
            f"count(*) OVER c{days}::DOUBLE AS customer_id_count_{days}d",
            f"avg(amount) OVER c{days} AS customer_id_mean_amount_{days}d",
            f"count(*) OVER t{days}::DOUBLE AS terminal_id_count_{days}d",
            f"coalesce(avg(coalesce(is_fraud, false)::INT) OVER t{days}, 0) AS terminal_id_rate_is_fraud_{days}d",
        ]
    duckdb.execute(
        f"""
        COPY (
            WITH ordered AS (
                SELECT {", ".join(_READ)},
                    epoch_us(event_time) + row_number() OVER (PARTITION BY event_time ORDER BY transaction_id) AS moment
                FROM read_parquet('{events}/**/*.parquet')
            )
            SELECT {", ".join(_READ)},
                (isodow(event_time AT TIME ZONE 'UTC') >= 6)::DOUBLE AS is_weekend,
                (hour(event_time AT TIME ZONE 'UTC') <= 6)::DOUBLE AS is_night,
                {", ".join(columns)}
            FROM ordered
            WINDOW {", ".join(windows)}
        ) TO '{out}' (FORMAT parquet)
        """
    )


PEERS: dict[str, Callable[[Path, Path], None]] = {"pandas": with_pandas, "duckdb": with_duckdb}


def seconds(peer: str, events: Path, out: Path) -> float:
    """How long a peer takes from Parquet to Parquet."""
    started = time.monotonic()
    PEERS[peer](events, out)
    return time.monotonic() - started
