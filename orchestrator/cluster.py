"""The orchestrator's workers and its clock as processes of their own, run by Celery's commands.

`celery -A orchestrator.celery_app worker` carries episodes out on threads, `… beat` sends the sweeps. When a worker is
told to stop, by SIGTERM or SIGINT, it takes nothing up any more; its episodes go on to the end of their round, for
`grace_seconds` at most, and then another worker has them at once. A second signal stops it where it stands.
"""

from __future__ import annotations

import functools
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any, NoReturn

import celery
from celery import beat, signals
from celery.apps.beat import Beat
from celery.apps.worker import Worker
from celery.exceptions import CPendingDeprecationWarning
from celery.worker import state

from longvideo import logs, metrics, metrics_server, ports, rpc, telemetry
from longvideo.errors import BadSettings, LongVideoError
from longvideo.settings import Settings, load
from orchestrator.celery_app import BROKER_WAIT, Pool, broker_errors, has_room, is_in_memory, listen, make_app
from orchestrator.cleaning import Cleaner
from orchestrator.health import broker_check, checks
from orchestrator.tasks import Runner
from orchestrator.wiring import make_cleaner, make_runner, open_database

logger = logging.getLogger(__name__)
_state: Any = state


def make_cluster_app() -> celery.Celery:
    """Returns the app that Celery's commands run, as the settings say. Ends the process when they are wrong."""
    try:
        configured = load()
    except BadSettings as error:
        _refuse(error.message)
    process = _Process(configured)
    app: Any = process.app  # whose type stubs let nobody change what its commands run
    app.Worker = functools.partial(ClusterWorker, process)
    app.Beat = functools.partial(ClusterBeat, process)
    app.conf.beat_scheduler = "orchestrator.cluster:Scheduler"
    return process.app


class _Process:
    """What this process is made of."""

    def __init__(self, configured: Settings) -> None:
        self.settings = configured
        self.runner = functools.cache(self._make_runner)
        # Nobody gets an episode back from here before this process can no longer take it up again.
        self.deaf = threading.Event()
        self._health: rpc.Server | None = None  # kept, for a server that nobody keeps is gone
        self.app = make_app(configured, self.runner, self._wrap, functools.cache(self._make_cleaner))

    def begin(self, service: str) -> None:
        """Makes the process log. Ends it when the broker is the one that no other process can reach."""
        logs.configure(self.settings, service)
        try:
            telemetry.configure(self.settings, service)
        except BadSettings as error:
            _refuse(error.message)
        # Celery says at each loss of its broker that it will one day do otherwise than we let it.
        warnings.simplefilter("ignore", CPendingDeprecationWarning)
        signals.setup_logging.connect(lambda **_: None, weak=False)  # so that Celery leaves it as it is
        if is_in_memory(self.settings):
            _refuse(
                "broker_url is memory://, which no other process can reach; set LONGVIDEO_BROKER_URL to "
                "redis://host:6379/0 here and for `python -m orchestrator`"
            )

    def serve_health(self, needed: Mapping[str, rpc.Check]) -> None:
        """Answers health checks where the settings say, if anywhere. Raises what `ports.serve_internal` raises."""
        if self.settings.health_listen:
            self._health = ports.serve_internal(self.settings, "health_listen", [], needed)
            logger.info("health checks are answered at %s", self._health.address)

    def _make_runner(self) -> Runner:
        return make_runner(self.settings, open_database(self.settings))

    def _make_cleaner(self) -> Cleaner:
        return make_cleaner(self.settings, self.runner().database)

    def _wrap(self, nudge: Callable[[int], None]) -> Callable[[int], None]:
        def nudge_others(workers: int) -> None:
            if self.runner().stopping:
                self.deaf.wait(BROKER_WAIT * 4)
            nudge(workers)

        return nudge_others


class ClusterWorker(Worker):
    """What `celery worker` runs."""

    def __init__(self, process: _Process, **options: Any) -> None:
        process.begin("worker")
        try:
            metrics_server.serve(process.settings, "worker")
            self._runner = process.runner()
            needed = checks(self._runner.database, app=process.app)
            process.serve_health({**needed, "models": self._runner.check_models})
        except LongVideoError as error:
            _refuse(error.message)
        self._deaf, self._grace = process.deaf, process.settings.grace_seconds
        self._stopping = threading.Event()
        ours = {"pool_cls": Pool, "use_eventloop": False, "quiet": True}
        quiet = dict.fromkeys(("without_gossip", "without_mingle", "without_heartbeat"), True)
        super().__init__(app=process.app, **(options | ours | quiet))
        self.consumer: Any
        self.consumer.loop = self._loop

    def install_platform_tweaks(self, worker: Any) -> None:  # noqa: ARG002  # Celery's name and shape
        """Says what signals do."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._tell)

    def start(self) -> None:
        """Works until it is told to stop."""
        try:
            super().start()
        finally:
            telemetry.shutdown()

    def _tell(self, number: int, _frame: FrameType | None) -> None:
        if self._stopping.is_set():
            os._exit(128 + number)
        self._stopping.set()
        _state.should_stop = 0  # what Celery looks at while it waits for a broker
        threading.Thread(target=self._hand_over, name="handing over", daemon=True).start()

    def _hand_over(self) -> None:
        logger.info("told to stop; running episodes have %g s to finish their round", self._grace)
        self._runner.hand_over(self._grace)

    def _loop(self, consumer: Any, connection: Any, task_consumer: Any, *others: Any) -> NoReturn:
        try:
            listen(self._stopping, consumer, connection, task_consumer, *others)
        finally:
            if self._stopping.is_set():
                self._deaf.set()


class Scheduler(beat.Scheduler):
    """Celery's clock, which keeps its times in memory, and sends nothing while nobody reads what it has sent."""

    def apply_async(self, entry: Any, *args: Any, **options: Any) -> Any:
        """Sends the message of an entry, if there is room for it."""
        broken: tuple[type[BaseException], ...] = (beat.SchedulingError, *broker_errors(self.app))
        result = "failed"
        try:
            if not has_room(self.app, self.connection):
                result = "held"
                return None
            sent = super().apply_async(entry, *args, **options)
            result = "sent"
            return sent
        except broken as error:
            logger.warning("cannot reach the broker to send %s: %s", entry.task, error)
            return None
        finally:
            metrics.BEAT_MESSAGES.labels(entry.name, result).inc()


class ClusterBeat(Beat):
    """What `celery beat` runs."""

    def __init__(self, process: _Process, **options: Any) -> None:
        process.begin("beat")
        try:
            metrics_server.serve(process.settings, "beat")
            process.serve_health({"broker": broker_check(process.app)})
        except LongVideoError as error:
            _refuse(error.message)
        super().__init__(app=process.app, **(options | {"quiet": True}))


def _refuse(message: str) -> NoReturn:
    print(f"orchestrator: {message}", file=sys.stderr)
    raise SystemExit(2)
