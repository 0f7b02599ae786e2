"""The models and services of the load bench as a process: `python -m bench.load.servers reason|services SCALE`.

Both run on asyncio, and look into nothing that they need not: hundreds of calls are under way at one time, and what
they cost must not become the worker's waiting. Each prints where it listens, and measures every answer itself.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

import grpc

from bench.load import script
from longvideo.segments import Segment
from longvideo.testing.services import segment
from longvideo.usage import Call, Role, to_proto
from longvideo.v1 import caption_pb2, caption_pb2_grpc, types_pb2, video_qa_pb2, video_qa_pb2_grpc

_ASSISTANT = b'"role":"assistant"'
_BYTES_PER_TOKEN = 4.5
_REPLIES = [script.reply(number) for number in range(script.ROUNDS + 1)]


class Reasoner(asyncio.Protocol):
    """One connection of a chat completion server. `served` has the seconds of every request, by its id."""

    served: dict[str, float] = {}  # noqa: RUF012  # one for all connections is meant

    def __init__(self, scale: float) -> None:
        self._scale = scale
        self._data = bytearray()
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps the way back."""
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answers once a request is complete; a client sends none before the last was answered."""
        self._data += data
        end = self._data.find(b"\r\n\r\n")
        if end < 0:
            return
        lines = bytes(self._data[:end]).decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        size = int(headers.get("content-length", 0))
        if len(self._data) < end + 4 + size:
            return
        body = bytes(self._data[end + 4 :])
        self._data.clear()
        if lines[0].startswith("GET /v1/models"):
            model = {"id": "reasoner", "object": "model", "owned_by": "vllm", "max_model_len": 32768}
            self._answer({"object": "list", "data": [model]})
        elif lines[0].startswith("GET"):
            self._answer(self.served)
        else:
            self._chat(body, headers.get("x-request-id", ""))

    def _chat(self, body: bytes, name: str) -> None:
        started = time.monotonic()
        text = _REPLIES[min(body.count(_ASSISTANT) + 1, script.ROUNDS)]
        tokens = round(len(body) / _BYTES_PER_TOKEN)
        usage = {"prompt_tokens": tokens, "completion_tokens": round(len(text) / _BYTES_PER_TOKEN)}
        message = {"role": "assistant", "content": text}
        answer = {"model": "reasoner", "choices": [{"message": message, "finish_reason": "stop"}], "usage": usage}

        def finish() -> None:
            self._answer(answer)
            self.served[name] = time.monotonic() - started

        asyncio.get_running_loop().call_later(script.REASON.seconds(self._scale), finish)

    def _answer(self, content: object) -> None:
        body = json.dumps(content).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        if self._transport is not None:
            self._transport.write(head.encode() + body)


class Services(caption_pb2_grpc.CaptionServiceServicer, video_qa_pb2_grpc.VideoQAServiceServicer):
    """The caption service and the video question service. Every answer is made anew, as for a new video."""

    def __init__(self, scale: float) -> None:
        self._scale = scale

    async def CaptionSegment(  # noqa: N802
        self, request: caption_pb2.CaptionSegmentRequest, _: object
    ) -> caption_pb2.CaptionSegmentResponse:
        """Answers after the time that a caption takes."""
        call = await self._model("caption", script.CAPTION)
        path = tuple(request.path)
        text = script.prose(script.CAPTION_WORDS, hash(path))
        caption = types_pb2.Caption(segment=segment(path, request.tree_width), text=text, frame_count=64, model="vl")
        return caption_pb2.CaptionSegmentResponse(caption=caption, calls=[call])

    async def AnswerQuestion(  # noqa: N802
        self, request: video_qa_pb2.AnswerQuestionRequest, _: object
    ) -> video_qa_pb2.AnswerQuestionResponse:
        """Answers after the time that a clip answer takes."""
        call = await self._model("qa", script.CLIP)
        path = Segment(tuple(request.path)).path
        return video_qa_pb2.AnswerQuestionResponse(
            answer=script.prose(script.CLIP_WORDS, hash(path)),
            segment=segment(path, request.tree_width),
            frame_count=16,
            calls=[call],
        )

    async def ListCaptions(  # noqa: N802
        self, _request: caption_pb2.ListCaptionsRequest, _context: object
    ) -> caption_pb2.ListCaptionsResponse:
        """Has none."""
        return caption_pb2.ListCaptionsResponse()

    async def GetFrames(  # noqa: N802
        self, _request: types_pb2.GetFramesRequest, _context: object
    ) -> types_pb2.GetFramesResponse:
        """Has none."""
        return types_pb2.GetFramesResponse()

    async def _model(self, role: Role, latency: script.Latency) -> types_pb2.ModelCall:
        start, started = time.time(), time.monotonic()
        await asyncio.sleep(latency.seconds(self._scale))
        seconds = time.monotonic() - started
        return to_proto(Call(role, "vl", "http://vl/v1", "h800", 2, start, seconds, "ok", 5000, 0, 500, 64))


async def _reason(scale: float) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: Reasoner(scale), "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


async def _services(scale: float) -> None:
    server = grpc.aio.server()
    services = Services(scale)
    caption_pb2_grpc.add_CaptionServiceServicer_to_server(services, server)
    video_qa_pb2_grpc.add_VideoQAServiceServicer_to_server(services, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run({"reason": _reason, "services": _services}[sys.argv[1]](float(sys.argv[2])))
