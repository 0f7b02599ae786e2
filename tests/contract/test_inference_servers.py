"""The servers that need no GPU, each under the suite of the client."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from longvideo.inference import Endpoint, ModelClient
from longvideo.testing import Reply, ScriptedModelServer
from longvideo.tokens import QWEN3_VL
from offline_models import qa
from offline_models.server import OfflineServer, serve
from tests.contract.model_server import ModelServerSuite, Served, asked

TALE = "The train left at ten, crossed the long bridge, and came to the sea when the evening lights went on."


def tell(request: dict[str, Any]) -> Reply | str:
    """Answers as the suite's requests want it."""
    if "slowly" in json.dumps(request["messages"][-1]):
        return Reply.silence()
    if "structured_outputs" in request:
        return "<think>a closer look</think>\n<tool>get_caption((2,3))</tool>"
    return TALE


class TestScriptedModelServer(ModelServerSuite):
    """The scripted server passes for vLLM."""

    @pytest.fixture
    def served(self) -> Iterator[Served]:
        """A server of its own for each test."""
        with ScriptedModelServer(tell, api_key="scripted-key", max_model_len=4096) as server:
            slow = {"messages": asked("slowly"), "max_tokens": 8}
            yield Served(server.url, "scripted", api_key="scripted-key", rule=QWEN3_VL, slow=slow)


@pytest.fixture(scope="module")
def offline() -> Iterator[OfflineServer]:
    """The offline models, started once: they load what they read text with."""
    server = serve()
    yield server
    server.close()


class TestOfflineModels(ModelServerSuite):
    """The offline models pass for a model server that is never slow."""

    @pytest.fixture
    def served(self, offline: OfflineServer) -> Served:
        """The model that answers about frames."""
        return Served(offline.url, qa.MODEL, owned_by="longvideo", regex=r"[\s\S]*")


def test_every_offline_model_is_listed(offline: OfflineServer) -> None:
    """Each role finds its offline model by name, and the reasoner's context is the trained one's."""
    for role, model in (("reason", "offline-reasoner"), ("caption", "offline-captioner"), ("qa", "offline-qa")):
        client = ModelClient(role, [Endpoint(url=offline.url, model=model, roles={role})])
        assert client.describe().model == model
        client.close()
