"""Grasps of one whole object by diffusion with physics in training and in sampling (DexGrasp Anything)."""
