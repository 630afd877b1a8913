from setuptools import find_packages, setup

package = "dexgrasp_common"

setup(
    name=package,
    version="0.1.0",
    description="What every package shares: registries, rigid transforms, and the glue between nodes and library code.",
    license="Apache-2.0",
    packages=find_packages(),
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/" + package]),
        ("share/" + package, ["package.xml"]),
    ],
)
