"""Run a command with a real S3 server beside it: `python tests/servers/s3.py -- pytest tests/store`.

The server is Ceph's object gateway with one monitor and one disk in memory, on loopback, with its files in a temporary
folder. It checks signatures and checksums as S3 does. The command finds it by the usual variables of AWS and, in
NOFROST_TEST_S3, an empty bucket; its exit code is this one's. `tests/servers/install-s3.sh` installs what is needed.
"""

from __future__ import annotations

import argparse
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

NEEDED = ("monmaptool", "ceph-authtool", "ceph", "ceph-mon", "ceph-osd", "radosgw", "radosgw-admin", "setpriv")
BUCKET = "nofrost"
START_LIMIT_S = 120
START_TRIES = 3
CONFIG = """[global]
fsid = {fsid}
mon_host = [v2:127.0.0.1:{port}/0]
mon_initial_members = a
mon_data = {folder}/mon
osd_data = {folder}/osd
rgw_data = {folder}/rgw
keyring = {folder}/keyring
log_file = {folder}/$name.log
admin_socket =
auth_allow_insecure_global_id_reclaim = false
public_network = 127.0.0.0/8
cluster_network = 127.0.0.0/8
paxos_propose_interval = 0.05
paxos_min_wait = 0.01
mon_data_avail_crit = 0
mon_allow_pool_size_one = true
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 8
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
osd_objectstore = memstore
memstore_device_bytes = 17179869184
cephx_sign_messages = false
ms_crc_data = false
rgw_dynamic_resharding = false
rgw_gc_obj_min_wait = 1
rgw_gc_processor_period = 2
"""
# Ceph gathers a log in memory for each of its parts unless told not to, which halves its speed.
SILENT = (
    "auth", "buffer", "client", "crush", "finisher", "heartbeatmap", "lockdep", "memdb", "mon", "monc", "ms", "none",
    "objclass", "objecter", "optracker", "osd", "paxos", "perfcounter", "rados", "rgw", "throttle", "timer", "tp",
)  # fmt: skip


class StartError(Exception):
    """A part of the server did not come up; the message has what Ceph said."""


@contextmanager
def s3_server() -> Iterator[dict[str, str]]:
    """Start the server and yield the variables that lead to it. A start that fails is tried again, on other ports."""
    missing = [name for name in NEEDED if not shutil.which(name)]
    if missing:
        sys.exit(f"{', '.join(missing)} is not installed: run tests/servers/install-s3.sh")
    for attempt in range(1, START_TRIES + 1):
        with ExitStack() as stack:
            try:
                variables = start(stack)
            except StartError as error:
                print(f"try {attempt} of {START_TRIES}: {error}", file=sys.stderr, flush=True)
                continue
            yield variables
            return
    sys.exit("the S3 server did not start")


def start(stack: ExitStack) -> dict[str, str]:
    """Start monitor, disk and gateway, which live as long as the stack.

    Raises:
        StartError: one of them ended, or is not ready within START_LIMIT_S.
    """
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="s3-", ignore_cleanup_errors=True)))
    prepare_cluster(folder)
    stack.enter_context(daemon(folder, "ceph-mon", "-i", "a"))
    disk = str(uuid.uuid4())
    ceph(folder, "ceph", "osd", "new", disk, "0")
    ceph(folder, "ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", disk)
    stack.enter_context(daemon(folder, "ceph-osd", "-i", "0"))
    access, secret, port = "nofrost" + secrets.token_hex(4), secrets.token_hex(20), free_port()
    keys = ("--access-key", access, "--secret-key", secret)
    ceph(folder, "radosgw-admin", "user", "create", "--uid", "nofrost", "--display-name", "nofrost", *keys)
    frontend = f"beast endpoint=127.0.0.1:{port} tcp_nodelay=1"
    gateway = stack.enter_context(daemon(folder, "radosgw", "-n", "client.admin", "--rgw-frontends", frontend))
    wait_for(port, gateway, folder)
    return {
        "AWS_ACCESS_KEY_ID": access,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{port}",
        "AWS_DEFAULT_REGION": "us-east-1",
        "NOFROST_TEST_S3": f"s3://{BUCKET}",
    }


