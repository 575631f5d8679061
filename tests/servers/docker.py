"""Run a command with both images built: `python tests/servers/docker.py -- pytest tests/docker`.

An engine of its own is started unless DOCKER_HOST leads to one that answers. The command gets DOCKER_HOST and the ids
of the images in NOFROST_STAGE_IMAGE and NOFROST_TRAIN_IMAGE; its exit code is this one's. Needs root and Debian 12;
`tests/servers/install-docker.sh` installs what is missing. No registry is asked: the base image is made of Debian's
packages, unless BASE names another one.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
NEEDED = ("dockerd", "mmdebstrap", "setpriv")
BASE = "nofrost-test-base:bookworm"
BASE_PACKAGES = "ca-certificates,python3,python3-pip,python3-venv"
# Where the machine has its Debian packages from; other sources that it may have are not for the image.
SOURCES = [path for path in ("/etc/apt/sources.list.d/debian.sources", "/etc/apt/sources.list") if Path(path).is_file()]
# A newer client elsewhere on the PATH may lack the part that builds.
CLIENT = shutil.which("/usr/bin/docker") or shutil.which("docker") or "docker"
START_LIMIT_S = 60


@contextmanager
def engine(data_root: Path | None) -> Iterator[str]:
    """Yield the address of a container engine: the one there is, or one that lives as long as the block.

    The engine we start makes no bridge and no firewall rules, so it leaves the machine as it was: containers have the
    machine's network or none.

    Args:
        data_root: where its images and layers are kept for the next time; by default they go with it.
    """
    there = os.environ.get("DOCKER_HOST")
    if there and answers(there):
        yield there
        return
    missing = [name for name in NEEDED if not shutil.which(name)]
    if missing:
        sys.exit(f"{', '.join(missing)} is not installed: run tests/servers/install-docker.sh")
    with tempfile.TemporaryDirectory(prefix="docker-", ignore_cleanup_errors=True) as folder:
        address = f"unix://{folder}/socket"
        places = ("--data-root", str(data_root or f"{folder}/data"), "--exec-root", f"{folder}/exec")
        network = ("--bridge", "none", "--iptables=false", "--ip6tables=false")
        with Path(folder, "log").open("wb") as log:
            process = subprocess.Popen(
                ("setpriv", "--pdeathsig", "TERM", "dockerd", "-H", address, "-p", f"{folder}/pid", *places, *network),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # a Ctrl-C is for the command, which may still need the engine to end well
            )
        try:
            end = time.monotonic() + START_LIMIT_S
            while not answers(address):
                if process.poll() is not None or time.monotonic() > end:
                    sys.exit(f"dockerd did not start: {Path(folder, 'log').read_text(errors='replace')[-2000:]}")
                time.sleep(0.1)
            yield address
        finally:
            process.terminate()
            process.wait()


def answers(address: str) -> bool:
    environment = os.environ | {"DOCKER_HOST": address}
    return subprocess.run((CLIENT, "version"), env=environment, capture_output=True).returncode == 0


def base_image(environment: dict[str, str]) -> str:
    """Return the name of a base image, made of Debian's packages if the engine does not have it yet."""
    if named := os.environ.get("BASE"):
        return named
    known = subprocess.run((CLIENT, "image", "inspect", BASE), env=environment, capture_output=True)
    if known.returncode:
        with tempfile.TemporaryDirectory() as folder:
            archive = f"{folder}/base.tar"
            make = ("mmdebstrap", "--quiet", "--variant=minbase", f"--include={BASE_PACKAGES}", "bookworm", archive)
            subprocess.run((*make, *SOURCES[:1]), check=True)
            subprocess.run((CLIENT, "import", archive, BASE), env=environment, stdout=subprocess.DEVNULL, check=True)
    return BASE


def build_images(environment: dict[str, str]) -> dict[str, str]:
    """Build both images as `make images` does; return their ids by the variables that tell of them."""
    settings = {"BASE": base_image(environment), "TAG": "test", "DOCKER": CLIENT, "BUILD_FLAGS": "--network=host"}
    make = ("make", "--no-print-directory", "images")
    told = subprocess.run(
        make, cwd=ROOT, env=environment | settings, stdout=subprocess.PIPE, text=True, check=True
    ).stdout
    ids = dict(line.split() for line in told.splitlines() if " sha256:" in line)
    return {f"NOFROST_{name.upper()}_IMAGE": ids[f"nofrost-{name}:test"] for name in ("stage", "train")}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-root", type=Path, help="keep images and layers here for the next time")
    parser.add_argument("command", nargs="+", metavar="COMMAND", help="what to run, after `--`")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with ExitStack() as stack:
        environment = os.environ | {"DOCKER_HOST": stack.enter_context(engine(arguments.data_root))}
        try:
            environment |= build_images(environment)
        except subprocess.CalledProcessError as error:
            sys.exit(f"the images could not be built: {error.cmd[0]} ended with {error.returncode}, as said above")
        process = subprocess.Popen(arguments.command, env=environment)
        try:
            return process.wait()
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()


if __name__ == "__main__":
    sys.exit(main())
