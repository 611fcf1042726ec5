#!/usr/bin/env bash
# Makes .venv with the pinned dependencies and looks for what rendering needs. Does nothing where all is done already.
# usage, from anywhere:  tools/setup.sh EXTRAS        (for example: tools/setup.sh video,dev)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
extras=${1:?usage: tools/setup.sh EXTRAS, for example video,dev}
venv=.venv
stamp=$venv/.dexvid-setup           # written last, so that an interrupted set-up is taken up again
graphics_stamp=$venv/.dexvid-graphics
python=$venv/bin/python
debian_graphics="libegl1 libgl1 libgles2 libglib2.0-0"
debian_software="libosmesa6"        # for machines where EGL finds no device

# Settings of other Python projects must not leak in; where packages come from (an index, a mirror, a proxy) stays the user's.
unset PYTHONPATH PYTHONHOME PIP_USER PIP_TARGET PIP_PREFIX PIP_ROOT PIP_NO_DEPS PIP_DRY_RUN PIP_CONSTRAINT PIP_REQUIREMENT VIRTUAL_ENV
export PYTHONNOUSERSITE=1

say() { printf 'setup: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

find_python() {
  local candidate rejected=""
  for candidate in ${PYTHON:-} python3.11 python3.12 python3 python; do
    command -v "$candidate" >/dev/null 2>&1 || continue
    if ! "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' >/dev/null 2>&1; then
      rejected="$rejected $candidate ($("$candidate" --version 2>&1 | head -n 1 || true))"
    elif ! "$candidate" -c 'import venv, ensurepip' >/dev/null 2>&1; then
      rejected="$rejected $candidate (without the venv module; on Debian and Ubuntu: sudo apt-get install python3-venv)"
    else
      "$candidate" -c 'import sys; print(sys.executable)'
      return 0
    fi
  done
  fail "no Python 3.11 or 3.12 with the venv module was found${rejected:+; rejected:$rejected}." \
    "Install Python 3.11, or name one: PYTHON=/path/to/python3.11 make ..."
}

make_venv() {
  if [ -x "$python" ] && "$python" -m pip --version >/dev/null 2>&1; then return 0; fi
  local base
  base=$(find_python)
  say "making the virtual environment $venv with $base"
  "$base" -m venv --clear "$venv"
}

# What a set-up depends on; a change of it makes the next one install again.
fingerprint() { { pwd; "$python" --version; cat pyproject.toml constraints.txt; } | cksum; }

has_extras() {  # are all of $1 among the installed extras $2?
  local extra
  for extra in ${1//,/ }; do case ",$2," in *",$extra,"*) ;; *) return 1 ;; esac; done
}

install_packages() {
  local installed="" before=""
  if [ -f "$stamp" ]; then
    { read -r before && read -r installed; } <"$stamp" || installed=""
    if [ "$before" = "$(fingerprint)" ] && has_extras "$extras" "$installed"; then return 0; fi
  fi
  has_extras "$extras" "$installed" || installed="$installed${installed:+,}$extras"
  rm -f "$stamp"
  say "installing dexvid-envs[$installed] into $venv (some minutes the first time; most of it is PyTorch)"
  local quiet=-qq
  if [ -t 1 ]; then quiet=""; fi
  # shellcheck disable=SC2086
  "$python" -m pip install $quiet --disable-pip-version-check --no-input -c constraints.txt -e ".[$installed]" ||
    fail "the installation failed; the message above says why. Run the same command again to go on."
  printf '%s\n%s\n' "$(fingerprint)" "$installed" >"$stamp.part"
  mv "$stamp.part" "$stamp"
}

renders() { "$python" -c 'import sys; from dexvid_envs.rendering import choose_backend; sys.exit(choose_backend() is None)' 2>/dev/null; }
reads_video() { "$python" -c 'import importlib.util as u; u.find_spec("cv2") and __import__("cv2")' >/dev/null 2>&1; }

as_root=""
can_apt() {
  command -v apt-get >/dev/null 2>&1 || return 1
  if [ "$(id -u)" = 0 ]; then return 0; fi
  as_root="sudo -n"
  sudo -n true >/dev/null 2>&1
}
apt_install() {
  say "installing with apt-get: $*"
  $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

check_graphics() {
  if [ -f "$graphics_stamp" ]; then return 0; fi
  if ! { renders && reads_video; } && can_apt; then
    $as_root apt-get update -qq >/dev/null 2>&1 || true
    # shellcheck disable=SC2086
    apt_install $debian_graphics || true
    # shellcheck disable=SC2086
    renders || apt_install $debian_software || true
  fi
  local whole=1
  if ! renders; then
    whole=0
    say "no off-screen OpenGL library works here: everything but pictures and videos works." \
      "Install one, for example: sudo apt-get install -y $debian_graphics (or $debian_software)"
  fi
  if ! reads_video; then
    whole=0
    say "OpenCV cannot be loaded, so no video can be read: sudo apt-get install -y $debian_graphics"
  fi
  if [ "$whole" = 1 ]; then : >"$graphics_stamp"; fi
}

make_venv
install_packages
check_graphics
