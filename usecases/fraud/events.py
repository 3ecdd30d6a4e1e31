"""What a card payment looks like, here and in the layout of the field's reference data."""

from __future__ import annotations

from mlops.expectations import Freshness, QuarantinedShare, TrueShare, Volume
from mlops.schema import Column, EventSchema, Label, Layout

__all__ = ["EVENTS", "LABEL"]

EVENTS = EventSchema(
    id="transaction_id",
    time="event_time",
    columns=(
        Column(name="transaction_id", type="id", description="unique for ever"),
        Column(
            name="event_time",
            type="timestamp",
            minimum="2000-01-01",
            maximum="2100-01-01",
            unit="UTC",
            description="when the payment was asked for",
        ),
        Column(name="customer_id", type="id", description="the card"),
        Column(name="terminal_id", type="id", description="where the card was used"),
        Column(
            name="amount",
            type="decimal",
            decimals=2,
            minimum=0,
            maximum=1_000_000,
            unit="currency",
            description="what is to be paid",
        ),
        Column(
            name="is_fraud", type="boolean", nullable=True, description="the label, unknown until it is due"
        ),
        Column(
            name="scenario",
            type="integer",
            nullable=True,
            optional=True,
            minimum=0,
            description="what kind of fraud it is, 0 if none, known with the label",
        ),
        Column(
            name="region",
            type="text",
            nullable=True,
            optional=True,
            description="where the terminal stands",
        ),
    ),
    layouts=(
        Layout(
            name="handbook",
            columns={
                "transaction_id": "TRANSACTION_ID",
                "event_time": "TX_DATETIME",
                "customer_id": "CUSTOMER_ID",
                "terminal_id": "TERMINAL_ID",
                "amount": "TX_AMOUNT",
                "is_fraud": "TX_FRAUD",
                "scenario": "TX_FRAUD_SCENARIO",
                "region": "TERMINAL_REGION",
            },
        ),
    ),
    expectations=(
        Volume(max_fall=0.9),
        Freshness(max_age_days=2),
        QuarantinedShare(at_most=0.1),
        TrueShare(column="is_fraud", at_least=0.0005, at_most=0.2),
    ),
)

LABEL = Label(column="is_fraud", delay_days=7, positive="fraud", details=("scenario",))
