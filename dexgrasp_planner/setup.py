from setuptools import find_packages, setup

package = "dexgrasp_planner"

setup(
    name=package,
    version="0.1.0",
    description="Point cloud in; ranked grasps and arm-hand trajectories out.",
    license="Apache-2.0",
    packages=find_packages(),
    package_data={package: ["preshape_data/*.yaml", "trained/*/*"]},
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/" + package]),
        ("share/" + package, ["package.xml"]),
    ],
    entry_points={
        "console_scripts": [
            "grasp_generator = dexgrasp_planner.nodes.grasp_generator:main",
            "motion_planner = dexgrasp_planner.nodes.motion_planner:main",
        ]
    },
)
