"""The interface of all stores, and what they share."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from nofrost.errors import UserError, shortened
from nofrost.store.local_file import LocalFile
from nofrost.store.ref import is_relative_posix

# The prefix of the names of all content, in DVC's layout.
OBJECTS = "files/md5/"
# No named object, such as a candidate or a stage's record, is larger: what is comes from somebody else.
MOST_NAMED_BYTES = 16 << 20
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")


@dataclass(frozen=True)
class StoredObject:
    """An object of a store.

    Attributes:
        size: bytes.
        changed: when it was written, in seconds since 1970.
    """

    size: int
    changed: float


@dataclass(frozen=True)
class Leftover:
    """What a killed push or swap, or a save that a newer one replaced, left in a store.

    Attributes:
        name: of the unfinished file or upload, or of the object.
        size: bytes, if known.
        is_dead: whether nobody writes it any more.
    """

    name: str
    size: int | None
    is_dead: bool


class Version(NamedTuple):
    """A named object as it was at one moment.

    Attributes:
        content: its bytes.
        tag: what tells it from earlier and later versions with other content: the ETag on S3.
    """

    content: bytes
    tag: str


class Store(Protocol):
    """A store of content by its address, in DVC's layout, and of small named objects.

    An address (`md5`) is 32 hexadecimal digits, followed by ".dir" for the object that lists a folder. Every method
    raises UserError when the store refuses or cannot be reached; all may be called by several threads at once.
    """

    jobs: int
    """Number of threads that should use it at once."""

    @property
    def url(self) -> str:
        """The location: "s3://bucket/prefix" or a folder."""

    def below(self, name: str) -> "Store":
        """Return the store whose objects this one has under their names with `name` and "/" before them."""

    def container_environment(self) -> dict[str, str]:
        """Return the variables by which a container reaches this store as this process does; empty for a folder.

        These are endpoint, region, credentials, certificates and proxies, those of DVC's remote and of a profile
        included. AWS_CA_BUNDLE is the path of a file on this machine, which the container needs at the same path.
        The values contain secrets: they must not be printed or stored.

        Raises:
            UserError: the store has a setting that no variable can express.
        """

    def put(self, name: str, content: bytes) -> None:
        """Write a small named object, such as "nofrost/locks/RUN.yaml", whole or not at all."""

    def get(self, name: str) -> bytes:
        """Return a named object.

        Raises:
            MissingError: there is none of that name.
            UserError: it is larger than any that this package writes.
        """

    def version(self, name: str) -> Version | None:
        """Return a named object with the tag that :meth:`swap` expects; None if there is none of that name.

        Raises:
            UserError: it is larger than any that this package writes.
        """

    def swap(self, name: str, content: bytes, expected: str | None) -> str:
        """Write a small named object if nobody else has written it since it was read, and return its new tag.

        Of several writers that expect the same version one succeeds. Each should write content that no other writes,
        such as one with its name: where the object already has this content, it counts as written, since the answer to
        an earlier attempt may have been lost on its way.

        Args:
            expected: tag of the version that it replaces; None if there must be none of that name.

        Raises:
            SwapError: another writer was first; the object is as that one wrote it.
            UnavailableError: the server is busy or cannot be reached; the object may be written or not.
        """

    def obeys_conditions(self) -> bool:
        """Return whether :meth:`swap` is safe whatever the network does; the first call asks the server.

        If it is not, a line on standard error says so.
        """

    def names(self, prefix: str) -> list[str]:
        """Return the sorted names of all objects that begin with `prefix`.

        Raises:
            UserError: there is no such store.
        """

    def objects(self, prefix: str) -> Mapping[str, StoredObject]:
        """Return all objects whose names begin with `prefix`, by name; none if there is no such folder."""

    def delete(self, names: Iterable[str]) -> None:
        """Delete objects by name; a missing one is no error. For what nothing refers to."""

    def sizes(self, md5s: Iterable[str]) -> Mapping[str, int]:
        """Return the size in bytes of each of these objects that the store holds."""

    def put_file(self, file: LocalFile, jobs: int = 1) -> None:
        """Write a file under its address, whole or not at all; a large one by up to `jobs` requests at once.

        Raises:
            UserError: the file changed since it was hashed, or cannot be read.
        """

    def read(self, md5: str) -> Iterator[bytes]:
        """Yield the content of an object in chunks. It is not verified: the caller has to compare the checksum.

        Raises:
            MissingError: the store does not hold the object.
        """

    def sweep(self, least_age_s: float, *, delete: bool) -> list[Leftover]:
        """Return what killed pushes left in the store, after deleting those that are dead if `delete` is set.

        Objects are not deleted.

        Args:
            least_age_s: age from which on something counts as dead where nothing shows whether it is still written.
        """


def object_name(md5: str) -> str:
    """Return the name of an object in DVC's layout."""
    return f"{OBJECTS}{md5[:2]}/{md5[2:]}"


def checked_name(name: str) -> str:
    """Return `name` if it can name an object.

    Raises:
        UserError: it would lead out of the store.
    """
    if not is_relative_posix(name):
        raise UserError(f"{name!r} cannot name an object: write a relative path without '..'")
    return name


def checked_word(name: str, what: str) -> str:
    """Return `name` if it can be one part of an object's name.

    Args:
        what: it names, for the message.

    Raises:
        UserError: it is empty, longer than 200 characters, or has other characters.
    """
    if not _WORD.fullmatch(name):
        raise UserError(f"{shortened(name)} cannot name {what}: write letters, digits, '.', '_' and '-'")
    return name


class MissingError(UserError):
    """A store does not hold an object."""

    def __init__(self, what: str, url: str) -> None:
        super().__init__(f"{url} holds no {what}: push it there with `nofrost store push`, or choose another store")


class SwapError(UserError):
    """Another writer changed an object after it was read; nothing was written."""

    def __init__(self, name: str, url: str) -> None:
        super().__init__(f"{name} in {url} was changed by another process meanwhile: look at it, then try again")


class AlteredError(UserError):
    """What a store holds under an address has another checksum."""


def too_large(what: str, url: str, limit: int) -> UserError:
    """Return the UserError for content that is larger than any of its kind."""
    return UserError(f"{what} in {url} has more than {limit:,} bytes: do not use it, and find out what wrote it")
