"""The Dockerfile, as far as it can be read: that it fits the chart, and that its list of contents is right."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib import metadata
from typing import Any

from tests.chart.rendering import REPOSITORY, templates

DOCKERFILE = (REPOSITORY / "Dockerfile").read_text("utf-8")


def _sbom() -> str:
    return subprocess.run(
        [sys.executable, "bin/sbom"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout


def test_it_has_the_user_that_the_chart_runs() -> None:
    """The image's user, who has no name in Kubernetes, is the one of every pod's security context."""
    (user,) = re.findall(r"^USER (\d+):(\d+)$", DOCKERFILE, re.MULTILINE)
    for _, pod in templates("offline"):
        context = pod["spec"]["securityContext"]
        assert (str(context["runAsUser"]), str(context["runAsGroup"])) == user


def test_what_is_copied_is_not_ignored() -> None:
    """Each file and folder that the build copies from this repository exists, and .dockerignore lets it through."""
    let_through = (REPOSITORY / ".dockerignore").read_text("utf-8").split()
    for line in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE):
        for source in line.split():
            assert (REPOSITORY / source).exists()
            assert f"!{source}" in let_through


def test_the_base_can_be_pinned() -> None:
    """Both stages begin with the base that a build argument names."""
    assert re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE) == ["${PYTHON}", "${PYTHON}"]


def test_the_label_names_the_list_of_contents() -> None:
    """The label holds the path that the build writes the list to."""
    (label,) = re.findall(r'longvideo\.sbom\.cyclonedx="(.+)"', DOCKERFILE)
    assert f"python /run/sbom > {label}\n" in DOCKERFILE


def test_the_list_of_contents_is_what_is_installed() -> None:
    """Every distribution is listed once with its version; the same environment always gives the same text."""
    text = _sbom()
    assert text == _sbom()
    document: dict[str, Any] = json.loads(text)
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")
    assert document["metadata"]["component"]["name"] == "longvideo"
    listed = {each["purl"]: each for each in document["components"]}
    assert len(listed) == len(document["components"])
    assert f"pkg:pypi/grpcio@{metadata.version('grpcio')}" in listed
