"""Download published files, by torchvision's downloader."""

import io
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

from nofrost.data.dataset_card import PublishedFile
from nofrost.errors import UnavailableError, UserError, reason, say
from nofrost.files import make_folder, work_path
from nofrost.prepare.sources.checksums import check_file

_TIMEOUT_S = 60  # without any data


def download(file: PublishedFile, folder: Path) -> None:
    """Download `file` into `folder`, which is made if need be; it appears there when it is whole and the published one.

    Raises:
        UserError: `folder` is a file, the card names no URL, or what arrives is not the published file.
        UnavailableError: the server cannot be reached or refuses.
    """
    if folder.is_file():
        raise UserError(f"dataset.path {folder} is a file: name a folder to download {file.name} to")
    if file.url is None:
        raise UserError(f"{file.name} has no fixed address to download it from: fetch it by hand and set dataset.path")
    make_folder(folder)
    say(f"prepare: {file.name} is downloaded from {file.url} to {folder}")
    with tempfile.TemporaryDirectory(dir=folder, prefix=work_path(Path(file.name), "download-").name) as temporary:
        with _explained(file):
            # slow to import, as it loads torch
            from torchvision.datasets.utils import download_url

            download_url(file.url, temporary, file.name)
        arrived = Path(temporary, file.name)
        try:
            check_file(arrived, file)
        except UserError:
            raise UserError(
                f"what {file.url} sends is not the published {file.name} (its checksum differs): fetch it from "
                "elsewhere, and set dataset.path"
            ) from None
        arrived.replace(folder / file.name)


@contextmanager
def _explained(file: PublishedFile) -> Iterator[None]:
    """Turn what urllib, http.client and torchvision raise into an UnavailableError; what they print is dropped."""
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_TIMEOUT_S)
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            yield
    except Exception as error:
        raise UnavailableError(
            f"{file.name} cannot be downloaded from {file.url} ({reason(error)}): try again, or fetch it by hand and "
            "set dataset.path"
        ) from None
    finally:
        socket.setdefaulttimeout(timeout)
