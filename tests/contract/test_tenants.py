"""What tenants see of each other: nothing. Over real gRPC, with tokens, method by method."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from longvideo import errors
from longvideo.auth import TenantRole
from longvideo.resources import SubtitlesName, VideoName
from longvideo.v1 import orchestrator_pb2 as pb
from longvideo.v1 import types_pb2
from orchestrator import tokens
from orchestrator.api import access
from tests.contract.database import VIDEO, add_video, submit
from tests.contract.orchestrator_world import World

METHODS = {method.name: method for method in pb.DESCRIPTOR.services_by_name["OrchestratorService"].methods}
QUESTION = [pb.Question(text="What number is it?")]
SUBTITLES = b"1\n00:00:01,000 --> 00:00:02,000\nIt is seven.\n"
SHARED = VideoName("cd" * 32)


@dataclass(frozen=True)
class Things:
    """The names of what a tenant has."""

    video: str
    subtitles: str
    job: str

    @property
    def episode(self) -> str:
        """The first episode of the job."""
        return f"{self.job}/episodes/1"


NOTHING = Things("videos/" + "0" * 64, "videos/" + "0" * 64 + "/subtitles/none", "jobs/none")

# What names something, for each method that can. Those that name nothing have tests of their own.
NAMING: dict[str, list[Callable[[Things], Any]]] = {
    "CompleteVideo": [lambda its: pb.CompleteVideoRequest(name=its.video)],
    "GetVideo": [lambda its: pb.GetVideoRequest(name=its.video)],
    "DeleteVideo": [lambda its: pb.DeleteVideoRequest(name=its.video)],
    "CreateSubtitles": [lambda its: pb.CreateSubtitlesRequest(parent=its.video, content=SUBTITLES)],
    "GetTree": [lambda its: pb.GetTreeRequest(video=its.video)],
    "GetFrames": [
        lambda its: types_pb2.GetFramesRequest(video=its.video, path=[1], tree_width=4, count=1, longest_side=64)
    ],
    "BuildTree": [lambda its: pb.BuildTreeRequest(video=its.video)],
    "SubmitJob": [lambda its: pb.SubmitJobRequest(job=pb.Job(video=its.video, questions=QUESTION))],
    "GetJob": [lambda its: pb.GetJobRequest(name=its.job)],
    "CancelJob": [lambda its: pb.CancelJobRequest(name=its.job)],
    "WatchJob": [lambda its: pb.WatchJobRequest(name=its.job)],
    "GetEpisode": [lambda its: pb.GetEpisodeRequest(name=its.episode)],
    "ListModelCalls": [
        lambda its: pb.ListModelCallsRequest(parent=its.job),
        lambda its: pb.ListModelCallsRequest(parent=its.episode),
    ],
    "GetUsage": [
        lambda its: pb.GetUsageRequest(name=its.job),
        lambda its: pb.GetUsageRequest(name=its.episode),
    ],
    "GetCostReport": [lambda its: pb.GetCostReportRequest(job=its.job, end_time={"seconds": 4_000_000_000})],
}
UNNAMING: dict[str, Any] = {
    "CreateVideo": pb.CreateVideoRequest(sha256=VIDEO.video_id, size_bytes=1000),
    "RegisterVideo": pb.RegisterVideoRequest(source_uri="s3://films/film.mp4"),
    "ListVideos": pb.ListVideosRequest(),
    "ListJobs": pb.ListJobsRequest(),
    "ExportUsage": pb.ExportUsageRequest(),
}


class Tenancy:
    """An orchestrator that asks for tokens. The tenant `ann` has things; `bob` has none of hers."""

    def __init__(self, world: World) -> None:
        self.world = world
        for tenant in ("ann", "bob"):
            world.database.tenants.create(tenant)
        self.ann, self.bob = self.token("ann", "read", "submit"), self.token("bob", "read", "submit")
        add_video(world.database, VIDEO, "ann")
        for tenant in ("ann", "bob"):
            add_video(world.database, SHARED, tenant)
        job = self.call(self.ann, "SubmitJob", NAMING["SubmitJob"][0](Things(str(VIDEO), "", "")))
        for _ in self.call(self.ann, "WatchJob", pb.WatchJobRequest(name=job.name)):
            pass
        self.things = Things(str(VIDEO), "", job.name)

    def token(self, tenant: str, *roles: TenantRole) -> str:
        """Returns a new token of a tenant."""
        row, text = tokens.make(tenant, roles)
        self.world.database.tenants.add_token(row)
        return text

    def call(self, token: str, method: str, request: Any) -> Any:
        """Calls a method with a token, empty for none; of a stream, returns all of it."""
        metadata = [("authorization", f"Bearer {token}")] if token else []
        answer = getattr(self.world.stub, method)(request, metadata=metadata, timeout=30)
        return list(answer) if METHODS[method].server_streaming else answer


@pytest.fixture(scope="module")
def tenancy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tenancy]:
    """A server that asks for tokens, with two tenants."""
    world = World(tmp_path_factory.mktemp("tenants"), tokens=True)
    yield Tenancy(world)
    world.close()


def test_every_method_is_looked_at() -> None:
    """No method is without a role and without a test here."""
    assert set(METHODS) == set(access.ROLES) == {*NAMING, *UNNAMING}


@pytest.mark.parametrize(
    ("method", "request_for"), [(name, each) for name, requests in NAMING.items() for each in requests]
)
def test_what_is_anothers_is_not_found(tenancy: Tenancy, method: str, request_for: Callable[[Things], Any]) -> None:
    """What belongs to another tenant is not found, in the very words for what does not exist."""
    said = []
    for things in (tenancy.things, NOTHING):
        with pytest.raises(errors.NotFound) as caught:
            tenancy.call(tenancy.bob, method, request_for(things))
        text = f"{caught.value.reason} {caught.value.message} {caught.value.metadata} {caught.value.retry_after}"
        said.append(text.replace(things.job, "JOB").replace(things.video, "VIDEO"))
    assert said[0] == said[1]


def test_lists_hold_ones_own(tenancy: Tenancy) -> None:
    """Lists hold only what is the caller's, also when they are narrowed to something of another's."""
    videos = tenancy.call(tenancy.bob, "ListVideos", pb.ListVideosRequest()).videos
    assert [video.name for video in videos] == [str(SHARED)]
    for request in (pb.ListJobsRequest(), pb.ListJobsRequest(video=str(VIDEO)), pb.ListJobsRequest(tenant="bob")):
        assert not tenancy.call(tenancy.bob, "ListJobs", request).jobs
    (job,) = tenancy.call(tenancy.ann, "ListJobs", pb.ListJobsRequest()).jobs
    assert (job.name, job.tenant) == (tenancy.things.job, "ann")


@pytest.mark.parametrize("tenant", ["ann", "nobody", "-"])
def test_lists_of_other_tenants(tenancy: Tenancy, tenant: str) -> None:
    """Nobody but an admin may ask for another tenant's jobs, whether or not there is such a tenant."""
    with pytest.raises(errors.PermissionDenied, match="tenant names another than your token's"):
        tenancy.call(tenancy.bob, "ListJobs", pb.ListJobsRequest(tenant=tenant))


