"""The file in which a process leaves the error that ends it, for the starter or the torchrun that started it.

torch names it in TORCHELASTIC_ERROR_FILE: ``error.json`` in a folder for each process, named after its local rank. It
reads ``message`` and ``timestamp``, in whole seconds, for its own summary; ``exit_code`` and ``at`` are ours.
"""

import json
import os
import time
from contextlib import suppress
from pathlib import Path

from nofrost.ends import End
from nofrost.errors import PeerLostError, StoppedError


def write_error(message: str, code: int) -> None:
    """Write the error that ends this process, and its exit code; nothing where no one has asked for it.

    Wrong input is never replaced, and no error by what follows from it: that the process is stopped, or has lost the
    others. The time stays that of the first error.
    """
    path, now = Path(os.environ.get("TORCHELASTIC_ERROR_FILE", "")), time.time()
    if not path.name:
        return
    error = {"message": message, "timestamp": int(now), "exit_code": code, "at": now}
    with suppress(OSError, ValueError, KeyError, TypeError):
        before = _read(path)
        if before.is_wrong_input or code in (StoppedError.exit_code, PeerLostError.exit_code):
            return
        error["at"] = before.at
    # In one step: at a file that is not whole, as of a process that was killed meanwhile, torch fails.
    new = path.with_suffix(".new")
    with suppress(OSError):
        new.write_text(json.dumps(error), encoding="utf-8")
        new.replace(path)


def read_errors(folder: Path) -> dict[str, End]:
    """Return the end of each process that has left an error below a folder of torch's logs, by its local rank."""
    ends = {}
    for path in folder.rglob("error.json"):
        # What is not of this form is torch's own.
        with suppress(OSError, ValueError, KeyError, TypeError):
            ends[path.parent.name] = _read(path)
    return ends


def _read(path: Path) -> End:
    error = json.loads(path.read_text(encoding="utf-8"))
    return End(int(error["exit_code"]), str(error["message"]), float(error["at"]))
