"""The moving view of a fit's page shows what is known."""

import base64
import html
import json
import re
from typing import Any

import numpy as np
import pytest

from worldmodel._mujoco import mujoco
from worldmodel.commands.figures import film

SCENE = (
    "<mujoco><worldbody><body><joint type='slide'/><geom size='.1'/></body></worldbody></mujoco>"
)
START, RECORDED = np.array([1.0]), np.array([[2.0], [np.nan], [4.0]])


def shown(fragment: str) -> dict[str, list[float]]:
    """Heights of the body by episode."""
    (text,) = re.findall(r"data-scene='([^']*)'", fragment)
    episodes: list[dict[str, Any]] = json.loads(html.unescape(text))["episodes"]
    return {
        e["name"]: np.frombuffer(base64.b64decode(e["poses"]), "<f4").reshape(-1, 7)[:, 2].tolist()
        for e in episodes
    }


@pytest.fixture(scope="module")
def model() -> mujoco.MjModel:
    return mujoco.MjModel.from_xml_string(SCENE)


def test_every_episode_begins_with_the_start(model: mujoco.MjModel) -> None:
    whole = np.nan_to_num(RECORDED, nan=3.0)
    fragment = film(model, START, whole, {"fitted": whole + 1, "MJCF": whole - 1}, 10.0)
    assert shown(fragment) == {
        "recorded": [1, 2, 3, 4],
        "fitted": [1, 3, 4, 5],
        "MJCF": [1, 1, 2, 3],
    }


def test_unknown_positions_stay_and_what_diverges_is_not_shown(model: mujoco.MjModel) -> None:
    given = RECORDED.copy()
    fragment = film(model, START, given, {"MJCF": RECORDED}, 10.0)
    assert shown(fragment) == {"recorded": [1, 2, 2, 4]}
    np.testing.assert_array_equal(given, RECORDED)
