"""That the genuine vLLM tells Prometheus what our queries name."""

from __future__ import annotations

import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

from monitoring.foreign import VLLM
from tests.contract.model_server import Served

pytestmark = pytest.mark.vllm


def test_every_metric_that_the_queries_name_is_told(text_server: Served) -> None:
    """Each listed metric is among those of the server, of the listed kind and with the listed labels."""
    with urllib.request.urlopen(f"{text_server.url.removesuffix('/v1')}/metrics", timeout=60) as response:
        families = list(text_string_to_metric_families(response.read().decode()))
    told = {
        f"{family.name}_total" if family.type == "counter" else family.name: (
            family.type,
            {frozenset(sample.labels) - {"le"} for sample in family.samples},
        )
        for family in families
    }
    for name, (kind, labels) in VLLM.items():
        assert told[name] == (kind, {labels}), name
