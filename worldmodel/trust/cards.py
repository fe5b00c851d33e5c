"""The report's supplements of α: the cost card, the training budgets, the simulator as a judge."""

import html
from collections.abc import Mapping, Sequence
from typing import Any

from worldmodel.trust import figures
from worldmodel.trust.figures import dollars
from worldmodel.trust.markup import details, section, sizes, table
from worldmodel.trust.phrases import between, earns, interval, number

PRICES = {  # label of each price of a cost card's cells
    "real": "a usable real episode",
    "correction": "a correction captured in deployment",
    "first": "the first synthetic episode",
    "synthetic": "each of all m",
    "later": "one more, the 10 000th",
}

TOOK = {"steps": "steps", "device [s]": "device_seconds", "energy [J]": "energy_joules"}


def cost_card(card: Mapping[str, Any]) -> str:
    """The section of the cost card: what an episode costs and what each version saves.

    Args:
      card: as of ``cost.price``.
    """
    drawn: list[tuple[str, float, float]] = []
    devices, rows = [], []
    for name, version in card["versions"].items():
        cells, energy = version["cells"], version["energy_joules"]
        spent = f"{name}: {version['episode_seconds']:.3g} s of {version['device']} per episode, "
        spent += f"{version['model_seconds']:.3g} s before the first; energy "
        devices.append(
            spent + ("not measured" if energy is None else f"{energy:.3g} J per episode")
        )
        for key, label in PRICES.items() if cells else ():
            ends = [cell[f"{key}_{end}"] for cell in cells for end in ("low", "high")]
            shared = key in ("real", "correction")  # the same for all versions
            entry = (
                label if shared else f"{figures.clipped(name, 12)}, {label}",
                min(ends),
                max(ends),
            )
            drawn += [entry] * (entry not in drawn)
        rows += [
            [
                name,
                *sizes(cell),
                dollars(cell["synthetic_low"], cell["synthetic_high"]),
                _ends(cell, "break_even"),
                _ends(cell, "net_value"),
                _pays(cell),
            ]
            for cell in cells
        ]
    header = ("version", "n", "m", "K", "one synthetic", "break-even α", "net value [$]", "so")
    assumed = [
        [a["name"].replace("_", " "), f"{a['low']:g} to {a['high']:g} {a['unit']}", a["source"]]
        for a in card["assumptions"]
    ]
    scale = card["scale"]
    devices.append(f"For scale: {scale['what']} takes {scale['episode_seconds']:g} s")
    caption = (
        "Bars: the whole range over what is assumed. The first synthetic episode pays for the "
        "model and its corrections. Break-even: the α from which on m synthetic episodes are "
        "cheaper than real ones. Net value: real episodes saved, less what the m cost."
    )
    inside = table(header, rows) + "".join(f"<p>{html.escape(d)}.</p>" for d in devices)
    inside += table(("assumed", "range", "source"), assumed)
    items = "".join(f"<li>{html.escape(s)}</li>" for s in _savings(card))
    return section("What it costs", figures.costs(drawn), caption, inside, f"<ul>{items}</ul>")


def budgets(rows: Sequence[Mapping[str, Any]]) -> str:
    """The folded table of training budgets by cell; empty if the runs' table has none.

    Args:
      rows: ``budgets`` of a task's document.
    """
    known = {word: k for word, k in TOOK.items() if any(b[k] is not None for b in rows)}
    lines = [
        [b["version"] or "real only", *sizes(b), *(_took(b[kind]) for kind in known.values())]
        for b in rows
    ]
    header = ("version", "n", "m", "K", *known)
    return details("What a training run took, on average", table(header, lines)) if known else ""


def _took(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _savings(card: Mapping[str, Any]) -> list[str]:
    sentences = []
    for name, version in card["versions"].items():
        if cells := version["cells"]:
            last = max(cells, key=lambda cell: (cell["m"], cell["n"]))
            text = f"{name}, m = {last['m']}: break-even at α {_ends(last, 'break_even')}; "
            text += f"beside n = {last['n']} its net value is $ {_ends(last, 'net_value')}: "
            sentences.append(f"{text}{_pays(last)}.")
    return sentences


def _pays(cell: Mapping[str, Any]) -> str:
    return earns(cell["net_value_low"], cell["net_value_high"])


def _ends(cell: Mapping[str, Any], kind: str) -> str:
    return between(cell[f"{kind}_low"], cell[f"{kind}_high"])


def judge(by_policy: Mapping[str, Mapping[str, Any]]) -> str:
    """The section on the simulator as a judge, which is never merged with alpha.

    Args:
      by_policy: as of ``supplements.evaluations``.
    """
    header = ("policy", "pairs", "simulated", "ρ", "needed", "α_eval", "real alone", "with it")
    rows = [
        [name, str(e["n"]), str(e["extra"]), interval(e, "rho"), number(e["threshold"])]
        + [interval(e, kind, digits) for kind, digits in (("alpha", 2), ("real", 3), ("mean", 3))]
        + [f"{e['verdict'].lower()}: {e['reason']}"]
        for name, e in by_policy.items()
    ]
    intro = (
        "<p>Another question than training: how many real <em>evaluation</em> episodes a simulated "
        "one is worth, α_eval, and the policy's mean outcome without and with the simulator. "
        "ρ: correlation of real and simulated outcomes, episode by episode.</p>"
    )
    return f"<h3>Beside it: the simulator as a judge</h3>{intro}{table((*header, 'so'), rows)}"
