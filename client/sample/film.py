"""Films a programme: every place is painted once, and a few things move in it, in cycles that repeat."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.stream import Stream
from av.video.frame import PictureType
from numpy.typing import NDArray
from PIL import Image

from client.sample import motion, scenery, titles
from client.sample.canvas import HEIGHT, WIDTH
from client.sample.motion import Mover, Planes
from client.sample.script import CYCLE_SECONDS, Programme, Shot
from client.sample.titles import Rectangle

FRAME_RATE = 24
CYCLE_FRAMES = FRAME_RATE * CYCLE_SECONDS
# What moves takes a step every fourth frame, as in drawn animation; the frames between repeat and cost little.
STEP_FRAMES = 4
SOUND_RATE = 16_000
SOUND_FRAME = 1024
SOUND_LOOP_SECONDS = 32

# Constant quantiser and no look-ahead: x264 then leaves out its analysis of whole pictures, half of its time here.
_X264 = {
    "preset": "ultrafast",
    "qp": "23",
    "bf": "2",
    "b_strategy": "0",
    "sc_threshold": "0",
    "forced-idr": "1",
    "g": str(CYCLE_FRAMES),
}


class _Coded(NamedTuple):
    """One encoded frame; its times count frames."""

    content: bytes
    pts: int
    dts: int
    keyframe: bool


@dataclass(frozen=True)
class Scene:
    """A painted shot: its picture, what moves in it, and the parts in front of which nothing moves."""

    picture: Image.Image
    movers: tuple[Mover, ...]
    written: tuple[Rectangle, ...]


def scene(programme: Programme, shot: Shot) -> Scene:
    """Returns the painted picture of a shot."""
    if shot.chapter is None:
        picture = scenery.paint("harbour", shot.look).finished()
        (titles.opening if shot.kind == "intro" else titles.closing)(picture, programme)
        return Scene(picture, (), ())
    topic = shot.chapter.topic.name
    canvas = scenery.paint(topic, shot.look)
    if shot.place is None:
        picture = canvas.finished()
        titles.card(picture, shot.chapter)
        return Scene(picture, (), ())
    if shot.kind == "close":
        picture = canvas.finished(120 + shot.look % 3 * 80, 90 + shot.look % 2 * 30, 1.4)
    else:
        picture = canvas.finished()
    written = [titles.banner(picture, shot.chapter, shot.place)]
    if shot.kind == "sign":
        written.append(titles.sign(picture, shot.chapter, shot.place, shot.look))
    return Scene(picture, motion.movers(topic, shot.look), tuple(written))


def record(programme: Programme, path: Path) -> None:
    """Writes the programme as an MP4 file with H.264 pictures and quiet AAC chords.

    Every cycle begins with a keyframe and refers to nothing before it, so that a shot's cycle is encoded once and
    its packets are repeated with later times: less than half of the frames are ever encoded.
    """
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        video = container.add_stream("libx264", rate=FRAME_RATE, options=_X264)
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        video.thread_type = "FRAME"
        sound = container.add_stream("aac", rate=SOUND_RATE, layout="mono")
        sound.bit_rate = 24_000
        sounds = _sounds(sound, programme.seconds)
        for number, (shot, cycle) in enumerate(zip(programme.shots, _cycles(programme, video), strict=True)):
            for turn in range(shot.cycles):
                shift = round(shot.start * FRAME_RATE) + (turn - number) * CYCLE_FRAMES
                container.mux(_shifted(cycle, shift, video))
            container.mux(list(itertools.islice(sounds, round(shot.seconds * SOUND_RATE / SOUND_FRAME))))
        container.mux(list(sounds))


def _cycles(programme: Programme, stream: av.VideoStream) -> Iterator[list[_Coded]]:
    """Yields the packets of one cycle of every shot, as if the cycles followed each other."""
    cycle: list[_Coded] = []
    for frame in itertools.chain(_frames(programme), (None,)):
        for packet in stream.encode(frame):
            assert packet.pts is not None
            assert packet.dts is not None
            coded = _Coded(bytes(packet), packet.pts, packet.dts, packet.is_keyframe)
            if coded.keyframe and cycle:
                yield cycle
                cycle = []
            cycle.append(coded)
    yield cycle


def _frames(programme: Programme) -> Iterator[av.VideoFrame]:
    """Yields the frames of one cycle of every shot; a repeated frame is the same object with another time."""
    for first, shot in zip(itertools.count(0, CYCLE_FRAMES), programme.shots):
        painted = scene(programme, shot)
        base = motion.to_planes(painted.picture)
        frame = _frame(base)
        for number in range(CYCLE_FRAMES):
            if painted.movers and number % STEP_FRAMES == 0:
                frame = _frame(_moved(base, painted, number / CYCLE_FRAMES))
            frame.pts, frame.time_base = first + number, Fraction(1, FRAME_RATE)
            frame.pict_type = PictureType.I if number == 0 else PictureType.NONE
            yield frame


def _shifted(cycle: list[_Coded], frames: int, stream: av.VideoStream) -> list[av.Packet[Stream]]:
    """Returns the packets of a cycle, moved to a later time."""
    packets = []
    for coded in cycle:
        packet = av.Packet(coded.content)
        packet.stream, packet.time_base = stream, Fraction(1, FRAME_RATE)
        packet.pts, packet.dts, packet.duration = coded.pts + frames, coded.dts + frames, 1
        packet.is_keyframe = coded.keyframe
        packets.append(packet)
    return packets


def _moved(base: Planes, painted: Scene, share: float) -> Planes:
    """Returns the picture with everything where it is at a share of the cycle."""
    planes = base.copy()
    for mover in painted.movers:
        mover.draw(planes, share)
    motion.restore(planes, base, painted.written)
    return planes


def _frame(planes: Planes) -> av.VideoFrame:
    """Returns planes as a frame."""
    return av.VideoFrame.from_ndarray(planes, format="yuv420p")


def _sounds(stream: av.AudioStream, seconds: float) -> Iterator[av.Packet[Stream]]:
    """Yields the sound: half a minute of chords, encoded once and repeated like a tape loop."""
    count = SOUND_RATE * SOUND_LOOP_SECONDS // SOUND_FRAME
    chords = _chords(count * SOUND_FRAME)
    loop: list[bytes] = []
    for start in range(0, chords.size, SOUND_FRAME):
        frame = av.AudioFrame.from_ndarray(chords[None, start : start + SOUND_FRAME], format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = SOUND_RATE, start, Fraction(1, SOUND_RATE)
        loop.extend(bytes(packet) for packet in stream.encode(frame))
    for number in range(int(seconds * SOUND_RATE) // SOUND_FRAME):
        packet = av.Packet(loop[number % len(loop)])
        packet.stream, packet.time_base = stream, Fraction(1, SOUND_RATE)
        packet.pts = packet.dts = number * SOUND_FRAME
        packet.duration = SOUND_FRAME
        packet.is_keyframe = True
        yield packet


def _chords(samples: int) -> NDArray[np.float32]:
    """Returns four soft chords, each swelling and fading."""
    time = np.arange(samples) / SOUND_RATE
    length = samples / SOUND_RATE / 4
    sound = np.zeros(samples)
    for number, notes in enumerate(
        ((220.0, 277.2, 329.6), (185.0, 220.0, 277.2), (146.8, 220.0, 293.7), (164.8, 207.7, 246.9))
    ):
        here = (time >= number * length) & (time < (number + 1) * length)
        swell = np.sin((time[here] / length - number) * np.pi) ** 2
        sound[here] = sum(np.sin(time[here] * note * 2 * np.pi) for note in notes) * swell
    return (sound * 0.03).astype(np.float32)
