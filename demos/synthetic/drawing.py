"""Small helpers that put visible things into a MuJoCo spec: geoms that are only seen, pictures as materials, drawn pieces."""

from __future__ import annotations

import mujoco
import numpy as np
from numpy.typing import NDArray

from demos.synthetic.shapes import Part

FloatArray = NDArray[np.float64]
Pixels = NDArray[np.uint8]


def add_visual(
    body: mujoco.MjsBody, name: str, *, geom_type: mujoco.mjtGeom = mujoco.mjtGeom.mjGEOM_MESH, **options: object
) -> None:
    """A geom that is only seen."""
    body.add_geom(name=name, type=geom_type, mass=0.0, contype=0, conaffinity=0, group=1, **options)


def add_image(
    spec: mujoco.MjSpec, name: str, pixels: Pixels, *, repeat: tuple[float, float] = (1.0, 1.0), gloss: float = 0.1
) -> None:
    """A texture and a material of the same name from (H, W, 3) pixels."""
    height, width = pixels.shape[:2]
    texture = spec.add_texture(name=name, type=mujoco.mjtTexture.mjTEXTURE_2D, width=width, height=height, nchannel=3)
    texture.data = np.ascontiguousarray(pixels).tobytes()
    material = spec.add_material(name=name, specular=gloss, shininess=gloss, texrepeat=repeat)
    material.textures[int(mujoco.mjtTextureRole.mjTEXROLE_RGB)] = name


def add_part(spec: mujoco.MjSpec, body: mujoco.MjsBody, name: str, part: Part, **options: object) -> None:
    """A drawn piece as a mesh `name`."""
    spec.add_mesh(
        name=name,
        uservert=part.vertices.reshape(-1).tolist(),
        userface=part.faces.reshape(-1).tolist(),
        usertexcoord=part.texcoords.reshape(-1).tolist(),
        inertia=mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL,
    )
    add_visual(body, name, meshname=name, **options)


def to_pixels(colour: FloatArray) -> Pixels:
    """(..., 3) uint8 from RGB in [0, 1]."""
    return (255.0 * np.clip(colour, 0.0, 1.0)).astype(np.uint8)
