"""Processes that race for what a tenant may have, on PostgreSQL."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap

from longvideo.auth import DEFAULT_TENANT
from longvideo.resources import JobName
from longvideo.v1 import orchestrator_pb2 as pb
from orchestrator.store import Database
from tests.contract.database import add_video, submit

_PROCESS = """
    import json, sys
    from orchestrator.store import Database
    from tests.contract.database import accepted, submit
    database, kind = Database(sys.argv[1]), sys.argv[2]
    print("ready", flush=True)
    sys.stdin.readline()
    if kind == "submit":
        done = [accepted(lambda: submit(database)) for _ in range(20)]
    elif kind == "store":
        names = [f"{sys.argv[3]}{number:063x}" for number in range(20)]
        done = [
            accepted(lambda: database.videos.create("default", name, size_bytes=100, display_name="")) for name in names
        ]
    else:
        done = [database.work.take("w") is not None for _ in range(20)]
    print(json.dumps(sum(done)), flush=True)
"""


def race(url: str, kind: str) -> list[int]:
    """Returns how often each of two processes, that begin at one time, got what it wanted."""
    command = [sys.executable, "-c", textwrap.dedent(_PROCESS), url, kind]
    processes = [
        subprocess.Popen([*command, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for name in "ab"
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    return [json.loads(process.communicate(timeout=100)[0]) for process in processes]


def test_processes_do_not_exceed_what_a_tenant_may_have(postgres_url: str) -> None:
    """Two processes that take all they can at one time take together exactly what the tenant may have."""
    database = Database(postgres_url)
    add_video(database)
    limits = {"max_open_episodes": 7, "max_running_episodes": 5, "max_stored_bytes": 1000 + 100 * 6}
    database.tenants.change(DEFAULT_TENANT, limits)
    assert sum(race(postgres_url, "submit")) == 7
    assert sum(race(postgres_url, "store")) == 6
    assert sum(race(postgres_url, "take")) == 5
    jobs = database.jobs.page(DEFAULT_TENANT, "", None, 100)
    states = [episode.state for job in jobs for episode in _episodes(database, job.id)]
    assert states.count(pb.Episode.STATE_RUNNING) == 5
    database.close()


def test_processes_take_each_episode_once(postgres_url: str) -> None:
    """Two processes that take what is due at one time never take the same, and leave nothing behind."""
    database = Database(postgres_url)
    add_video(database)
    submit(database, 30)
    assert sum(race(postgres_url, "take")) == 30
    assert database.work.due(1) == 0
    database.close()


def _episodes(database: Database, job_id: str) -> list[pb.Episode]:
    return list(database.jobs.view(JobName(job_id)).messages())
