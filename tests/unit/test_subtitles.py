"""Reading subtitle files in every state, and finding the cues of a span."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longvideo.errors import BadSubtitles
from longvideo.subtitles import MAX_BYTES, Cue, Subtitles, find_sidecar, fit, parse

SRT = """1
00:00:01,000 --> 00:00:02,500
The ferry leaves at nine.

2
00:00:03,000 --> 00:00:04,000
- Really?
- Yes.
"""
EXPECTED = [Cue(1.0, 2.5, "The ferry leaves at nine."), Cue(3.0, 4.0, "- Really? - Yes.")]

VTT = """WEBVTT - Harbour news
Kind: captions

STYLE
::cue { color: lime }

NOTE a remark
over two lines

opening
00:01.000 --> 00:02.500 align:start position:0%
The ferry leaves at nine.

NOTE another remark

01:00:03.000 --> 01:00:04.000
<v Ida>Really?</v>
"""


def srt(*cues: tuple[str, str, str]) -> bytes:
    """Returns an .srt file of (start, end, text)."""
    return "\n".join(f"{n}\n{start} --> {end}\n{text}\n" for n, (start, end, text) in enumerate(cues, 1)).encode()


def test_srt() -> None:
    """Cues have their times in seconds and their lines joined."""
    assert parse(SRT.encode()) == EXPECTED


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
def test_encodings(encoding: str) -> None:
    """The encoding is found out, for words with accents too."""
    text = SRT.replace("The ferry", "La Fährverbindung à Åland")
    assert parse(text.encode(encoding))[0].text == "La Fährverbindung à Åland leaves at nine."


@pytest.mark.parametrize("ending", ["\r\n", "\r", "\n"])
def test_line_endings(ending: str) -> None:
    """Windows, old Macintosh and Unix line ends are all understood."""
    assert parse(SRT.replace("\n", ending).encode()) == EXPECTED


def test_windows_quotes() -> None:
    """Bytes that are not UTF-8 are read as Windows-1252, whose quotes Latin-1 lacks."""
    assert parse(srt(("00:00:01,000", "00:00:02,000", "@")).replace(b"@", b"\x93Ahoy\x94"))[0].text == "“Ahoy”"


def test_vtt() -> None:
    """Notes, styles, identifiers, settings and voice tags of WebVTT are not speech; hours may be left out."""
    assert parse(VTT.encode()) == [Cue(1.0, 2.5, "The ferry leaves at nine."), Cue(3603.0, 3604.0, "Really?")]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("<i>Slowly</i> <font color='red'>now</font>", "Slowly now"),
        (r"{\an8}Above{\i1} it{\i0}", "Above it"),
        (r"one\Ntwo\hthree", "one two three"),
        ("Fish &amp; chips &lt;3", "Fish & chips <3"),
        ("3 < 5 and 7 > 6", "3 < 5 and 7 > 6"),
        ("zero\u200bwidth \x07bell", "zerowidth bell"),
        ("&#" + "1" * 5000 + ";", "\ufffd"),
    ],
)
def test_markup(written: str, read: str) -> None:
    """Tags, overrides, entities and control characters are gone, and words that look a little like them stay."""
    assert parse(srt(("00:00:01,000", "00:00:02,000", written)))[0].text.startswith(read)


def test_untidy_times() -> None:
    """Cues are sorted, may overlap, and one that ends before it starts gets a second."""
    cues = parse(
        srt(
            ("00:00:09,000", "00:00:08,000", "third"),
            ("00:00:01,000", "00:00:06,000", "first"),
            ("00:00:02,000", "00:00:04,000", "second"),
            ("00:00:12,000", "00:00:12,000", "fourth"),
        )
    )
    assert cues == [Cue(1, 6, "first"), Cue(2, 4, "second"), Cue(9, 10, "third"), Cue(12, 13, "fourth")]


def test_negative_times() -> None:
    """A cue before the first frame is left out, and one across it starts with it."""
    cues = parse(srt(("-00:00:04,000", "-00:00:02,000", "gone"), ("-00:00:01,000", "00:00:02,000", "kept")))
    assert cues == [Cue(0, 2, "kept")]


def test_text_with_numbers_and_empty_lines() -> None:
    """An empty line does not end a SubRip cue, and a number that is spoken is not taken for the next cue's."""
    content = "1\n00:00:01,000 --> 00:00:02,000\nten\n\n42\n\n2\n00:00:03,000 --> 00:00:04,000\nnext\n"
    assert parse(content.encode()) == [Cue(1, 2, "ten 42"), Cue(3, 4, "next")]


def test_rolling_captions() -> None:
    """Lines that automatic captions repeat are read once, at their first time."""
    content = """WEBVTT

00:00:01.000 --> 00:00:03.000 align:start
~
good<00:00:01.500><c> evening</c>

00:00:03.000 --> 00:00:03.010
good evening
~

00:00:03.010 --> 00:00:05.000
good evening
here<00:00:03.500><c> is</c><00:00:04.000><c> the news</c>

00:00:05.000 --> 00:00:05.010
here is the news
""".replace("~", " ")
    assert parse(content.encode()) == [Cue(1.0, 3.01, "good evening"), Cue(3.01, 5.01, "here is the news")]


