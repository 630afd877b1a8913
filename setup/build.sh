#!/usr/bin/env bash
# Makes a bare Python 3.11 or 3.12 a built ROS 2 workspace. Idempotent: what has not changed is not done again.
# Where a ROS 2 installation is sourced (ROS_DISTRO set and rclpy importable) it is used, and the ROS wheels and the
# stand-in interfaces are skipped.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD
venv=$root/.venv
python=${PYTHON:-python3}

say() { printf '\033[1m%s\033[0m\n' "$*"; }
die() { printf 'make build: %s\n' "$*" >&2; exit 1; }
digest() { sha256sum "$@" | sha256sum | cut -d' ' -f1; }
unchanged() { [ "$(cat "$1" 2>/dev/null)" = "$2" ]; }

# --- Python and ROS -----------------------------------------------------------------------------------------------
"$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' ||
  die "Python 3.11 or 3.12 is needed, and $python is $("$python" -V 2>&1). Set PYTHON=/path/to/python3.11."
if [ -n "${ROS_DISTRO:-}" ] && "$python" -c 'import rclpy' 2>/dev/null && [ "${ROS_WHEELS:-0}" != 1 ] && [ ! -e "$venv/.wheels" ]; then
  ros=system
else
  ros=wheels
  "$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' ||
    die "the ROS wheels are pinned for Python 3.11, and $python is another. Source a ROS 2 installation first, or set PYTHON=/path/to/python3.11."
fi

# --- Debian packages ----------------------------------------------------------------------------------------------
packages="build-essential cmake ninja-build libegl1 libegl-mesa0 libgl1-mesa-dri libgomp1 libusb-1.0-0"
"$python" -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))' ||
  packages="$packages python3-dev"
"$python" -c 'import ensurepip, venv' 2>/dev/null || packages="$packages python3-venv"
if command -v dpkg-query >/dev/null; then
  missing=""
  for package in $packages; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
  done
  if [ -n "$missing" ]; then
    sudo=""
    if [ "$(id -u)" != 0 ]; then
      sudo=sudo
      sudo -n true 2>/dev/null || die "Debian packages are missing. Run, then try again:
  sudo apt-get update && sudo apt-get install -y$missing"
    fi
    say "Installing Debian packages:$missing"
    $sudo apt-get update -qq
    DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq $missing >/dev/null
  fi
else
  say "No dpkg here: make sure that these packages' equivalents are installed: $packages"
fi

# --- Python packages ----------------------------------------------------------------------------------------------
requirements="setup/requirements.txt setup/requirements-dev.txt"
[ $ros = wheels ] && requirements="$requirements setup/requirements-ros.txt"
stamp=$("$python" -V | cat - $requirements | sha256sum | cut -d' ' -f1)-$ros
if ! unchanged "$venv/.requirements" "$stamp"; then
  say "Installing Python packages into .venv (about 3 minutes the first time)"
  site=""; [ $ros = system ] && site=--system-site-packages
  [ -x "$venv/bin/python" ] || "$python" -m venv $site "$venv"
  arguments=""; for file in $requirements; do arguments="$arguments -r $file"; done
  "$venv/bin/pip" install --quiet --disable-pip-version-check $arguments
  [ $ros = wheels ] && touch "$venv/.wheels"
  echo "$stamp" >"$venv/.requirements"
fi
export PATH=$venv/bin:$PATH

# --- Interfaces that have no wheel --------------------------------------------------------------------------------
cmake_arguments=()
if [ $ros = wheels ]; then
  unset PYTHONPATH COLCON_PREFIX_PATH
  export AMENT_PREFIX_PATH=$venv
  cmake_arguments=(-DCMAKE_PROJECT_INCLUDE="$root/setup/ros_wheels.cmake" -DPython3_EXECUTABLE="$venv/bin/python")
  stamp=$(digest $(find setup/interfaces setup/ros_wheels.cmake -type f | sort))-$(cat "$venv/.requirements")
  if ! unchanged "$venv/.interfaces" "$stamp"; then
    for package in tf2_msgs control_msgs; do
      say "Building the stand-in $package"
      log=build/$package.log; mkdir -p build
      { cmake -S setup/interfaces/$package -B build/standin_$package -G Ninja -Wno-dev \
          -DCMAKE_INSTALL_PREFIX="$venv" "${cmake_arguments[@]}" &&
        cmake --build build/standin_$package && cmake --install build/standin_$package; } >"$log" 2>&1 ||
        { tail -n 30 "$log" >&2; die "the stand-in $package did not build; the whole log is $log"; }
    done
    echo "$stamp" >"$venv/.interfaces"
  fi
fi

# --- The workspace ------------------------------------------------------------------------------------------------
# With --symlink-install, edits to Python and parameter files need no rebuild; new files, entry points and interfaces do.
packages=$(ls -d dexgrasp_*/ launch/)
stamp=$({ find $packages -type f -not -name '*.pyc' -not -path '*.egg-info*' | sort
          find dexgrasp_msgs -type f | sort | xargs sha256sum
          find $packages -maxdepth 1 \( -name package.xml -o -name 'setup.*' \) | sort | xargs sha256sum
          cat "$venv/.requirements"; echo "$root"; } | sha256sum | cut -d' ' -f1)
if ! unchanged install/.stamp "$stamp"; then
  say "colcon build"
  python -m colcon --log-base log build --base-paths $packages --symlink-install \
    --event-handlers console_direct- console_cohesion- desktop_notification- \
    --cmake-args -G Ninja -Wno-dev "${cmake_arguments[@]}"
  echo "$stamp" >install/.stamp
fi
say "Ready. Enter it with:  . ./env.sh"
