"""Between ROS messages and numpy. Images and clouds are viewed in place where the layout allows it."""

from __future__ import annotations

import array
import sys
from collections.abc import Sequence

import numpy as np
from builtin_interfaces.msg import Duration, Time
from geometry_msgs.msg import Pose, TransformStamped
from numpy.typing import NDArray
from rclpy.time import Time as RclpyTime
from sensor_msgs.msg import CameraInfo, Image, PointCloud2, PointField
from std_msgs.msg import Header
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from dexgrasp_common.images import ENCODINGS, MessageError, image_pixels
from dexgrasp_common.transforms import from_xyz_quat, to_xyz_quat

# An installed ROS 2 usually brings cv_bridge. One built against another numpy fails while it is imported.
try:
    from cv_bridge import CvBridge

    _BRIDGE = CvBridge()
except (ImportError, AttributeError):
    _BRIDGE = None


def image_to_array(image: Image) -> NDArray[np.generic]:
    """(H, W) or (H, W, C) array in native byte order, by cv_bridge where it can be imported, else by `image_pixels`.

    Raises:
        MessageError: Unsupported encoding, or fewer bytes than step and height promise.
    """
    pixels = image_pixels(image)
    if _BRIDGE is None:
        return pixels
    converted = _BRIDGE.imgmsg_to_cv2(image, "passthrough")
    # PyPI has a package of the same name for ROS 1 that cuts 16 bits down to 8.
    return converted if converted.dtype == pixels.dtype else pixels


def array_to_image(pixels: NDArray[np.generic], encoding: str, header: Header) -> Image:
    """Image message from an (H, W) or (H, W, C) array of the encoding's own type."""
    scalar, channels = ENCODINGS[encoding]
    if pixels.dtype != scalar or (pixels.shape[2:] or (1,)) != (channels,):
        raise MessageError(
            f"Encoding {encoding!r} needs {np.dtype(scalar)} with {channels} channel(s); "
            f"got {pixels.dtype} of shape {pixels.shape}."
        )
    return Image(
        header=header,
        height=pixels.shape[0],
        width=pixels.shape[1],
        encoding=encoding,
        is_bigendian=int(sys.byteorder == "big"),
        step=pixels.shape[1] * channels * pixels.dtype.itemsize,
        data=to_bytes(pixels),
    )


def to_bytes(values: NDArray[np.generic]) -> array.array:
    """The form of `data` that rclpy takes without checking every byte (0.1 ms against 60 ms for an image)."""
    return array.array("B", np.ascontiguousarray(values).tobytes())


def intrinsics_of(info: CameraInfo) -> NDArray[np.float64]:
    """(3, 3) pinhole matrix of a CameraInfo [px]."""
    return np.asarray(info.k, dtype=np.float64).reshape(3, 3)


def camera_info(width: int, height: int, matrix: NDArray[np.float64], header: Header) -> CameraInfo:
    """CameraInfo of an undistorted pinhole camera."""
    fx, fy, cx, cy = matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2]
    return CameraInfo(
        header=header,
        width=width,
        height=height,
        distortion_model="plumb_bob",
        d=[0.0] * 5,
        k=matrix.astype(np.float64).ravel().tolist(),
        r=np.eye(3).ravel().tolist(),
        p=[fx, 0.0, cx, 0.0, 0.0, fy, cy, 0.0, 0.0, 0.0, 1.0, 0.0],
    )


def points_to_cloud(points: NDArray[np.float32], header: Header) -> PointCloud2:
    """PointCloud2 with fields x, y, z from (N, 3), or organised from (H, W, 3); NaN marks invalid points [m]."""
    organised = points if points.ndim == 3 else points[None]
    height, width = organised.shape[:2]
    return PointCloud2(
        header=header,
        height=height,
        width=width,
        fields=[
            PointField(name=name, offset=4 * i, datatype=PointField.FLOAT32, count=1) for i, name in enumerate("xyz")
        ],
        is_bigendian=sys.byteorder == "big",
        point_step=12,
        row_step=12 * width,
        is_dense=bool(np.isfinite(organised).all()),
        data=to_bytes(organised.astype(np.float32, copy=False)),
    )


