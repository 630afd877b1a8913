"""MuJoCo: the simulated cell with its emulated controllers and camera, and the bench that judges grasps."""
