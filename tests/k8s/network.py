"""What NetworkPolicies let through: https://kubernetes.io/docs/concepts/services-networking/network-policies.

A connection is let through if the source's policies let it out and the target's let it in. Without a policy for its
direction a pod is open; with some, what any of them allows passes. Not covered: what a node itself does (probes), and
the answers to a connection, which always pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from ipaddress import ip_address, ip_network
from typing import Any

import msgspec

__all__ = ["Peer", "passes", "selects"]

Resource = Mapping[str, Any]


class Peer(msgspec.Struct, frozen=True, kw_only=True):
    """One end of a connection: a pod with its namespace, or, without a namespace, an address outside of the cluster.

    `ports` are the names that a pod's containers give to numbers.
    """

    namespace: str = ""
    namespace_labels: Mapping[str, str] = {}
    labels: Mapping[str, str] = {}
    ports: Mapping[str, int] = {}
    address: str = "10.0.0.9"


def passes(
    policies: Iterable[Resource], source: Peer, target: Peer, port: int, protocol: str = "TCP"
) -> bool:
    """Whether a connection from `source` to this port of `target` is let through."""
    policies = list(policies)
    return _lets(policies, "Egress", source, target, target, port, protocol) and _lets(
        policies, "Ingress", target, source, target, port, protocol
    )


def _lets(
    policies: Sequence[Resource],
    direction: str,
    pod: Peer,
    other: Peer,
    target: Peer,
    port: int,
    protocol: str,
) -> bool:
    """Whether the policies of `pod` let the connection with `other` pass, in one direction."""
    concerned = [
        policy
        for policy in policies
        if pod.namespace == policy["metadata"]["namespace"]
        and selects(policy["spec"]["podSelector"], pod.labels)
        and direction in _directions(policy["spec"])
    ]
    way, key = ("egress", "to") if direction == "Egress" else ("ingress", "from")
    return not concerned or any(
        _is_port(rule, target, port, protocol)
        and (
            not rule.get(key)
            or any(_is_peer(said, other, policy["metadata"]["namespace"]) for said in rule[key])
        )
        for policy in concerned
        for rule in policy["spec"].get(way) or []
    )


def selects(selector: Resource, labels: Mapping[str, str]) -> bool:
    """Whether a label selector means something with these labels; an empty one means everything."""
    unknown = set(selector) - {"matchLabels", "matchExpressions"}
    assert not unknown, unknown
    if not selector.get("matchLabels", {}).items() <= labels.items():
        return False
    for expression in selector.get("matchExpressions", []):
        key, values = expression["key"], expression.get("values", [])
        found = {
            "In": labels.get(key) in values,
            "NotIn": labels.get(key) not in values,
            "Exists": key in labels,
            "DoesNotExist": key not in labels,
        }
        if not found[expression["operator"]]:
            return False
    return True


def _directions(spec: Resource) -> list[str]:
    said: list[str] | None = spec.get("policyTypes")
    return said or (["Ingress", "Egress"] if spec.get("egress") else ["Ingress"])


def _is_peer(said: Resource, peer: Peer, home: str) -> bool:
    """Whether this entry of `from` or `to`, of a policy in the namespace `home`, means the peer."""
    if block := said.get("ipBlock"):
        address = ip_address(peer.address)
        return address in ip_network(block["cidr"]) and not any(
            address in ip_network(but) for but in block.get("except", [])
        )
    if not peer.namespace:
        return False
    if (namespaces := said.get("namespaceSelector")) is None:
        return peer.namespace == home and selects(said["podSelector"], peer.labels)
    return selects(namespaces, peer.namespace_labels) and selects(said.get("podSelector", {}), peer.labels)


def _is_port(rule: Resource, target: Peer, port: int, protocol: str) -> bool:
    if not rule.get("ports"):
        return True
    for said in rule["ports"]:
        first = said.get("port", port)
        first = target.ports.get(first, -1) if isinstance(first, str) else first
        last = said.get("endPort", first)
        if said.get("protocol", "TCP") == protocol and first <= port <= last:
            return True
    return False
