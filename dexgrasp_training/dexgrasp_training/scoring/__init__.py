"""What a checkpoint's own grasps come to in the tester, and a model that learns to tell it beforehand."""
