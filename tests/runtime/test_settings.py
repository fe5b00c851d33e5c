"""A folder belongs to the settings of its run; another one is refused by the setting's name."""

from pathlib import Path

import pytest

from worldmodel.errors import InputError
from worldmodel.runtime.settings import claim

SETTINGS = {"seed": 0, "steps": 60, "free": ["damping:elbow"], "data": "abc", "policy": 16 * "0e"}


def test_the_same_settings_go_on(tmp_path: Path) -> None:
    claim(tmp_path / "run", SETTINGS)
    (tmp_path / "run" / "fit.json").write_text("{}")
    claim(tmp_path / "run", dict(SETTINGS))


def test_more_steps_go_on_for_longer(tmp_path: Path) -> None:
    claim(tmp_path / "run", SETTINGS)
    (tmp_path / "run" / "fit.json").write_text("{}")
    more = SETTINGS | {"steps": 90}
    with pytest.raises(InputError, match="steps was 60 and is 90"):
        claim(tmp_path / "run", more)
    for _ in range(2):
        claim(tmp_path / "run", more, growing="steps")
    with pytest.raises(InputError, match="steps was 90 and is 60"):
        claim(tmp_path / "run", SETTINGS, growing="steps")


def test_settings_of_a_later_stage_may_change_until_it_begins(tmp_path: Path) -> None:
    later = {"network": True, "members": 3}
    claim(tmp_path / "run", SETTINGS)
    (tmp_path / "run" / "fit.json").write_text("{}")
    with pytest.raises(InputError, match="members was null and is 3"):
        claim(tmp_path / "run", SETTINGS | later)
    for members in (3, 4):
        claim(tmp_path / "run", SETTINGS | later | {"members": members}, later=[*later])
    with pytest.raises(InputError, match="members was 4 and is 3"):
        claim(tmp_path / "run", SETTINGS | later)
    with pytest.raises(InputError, match="seed was 0 and is 1"):
        claim(tmp_path / "run", SETTINGS | later | {"seed": 1}, later=[*later])
    claim(tmp_path / "run", SETTINGS, later=[*later])


@pytest.mark.parametrize(
    ("other", "named"),
    [
        ({"seed": 2}, "seed was 0 and is 2"),
        ({"steps": 30}, "steps was 60 and is 30"),
        ({"data": "xyz"}, "data"),
        ({"policy": 16 * "0f"}, "policy has other contents; give"),
        ({"policy": "linear"}, f'policy was "{16 * "0e"}" and is "linear"'),
        ({"horizon": 8}, "horizon was null and is 8"),
    ],
)
def test_other_settings_are_refused_by_name(tmp_path: Path, other: dict, named: str) -> None:
    claim(tmp_path / "run", SETTINGS)
    (tmp_path / "run" / "metrics.jsonl").write_text("{}")
    with pytest.raises(InputError, match=named):
        claim(tmp_path / "run", SETTINGS | other)


def test_settings_of_a_run_that_was_refused_before_it_began_are_replaced(tmp_path: Path) -> None:
    claim(tmp_path / "run", SETTINGS | {"columns": "with a typing error"})
    claim(tmp_path / "run", SETTINGS | {"columns": "mended"})
    (tmp_path / "run" / "progress").mkdir()
    claim(tmp_path / "run", SETTINGS | {"columns": "mended"})
    with pytest.raises(InputError, match="columns was"):
        claim(tmp_path / "run", SETTINGS)


def test_a_folder_of_something_else_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(InputError, match="holds other files"):
        claim(tmp_path, SETTINGS)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_damaged_settings_are_named(tmp_path: Path) -> None:
    claim(tmp_path / "run", SETTINGS)
    (tmp_path / "run" / "settings.json").write_text('{"seed": ')
    with pytest.raises(InputError, match=r"settings\.json is damaged"):
        claim(tmp_path / "run", SETTINGS)


def test_tuples_are_the_lists_that_json_has(tmp_path: Path) -> None:
    claim(tmp_path, {"unit": (1.0, 2.0), "none": ()})
    (tmp_path / "begun").touch()
    claim(tmp_path, {"unit": (1.0, 2.0), "none": ()})
    with pytest.raises(InputError, match=r"unit was \[1.0, 2.0\] and is \[1.0, 3.0\]"):
        claim(tmp_path, {"unit": (1.0, 3.0), "none": ()})
