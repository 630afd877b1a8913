from __future__ import annotations

import numpy as np
import pytest
from dexgrasp_common.nodes import messages
from sensor_msgs.msg import Image, PointCloud2, PointField
from std_msgs.msg import Header
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

HEADER = Header(frame_id="camera")


@pytest.mark.parametrize(
    ("encoding", "dtype", "shape"),
    [
        ("16UC1", np.uint16, (4, 5)),
        ("32FC1", np.float32, (4, 5)),
        ("rgb8", np.uint8, (4, 5, 3)),
        ("mono8", np.uint8, (4, 5)),
    ],
)
def test_image_goes_there_and_back(encoding: str, dtype: type, shape: tuple[int, ...]) -> None:
    pixels = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    back = messages.image_to_array(messages.array_to_image(pixels, encoding, HEADER))
    np.testing.assert_array_equal(back, pixels)
    assert back.dtype == dtype


def test_padded_big_endian_rows_are_read_as_the_message_says() -> None:
    data = bytes([0x01, 0x02, 0x03, 0x04, 0xFF, 0xFF, 0x05, 0x06, 0x07, 0x08, 0xFF, 0xFF])
    image = Image(height=2, width=2, encoding="16UC1", is_bigendian=1, step=6, data=data)
    np.testing.assert_array_equal(messages.image_to_array(image), [[0x0102, 0x0304], [0x0506, 0x0708]])


def test_image_with_too_few_bytes_or_an_unknown_encoding_is_refused() -> None:
    with pytest.raises(messages.MessageError, match="needs 4 bytes a row"):
        messages.image_to_array(Image(height=2, width=2, encoding="16UC1", step=4, data=bytes(7)))
    with pytest.raises(messages.MessageError, match="not supported"):
        messages.image_to_array(Image(height=1, width=1, encoding="yuv422", step=2, data=bytes(2)))


@pytest.mark.parametrize("shape", [(7, 3), (3, 4, 3)])
def test_cloud_goes_there_and_back_with_its_holes(shape: tuple[int, ...]) -> None:
    points = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    points[0] = np.nan
    back = messages.cloud_to_points(messages.points_to_cloud(points, HEADER))
    np.testing.assert_array_equal(back.reshape(shape), points)


def test_cloud_with_other_fields_and_padded_points_is_read() -> None:
    layout = np.dtype(
        {"names": ["i", "z", "x", "y"], "formats": ["u1", "f8", "f8", "f8"], "offsets": [0, 8, 16, 24], "itemsize": 40}
    )
    record = np.zeros(2, layout)
    record["x"], record["y"], record["z"] = [1, 4], [2, 5], [3, 6]
    fields = [PointField(name=n, offset=layout.fields[n][1], datatype=8, count=1) for n in "xyz"]
    cloud = PointCloud2(height=1, width=2, fields=fields, point_step=40, row_step=80, data=record.tobytes())
    np.testing.assert_array_equal(messages.cloud_to_points(cloud)[0], [[1, 2, 3], [4, 5, 6]])


def test_cloud_without_coordinates_is_refused() -> None:
    with pytest.raises(messages.MessageError, match="x, y and z"):
        messages.cloud_to_points(PointCloud2())


def test_trajectory_keeps_times_and_positions() -> None:
    times, positions = np.array([0.0, 0.25, 1.999999999]), np.arange(6.0).reshape(3, 2)
    back = messages.trajectory_arrays(messages.trajectory_msg(["a", "b"], times, positions, positions))
    np.testing.assert_allclose(back[0], times, atol=1e-9)
    np.testing.assert_array_equal(back[1], positions)


def test_trajectory_that_runs_backwards_or_is_ragged_is_refused() -> None:
    backwards = messages.trajectory_msg(["a"], np.array([1.0, 0.5]), np.zeros((2, 1)))
    with pytest.raises(messages.MessageError, match="increase"):
        messages.trajectory_arrays(backwards)
    with pytest.raises(messages.MessageError, match="2 positions"):
        messages.trajectory_arrays(
            JointTrajectory(joint_names=["a", "b"], points=[JointTrajectoryPoint(positions=[0.0])])
        )


def test_pose_needs_a_unit_quaternion() -> None:
    pose = messages.pose_msg(np.eye(4))
    np.testing.assert_array_equal(messages.pose_matrix(pose), np.eye(4))
    pose.orientation.w = 0.5
    with pytest.raises(messages.MessageError, match="unit quaternion"):
        messages.pose_matrix(pose)
