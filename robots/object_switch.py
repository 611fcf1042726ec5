"""One free body that is another everyday object in every episode and every simulation, without compiling anew.

The body has as many geoms as its richest object needs; those that an object leaves over touch nothing and are not seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from robots.collision import CONTACT_DIMENSIONS, OBJECT_CONTACT, ROLLING_CONTACT_DIMENSIONS, ContactClass, make_visual
from robots.everyday_parts import EverydayObject
from robots.objects import OBJECT_FRICTION

#: The midphase's trees keep the form of the object that the model was compiled with, and the order of contacts follows it.
#: Without the midphase, which saves no time here, a switched object moves bit for bit like one that was compiled.
SWITCHING_DISABLEFLAGS = int(mujoco.mjtDisableBit.mjDSBL_MIDPHASE)

#: The model fields that say which object it is. After writing them, `mj_setConst` (`Batch.set_const`) has to derive the others
#: that differ, such as `body_invweight0` and the bounding volumes.
OBJECT_FIELDS: tuple[str, ...] = (
    "geom_type",
    "geom_dataid",
    "geom_size",
    "geom_pos",
    "geom_quat",
    "geom_rbound",
    "geom_aabb",
    "geom_condim",
    "geom_contype",
    "geom_conaffinity",
    "geom_matid",
    "geom_rgba",
    "body_mass",
    "body_inertia",
    "body_ipos",
    "body_iquat",
)

#: To be written once more after `Batch.set_const`, which puts the compiled model's bounding radius into meshes.
FIELDS_AFTER_SET_CONST: tuple[str, ...] = ("geom_rbound",)

_GEOM_TYPES = {
    "box": mujoco.mjtGeom.mjGEOM_BOX,
    "cylinder": mujoco.mjtGeom.mjGEOM_CYLINDER,
    "sphere": mujoco.mjtGeom.mjGEOM_SPHERE,
    "capsule": mujoco.mjtGeom.mjGEOM_CAPSULE,
    "mesh": mujoco.mjtGeom.mjGEOM_MESH,
}
#: The same for all objects, because constants of the model are computed at the default pose.
_DEFAULT_HEIGHT_M = 0.15
_SPARE_SIZE = (1e-4, 0.0, 0.0)
_INVISIBLE = (0.0, 0.0, 0.0, 0.0)
#: Bits that nothing answers to. They must not be zero: `mj_setConst` accepts as touching only geoms that were compiled so.
_SPARE_CONTACT = ContactClass(1 << 30, 0)


def add_switchable_object(
    spec: mujoco.MjSpec,
    name: str,
    objects: Sequence[EverydayObject],
    contact: ContactClass = OBJECT_CONTACT,
    initial: int = 0,
) -> mujoco.MjsBody:
    """Adds a free body `name` with joint `<name>_joint` that can be any of `objects`, and disables the engine's midphase.

    Its collision geoms are `<name>_part_<i>`; its visual ones, `<name>_visual_<i>`, hang on a child body `<name>_looks`. A
    body with a child is never "simple" to the engine, so that the mass matrix has the same form for every object.

    Args:
        spec: the scene; if it is attached to another one afterwards, set `SWITCHING_DISABLEFLAGS` there.
        name: of the body.
        objects: all that it may be; their order is that of `ObjectTable`.
        contact: collision bits of all parts.
        initial: index of the object that the model has when compiled.

    Raises:
        ValueError: `objects` is empty.
    """
    if not objects:
        raise ValueError(f"the switchable object {name!r} needs at least one object to be")
    spec.option.disableflags |= SWITCHING_DISABLEFLAGS
    for index, each in enumerate(objects):
        _add_assets(spec, name, index, each)
    return _add_body(spec, name, initial, objects, contact)


class ObjectTable:
    """What every model field holds for each object of a switchable body, found by compiling each object once alone.

    To switch simulations: write `OBJECT_FIELDS`, call `mj_setConst` or `Batch.set_const`, write `FIELDS_AFTER_SET_CONST` again.

    Attributes:
        objects: as given to `add_switchable_object`.
        body_id: of the switchable body.
        rows: by field of `OBJECT_FIELDS`: (R,) the rows of the scene's field that belong to the object.
        values: by field: (K, R, ...) what stands there for each of the K objects.
    """

    def __init__(self, model: mujoco.MjModel, name: str, objects: Sequence[EverydayObject]) -> None:
        """Args: `model` is the compiled scene; `name` and `objects` are those given to `add_switchable_object`.

        Raises:
            ValueError: the scene was made for other objects.
        """
        self.objects = tuple(objects)
        self.body_id = model.body(name).id
        slots = tuple(int(model.body_geomnum[model.body(body).id]) for body in (name, f"{name}_looks"))
        if slots != _slots(objects):
            raise ValueError(f"the scene's {name!r} was made for other objects than the {len(objects)} given")
        first = model.geom(f"{name}_part_0")
        contact = ContactClass(int(first.contype[0]), int(first.conaffinity[0]))
        alone = [_compiled_alone(name, index, self.objects, contact) for index in range(len(self.objects))]
        geom_ids = [model.geom(alone[0].geom(index).name).id for index in range(alone[0].ngeom)]
        self.rows: dict[str, NDArray[np.int64]] = {}
        self.values: dict[str, NDArray[Any]] = {}
        for field in OBJECT_FIELDS:
            of_geoms = field.startswith("geom")
            rows = slice(None) if of_geoms else [alone[0].body(name).id]
            self.rows[field] = np.array(geom_ids if of_geoms else [self.body_id])
            self.values[field] = np.stack([getattr(each, field)[rows] for each in alone])
        for values, each in zip(self.values["geom_dataid"], alone, strict=True):
            values[:] = [-1 if mesh < 0 else model.mesh(each.mesh(mesh).name).id for mesh in values]
        for values, each in zip(self.values["geom_matid"], alone, strict=True):
            values[:] = [-1 if material < 0 else model.mat(each.mat(material).name).id for material in values]

    def write(self, fields: Mapping[str, NDArray[Any]], index: int, mass_factor: float = 1.0) -> None:
        """Writes object `index` into full-size fields of one simulation, in place.

        Args:
            fields: at least every one of `OBJECT_FIELDS`, each as large as the model's.
            index: which of `objects`.
            mass_factor: makes the object heavier or lighter than its own mass, with the same centre of mass.
        """
        for field in OBJECT_FIELDS:
            factor = mass_factor if field in ("body_mass", "body_inertia") else 1
            fields[field][self.rows[field]] = self.values[field][index] * factor

    def fields(self, model: mujoco.MjModel, index: int, mass_factor: float = 1.0) -> dict[str, NDArray[Any]]:
        """Full-size copies of the model's fields with object `index` in them; all other rows are as they are in `model`."""
        fields = {field: getattr(model, field).copy() for field in OBJECT_FIELDS}
        self.write(fields, index, mass_factor)
        return fields