def test_repetition_by_speakers() -> None:
    """Words that are said twice, with a pause between, stay twice."""
    cues = parse(srt(("00:00:01,000", "00:00:02,000", "No."), ("00:00:02,100", "00:00:03,000", "No.")))
    assert [cue.text for cue in cues] == ["No.", "No."]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"Just a letter.\nTo a friend.\n",
        b"<!DOCTYPE html><html><!-- a comment --><body>404</body></html>",
        b"\x00\x00\x00\x18ftypmp42" + bytes(range(256)),
        b"\x89PNG\r\n\x1a\n" + bytes(200),
        b"WEBVTT\n",
        b"1\n00:00:01,000 --> 00:00:02,000\n\n",
        b"\xff\xfe\x00",
        b"00:00:01 --> soon\nwords\n",
    ],
)
def test_not_subtitles(content: bytes) -> None:
    """Anything without a cue is refused, and the message names the file."""
    with pytest.raises(BadSubtitles, match=r"letter\.srt"):
        parse(content, "letter.srt")


def test_bounds() -> None:
    """A file of more than 3 MiB, or of more than 100,000 cues, is refused; a long cue is cut."""
    with pytest.raises(BadSubtitles, match="3,145,728"):
        parse(b"x" * (MAX_BYTES + 1))
    with pytest.raises(BadSubtitles, match="100,000"):
        parse(b"0:0:1,0-->0:0:2,0\nx\n" * 100_001)
    assert len(parse(srt(("00:00:01,000", "00:00:02,000", "word " * 5000)))[0].text) <= 2000


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    "piece",
    ["\n", " ", "<", "<a", "< ", "</", "{\\", "{", "&", "&#", "\\N", "1\n", "-->", "-->\n", "0:0:1,0 --> ", "<c>\n"],
)
def test_hostile_repetition(piece: str) -> None:
    """Three megabytes of anything that trips careless patterns are read in time proportional to them."""
    start = "1\n00:00:01,000 --> 00:00:02,000\nx"
    content = start + piece * ((MAX_BYTES - 100) // len(piece)) + "x\n"
    assert parse(content.encode())[0].start == 1.0


@given(st.binary(max_size=300))
def test_any_bytes(content: bytes) -> None:
    """Whatever follows a cue, reading either gives cues that obey the rules or says that these are no subtitles."""
    try:
        cues = parse(b"1\n00:00:01,000 --> 00:00:02,000\n" + content)
    except BadSubtitles:
        return
    assert cues == sorted(cues, key=lambda cue: cue.start)
    assert all(0 <= cue.start < cue.end and cue.text == " ".join(cue.text.split()) for cue in cues)


def test_fit() -> None:
    """Cues past the end are left out with a warning that counts them."""
    subtitles, warnings = fit([Cue(1, 2, "a"), Cue(9, 12, "b"), Cue(11, 12, "c")], 10.0, "film.srt")
    assert [cue.text for cue in subtitles.cues] == ["a", "b"]
    assert warnings == ("1 of 3 cues of film.srt lie past the end of the video and were left out",)
    assert fit([Cue(1, 2, "a")], 10.0)[1] == ()


def test_another_videos_subtitles() -> None:
    """Subtitles that all lie past the end are refused with a reason of their own."""
    with pytest.raises(BadSubtitles, match=r"lasts 10\.0 s.* at 11\.0 s") as caught:
        fit([Cue(11, 12, "a")], 10.0)
    assert caught.value.reason == "SUBTITLES_PAST_END"


times = st.integers(0, 40).map(float)
cue_lists = st.lists(
    st.tuples(times, times.filter(bool)).map(lambda pair: Cue(pair[0], pair[0] + pair[1], "x")), max_size=12
).map(sorted)


@given(cue_lists, times, times)
def test_within(cues: list[Cue], start: float, length: float) -> None:
    """`within` gives exactly the cues that share a moment with the span."""
    end = start + length
    # All times are whole, so two spans that meet share the middle of some second.
    moments = [second + 0.5 for second in range(81)]
    expected = [cue for cue in cues if any(cue.start <= m < cue.end and start <= m < end for m in moments)]
    assert Subtitles(tuple(cues)).within(start, end) == ([] if length == 0 else expected)


@given(cue_lists)
def test_storage_form(cues: list[Cue]) -> None:
    """Stored subtitles read back as they were, under the same id."""
    subtitles = Subtitles(tuple(cues))
    again = Subtitles.from_bytes(subtitles.to_bytes())
    assert again == subtitles
    assert again.id == subtitles.id


@pytest.mark.parametrize("data", [b"", b"[[1]]", b"[1]", b'[["a", 2, "x"]]', b"\xff"])
def test_damaged_storage(data: bytes) -> None:
    """Damaged stored subtitles are an error, not no subtitles."""
    with pytest.raises(BadSubtitles, match="damaged"):
        Subtitles.from_bytes(data)


def test_the_id_depends_on_words_and_times() -> None:
    """Other words or other times give another id."""
    ids = {Subtitles((cue,)).id for cue in (Cue(1, 2, "a"), Cue(1, 2, "b"), Cue(1, 3, "a"))}
    assert len(ids) == 3


def test_sidecar(tmp_path: Path) -> None:
    """The sidecar of the same name wins, then the first language; other videos' subtitles are not ours."""
    video = tmp_path / "talk.final.mp4"
    assert find_sidecar(video) is None
    for name in ("talk.srt", "talk.final.part.srt", "talk.final2.srt", "talk.final.txt"):
        (tmp_path / name).touch()
    assert find_sidecar(video) is None
    expected = ["talk.final.en.vtt", "talk.final.de.srt", "talk.final.vtt", "talk.final.SRT"]
    for name in expected:
        (tmp_path / name).touch()
        found = find_sidecar(video)
        assert found is not None
        assert found.name == name


def test_no_directory(tmp_path: Path) -> None:
    """A directory that cannot be listed has no sidecar."""
    assert find_sidecar(tmp_path / "gone" / "talk.mp4") is None
