from setuptools import find_packages, setup

package = "dexgrasp_training"

setup(
    name=package,
    version="0.1.0",
    description="Offline: meshes in; grasps, cluttered scenes, depth views and labels out.",
    license="Apache-2.0",
    packages=find_packages(),
    package_data={
        package: ["presets/*.yaml", "presets/fit/*.yaml", "presets/fit_objects/*.yaml", "report/*.html", "starter/*"]
    },
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/" + package]),
        ("share/" + package, ["package.xml"]),
    ],
    entry_points={"console_scripts": ["dexgrasp-train = dexgrasp_training.cli:main"]},
)
