"""Off-screen rendering chooses its backend, says what is missing, and leaves physics alone where there is none."""

from __future__ import annotations

import os
import subprocess
import sys

import gymnasium
import mujoco
import numpy as np
import pytest

import dexvid_envs  # noqa: F401 (registers)
from dexvid_envs import rendering
from dexvid_envs.errors import RenderingUnavailableError

SCENE = """
<mujoco>
  <visual><global offwidth="32" offheight="24"/></visual>
  <worldbody>
    <light pos="0 0 3"/>
    <camera name="front" pos="0 -1 0" xyaxes="1 0 0 0 0 1"/>
    <body><freejoint/><geom size=".1" rgba="1 0 0 1"/></body>
  </worldbody>
</mujoco>
"""
needs_rendering = pytest.mark.skipif(rendering.choose_backend() is None, reason="no off-screen OpenGL library here")


def run_python(code: str, **environment: str | None) -> subprocess.CompletedProcess[str]:
    """Runs `code` in a new process; a variable given as None is unset."""
    merged = {**os.environ, **environment}
    kept = {name: value for name, value in merged.items() if value is not None}
    return subprocess.run([sys.executable, "-c", code], env=kept, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def scene() -> tuple[mujoco.MjModel, mujoco.MjData]:
    model = mujoco.MjModel.from_xml_string(SCENE)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    return model, data


@pytest.fixture
def without_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine that has neither EGL nor OSMesa."""
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setattr(rendering.platform, "system", lambda: "Linux")
    monkeypatch.setattr(rendering, "probe_backend", lambda backend: rendering.Probe(False, f"no lib{backend}"))


@needs_rendering
def test_renders_with_mujoco_imported_first_and_nothing_set() -> None:
    code = f"""
import mujoco
from dexvid_envs.rendering import OffscreenRenderer
model = mujoco.MjModel.from_xml_string('''{SCENE}''')
data = mujoco.MjData(model)
mujoco.mj_forward(model, data)
left_open = OffscreenRenderer(height=24, width=32)
print(left_open.render(model, data, camera="front").sum() > 0)
"""
    done = run_python(code, MUJOCO_GL=None, PYOPENGL_PLATFORM=None)
    assert done.stdout.split() == ["True"], done.stderr
    assert done.stderr == ""  # nothing is said at exit either, though nobody closed the renderer


def test_nothing_is_tried_before_a_picture_is_asked_for() -> None:
    code = """
import gymnasium, dexvid_envs
from dexvid_envs.rendering import OffscreenRenderer, probe_backend
OffscreenRenderer()
gymnasium.make("DexVid-BottlePickPlace-v0", render_mode="rgb_array").reset(seed=0)
print(probe_backend.cache_info().misses)
"""
    done = run_python(code, MUJOCO_GL=None)
    assert done.stdout.split() == ["0"], done.stderr


@needs_rendering
def test_picture_shape_and_content(scene: tuple[mujoco.MjModel, mujoco.MjData]) -> None:
    model, data = scene
    with rendering.OffscreenRenderer(height=60, width=80) as renderer:  # larger than the model's own buffer
        picture = renderer.render(model, data, camera="front")
        again = renderer.render(model, data, camera="front")
    assert (picture.shape, picture.dtype) == ((60, 80, 3), np.uint8)
    red, green, _ = picture[30, 40].astype(int)
    assert red > green + 50
    np.testing.assert_array_equal(picture, again)
    assert (model.vis.global_.offwidth, model.vis.global_.offheight) == (32, 24)


@needs_rendering
def test_one_renderer_draws_two_models(scene: tuple[mujoco.MjModel, mujoco.MjData]) -> None:
    model, data = scene
    other = mujoco.MjModel.from_xml_string(SCENE.replace("1 0 0 1", "0 1 0 1"))
    other_data = mujoco.MjData(other)
    mujoco.mj_forward(other, other_data)
    renderer = rendering.OffscreenRenderer(height=24, width=32)
    first = renderer.render(model, data, camera="front")
    second = renderer.render(other, other_data, camera="front")
    np.testing.assert_array_equal(renderer.render(model, data, camera="front"), first)
    assert first[12, 16].argmax() == 0
    assert second[12, 16].argmax() == 1
    renderer.close()
    renderer.close()


@needs_rendering
def test_the_choice_of_mujoco_is_left_alone(scene: tuple[mujoco.MjModel, mujoco.MjData]) -> None:
    from mujoco.rendering.classic import gl_context

    before = (getattr(gl_context, "GLContext", None), os.environ.get("MUJOCO_GL"), os.environ.get("PYOPENGL_PLATFORM"))
    rendering.make_renderer(scene[0], 24, 32).close()
    assert before == (
        getattr(gl_context, "GLContext", None),
        os.environ.get("MUJOCO_GL"),
        os.environ.get("PYOPENGL_PLATFORM"),
    )


@pytest.mark.usefixtures("without_libraries")
def test_without_libraries_rendering_says_what_to_install_and_physics_works(
    scene: tuple[mujoco.MjModel, mujoco.MjData],
) -> None:
    model, data = scene
    assert rendering.choose_backend() is None
    with pytest.raises(RenderingUnavailableError, match=r"no libegl.*no libosmesa.*apt-get install -y libegl1"):
        rendering.make_renderer(model, 24, 32)
    mujoco.mj_step(model, data)
    assert data.time > 0


def test_osmesa_is_taken_where_egl_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setattr(rendering.platform, "system", lambda: "Linux")
    monkeypatch.setattr(rendering, "probe_backend", lambda backend: rendering.Probe(backend == "osmesa", ""))
    assert rendering.choose_backend() == "osmesa"


@pytest.mark.parametrize("value", ["egl", "osmesa", "glfw", " EGL "])
def test_mujoco_gl_decides_untried(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUJOCO_GL", value)
    monkeypatch.setattr(rendering, "probe_backend", lambda backend: pytest.fail("was tried"))
    assert rendering.choose_backend() == value.strip().lower()


def test_unknown_mujoco_gl_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUJOCO_GL", "invalid")
    with pytest.raises(RenderingUnavailableError, match=r"MUJOCO_GL is 'invalid'; expected one of egl, osmesa, glfw"):
        rendering.choose_backend()


def test_mujoco_gl_off_is_named(monkeypatch: pytest.MonkeyPatch, scene: tuple[mujoco.MjModel, mujoco.MjData]) -> None:
    monkeypatch.setenv("MUJOCO_GL", "off")
    with pytest.raises(RenderingUnavailableError, match=r"switches rendering off; unset it"):
        rendering.make_renderer(scene[0])


def test_probe_reports_a_backend_that_fails() -> None:
    probe = rendering.probe_backend("no-such-backend")
    assert not probe.usable
    assert "no-such-backend" in probe.detail


@needs_rendering
def test_environment_renders_with_nothing_set() -> None:
    code = """
import gymnasium, dexvid_envs
environment = gymnasium.make("DexVid-BottlePickPlace-v0", render_mode="rgb_array")
environment.reset(seed=0)
picture = environment.render()
print(picture.shape[-1], picture.dtype, picture.max() > 0)
"""
    done = run_python(code, MUJOCO_GL=None, PYOPENGL_PLATFORM=None)
    assert done.stdout.split() == ["3", "uint8", "True"], done.stderr


@needs_rendering
def test_dropping_one_environment_leaves_the_pictures_of_another_alone() -> None:
    """mujoco frees a renderer's textures in whichever context is current; once that was another environment's."""
    import gc

    first, second = (gymnasium.make("DexVid-BottlePickPlace-v0", render_mode="rgb_array") for _ in range(2))
    for env in (first, second):
        env.reset(seed=0)
    before = [np.asarray(env.render()) for env in (first, second)]
    assert np.array_equal(before[0], before[1])
    del env, first
    gc.collect()
    assert np.array_equal(np.asarray(second.render()), before[1])
