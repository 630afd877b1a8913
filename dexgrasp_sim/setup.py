from setuptools import find_packages, setup

package = "dexgrasp_sim"

setup(
    name=package,
    version="0.1.0",
    description="The simulated cell with its emulated controllers and camera, and the bench that judges grasps.",
    license="Apache-2.0",
    packages=find_packages(),
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/" + package]),
        ("share/" + package, ["package.xml"]),
    ],
    entry_points={"console_scripts": ["sim_cell = dexgrasp_sim.nodes.sim_cell:main"]},
)
