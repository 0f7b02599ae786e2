"""A prompt pack: its templates, their fields, and its file."""

from __future__ import annotations

import functools
import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Final

import jinja2
from jinja2 import meta, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from longvideo.errors import BadPromptPack

MAX_PACK_BYTES = 1024 * 1024

# The templates that a pack has, and the fields that each may use. `frames` is how many frames a request shows;
# `level` is `high` or `medium`; `options` tells whether the question is multiple choice; `segment` is such as (2,4).
FIELDS: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "reason_system": frozenset({"width", "options"}),
        "caption_system": frozenset({"max_words", "level", "frames"}),
        "caption_system_low": frozenset({"max_words", "frames"}),
        "qa_system": frozenset({"frames"}),
        "first_turn_end": frozenset({"width", "max_rounds"}),
        "last_round": frozenset(),
        "conclude": frozenset(),
        "repeated": frozenset({"segment"}),
        "correction": frozenset({"problem", "width"}),
    }
)

_ALLOWED = (
    nodes.Template,
    nodes.Output,
    nodes.TemplateData,
    nodes.Name,
    nodes.Const,
    nodes.If,
    nodes.CondExpr,
    nodes.Compare,
    nodes.Operand,
    nodes.And,
    nodes.Or,
    nodes.Not,
)

# Prompts are plain text for a model, not a page for a browser: nothing is to be escaped.
_JINJA = ImmutableSandboxedEnvironment(
    undefined=jinja2.StrictUndefined,
    autoescape=False,
    keep_trailing_newline=True,
    cache_size=0,
)


@dataclass(frozen=True)
class PromptPack:
    """A name and the templates of `FIELDS`. Raises BadPromptPack when made from templates that cannot be used."""

    name: str
    templates: Mapping[str, str]
    _compiled: Mapping[str, jinja2.Template] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        missing = [name for name in FIELDS if not self.templates.get(name, "").strip()]
        if missing:
            raise BadPromptPack(f"the prompt pack {self.name!r} lacks {', '.join(missing)}")
        unknown = [name for name in self.templates if name not in FIELDS]
        if unknown:
            raise BadPromptPack(
                f"the prompt pack {self.name!r} has the unknown template {unknown[0]!r}; there are {', '.join(FIELDS)}"
            )
        compiled = {name: _compile(name, text) for name, text in self.templates.items()}
        object.__setattr__(self, "templates", MappingProxyType(dict(self.templates)))
        object.__setattr__(self, "_compiled", MappingProxyType(compiled))

    def render(self, template: str, /, **fields: object) -> str:
        """Returns a template with its fields filled in. Fields that it does not use may be given.

        Raises BadPromptPack when it uses a field that is not given.
        """
        try:
            return self._compiled[template].render(fields)
        except jinja2.UndefinedError as error:
            raise BadPromptPack(f"the template {template} of the prompt pack {self.name!r}: {error.message}") from error

    @property
    def digest(self) -> str:
        """16 hexadecimal digits that name what the pack says, whatever it is called."""
        return self.digest_of(*FIELDS)

    def digest_of(self, *templates: str) -> str:
        """Returns 16 hexadecimal digits that name what some of the templates say.

        Captions are kept under that of the caption templates alone: other words for the reasoner leave them valid.
        """
        content = json.dumps({name: self.templates[name] for name in templates}, sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    def to_toml(self) -> str:
        """Returns the pack as the text of a file that `load_pack` reads."""
        lines = [f"name = {_quoted(self.name)}", "", "[templates]"]
        for name in FIELDS:
            lines += ["", f"{name} = {_quoted(self.templates[name])}"]
        return "\n".join(lines) + "\n"


def load_pack(path: Path | None = None) -> PromptPack:
    """Returns the pack in a file, or longvideo's own when `path` is None. Raises BadPromptPack."""
    if path is None:
        return _default_pack()
    try:
        with path.open("rb") as file:
            data = file.read(MAX_PACK_BYTES + 1)
    except OSError as error:
        raise BadPromptPack(f"the prompt pack {path} cannot be read: {error.strerror}") from error
    if len(data) > MAX_PACK_BYTES:
        raise BadPromptPack(f"the prompt pack {path} is larger than {MAX_PACK_BYTES:,} bytes")
    return parse_pack(data, str(path))


def parse_pack(data: bytes, shown: str) -> PromptPack:
    """Reads the bytes of a pack's file; `shown` names it in messages. Raises BadPromptPack."""
    try:
        document = tomllib.loads(data.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise BadPromptPack(f"the prompt pack {shown} is not TOML: {error}") from error
    templates = document.pop("templates", None)
    name = document.pop("name", None)
    if not isinstance(name, str) or not name.strip() or not isinstance(templates, dict):
        raise BadPromptPack(f"the prompt pack {shown} needs a `name` and a table `[templates]`")
    if document:
        raise BadPromptPack(f"the prompt pack {shown} has the unknown entry {next(iter(document))!r}")
    for key, value in templates.items():
        if not isinstance(value, str):
            raise BadPromptPack(f"the template {key!r} of the prompt pack {shown} must be a text")
    return PromptPack(name, templates)


@functools.cache
def _default_pack() -> PromptPack:
    return parse_pack(resources.files(__package__).joinpath("default.toml").read_bytes(), "default.toml")


def _compile(name: str, text: str) -> jinja2.Template:
    try:
        tree = _JINJA.parse(text)
        forbidden = next((node for node in tree.find_all(nodes.Node) if not isinstance(node, _ALLOWED)), None)
        if forbidden is not None:
            raise BadPromptPack(
                f"the template {name!r} uses more than fields and conditions on line {forbidden.lineno}: "
                f"{type(forbidden).__name__.lower()} is not allowed"
            )
        unknown = sorted(meta.find_undeclared_variables(tree) - FIELDS[name])
        if unknown:
            known = ", ".join(sorted(FIELDS[name])) or "none"
            raise BadPromptPack(f"the template {name!r} uses the unknown field {unknown[0]!r}; its fields: {known}")
        return _JINJA.from_string(tree)
    except jinja2.TemplateSyntaxError as error:
        raise BadPromptPack(f"the template {name!r} has a mistake on line {error.lineno}: {error.message}") from error
    except RecursionError as error:
        raise BadPromptPack(f"the template {name!r} is nested too deeply") from error


def _quoted(text: str) -> str:
    """Returns a TOML string: a readable block for several lines, else one with escapes."""
    plain = all(character >= " " or character in "\n\t" for character in text) and "\x7f" not in text
    if "\n" in text and plain and "'''" not in text and not text.endswith("'"):
        return f"'''\n{text}'''"
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