def test_ledgers_hold_ones_own(tenancy: Tenancy) -> None:
    """An export holds the calls of the caller's tenant; those of another, or of all, only for an admin."""

    def exported(token: str, tenant: str = "") -> set[str]:
        responses = tenancy.call(token, "ExportUsage", pb.ExportUsageRequest(tenant=tenant))
        return {entry.tenant for response in responses for entry in response.entries}

    dan, admin = _new_tenant(tenancy), tenancy.token("bob", "admin")
    assert exported(tenancy.ann) == exported(tenancy.ann, "ann") == exported(admin, "ann") == {"ann"}
    assert exported(dan) == set()
    assert exported(admin, "-") >= {"ann"}
    for tenant in ("ann", "nobody", "-"):
        with pytest.raises(errors.PermissionDenied, match="tenant names another than your token's"):
            exported(dan, tenant)
    with pytest.raises(errors.NotFound, match="there is no tenant nobody"):
        exported(admin, "nobody")


def test_costs_are_ones_own(tenancy: Tenancy) -> None:
    """A report of cost is of the calls of the caller's tenant; of another's, or of all, only for an admin."""

    def tenants(token: str, tenant: str = "") -> set[str]:
        request = pb.GetCostReportRequest(tenant=tenant, group_by=[pb.COST_DIMENSION_TENANT])
        return {row.tenant for row in tenancy.call(token, "GetCostReport", request).rows}

    dan, admin = _new_tenant(tenancy), tenancy.token("bob", "admin")
    assert tenants(tenancy.ann) == tenants(tenancy.ann, "ann") == tenants(admin, "ann") == {"ann"}
    assert tenants(dan) == set()
    assert tenants(admin, "-") >= {"ann"}
    for tenant in ("ann", "nobody", "-"):
        with pytest.raises(errors.PermissionDenied, match="tenant names another than your token's"):
            tenants(dan, tenant)
    with pytest.raises(errors.NotFound, match="there is no tenant nobody"):
        tenants(admin, "nobody")


