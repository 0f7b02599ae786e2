"""How much a model has to do: what vLLM says at its port for metrics, asked through the API of Kubernetes."""

from __future__ import annotations

from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from client.cluster.access import Kubernetes
from client.cluster.release import CORE, Model
from longvideo.errors import LongVideoError

_PORT, _LLM_PORT = 8080, 8000
_RUNNING, _WAITING = "vllm:num_requests_running", "vllm:num_requests_waiting"


@dataclass(frozen=True)
class Queue:
    """How many requests a model works on, and how many wait, in all its replicas. `unknown` says why nobody knows."""

    running: int = 0
    waiting: int = 0
    unknown: str = ""

    def __str__(self) -> str:
        """`3 + 1 waiting`."""
        return "?" if self.unknown else f"{self.running} + {self.waiting} waiting"


def queue(kubernetes: Kubernetes, model: Model) -> Queue:
    """Asks every ready replica."""
    if model.part is None:
        return Queue()
    running = waiting = 0.0
    try:
        for pod in kubernetes.items(CORE, "pods", selector=model.part.selector):
            conditions = pod.get("status", {}).get("conditions") or []
            if any(each["type"] == "Ready" and each["status"] == "True" for each in conditions):
                name = pod["metadata"]["name"]
                port = _LLM_PORT if model.is_llm else _PORT
                path = f"{CORE}/namespaces/{kubernetes.namespace}/pods/{name}:{port}/proxy/metrics"
                for family in text_string_to_metric_families(kubernetes.text(path)):
                    total = sum(sample.value for sample in family.samples)
                    running += total if family.name == _RUNNING else 0
                    waiting += total if family.name == _WAITING else 0
    except LongVideoError as error:
        return Queue(unknown=error.message)
    except ValueError:
        return Queue(unknown="what its port for metrics says cannot be read")
    return Queue(round(running), round(waiting))
