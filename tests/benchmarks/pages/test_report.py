"""The command `report` over results of every kind: a page that needs nothing else, and errors that name the file."""

from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from typer.testing import CliRunner

from benchmarks.__main__ import app
from benchmarks.chaos.verdict import Outcome
from benchmarks.drawing import Axis
from benchmarks.joint.figures import FIGURES
from benchmarks.pages.html import page
from benchmarks.pages.section import Section
from benchmarks.pages.sections import sections
from benchmarks.report import Table, read_result, write_json
from tests.benchmarks.reporting.records import comparison, document, plausible
from tests.benchmarks.xml_of import xml_of

RESULTS = Path(__file__).parents[3] / "benchmarks" / "results"
SIMULATED = (
    "ttft_p50_s",
    "ttft_p90_s",
    "ttft_p99_s",
    "e2e_p90_s",
    "hit_rate",
    "output_tokens_per_s",
    "unfinished",
)
TTFT_MS = dict.fromkeys(("p50", "p90", "p99"), 5.0)
OUTCOMES = dict.fromkeys(map(str, Outcome), 0) | {"answered": 7}
KINDS = {
    "run": document(),
    "compare": comparison(),
    "simulate": {
        "plan": {"suite": "policies"},
        "rows": [
            {"workload": "chat", "load": load, "variant": "", "stage": "", "arm": arm, "seed": 1}
            | dict.fromkeys(SIMULATED, load)
            for arm in ("predicted_latency", "round_robin")
            for load in (0.5, 1.0)
        ],
    },
    "joint": {
        "plan": {},
        "rows": [
            {"workload": "chat", "rival": "turns", "load": 0.8, "arm": arm, "share": 0.3, "seed": 1}
            | dict.fromkeys(FIGURES, value)
            for arm, value in (("joint", 0.7), ("turns", 0.6))
        ],
    },
    "decide": {"plan": {"prompts": 500, "policy": "cache_aware"}, "figures": {"p50_us/8": 100.0, "p99_us/8": 150.0}},
    "chaos": {
        "plan": {"short": True, "real_vllm": False},
        "arms": {
            "balancer": {
                "trouble": None, "requests": 7, "outcomes": OUTCOMES, "leaks": {}, "failed_though_one_was_healthy": 0,
                "ttft_ms": {"within": TTFT_MS, "outside": TTFT_MS},
                "phases": {"SIGKILL": {"survivor": True, "requests": 7, "outcomes": OUTCOMES, "ttft_ms": TTFT_MS}},
            },
            "nginx": {"trouble": "not installed: no nginx"},
        },
    },
    "soak": {"plan": {}, "figures": {"requests": 10.0, "rss_growth_mb": 0.5, "hung": 0.0}},
}  # fmt: skip
VOID = {"meta"}


