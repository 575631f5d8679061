"""The remotes of DVC, read by DVC itself from its configuration at all levels."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nofrost.errors import UserError
from nofrost.limits import regular_file

# DVC's own error for such a file would come after minutes or gigabytes: an interpolation can repeat another.
_MAX_BYTES = 1 << 16
_MAX_INTERPOLATIONS = 16
_REMEDY = "fix it, or set NOFROST_STORE"


@dataclass(frozen=True)
class Remote:
    """A remote of DVC.

    Attributes:
        name: in DVC's configuration.
        url: with any remote:// resolved, and the path of a folder made absolute.
        settings: everything else that DVC knows of it, by DVC's keys and with DVC's types.
        is_default: whether `dvc push` uses it unless told otherwise.
    """

    name: str
    url: str
    settings: Mapping[str, Any] = field(repr=False)
    is_default: bool


def default_remote(folder: Path) -> Remote | None:
    """Return the default remote of the DVC project that `folder` is in; None without a project or default remote.

    Raises:
        UserError: DVC is not installed, or cannot use its configuration.
    """
    return next((remote for remote in remotes(folder) if remote.is_default), None)


def remotes(folder: Path) -> list[Remote]:
    """Return the remotes of the DVC project that `folder` is in, by name; none without a project.

    Those that DVC cannot use are left out, except for the default one.

    Raises:
        UserError: as :func:`default_remote`.
    """
    home = dvc_folder(folder)
    if home is None:
        return []
    config = _configuration(home)
    default = config["core"].get("remote")
    result = []
    for name in sorted({*config["remote"], *([default] if default else [])}):
        with nullcontext() if name == default else suppress(UserError):
            result.append(_remote(config, name, home, name == default))
    return result


def _configuration(home: Path) -> Any:
    """Return DVC's configuration of the project whose folder .dvc is `home`."""
    try:
        from dvc.config import Config
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "dvc":
            raise
        raise UserError(
            f"DVC is not installed here, so the remote in {home} cannot be read: run pip install 'nofrost[dvc]', or "
            "set NOFROST_STORE"
        ) from None
    where = home
    try:
        for where in (*(Path(Config.get_dir(level), "config") for level in ("system", "global")),
                      home / "config", home / "config.local"):  # fmt: skip
            if _is_readable_file(where):
                Config.load_file(str(where))
        where = home
        return Config(str(home))
    except UserError:
        raise
    except Exception as error:
        raise _unusable(where, error) from None


def _remote(config: Any, name: str, home: Path, is_default: bool) -> Remote:
    from dvc.config_schema import SCHEMA
    from dvc.fs import get_fs_config

    try:
        settings = dict(SCHEMA["remote"][str](get_fs_config(config, name=name)))
    except Exception as error:
        raise _unusable(home, error) from None
    url = str(settings.pop("url"))
    if url.lower().startswith("file:"):
        raise UserError(f"DVC takes the URL of its remote {name!r}, {url!r}, for the name of a folder: write its path "
                        "without file://, or set NOFROST_STORE")  # fmt: skip
    return Remote(name, url, settings, is_default)


def _unusable(where: Path, error: Exception) -> UserError:
    # The errors of DVC, ConfigObj and voluptuous have no class in common, and DVC lets some of each through.
    return UserError(f"{where} cannot be read as DVC's configuration ({_reason(error)}): {_REMEDY}")


def dvc_folder(folder: Path) -> Path | None:
    """Return the folder .dvc of the project that `folder` is in, found as DVC finds it; None outside of any."""
    # Links are not followed: their target is not the workspace.
    workspace = Path(os.path.abspath(folder))  # noqa: PTH100
    for parent in (workspace, *workspace.parents):
        if (parent / ".dvc").is_dir():
            return parent / ".dvc"
        if parent.is_mount():
            break
    return None


def _is_readable_file(path: Path) -> bool:
    """Return whether there is a configuration that can be read without harm.

    Raises:
        UserError: it is a pipe, socket or device, or far larger than any configuration.
        OSError: it cannot be read.
    """
    try:
        size = regular_file(path).stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        return False
    if size > _MAX_BYTES or path.read_bytes().count(b"%(") > _MAX_INTERPOLATIONS:
        raise UserError(
            f"{path} cannot be read as DVC's configuration (larger than {_MAX_BYTES:,} bytes, or more than "
            f"{_MAX_INTERPOLATIONS} interpolations): {_REMEDY}"
        )
    return True


def _reason(error: Exception) -> str:
    """Return the reason of an error in one line, without the line at fault, which may contain a secret."""
    from configobj import ConfigObjError

    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    cause = error.__cause__ or error
    if isinstance(cause, ConfigObjError) and cause.line_number is not None:
        return f"{type(cause).__name__} in line {cause.line_number}"
    text = " ".join(str(error).split()).removeprefix("config file error: ")
    return text[:200] or type(error).__name__
