"""Objects on a table: arrangements, clear grasps, views, graspness."""
