"""Texts that are nearly right: pieces of a language, in any order, with anything between them."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

# Halves of surrogate pairs are left in: JSON can hold them, and models write it.
ANYTHING = st.text(st.characters(), max_size=40)
ODD = st.sampled_from(
    ["", "\0", "\ud800", "\u202e", "\N{ZERO WIDTH JOINER}", "\N{ARABIC-INDIC DIGIT THREE}", "ß", "İ", "\r", "\u2028"]
)


def mixed(pieces: Sequence[str], *, max_pieces: int = 30) -> SearchStrategy[str]:
    """Returns texts made of these pieces, of odd characters and of anything; some pieces come very often in a row."""
    many = st.builds(lambda piece, count: piece * count, st.sampled_from(pieces), st.sampled_from([2, 50, 3000]))
    piece = st.one_of(st.sampled_from(pieces), st.sampled_from(pieces), ODD, ANYTHING, many)
    return st.lists(piece, max_size=max_pieces).map("".join)


def damaged(text: str) -> SearchStrategy[str]:
    """Returns a right text with a few stretches left out, doubled or replaced."""
    edits = st.lists(
        st.tuples(st.integers(0, len(text)), st.integers(0, 40), st.one_of(ODD, ANYTHING, st.just("twice"))), max_size=6
    )

    def edit(changes: list[tuple[int, int, str]]) -> str:
        changed = text
        for start, length, new in changes:
            old = changed[start : start + length]
            changed = changed[:start] + (old + old if new == "twice" else new) + changed[start + length :]
        return changed

    return edits.map(edit)
