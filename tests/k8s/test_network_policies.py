"""Who may talk to whom in what is rendered, judged as a network plugin would; and whether the judge is right."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest

from tests.k8s.manifests import containers, of_kind, pods, render
from tests.k8s.network import Peer, passes, selects

Resource = dict[str, Any]

LOCAL, PRODUCTION = "overlays/local", "overlays/production"
GATEWAY, PROMETHEUS = "gateway", "prometheus"
NAME = "app.kubernetes.io/name"

SERVING, WORKBENCH, REDIS = "Deployment serving", "Deployment workbench", "StatefulSet redis"
STEPS = ("ingest", "compact", "monitor", "retrain", "forget", "backfill", "train", "promote")
# What an online store, MLflow's database and object storage are, where they are not pods of ours; and anybody.
SERVICES = {
    "redis outside": Peer(address="10.20.0.5"),
    "postgresql": Peer(address="10.20.0.6"),
    "object storage": Peer(address="52.216.0.1"),
    "internet": Peer(address="93.184.215.14"),
}
FLOWS: dict[str, dict[tuple[str, str, int], bool]] = {
    LOCAL: {
        (WORKBENCH, SERVING, 8080): True,
        ("stranger", SERVING, 8080): True,
        (PROMETHEUS, SERVING, 8080): True,
        ("stranger", SERVING, 6379): False,
        (SERVING, REDIS, 6379): True,
        (WORKBENCH, REDIS, 6379): False,
        ("stranger", REDIS, 6379): False,
        ("stranger", WORKBENCH, 8080): False,
        ("internet", REDIS, 6379): False,
        ("internet", SERVING, 8080): False,
        (REDIS, SERVING, 8080): False,
        (REDIS, "internet", 443): False,
        (SERVING, "internet", 443): False,
        (SERVING, SERVING, 8080): False,
        (WORKBENCH, "internet", 443): False,
        (SERVING, WORKBENCH, 8080): False,
        **{(pod, "dns", 53): True for pod in (SERVING, WORKBENCH, REDIS)},
        **{(pod, "dns udp", 53): True for pod in (SERVING, WORKBENCH, REDIS)},
        (SERVING, "node's dns", 53): True,
        (SERVING, "node's dns udp", 53): True,
        (SERVING, "node's dns", 80): False,
        (SERVING, "another of kube-system", 53): False,
    },
    PRODUCTION: {
        (GATEWAY, SERVING, 8080): True,
        (PROMETHEUS, SERVING, 8080): True,
        ("another of monitoring", SERVING, 8080): False,
        ("prometheus elsewhere", SERVING, 8080): False,
        ("stranger", SERVING, 8080): False,
        ("internet", SERVING, 8080): False,
        (GATEWAY, SERVING, 22): False,
        (SERVING, "redis outside", 6379): True,
        (SERVING, "internet", 443): False,
        (SERVING, "postgresql", 5432): False,
        (SERVING, GATEWAY, 8080): False,
        (SERVING, "dns", 53): True,
        (SERVING, "dns udp", 53): True,
        (SERVING, "node's dns", 53): True,
        (SERVING, "node's dns udp", 53): True,
        **{
            (f"CronJob {step}", target, port): True
            for step in STEPS
            for target, port in (
                ("redis outside", 6379),
                ("postgresql", 5432),
                ("object storage", 443),
                ("object storage", 8333),
                ("dns", 53),
                ("dns udp", 53),
            )
        },
        ("CronJob ingest", "internet", 80): False,
        ("CronJob ingest", SERVING, 8080): False,
        **{(source, "CronJob ingest", 8080): False for source in (GATEWAY, PROMETHEUS, "stranger", SERVING)},
        (SERVING, "CronJob ingest", 6379): False,
    },
}


def peers(resources: list[Resource]) -> dict[str, Peer]:
    """Each pod by its real labels and ports, and those around."""
    (namespace,) = of_kind(resources, "Namespace")
    own = namespace["metadata"]["name"]
    found = {
        name: Peer(
            namespace=own,
            namespace_labels=namespace["metadata"]["labels"] | {"kubernetes.io/metadata.name": own},
            labels=pod["metadata"]["labels"],
            ports={p["name"]: p["containerPort"] for c in containers(pod) for p in c.get("ports", [])},
        )
        for name, pod in pods(resources)
    }

    def of(namespace: str, **labels: str) -> Peer:
        names = {"kubernetes.io/metadata.name": namespace}
        return Peer(namespace=namespace, namespace_labels=names, labels=labels)

    dns = of("kube-system", **{"k8s-app": "kube-dns"})
    at_node = Peer(address="169.254.20.10")
    around = {
        GATEWAY: of("gateway", **{NAME: "envoy"}),
        PROMETHEUS: of("monitoring", **{NAME: "prometheus"}),
        "another of monitoring": of("monitoring", **{NAME: "grafana"}),
        "prometheus elsewhere": of("shop", **{NAME: "prometheus"}),
        "stranger": of("shop", **{NAME: "mlops-serving"}),
        "another of kube-system": of("kube-system", **{"k8s-app": "metrics-server"}),
        "dns": dns,
        "dns udp": dns,
        "node's dns": at_node,
        "node's dns udp": at_node,
    }
    return found | around | SERVICES


def wrong(resources: list[Resource], policies: list[Resource], overlay: str) -> list[str]:
    """The flows of the table that are judged otherwise."""
    there = peers(resources)
    return [
        f"{source} → {target} {port}"
        for (source, target, port), allowed in FLOWS[overlay].items()
        if passes(policies, there[source], there[target], port, "UDP" if target.endswith("udp") else "TCP")
        is not allowed
    ]


@pytest.mark.system
@pytest.mark.parametrize("overlay", [LOCAL, PRODUCTION])
def test_who_has_business_with_whom_gets_through_and_nobody_else(overlay: str) -> None:
    resources = render(overlay)
    assert wrong(resources, of_kind(resources, "NetworkPolicy"), overlay) == []
    # Every pod of ours is in the table, and what the service is asked on is the port that is open.
    assert {name for name, _ in pods(resources)} <= {name for flow in FLOWS[overlay] for name in flow[:2]}
    (service,) = of_kind(resources, "Service", "serving")
    (port,) = service["spec"]["ports"]
    assert peers(resources)[SERVING].ports[port["targetPort"]] == 8080


def less(policies: list[Resource]) -> Iterator[tuple[str, list[Resource]]]:
    """The policies without one of them, without one peer of a rule, or without one port of it."""
    for number, policy in enumerate(policies):
        name = policy["metadata"]["name"]
        yield name, policies[:number] + policies[number + 1 :]
        for way, key in (("ingress", "from"), ("egress", "to")):
            for place, rule in enumerate(policy["spec"].get(way, [])):
                for part in (key, "ports"):
                    for entry in range(len(rule.get(part, []))):
                        one = copy.deepcopy(policies)
                        entries = one[number]["spec"][way][place][part]
                        said = entries.pop(entry)
                        if not entries:  # an empty list would mean all
                            del one[number]["spec"][way][place]
                        yield f"{name}: {said}", one


@pytest.mark.system
@pytest.mark.parametrize("overlay", [LOCAL, PRODUCTION])
def test_each_policy_and_each_entry_of_it_is_needed_by_a_flow(overlay: str) -> None:
    resources = render(overlay)
    policies = of_kind(resources, "NetworkPolicy")
    assert [name for name, rest in less(policies) if not wrong(resources, rest, overlay)] == []


def policy(**spec: Any) -> Resource:
    return {"metadata": {"name": "one", "namespace": "ours"}, "spec": {"podSelector": {}, **spec}}


A = Peer(namespace="ours", namespace_labels={"team": "ours"}, labels={"app": "a"}, ports={"http": 8080})
B = Peer(namespace="ours", namespace_labels={"team": "ours"}, labels={"app": "b"}, ports={"http": 8080})
C = Peer(namespace="theirs", namespace_labels={"team": "theirs"}, labels={"app": "a"})
OUT = Peer(address="10.1.2.3")


def test_without_a_policy_everything_passes_and_an_empty_rule_lets_everything_in() -> None:
    assert passes([], C, A, 1)
    assert passes([policy(ingress=[{}])], C, A, 1)
    assert not passes([policy()], C, A, 1)  # of ingress, where policyTypes says nothing
    assert passes([policy()], A, C, 1)
    assert not passes([policy(egress=[{"ports": [{"port": 2}]}])], A, OUT, 1)
    assert not passes([policy(policyTypes=["Egress"])], A, OUT, 1)
    assert passes([policy(policyTypes=["Egress"])], C, A, 1)


def test_both_ends_have_to_agree_and_any_policy_may_allow() -> None:
    a, b = {"matchLabels": {"app": "a"}}, {"matchLabels": {"app": "b"}}
    closed = policy(policyTypes=["Ingress", "Egress"])
    out = policy(podSelector=a, policyTypes=["Egress"], egress=[{"to": [{"podSelector": b}]}])
    in_ = policy(podSelector=b, policyTypes=["Ingress"], ingress=[{"from": [{"podSelector": a}]}])
    assert passes([closed, out, in_], A, B, 1)
    assert not passes([closed, out, in_], B, A, 1)
    assert not passes([closed, out], A, B, 1) and not passes([closed, in_], A, B, 1)


def test_a_pod_selector_alone_means_the_policy_s_own_namespace() -> None:
    a = {"podSelector": {"matchLabels": {"app": "a"}}}
    assert passes([policy(ingress=[{"from": [a]}])], A, B, 1)
    assert not passes([policy(ingress=[{"from": [a]}])], C, B, 1)
    both = a | {"namespaceSelector": {"matchLabels": {"team": "theirs"}}}
    assert passes([policy(ingress=[{"from": [both]}])], C, B, 1)
    assert not passes([policy(ingress=[{"from": [both]}])], A, B, 1)
    everybody = {"namespaceSelector": {}}
    assert passes([policy(ingress=[{"from": [everybody]}])], C, B, 1)
    assert not passes([policy(ingress=[{"from": [everybody]}])], OUT, B, 1)


def test_ports_have_a_protocol_a_name_or_an_end_and_blocks_have_exceptions() -> None:
    named = policy(ingress=[{"ports": [{"port": "http"}]}])
    assert passes([named], C, A, 8080) and not passes([named], C, A, 80)
    assert not passes([named], C, A, 8080, "UDP")
    several = policy(ingress=[{"ports": [{"port": 10, "endPort": 12}]}])
    assert [n for n in range(9, 15) if passes([several], C, A, n)] == [10, 11, 12]
    block = {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}
    out = policy(policyTypes=["Egress"], egress=[{"to": [block]}])
    assert not passes([out], A, OUT, 1) and passes([out], A, Peer(address="10.2.0.1"), 1)


def test_expressions_of_a_selector_all_have_to_hold() -> None:
    def holds(operator: str, *values: str) -> bool:
        return selects(
            {"matchExpressions": [{"key": "app", "operator": operator, "values": values}]}, A.labels
        )

    assert holds("In", "a", "b") and not holds("In", "b") and holds("NotIn", "b") and holds("Exists")
    assert not holds("DoesNotExist") and not holds("NotIn", "a")
    assert not selects({"matchLabels": {"app": "a", "tier": "x"}}, A.labels) and selects({}, {})
