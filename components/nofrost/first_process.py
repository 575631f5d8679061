"""The first process of a container: passes signals on, and waits for every process that is left to it.

Our images start with tini, which does this, and jobs leave their entrypoint as it is. This is for a container without
an init: another image, a TrainingRuntime of somebody's own that sets `command`, or `docker run --entrypoint`.
"""

import os
import signal

# What is passed on, and the end of a process.
_AWAITED = (
    *(signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2),
    signal.SIGCHLD,
)


def run_under_init() -> None:
    """Continue in a child if this process has the number 1, as in a container without an init such as tini.

    The kernel gives process 1 no signal that it has no handler for, and every process whose parent has ended. The
    parent here only passes signals on and waits; it ends as the child does, a signal being 128 and its number.

    To be called before anything starts a thread, which would not exist in the child.
    """
    if os.getpid() != 1:
        return
    # Blocked signals wait for `sigwait`: none is lost, whenever it comes.
    signal.pthread_sigmask(signal.SIG_BLOCK, _AWAITED)
    child = os.fork()
    if child == 0:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _AWAITED)
        return
    while True:
        number = signal.sigwait(_AWAITED)
        if number != signal.SIGCHLD:
            os.kill(child, number)
            continue
        # One SIGCHLD may stand for several processes; that `child` is among them ends the loop.
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            if ended[0] == child:
                code = os.waitstatus_to_exitcode(ended[1])
                os._exit(code if code >= 0 else 128 - code)
