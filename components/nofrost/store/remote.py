"""Which store is meant: an address, the environment, or DVC's default remote."""

from __future__ import annotations

import os
from collections.abc import Mapping
from configparser import ConfigParser
from configparser import Error as ConfigError
from pathlib import Path
from urllib.parse import unquote, urlsplit

from nofrost.errors import UserError
from nofrost.store.base import Store
from nofrost.store.local import LocalStore

VARIABLE = "NOFROST_STORE"
_SETTINGS = {"endpointurl": "endpoint", "region": "region", "profile": "profile"}  # of DVC's remotes, and our names


def open_store(url: str) -> Store:
    """Return the store at `url`: "s3://bucket/prefix", a folder, or "file:///folder".

    Endpoint, region and profile of an S3 store are those of DVC's default remote when that is the same bucket, else
    those that boto3 finds. Nothing is sent yet.

    Raises:
        UserError: `url` is none of these, or boto3 is not installed.
    """
    parts = urlsplit(url)
    if "@" in parts.netloc:
        raise UserError(f"the URL of a {parts.scheme} store holds a login: leave it out, and set AWS's variables")
    if parts.scheme == "s3" and parts.netloc:
        return _open_s3(parts.netloc, parts.path.strip("/"))
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        return LocalStore(Path(unquote(parts.path)))
    if not url or "://" in url:
        raise UserError(f"{url!r} is no store: name s3://BUCKET/PREFIX or a folder")
    return LocalStore(Path(url))


def default_store(folder: Path = Path()) -> str:
    """Return the URL of the store that a workspace uses: NOFROST_STORE, or DVC's default remote.

    Args:
        folder: in the workspace.

    Raises:
        UserError: neither is set.
    """
    url = os.environ.get(VARIABLE) or _default_remote(folder).get("url")
    if not url:
        raise UserError(f"no store is named: set {VARIABLE}, or run `dvc remote add --default NAME URL`")
    return url


def _open_s3(bucket: str, prefix: str) -> Store:
    try:
        from nofrost.store.s3 import S3Store
    except ImportError as error:
        raise UserError(f"a store on S3 needs boto3 and obstore ({error}): run pip install 'nofrost[pipeline]'") from None
    remote = _default_remote(Path())
    same = urlsplit(remote.get("url", ""))[:2] == ("s3", bucket)
    settings = {ours: remote[theirs] for theirs, ours in _SETTINGS.items() if theirs in remote} if same else {}
    return S3Store(bucket, prefix, **settings)


def _default_remote(folder: Path) -> Mapping[str, str]:
    """Return the settings of DVC's default remote; its folder, if it is one, absolute. Empty where there is none.

    DVC resolves a relative folder against the one of the file that names it: .dvc.
    """
    here = Path(os.path.abspath(folder))  # noqa: PTH100 (what links lead to is not the workspace)
    place = next((place / ".dvc" for place in (here, *here.parents) if (place / ".dvc" / "config").is_file()), None)
    if place is None:
        return {}
    config = ConfigParser(interpolation=None, strict=False)
    for path in (place / "config", place / "config.local"):
        try:
            # DVC indents as it likes; to this parser an indented line goes on with the one before.
            config.read_string("\n".join(line.strip() for line in path.read_text(encoding="utf-8").splitlines()))
        except FileNotFoundError:
            continue
        except (OSError, ValueError, ConfigError):
            raise UserError(f"{path} cannot be read as DVC's configuration: mend it, or set {VARIABLE}") from None
    title = f"'remote \"{config.get('core', 'remote', fallback='')}\"'".lower()
    sections = [config.items(section) for section in config.sections() if section.lower() == title]
    remote = {key: value.strip("\"'") for items in sections for key, value in items}
    url = remote.get("url", "")
    if url and "://" not in url:
        remote["url"] = os.path.normpath(place / Path(url).expanduser())
    return remote
