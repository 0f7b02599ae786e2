"""Random messages of any type, made from its descriptor: new fields and new methods are found by themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

_RANGES = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
    FieldDescriptor.CPPTYPE_ENUM: (-(2**31), 2**31 - 1),
}
_UNICODE = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
_LONG = st.builds(lambda text, count: text * count, st.sampled_from(["x", "é\0", "A. ", "9/", "\n"]), st.just(60_000))
_HUGE_COUNTS = st.sampled_from([300, 5_000])
# What a field repeats is cut to this, so that most messages are small enough to be looked at.
_FIELD_BYTES = 1 << 20


def messages(descriptor: Descriptor, words: Sequence[str]) -> SearchStrategy[Message]:
    """Returns random messages of a type. `words` are texts that mean something to the server: names, mostly."""
    return _Maker(words).message(descriptor)


class _Maker:
    def __init__(self, words: Sequence[str]) -> None:
        nearly = st.builds(lambda word, end: word + end, st.sampled_from(words), st.sampled_from(["/", "\0", "9", " "]))
        known = st.sampled_from(words)
        # Mostly right, so that requests get past their first check.
        self._texts = st.one_of(known, known, known, nearly, _UNICODE, st.just(""), _LONG)

    def message(self, descriptor: Descriptor, depth: int = 0) -> SearchStrategy[Message]:
        cls = message_factory.GetMessageClass(descriptor)
        fields = {field.name: self._field(field, depth) for field in descriptor.fields if depth < 4}
        chosen = st.fixed_dictionaries({}, optional=fields)
        return chosen.map(lambda values: self._made(cls, values))

    @staticmethod
    def _made(kind: type[Message], values: dict[str, Any]) -> Message:
        made = kind()
        for name, value in values.items():
            made.MergeFrom(kind(**{name: value}))
        return made

    def _field(self, field: FieldDescriptor, depth: int) -> SearchStrategy[Any]:
        value = self._value(field, depth)
        if not field.is_repeated:
            return value
        few = st.lists(value, max_size=4)
        return few | st.builds(lambda one, count: [one] * min(count, _FIELD_BYTES // _size(one)), value, _HUGE_COUNTS)

    def _value(self, field: FieldDescriptor, depth: int) -> SearchStrategy[Any]:
        kind = field.cpp_type
        if kind == FieldDescriptor.CPPTYPE_MESSAGE:
            return self.message(field.message_type, depth + 1)
        if kind == FieldDescriptor.CPPTYPE_BOOL:
            return st.booleans()
        if kind in {FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT}:
            return st.floats(width=32)
        if kind == FieldDescriptor.CPPTYPE_STRING:
            return st.binary(max_size=40) if field.type == FieldDescriptor.TYPE_BYTES else self._texts
        low, high = _RANGES[kind]
        return st.integers(0, 8) | st.sampled_from([low, high, -1, 1_000_000]).filter(lambda number: number >= low)


def _size(value: Any) -> int:
    return 1 + (value.ByteSize() if isinstance(value, Message) else len(value) if isinstance(value, str) else 8)
