"""Makes one clip: who does what with which thing, checked to be physically sound, then filmed with its truth."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from demos.synthetic.drawing import FloatArray
from demos.synthetic.film import Shutter, film, film_writer
from demos.synthetic.flight import BUCKET_NAME
from demos.synthetic.gesture import PHASES, mirror, pose
from demos.synthetic.holds import TOUCHING_M, HeldThing, Touch, solve_hold
from demos.synthetic.measure import DepthLookup, NamedObject, named_objects, task_keypoints
from demos.synthetic.people import Person, make_person
from demos.synthetic.rooms import CABINET_NAME, TARGET_NAME, Surroundings, furnished_spec
from demos.synthetic.scene import Scene
from demos.synthetic.scripts import KINDS, perform
from demos.synthetic.things import Thing, make_drawer, make_thing
from demos.synthetic.truth import ClipTruth, DepthStore
from demos.synthetic.viewpoint import Viewpoint, choose_viewpoint
from demos.synthetic.wild_scripts import WILD_KINDS
from dexvid_envs.errors import DexVidError
from robots.human_hand import HumanHand
from robots.threads import single_threaded_blas

_SAMPLES = 16  # fine samples of the motion a picture
_HOLDS, _MOTIONS = 4, 8  # attempts
_DEEPEST_M = 0.0015  # flesh in the thing at any time
_CHECK_EVERY = 4  # samples
_POINTS = 128


@dataclasses.dataclass(frozen=True)
class ClipConfig:
    """Everything a clip is made from.

    Attributes:
        corpus: pool of people, things and cameras.
        number: of the clip in the corpus.
        seed: of motion, room and noise.
        kind: what happens, one of `scripts.KINDS` or `wild_scripts.WILD_KINDS`.
        side: the hand that does it.
        person: number of the person in the pool.
        thing: number of the thing in the pool.
        camera: number of the camera in the pool.
        width: px.
        height: px.
        fps: pictures a second.
        exposure_share: share of the time in which the shutter is open.
        noise_std: of each pixel, in 8-bit steps.
        gain: brightness.
        crf: of the H.264 stream, 0 (lossless) to 51.
        depth_unit_mm: resolution of the stored depth.
    """

    corpus: str
    number: int
    seed: int
    kind: str
    side: Literal["right", "left"]
    person: int
    thing: int
    camera: int
    width: int = 640
    height: int = 480
    fps: float = 25.0
    exposure_share: float = 0.4
    noise_std: float = 2.0
    gain: float = 1.0
    crf: int = 23
    depth_unit_mm: float = 0.2

    def __post_init__(self) -> None:
        known = (*KINDS, *WILD_KINDS)
        if self.kind not in known:
            raise DexVidError(f"unknown kind of clip {self.kind!r}; expected one of {', '.join(known)}")

    @property
    def clip_id(self) -> str:
        """Name of the clip's folder."""
        return f"{self.corpus}-{self.number:05d}-{self.kind}"


class NoSoundMotionError(DexVidError):
    """No hold or motion was found in which nothing goes through anything."""


class Act(NamedTuple):
    """A sound performance: by the right or left hand, in the final world frame.

    Attributes:
        person: who.
        thing: what is handled.
        held: how.
        scene: what happens, mirrored for a left hand.
        hand: the hand that does it.
        frames: (T,) sample in the middle of each picture's exposure.
        keypoints_world: (T, 21, 3) m.
        tip_distance_m: (T, 5).
        min_distance_m: (T,).
    """

    person: Person
    thing: Thing
    held: HeldThing
    scene: Scene
    hand: HumanHand
    frames: NDArray[np.int64]
    keypoints_world: FloatArray
    tip_distance_m: FloatArray
    min_distance_m: FloatArray


def make_act(config: ClipConfig) -> Act:
    """Solves the hold and draws motions until one is sound; the same config gives the same act.

    Raises:
        NoSoundMotionError: see there.
    """
    person = make_person(config.corpus, config.person)
    if config.kind == "drawer":
        thing = make_drawer(config.corpus, config.thing)
    else:
        thing = make_thing(config.corpus, config.thing, tossed=config.kind == "throw")
    right = HumanHand(person.hand("right"))
    with single_threaded_blas():
        for grip in range(_HOLDS):  # solving the hold takes most of the time
            rng = np.random.default_rng([config.seed, grip])
            hold = thing.holds[int(rng.integers(len(thing.holds)))]
            if config.kind == "throw":  # from the side: an arm that throws palm down would have to go through the table
                hold = min(thing.holds, key=lambda known: known.roll_rad)
            slope = rng.uniform(0.25, 0.40) if config.kind == "drawer" else rng.uniform(0.05, 0.20)
            held = solve_hold(right, thing, hold, float(slope))
            for _ in range(_MOTIONS if held.firm else 0):
                scene = perform(config.kind, thing, held, config.fps * _SAMPLES, rng)
                if _is_sound(right, thing, scene):
                    return _watched(config, person, thing, held, scene)
    raise NoSoundMotionError(
        f"clip {config.clip_id}: no sound motion in {_HOLDS} x {_MOTIONS} attempts; take another seed than {config.seed}"
    )


