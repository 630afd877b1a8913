from setuptools import find_packages, setup

package = "dexgrasp_perception"

setup(
    name=package,
    version="0.1.0",
    description="Sensor frames in; restored depth and point clouds out.",
    license="Apache-2.0",
    packages=find_packages(),
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/" + package]),
        ("share/" + package, ["package.xml"]),
    ],
    entry_points={
        "console_scripts": [
            "depth_capture = dexgrasp_perception.nodes.depth_capture:main",
            "depth_restoration = dexgrasp_perception.nodes.depth_restoration:main",
        ]
    },
)
