"""Motions of the emulated controller against their closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from dexgrasp_sim.emulators.ur_motion import MAX_SPEED, Deceleration, Motion, ServoTracking, Setpoint, TrapezoidMove

DT = 0.002


def run(motion: Motion, setpoint: Setpoint, duration: float) -> tuple[np.ndarray, np.ndarray]:
    """Positions and velocities over time, until the motion or the time ends."""
    q, qd = [], []
    for _ in range(round(duration / DT)):
        ended = motion.step(setpoint, DT)
        q.append(setpoint.q.copy())
        qd.append(setpoint.qd.copy())
        if ended:
            break
    return np.array(q), np.array(qd)


@pytest.mark.parametrize("speed", [0.5, 3.0])
def test_a_trapezoid_keeps_speed_and_acceleration_and_ends_on_time(speed: float) -> None:
    start, goal = np.zeros(6), np.array([1.0, -0.5, 0.2, 0.0, 0.0, 0.3])
    move = TrapezoidMove(start, goal, speed, 2.0)
    peak = min(speed, np.sqrt(1.0 * 2.0))
    assert move.duration == pytest.approx(1.0 / peak + peak / 2.0)
    q, qd = run(move, Setpoint.at_rest(start), 10.0)
    assert len(q) * DT == pytest.approx(move.duration, abs=2 * DT)
    np.testing.assert_allclose(q[-1], goal)
    assert np.abs(qd).max() == pytest.approx(peak, rel=0.01)
    # The last step ends the motion exactly on its goal, wherever in the period that falls.
    assert np.abs(np.diff(qd[:-1], axis=0) / DT).max() < 2.0 * 1.01
    np.testing.assert_allclose(q[:-1, 1] / q[:-1, 0], -0.5)


def test_servoj_follows_a_ramp_with_the_lookaheads_delay() -> None:
    setpoint = Setpoint.at_rest(np.zeros(6))
    servo = ServoTracking(setpoint)
    servo.lookahead, servo.gain = 0.1, 300.0
    for i in range(1000):
        servo.target = np.full(6, 0.5 * i * DT)
        servo.step(setpoint, DT)
    assert (servo.target - setpoint.q)[0] / 0.5 == pytest.approx(0.1, abs=0.005)
    np.testing.assert_allclose(setpoint.qd, 0.5, atol=1e-3)


@pytest.mark.parametrize(
    ("dt", "gain", "lookahead"), [(0.008, 2000.0, 0.03), (0.008, 100.0, 0.2), (0.002, 2000.0, 0.03)]
)
def test_servoj_settles_on_a_distant_target_within_the_speed_limit(dt: float, gain: float, lookahead: float) -> None:
    setpoint = Setpoint.at_rest(np.zeros(6))
    servo = ServoTracking(setpoint)
    servo.target, servo.gain, servo.lookahead = np.full(6, 1.0), gain, lookahead
    speeds = []
    for _ in range(round(4.0 / dt)):
        servo.step(setpoint, dt)
        speeds.append(np.abs(setpoint.qd).max())
    assert max(speeds) <= MAX_SPEED
    np.testing.assert_allclose(setpoint.q, 1.0, atol=1e-3)


def test_a_stop_brakes_in_the_closed_forms_distance() -> None:
    setpoint = Setpoint(np.zeros(6), np.array([1.0, -0.5, 0.0, 0.0, 0.0, 0.0]), np.zeros(6))
    q, qd = run(Deceleration(5.0), setpoint, 5.0)
    assert not qd[-1].any()
    assert len(q) * DT == pytest.approx(1.0 / 5.0, abs=2 * DT)
    np.testing.assert_allclose(q[-1, :2], [0.1, -0.05], atol=2 * DT)
