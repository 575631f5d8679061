"""DVC's default remote, read by DVC itself from its configuration at all levels."""

from __future__ import annotations

import os
from collections.abc import Mapping
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
    """

    name: str
    url: str
    settings: Mapping[str, Any] = field(repr=False)


def default_remote(folder: Path) -> Remote | None:
    """Return the default remote of the DVC project that `folder` is in; None without a project or default remote.

    Raises:
        UserError: DVC is not installed, or cannot use its configuration.
    """
    home = dvc_folder(folder)
    if home is None:
        return None
    try:
        from dvc.config import Config
        from dvc.config_schema import SCHEMA
        from dvc.fs import get_fs_config
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "dvc":
            raise
        raise UserError(
            f"DVC is not installed here, so the remote in {home} cannot be read: run pip install 'nofrost[dvc]', or "
            "set NOFROST_STORE"
        ) from None
    where = home
    # The errors of DVC, ConfigObj and voluptuous have no class in common, and DVC lets some of each through.
    try:
        for where in (*(Path(Config.get_dir(level), "config") for level in ("system", "global")),
                      home / "config", home / "config.local"):  # fmt: skip
            if _is_readable_file(where):
                Config.load_file(str(where))
        where = home
        config = Config(str(home))
        name = config["core"].get("remote")
        if not name:
            return None
        settings = dict(SCHEMA["remote"][str](get_fs_config(config, name=name)))
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{where} cannot be read as DVC's configuration ({_reason(error)}): {_REMEDY}") from None
    url = str(settings.pop("url"))
    if url.lower().startswith("file:"):
        raise UserError(f"DVC takes the URL of its remote {name!r}, {url!r}, for the name of a folder: write its path "
                        "without file://, or set NOFROST_STORE")  # fmt: skip
    return Remote(name, url, settings)


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
