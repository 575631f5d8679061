"""What the URL of a store means: the place that `dvc push` would use, or a UserError."""

import os
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from nofrost.errors import UserError
from nofrost.store.ref import is_relative_posix

SCHEME = "s3://"
"""How the URL of an object or a bucket begins."""
_ANY_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*):(/*)(.*)", re.IGNORECASE | re.DOTALL)
# Whoever means a folder whose name looks like something else has to begin its path like this.
_PLAIN_PATH = ("/", "./", "../", "~")
_FORMS = "write s3://BUCKET/PREFIX or a folder"
_UNPRINTABLE = frozenset(("Cc", "Cs", "Zl", "Zp"))


@dataclass(frozen=True)
class Bucket:
    """A place on S3.

    Attributes:
        name: of the bucket.
        prefix: of the names of all objects, without "/" at its ends.
    """

    name: str
    prefix: str


def parse_location(url: str) -> Bucket | Path:
    """Return the bucket or folder that a URL names: "s3://bucket/prefix", "file:///folder", or a folder's path.

    In the URL of a bucket no character has a meaning of its own: "#" and "%" belong to the prefix. In the path of a
    folder only a "~" at its beginning has one, the home folder. "file://" alone has "%20" and the like.

    Raises:
        UserError: it is none of these, or DVC would read it in another way. A login is not repeated.
    """
    match = _ANY_SCHEME.fullmatch(url)
    if match and "@" in match[3].partition("/")[0]:
        raise UserError(f"the URL of a {match[1]} store contains a login: leave it out, and set AWS's variables")
    if fault := _character_fault(url):
        raise _refused(url, fault)
    if url.startswith(SCHEME):
        return _bucket(url)
    if url.startswith(("file:///", "file://localhost/")):
        return _folder(url)
    if match:
        raise _refused(url, _right_form(url, match[1].lower(), match[2], match[3]))
    if not url.startswith(_PLAIN_PATH):
        if not url or "://" in url:
            raise _refused(url, _FORMS)
        if "\\" in url:
            raise _refused(url, f"{_FORMS}: here with '/' between its parts, or './{url}' for a folder of that name")
    # Unlike Path.expanduser, and like DVC, this keeps the name of an unknown user.
    return Path(os.path.expanduser(url))  # noqa: PTH111


def _bucket(url: str) -> Bucket:
    name, _, prefix = url.removeprefix(SCHEME).partition("/")
    prefix = prefix if prefix == "/" else prefix.removesuffix("/")
    if not name:
        raise _refused(url, _FORMS)
    if ":" in name:
        # It may be a login whose secret contains a "/", so it is not repeated.
        raise UserError("the URL of an s3 store contains ':' in its bucket: leave out login and port, and set AWS's "
                        "variables (AWS_ENDPOINT_URL_S3 for another server)")  # fmt: skip
    if "?" in url or url.endswith("#") or "#" in name:
        character = "?" if "?" in url else "#"
        raise _refused(url, f"DVC would cut off what follows the {character!r}: choose a prefix without it")
    if prefix and not is_relative_posix(prefix):
        raise _refused(url, "its prefix contains '.', '..' or an empty name between two '/': leave them out")
    return Bucket(name, prefix)


def _folder(url: str) -> Path:
    path = url.removeprefix("file://").removeprefix("localhost")
    if "?" in path or "#" in path:
        raise _refused(url, "write '?' as %3F and '#' as %23, or give the folder without file://")
    if re.search("%(?![0-9a-f]{2})", path, re.IGNORECASE):
        raise _refused(url, "write '%' as %25, or give the folder without file://")
    try:
        folder = unquote(path, errors="strict")
    except UnicodeDecodeError:
        raise _refused(url, "what it says with '%' is not UTF-8: give the folder without file://") from None
    if fault := _character_fault(folder):
        raise _refused(url, fault)
    return Path(folder)


def _right_form(url: str, scheme: str, slashes: str, rest: str) -> str:
    """Return what to write instead of a URL that begins like a scheme."""
    if scheme in ("s3", "s3a", "s3n"):
        form = f"s3://{rest or 'BUCKET/PREFIX'}"
    elif scheme == "file" and not slashes:
        form = rest or "a path"
    elif scheme == "file":
        # After two slashes comes the name of a machine.
        form = f"file:///{rest.partition('/')[2] if slashes == '//' else rest}"
    elif len(scheme) == 1:
        form = "a folder with '/' between its parts and without a drive, as this is no Windows"
    else:
        return f"{_FORMS}, also './{url}' for a folder of that name"
    return f"{_FORMS}: here {form}, or './{url}' for a folder of that name"


def _character_fault(text: str) -> str:
    """Return why no place can have this text in its name; "" if it can."""
    if any(unicodedata.category(character) in _UNPRINTABLE for character in text):
        return "it contains a control character or one that is not UTF-8: leave it out"
    return "it begins or ends with a space: leave it out" if text != text.strip() else ""


def _refused(url: str, fault: str) -> UserError:
    return UserError(f"{url!r} is not a store: {fault}")
