"""Prompt packs: ours, other people's, and those imported from a script."""

from __future__ import annotations

import string
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longvideo.errors import BadPromptPack
from longvideo.prompts import FIELDS, PromptPack, import_pack, load_pack

SCRIPT = '''
import os
raise SystemExit("this file must never run")

SYSTEM_PROMPT = """
Walk a tree that is {width} wide. Show sets as {{a}} and {"key": 1}; {later} stays.
"""
VIDEO_QA_SYSTEM_PROMPT = ("Look at the clip. "
    "Say {what} you see.")
CAPTION_SYSTEM_PROMPT: str = "Tell of {num_frame} frames in {num_word} words." + " Be calm."
CAPTION_SYSTEM_PROMPT_LOW = 'Tell more in {num_words} words about {num_frames} frames {%'
'''


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """A Python file with the four constants."""
    path = tmp_path / "cli.py"
    path.write_text(SCRIPT)
    return path


def changed(**templates: str) -> PromptPack:
    """Returns our own pack with other templates."""
    return PromptPack("changed", {**load_pack().templates, **templates})


def test_every_template_renders() -> None:
    """Each template of our own pack renders with its fields alone, and shows the numbers it is given."""
    pack = load_pack()
    values = {"width": 7, "max_words": 234, "max_rounds": 29, "problem": "Too many tools.", "segment": "(2,4)"}
    for name, fields in FIELDS.items():
        text = pack.render(name, **{field: values.get(field, True) for field in fields})
        if name != "first_turn_end":  # the line above it tells the width
            assert all(str(values[field]) in text for field in fields & values.keys())
        assert "{{" not in text
        assert "{%" not in text


def test_the_protocol_is_explained() -> None:
    """The reasoner is told every tag and tool, the captioner and the qa model theirs."""
    pack = load_pack()
    reason = pack.render("reason_system", width=5, options=False)
    for word in ("<think>", "<tool>", "<answer>", "get_caption((2,4))", "get_caption((2,4,1))", "video_qa((2,4,1), "):
        assert word in reason
    assert "<caption>" in pack.render("caption_system", max_words=400, level="high")
    assert "<caption>" in pack.render("caption_system_low", max_words=200)
    assert "<reasoning>" in pack.render("qa_system")
    assert "last round" in pack.render("last_round")


def test_options_change_the_ending() -> None:
    """Only a multiple-choice question asks for a letter, and only an open one allows for no answer."""
    pack = load_pack()
    choice = pack.render("reason_system", width=4, options=True)
    open_ended = pack.render("reason_system", width=4, options=False)
    assert "letter" in choice
    assert "letter" not in open_ended
    assert "cannot be determined" in open_ended


def test_a_field_that_is_not_given() -> None:
    """Rendering without a field that the template uses says which."""
    with pytest.raises(BadPromptPack, match="max_words"):
        load_pack().render("caption_system", level="high")


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{ wdith }}", "unknown field 'wdith'"),
        ("{% for x in width %}x{% endfor %}", "for is not allowed"),
        ("{{ width.__class__ }}", "getattr is not allowed"),
        ("{{ width() }}", "call is not allowed"),
        ("{{ 'x' * 999999999 }}", "mul is not allowed"),
        ("{{ width | upper }}", "filter is not allowed"),
        ("{% include 'x' %}", "include is not allowed"),
        ("one\ntwo {{ ", "line 2"),
        ("   ", "lacks reason_system"),
    ],
)
def test_bad_templates(template: str, said: str) -> None:
    """A template can use its fields and conditions, and nothing else."""
    with pytest.raises(BadPromptPack, match=said):
        changed(reason_system=template)


def test_digest() -> None:
    """The digest names what a pack says, not what it is called; the caption templates have one of their own."""
    pack = load_pack()
    captions = ("caption_system", "caption_system_low")
    assert len(pack.digest) == 16
    assert PromptPack("renamed", pack.templates).digest == pack.digest
    assert changed(reason_system="Other {{ width }}").digest != pack.digest
    assert changed(reason_system="Other {{ width }}").digest_of(*captions) == pack.digest_of(*captions)
    assert changed(caption_system="Other").digest_of(*captions) != pack.digest_of(*captions)


