#!/usr/bin/env bash
# Runs the core's tests with numpy 2 in an environment of its own, .venv-numpy2, without the video extra (whose MediaPipe needs
# numpy 1). OpenCV comes alone, so that what reads pictures is tested too. usage, from anywhere:  tools/test_numpy2.sh [PYTEST ARGS]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
venv=.venv-numpy2
python=$venv/bin/python
unset PYTHONPATH PYTHONHOME VIRTUAL_ENV
export PYTHONNOUSERSITE=1

pins=$venv/constraints.txt  # the project's own, but for what numpy 1 holds back
if ! [ -x "$python" ]; then "${PYTHON:-python3}" -m venv "$venv"; fi
grep -v -E '^(numpy|mediapipe|opencv-contrib-python|jax|jaxlib|ml_dtypes)==' constraints.txt >"$pins"
"$python" -m pip install -qq --disable-pip-version-check --no-input -c "$pins" -e '.[view,dev]' 'numpy>=2' opencv-python-headless
"$python" -c 'import numpy; print("numpy", numpy.__version__)'

# What MediaPipe itself finds in pictures, and what pins the packages of the usual environment, is left to `make test`.
left_out=$(grep -l -E 'MediaPipeHands\(|import mediapipe|benchmarks\.(extraction_speed|synthetic_corpus|real_clips)' tests/test_*.py || true)
# shellcheck disable=SC2046,SC2086
exec "$python" -m pytest -n auto --maxprocesses 8 --dist worksteal $(printf -- '--ignore=%s ' $left_out) "$@"
