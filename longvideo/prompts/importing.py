"""Makes a prompt pack from the string constants of a checkpoint's own Python script.

The script is read as a syntax tree and never run.
"""

from __future__ import annotations

import ast
import re
import warnings
from pathlib import Path

from longvideo.errors import BadPromptPack
from longvideo.prompts.pack import MAX_PACK_BYTES, PromptPack, load_pack

# The constants, and the templates that they become.
CONSTANTS = {
    "SYSTEM_PROMPT": "reason_system",
    "VIDEO_QA_SYSTEM_PROMPT": "qa_system",
    "CAPTION_SYSTEM_PROMPT": "caption_system",
    "CAPTION_SYSTEM_PROMPT_LOW": "caption_system_low",
}
MAX_CONSTANT_CHARS = 64 * 1024

# What such scripts call the fields, which they fill in with `str.format`.
_FIELDS = {
    "reason_system": {"width": "width"},
    "qa_system": {},
    "caption_system": {
        "num_words": "max_words",
        "num_word": "max_words",
        "num_frames": "frames",
        "num_frame": "frames",
    },
}
_FIELDS["caption_system_low"] = _FIELDS["caption_system"]

_TOKEN = re.compile(r"\{\{|\}\}|\{([A-Za-z_]\w{0,60})\}")


def import_pack(path: Path) -> PromptPack:
    """Returns longvideo's own pack with its four system prompts replaced by those in a Python file.

    Raises BadPromptPack when the file cannot be read, is not Python, or lacks one of `CONSTANTS` as a plain string at
    its top level; the message lists all that are missing.
    """
    found = _string_constants(_parsed(path))
    missing = [name for name in CONSTANTS if not found.get(name, "").strip()]
    if missing:
        raise BadPromptPack(f"{path} lacks {', '.join(missing)}, each a plain string at the top level of the file")
    imported = {template: _converted(found[name], _FIELDS[template]) for name, template in CONSTANTS.items()}
    return PromptPack(f"imported from {path.name}", {**load_pack(None).templates, **imported})


def _parsed(path: Path) -> ast.Module:
    try:
        with path.open("rb") as file:
            source = file.read(MAX_PACK_BYTES + 1)
    except OSError as error:
        raise BadPromptPack(f"{path} cannot be read: {error.strerror}") from error
    if len(source) > MAX_PACK_BYTES:
        raise BadPromptPack(f"{path} is larger than {MAX_PACK_BYTES:,} bytes, which no such script is")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the script's escapes, which are not ours to mend
            return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise BadPromptPack(f"{path} is not Python that can be read: {error}") from error


def _string_constants(module: ast.Module) -> dict[str, str]:
    found: dict[str, str] = {}
    for statement in module.body:
        match statement:
            case ast.Assign(targets=targets, value=value):
                names = [target.id for target in targets if isinstance(target, ast.Name)]
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                names = [name]
            case _:
                continue
        for name in names:
            if name in CONSTANTS:
                found[name] = _text(value, name)
    return found


def _text(value: ast.expr, name: str) -> str:
    """Returns the text of a string, or of strings joined by `+`; the empty text for any other expression."""
    parts: list[str] = []
    pending = [value]
    while pending:
        match pending.pop():
            case ast.Constant(value=str(text)):
                parts.append(text)
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                pending += [right, left]
            case _:
                return ""
    text = "".join(parts)
    if len(text) > MAX_CONSTANT_CHARS:
        raise BadPromptPack(f"{name} has {len(text):,} characters; a prompt may have at most {MAX_CONSTANT_CHARS:,}")
    if not text.isascii() and re.search("[\ud800-\udfff]", text):
        raise BadPromptPack(f"{name} holds half of a surrogate pair, which is not text")
    return text


def _converted(text: str, fields: dict[str, str]) -> str:
    """Returns a `str.format` text as a template: known fields as fields, everything else as it stands."""
    pieces: list[str] = []
    literal = ""
    end = 0
    for token in _TOKEN.finditer(text):
        literal += text[end : token.start()]
        end = token.end()
        known = fields.get(token[1] or "")
        if known is not None:
            pieces += [_escaped(literal), "{{ " + known + " }}"]
            literal = ""
        else:
            literal += {"{{": "{", "}}": "}"}.get(token[0], token[0])
    return "".join([*pieces, _escaped(literal + text[end:])])


def _escaped(literal: str) -> str:
    """Returns text that a template gives back as it is: no brace of it can open a field."""
    return re.sub(r"\{(?=[{%#]|\Z)", "{{ '{' }}", literal)