def test_page_tokens_are_ones_own(tenancy: Tenancy) -> None:
    """A page token of one tenant's list is no token of another's."""
    for _ in range(2):
        tenancy.call(tenancy.ann, "SubmitJob", NAMING["SubmitJob"][0](tenancy.things))
    for method, kind in (("ListJobs", pb.ListJobsRequest), ("ListVideos", pb.ListVideosRequest)):
        token = tenancy.call(tenancy.ann, method, kind(page_size=1)).next_page_token
        with pytest.raises(errors.InvalidArgument, match="page_token belongs to another list"):
            tenancy.call(tenancy.bob, method, kind(page_token=token))


def test_knowing_a_digest_gives_nothing(tenancy: Tenancy) -> None:
    """Who announces a video that another tenant has must bring its bytes, and learns nothing of it before."""
    dan = _new_tenant(tenancy)
    created = tenancy.call(dan, "CreateVideo", UNNAMING["CreateVideo"])
    assert created.upload_uri
    assert (created.video.state, created.video.frame_count) == (types_pb2.Video.STATE_PENDING, 0)
    assert not created.video.display_name
    for request in (pb.GetTreeRequest(video=str(VIDEO)), pb.BuildTreeRequest(video=str(VIDEO))):
        with pytest.raises(errors.FailedPrecondition, match="is not ready"):
            tenancy.call(dan, type(request).__name__.removesuffix("Request"), request)


def test_subtitles_are_ones_own(tenancy: Tenancy) -> None:
    """Of a video that two tenants have, neither sees or uses the other's subtitles."""
    request = pb.CreateSubtitlesRequest(parent=str(SHARED), content=SUBTITLES)
    made = tenancy.call(tenancy.ann, "CreateSubtitles", request)
    assert tenancy.call(tenancy.ann, "GetVideo", pb.GetVideoRequest(name=str(SHARED))).subtitles == made.name
    assert tenancy.call(tenancy.bob, "GetVideo", pb.GetVideoRequest(name=str(SHARED))).subtitles == ""
    unknown = str(SubtitlesName(SHARED.video_id, "none"))
    for name in (made.name, unknown):
        job = pb.Job(video=str(SHARED), questions=QUESTION, config=pb.TreeConfig(subtitles=name))
        with pytest.raises(errors.NotFound, match=f"there are no subtitles {name}"):
            tenancy.call(tenancy.bob, "SubmitJob", pb.SubmitJobRequest(job=job))


def test_request_ids_are_ones_own(tenancy: Tenancy) -> None:
    """Two tenants may use one request id, each for a job of its own."""
    job, request_id = pb.Job(video=str(SHARED), questions=QUESTION), str(uuid.uuid4())
    request = pb.SubmitJobRequest(job=job, request_id=request_id)
    names = {tenancy.call(token, "SubmitJob", request).name for token in (tenancy.ann, tenancy.bob) for _ in "12"}
    assert len(names) == 2


@pytest.mark.parametrize("method", sorted(METHODS))
def test_token_is_needed(tenancy: Tenancy, method: str) -> None:
    """No method answers without a token, or with one that was never made, or that was revoked."""
    request = UNNAMING[method] if method in UNNAMING else NAMING[method][0](tenancy.things)
    revoked = tenancy.token("ann", "admin")
    tenancy.world.database.tenants.revoke(revoked.split("_")[1])
    changed = tenancy.ann[:-1] + ("1" if tenancy.ann[-1] == "0" else "0")
    for token, reason in (
        ("", "TOKEN_MISSING"),
        ("lv_0123456789abcdef_" + "0" * 64, "TOKEN_INVALID"),
        (changed, "TOKEN_INVALID"),
        ("x", "TOKEN_INVALID"),
        (revoked, "TOKEN_REVOKED"),
    ):
        with pytest.raises(errors.Unauthenticated) as caught:
            tenancy.call(token, method, request)
        assert caught.value.reason == reason


@pytest.mark.parametrize("method", sorted(METHODS))
def test_role_is_needed(tenancy: Tenancy, method: str) -> None:
    """A token that may only read, or only submit, can call nothing else."""
    request = UNNAMING[method] if method in UNNAMING else NAMING[method][0](NOTHING)
    other: TenantRole = "submit" if access.ROLES[method] == "read" else "read"
    with pytest.raises(errors.PermissionDenied, match=f"{method} needs the role {access.ROLES[method]}"):
        tenancy.call(tenancy.token("ann", other), method, request)


