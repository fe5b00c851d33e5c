"""Colours, names and units of what is scored of a recording."""

import numpy as np

BLUE, ORANGE, GREY, GREEN = "#0072B2", "#D55E00", "#777777", "#009E73"  # Okabe and Ito's
CHANNELS = {  # name, unit, factor from SI
    "position_m": ("position", "mm", 1e3),
    "rotation_rad": ("rotation", "°", float(np.degrees(1.0))),
    "joint_rad": ("joints", "°", float(np.degrees(1.0))),
}
