"""From a result of `tiers` to its tables and verdicts. Pure."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from benchmarks.goals import Status
from benchmarks.report import Table, status_cell

MICROSECONDS_P50: Final = 300.0
MICROSECONDS_P99: Final = 600.0
SHARES: Final = (0.27, 0.33)
BROKEN: Final = 0.05
SETS: Final = 10
ABOVE_LENGTH: Final = 8


class Judged(NamedTuple):
    """One line of the goals: as measured, and as asked. `length`, `prototype` and `published` stand beside it."""

    title: str
    measured: str | None
    asked: str
    status: Status
    length: str = ""
    prototype: str = ""


def judged(result: Mapping[str, Any]) -> list[Judged]:
    rows = {row["title"]: row for row in result["rows"]}
    held = [row for title, row in rows.items() if title.startswith("held out/")]
    found = []
    if held:
        mean = sum(row["apgr"]["value"] for row in held) / len(held)
        length = sum(row["length"]["value"] for row in held) / len(held)
        above = sum(row["apgr"]["value"] > row["length"]["value"] for row in held)
        whole = len(held) == SETS
        found += [
            Judged(
                f"prior, family held out, mean APGR over {len(held)} sets",
                f"{mean:.3f}",
                ">= .58",
                _status(mean >= 0.58, measured=whole),
                f"{length:.3f}",
                ".554",
            ),
            Judged(
                "of these above length",
                f"{above} of {len(held)}",
                f">= {ABOVE_LENGTH} of {SETS}",
                _status(above >= ABOVE_LENGTH, measured=whole),
                "",
                "6",
            ),
        ]
    for title, name, least, prototype in (
        ("MMLU, unseen subjects", "MMLU, unseen subjects", 0.62, ".609"),
        ("GSM8K, 5-fold", "GSM8K, 5-fold", 0.67, ".663"),
        ("MT-Bench, held out", "held out/routellm-mtbench", 0.78, ".757"),
        ("LLMRouter 7B to 51B, 5-fold", "LLMRouter, 5-fold", 0.71, ".695"),
    ):
        row = rows.get(name)
        value = None if row is None else row["apgr"]["value"]
        found.append(
            Judged(
                title,
                None if row is None else interval(row["apgr"]),
                f">= {least:g}",
                _status(value is not None and value >= least, measured=value is not None),
                "" if row is None else f"{row['length']['value']:.3f}",
                prototype,
            )
        )
    for count, least, prototype in (("100", 0.665, ".657"), ("300", 0.68, ".668"), ("1000", 0.71, ".702")):
        values = result["labels"].get(count)
        mean = sum(values) / len(values) if values else 0.0
        found.append(
            Judged(
                f"LLMRouter, {count} own labels",
                f"{mean:.3f} [{min(values):.3f}, {max(values):.3f}]" if values else None,
                f">= {least:g}",
                _status(mean >= least, measured=bool(values)),
                "",
                prototype,
            )
        )
    if held:
        low, high = (pick(row["held_share"] for row in held) for pick in (min, max))
        broken = max(row["floor_broken"] for row in held)
        found += [
            Judged(
                "share held of 30 % asked, all sets",
                f"{low:.1%} to {high:.1%}",
                "27 to 33 %",
                _status(SHARES[0] <= low and high <= SHARES[1], measured=True),
                "",
                "5-100 %",
            ),
            Judged(
                "floor of 0.95 broken, the worst set",
                f"{broken:.1%}",
                f"<= {BROKEN:.0%}",
                _status(broken <= BROKEN, measured=True),
            ),
        ]
    took = {name: each for name, each in result["speed"].items() if name != "reference"}
    if took:
        for name, least in (("p50", MICROSECONDS_P50), ("p99", MICROSECONDS_P99)):
            worst = max(took, key=lambda prompt: took[prompt][name])
            value = took[worst][name]
            found.append(
                Judged(
                    f"{name.upper()} of a score, worst ({worst})",
                    f"{value:.0f} us",
                    f"<= {least:.0f} us",
                    _status(value <= least, measured=True),
                    "",
                    "526 us" if name == "p50" else "",
                )
            )
    return found


def tables(result: Mapping[str, Any], *, colour: bool = False) -> list[Table]:
    goals = [
        (
            one.title,
            one.measured,
            one.asked,
            one.length,
            one.prototype,
            status_cell(one.status, colour=colour),
        )
        for one in judged(result)
    ]
    sets, promised = [], []
    for row in result["rows"]:
        title = row["title"].removeprefix("held out/")
        sets.append(
            (
                title, f"{row['rows']:,}", f"{row['weak']:.3f}", f"{row['strong']:.3f}", interval(row["apgr"]),
                f"{row['length']['value']:.3f}", interval(row["above_length"]),
                *(f"{row['cpt'][part]['value']:.2f}" for part in ("0.5", "0.8")),
            )
        )  # fmt: skip
        if "held_share" in row:
            promised.append(
                (
                    title, f"{row['held_share']:.1%}", f"{row['fixed_share']:.1%}", f"{row['floor_broken']:.1%}",
                    f"{row['floor_broken_half']:.1%}", f"{row['floor_share']:.0%}",
                )
            )  # fmt: skip
    reference = result["speed"].get("reference", {}).get("p50")
    speeds = [
        (name, f"{took['p50']:.0f}", f"{took['p99']:.0f}", f"{took['p50'] / reference:.1f}")
        for name, took in result["speed"].items()
    ]
    return [
        Table("Goals", ("", "measured", "asked", "length", "prototype", "verdict"), goals),
        Table(
            "APGR by set: families held out; then folds",
            ("set", "prompts", "weak", "strong", "score", "length", "above length", "CPT50", "CPT80"),
            sets,
        ),
        Table(
            "Promises on sets that were held out",
            (
                "set",
                "share of 30 %",
                "fixed threshold",
                "floor broken",
                "by the other half",
                "its strong share",
            ),
            promised,
        ),
        Table("One score, us of CPU", ("prompt", "P50", "P99", "P50 x reference"), speeds),
    ]


def interval(of: Mapping[str, float]) -> str:
    return f"{of['value']:.3f} [{of['low']:.3f}, {of['high']:.3f}]"


def _status(met: bool, *, measured: bool) -> Status:
    if not measured:
        return Status.NOT_MEASURED
    return Status.MET if met else Status.MISSED
