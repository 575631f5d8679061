"""A store in an S3 bucket, on AWS or on another server that speaks S3."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import chain, islice
from typing import TypeVar

import obstore
from botocore.exceptions import BotoCoreError, ClientError
from obstore.exceptions import BaseError
from obstore.store import S3Store as Client

from nofrost.store.base import OBJECTS, PIECE, MissingError, checked_name, object_name
from nofrost.store.local_file import LocalFile
from nofrost.store.s3_client import Settings
from nofrost.store.s3_errors import code_of, is_of_obstore, sentence
from nofrost.store.threads import for_each

T = TypeVar("T")
PART = 8 << 20  # bytes: a larger file is sent in parts
MOST_PARTS = 10_000  # of S3
# Codes for a body that came too slowly or arrived altered.
_PASSING = frozenset(("RequestTimeout", "BadDigest", "XAmzContentSHA256Mismatch"))
_PER_PAGE = 1000  # the most names that S3 lists at once
_QUESTIONS_PER_PAGE = 50  # asking for so many objects one by one takes about as long as a page of the list


class S3Store:
    """Content by its address below "s3://bucket/prefix".

    Args:
        bucket: its name.
        prefix: what the names of all objects begin with, without "/" at its ends.
        endpoint, region, profile: as DVC's configuration has them; None for what boto3 finds by itself.

    A process must not be forked once it has used such a store: obstore's threads are missing in the child, which would
    wait for them for ever. New processes (subprocess, "spawn") are all right.
    """

    jobs = 16

    def __init__(
        self,
        bucket: str,
        prefix: str = "",
        *,
        endpoint: str | None = None,
        region: str | None = None,
        profile: str | None = None,
    ) -> None:
        self.bucket, self.prefix = bucket, prefix
        self._settings = {"endpoint": endpoint, "region": region, "profile": profile}
        self._connecting = threading.Lock()
        self._client: Client | None = None
        self._attempts = 1
        self._endpoint = endpoint or ""

    @property
    def url(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")

    def put(self, name: str, content: bytes) -> None:
        self._send(checked_name(name), lambda client, key: obstore.put(client, key, content, use_multipart=False))

    def get(self, name: str) -> bytes:
        with self._errors(name) as client:
            return bytes(obstore.get(client, self._key(checked_name(name))).bytes())

    def names(self, prefix: str) -> list[str]:
        skip = len(self._key(""))
        # To obstore a prefix is a folder, to S3 and to us any beginning of a name.
        folder = self._key(prefix.rpartition("/")[0])
        with self._errors() as client:
            names = (item["path"][skip:] for page in obstore.list(client, folder) for item in page)
            return sorted(name for name in names if name.startswith(prefix))

    def sizes(self, md5s: Iterable[str]) -> Mapping[str, int]:
        keys = {self._key(object_name(md5)): md5 for md5 in md5s}
        with self._errors() as client:
            sizes, unlisted = self._listed(sorted(keys), client)

            def ask(key: str) -> None:
                with suppress(FileNotFoundError):
                    sizes[key] = obstore.head(client, key)["size"]

            for_each(ask, unlisted, jobs=self.jobs, done=lambda _: None)
        return {keys[key]: size for key, size in sizes.items()}

    def put_file(self, file: LocalFile, jobs: int = 1) -> None:
        name = object_name(file.md5)
        if file.size > PART:
            part = max(PART, -(-file.size // MOST_PARTS))
            self._send(
                name,
                lambda client, key: obstore.put(
                    client, key, _parts(file, part), chunk_size=part, max_concurrency=jobs, use_multipart=True
                ),
            )
            return
        content = file.path.read_bytes()
        if hashlib.md5(content, usedforsecurity=False).hexdigest() != file.md5:
            raise file.changed()
        self._send(name, lambda client, key: obstore.put(client, key, content, use_multipart=False))

    def read(self, md5: str) -> Iterator[bytes]:
        with self._errors(f"object {md5}") as client:
            for piece in obstore.get(client, self._key(object_name(md5))).stream(PIECE):
                yield bytes(piece)

    def _send(self, name: str, send: Callable[[Client, str], object]) -> None:
        """Store an object; repeat what obstore takes for final but S3 does not mean so."""
        with self._errors(name) as client:
            for attempts_left in reversed(range(self._attempts)):
                try:
                    send(client, self._key(name))
                    return
                except BaseError as error:
                    if not attempts_left or code_of(error) not in _PASSING:
                        raise

    def _listed(self, keys: list[str], client: Client) -> tuple[dict[str, int], Collection[str]]:
        """Look the sorted `keys` up in the list of all objects, as long as that pays.

        A page of the list answers a thousand questions; but where a bucket holds far more than is asked for, the list
        is the longer way.

        Returns:
            The sizes of those that are there, and the keys that the list did not come to.
        """
        sizes: dict[str, int] = {}
        if len(keys) < _QUESTIONS_PER_PAGE // 2:
            return sizes, keys
        wanted, rest = set(keys), keys
        pages = 1 + len(keys) // _QUESTIONS_PER_PAGE
        # The offset sorts just before the first key. An empty page stands for the end of the list.
        listing = obstore.list(client, self._key(OBJECTS[:-1]), offset=keys[0][:-1], chunk_size=_PER_PAGE)
        for page in islice(chain(listing, [[]]), pages):
            sizes.update((item["path"], item["size"]) for item in page if item["path"] in wanted)
            last = page[-1]["path"] if len(page) == _PER_PAGE else keys[-1]
            rest = [key for key in rest if key > last]
            if not rest:
                break
        return sizes, rest

    def _key(self, name: str) -> str:
        return f"{self.prefix}/{name}" if self.prefix else name

    def _connect(self) -> Client:
        with self._connecting:
            if self._client is None:
                try:
                    settings = Settings(**self._settings)
                except ValueError as error:
                    raise sentence(error, self.url, "") from None
                self._endpoint = settings.endpoint
                connection = settings.connect(self.bucket, self._key(OBJECTS))
                self._client, self._attempts = connection.client, connection.attempts
            return self._client

    @contextmanager
    def _errors(self, what: str = "its list") -> Iterator[Client]:
        """Yield the client, and turn what S3, boto3 and obstore raise into sentences about `what`."""
        try:
            yield self._connect()
        except (ClientError, BotoCoreError, BaseError, FileNotFoundError) as error:
            if isinstance(error, FileNotFoundError) and not is_of_obstore(error):
                raise
            if code_of(error) in ("NoSuchKey", "404"):
                raise MissingError(what, self.url) from None
            raise sentence(error, self.url, self._endpoint) from None


def _parts(file: LocalFile, size: int) -> Iterator[bytes]:
    """Yield a file in parts of `size` bytes.

    Raises:
        UserError: at its end, before the object is made of them: someone wrote to the file.
    """
    with file.path.open("rb") as stream:
        while part := stream.read(size):
            yield part
    file.check_unchanged()
