from pathlib import Path

from setuptools import find_packages, setup

package = "dexgrasp"

# One entry per folder whose files are installed as they are.
shared = {
    folder: [str(path) for path in sorted(Path(folder).iterdir()) if path.is_file()]
    for folder in ("params", "rviz", "samples")
}

setup(
    name=package,
    version="0.1.0",
    description="The dexgrasp command, launch files and parameters: everything in one place to start from.",
    license="Apache-2.0",
    packages=find_packages(include=[package, package + ".*"]),
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/" + package]),
        ("share/" + package, ["package.xml"]),
        ("share/" + package + "/launch", ["bringup.launch.py"]),
        *((f"share/{package}/{folder}", files) for folder, files in shared.items()),
    ],
    entry_points={"console_scripts": ["dexgrasp = dexgrasp.cli:main"]},
)
