"""What several tests of this package look at."""

from __future__ import annotations

import pytest

from .cylinder_scene import CylinderScene, make_cylinder_scene


@pytest.fixture(scope="session")
def cylinder_scene() -> CylinderScene:
    return make_cylinder_scene()