def prepare_cluster(folder: Path) -> None:
    """Write configuration, keys and the monitor's first state."""
    for name in ("mon", "osd", "rgw"):
        (folder / name).mkdir()
    fsid, port, keyring = str(uuid.uuid4()), free_port(), str(folder / "keyring")
    quiet = "".join(f"debug_{part} = 0/0\n" for part in SILENT)
    (folder / "ceph.conf").write_text(CONFIG.format(fsid=fsid, port=port, folder=folder) + quiet)
    everything = ("--cap", "mon", "allow *", "--cap", "osd", "allow *")
    for number, name in enumerate(("mon.", "client.admin", "osd.0")):
        create = () if number else ("--create-keyring",)
        ceph(folder, "ceph-authtool", *create, keyring, "--gen-key", "--name", name, *everything)
    ceph(folder, "monmaptool", "--create", "--addv", "a", f"[v2:127.0.0.1:{port}]", "--fsid", fsid, f"{folder}/monmap")
    ceph(folder, "ceph-mon", "--mkfs", "-i", "a", "--monmap", f"{folder}/monmap", "--keyring", keyring)


def ceph(folder: Path, *command: str) -> None:
    """Run one of Ceph's tools against this cluster."""
    environment = os.environ | {"CEPH_CONF": str(folder / "ceph.conf")}
    try:
        subprocess.run(
            command,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=START_LIMIT_S,
            errors="replace",
            check=True,
        )
    except subprocess.TimeoutExpired:
        reason = f"was not done within {START_LIMIT_S} s"
    except subprocess.CalledProcessError as error:
        reason = f"ended with {error.returncode}: {error.stdout}"
    else:
        return
    raise StartError(f"{' '.join(command[:3])} {reason}\n{last_words(folder)}")


def last_words(folder: Path) -> str:
    """The ends of what the daemons said so far, on their terminals and in their logs."""
    said = (path for path in sorted(folder.iterdir()) if path.suffix in (".out", ".log"))
    return "\n".join(f"{path.name}: {path.read_text(errors='replace')[-2000:]}" for path in said)


@contextmanager
def daemon(folder: Path, *command: str) -> Iterator[subprocess.Popen[bytes]]:
    """Keep one of Ceph's daemons running. It dies with us, however we end; its data is not worth a clean end."""
    environment = os.environ | {"CEPH_CONF": str(folder / "ceph.conf")}
    with (folder / f"{command[0]}.out").open("wb") as said:
        process = subprocess.Popen(
            ("setpriv", "--pdeathsig", "KILL", *command, "-f"),
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            start_new_session=True,  # a Ctrl-C is for the command, which may still need the server to end well
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def wait_for(port: int, gateway: subprocess.Popen[bytes], folder: Path) -> None:
    """Wait until the gateway answers."""
    end = time.monotonic() + START_LIMIT_S
    while time.monotonic() < end and gateway.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    ended = "does not answer" if gateway.poll() is None else f"ended with {gateway.poll()}"
    raise StartError(f"the gateway {ended} (limit {START_LIMIT_S} s)\n{last_words(folder)}")


def free_port() -> int:
    """A port that nobody has, of those that Linux gives to no client: one could take it before the server does."""
    while True:
        port = 20000 + secrets.randbelow(10000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", nargs="+", metavar="COMMAND", help="what to run, after `--`")
    command = parser.parse_args().command
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with s3_server() as variables:
        import boto3

        environment = os.environ | variables
        os.environ.update(variables)
        boto3.Session().client("s3").create_bucket(Bucket=BUCKET)
        process = subprocess.Popen(command, env=environment)
        try:
            return process.wait()
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()


if __name__ == "__main__":
    sys.exit(main())
