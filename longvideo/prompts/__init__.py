"""Prompt packs: the words that models are given, as data.

A pack is a TOML file with a name and nine templates. The templates are Jinja, cut down to named fields and conditions:
a pack is data that somebody else may have written, so nothing in it can loop, call or reach into an object. The pack
that comes with longvideo is `default.toml`; `import_pack` makes one from a checkpoint's own script.
"""

from longvideo.prompts.importing import import_pack
from longvideo.prompts.pack import FIELDS, PromptPack, load_pack

__all__ = ["FIELDS", "PromptPack", "import_pack", "load_pack"]
