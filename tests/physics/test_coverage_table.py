"""The coverage page names tests that exist, and every kind of parameter."""

import re
from pathlib import Path

from worldmodel.physics.parameters import KINDS

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "worldmodel" / "physics" / "README.md").read_text()


def test_every_test_that_the_page_names_exists() -> None:
    named = set(re.findall(r"(tests/\w+\.py)::(\w+)", PAGE))
    assert len(named) > 20
    absent = [f"{f}::{t}" for f, t in named if f"def {t}(" not in (ROOT / f).read_text()]
    assert absent == []


def test_every_kind_of_parameter_has_a_row() -> None:
    parameters = PAGE.split("## Parameters")[1].split("## Features")[0]
    assert [kind for kind in KINDS if f"`{kind}`" not in parameters] == []
