"""Fakes that ship: real implementations of our seams, for tests here and for whoever builds on longvideo.

`ScriptedModelServer` is an OpenAI-compatible model server whose answers are a function, and which can fail in every way
that real ones do. `MemoryStore` is an object store without a disk. Both pass the conformance suites of what they stand
for. `ScriptedServices` is a caption service and a video question service, for whoever tests what calls them.
`InProcessReader` reads videos without a sandbox. `ScriptedPrometheus` answers range queries.
"""

from longvideo.testing.in_process import InProcessReader
from longvideo.testing.memory_store import MemoryStore
from longvideo.testing.model_server import Handler, Reply, ScriptedModelServer
from longvideo.testing.prometheus import ScriptedPrometheus
from longvideo.testing.services import ScriptedServices

__all__ = [
    "Handler",
    "InProcessReader",
    "MemoryStore",
    "Reply",
    "ScriptedModelServer",
    "ScriptedPrometheus",
    "ScriptedServices",
]
