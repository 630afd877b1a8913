"""How often the grasps of several generators lift an object, on the same held-out scenes, views and seeds."""
