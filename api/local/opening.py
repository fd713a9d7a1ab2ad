"""Opens the store and the files of the local API, where the program or the settings say that they are."""

import asyncio
from pathlib import Path

from .config import ConfigError, LocalConfig
from .files.folder import Folder
from .files.remote import Remote
from .files.result_files import Results
from .place import Place
from .store.jobs import JobStore
from .store.postgres import SCHEMES, PostgresDatabase
from .store.sqlite import SqliteDatabase


async def open_store(place: Place, config: LocalConfig) -> JobStore:
    """Raises StoreError, MissingLibraryError, and ConfigError, which doesn't tell the URL: it may hold a password."""
    url = place.jobs or config.jobs
    if not url:
        return await JobStore.open(SqliteDatabase(folder(place) / "jobs.sqlite"))
    if not url.startswith(SCHEMES):
        raise ConfigError(f"jobs must be the URL of a PostgreSQL database, such as {SCHEMES[0]}user@host/name.")
    if not (place.results or config.results):
        raise ConfigError(
            "Where jobs are in a database for several fronts, results has to name a place that all of them reach: a folder on "
            "a shared disk, or a URL such as s3://bucket/folder."
        )
    return await JobStore.open(await PostgresDatabase.open(url))


async def open_results(place: Place, config: LocalConfig) -> Results:
    """A URL that fsspec knows, or a folder; by default one beside the settings. Raises MissingLibraryError, ConfigError and
    OSError."""
    where = place.results or config.results
    if "://" in where:
        return Results(await asyncio.to_thread(Remote, where))
    return Results(Folder(Path(where) if where else folder(place) / "results"))


def folder(place: Place) -> Path:
    """Where the API's own files are."""
    return place.folder / "local_api"
