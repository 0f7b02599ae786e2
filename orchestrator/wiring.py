"""What the orchestrator's processes are made of, as the settings say."""

from __future__ import annotations

from longvideo import ports, prices, rpc
from longvideo.inference import ModelClient
from longvideo.prompts import load_pack
from longvideo.settings import Settings
from longvideo.storage import open_store, storage_error
from longvideo.v1.caption_pb2_grpc import CaptionServiceStub
from longvideo.v1.video_qa_pb2_grpc import VideoQAServiceStub
from orchestrator import migrations
from orchestrator.cleaning import Cleaner
from orchestrator.db import Engine, sqlite_url
from orchestrator.spec import Services
from orchestrator.store import Database
from orchestrator.store.spending import Price, no_price
from orchestrator.tasks import Runner
from orchestrator.tokens import Authenticator


def open_database(settings: Settings) -> Database:
    """Opens the database that the settings name. Raises what `Database` raises."""
    return Database(
        _database_url(settings),
        lease_seconds=settings.lease_seconds,
        connections=settings.database_connections,
        price=price(settings),
    )


def price(settings: Settings) -> Price:
    """Returns what tells the cost of calls. Raises BadSettings for a price book that is wrong."""
    book = prices.load(settings.price_book)
    return no_price if book is None else book.of


def migrate_database(settings: Settings) -> tuple[str, str]:
    """Brings the database that the settings name up to date, and returns the revisions before and after.

    Raises what `Engine` and `migrations.migrate` raise.
    """
    engine = Engine(_database_url(settings))
    try:
        return migrations.migrate(engine)
    finally:
        engine.close()


def _database_url(settings: Settings) -> str:
    if settings.database_url:
        return settings.database_url
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(error, settings.data_dir) from error
    return sqlite_url(settings.data_dir / "longvideo.db")


def authenticator(settings: Settings, database: Database) -> rpc.Authenticate | None:
    """Returns what tells who calls the API, or None where nobody is asked."""
    return Authenticator(database.tenants) if settings.auth == "tokens" else None


def make_runner(settings: Settings, database: Database) -> Runner:
    """Returns what carries episodes out. Raises BadSettings when no endpoint plays the reasoner."""
    services = Services(
        reasoner=ModelClient("reason", settings.endpoints, attempt_timeout=settings.model_timeout),
        captions=CaptionServiceStub(ports.connect(settings, "caption_address")),
        video_qa=VideoQAServiceStub(ports.connect(settings, "qa_address")),
        pack=load_pack(settings.prompt_pack),
    )
    return Runner(database, services, patience=settings.unavailable_patience)


def make_cleaner(settings: Settings, database: Database) -> Cleaner:
    """Returns what cleans up after uploads."""
    store = open_store(settings.data_dir, settings.object_store, settings.s3_keys())
    return Cleaner(database, store, settings.upload_expiry)
