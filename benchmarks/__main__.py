"""The door of the benchmarks: one command each. No measuring lives here."""

import typer

from benchmarks.calibration.command import calibrate
from benchmarks.chaos.command import chaos
from benchmarks.chaos.soak import soak
from benchmarks.compare.command import compare
from benchmarks.crosscheck.command import crosscheck
from benchmarks.decide.command import decide
from benchmarks.joint.command import joint
from benchmarks.journal.command import journal
from benchmarks.overhead.command import overhead
from benchmarks.pages.command import report
from benchmarks.peers.command import peers
from benchmarks.run.command import run
from benchmarks.scrape.command import scrape
from benchmarks.simulator.command import simulate
from benchmarks.tiers.command import tiers

app = typer.Typer(
    help="Benchmarks of the balancer, each figure beside its goal.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(run)
app.command()(compare)
app.command()(overhead)
app.command()(scrape)
app.command()(simulate)
app.command()(joint)
app.command()(decide)
app.command()(journal)
app.command()(calibrate)
app.command()(chaos)
app.command()(soak)
app.command()(peers)
app.command()(report)
app.command()(crosscheck)
app.command()(tiers)


@app.callback()
def main() -> None:
    """Keep `NAME` a word of its own while there is only one benchmark."""


if __name__ == "__main__":
    app(prog_name="python -m benchmarks")
