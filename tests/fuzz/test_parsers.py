"""What reads a model's reply, a subtitle file and a prompt pack, given anything."""

from __future__ import annotations

import json
import re
from pathlib import Path

from hypothesis import strategies as st

from longvideo import subtitles
from longvideo.errors import BadPromptPack, BadSubtitles
from longvideo.prompts import FIELDS, PromptPack, import_pack, load_pack
from longvideo.prompts.importing import CONSTANTS
from longvideo.prompts.pack import parse_pack
from longvideo.segments import LEVELS
from orchestrator import protocol, transcript
from orchestrator.messages import clean
from orchestrator.protocol import Answer, Unusable, VideoQA
from tests.fuzz.conftest import Fuzz
from tests.fuzz.texts import damaged, mixed

_REPLY = "<think>the second part</think>\n<tool>video_qa((2,4,1), What (exactly) is written?)</tool>"
_REPLIES = mixed(
    [
        *("<think>", "</think>", "<tool>", "</tool>", "<answer>", "</answer>", "<Tool>", "</THINK>", "<", ">"),
        *("get_caption(", "video_qa(", "(2,4)", "(2,4,1)", "[1, 2,]", "((", "))", "(", ")", ",", ";", '"', "“", "`"),
        *("1", "9", "0", "-1", "1e9", "99999", "(0,0,0)", " ", "\n", "What is it?", "B", "The answer is (C)."),
    ]
)


def test_replies(fuzz: Fuzz) -> None:
    """Any reply is either usable, and then within the tree and the same when read again, or Unusable with a reason."""

    def check(given: tuple[str, int, bool]) -> None:
        text, width, cut = given
        try:
            reply = protocol.parse(text, width, cut=cut)
        except Unusable as problem:
            assert 0 < len(str(problem)) < 500
            return
        if isinstance(reply.action, Answer):
            assert reply.action.text
        else:
            assert all(1 <= number <= width for number in reply.action.segment.path)
            assert 2 <= reply.action.segment.level <= LEVELS
        if isinstance(reply.action, VideoQA):
            assert 0 < len(reply.action.query) <= protocol.MAX_QUERY_CHARS
        step = transcript.Round(1, clean(reply.thought), reply.action)
        assert len(transcript.messages([], [step])[0]["content"]) <= 2 * protocol.MAX_REPLY_CHARS

    fuzz(st.tuples(_REPLIES | damaged(_REPLY), st.integers(2, 8), st.booleans()), check, examples=400)


def test_held_replies(fuzz: Fuzz) -> None:
    """Whatever a server that is held to the pattern of legal replies can say, is usable."""

    def check(given: tuple[int, bool, st.DataObject]) -> None:
        width, answer_only, data = given
        text = data.draw(st.from_regex(protocol.reply_pattern(width, answer_only=answer_only), fullmatch=True))
        reply = protocol.parse(text, width)
        assert isinstance(reply.action, Answer) or not answer_only

    fuzz(st.tuples(st.integers(2, 8), st.booleans(), st.data()), check, examples=60)


def test_choices(fuzz: Fuzz) -> None:
    """Whatever an answer says, the choice is the letter of an option, or none."""
    options = ["A. a red car", "B) the 3rd (of 4)", "(C) C", "D. "]

    def check(answer: str) -> None:
        assert protocol.choice(answer, options) in {"", "A", "B", "C", "D"}

    fuzz(mixed(["A", "b", "(C)", "option", "answer is ", "a red car", "the 3rd (of 4)", ".", " ", "**", "I"]), check)


_SRT = (
    "1\n00:00:01,000 --> 00:00:02,500\n<i>Hello</i> {\\an8}there\n\n2\n00:00:02,500 --> 00:00:04,000\nthere\nFriend\n"
)
_SUBTITLES = mixed(
    [
        *("WEBVTT", "NOTE", "STYLE", "\n", "\r\n", "\r", "\n\n", "1", "00:00:01,000", "00:01.500", " --> ", "-->", "-"),
        *("00:00:01,000 --> 00:00:02,500\n", "9999:99:99,999 --> 0:0:0.0\n", "<b>", "</b>", "<c.x.y", "{\\an8}", "{"),
        *("&amp;", "&#x1F600;", "&#99999999999;", "&" + "#9" * 50, "\\N", "\\h", "Hello", "\ufeff", "<00:01.000>"),
    ]
)
_ENCODINGS = st.sampled_from(["utf-8", "utf-16", "utf-8-sig", "latin-1", "utf-16-le"])


