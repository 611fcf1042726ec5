"""Many jobs at once, on this machine's cores or a Ray cluster: each costs itself alone, and is done once."""

from demos.scale.job import Job
from demos.scale.options import ScaleOptions
from demos.scale.run import Failure, RunSummary, run_jobs

__all__ = ["Failure", "Job", "RunSummary", "ScaleOptions", "run_jobs"]
