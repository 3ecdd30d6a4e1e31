"""The parts of the payments that models are judged on one by one."""

from __future__ import annotations

from mlops.slices import Slice

__all__ = ["SLICES"]

SLICES = (
    Slice(
        name="scenario",
        column="scenario",
        values=(1, 2, 3, 4, 5),
        labels=("large amount", "bad terminal", "compromised card", "card testing", "no signal"),
        description="what kind of fraud it is",
    ),
    Slice(name="amount", column="amount", bands=(20, 50, 100), description="the amount of the payment"),
    Slice(name="time", feature="is_night", values=(1, 0), labels=("night", "day"), description="until 06:59"),
    Slice(
        name="day",
        feature="is_weekend",
        values=(1, 0),
        labels=("weekend", "weekday"),
        description="Saturday and Sunday",
    ),
    Slice(
        name="card",
        feature="customer_id_count_30d",
        bands=(20,),
        labels=("new or seldom used", "in use"),
        description="fewer than 20 payments in 30 days, this one included",
    ),
    Slice(name="region", column="region", description="where the terminal stands"),
)
