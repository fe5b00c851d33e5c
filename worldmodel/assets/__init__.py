"""MJCF files of the recordings: the sources' parameters, and MuJoCo's default guess beside them."""
