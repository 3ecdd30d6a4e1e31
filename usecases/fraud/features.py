"""The fifteen features of the field's reference handbook, and more that say what they cannot.

Le Borgne et al., Reproducible Machine Learning for Credit Card Fraud Detection (2022), chapter 3. An amount alone does
not say how unusual a payment is for its card: ratios to what the card paid before do. A rate of frauds does not say
since when a terminal has been in trouble, and trouble ends.
"""

from __future__ import annotations

from mlops.features import (
    Calendar,
    Count,
    FeatureSet,
    Max,
    Mean,
    Rate,
    Ratio,
    Rolling,
    SinceFirst,
    SinceLast,
    Value,
    Where,
)

__all__ = ["FEATURES", "PUBLISHED"]

WINDOWS = ("1d", "7d", "30d")
NO_TROUBLE_S = 35.0 * 86_400  # older than any that the window could show

PUBLISHED = FeatureSet(
    (
        Value(column="amount", unit="currency", description="the amount of the payment"),
        Calendar(part="weekend", unit="0/1", description="Saturday or Sunday"),
        Calendar(part="night", unit="0/1", description="until 06:59"),
        Rolling(
            key="customer_id",
            agg=Count(),
            windows=WINDOWS,
            unit="payments",
            description="payments with this card, this one included",
        ),
        Rolling(
            key="customer_id",
            agg=Mean(column="amount"),
            windows=WINDOWS,
            unit="currency",
            description="mean amount of this card, this payment included",
        ),
        Rolling(
            key="terminal_id",
            agg=Count(),
            windows=WINDOWS,
            delay="7d",
            unit="payments",
            description="payments at this terminal, a week ago and before",
        ),
        Rolling(
            key="terminal_id",
            agg=Rate(column="is_fraud"),
            windows=WINDOWS,
            delay="7d",
            unit="share",
            description="share of frauds at this terminal, as far as labels are due",
        ),
    )
)

FEATURES = FeatureSet(
    (
        *PUBLISHED.features,
        Ratio(
            name="amount_to_mean_7d",
            numerator="amount",
            denominator="customer_id_mean_amount_7d",
            description="amount against this card's week",
        ),
        Ratio(
            name="amount_to_mean_30d",
            numerator="amount",
            denominator="customer_id_mean_amount_30d",
            description="amount against this card's month",
        ),
        Ratio(
            name="mean_1d_to_30d",
            numerator="customer_id_mean_amount_1d",
            denominator="customer_id_mean_amount_30d",
            description="this card's day against its month, in amounts",
        ),
        Ratio(
            name="count_1d_to_30d",
            numerator="customer_id_count_1d",
            denominator="customer_id_count_30d",
            description="this card's day against its month, in payments",
        ),
        Rolling(
            key="customer_id",
            agg=Mean(column="amount"),
            windows=("30d",),
            include_current=False,
            prefix="customer_id_earlier_mean_amount",
            unit="currency",
            description="mean amount of this card before this payment",
        ),
        Rolling(
            key="customer_id",
            agg=Max(column="amount"),
            windows=("30d",),
            include_current=False,
            prefix="customer_id_earlier_max_amount",
            unit="currency",
            description="largest amount of this card before this payment",
        ),
        Ratio(
            name="amount_to_earlier_mean_30d",
            numerator="amount",
            denominator="customer_id_earlier_mean_amount_30d",
            fallback=1.0,
            description="amount against this card's month before it",
        ),
        Ratio(
            name="amount_to_earlier_max_30d",
            numerator="amount",
            denominator="customer_id_earlier_max_amount_30d",
            fallback=1.0,
            description="amount against the largest of this card's month before it",
        ),
        Rolling(
            key="terminal_id",
            agg=SinceFirst(),
            windows=("28d",),
            delay="7d",
            where=Where(column="is_fraud", equals=True),
            fallback=NO_TROUBLE_S,
            prefix="terminal_id_trouble_began",
            unit="s",
            description="time since the first known fraud at this terminal in four weeks",
        ),
        Rolling(
            key="terminal_id",
            agg=SinceLast(),
            windows=("28d",),
            delay="7d",
            where=Where(column="is_fraud", equals=True),
            fallback=NO_TROUBLE_S,
            prefix="terminal_id_trouble_seen",
            unit="s",
            description="time since the last known fraud at this terminal",
        ),
    )
)
