"""The sample programme: what is drawn, what can be read at which size, and how its files appear."""

from __future__ import annotations

import io
import itertools
import json
import logging
import random
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pysubs2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from rapidocr import RapidOCR

from client.sample import film, keep, make_sample, script, titles, topics, truth
from client.sample.script import Programme, Shot

seeds = st.integers(0, 2**64 - 1)


def drawn(seed: int) -> Programme:
    """Returns the programme of a seed."""
    return script.draw(random.Random(seed))


@pytest.fixture(scope="module")
def reader() -> Iterator[RapidOCR]:
    """Yields a reader of text in pictures."""
    logging.disable(logging.INFO)
    yield RapidOCR()
    logging.disable(logging.NOTSET)


@pytest.fixture(scope="module")
def signs() -> list[tuple[Programme, Shot]]:
    """Returns the first sign of three programmes."""
    return [
        next((programme, shot) for shot in programme.shots if shot.kind == "sign")
        for programme in map(drawn, (7, 8, 9))
    ]


def read(reader: RapidOCR, picture: Image.Image, longest_side: int) -> set[str]:
    """Returns the lines that can be read in a picture after it was scaled and packed as JPEG."""
    scaled = picture.resize((longest_side, picture.height * longest_side // picture.width), Image.Resampling.BILINEAR)
    packed = io.BytesIO()
    scaled.save(packed, "JPEG", quality=85)
    lines = reader(np.asarray(Image.open(packed))[:, :, ::-1]).txts or ()
    return {plain(line) for line in lines}


def plain(text: str) -> str:
    """Returns the letters, digits, dots and colons of a text, in lower case."""
    return re.sub(r"[^a-z0-9.:]", "", text.lower())


class TestScript:
    @given(seeds)
    @settings(max_examples=60, deadline=None)
    def test_length(self, seed: int) -> None:
        """A programme lasts from ten minutes to ten and a half."""
        assert 600 <= drawn(seed).seconds <= 630

    @given(seeds)
    @settings(max_examples=60, deadline=None)
    def test_shots_follow_each_other(self, seed: int) -> None:
        """Every shot begins where the one before it ends."""
        shots = drawn(seed).shots

        assert [0.0, *(shot.start + shot.seconds for shot in shots[:-1])] == [shot.start for shot in shots]

    @given(seeds)
    @settings(max_examples=60, deadline=None)
    def test_signs_are_alike(self, seed: int) -> None:
        """The signs of a chapter have the same labels, and no value stands on two of them."""
        for chapter in drawn(seed).chapters:
            labels = {tuple(fact.label for fact in place.facts) for place in chapter.places}
            values = [fact.value for place in chapter.places for fact in place.facts]

            assert len(labels) == 1
            assert len(values) == len(set(values))

    @given(seeds)
    @settings(max_examples=60, deadline=None)
    def test_signs_are_shown_for_some_seconds(self, seed: int) -> None:
        """A sign is on screen from six to fourteen seconds, and each place has one."""
        signs = [shot for shot in drawn(seed).shots if shot.kind == "sign"]

        assert len({shot.place for shot in signs}) == len(signs) == script.CHAPTERS * script.PLACES_PER_CHAPTER
        assert all(6 <= shot.seconds <= 14 for shot in signs)

    @given(seeds)
    @settings(max_examples=60, deadline=None)
    def test_cues_do_not_overlap(self, seed: int) -> None:
        """Subtitles come in order, one at a time, each for two to five seconds, within the programme."""
        programme = drawn(seed)
        cues = list(script.cues(programme))

        assert all(2 <= cue.end - cue.start <= 5 for cue in cues)
        assert all(first.end < second.start for first, second in itertools.pairwise(cues))
        assert cues[-1].end < programme.seconds

    @given(seeds)
    @settings(max_examples=60, deadline=None)
    def test_subtitles_keep_the_values(self, seed: int) -> None:
        """The narrator names every place, and never a value of any sign."""
        programme = drawn(seed)
        words = " ".join(cue.text for cue in script.cues(programme))

        for chapter in programme.chapters:
            for place in chapter.places:
                assert place.name in words
                assert not any(fact.value in words for fact in place.facts)

    @given(seeds)
    @settings(max_examples=60, deadline=None)
    def test_open_question(self, seed: int) -> None:
        """The first question names one place and one line, and its answer stands there."""
        programme = drawn(seed)
        question = programme.questions[0]
        asked = [
            fact.value
            for chapter in programme.chapters
            for place in chapter.places
            for fact in place.facts
            if fact.question == question.text
        ]

        assert question.options == ()
        assert asked == [question.answer]

    @given(seeds)
    @settings(max_examples=60, deadline=None)
    def test_multiple_choice(self, seed: int) -> None:
        """The second question has four different options; two wrong ones stand on the other signs of its chapter."""
        programme = drawn(seed)
        question = programme.questions[1]
        options = dict(option.split(". ", 1) for option in question.options)
        (chapter,) = (
            chapter
            for chapter in programme.chapters
            if any(fact.question == question.text for place in chapter.places for fact in place.facts)
        )
        seen = {fact.value: fact.question for place in chapter.places for fact in place.facts}

        assert list(options) == ["A", "B", "C", "D"]
        assert len(set(options.values())) == 4
        assert len(set(options.values()) & set(seen)) == 3
        assert seen[options[question.answer]] == question.text

    def test_every_letter_is_right_sometimes(self) -> None:
        """The right option has no favourite letter."""
        assert {drawn(seed).questions[1].answer for seed in range(40)} == set("ABCD")

    def test_without_a_seed_nobody_knows(self) -> None:
        """Two seeds give other chapters, values and questions."""
        assert drawn(1) != drawn(2)
        assert drawn(1).questions != drawn(2).questions

    def test_every_question_names_place_and_line(self) -> None:
        """No pool has two lines that a question could mean at once."""
        for topic in topics.TOPICS:
            asked = [row.question.format(label=row.label, place="there") for row in topic.rows]

            assert len(asked) == len(set(asked))
            assert all("{place}" in row.question for row in topic.rows)

    def test_every_topic_has_a_sentence_per_place(self) -> None:
        """Every topic has sentences and places enough for a chapter."""
        for topic in topics.TOPICS:
            for pool in (topic.places, topic.opening, topic.at_sign, topic.closing):
                assert len(set(pool)) == len(pool) >= script.PLACES_PER_CHAPTER


class TestLegibility:
    """Headlines are meant to be read at 256 pixels, values at 1024 and not at 512."""

    def test_headline_at_caption_resolution(self, reader: RapidOCR, signs: list[tuple[Programme, Shot]]) -> None:
        """A headline can be read when the longest side is 256 pixels, and no value can."""
        for programme, shot in signs:
            assert shot.place is not None
            lines = read(reader, film.scene(programme, shot).picture, 256)

            assert any(plain(shot.place.name) in line for line in lines)
            assert not lines & {plain(fact.value) for fact in shot.place.facts}

    def test_values_at_clip_resolution(self, reader: RapidOCR, signs: list[tuple[Programme, Shot]]) -> None:
        """Every label and value can be read when the longest side is 1024 pixels."""
        for programme, shot in signs[:2]:
            assert shot.place is not None
            lines = "|".join(read(reader, film.scene(programme, shot).picture, 1024))

            for fact in shot.place.facts:
                assert plain(fact.label) in lines
                assert plain(fact.value) in lines

    def test_nothing_moves_over_a_sign(self) -> None:
        """What moves leaves the headline and the sign as they are."""
        programme = drawn(7)
        shot = next(shot for shot in programme.shots if shot.kind == "sign")
        painted = film.scene(programme, shot)
        base = film.motion.to_planes(painted.picture)

        for share in (0.0, 0.25, 0.6):
            moved = film._moved(base, painted, share)
            for left, top, right, bottom in painted.written:
                assert np.array_equal(moved[top:bottom, left:right], base[top:bottom, left:right])


def shortened(programme: Programme) -> Programme:
    """Returns the beginning of a programme: its title, and one place's first shots."""
    return replace(programme, shots=programme.shots[:4])


def title_only(seed: int) -> Programme:
    """Returns the title of a programme, which is quickly filmed."""
    programme = drawn(seed)
    return replace(programme, shots=programme.shots[:1])


@pytest.fixture(scope="module")
def film_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a recorded beginning of a programme."""
    path = tmp_path_factory.mktemp("film") / "short.mp4"
    film.record(shortened(drawn(7)), path)
    return path


class TestFilm:
    def test_every_frame_is_there(self, film_path: Path) -> None:
        """The frames lie evenly, none is missing, and every shot begins with a keyframe."""
        programme = shortened(drawn(7))
        with av.open(str(film_path)) as container:
            frames = [(round(frame.time * film.FRAME_RATE), frame.key_frame) for frame in container.decode(video=0)]
        starts = {round(shot.start * film.FRAME_RATE) for shot in programme.shots}

        assert [number for number, _ in frames] == list(range(round(programme.seconds * film.FRAME_RATE)))
        assert starts <= {number for number, key in frames if key}

    def test_streams(self, film_path: Path) -> None:
        """The file has H.264 pictures of 1280 by 720 with B-frames, and sound as long as they are."""
        programme = shortened(drawn(7))
        with av.open(str(film_path)) as container:
            video, sound = container.streams.video[0], container.streams.audio[0]

            assert (video.codec_context.name, video.width, video.height) == ("h264", 1280, 720)
            assert video.codec_context.has_b_frames
            assert sound.codec_context.name == "aac"
            assert float(sound.duration * sound.time_base) == pytest.approx(programme.seconds, abs=0.1)

    def test_pictures_survive(self, film_path: Path) -> None:
        """A decoded frame looks like the picture that was painted, also in a repeated cycle."""
        programme = shortened(drawn(7))
        sign = next(shot for shot in programme.shots if shot.kind == "sign")
        painted = np.asarray(film.scene(programme, sign).picture, dtype=float)
        left, top, right, bottom = titles.BANNER
        with av.open(str(film_path)) as container:
            container.seek(round((sign.start + 5) * av.time_base))
            seen = next(container.decode(video=0)).to_ndarray(format="rgb24").astype(float)

        assert np.abs(seen - painted)[top:bottom, left:right].mean() < 6


class TestMakeSample:
    def test_files(self, tmp_path: Path) -> None:
        """The subtitles lie beside the video under its stem, and nothing else but the questions is there."""
        sample = keep(tmp_path / "new", lambda: title_only(7))

        assert sample.subtitles == sample.video.with_suffix(".srt")
        assert set(tmp_path.glob("new/*")) == {sample.video, sample.subtitles, tmp_path / "new" / "questions.json"}

    def test_subtitles_can_be_parsed(self, tmp_path: Path) -> None:
        """The subtitles are SubRip: what the narrator says, at its times."""
        sample = keep(tmp_path, lambda: title_only(7))
        parsed = [(event.start, event.end, event.text) for event in pysubs2.load(str(sample.subtitles))]

        assert parsed == [
            (round(cue.start * 1000), round(cue.end * 1000), cue.text) for cue in script.cues(title_only(7))
        ]

    def test_questions_without_answers(self, tmp_path: Path) -> None:
        """The questions' file holds an open and a multiple-choice question, and does not say what is right."""
        sample = keep(tmp_path, lambda: title_only(7))
        written = json.loads((tmp_path / "questions.json").read_text())

        assert [set(question) for question in written] == [{"text", "options"}] * 2
        assert [len(question.options) for question in sample.questions] == [0, 4]
        assert [question["text"] for question in written] == [question.text for question in sample.questions]

    def test_made_once(self, tmp_path: Path) -> None:
        """A complete sample is kept, whatever the seed."""
        first = keep(tmp_path, lambda: title_only(7))
        content = first.video.read_bytes()

        assert make_sample(tmp_path, seed=8) == first
        assert first.video.read_bytes() == content

    @pytest.mark.parametrize("lost", [".mp4", ".srt", ".json"])
    def test_leftovers_are_replaced(self, lost: str, tmp_path: Path) -> None:
        """A directory in which a file is missing gets a whole new sample, and loses half-written files."""
        for path in tmp_path.iterdir() if keep(tmp_path, lambda: title_only(7)) else ():
            if path.suffix == lost:
                path.rename(path.with_name(path.name + ".part"))
        sample = keep(tmp_path, lambda: title_only(8))

        assert sample.questions[0].text == title_only(8).questions[0].text
        assert len(list(tmp_path.iterdir())) == 3

    def test_interrupted(self, tmp_path: Path) -> None:
        """An interruption while filming leaves nothing behind."""
        broken = replace(title_only(7), shots=(*title_only(7).shots, None))

        with pytest.raises(AttributeError):
            keep(tmp_path, lambda: broken)

        assert list(tmp_path.iterdir()) == []

    def test_truth_is_what_is_filmed(self) -> None:
        """The truth of a seed holds the answers to its questions, and where their signs are."""
        facts = truth(7)
        open_question, choice = facts["questions"]
        values = [value for sign in facts["signs"] for value in sign["facts"].values()]

        assert open_question["answer"] in values
        assert choice["answer"] in "ABCD"
        assert all(sign["start"] < sign["end"] <= facts["duration"] for sign in facts["signs"])