def cloud_to_points(cloud: PointCloud2) -> NDArray[np.float32]:
    """(H, W, 3) float32 points of a cloud [m], in the cloud's own frame and order; unorganised clouds have H = 1.

    Raises:
        MessageError: No float32 or float64 fields x, y, z, or fewer bytes than the header promises.
    """
    fields = {field.name: field for field in cloud.fields}
    types = {PointField.FLOAT32: "f4", PointField.FLOAT64: "f8"}
    if any(name not in fields or fields[name].datatype not in types for name in "xyz"):
        raise MessageError(f"A cloud needs float fields x, y and z; this one has {sorted(fields) or 'no fields'}.")
    if len(cloud.data) < cloud.row_step * cloud.height or cloud.row_step < cloud.point_step * cloud.width:
        raise MessageError(
            f"A cloud of {cloud.height}x{cloud.width} points of {cloud.point_step} bytes needs "
            f"{cloud.point_step * cloud.width * cloud.height} bytes; the message has {len(cloud.data)}."
        )
    order = ">" if cloud.is_bigendian else "<"
    layout = np.dtype(
        {
            "names": list("xyz"),
            "formats": [order + types[fields[name].datatype] for name in "xyz"],
            "offsets": [fields[name].offset for name in "xyz"],
            "itemsize": cloud.point_step,
        }
    )
    points = np.empty((cloud.height, cloud.width, 3), np.float32)
    for row in range(cloud.height):
        record = np.frombuffer(cloud.data, layout, cloud.width, row * cloud.row_step)
        for axis, name in enumerate("xyz"):
            points[row, :, axis] = record[name]
    return points


def pose_msg(A_T_B: NDArray[np.float64]) -> Pose:
    """geometry_msgs/Pose of a 4x4 transform."""
    pose = Pose()
    values = to_xyz_quat(A_T_B).tolist()
    pose.position.x, pose.position.y, pose.position.z = values[:3]
    pose.orientation.x, pose.orientation.y, pose.orientation.z, pose.orientation.w = values[3:]
    return pose


def pose_matrix(pose: Pose) -> NDArray[np.float64]:
    """4x4 transform of a geometry_msgs/Pose.

    Raises:
        MessageError: Not finite, or a quaternion that is not of unit length (within 1 %).
    """
    p, q = pose.position, pose.orientation
    values = [p.x, p.y, p.z, q.x, q.y, q.z, q.w]
    if not np.isfinite(values).all() or abs(np.linalg.norm(values[3:]) - 1.0) > 0.01:
        raise MessageError(f"Not a pose: position and unit quaternion are needed, got {values}.")
    return from_xyz_quat(values)


def static_transform(parent: str, child: str, parent_T_child: NDArray[np.float64], stamp: Time) -> TransformStamped:
    """TransformStamped for /tf_static."""
    message = TransformStamped(header=Header(frame_id=parent, stamp=stamp), child_frame_id=child)
    pose = pose_msg(parent_T_child)
    message.transform.translation.x = pose.position.x
    message.transform.translation.y = pose.position.y
    message.transform.translation.z = pose.position.z
    message.transform.rotation = pose.orientation
    return message


def trajectory_msg(
    joint_names: Sequence[str],
    times: NDArray[np.float64],
    positions: NDArray[np.float64],
    velocities: NDArray[np.float64] | None = None,
) -> JointTrajectory:
    """JointTrajectory from times (T,) [s], positions (T, D) [rad] and, where known, velocities (T, D) [rad/s]."""
    trajectory = JointTrajectory(joint_names=list(joint_names))
    for i, time in enumerate(times):
        point = JointTrajectoryPoint(positions=positions[i].tolist(), time_from_start=duration_msg(float(time)))
        if velocities is not None:
            point.velocities = velocities[i].tolist()
        trajectory.points.append(point)
    return trajectory


def trajectory_arrays(trajectory: JointTrajectory) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Times (T,) [s] and positions (T, D) [rad] of a JointTrajectory.

    Raises:
        MessageError: Points of differing length, values that are not finite, or times that do not increase.
    """
    width = len(trajectory.joint_names)
    if any(len(point.positions) != width for point in trajectory.points):
        raise MessageError(f"Every trajectory point needs {width} positions, one per joint name.")
    times = np.array([seconds(point.time_from_start) for point in trajectory.points], dtype=np.float64)
    positions = np.array([point.positions for point in trajectory.points], dtype=np.float64).reshape(-1, width)
    if not np.isfinite(positions).all():
        raise MessageError("Trajectory positions must be finite numbers.")
    if (np.diff(times) <= 0).any() or (times < 0).any():
        raise MessageError("Trajectory times must start at or after zero and increase from point to point.")
    return times, positions


def duration_msg(value: float) -> Duration:
    """builtin_interfaces/Duration of a time in seconds."""
    whole = int(value // 1)
    return Duration(sec=whole, nanosec=min(int(round((value - whole) * 1e9)), 999_999_999))


def seconds(stamp: Time | Duration | RclpyTime) -> float:
    """Seconds of a stamp or duration, of a message or of a clock."""
    if isinstance(stamp, RclpyTime):
        return stamp.nanoseconds * 1e-9
    return stamp.sec + stamp.nanosec * 1e-9
