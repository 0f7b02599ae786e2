"""Jobs as a report sees them, made up: of one question, and of many with known truth."""

from __future__ import annotations

import io

from PIL import Image, ImageDraw

from client.report.gather import Asked, Costs, Gathered
from longvideo.v1 import orchestrator_pb2 as pb
from longvideo.v1 import types_pb2

LONG = 600.0


def segment(*path: int) -> types_pb2.Segment:
    """Returns a segment of a video of ten minutes whose tree has four children everywhere."""
    start, length = 0.0, LONG
    for number in path:
        length /= 4
        start += (number - 1) * length
    made = types_pb2.Segment(path=path)
    made.start_offset.FromNanoseconds(round(start * 1e9))
    made.end_offset.FromNanoseconds(round((start + length) * 1e9))
    return made


def episode(text: str = "What number?", **fields: object) -> pb.Episode:
    """Returns an answered episode of two rounds."""
    made = pb.Episode(
        name="jobs/j/episodes/1",
        question=pb.Question(text=text, options=["A. six", "B. seven"]),
        state=pb.Episode.STATE_ANSWERED,
        ending=pb.Episode.ENDING_ANSWERED,
        answer="It is seven.",
        choice="B",
        round_count=2,
        tree_width=4,
        evidence=[pb.Evidence(segment=segment(2, 4), round=1, captioned=True)],
        coverage=pb.Coverage(opened_fraction=0.0625),
        rounds=[
            pb.Round(number=1, thought="Closer.", action=pb.Action(get_caption=pb.GetCaption(segment=segment(2, 4)))),
            pb.Round(number=2, thought="Known.", action=pb.Action(answer=pb.FinalAnswer(text="It is seven."))),
        ],
        transcript=[pb.Message(role="system", text="rules"), pb.Message(role="user", text="captions")],
    )
    for number, step in enumerate(made.rounds):
        step.start_time.FromSeconds(1000 + 10 * number)
        step.end_time.FromSeconds(1009 + 10 * number)
    made.start_time.FromSeconds(990)
    made.end_time.FromSeconds(1020)
    made.MergeFrom(pb.Episode(**fields))  # type: ignore[arg-type]
    return made


def call(second: int) -> types_pb2.ModelCall:
    """Returns a call that was sent at a second."""
    made = types_pb2.ModelCall(
        role=types_pb2.ROLE_REASON, model="m", outcome=types_pb2.ModelCall.OUTCOME_OK, prompt_token_count=5
    )
    made.start_time.FromSeconds(second)
    return made


def gathered(*asked: Asked) -> Gathered:
    """Returns a job of these questions, with pictures."""
    video = types_pb2.Video(name="videos/v", display_name="harbour.mp4", width_px=1280, height_px=720, codec="h264")
    video.frame_rate, video.size_bytes = 25, 48_000_000
    video.duration.FromSeconds(int(LONG))
    job = pb.Job(name="jobs/j", video=video.name, state=pb.Job.STATE_SUCCEEDED, episodes=[a.episode for a in asked])
    job.end_time.FromSeconds(1020)
    usage = pb.Usage(rows=[pb.UsageRow(role=types_pb2.ROLE_REASON, model="m", pool="default", call_count=3)])
    picture = types_pb2.Picture(width_px=64, height_px=36, jpeg=b"\xff\xd8picture")
    return Gathered(job, asked, usage, video, [segment(n) for n in range(1, 5)], {(2, 4): (picture,)})


def _picture(number: int) -> types_pb2.Picture:
    drawn = Image.new("RGB", (256, 144), (40 + 9 * number % 160, 70, 110))
    ImageDraw.Draw(drawn).ellipse((20 + number, 20, 120 + number, 120), fill=(220, 180, 90))
    file = io.BytesIO()
    drawn.save(file, "JPEG", quality=70)
    made = types_pb2.Picture(width_px=256, height_px=144, jpeg=file.getvalue())
    made.offset.FromMilliseconds(9700 * number)
    return made


_WORDS = ("the ferry", "a red lantern", "the second speaker", "the clock in the hall", "the woman with the umbrella")
LAST = "It ended, and after many rounds nobody knew. " * 12


