"""A gripper in a held-out reality: creep of what it holds, and turns of the loop."""
