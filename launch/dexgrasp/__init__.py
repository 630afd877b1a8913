"""The dexgrasp command, launch files and parameters: everything in one place to start from."""
