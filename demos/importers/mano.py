"""MANO hands as 21 key points: joint orders, key points of meshes, and key points of pose parameters with the user's own MANO.

MANO's numbers are licensed and do not come with this project. Whoever runs a system built on MANO has `MANO_RIGHT.pkl`, and
writes the plain arrays needed here once, in the environment of that system:

    m = pickle.load(open("MANO_RIGHT.pkl", "rb"), encoding="latin1")
    numpy.savez("mano_right.npz", J_regressor=m["J_regressor"].toarray(), v_template=numpy.array(m["v_template"]),
                shapedirs=numpy.array(m["shapedirs"]), posedirs=numpy.array(m["posedirs"]), weights=numpy.array(m["weights"]),
                hands_mean=numpy.array(m["hands_mean"]))
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from demos.importers.arrays import numbers, read_arrays
from demos.interaction import FloatArray

VERTICES = 778
JOINTS = 16
#: Parent of each of MANO's 16 joints: wrist, then index, middle, little, ring, thumb with three each.
PARENTS = (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14)
#: Vertices at the tips of thumb, index, middle, ring and little finger.
TIP_VERTICES = (744, 320, 443, 554, 671)
#: Where each of the project's 21 key points stands in MANO's 16 joints followed by the five tips above.
FROM_MANO = (0, 13, 14, 15, 16, 1, 2, 3, 17, 4, 5, 6, 18, 10, 11, 12, 19, 7, 8, 9, 20)


@dataclasses.dataclass(frozen=True)
class Mano:
    """The user's MANO hand.

    Attributes:
        joint_regressor: (16, 778).
        template: (778, 3) m.
        shape_directions: (778, 3, 10) m.
        pose_directions: (778, 3, 135) m.
        weights: (778, 16) of the skinning.
        mean_pose: (45,) rad, added to the fingers' pose.
    """

    joint_regressor: FloatArray
    template: FloatArray
    shape_directions: FloatArray
    pose_directions: FloatArray
    weights: FloatArray
    mean_pose: FloatArray

    @classmethod
    def load(cls, path: Path) -> Mano:
        """Reads the `.npz` described in the module.

        Raises:
            InputFileError: it is missing or damaged, or lacks an array.
        """
        shapes = {
            "J_regressor": (JOINTS, VERTICES),
            "v_template": (VERTICES, 3),
            "shapedirs": (VERTICES, 3, None),
            "posedirs": (VERTICES, 3, 9 * (JOINTS - 1)),
            "weights": (VERTICES, JOINTS),
            "hands_mean": (3 * (JOINTS - 1),),
        }
        content = read_arrays(path, list(shapes))
        return cls(*(numbers(content[name], shape, name, path) for name, shape in shapes.items()))

    @property
    def rest_wrist(self) -> FloatArray:
        """(3,) m, where the wrist of the mean hand lies in MANO's frame; poses turn the hand about it, so it stays there."""
        return self.joint_regressor[0] @ self.template

    def keypoints_of_mesh(self, vertices: FloatArray) -> FloatArray:
        """The 21 key points (..., 21, 3) of meshes (..., 778, 3), in the meshes' frame and unit."""
        joints = self.joint_regressor @ vertices
        return np.concatenate([joints, vertices[..., TIP_VERTICES, :]], axis=-2)[..., FROM_MANO, :]

    def keypoints_of_pose(self, pose: FloatArray, shape: FloatArray, flat_mean: bool = False) -> FloatArray:
        """The 21 key points (T, 21, 3) m of pose parameters, before any translation.

        Args:
            pose: (T, 48) rad: axis-angle of the wrist and of 15 finger joints.
            shape: (S,) or (T, S) shape parameters.
            flat_mean: the fingers' pose counts from the flat hand instead of MANO's mean pose.
        """
        frames = len(pose)
        full = pose + np.concatenate([np.zeros(3), np.zeros(45) if flat_mean else self.mean_pose])
        local = Rotation.from_rotvec(full.reshape(-1, 3)).as_matrix().reshape(frames, JOINTS, 3, 3)
        betas = np.broadcast_to(shape, (frames, np.shape(shape)[-1]))
        rest = self.template + np.einsum("vcs,ts->tvc", self.shape_directions[..., : betas.shape[1]], betas)  # (T, 778, 3)
        joints = self.joint_regressor @ rest
        turn, place = chain(local, joints)
        tips = list(TIP_VERTICES)
        feature = (local[:, 1:] - np.eye(3)).reshape(frames, -1)
        shaped = rest[:, tips] + np.einsum("vcp,tp->tvc", self.pose_directions[tips], feature)  # (T, 5, 3)
        carried = np.einsum("tjab,tvjb->tvja", turn, shaped[:, :, None] - joints[:, None]) + place[:, None]
        skinned = np.einsum("vj,tvja->tva", self.weights[tips], carried)
        return np.concatenate([place, skinned], axis=1)[:, FROM_MANO]


def chain(local: FloatArray, joints: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Forward kinematics of MANO's tree.

    Args:
        local: (T, 16, 3, 3) turn of each joint against its parent.
        joints: (T, 16, 3) m, the joints at rest.

    Returns:
        Turns (T, 16, 3, 3) and places (T, 16, 3) m of the joints; the wrist stays where it was.
    """
    turn, place = local.copy(), joints.copy()
    for joint, parent in enumerate(PARENTS):
        if parent >= 0:
            turn[:, joint] = turn[:, parent] @ local[:, joint]
            offset = joints[:, joint] - joints[:, parent]
            place[:, joint] = place[:, parent] + np.einsum("tab,tb->ta", turn[:, parent], offset)
    return turn, place
