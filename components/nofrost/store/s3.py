"""A store in an S3 bucket, on AWS or on another server that speaks S3."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress

from botocore.exceptions import BotoCoreError, ClientError

from nofrost.store.base import OBJECTS, MissingError, checked_name, object_name
from nofrost.store.local_file import LocalFile
from nofrost.store.s3_connect import Connection, connect, make_client
from nofrost.store.s3_errors import sentence
from nofrost.store.s3_listing import sizes_of
from nofrost.store.threads import for_each

PART = 8 << 20  # bytes: a larger file is sent in parts, each held in memory by one thread
MOST_PARTS = 10_000  # of S3


class S3Store:
    """Content by its address below "s3://bucket/prefix".

    Args:
        bucket: its name.
        prefix: what the names of all objects begin with, without "/" at its ends.
        endpoint, region, profile: as DVC's configuration has them; None for what boto3 finds by itself.
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
        self._connection: Connection | None = None
        self._endpoint = endpoint or ""

    @property
    def url(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")

    def put(self, name: str, content: bytes) -> None:
        with self._errors(name) as connection:
            connection.requests.put(self._key(checked_name(name)), content)

    def get(self, name: str) -> bytes:
        with self._errors(name) as connection:
            return b"".join(connection.requests.get(self._key(checked_name(name))))

    def names(self, prefix: str) -> list[str]:
        skip = len(self._key(""))
        with self._errors() as connection:
            pages = connection.client.get_paginator("list_objects_v2")
            listed = pages.paginate(Bucket=self.bucket, Prefix=self._key(prefix))
            return sorted(item["Key"][skip:] for page in listed for item in page.get("Contents", ()))

    def sizes(self, md5s: Iterable[str]) -> Mapping[str, int]:
        keys = {self._key(object_name(md5)): md5 for md5 in md5s}
        with self._errors() as connection:
            found = sizes_of(keys, self._key(OBJECTS), self.bucket, connection, self.jobs)
        return {keys[key]: size for key, size in found.items()}

    def upload(self, source: LocalFile, jobs: int = 1) -> None:
        key = self._key(object_name(source.md5))
        with self._errors(str(source.path), source) as connection, source.path.open("rb") as file:
            if source.size <= PART:
                content = file.read()
                source.check_unchanged()
                connection.requests.put(key, content, bytes.fromhex(source.md5))
                return
            self._upload_parts(key, source, file.fileno(), connection, jobs)

    def read(self, md5: str) -> Iterator[bytes]:
        with self._errors(f"object {md5}") as connection:
            yield from connection.requests.get(self._key(object_name(md5)))

    def _upload_parts(self, key: str, source: LocalFile, file: int, connection: Connection, jobs: int) -> None:
        """Send a large file in parts; it appears when all are there, unless it changed meanwhile."""
        client, size = connection.client, max(PART, -(-source.size // MOST_PARTS))
        place = {"Bucket": self.bucket, "Key": key}
        upload: str = client.create_multipart_upload(**place)["UploadId"]
        tags: dict[int, str] = {}

        def send(number: int) -> None:
            content = os.pread(file, size, (number - 1) * size)
            tags[number] = connection.requests.put(f"{key}?partNumber={number}&uploadId={upload}", content)

        try:
            for_each(send, range(1, -(-source.size // size) + 1), jobs=jobs, done=lambda _: None)
            source.check_unchanged()
            parts = [{"PartNumber": number, "ETag": tags[number]} for number in sorted(tags)]
            client.complete_multipart_upload(**place, UploadId=upload, MultipartUpload={"Parts": parts})
        except BaseException:
            with suppress(ClientError, BotoCoreError):
                client.abort_multipart_upload(**place, UploadId=upload)
            raise

    def _key(self, name: str) -> str:
        return f"{self.prefix}/{name}" if self.prefix else name

    def _connect(self) -> Connection:
        with self._connecting:
            if self._connection is None:
                try:
                    session, client = make_client(**self._settings, jobs=self.jobs)
                except ValueError as error:
                    raise sentence(error, self.url, "") from None
                self._endpoint = client.meta.endpoint_url
                self._connection = connect(session, client, self.bucket, self._key(OBJECTS))
            return self._connection

    @contextmanager
    def _errors(self, what: str = "its list", source: LocalFile | None = None) -> Iterator[Connection]:
        """Yield the connection, and turn what S3 and boto3 raise into sentences about `what` or `source`."""
        try:
            yield self._connect()
        except (ClientError, BotoCoreError) as error:
            code = error.response["Error"]["Code"] if isinstance(error, ClientError) else ""
            if code in ("NoSuchKey", "404"):
                raise MissingError(what, self.url) from None
            if code == "BadDigest" and source:
                raise source.changed() from None
            raise sentence(error, self.url, self._endpoint) from None
