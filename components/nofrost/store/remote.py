"""Open a store by its URL, which the environment or DVC's default remote may supply."""

import os
from collections.abc import Mapping
from configparser import ConfigParser
from configparser import Error as ConfigError
from pathlib import Path
from urllib.parse import unquote, urlsplit

from nofrost.errors import UserError
from nofrost.store.base import Store
from nofrost.store.local import LocalStore
from nofrost.store.ref import is_relative_posix

VARIABLE = "NOFROST_STORE"
# Settings of DVC's remotes, by DVC's name and by ours.
_SETTINGS = {"endpointurl": "endpoint", "region": "region", "profile": "profile"}


def open_store(url: str) -> Store:
    """Return the store at `url`: "s3://bucket/prefix", a folder, or "file:///folder".

    Endpoint, region and profile of an S3 store are those of DVC's default remote if that is the same bucket, otherwise
    those that boto3 finds. No request is sent yet.

    Raises:
        UserError: `url` is none of these, or what S3 needs is not installed.
    """
    parts = urlsplit(url)
    if "@" in parts.netloc:
        raise UserError(f"the URL of a {parts.scheme} store contains a login: leave it out, and set AWS's variables")
    prefix = parts.path.strip("/")
    if parts.scheme == "s3" and parts.netloc and (not prefix or is_relative_posix(prefix)):
        return _open_s3(parts.netloc, prefix)
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        return LocalStore(Path(unquote(parts.path)))
    if not url or "://" in url:
        raise UserError(f"{url!r} is not a store: write s3://BUCKET/PREFIX or a folder")
    return LocalStore(Path(url))


def default_store(folder: Path = Path()) -> str:
    """Return the URL of the store that a workspace uses: NOFROST_STORE, or DVC's default remote.

    Args:
        folder: the workspace or a folder in it.

    Raises:
        UserError: neither is set.
    """
    url = os.environ.get(VARIABLE) or _default_remote(folder).get("url")
    if not url:
        raise UserError(f"no store is configured: set {VARIABLE}, or run `dvc remote add --default NAME URL`")
    return url


def _open_s3(bucket: str, prefix: str) -> Store:
    try:
        from nofrost.store.s3 import S3Store
    except ImportError as error:
        raise UserError(f"a store on S3 needs more ({error}): run pip install 'nofrost[store]'") from None
    remote = _default_remote(Path())
    if urlsplit(remote.get("url", ""))[:2] != ("s3", bucket):
        return S3Store(bucket, prefix)
    settings = {ours: remote[theirs] for theirs, ours in _SETTINGS.items() if theirs in remote}
    return S3Store(bucket, prefix, **settings)


def _default_remote(folder: Path) -> Mapping[str, str]:
    """Return the settings of DVC's default remote, with the path of a local one made absolute; empty without a remote.

    DVC resolves a relative path against the folder of the file that states it: .dvc.
    """
    # Links are not followed: their target is not the workspace.
    workspace = Path(os.path.abspath(folder))  # noqa: PTH100
    folders = (parent / ".dvc" for parent in (workspace, *workspace.parents))
    home = next((folder for folder in folders if (folder / "config").is_file()), None)
    if home is None:
        return {}
    config = ConfigParser(interpolation=None, strict=False)
    for path in (home / "config", home / "config.local"):
        try:
            # For this parser an indented line continues the one before, but DVC indents settings.
            config.read_string("\n".join(line.strip() for line in path.read_text(encoding="utf-8").splitlines()))
        except FileNotFoundError:
            continue
        except (OSError, ValueError, ConfigError):
            raise UserError(f"{path} cannot be read as DVC's configuration: fix it, or set {VARIABLE}") from None
    title = f"'remote \"{config.get('core', 'remote', fallback='')}\"'".lower()
    sections = [config.items(section) for section in config.sections() if section.lower() == title]
    remote = {key: value.strip("\"'") for items in sections for key, value in items}
    url = remote.get("url", "")
    if url and "://" not in url:
        remote["url"] = os.path.normpath(home / Path(url).expanduser())
    return remote
