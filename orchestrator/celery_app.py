"""Celery: how episodes reach the threads that carry them out.

In a cluster Celery's own commands run workers (`orchestrator.cluster`). Embedded, `start_worker` runs one on threads of
this process, and the broker is this process's memory.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import secrets
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NoReturn

import celery
from celery.concurrency.thread import TaskPool
from celery.exceptions import WorkerShutdown
from celery.worker import WorkController
from kombu import exceptions as kombu_exceptions

from longvideo.errors import LongVideoError
from longvideo.settings import Settings
from orchestrator.cleaning import CLEAN_SECONDS, Cleaner
from orchestrator.tasks import Runner

logger = logging.getLogger(__name__)

RUN_EPISODES = "orchestrator.run_episodes"
SWEEP = "orchestrator.sweep"
CLEAN = "orchestrator.clean"

QUEUE_LIMIT = 100
"""How many messages lie in the broker's queue at most."""

# How often the in-memory broker is asked for messages: an episode starts this soon after it was submitted.
_POLL_SECONDS = 0.02
# How soon a worker notices that it is to stop.
_STOP_SECONDS = 0.1
# How long Redis holds back its answer when there is no message: for so long after a worker has stopped to ask, it may
# still be given one. (Redis before version 6 takes only whole seconds.)
BROKER_WAIT = 0.25

# How the broker is used: who sends gives up soon, for a sweep makes good what was not sent.
_TRANSPORT: dict[str, Any] = {
    "polling_interval": BROKER_WAIT,
    "socket_connect_timeout": 5,
    "socket_timeout": 10,
    "socket_keepalive": True,
    "health_check_interval": 10,
    "max_retries": 1,
    "interval_start": 0.1,
}


def is_in_memory(settings: Settings) -> bool:
    """Tells whether the broker is this process's memory."""
    return settings.broker_url.startswith("memory:")


Nudge = Callable[[int], None]


def make_app(
    settings: Settings,
    runner: Callable[[], Runner] | None = None,
    wrap: Callable[[Nudge], Nudge] = lambda nudge: nudge,
    cleaner: Callable[[], Cleaner] | None = None,
) -> celery.Celery:
    """Returns a Celery app for the broker of `settings`.

    `runner` gives what carries episodes out, `wrap` changes how it wakes others, and `cleaner` gives what cleans up; an
    app that only sends needs none of them. Each app on the in-memory broker has a queue of its own, so that several
    stacks of one process keep apart.
    """
    in_memory = is_in_memory(settings)
    queue = f"episodes-{secrets.token_hex(6)}" if in_memory else "episodes"
    broker = "memory://localhost//" if in_memory else settings.broker_url  # without a host kombu warns
    app = celery.Celery("longvideo", broker=broker, set_as_current=False)
    app.conf.update(
        task_default_queue=queue,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_ignore_result=True,
        task_store_errors_even_if_ignored=False,
        worker_pool="threads",
        worker_concurrency=settings.episode_concurrency,
        worker_prefetch_multiplier=1,
        worker_hijack_root_logger=False,
        worker_send_task_events=False,
        worker_enable_remote_control=not in_memory,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={"polling_interval": _POLL_SECONDS} if in_memory else _TRANSPORT,
        beat_schedule={
            name: {"task": name, "schedule": seconds, "options": {"expires": seconds}}
            for name, seconds in ((SWEEP, settings.lease_seconds / 6), (CLEAN, CLEAN_SECONDS))
        },
        timezone="UTC",
    )
    if runner is not None:
        _add_tasks(app, runner, wrap(nudger(app)))
    if cleaner is not None:
        _add_cleaning(app, cleaner)
    return app


def _add_tasks(app: celery.Celery, runner: Callable[[], Runner], nudge: Nudge) -> None:
    def run_episodes() -> None:
        runner().run(nudge)

    def sweep() -> None:
        _try(SWEEP, lambda: runner().sweep(nudge))

    # Celery would else give every app of the process the tasks of the first.
    app.task(name=RUN_EPISODES, shared=False)(run_episodes)
    app.task(name=SWEEP, shared=False)(sweep)


def has_room(app: celery.Celery, connection: Any) -> int:
    """Returns how many more messages may lie in the queue."""
    queue: Any = app.amqp.queues[app.conf.task_default_queue]
    waiting: int = queue(connection.default_channel).queue_declare().message_count
    return max(0, QUEUE_LIMIT - waiting)


def _add_cleaning(app: celery.Celery, cleaner: Callable[[], Cleaner]) -> None:
    def clean() -> None:
        _try(CLEAN, lambda: cleaner().clean())

    app.task(name=CLEAN, shared=False)(clean)


def _try(what: str, task: Callable[[], object]) -> None:
    """Does what is done again soon in any case."""
    try:
        task()
    except LongVideoError as error:
        logger.warning("%s comes to nothing now: %s", what, error)


def broker_errors(app: celery.Celery) -> tuple[type[BaseException], ...]:
    """Returns what is raised when the broker cannot be reached."""
    with app.connection_for_write() as unused:  # knows the broker's errors, and connects to nothing
        return (kombu_exceptions.OperationalError, OSError, *unused.connection_errors, *unused.channel_errors)


