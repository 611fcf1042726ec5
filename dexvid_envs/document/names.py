"""Names of the files of the documentation."""

from __future__ import annotations

MARK = "<!-- made by `python -m dexvid_envs.document --out docs/environments`; change the code, not this page -->"
SHARED_PAGE = "shared.md"
OBJECTS_PICTURE = "objects.png"


def short_name(environment_id: str) -> str:
    """ "DexVid-GraspLift-v0" to "GraspLift-v0"."""
    return environment_id.removeprefix("DexVid-")


def page_name(environment_id: str) -> str:
    """File of an environment's page."""
    return f"{short_name(environment_id)}.md"


def picture_name(environment_id: str) -> str:
    """File of an environment's picture."""
    return f"{short_name(environment_id)}.png"
