"""The configuration, given anything."""

from __future__ import annotations

import json
import os
from unittest import mock

from hypothesis import strategies as st

from longvideo import settings
from longvideo.errors import BadSettings
from tests.fuzz.conftest import Fuzz
from tests.fuzz.texts import damaged, mixed

_ENDPOINTS = json.dumps(
    [
        {"url": "http://127.0.0.1:1/v1", "roles": ["reason"], "pool": "h800", "gpus": 1, "context_length": 9},
        {"url": "https://models.example/v1", "roles": ["caption", "qa"], "model": "m", "structured_output": True},
    ]
)
_WORDS = mixed(
    [
        *("0", "-1", "1", "64", "1e9", "NaN", "true", "null", "[]", "{}", "[", '"', ":", ",", "trained", "exact"),
        *(
            "http://",
            "https://user:pass@host:99999/v1?x#y",
            "s3://bucket/p?endpoint=http://h:1",
            "[::1]:7700",
            "memory://",
        ),
        *("/", "127.0.0.1:0", '{"url": "http://h"}', '"roles"', "file://", " ", "\n", "é"),
    ],
    max_pieces=8,
)
_VALUES = (_WORDS | damaged(_ENDPOINTS)).map(
    # An environment holds bytes, without zeros.
    lambda text: os.fsdecode(text.encode("utf-8", "surrogatepass")).replace("\0", "")
)
_NAMES = st.sampled_from([name.upper() for name in settings.Settings.model_fields] + ["API_KEY", "QA_API_KEY"])
_ENVIRONMENTS = st.dictionaries(_NAMES.map(lambda name: settings.PREFIX + name), _VALUES, max_size=4)


def test_environments(fuzz: Fuzz) -> None:
    """Any environment gives settings, or BadSettings with a message that holds no secret."""
    secret = {f"{settings.PREFIX}S3_SECRET_KEY": "hunter2-hunter2", f"{settings.PREFIX}S3_ACCESS_KEY": "ak"}
    bare = {name: value for name, value in os.environ.items() if not name.startswith(settings.PREFIX)}

    def check(environment: dict[str, str]) -> None:
        # A mapping of its own: changing the process's real environment while threads of gRPC's core read it crashes.
        with mock.patch.object(os, "environ", bare | secret | environment):
            try:
                loaded = settings.load()
            except BadSettings as error:
                assert error.message
                assert "hunter2" not in error.message
                return
            assert "hunter2" not in repr(loaded)

    fuzz(_ENVIRONMENTS, check)
