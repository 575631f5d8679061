"""Whether the server runs the pipeline that would be compiled for this cluster."""

import tempfile
from pathlib import Path

from nofrost.errors import UserError
from pipelines.doctor.finding import Finding
from pipelines.package import write_package
from pipelines.submit import Api, versions
from pipelines.submit.compiled import read_compiled

CHECK = "Kubeflow Pipelines"


def check_kfp(api: Api, cluster: Path | None) -> Finding:
    """Connect as a submission does, and compare the server's version with what the pipeline uses.

    Raises:
        UserError: the file of the cluster is wrong.
    """
    fields = _needs(cluster)
    try:
        version, namespace = api.health.version, api.namespace
    except UserError as error:
        return Finding(CHECK, "missing", str(error))
    if why := versions.problem(version, fields):
        return Finding(CHECK, "missing", f"{api.address}: {why}")
    if why := versions.doubt(version):
        return Finding(CHECK, "unknown", f"{api.address}: {why}")
    where = f"namespace {namespace}" if namespace else "for one user"
    return Finding(CHECK, "ok", f"KFP {version} at {api.address}, {where}")


def _needs(cluster: Path | None) -> set[str]:
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "nofrost.yaml"
        write_package(package, cluster)
        return read_compiled(package).needs
