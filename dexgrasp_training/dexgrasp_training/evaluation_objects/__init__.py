"""How well grasps of single held-out objects hold: DexGrasp Anything's and DexGraspBench's protocols, side by side."""
