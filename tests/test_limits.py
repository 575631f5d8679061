"""Files that are no files, and compressed content that is made to fill memory, are refused before they are read."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nofrost.augment.deepaugment.networks import load_network
from nofrost.config import load_recipe, load_study
from nofrost.data.arrays import read_array, read_arrays
from nofrost.errors import UserError
from nofrost.files import read_json, sha256_file
from nofrost.limits import check_expansion, regular_file
from nofrost.models.checkpoint import read_weights

READERS: tuple[Callable[[Path], Any], ...] = (
    read_json, sha256_file, read_array, read_arrays, read_weights, load_network, load_recipe, load_study,
)  # fmt: skip


@pytest.mark.parametrize("read", READERS, ids=lambda read: read.__name__)
def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path, read: Callable[[Path], Any]) -> None:
    pipe = tmp_path / "file.yaml"
    os.mkfifo(pipe)
    with pytest.raises(UserError, match=rf"{pipe} is a named pipe, not a regular file"):
        read(pipe)


def test_devices_sockets_and_links_to_them_are_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as server:
        # the path of a socket has at most 108 bytes, less than that of many temporary folders
        descriptor = os.open(tmp_path, os.O_RDONLY)
        server.bind(f"/proc/self/fd/{descriptor}/socket")
        os.close(descriptor)
    for path, kind in ((Path("/dev/zero"), "a device"), (tmp_path / "link", "a device"), (tmp_path / "socket", "a so")):
        with pytest.raises(UserError, match=f"{path} is {kind}"):
            regular_file(path)


def test_what_is_missing_or_a_folder_is_left_to_the_opening(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing", Path("a\0b")):
        assert regular_file(path) is path


def test_only_a_large_content_of_few_bytes_is_suspicious() -> None:
    check_expansion(1 << 30, 1, "small")
    check_expansion(10 << 30, 1 << 30, "large and real")
    with pytest.raises(UserError, match=r"x would expand from 1,000 bytes to 10,000,000,000"):
        check_expansion(10**10, 1000, "x")
