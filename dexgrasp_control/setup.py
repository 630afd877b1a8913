from setuptools import find_packages, setup

package = "dexgrasp_control"

setup(
    name=package,
    version="0.1.0",
    description="Trajectories in; motion on hardware out; supervision and the clear-the-table behaviour.",
    license="Apache-2.0",
    packages=find_packages(),
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/" + package]),
        ("share/" + package, ["package.xml"]),
    ],
    entry_points={
        "console_scripts": [
            "arm_driver = dexgrasp_control.nodes.arm_driver:main",
            "hand_driver = dexgrasp_control.nodes.hand_driver:main",
            "grasp_executor = dexgrasp_control.nodes.grasp_executor:main",
            "table_clearer = dexgrasp_control.nodes.table_clearer:main",
        ]
    },
)
