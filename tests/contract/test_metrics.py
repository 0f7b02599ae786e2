"""Serving metrics over HTTP."""

from __future__ import annotations

import socket
import urllib.request
from pathlib import Path

import pytest

from longvideo import metrics_page
from longvideo.declared import DECLARED, PARTS, Part
from longvideo.errors import Unavailable
from longvideo.metrics_server import serve
from longvideo.settings import Settings


def scraped(address: str) -> str:
    """Returns what Prometheus would get."""
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=30) as response:
        assert response.headers["content-type"].startswith("text/plain; version=")
        return str(response.read().decode())


@pytest.mark.parametrize("part", PARTS)
def test_each_part_has_its_own(part: Part) -> None:
    """A process shows the metrics of its part, and the process's own, and no others."""
    text = scraped(serve(Settings(metrics_listen="127.0.0.1:0"), part))
    told = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE longvideo_")}
    assert told == {declared.name for declared in DECLARED.values() if part in declared.parts}
    assert "process_resident_memory_bytes" in text
    assert f'part="{part}"' in text


def test_off() -> None:
    """Without an address nothing is served."""
    assert serve(Settings(), "api") == ""


def test_an_address_in_use() -> None:
    """An address that is taken is named, with the setting."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(Unavailable, match=f"metrics_listen is {address}, where nothing can listen"):
            serve(Settings(metrics_listen=address), "worker")


def test_the_page_is_fresh() -> None:
    """The page of metrics in the documentation is what the module says."""
    page = Path(__file__).parents[2] / "docs" / "metrics.md"
    assert page.read_text("utf-8") == metrics_page.page()