def test_subtitle_files(fuzz: Fuzz) -> None:
    """Any file is BadSubtitles or gives sorted cues of words on one line, which storage gives back as they were."""

    def check(content: bytes) -> None:
        try:
            cues = subtitles.parse(content, "x.srt")
            fitted, _ = subtitles.fit(cues, 10.0)
        except BadSubtitles as error:
            assert error.message
            return
        assert [cue.start for cue in cues] == sorted(cue.start for cue in cues)
        for cue in cues:
            assert 0 <= cue.start <= cue.end
            assert 0 < len(cue.text) <= subtitles.MAX_CUE_CHARS
            assert not re.search(r"[\0\n\r\ud800-\udfff]", cue.text)
        assert subtitles.Subtitles.from_bytes(fitted.to_bytes()) == fitted

    texts = st.builds(lambda text, name: text.encode(name, "replace"), _SUBTITLES | damaged(_SRT), _ENCODINGS)
    fuzz(texts | st.binary(max_size=400), check, examples=400)


_TEMPLATE = mixed(
    [
        *("{{ width }}", "{{ max_words }}", "{% if options %}", "{% else %}", "{% endif %}", "{{", "}}", "{%", "%}"),
        *("{#", "#}", "{{ frames", "{% for x in y %}", "{{ width.__class__ }}", "{{ 'a' * 9 }}", "{{ 9 ** 9 }}"),
        *("{% set x = 1 %}", "{{ width|upper }}", "{{ width == 3 and not options }}", "(", "not ", "word", "\n", "'''"),
        *("{{ (", ") }}", "{% raw %}", "{{ 99999999999999999999 }}", "{{ 1 if options else 2 }}", "\x7f", "'"),
    ],
    max_pieces=12,
).map(clean)  # no file can hold half of a surrogate pair
_VALUES = {"width": 4, "options": True, "max_words": 9, "level": "high", "frames": 8, "max_rounds": 5, "problem": "p"}


def test_prompt_templates(fuzz: Fuzz) -> None:
    """A pack of any templates is refused or renders, is bounded, and is itself again when written and read."""

    def check(given: tuple[str, str, str]) -> None:
        target, text, name = given
        templates = {key: text if key == target else "words" for key in FIELDS}
        try:
            pack = PromptPack(name, templates)
        except BadPromptPack:
            return
        assert len(pack.render(target, **_VALUES, segment="(1)")) <= 4 * len(text) + 100
        again = parse_pack(pack.to_toml().encode(), "again")
        assert (again.name, again.templates) == (name, templates)

    names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip)
    fuzz(st.tuples(st.sampled_from(list(FIELDS)), _TEMPLATE, names), check, examples=80)


_PACK = load_pack().to_toml()


def test_pack_files(fuzz: Fuzz) -> None:
    """Any file is a pack or BadPromptPack."""

    def check(content: bytes) -> None:
        try:
            assert parse_pack(content, "x.toml").name
        except BadPromptPack as error:
            assert error.message

    pieces = [
        'name = "x"\n',
        "[templates]\n",
        "[",
        "]",
        "'''",
        '"""',
        "=",
        "a.b.c = 1\n",
        "0x",
        "1979-05-27",
        "{a=1}",
        "\n",
    ]
    texts = (mixed(pieces) | damaged(_PACK)).map(lambda text: text.encode("utf-8", "surrogatepass"))
    fuzz(texts | st.binary(max_size=200), check)


_SCRIPT = "\n".join(
    f"{name} = '''Watch {{num_frames}} frames, {{{{use}}}} {{num_words}} words'''" for name in CONSTANTS
)


def test_imported_scripts(fuzz: Fuzz, tmp_path: Path) -> None:
    """Any script is imported as it stands, never run, or is BadPromptPack."""
    path = tmp_path / "cli.py"
    path.touch()

    def check(content: bytes) -> None:
        path.write_bytes(content)
        try:
            pack = import_pack(path)
        except BadPromptPack as error:
            assert error.message
            return
        for template in CONSTANTS.values():
            assert pack.render(template, **_VALUES).strip()

    pieces = [
        *(f"{name} = " for name in CONSTANTS),
        *("'''", "'", '"a"', "f'{x}'", "{num_words}", "{", "}", "{{", "+", "(", ")", "\n", "# coding: utf-7\n", "\\"),
        *("import os\n", "x: str = ", "lambda: ", "-" * 400, "[" * 300, "\\ud800", "\\N{DASH}", "b''", "\t"),
    ]
    texts = (mixed(pieces) | damaged(_SCRIPT)).map(lambda text: text.encode("utf-8", "surrogatepass"))
    fuzz(texts | st.binary(max_size=200), check, examples=200)


def test_stored_subtitles(fuzz: Fuzz) -> None:
    """Stored subtitles that somebody damaged are BadSubtitles, or subtitles."""
    stored = json.dumps([[0.0, 1.5, "Hello"], [1.5, 2.0, "there"]])

    def check(text: str) -> None:
        try:
            found = subtitles.Subtitles.from_bytes(text.encode("utf-8", "surrogatepass"))
        except BadSubtitles:
            return
        assert found.within(0.0, 9.0) is not None

    fuzz(damaged(stored) | mixed(["[", "]", "1e999", "NaN", "null", '"a"', ",", "{}", "-", "1"]), check)