def _asked(number: int) -> pb.Episode:
    """Returns one of many questions: most right, some wrong, a few without an answer, one cancelled, one failed."""
    rounds = 1 + number * 7 % 12 if number != 12 else 30
    steps = []
    for step in range(1, rounds):
        path = [1 + number % 4, 1 + step % 4, *([1 + step % 3] if step % 3 else [])]
        place = segment(*path)
        clip = step % 3 == 2
        action = (
            pb.Action(video_qa=pb.VideoQA(segment=place, query="What is seen?"))
            if clip
            else pb.Action(get_caption=pb.GetCaption(segment=place))
        )
        steps.append(
            pb.Round(number=step, thought="Closer, please.", action=action, observation="A hall, then a boat.")
        )
    steps.append(pb.Round(number=rounds, thought="I know it now.", action=pb.Action(answer=pb.FinalAnswer(text="B"))))
    made = pb.Episode(
        name=f"jobs/j/episodes/{number}",
        question=pb.Question(
            text=f"What happens after {_WORDS[number % 5]} is seen, in part {number}?"
            + (" Please take everything into account. " * 20 if number == 9 else ""),
            options=["A. The lights go out", "B. Somebody leaves", "C. It rains", "D. Nothing"],
            truth="B" if number % 5 else "C",
        ),
        state=pb.Episode.STATE_ANSWERED,
        ending=pb.Episode.ENDING_ANSWERED,
        answer="B",
        choice="B",
        correct=bool(number % 5),
        round_count=rounds,
        tree_width=4,
        rounds=steps,
    )
    ends = {7: ("UNANSWERED", "ROUNDS_EXHAUSTED"), 17: ("FAILED", "ERROR"), 23: ("CANCELLED", "CANCELLED")}
    if number in ends:
        state, ending = ends[number]
        made.state, made.ending = pb.Episode.State.Value(f"STATE_{state}"), pb.Episode.Ending.Value(f"ENDING_{ending}")
        made.answer, made.choice, made.correct = "", "", False
        made.error.message = LAST if state == "FAILED" else ""
        if state == "CANCELLED":
            made.ClearField("correct")
    for number_, step in enumerate(made.rounds):
        step.start_time.FromSeconds(1000 + 6 * number_)
        step.end_time.FromSeconds(1005 + 6 * number_)
    made.start_time.FromSeconds(990)
    made.end_time.FromSeconds(1002 + 6 * rounds)
    opened = {tuple(path): at for at in made.rounds if (path := at.action.get_caption.segment.path)}
    made.evidence.extend(
        pb.Evidence(segment=segment(*path), round=at.number, captioned=True) for path, at in opened.items()
    )
    made.coverage.opened_fraction = min(1.0, 0.03 * rounds)
    return made


def many(count: int = 40) -> Gathered:
    """Returns a job of many questions with truth, pictures, and costs in a currency of its own."""
    asked = []
    for number in range(1, count + 1):
        made = _asked(number)
        calls = tuple(call(1000 + 6 * place) for place in range(len(made.rounds)))
        for sent in calls:
            sent.duration.FromMilliseconds(2500)
        asked.append(Asked(number, made, calls))
    found = gathered(*asked)
    whole, by_question = pb.CostReport(currency="XTS"), {}
    for each in asked:
        row = pb.CostRow(episode=each.episode.name, call_count=len(each.calls))
        row.attributed.gpu_seconds = 2.5 * len(each.calls)
        row.attributed.cost = 0.004 * len(each.calls)
        by_question[each.episode.name] = row
        whole.total.attributed.gpu_seconds += row.attributed.gpu_seconds
        whole.total.attributed.cost += row.attributed.cost
    whole.savings.caption_cache.count = 120
    whole.savings.caption_cache.spending.CopyFrom(pb.Spending(gpu_seconds=840, cost=1.35))
    whole.savings.early_halting.count = 2210
    whole.savings.early_halting.model_duration.FromSeconds(8900)
    found.costs = Costs(whole, by_question)
    for number, path in enumerate({tuple(item.segment.path) for each in asked for item in each.episode.evidence}):
        found.pictures[path] = (_picture(number), _picture(number + 5))
    found.usage.rows[0].call_count = sum(len(each.calls) for each in asked)
    found.usage.rows[0].model_duration.FromSeconds(700)
    found.job.label = "evening set"
    return found
