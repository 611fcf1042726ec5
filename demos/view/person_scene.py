"""The person in the viewer's scene: hand, objects and key points of a recording."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from demos.human_scene import FINGER_RGBA
from demos.interaction import HAND_BONES, Interaction

_HIDDEN_RGB = np.array([170, 185, 205], np.uint8)
_OBJECT_RGB = np.array([40, 110, 200], np.uint8)
#: Of further objects, one after the other.
_FURTHER_RGB = np.array([[20, 140, 90], [150, 80, 190], [190, 110, 20], [120, 120, 30]], np.uint8)
_KEYPOINT_RGB = (200, 40, 120)
_AWAY_M = -10.0  # where unknown points go, out of sight


class PersonScene:
    """Hand, object points and key points of a recording, each of the objects in a colour of its own.

    Args:
        server: viser's.
        interaction: in the world that is shown.
    """

    def __init__(self, server: Any, interaction: Interaction) -> None:
        self.interaction = interaction
        scene = server.scene
        colours = np.array([FINGER_RGBA[(child - 1) // 4 + 1][:3] for _, child in HAND_BONES])
        bones = np.repeat((255 * colours).astype(np.uint8)[:, None], 2, axis=1)
        self.hand = scene.add_line_segments("/person/hand", self._bones(0), bones, thickness=0.008)
        first = interaction.object_names[0] if interaction.object_names else "object"
        objects = {first: (interaction.object_points_world, interaction.object_visible, _OBJECT_RGB)}
        for number, (name, one) in enumerate(interaction.further_objects.items()):
            objects[name] = (one.points_world, one.visible, _FURTHER_RGB[number % len(_FURTHER_RGB)])
        self._objects = list(objects.values())
        self.clouds = [
            scene.add_point_cloud(
                f"/person/object_{number}",
                *_cloud(0, *values),
                point_size=0.006,
                point_shape="circle",
                precision="float32",
            )
            for number, values in enumerate(self._objects)
        ]
        self._names = [f"object points: {name}" for name in objects]
        self.keypoints = None
        if interaction.keypoints_world.shape[1]:
            self.keypoints = scene.add_point_cloud(
                "/person/keypoints",
                self._keypoints(0),
                _KEYPOINT_RGB,
                point_size=0.014,
                point_shape="diamond",
                precision="float32",
            )

    def parts(self) -> list[tuple[str, list[Any]]]:
        """What can be hidden, by the name of its check box."""
        known = [("hand", [self.hand]), *((name, [cloud]) for name, cloud in zip(self._names, self.clouds, strict=True))]
        return known + ([("key points", [self.keypoints])] if self.keypoints is not None else [])

    def show(self, frame: int) -> None:
        """Shows a frame."""
        self.hand.points = self._bones(frame)
        for cloud, values in zip(self.clouds, self._objects, strict=True):
            cloud.points, cloud.colors = _cloud(frame, *values)
        if self.keypoints is not None:
            self.keypoints.points = self._keypoints(frame)

    def _bones(self, frame: int) -> NDArray[np.float32]:
        hand = np.nan_to_num(self.interaction.hand_keypoints_world[frame], nan=_AWAY_M)
        return hand[np.array(HAND_BONES)].astype(np.float32)

    def _keypoints(self, frame: int) -> NDArray[np.float32]:
        return np.nan_to_num(self.interaction.keypoints_world[frame], nan=_AWAY_M).astype(np.float32)


def _cloud(
    frame: int, points_world: NDArray[np.float64], visible: NDArray[np.bool_], rgb: NDArray[np.uint8]
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """(P, 3) m points and (P, 3) colours of a frame; those that the camera does not see are pale."""
    points = np.nan_to_num(points_world[frame], nan=_AWAY_M).astype(np.float32)
    return points, np.where(visible[frame][:, None], rgb, _HIDDEN_RGB)
