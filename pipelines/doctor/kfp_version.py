"""Whether the server runs the pipeline that would be compiled for this cluster."""

from nofrost.errors import UserError
from pipelines.doctor.finding import Finding
from pipelines.graph import make_pipeline
from pipelines.graph_settings import GraphSettings
from pipelines.package import canonical
from pipelines.study_plan import PlannedSuite, RunPlan, StudyPlan
from pipelines.submit import Api, versions

CHECK = "Kubeflow Pipelines"


def check_kfp(api: Api, settings: GraphSettings) -> Finding:
    """Connect as a submission does, and compare the server's version with what the pipeline uses."""
    fields = _needs(settings)
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


def _needs(settings: GraphSettings) -> set[str]:
    """Return what every pipeline with these settings needs, which does not depend on the study."""
    nothing = StudyPlan("", "", "", (PlannedSuite("", ""),), (PlannedSuite("", ""),), (RunPlan("", "", ""),))
    _, platform = canonical(make_pipeline(nothing, settings))
    return versions.needs(platform)