def _slots(objects: Sequence[EverydayObject]) -> tuple[int, int]:
    """How many collision and visual geoms a body needs that can be any of `objects`."""
    return max(len(each.parts) for each in objects), max(len(each.visuals) for each in objects)


def _add_assets(spec: mujoco.MjSpec, name: str, index: int, each: EverydayObject) -> None:
    """Adds meshes and materials of one object."""
    for slot, part in enumerate(each.parts):
        if part.kind == "mesh":
            # Without faces the compiler always makes the convex hull, also while no geom uses the mesh.
            spec.add_mesh(name=_part_mesh(name, index, slot), uservert=part.vertices_m.ravel())
    for slot, visual in enumerate(each.visuals):
        spec.add_mesh(
            name=_visual_mesh(name, index, slot),
            uservert=np.asarray(visual.mesh.vertices).ravel(),
            userface=np.asarray(visual.mesh.faces).ravel().astype(np.int32),
            inertia=mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL,
            smoothnormal=True,
        )
        visual.finish.material(spec)


def _add_body(
    spec: mujoco.MjSpec, name: str, index: int, objects: Sequence[EverydayObject], contact: ContactClass
) -> mujoco.MjsBody:
    """Adds the body in the shape of `objects[index]`, with slots for all of them."""
    chosen = objects[index]
    body = spec.worldbody.add_body(name=name, pos=(0, 0, _DEFAULT_HEIGHT_M))
    body.add_freejoint(name=f"{name}_joint")
    looks = body.add_body(name=f"{name}_looks")
    masses = chosen.part_masses_kg()
    num_parts, num_visuals = _slots(objects)
    for slot in range(num_parts):
        geom = body.add_geom(name=f"{name}_part_{slot}", friction=OBJECT_FRICTION, condim=CONTACT_DIMENSIONS)
        contact.apply(geom)
        if slot < len(chosen.parts):
            part = chosen.parts[slot]
            geom.type, geom.size = _GEOM_TYPES[part.kind], part.size_m
            geom.pos, geom.quat, geom.mass = part.position_m, part.quat_wxyz, masses[slot]
            if part.kind == "sphere":  # without rolling friction a ball never comes to rest
                geom.condim = ROLLING_CONTACT_DIMENSIONS
            if part.kind == "mesh":
                geom.meshname = _part_mesh(name, index, slot)
        else:
            _make_spare(geom)
            _SPARE_CONTACT.apply(geom)
    for slot in range(num_visuals):
        geom = looks.add_geom(name=f"{name}_visual_{slot}")
        make_visual(geom)
        if slot < len(chosen.visuals):
            finish = chosen.visuals[slot].finish
            geom.type, geom.meshname = mujoco.mjtGeom.mjGEOM_MESH, _visual_mesh(name, index, slot)
            geom.material, geom.rgba = finish.material(spec), finish.rgba
        else:
            _make_spare(geom)
    return body


def _make_spare(geom: mujoco.MjsGeom) -> None:
    """A geom that no present part needs: it touches nothing, weighs nothing and is not seen."""
    geom.type, geom.size, geom.rgba = mujoco.mjtGeom.mjGEOM_SPHERE, _SPARE_SIZE, _INVISIBLE
    geom.mass = 0.0


def _compiled_alone(name: str, index: int, objects: Sequence[EverydayObject], contact: ContactClass) -> mujoco.MjModel:
    """The body in the shape of one object, with the same slots as in the scene and nothing else."""
    spec = mujoco.MjSpec()
    _add_assets(spec, name, index, objects[index])
    _add_body(spec, name, index, objects, contact)
    return spec.compile()


def _part_mesh(name: str, index: int, slot: int) -> str:
    return f"{name}_{index}_part_{slot}"


def _visual_mesh(name: str, index: int, slot: int) -> str:
    return f"{name}_{index}_visual_{slot}"
