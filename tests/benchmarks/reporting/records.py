"""Records of requests that nobody sent: plausible ones, and any that hypothesis thinks of."""

import random
from array import array
from datetime import UTC, datetime

from hypothesis import strategies as st

from benchmarks.compare.samples import samples
from benchmarks.load.record import Outcome, Record
from benchmarks.reporting.documents import Observed, measured, run_result
from benchmarks.reporting.service import ServiceLevel
from benchmarks.workloads.script import Ask, Conversation, Script

SCRIPT = Script(
    "chat", (Conversation(0.0, "c0", (Ask("/v1/chat/completions", {"max_tokens": 8}),)),), 5.0, 35.0,
    facts={"rate": 10.0, "seed": 1},
)  # fmt: skip


def answered(due_s, ttft_s=0.1, gaps_s=(0.02, 0.02), **facts):
    times = array("d", [due_s + ttft_s])
    for gap_s in gaps_s:
        times.append(times[-1] + gap_s)
    usage = {"prompt_tokens": 100, "output_tokens": len(times), "cached_tokens": 50}
    kept = {"label": "", "path": "/v1/chat/completions", "measured": True, "sent_s": due_s, "status": 200}
    kept |= {"token_s": times, "ended_s": times[-1], "outcome": Outcome.ANSWERED}
    return Record(
        "c0", 0, due_s=due_s, **(kept | usage | facts)
    )  # fmt: skip


def unanswered(due_s, outcome, **facts):
    kept = {"label": "", "path": "/v1/chat/completions", "measured": True, "error": "status 503"}
    return Record("c0", 0, due_s=due_s, outcome=outcome, **(kept | facts))


def plausible(seed=1, rate=10.0, duration_s=40.0, slow=1.0):
    """A run that warms up for 5 s, with slower answers under way to its middle, and a few failures."""
    rng = random.Random(seed)
    records, now_s = [], 0.0
    while (now_s := now_s + rng.expovariate(rate)) < duration_s:
        facts = {"replica": f"r{rng.randrange(4)}", "label": rng.choice(("interactive", "batch"))}
        if rng.random() < 0.03:
            outcome = rng.choice((Outcome.SHED, Outcome.FAILED, Outcome.LEFT))
            records.append(unanswered(now_s, outcome, ended_s=now_s + 0.1, **facts))
            continue
        queue_s = slow * max(0.0, 1 - abs(now_s - duration_s / 2) / 10)
        gaps_s = [rng.gammavariate(4, 0.005) for _ in range(rng.randrange(2, 30))]
        prompt_tokens = rng.randrange(200, 4000)
        records.append(
            answered(
                now_s, queue_s + rng.lognormvariate(-2, 0.6), gaps_s, prompt_tokens=prompt_tokens,
                cached_tokens=int(prompt_tokens * min(1.0, now_s / duration_s) * 0.9), **facts,
            )
        )  # fmt: skip
    return records


def observed(records=None, **facts):
    kept = {
        "started_at": datetime(2026, 1, 1, tzinfo=UTC),
        "stages": {"": (5.0, 35.0)},
        "late_s": [0.001, 0.002],
    }
    return Observed(plausible() if records is None else records, **(kept | facts))  # fmt: skip


def document(records=None, level="ttft:500", **facts):
    return run_result(
        observed(records, **facts), SCRIPT, facts={"taken_at": "2026-01-01T00:00:00+00:00", "cores": 2},
        url="http://localhost:8080", model="m", level=ServiceLevel.parse(level),
    )  # fmt: skip


@st.composite
def record_lists(draw):
    """Of any outcome, in and out of the window 5 s to 35 s."""
    seconds = st.floats(0, 40, allow_nan=False)
    some = st.lists(
        st.builds(
            answered, seconds, st.floats(0, 20), st.lists(st.floats(0, 1), max_size=5),
            prompt_tokens=st.none() | st.integers(0, 1000), output_tokens=st.none() | st.integers(0, 10),
            cached_tokens=st.none() | st.integers(0, 1000), replica=st.none() | st.sampled_from("ab"),
        )
        | st.builds(
            unanswered, seconds, st.sampled_from([o for o in Outcome if o is not Outcome.ANSWERED]),
            ended_s=st.none() | st.floats(0, 60),
        ),
        max_size=12,
    )  # fmt: skip
    return draw(some)


def comparison(
    arms=("balancer/predicted_latency", "balancer/round_robin", "nginx/least_conn"), loads=(0.5, 0.9, 1.1)
):
    """Two repeats of each cell; the second arm is twice as slow, the last could not be had at one load."""
    rows = []
    for load in loads:
        for repeat in (0, 1):
            for number, arm in enumerate(arms):
                row = {
                    "arm": arm,
                    "workload": "chat",
                    "load": load,
                    "repeat": repeat,
                    "digest": f"{load}-{repeat}",
                }
                if arm == arms[-1] and load == loads[0]:
                    rows.append(row | {"trouble": "not installed: no nginx", "prediction": None})
                    continue
                records = plausible(seed=repeat, slow=(1 + number) * load)
                predicted = {"p90_ttft_ms": 900.0 * (1 + number)} if number < 2 else None
                seen = observed(records)
                (window,) = seen.stages.values()
                told = {"trouble": None, "prediction": predicted, "samples": samples(records, *window)}
                rows.append(row | measured(seen) | told)
    plan = {"arms": list(arms), "workloads": ["chat"], "loads": list(loads)}
    return {"benchmark": "compare", "fingerprint": {"cores": 2}, "plan": plan, "runs": rows}
