"""A store in an S3 bucket, on AWS or an S3-compatible server."""

import copy
import hashlib
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import chain, islice
from typing import Any

import obstore
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError
from obstore.store import S3Store as Client

from nofrost.errors import UnavailableError, UserError, remark
from nofrost.store.base import (
    MOST_NAMED_BYTES,
    OBJECTS,
    Leftover,
    MissingError,
    Store,
    StoredObject,
    SwapError,
    Version,
    checked_name,
    object_name,
    too_large,
)
from nofrost.store.claims import CLAIMS, swap_by_claim
from nofrost.store.conditions import Conditions, probe
from nofrost.store.local_file import CHUNK, LocalFile
from nofrost.store.s3_client import ATTEMPTS, PATIENT_ATTEMPTS, ClientFactory, backoff_s
from nofrost.store.s3_errors import code_of, is_of_obstore, user_error
from nofrost.store.threads import for_each
from nofrost.system_errors import cannot_read

# Size in bytes of the parts in which larger files are sent.
PART = 8 << 20
# Objects that show which conditions the server obeys.
PROBES = "nofrost/probes/"
# S3's limit for one object.
_MAX_PARTS = 10_000
# S3's limit of names on one page of a list.
_PAGE = 1000
# Number of parallel HEAD requests that take about as long as one page of a list.
_HEADS_PER_PAGE = 50
# Transient errors that obstore does not retry: the body arrived too slowly or altered.
_TRANSIENT = frozenset(("RequestTimeout", "BadDigest", "XAmzContentSHA256Mismatch"))


