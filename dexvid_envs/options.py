"""The options that every environment takes beside its task's own, checked, with the names of what is right in every error."""

from __future__ import annotations

import dataclasses
import difflib
import importlib
from collections.abc import Mapping, Sequence
from typing import Any, cast

from dexvid_envs.control import CONTROL_MODES
from dexvid_envs.errors import OptionError
from dexvid_envs.option_values import is_count
from dexvid_envs.randomization import Randomization, make_randomization
from dexvid_envs.tasks.task import Task

REWARD_MODES = ("dense", "sparse")
OBSERVATION_MODES = ("state", "pointcloud", "keypoints", "rgbd")
POINT_MODES = ("full", "partial")
#: Options that change what is seen, and nothing of what happens.
VIEW_OPTIONS = (
    "observation_mode",
    "relative",
    "privileged",
    "points",
    "point_camera",
    "cameras",
    "image_width",
    "image_height",
)


#: What an option needs so that it means something: of other options the value that they have to have.
NEEDED: Mapping[str, Mapping[str, str]] = {
    "points": {"observation_mode": "pointcloud"},
    "point_camera": {"observation_mode": "pointcloud", "points": "partial"},
    "cameras": {"observation_mode": "rgbd"},
    "image_width": {"observation_mode": "rgbd"},
    "image_height": {"observation_mode": "rgbd"},
}


@dataclasses.dataclass(frozen=True)
class EnvironmentOptions:
    """What can be chosen for every task.

    Attributes:
        control_mode: "joint_delta", "joint_target" or "wrist_delta"; see `dexvid_envs.control`.
        reward_mode: "dense", or "sparse" (1 while the task's success holds).
        observation_mode: "state" (one vector), "pointcloud" (proprioception, goal, the object's surface points), "keypoints"
            (proprioception, goal, named points of hand and object, as they are extracted from videos) or "rgbd"
            (proprioception, goal, colour and depth pictures).
        relative: the `state` vector goes on with poses in the palm's and the object's frame; see `dexvid_envs.relative`.
        privileged: adds the true state and the drawn physics as `privileged`, for an asymmetric critic.
        points: of the point cloud: "full" (fixed points at the object's pose) or "partial" (those that `point_camera` sees;
            the others repeat seen ones, and `visible` tells them apart).
        point_camera: the camera of a partial point cloud.
        cameras: of the rgbd mode.
        image_width, image_height: of the rgbd mode, px.
        randomization: a preset ("none", "physics", "full", "disturbance"), a mapping of fields, or a `Randomization`.
        nan_folder: where the state before an instability is saved; None for a folder of the system's temporary directory.
    """

    control_mode: str = "joint_delta"
    reward_mode: str = "dense"
    observation_mode: str = "state"
    relative: bool = False
    privileged: bool = False
    points: str = "full"
    point_camera: str = "front"
    cameras: tuple[str, ...] = ("front", "side")
    image_width: int = 96
    image_height: int = 96
    randomization: Randomization | Mapping[str, Any] | str | None = None
    nan_folder: str | None = None

    def __post_init__(self) -> None:
        expect_one_of("control_mode", self.control_mode, tuple(CONTROL_MODES))
        expect_one_of("reward_mode", self.reward_mode, REWARD_MODES)
        expect_one_of("observation_mode", self.observation_mode, OBSERVATION_MODES)
        expect_one_of("points", self.points, POINT_MODES)
        for name in ("relative", "privileged"):
            if not isinstance(getattr(self, name), bool):
                raise OptionError(f"{name}={getattr(self, name)!r}: expected True or False")
        if self.relative and self.observation_mode != "state":
            raise OptionError(
                f"relative=True adds to the state vector: expected observation_mode='state', not {self.observation_mode!r}"
            )
        if not isinstance(self.point_camera, str):
            raise OptionError(f"point_camera={self.point_camera!r}: expected a camera's name, such as 'front'")
        expect_pixels(image_width=self.image_width, image_height=self.image_height)
        if not (isinstance(self.cameras, tuple) and self.cameras and all(isinstance(name, str) for name in self.cameras)):
            raise OptionError(f"cameras={self.cameras!r}: expected one or more camera names, such as ('front', 'side')")
        if len(set(self.cameras)) < len(self.cameras):
            raise OptionError(f"cameras={self.cameras!r}: expected each camera once; leave out the repeated name")
        self._expect_nothing_ignored()
        if not isinstance(self.nan_folder, str | None):
            raise OptionError(f"nan_folder={self.nan_folder!r}: expected a folder's name, or None")
        make_randomization(self.randomization)

    def _expect_nothing_ignored(self) -> None:
        """Raises OptionError where an option other than its default changes nothing, beside the others as they are."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            for name, needed in NEEDED.get(field.name, {}).items():
                if value != field.default and getattr(self, name) != needed:
                    raise OptionError(
                        f"{field.name}={value!r} changes nothing with {name}={getattr(self, name)!r}: "
                        f"expected {name}={needed!r}, or {field.name} left out or at its default {field.default!r}"
                    )


def overridden(options: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Options, of a checkpoint or a demonstration, with those given in their place.

    Another observation mode comes without what only the old one needed, of which whoever gives it need not know.
    """
    mode = options.get("observation_mode", EnvironmentOptions.observation_mode)
    changed = given.get("observation_mode", mode) != mode
    return {name: value for name, value in options.items() if not (changed and name in NEEDED)} | dict(given)


def expect_one_of(name: str, value: object, allowed: Sequence[str]) -> None:
    """Raises OptionError, listing what is allowed, unless the value is among it."""
    if not (isinstance(value, str) and value in allowed):
        raise OptionError(f"unknown {name} {value!r}: expected one of {', '.join(allowed)}")


def expect_pixels(**sizes: object) -> None:
    """Raises OptionError unless every size is a number of pixels."""
    for name, value in sizes.items():
        if not (is_count(value) and int(cast(int, value)) <= 4096):
            raise OptionError(f"{name}={value!r}: expected a whole number of pixels, 1 to 4096")


def parse_options(task: str, options: Mapping[str, Any]) -> tuple[Task, EnvironmentOptions]:
    """The task named `"module:Class"` with its fields among the options as its config, and the rest as environment options.

    Raises:
        OptionError: an option is unknown or has a wrong value.
    """
    module_name, class_name = task.split(":")
    module = importlib.import_module(module_name)
    config_type = getattr(module, f"{class_name}Config")
    own = [field.name for field in dataclasses.fields(config_type)]
    general = [field.name for field in dataclasses.fields(EnvironmentOptions)]
    frozen: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in options.items()}
    for name in frozen:
        if name not in own and name not in general:
            known = [*own, *general, "render_mode", "camera", "width", "height"]
            near = difflib.get_close_matches(name, known, n=1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            raise OptionError(f"unknown environment option {name!r}{hint}: expected one of {', '.join(known)}")
    chosen = EnvironmentOptions(**{name: value for name, value in frozen.items() if name in general})
    config = config_type(**{name: value for name, value in frozen.items() if name in own})
    made = getattr(module, class_name)(config, make_randomization(chosen.randomization))
    return cast(Task, made), chosen
