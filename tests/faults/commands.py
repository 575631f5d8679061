"""Runs commands of `nofrost`, each in a process of its own that need not load torch again.

Run as a script: it reads a try as JSON from each line of standard input, and writes its outcome as JSON.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import sys
import time
import traceback


def main() -> None:
    """Load what commands need, then run each try in a fork."""
    import matplotlib.backends.backend_svg  # noqa: F401
    import scipy.stats  # noqa: F401
    import sklearn.datasets  # noqa: F401
    import torch

    import nofrost.cli
    import nofrost.report.sections
    from nofrost import augment, evaluate, prepare, store, tasks, train  # noqa: F401

    torch.set_num_threads(1)
    # Forks need not copy what the collector would touch.
    gc.collect()
    gc.freeze()
    for line in sys.stdin:
        started = time.monotonic()
        outcome = run(nofrost.cli.main, **json.loads(line))
        outcome["seconds"] = time.monotonic() - started
        print(json.dumps(outcome), flush=True)


def run(command, arguments, folder, largest_file=None):  # type: ignore[no-untyped-def]
    """Return exit code, standard output and error of `nofrost ARGUMENTS` in `folder`."""
    # Pipes: a limit on the size of files would also hold for files that take the output.
    pipes = [os.pipe() for _ in range(2)]
    child = os.fork()
    if child == 0:
        code = 70
        try:
            for number, (_, writing) in enumerate(pipes, start=1):
                os.dup2(writing, number)
            sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w", buffering=1)
            os.chdir(folder)
            if largest_file is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
            sys.argv = ["nofrost", *arguments]
            command()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        except BaseException:
            traceback.print_exc()
            code = 1
        finally:
            os._exit(code)
    texts = []
    for reading, writing in pipes:
        os.close(writing)
        with os.fdopen(reading, "rb") as file:
            texts.append(file.read().decode(errors="replace"))
    _, status = os.waitpid(child, 0)
    return {"code": os.waitstatus_to_exitcode(status), "out": texts[0], "err": texts[1]}


if __name__ == "__main__":
    main()