class S3Store:
    """A store below "s3://bucket/prefix".

    A process that has used it must not be forked: the child would wait for threads of obstore that it does not have.
    New processes (subprocess, "spawn") are safe.

    Args:
        bucket: its name.
        prefix: of the names of all objects, without "/" at its ends.
        settings: of DVC's remote, by DVC's keys; what is not there is as boto3 finds it.
        patient: whether to repeat a request that fails for minutes, rather than for seconds.
    """

    jobs = 16

    def __init__(
        self, bucket: str, prefix: str = "", settings: Mapping[str, Any] | None = None, *, patient: bool = False
    ) -> None:
        self.bucket, self.prefix = bucket, prefix
        self._settings, self._patient = settings or {}, patient
        self._connecting = threading.Lock()
        self._client: Client | None = None
        self._conditions: Conditions | None = None
        self._attempts = 1
        self._endpoint = str(self._settings.get("endpointurl") or "")

    @property
    def url(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")

    def below(self, name: str) -> Store:
        # With the same client, which is that of the bucket.
        store = copy.copy(self)
        store.prefix = self._key(checked_name(name))
        return store

    def container_environment(self) -> dict[str, str]:
        with self._explained():
            return ClientFactory(self._settings).environment()

    def put(self, name: str, content: bytes) -> None:
        self._put(checked_name(name), lambda client, key: obstore.put(client, key, content, use_multipart=False))

    def get(self, name: str) -> bytes:
        return self._get(name).content

    def version(self, name: str) -> Version | None:
        try:
            return self._get(name)
        except MissingError:
            return None

    def swap(self, name: str, content: bytes, expected: str | None) -> str:
        if not self.obeys_conditions():
            return swap_by_claim(self, name, content, expected)
        mode = self._probed().mode(expected)
        for attempt in range(1, self._attempts + 1):
            with self._errors(name) as client:
                try:
                    result = obstore.put(client, self._key(checked_name(name)), content, mode=mode, use_multipart=False)
                    return result["e_tag"] or ""
                except (AlreadyExistsError, PreconditionError, FileNotFoundError):
                    pass
                except BaseError as error:
                    if code_of(error) not in _TRANSIENT or attempt == self._attempts:
                        raise
            # The answer alone does not tell: S3 also refuses with 409 because of another request that has not ended,
            # and an attempt whose own answer was lost may have written the object.
            current = self.version(name)
            if current and current.content == content:
                return current.tag
            if (current.tag if current else None) != expected:
                raise SwapError(name, self.url)
            time.sleep(backoff_s(attempt))
        raise UnavailableError(f"{name} in {self.url} could not be written, as others were writing it: try again later")

    def obeys_conditions(self) -> bool:
        return self._probed().are_obeyed

    def names(self, prefix: str) -> list[str]:
        return sorted(self.objects(prefix))

    def objects(self, prefix: str) -> Mapping[str, StoredObject]:
        # For obstore a prefix is a folder; for S3 and this method it is any beginning of a name.
        folder, skip = self._key(prefix.rpartition("/")[0]), len(self._key(""))
        with self._errors() as client:
            items = [item for page in obstore.list(client, folder) for item in page]
        objects = {item["path"][skip:]: StoredObject(item["size"], item["last_modified"].timestamp()) for item in items}
        return {name: stored for name, stored in objects.items() if name.startswith(prefix)}

    def pages(self) -> Iterator[dict[str, int]]:
        """Yield the objects below the prefix with their sizes in bytes, page by page, so that few are in memory."""
        skip = len(self._key(""))
        with self._errors() as client:
            for page in obstore.list(client, self.prefix or None, chunk_size=_PAGE):
                yield {item["path"][skip:]: item["size"] for item in page}

    def size(self, name: str) -> int | None:
        """Return the size of a named object in bytes; None if there is none of that name."""
        try:
            with self._errors(name) as client:
                return obstore.head(client, self._key(checked_name(name)))["size"]
        except MissingError:
            return None

    def stream(self, name: str) -> Iterator[bytes]:
        """Yield the content of a named object of any size in chunks.

        Raises:
            MissingError: there is none of that name.
        """
        return self._stream(checked_name(name), name)

    def delete(self, names: Iterable[str]) -> None:
        keys = [self._key(checked_name(name)) for name in names]
        with self._errors(f"{len(keys)} objects") as client, suppress(FileNotFoundError):
            # obstore does not repeat this request when the connection is cut, as it does with all others: it is a POST.
            self._repeat(lambda: obstore.delete(client, keys), lambda error: "kind: Interrupted" in str(error))

    def sizes(self, md5s: Iterable[str]) -> Mapping[str, int]:
        keys = {self._key(object_name(md5)): md5 for md5 in md5s}
        with self._errors() as client:
            sizes, unlisted = self._list_sizes(sorted(keys), client)

            def head(key: str) -> None:
                with suppress(FileNotFoundError):
                    sizes[key] = obstore.head(client, key)["size"]

            for_each(head, unlisted, jobs=self.jobs, done=lambda _: None)
        return {keys[key]: size for key, size in sizes.items()}

    def put_file(self, file: LocalFile, jobs: int = 1) -> None:
        name = object_name(file.md5)
        if file.size > PART:
            size = max(PART, -(-file.size // _MAX_PARTS))

            def put_parts(client: Client, key: str) -> None:
                # An error of reading the file comes before S3 creates the object.
                obstore.put(client, key, file.chunks(size), chunk_size=size, max_concurrency=jobs, use_multipart=True)

            self._put(name, put_parts)
            return
        content = b"".join(file.chunks())
        if hashlib.md5(content, usedforsecurity=False).hexdigest() != file.md5:
            raise file.changed()
        self._put(name, lambda client, key: obstore.put(client, key, content, use_multipart=False))

    def read(self, md5: str) -> Iterator[bytes]:
        return self._stream(object_name(md5), f"object {md5}")

    def sweep(self, least_age_s: float, *, delete: bool) -> list[Leftover]:
        """Sweep unfinished uploads, and what killed swaps left.

        Of an upload the time of its last part shows whether somebody may still send more.
        """
        with self._explained():
            factory = ClientFactory(self._settings)
            self._endpoint = factory.endpoint
            uploads = factory.sweep_uploads(self.bucket, self._key(""), least_age_s, delete=delete)
        objects = {**self.objects(PROBES), **self.objects(CLAIMS)}
        left = [Leftover(name, each.size, time.time() - each.changed >= least_age_s) for name, each in objects.items()]
        if delete and (dead := [each.name for each in left if each.is_dead]):
            self.delete(dead)
        return uploads + left

    def probe_conditions(self) -> Conditions:
        """Find out which conditional writes the server obeys, with a small object that is deleted afterwards.

        Raises:
            UserError: the store refuses or cannot be reached.
        """
        name = f"{PROBES}{uuid.uuid4().hex}"
        with self._errors(name) as client:
            return probe(client, self._key(name))

    def _probed(self) -> Conditions:
        """Return which conditions the server obeys, which the first call finds out."""
        if self._conditions is None:
            conditions = self.probe_conditions()
            if not conditions.are_obeyed:
                # Once more: if the answer to one of the requests is lost, its second attempt looks refused.
                conditions = self.probe_conditions()
            if not conditions.are_obeyed:
                remark(
                    f"{self.url} does not obey conditional writes: claims keep other processes out, which a slow "
                    "network can defeat; upgrade the server, or use one that has them"
                )
            self._conditions = conditions
        return self._conditions

    def _stream(self, name: str, what: str) -> Iterator[bytes]:
        with self._errors(what) as client:
            for chunk in obstore.get(client, self._key(name)).stream(CHUNK):
                yield bytes(chunk)

    def _get(self, name: str) -> Version:
        with self._errors(name) as client:
            result = obstore.get(client, self._key(checked_name(name)))
            if result.meta["size"] > MOST_NAMED_BYTES:
                raise too_large(name, self.url, MOST_NAMED_BYTES)
            return Version(bytes(result.bytes()), result.meta["e_tag"] or "")

    def _put(self, name: str, put: Callable[[Client, str], object]) -> None:
        """Write an object by `put(client, key)`, which is called again after a transient error."""
        with self._errors(name) as client:
            self._repeat(lambda: put(client, self._key(name)), lambda error: code_of(error) in _TRANSIENT)

    def _repeat(self, send: Callable[[], object], is_transient: Callable[[BaseError], bool]) -> None:
        for attempt in range(1, self._attempts + 1):
            try:
                send()
                return
            except BaseError as error:
                if attempt == self._attempts or not is_transient(error):
                    raise
            time.sleep(backoff_s(attempt))

    def _list_sizes(self, keys: list[str], client: Client) -> tuple[dict[str, int], list[str]]:
        """Look up the sorted `keys` in the list of all objects, as long as that is faster than HEAD requests.

        One page of the list covers up to a thousand objects; but if the bucket holds far more than `keys`, the list
        takes longer than a HEAD request for each key.

        Returns:
            The sizes of the keys that the store holds, and the keys that the list did not reach.
        """
        sizes: dict[str, int] = {}
        if len(keys) < _HEADS_PER_PAGE // 2:
            return sizes, keys
        requested, unlisted = set(keys), keys
        # The offset sorts just before the first key. An empty page stands for the end of the list.
        pages = obstore.list(client, self._key(OBJECTS[:-1]), offset=keys[0][:-1], chunk_size=_PAGE)
        for page in islice(chain(pages, [[]]), 1 + len(keys) // _HEADS_PER_PAGE):
            sizes.update((item["path"], item["size"]) for item in page if item["path"] in requested)
            last = page[-1]["path"] if len(page) == _PAGE else keys[-1]
            unlisted = [key for key in unlisted if key > last]
            if not unlisted:
                break
        return sizes, unlisted

    def _key(self, name: str) -> str:
        return f"{self.prefix}/{name}" if self.prefix else name

    def _connect(self) -> Client:
        with self._connecting:
            if self._client is None:
                factory = ClientFactory(self._settings, PATIENT_ATTEMPTS if self._patient else ATTEMPTS)
                self._endpoint, self._attempts = factory.endpoint, factory.attempts
                self._client = factory.connect(self.bucket, self._key(OBJECTS))
            return self._client

    @contextmanager
    def _errors(self, what: str = "its list") -> Iterator[Client]:
        """Yield the client, and turn errors of S3, boto3 and obstore into a UserError about `what`."""
        with self._explained():
            client = self._connect()
        try:
            yield client
        except (ClientError, BotoCoreError, BaseError, FileNotFoundError) as error:
            # A missing local file is not an error of S3.
            if isinstance(error, FileNotFoundError) and not is_of_obstore(error):
                raise
            if code_of(error) in ("NoSuchKey", "404"):
                raise MissingError(what, self.url) from None
            raise user_error(error, self.url, self._endpoint, self.bucket) from None

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn errors of the configuration and of the first request into a UserError."""
        try:
            yield
        except UserError:
            raise
        except OSError as error:
            if is_of_obstore(error) or not error.filename:
                raise user_error(error, self.url, self._endpoint, self.bucket) from None
            raise cannot_read(error, error.filename) from None
        except (ClientError, BotoCoreError, ResponseParserError, BaseError, ValueError) as error:
            raise user_error(error, self.url, self._endpoint, self.bucket) from None
