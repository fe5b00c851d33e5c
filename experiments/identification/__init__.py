"""How far the intervals of an identification can be trusted."""
