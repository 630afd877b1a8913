from setuptools import find_packages, setup

package = "dexgrasp_description"

setup(
    name=package,
    version="0.1.0",
    description="Robots as data (URDF and one data file per hand and arm) and their kinematics.",
    license="Apache-2.0",
    packages=find_packages(),
    package_data={package: ["robots/*", "cells/*"]},
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/" + package]),
        ("share/" + package, ["package.xml"]),
    ],
)
