# Enters the built workspace:  . ./env.sh      (bash or zsh; from plain sh, stand in this folder)
if [ -n "${BASH_SOURCE:-}" ]; then _dexgrasp_root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
elif [ -n "${ZSH_VERSION:-}" ]; then _dexgrasp_root=$(cd "$(dirname "${(%):-%x}")" && pwd)
else _dexgrasp_root=$PWD; fi

if [ ! -e "$_dexgrasp_root/install/setup.sh" ]; then
  echo "dexgrasp is not built in $_dexgrasp_root yet: run 'make build' there first." >&2
  return 1
fi
export VIRTUAL_ENV="$_dexgrasp_root/.venv"
case ":$PATH:" in *":$VIRTUAL_ENV/bin:"*) ;; *) export PATH="$VIRTUAL_ENV/bin:$_dexgrasp_root/install/dexgrasp/lib/dexgrasp:$_dexgrasp_root/install/dexgrasp_training/lib/dexgrasp_training:$PATH" ;; esac
if [ -e "$VIRTUAL_ENV/.wheels" ]; then  # the wheels' packages are found through this; an installed ROS 2 sets it itself
  case ":${AMENT_PREFIX_PATH:-}:" in *":$VIRTUAL_ENV:"*) ;; *) export AMENT_PREFIX_PATH="$VIRTUAL_ENV${AMENT_PREFIX_PATH:+:$AMENT_PREFIX_PATH}" ;; esac
fi
COLCON_CURRENT_PREFIX="$_dexgrasp_root/install"
. "$COLCON_CURRENT_PREFIX/setup.sh"
unset COLCON_CURRENT_PREFIX

# Room for images and clouds in shared memory: see setup/fastdds.xml.
export FASTDDS_DEFAULT_PROFILES_FILE="${FASTDDS_DEFAULT_PROFILES_FILE:-$_dexgrasp_root/setup/fastdds.xml}"
if [ "${ROS_DISTRO:-}" = jazzy ]; then  # its Fast DDS knows only the old name
  export FASTRTPS_DEFAULT_PROFILES_FILE="${FASTRTPS_DEFAULT_PROFILES_FILE:-$FASTDDS_DEFAULT_PROFILES_FILE}"
fi
# One machine unless you say otherwise, so that two labs on one network do not move each other's robots.
export ROS_AUTOMATIC_DISCOVERY_RANGE="${ROS_AUTOMATIC_DISCOVERY_RANGE:-LOCALHOST}"
export MUJOCO_GL="${MUJOCO_GL:-egl}"
unset _dexgrasp_root
