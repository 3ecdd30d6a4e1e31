"""The fifteen features of the field's reference handbook, and more that say what they cannot.

Le Borgne et al., Reproducible Machine Learning for Credit Card Fraud Detection (2022), chapter 3. An amount alone does
not say how unusual a payment is for its card: ratios to what the card paid before do, and most of all to what it paid
until two weeks ago, before a thief who is at work now. A rate of frauds does not say since when a terminal has been
in trouble, and trouble ends; nor whether a genuine payment was seen after the last fraud, which says that it has
ended. Only known labels count, so the longer no genuine payment is known, the more may have happened unseen.
"""

from __future__ import annotations

from mlops.features import (
    Calendar,
    Count,
    FeatureSet,
    Last,
    Max,
    Mean,
    Min,
    Rate,
    Ratio,
    Rolling,
    SinceFirst,
    SinceLast,
    Value,
    Where,
)

__all__ = ["COMPACT", "FEATURES", "LAST_PAYMENTS", "OURS", "PUBLISHED"]

WINDOWS = ("1d", "7d", "30d")
NOT_SEEN_S = 35.0 * 86_400  # older than any that the windows could show
FRAUD, GENUINE = (Where(column="is_fraud", equals=is_fraud) for is_fraud in (True, False))

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
            description="payments at this terminal",
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

OURS = FeatureSet(
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
            windows=("7d", "14d", "30d"),
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
            key="customer_id",
            agg=Mean(column="amount"),
            windows=("60d",),
            delay="14d",
            prefix="customer_id_usual_mean_amount",
            unit="currency",
            description="mean amount of this card",
        ),
        Ratio(
            name="amount_to_usual_mean_60d",
            numerator="amount",
            denominator="customer_id_usual_mean_amount_60d",
            fallback=1.0,
            description="amount against what this card paid until two weeks ago",
        ),
        Ratio(
            name="earlier_max_7d_to_usual_mean_60d",
            numerator="customer_id_earlier_max_amount_7d",
            denominator="customer_id_usual_mean_amount_60d",
            fallback=1.0,
            description="largest amount of this card's week against what it paid before",
        ),
        Ratio(
            name="earlier_max_14d_to_usual_mean_60d",
            numerator="customer_id_earlier_max_amount_14d",
            denominator="customer_id_usual_mean_amount_60d",
            fallback=1.0,
            description="largest amount of this card's last two weeks against what it paid before",
        ),
        Rolling(
            key="terminal_id",
            agg=Rate(column="is_fraud"),
            windows=("21d",),
            delay="7d",
            unit="share",
            description="share of frauds at this terminal, as far as labels are due",
        ),
        Rolling(
            key="terminal_id",
            agg=Count(),
            windows=("21d",),
            delay="7d",
            where=FRAUD,
            prefix="terminal_id_known_frauds",
            unit="payments",
            description="known frauds at this terminal",
        ),
        # a thief with a card takes much, so a small payment where only large ones were stolen is likely genuine
        Rolling(
            key="terminal_id",
            agg=Min(column="amount"),
            windows=("21d",),
            delay="7d",
            where=FRAUD,
            prefix="terminal_id_least_known_fraud",
            unit="currency",
            description="least amount of a known fraud at this terminal",
        ),
        Rolling(
            key="terminal_id",
            agg=SinceFirst(),
            windows=("21d", "28d"),
            delay="7d",
            where=FRAUD,
            fallback=NOT_SEEN_S,
            prefix="terminal_id_trouble_began",
            unit="s",
            description="time since the first known fraud at this terminal",
        ),
        Rolling(
            key="terminal_id",
            agg=SinceLast(),
            windows=("28d",),
            delay="7d",
            where=FRAUD,
            fallback=NOT_SEEN_S,
            prefix="terminal_id_trouble_seen",
            unit="s",
            description="time since the last known fraud at this terminal",
        ),
        Rolling(
            key="terminal_id",
            agg=SinceLast(),
            windows=("28d",),
            delay="7d",
            where=GENUINE,
            fallback=NOT_SEEN_S,
            prefix="terminal_id_genuine_seen",
            unit="s",
            description="time since the last payment at this terminal that is known to be genuine",
        ),
        Ratio(
            name="trouble_to_genuine_seen_28d",
            numerator="terminal_id_trouble_seen_28d",
            denominator="terminal_id_genuine_seen_28d",
            description="below 1 if the last that is known of this terminal is a fraud",
        ),
    )
)

_COMPACT = (
    "amount",
    "customer_id_count_1d",
    "count_1d_to_30d",
    "customer_id_earlier_max_amount_7d",
    "customer_id_usual_mean_amount_60d",
    "amount_to_usual_mean_60d",
    "earlier_max_7d_to_usual_mean_60d",
    "earlier_max_14d_to_usual_mean_60d",
    "terminal_id_rate_is_fraud_1d",
    "terminal_id_rate_is_fraud_21d",
    "terminal_id_known_frauds_21d",
    "terminal_id_least_known_fraud_21d",
    "terminal_id_trouble_began_21d",
    "terminal_id_trouble_seen_28d",
    "terminal_id_genuine_seen_28d",
    "trouble_to_genuine_seen_28d",
)
COMPACT = FeatureSet(tuple(feature for feature in OURS.features if feature.names[0] in _COMPACT))
"""Those of our features that say something of their own: in a week with few frauds the others are mostly noise."""

LAST_PAYMENTS = 8
FEATURES = FeatureSet(
    (
        *OURS.features,
        Last(
            key="customer_id",
            fields=("amount", "event_time"),
            n=LAST_PAYMENTS,
            fallback=-1.0,
            description="this card's last payments, this one the first: amounts, and seconds ago",
        ),
    )
)
"""All that the feature table holds: ours, and behind them the payments that a sequence model reads."""