def _is_sound(hand: HumanHand, thing: Thing, scene: Scene) -> bool:
    """Nothing goes through anything, and what is thrown ends in the bucket."""
    acted, touch = scene.performance, Touch(hand, thing)
    of_hand = np.array([finger != "forearm" for finger in hand.sphere_fingers])
    for n in range(0, len(acted.held), _CHECK_EVERY):
        hand.pose(acted.T_world_hand[n], acted.joints_rad[n], acted.wrist_rad[n])
        if touch.flesh(acted.bodies[thing.name][n]).min() < -_DEEPEST_M:
            return False
        lowest = hand.sphere_centres_world()[:, 2] - hand.sphere_radii_m
        if lowest[of_hand].min() < 0.0 or lowest.min() < -0.01:
            return False
        if scene.bucket is not None and scene.bucket.distance(hand.sphere_centres_world(), hand.sphere_radii_m).min() < 0.01:
            return False
    if scene.bucket is None:
        return True
    end = acted.bodies[thing.name][-1, :3, 3] - np.array(scene.bucket.position_m)
    return bool(np.hypot(end[0], end[1]) < scene.bucket.radius_m and end[2] < scene.bucket.height_m)


def _watched(config: ClipConfig, person: Person, thing: Thing, held: HeldThing, scene: Scene) -> Act:
    """The act in the final world frame, with what is known of each picture's moment."""
    if config.side == "left":
        scene = _mirrored(scene)
    hand, acted = HumanHand(person.hand(config.side)), scene.performance
    touch = Touch(hand, thing)
    frames = np.arange(len(acted.held) // _SAMPLES) * _SAMPLES + _SAMPLES // 2
    keypoints, tips, nearest = [], [], []
    for n in frames:
        hand.pose(acted.T_world_hand[n], acted.joints_rad[n], acted.wrist_rad[n])
        keypoints.append(hand.keypoints_world().copy())
        tips.append(touch.tips(acted.bodies[thing.name][n]))
        nearest.append(touch.flesh(acted.bodies[thing.name][n]).min())
    return Act(person, thing, held, scene, hand, frames, np.array(keypoints), np.array(tips), np.array(nearest))


def _mirrored(scene: Scene) -> Scene:
    """The scene by a left hand."""
    flip = np.array([1.0, -1.0])
    bucket = scene.bucket
    if bucket is not None:
        x, y, z = bucket.position_m
        bucket = dataclasses.replace(bucket, position_m=(x, -y, z))
    return dataclasses.replace(
        scene,
        performance=scene.performance.mirrored,
        target_xy_m=None if scene.target_xy_m is None else scene.target_xy_m * flip,
        cabinet=None if scene.cabinet is None else mirror(scene.cabinet),
        bucket=bucket,
    )


def make_clip(config: ClipConfig, folder: Path, report: Callable[[float, str], None] | None = None) -> ClipTruth:
    """Makes a clip: `video.mp4` and `truth.npz` in an existing folder.

    Raises:
        NoSoundMotionError: see there.
        RenderingUnavailableError: no off-screen OpenGL library works here.
    """
    act = make_act(config)
    scene, thing = _with_still_bodies(act.scene), act.thing
    acted = scene.performance
    rng = np.random.default_rng([config.seed, 1000])
    objects = named_objects(thing, scene, _POINTS, rng)
    view = _view(config, act, objects)
    corners = [o.poses[0, :2, 3] + o.points[::4] @ o.poses[0, :2, :3].T for o in objects]
    ways = [o.poses[act.frames, :2, 3] for o in objects]
    swept = np.concatenate([act.keypoints_world[:, ::4, :2].reshape(-1, 2), *corners, *ways])
    around = Surroundings(swept, view.T_world_camera[:3, 3], act.keypoints_world[:, 9].mean(axis=0))
    dimensions = act.person.hand(config.side)
    spec = furnished_spec(act.person, dimensions, thing, scene, around, rng)
    shutter = Shutter(config.fps, _SAMPLES, config.exposure_share, config.noise_std, config.gain, config.crf)
    label_names = ("background", "hand", "arm", *(o.name for o in objects))
    labels = {geom: label_names.index(o.name) for o in objects for geom in o.label_keys}
    lookup, depths, pictures = DepthLookup(view, act, objects), DepthStore(1e-3 * config.depth_unit_mm), []
    with film_writer(folder / "video.mp4", shutter) as add:
        for frame, shot in enumerate(film(spec, dimensions, acted, view, shutter, labels, config.seed)):
            add(shot.rgb)
            depths.append(shot.depth_m)
            pictures.append(shot.labels)
            lookup.look(frame, shot)
            if report is not None:
                report((frame + 1) / len(act.frames), f"{config.clip_id}, picture {frame + 1} of {len(act.frames)}")
    background, steps = depths.finish()
    touching = act.tip_distance_m < TOUCHING_M
    names, keypoints = task_keypoints(act, objects)
    truth = ClipTruth(
        clip_id=config.clip_id,
        corpus=config.corpus,
        kind=config.kind,
        person_id=act.person.person_id,
        object_id=thing.thing_id,
        camera_id=view.camera_id,
        seed=config.seed,
        fps=config.fps,
        exposure_s=config.exposure_share / config.fps,
        K=view.K,
        T_world_camera=view.T_world_camera,
        hand_side=config.side,
        hand_keypoints_world=act.keypoints_world,
        hand_keypoints_camera=view.to_camera(act.keypoints_world),
        hand_keypoints_image=view.to_image(act.keypoints_world),
        hand_visible=lookup.hand_visible,
        T_world_hand=acted.T_world_hand[act.frames],
        joints_rad=acted.joints_rad[act.frames],
        bone_lengths_m=dimensions.bone_lengths_m,
        object_names=tuple(o.name for o in objects),
        object_pose_world=np.array([o.poses[act.frames] for o in objects]),
        object_points_object=np.array([o.points for o in objects]),
        object_points_world=lookup.object_points_world.astype(np.float32),
        object_visible=lookup.object_visible,
        keypoint_names=names,
        keypoints_world=keypoints,
        keypoints_image=view.to_image(keypoints),
        keypoint_visible=lookup.keypoint_visible,
        contact=touching.any(axis=1),
        contact_fingers=touching,
        tip_distance_m=act.tip_distance_m,
        min_distance_m=act.min_distance_m,
        held=acted.held[act.frames],
        phase=acted.phase[act.frames],
        phase_names=PHASES,
        label_names=label_names,
        labels=np.array(pictures),
        depth_background=background,
        depth_steps=steps,
        depth_unit_m=1e-3 * config.depth_unit_mm,
    )
    truth.save(folder / "truth.npz")
    return truth


def _with_still_bodies(scene: Scene) -> Scene:
    """The scene with bodies for what stands still: bucket and cabinet."""
    acted = scene.performance
    bodies = dict(acted.bodies)
    samples = (len(acted.held), 4, 4)
    if scene.cabinet is not None:
        bodies[CABINET_NAME] = np.broadcast_to(scene.cabinet, samples)
    if scene.bucket is not None:
        bodies[BUCKET_NAME] = np.broadcast_to(pose(np.array(scene.bucket.position_m)), samples)
    return dataclasses.replace(scene, performance=dataclasses.replace(acted, bodies=bodies))


def _view(config: ClipConfig, act: Act, objects: list[NamedObject]) -> Viewpoint:
    """The camera, with hand and handled thing in the picture all the time."""
    every = max(1, len(act.frames) // 24)
    chosen = act.frames[::every]
    seen = [act.keypoints_world.reshape(-1, 3)]
    for number, o in enumerate(objects):
        if number == 0 or o.name in (BUCKET_NAME, TARGET_NAME):
            moved = np.einsum("tij,pj->tpi", o.poses[chosen][:, :3, :3], o.points) + o.poses[chosen][:, None, :3, 3]
            seen.append(moved.reshape(-1, 3))
    return choose_viewpoint(
        config.corpus,
        config.camera,
        config.kind,
        (config.width, config.height),
        np.concatenate(seen),
        act.keypoints_world[::every],
        act.thing.shape,
        act.scene.performance.bodies[act.thing.name][chosen],
        config.side == "left",
    )
