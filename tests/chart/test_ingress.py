"""The ways into the API from outside the cluster."""

from __future__ import annotations

import copy
import re
from typing import Any

import helm_python as helm
import pytest

from tests.chart.rendering import CASES, Object, named, of_kind, texts, values_of

ROUTES = {
    "offline-grpcroute": "GRPCRoute",
    "offline-open-grpcroute": "GRPCRoute",
    "offline-tlsroute": "TLSRoute",
    "offline-ingress": "Ingress",
}


def _changed(case: str, **ingress: Any) -> dict[str, Any]:
    values = copy.deepcopy(values_of(case))
    values["ingress"] |= ingress
    return values


def _service(case: str) -> Object:
    return named(case, "Service", "demo-longvideo-api")


def _notes(values: dict[str, Any]) -> str:
    (notes,) = (text for name, text in texts(values).items() if name.endswith("NOTES.txt"))
    return notes


@pytest.mark.parametrize("case", CASES)
def test_there_is_one_route_where_it_is_asked_for(case: str) -> None:
    """A route of the kind that the values name leads to the API's Service at its port, and there is no other."""
    routes = of_kind(case, "GRPCRoute", "TLSRoute", "Ingress")
    assert [each["kind"] for each in routes] == ([ROUTES[case]] if case in ROUTES else [])
    for route in routes:
        hosts = values_of(case)["ingress"]["hosts"]
        if route["kind"] == "Ingress":
            assert [rule["host"] for rule in route["spec"]["rules"]] == hosts
            backends = [path["backend"]["service"] for rule in route["spec"]["rules"] for path in rule["http"]["paths"]]
            wanted = {"name": "demo-longvideo-api", "port": {"name": _service(case)["spec"]["ports"][0]["name"]}}
        else:
            assert route["spec"]["hostnames"] == hosts
            backends = [backend for rule in route["spec"]["rules"] for backend in rule["backendRefs"]]
            wanted = {"name": "demo-longvideo-api", "port": _service(case)["spec"]["ports"][0]["port"]}
        assert backends
        assert all(backend == wanted for backend in backends)


def test_a_gateway_looks_at_the_certificate_of_the_api() -> None:
    """Behind a GRPCRoute with TLS the gateway checks the API's name and authority; in the open it is told of HTTP/2."""
    (policy,) = of_kind("offline-grpcroute", "BackendTLSPolicy")
    assert policy["spec"]["targetRefs"] == [{"group": "", "kind": "Service", "name": "demo-longvideo-api"}]
    certificate = named("offline-grpcroute", "Certificate", "demo-longvideo-tls")
    validation = policy["spec"]["validation"]
    assert validation["hostname"] in certificate["spec"]["dnsNames"]
    assert validation["caCertificateRefs"] == [{"group": "", "kind": "ConfigMap", "name": "longvideo-authority"}]
    assert "appProtocol" not in _service("offline-grpcroute")["spec"]["ports"][0]
    assert of_kind("offline-open-grpcroute", "BackendTLSPolicy") == []
    assert _service("offline-open-grpcroute")["spec"]["ports"][0]["appProtocol"] == "kubernetes.io/h2c"


def test_an_api_with_a_public_certificate_needs_no_authority() -> None:
    """An API with a certificate of its own is checked by the system's authorities, for the name that it is for."""
    values = _changed("offline-grpcroute", authority={"name": ""})
    values["api"] = {"tls": {"hosts": ["longvideo.example.org"], "issuer": {"name": "public"}}}
    text = "".join(texts(values).values())
    assert re.search(r"hostname: longvideo\.example\.org\n    wellKnownCACertificates: System", text)


def test_tls_that_is_passed_on_is_the_apis() -> None:
    """Behind a TLSRoute clients see a certificate of the API's that is for the names which they use."""
    names = named("offline-tlsroute", "Certificate", "demo-longvideo-tls")["spec"]["dnsNames"]
    assert set(values_of("offline-tlsroute")["ingress"]["hosts"]) <= set(names)


def test_an_ingress_has_a_certificate() -> None:
    """What an Ingress shows is a secret that cert-manager is asked to fill, for the names that clients use."""
    ingress = named("offline-ingress", "Ingress", "demo-longvideo-api")
    (tls,) = ingress["spec"]["tls"]
    certificate = named("offline-ingress", "Certificate", "demo-longvideo-ingress-tls")
    assert tls == {"secretName": certificate["spec"]["secretName"], "hosts": certificate["spec"]["dnsNames"]}
    annotations = ingress["metadata"]["annotations"]
    assert annotations["nginx.ingress.kubernetes.io/backend-protocol"] == "GRPCS"
    assert annotations["nginx.ingress.kubernetes.io/proxy-read-timeout"] == "7200"  # the user's


def test_only_the_gateway_and_named_clients_reach_the_api() -> None:
    """With a route, whoever is not named may not go around it."""
    gateways = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "gateways"}}}
    (rule, *_) = named("offline-grpcroute", "NetworkPolicy", "demo-longvideo-api")["spec"]["ingress"]
    assert rule["from"] == [gateways]
    (rule, *_) = named("offline-tlsroute", "NetworkPolicy", "demo-longvideo-api")["spec"]["ingress"]
    assert rule["from"] == [{"namespaceSelector": {"matchLabels": {"team": "batch"}}}, gateways]


@pytest.mark.parametrize("case", sorted(ROUTES))
def test_the_notes_say_how_to_get_in(case: str) -> None:
    """The notes hold the first command with the route's own name, and no port that is forwarded."""
    notes = _notes(values_of(case))
    assert f'longvideo ask VIDEO "QUESTION" --server https://{values_of(case)["ingress"]["hosts"][0]}\n' in notes
    assert "port-forward" not in notes
    assert f"get {ROUTES[case].lower()}" in notes


@pytest.mark.parametrize(
    ("case", "ingress", "message"),
    [
        ("offline-grpcroute", {"hosts": []}, "ingress.hosts is empty"),
        ("offline-grpcroute", {"from": []}, "ingress.from is empty"),
        ("offline-grpcroute", {"gateway": {}}, "ingress.gateway.name is empty"),
        ("offline-grpcroute", {"authority": {}}, "ingress.authority.name is empty"),
        ("offline-open-grpcroute", {"kind": "TLSRoute"}, "tls.enabled is false"),
        ("offline-tlsroute", {"hosts": ["other.example.org"]}, "add it to api.tls.hosts"),
        ("offline-ingress", {"tls": {}}, "set ingress.tls.existingSecret or ingress.tls.issuer.name"),
        ("offline-ingress", {"tls": {"existingSecret": "x", "issuer": {"name": "y"}}}, "set one of them"),
    ],
)
def test_a_route_that_cannot_work_is_refused(case: str, ingress: dict[str, Any], message: str) -> None:
    """What would leave clients before a closed door, or a connection unprotected, is refused with the fix."""
    values = _changed(case, **ingress)
    if case == "offline-open-grpcroute":
        values["networkPolicy"] = {"enabled": False}
    with pytest.raises(helm.HelmError, match=re.escape(message)):
        texts(values)