def test_file(tmp_path: Path) -> None:
    """A pack written to a file loads as the same pack."""
    path = tmp_path / "pack.toml"
    path.write_text(load_pack().to_toml())
    assert load_pack(path) == load_pack()


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60).filter(str.strip))
def test_any_text_survives_the_file(text: str) -> None:
    """Every text survives being written to a file, quotes and control characters too."""
    quoted = changed(last_round=text.replace("{", "("))
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "pack.toml"
        path.write_bytes(quoted.to_toml().encode())
        assert load_pack(path) == quoted


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"name = ", "not TOML"),
        (b"\xff", "not TOML"),
        (b"a = " + b"[" * 50_000, "not TOML"),
        (b"name = 'x'", r"\[templates\]"),
        (b"name = 3\n[templates]", "needs a `name`"),
        (b"name = 'x'\n[templates]", "lacks reason_system, caption_system"),
        (b"name = 'x'\nextra = 1\n[templates]", "'extra'"),
        (b"name = 'x'\n[templates]\nqa_system = 3", "'qa_system'"),
        (b"#" * 2_000_000, "larger"),
    ],
)
def test_bad_files(tmp_path: Path, content: bytes, said: str) -> None:
    """A file that is no pack is refused with what is wrong."""
    path = tmp_path / "pack.toml"
    path.write_bytes(content)
    with pytest.raises(BadPromptPack, match=said):
        load_pack(path)


def test_unknown_template() -> None:
    """A template that nothing uses is a spelling mistake."""
    with pytest.raises(BadPromptPack, match="'caption_sytem'"):
        changed(caption_sytem="x")


def test_no_file(tmp_path: Path) -> None:
    """A file that is not there is refused by name."""
    with pytest.raises(BadPromptPack, match=r"gone\.toml"):
        load_pack(tmp_path / "gone.toml")


def test_import(script: Path, tmp_path: Path) -> None:
    """Constants become templates: known placeholders are filled in, every other brace stands as it was."""
    path = tmp_path / "pack.toml"
    path.write_text(import_pack(script).to_toml())
    pack = load_pack(path)
    assert pack.render("reason_system", width=6, options=False) == (
        '\nWalk a tree that is 6 wide. Show sets as {a} and {"key": 1}; {later} stays.\n'
    )
    assert pack.render("qa_system", frames=16) == "Look at the clip. Say {what} you see."
    caption = pack.render("caption_system", max_words=400, level="high", frames=128)
    assert caption == "Tell of 128 frames in 400 words. Be calm."
    low = pack.render("caption_system_low", max_words=200, frames=32)
    assert low == "Tell more in 200 words about 32 frames {%"
    assert pack.render("last_round") == load_pack().render("last_round")


def test_import_lists_what_is_missing(tmp_path: Path) -> None:
    """Constants that are absent, computed, nested or empty are all named."""
    path = tmp_path / "cli.py"
    path.write_text(
        "SYSTEM_PROMPT = open('/etc/passwd').read()\n"
        "if True:\n    VIDEO_QA_SYSTEM_PROMPT = 'nested'\n"
        "CAPTION_SYSTEM_PROMPT = f'{1}'\n"
        "CAPTION_SYSTEM_PROMPT_LOW = '  '\n"
    )
    with pytest.raises(BadPromptPack) as caught:
        import_pack(path)
    for name in ("SYSTEM_PROMPT", "VIDEO_QA_SYSTEM_PROMPT", "CAPTION_SYSTEM_PROMPT", "CAPTION_SYSTEM_PROMPT_LOW"):
        assert name in caught.value.message.replace(",", " ").split()


@pytest.mark.parametrize(
    "source",
    [
        b"def f(:",
        b"\0",
        b"x = " + b"(" * 5000,
        b"x = " + b"-" * 100_000 + b"1",
        b"\xff\xfe",
        b"# coding: nonsense\n",
        b"#" * 2_000_000,
        b"SYSTEM_PROMPT = '" + b"x" * 70_000 + b"'",
        b"SYSTEM_PROMPT = '\\ud800'",
        b"SYSTEM_PROMPT = " + b"+".join([b"'a'"] * 20_000),
    ],
)
def test_import_of_hostile_files(tmp_path: Path, source: bytes) -> None:
    """A file that is not such a script is refused, however strange it is."""
    path = tmp_path / "cli.py"
    path.write_bytes(source)
    with pytest.raises(BadPromptPack):
        import_pack(path)


def test_import_of_no_file(tmp_path: Path) -> None:
    """A directory or a missing file is refused by name."""
    for path in (tmp_path, tmp_path / "gone.py"):
        with pytest.raises(BadPromptPack, match=path.name):
            import_pack(path)


@given(st.text("{}%#'\"\\ \nabw" + string.digits, max_size=40))
def test_braces_survive_import(text: str) -> None:
    """A prompt without doubled braces and without known placeholders is rendered letter for letter."""
    text = "x" + text.replace("{{", "{ {").replace("}}", "} }")
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "cli.py"
        path.write_text(SCRIPT + f"\nSYSTEM_PROMPT = {text!r}\n")
        assert import_pack(path).render("reason_system", width=5, options=False) == text


@given(st.binary(max_size=200) | st.text("SYSTEM_PROMPT='\"\n{}()+\\ f", max_size=80).map(str.encode))
def test_import_of_anything(source: bytes) -> None:
    """Any file either is refused as a prompt pack or imports; nothing else happens."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "cli.py"
        path.write_bytes(source + b"\n" + SCRIPT.encode())
        try:
            import_pack(path)
        except BadPromptPack:
            return