def nudger(app: celery.Celery) -> Nudge:
    """Returns a function that wakes so many workers, or fewer when enough messages lie in the queue already.

    While there are messages in the queue no worker is idle, so more of them would help nobody. When the broker is away
    the message is lost, which a sweep makes good.
    """
    broken = broker_errors(app)

    def nudge(workers: int) -> None:
        if workers <= 0:
            return
        try:
            with app.connection_or_acquire() as connection:
                for _ in range(min(workers, has_room(app, connection))):
                    app.send_task(RUN_EPISODES, connection=connection, retry=False)
        except broken as error:
            logger.warning("cannot reach the broker to wake workers: %s", error)

    return nudge


class Pool(TaskPool):
    """Threads that find the tasks of their own app, and not those of whichever app Celery takes for the current one."""

    def __init__(self, *args: Any, app: celery.Celery, **options: Any) -> None:
        super().__init__(*args, app=app, **options)
        self.executor = ThreadPoolExecutor(self.limit, "episode", initializer=app.set_current)


# What it sets in its constructor is more than its type stubs know.
_controller: Callable[..., Any] = WorkController


def listen(
    stopping: threading.Event,
    consumer: Any,
    connection: Any,
    task_consumer: Any,
    _blueprint: Any,
    _hub: Any,
    qos: Any,
    *_: Any,
) -> NoReturn:
    """Passes messages on to the threads until `stopping` is set; then nothing more is given to this process.

    Takes the place of Celery's own loop, which notices a stop only every two seconds.
    """
    task_consumer.on_message = consumer.create_task_handler()
    if not stopping.is_set():
        task_consumer.consume()
        consumer.on_ready()
    try:
        while not stopping.is_set():
            if qos.prev != qos.value:
                qos.update()
            consumer.perform_pending_operations()
            _drain(connection, _STOP_SECONDS)
    except (*connection.connection_errors, *connection.channel_errors):
        _forget(task_consumer.channel)
        raise
    task_consumer.cancel()
    if connection.transport.driver_type == "redis":
        until = time.monotonic() + BROKER_WAIT + _STOP_SECONDS
        while (left := until - time.monotonic()) > 0:
            _drain(connection, left)
    raise WorkerShutdown(0)


def _forget(channel: Any) -> None:
    """Makes a channel whose broker has gone neither acknowledge the messages at work here nor give them back.

    It would try to, and fail in a way that Celery does not expect, which ends the worker. A sweep makes good for them.
    """
    channel.do_restore = False
    channel.basic_ack = lambda *_, **__: None


def _drain(connection: Any, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        connection.drain_events(timeout=seconds)


class Worker:
    """A worker on threads of this process."""

    def __init__(self, app: celery.Celery, runner: Runner, cleaner: Cleaner, concurrency: int) -> None:
        self._app, self._runner, self._cleaner = app, runner, cleaner
        self._stopping = threading.Event()
        self._ready = threading.Event()
        self._controller: Any = _controller(
            app=app,
            hostname=f"embedded-{secrets.token_hex(4)}@{socket.gethostname()}",
            pool=Pool,
            concurrency=concurrency,
            loglevel=logging.WARNING,
            ready_callback=lambda _: self._ready.set(),
            without_gossip=True,
            without_mingle=True,
            without_heartbeat=True,
        )
        # Celery's own loop also stops by a flag that all workers of a process share.
        self._controller.consumer.loop = functools.partial(listen, self._stopping)
        self._threads = [
            threading.Thread(target=self._controller.start, name="worker", daemon=True),
            threading.Thread(target=self._sweep, name="sweep", daemon=True),
        ]
        # Nobody waits for its end: it may be at a storage that does not answer.
        self._cleaning = threading.Thread(target=self._clean, name="clean", daemon=True)

    def start(self) -> None:
        """Starts to take episodes up, those that were left unfinished first."""
        for thread in self._threads:
            thread.start()
        self._cleaning.start()
        self._ready.wait()

    def stop(self) -> None:
        """Stops at once: running episodes end where they stand, to be taken up by whoever comes next."""
        self._runner.abandon()
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        with self._app.connection_for_write() as connection:
            channel: Any = connection.default_channel
            channel.queue_delete(self._app.conf.task_default_queue)

    def _sweep(self) -> None:
        self._ready.wait()
        while True:
            _try(SWEEP, lambda: self._runner.sweep(nudger(self._app)))
            if self._stopping.wait(self._runner.database.work.lease_seconds / 6):
                return

    def _clean(self) -> None:
        # Not at once: a command of a few seconds has better things to do.
        while not self._stopping.wait(CLEAN_SECONDS):
            _try(CLEAN, self._cleaner.clean)


def start_worker(app: celery.Celery, runner: Runner, cleaner: Cleaner, concurrency: int) -> Worker:
    """Starts a worker on threads of this process and returns it once it takes episodes up."""
    worker = Worker(app, runner, cleaner, concurrency)
    worker.start()
    return worker


def __getattr__(name: str) -> celery.Celery:
    """Makes `app` for Celery's own commands, when one asks for it: everybody else makes theirs with `make_app`."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _app_of_this_process()


@functools.cache
def _app_of_this_process() -> celery.Celery:
    from orchestrator.cluster import make_cluster_app  # noqa: PLC0415  # which is made of what is here

    return make_cluster_app()
