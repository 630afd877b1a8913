"""What holds a hand to the world: it touches, it does not go through, its fingers keep apart (DexGrasp Anything)."""
