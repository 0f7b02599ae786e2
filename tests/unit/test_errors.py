"""The error tree."""

from __future__ import annotations

import re

import pytest

from longvideo import errors
from longvideo.errors import LongVideoError

TREE = [cls for cls in errors.all_errors() if cls.__module__ == errors.__name__]


@pytest.mark.parametrize("cls", TREE, ids=lambda cls: cls.__name__)
def test_every_class_has_a_reason_and_a_docstring(cls: type[LongVideoError]) -> None:
    """Every class says what it means, to a person and to a program."""
    assert re.fullmatch(r"[A-Z][A-Z_]{1,62}", cls.default_reason)
    assert cls.__doc__


@pytest.mark.parametrize("cls", TREE[1:], ids=lambda cls: cls.__name__)
def test_the_module_draws_every_class(cls: type[LongVideoError]) -> None:
    """The tree at the top of the module is complete."""
    assert re.search(rf"── {cls.__name__}\b", errors.__doc__ or "")


def test_reasons_are_told_apart() -> None:
    """No two classes share a reason, but for the root and the class for defects."""
    reasons = [cls.default_reason for cls in TREE if cls is not LongVideoError]

    assert len(reasons) == len(set(reasons))