READ_BY_ADMINS = [
    *("GetVideo", "GetTree", "GetFrames", "GetJob", "WatchJob", "GetEpisode", "ListModelCalls", "GetUsage"),
    *("CancelJob", "GetCostReport"),
]


@pytest.mark.parametrize("method", READ_BY_ADMINS)
def test_admin_reads_and_cancels(tenancy: Tenancy, method: str) -> None:
    """An admin reads, and may cancel, what any tenant has, and sees what its owner sees."""
    admin = tenancy.token("bob", "admin")
    for request in NAMING[method]:
        seen = [tenancy.call(token, method, request(tenancy.things)) for token in (admin, tenancy.ann)]
        assert seen[0] == seen[1]


@pytest.mark.parametrize("method", sorted(set(NAMING) - set(READ_BY_ADMINS)))
def test_admin_changes_nothing_else(tenancy: Tenancy, method: str) -> None:
    """An admin adds nothing to what is another tenant's, and asks nothing about it."""
    admin = tenancy.token("bob", "admin")
    with pytest.raises(errors.NotFound):
        tenancy.call(admin, method, NAMING[method][0](tenancy.things))


def test_admin_lists(tenancy: Tenancy) -> None:
    """An admin lists the jobs of its own tenant, of another, or of all; a tenant that is none is not found."""
    admin = tenancy.token("bob", "admin")

    def tenants(asked: str) -> set[str]:
        jobs = tenancy.call(admin, "ListJobs", pb.ListJobsRequest(tenant=asked)).jobs
        return {job.tenant for job in jobs}

    tenancy.call(tenancy.bob, "SubmitJob", NAMING["SubmitJob"][0](Things(str(SHARED), "", "")))
    assert tenants("") == {"bob"}
    assert tenants("ann") == {"ann"}
    assert tenants("-") == {"ann", "bob"}
    with pytest.raises(errors.NotFound, match="there is no tenant nobody"):
        tenants("nobody")


def test_disabled_tenant(tenancy: Tenancy) -> None:
    """The tokens of a disabled tenant are refused."""
    dan = _new_tenant(tenancy)
    tenant = tenancy.world.database.tenants.token(dan.split("_")[1])
    assert tenant is not None
    tenancy.world.database.tenants.change(tenant[0].tenant_id, {"disable_time": 1.0})
    with pytest.raises(errors.Unauthenticated, match="is disabled"):
        tenancy.call(dan, "ListJobs", pb.ListJobsRequest())


def _new_tenant(tenancy: Tenancy) -> str:
    """Makes a tenant, and returns a token of it."""
    tenant = f"t-{uuid.uuid4().hex[:8]}"
    tenancy.world.database.tenants.create(tenant)
    return tenancy.token(tenant, "read", "submit")


@pytest.fixture
def narrow(tmp_path: Path) -> Iterator[World]:
    """A server with four places to watch jobs from, and nobody who works on them."""
    world = World(tmp_path, tokens=True, work=False, max_watchers=4)
    yield world
    world.close()


def test_one_tenant_leaves_places_to_watch_from(narrow: World) -> None:
    """A tenant may have half of the places to watch jobs from, so that others find one."""
    jobs, token = {}, {}
    for tenant in ("ann", "bob"):
        narrow.database.tenants.create(tenant)
        add_video(narrow.database, VIDEO, tenant)
        jobs[tenant] = submit(narrow.database, tenant=tenant)
        row, token[tenant] = tokens.make(tenant, ["read"])
        narrow.database.tenants.add_token(row)

        assert narrow.database.work.take(f"worker of {tenant}") is not None

    def watch(tenant: str) -> Any:
        """Returns a stream that has told its first event."""
        metadata = [("authorization", f"Bearer {token[tenant]}")]
        stream = narrow.stub.WatchJob(pb.WatchJobRequest(name=str(jobs[tenant])), metadata=metadata, timeout=60)
        assert next(stream).HasField("episode_started")
        return stream

    streams = [watch("ann") for _ in range(2)]
    with pytest.raises(errors.ResourceExhausted) as refused:
        watch("ann")
    assert (refused.value.reason, refused.value.retry_after) == ("TENANT_WATCHERS", 10.0)
    streams.append(watch("bob"))
    for stream in streams:
        stream.cancel()
