"""What keeps the pods of a job from starting: said at once, and the end of the launch when it lasts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nofrost.cluster.api.client import KubernetesApi
from nofrost.cluster.job.kinds import JobKind
from nofrost.cluster.launcher.job_ends import JobEndedError
from nofrost.cluster.launcher.reasons import warnings
from nofrost.cluster.launcher.state import start_problem, time_of
from nofrost.cluster.launcher.time_limits import Limits, Since
from nofrost.errors import remark

Object = Mapping[str, Any]


class StartChecks:
    """The checks of a job whose pods do not all run.

    Args:
        nodes: number of its pods.
    """

    def __init__(self, api: KubernetesApi, kind: JobKind, job: Object, nodes: int, limits: Limits) -> None:
        self._api, self._nodes, self._limits = api, nodes, limits
        self._kind, self._name = kind, job["metadata"]["name"]
        # Older warnings are about an earlier job of this name, or about what has passed.
        self._warned_since = time_of(job["metadata"].get("creationTimestamp"))
        self._said: set[str] = set()
        self._image, self._warning, self._untouched = Since(), Since(), Since()

    def clear(self) -> None:
        """Forget how long anything has lasted: the pods run, or nothing is known of them."""
        for each in (self._image, self._warning, self._untouched):
            each.clear()

    def forget_warnings(self) -> None:
        """Leave out the warnings up to now: the job is in the queue again."""
        self._warned_since = self._api.now()

    def check(self, job: Object, pods: Sequence[Object], *, has_run: bool) -> None:
        """Compare what keeps the pods from starting with the limits for that.

        Args:
            has_run: whether all nodes have run. A node that starts again may wait as long as for a place, and the
                job has met no warning that matters.

        Raises:
            JobEndedError: it has lasted for too long.
        """
        what = f"{self._kind.kind} {self._name}"
        problem = "" if has_run else start_problem(pods)
        if problem and not self._image.is_so:
            remark(f"{self._name}: {problem}: the launch ends if that lasts {self._limits.start_s:.0f} s")
        self._end_if_it_lasts(self._image, problem, f"correct image or credentials of {what}")
        found = warnings(self._api, job, self._warned_since)
        for text in found:
            if text not in self._said:
                remark(f"{self._name}: {text}")
                self._said.add(text)
        # Once all pods are there, they tell.
        newest = found[-1] if found and len(pods) < self._nodes and not has_run else ""
        self._end_if_it_lasts(self._warning, newest, f"correct what keeps {what} from its pods")
        if pods or found or job.get("status"):
            self._untouched.clear()
            return
        self._untouched.begin()
        if self._untouched.for_s > self._limits.operator_s:
            raise JobEndedError(
                f"no operator has touched {what} for {self._limits.operator_s:.0f} s: look whether the controller of "
                f"{self._kind.plural}.{self._kind.group} runs, and submit again"
            )

    def _end_if_it_lasts(self, since: Since, problem: str, remedy: str) -> None:
        if not problem:
            since.clear()
            return
        since.begin()
        if since.for_s >= self._limits.start_s:
            raise JobEndedError(f"{problem}, for {self._limits.start_s:.0f} s: {remedy}, and submit again")