class Page(HTMLParser):
    """Well-formed or an error; keeps the text, the links out, and the elements that would need a network."""

    def __init__(self, text):
        super().__init__()
        self.open, self.text, self.outside, self.tags = [], "", [], set()
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        if tag not in VOID:
            self.open.append(tag)
        self.outside += [
            v for n, v in attributes if n in ("src", "href", "xlink:href") and not v.startswith("#")
        ]

    def handle_startendtag(self, tag, attributes):
        self.tags.add(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def results(folder):
    for kind, result in KINDS.items():
        write_json(folder / f"{kind}.json", {"benchmark": kind, "fingerprint": {"cores": 2}} | result)
    return [*sorted(folder.glob("*.json")), *sorted(RESULTS.glob("*.json"))]


def report(*arguments):
    return CliRunner().invoke(app, ["report", *map(str, arguments)], env={"COLUMNS": "150"})


@pytest.fixture(scope="module")
def every_kind(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    ran = report(*results(folder), "--html", folder / "out.html", "--markdown", folder / "out.md")
    assert ran.exit_code == 0, ran.output
    return folder, ran.output


def test_every_kind_of_result_is_a_section_with_its_goals(every_kind):
    folder, screen = every_kind
    read = Page((folder / "out.html").read_text(encoding="utf-8"))

    for name in (
        "compare",
        "run",
        "simulate",
        "joint",
        "overhead",
        "decide",
        "chaos",
        "soak",
        "calibration",
        "crosscheck",
    ):
        assert f": {name}.json" in read.text
        assert f": {name}.json" in screen
        assert f": {name}.json" in (folder / "out.md").read_text(encoding="utf-8")
    assert read.text.count("Goals") >= 6
    assert "[green]" not in read.text


def test_the_page_needs_no_network_and_no_scripts(every_kind):
    folder, _ = every_kind
    text = (folder / "out.html").read_text(encoding="utf-8")

    read = Page(text)

    assert read.outside == []
    assert not read.tags & {"script", "link", "img", "iframe", "object"}
    assert "url(" not in text
    assert "@import" not in text


def test_plots_are_well_formed_and_their_lines_differ_without_colour(every_kind):
    folder, _ = every_kind
    found = sections([(path.name, read_result(path)) for path in sorted(folder.glob("*.json"))])
    pictures = [xml_of(picture) for section in found for picture in section.pictures]

    assert len(pictures) >= 10
    for picture in pictures:
        if picture.find("{*}g/{*}title") is None:
            continue
        marks = [
            (
                group.get("stroke-width"),
                group.find("{*}polyline").get("stroke-dasharray"),
                [mark.get("d", "circle")[-9:] for mark in group[2:3]],
            )
            for group in picture
            if group.find("{*}polyline") is not None
        ]
        assert all(marks.count(mark) == 1 for mark in marks)


def test_a_comparison_shows_what_is_missing_and_what_was_predicted(every_kind):
    _, screen = every_kind

    assert "nginx/least_conn, chat at 0.5, repeat 0: not installed: no nginx" in screen
    (section,) = sections([("c.json", comparison())])
    at = section.tables[1].columns.index("measured/predicted")
    assert [row[at] for row in section.tables[1].rows][:2] == ["0.63", "0.53"]


def test_an_invalid_run_counts_in_no_table(every_kind):
    kept = comparison()
    for row in kept["runs"]:
        if row["arm"] == "balancer/round_robin":
            row["valid"], row["invalid"] = False, "generator late"

    (section,) = sections([("c.json", kept)])

    assert "left out: balancer/round_robin, chat at 0.9, repeat 1: generator late" in section.notes
    assert section.tables[0].rows[1] == ("balancer/round_robin", None, None, None)


def test_runs_stand_beside_one_another_only_if_they_are_of_one_load():
    other = document(plausible(seed=2))
    beside = sections([("a.json", document()), ("b.json", other)])[0]
    assert [row[0] for row in beside.tables[0].rows] == ["a.json", "b.json"]

    other["plan"]["digest"] = "other"
    apart = sections([("a.json", document()), ("b.json", other)])[0]
    assert apart.tables == []
    assert "differ in: digest" in apart.notes[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{", "expected a result file"),
        ("[]", "expected a result file"),
        ('{"benchmark": "weather"}', "weather"),
        ('{"benchmark": "run"}', "expected a whole result"),
    ],
)
def test_a_file_that_is_no_result_is_named(tmp_path, text, expected):
    (tmp_path / "bad.json").write_text(text)

    ran = report(tmp_path / "bad.json")

    assert ran.exit_code == 2
    assert "bad.json" in ran.output
    assert expected in " ".join(ran.output.replace("│", " ").split())
    assert "Traceback" not in ran.output


MARKUP = st.text("<>&;\"'/bx !-")


@given(MARKUP, st.lists(MARKUP | st.none(), min_size=1, max_size=3))
@example("<b>&amp;", ["<i>", None])
def test_any_text_stands_on_the_page_as_it_is(text, cells):
    table = Table(text, ["<b>"] * len(cells), [cells])

    read = Page(page(text, [Section(text, [table], notes=[text])]))

    assert not read.tags & {"b", "i", "x"}
    assert read.text.count(text) >= 4
    assert all(cell in read.text for cell in cells if cell)


@given(st.lists(st.floats(1e-6, 1e9), min_size=1), st.booleans())
def test_an_axis_has_room_for_every_value_and_marks_within(values, log):
    axis = Axis.over(values, log=log)

    assert all(-1e-6 <= axis.share(value) <= 1 + 1e-6 for value in values)
    assert all(-1e-6 <= axis.share(mark) <= 1 + 1e-6 for mark in axis.marks())
