"""The fifteen features of the field's reference handbook, and four ratios of them.

Le Borgne et al., Reproducible Machine Learning for Credit Card Fraud Detection (2022), chapter 3. The ratios say
how unusual a payment is for its card, which an amount alone cannot.
"""

from __future__ import annotations

from mlops.features import Calendar, Count, FeatureSet, Mean, Rate, Ratio, Rolling, Value

__all__ = ["FEATURES"]

WINDOWS = ("1d", "7d", "30d")

FEATURES = FeatureSet(
    (
        Value(column="amount", unit="currency", description="the amount of the payment"),
        Calendar(part="weekend", description="Saturday or Sunday"),
        Calendar(part="night", description="until 06:59"),
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
    )
)
