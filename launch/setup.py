from setuptools import find_packages, setup

package = "dexgrasp"

setup(
    name=package,
    version="0.1.0",
    description="The dexgrasp command, launch files and parameters: everything in one place to start from.",
    license="Apache-2.0",
    packages=find_packages(),
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/" + package]),
        ("share/" + package, ["package.xml"]),
    ],
    entry_points={"console_scripts": ["dexgrasp = dexgrasp.cli:main"]},
)
