"""The report in words."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from balancer.reports.drift import Drift, Judged
from balancer.reports.report import Arms, OfModel, Quality, Savings, Shadow, Shares
from balancer.reports.weighting import LEAST, Estimate

DAYS_SHOWN = 14
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CALLED = {
    "rating": "rating",
    "answered": "answers that came whole",
    "ttft_s": "TTFT",
    "usd": "USD a request",
}


def render(models: list[OfModel]) -> str:
    """Plain text, for a terminal."""
    if not models:
        return "Nothing is logged yet: no request has asked for a virtual model.\n"
    return "\n".join("\n".join(_model(each)) + "\n" for each in models)


def _model(of: OfModel) -> Iterator[str]:
    yield (
        f"{of.name}: {of.requests:,} requests in {of.conversations:,} conversations, "
        f"{_when(of.first_at)} to {_when(of.last_at)}"
    )
    yield _line("served by", _counts(of.tiers, of.requests))
    yield _line("chosen by", _counts(of.reasons, of.requests))
    yield from _shares(of.shares, of.weakest)
    yield from _savings(of.savings, of.strongest)
    yield from _quality(of.quality, of)
    risk = of.risk
    if risk.weak:
        said = (
            f"{risk.displeased} of {risk.rated} rated below one half" if risk.rated else "none of them rated"
        )
        yield _line(
            "risked",
            f"{risk.weak:,} requests went to {of.weakest} that need not have: {said}, {risk.borderline:,} borderline by "
            f"their score, {risk.failed:,} without a whole answer",
        )
    yield _line("scores", _drift(of.drift))
    for tier, reasons in of.fallbacks.items():
        yield _line("fell back", f"from {tier}: " + ", ".join(f"{n:,} {why}" for why, n in reasons.items()))
    for arms in of.arms:
        yield _line("test", _arms(arms))
    if of.shadow is not None:
        yield _line("shadow mode", _shadow(of.shadow))


def _shares(shares: Shares, weakest: str) -> Iterator[str]:
    if shares.strong is None:
        yield _line("strong share", "no request had a choice")
        return
    asked = f"; asked was {shares.asked}" if shares.asked else ""
    yield _line(
        "strong share",
        f"{shares.strong:.1%} [{shares.low:.1%}, {shares.high:.1%}] of the {shares.free:,} requests that had a choice went to "
        f"another tier than {weakest}{asked}",
    )
    if len(shares.days) > 1:
        shown = shares.days[-DAYS_SHOWN:]
        yield _line(
            "by day",
            ", ".join(f"{_EPOCH + timedelta(days=d):%m-%d} {s:.0%} of {n:,}" for d, n, s in shown),
        )


def _savings(savings: Savings, strongest: str) -> Iterator[str]:
    if not savings.priced:
        yield _line(
            "saved", "not known: no request had prices of all its tiers (usd_per_mtok, replica_usd_per_hour)"
        )
        return
    saved = savings.usd_all_strong - savings.usd
    part = f" ({saved / savings.usd_all_strong:.1%})" if savings.usd_all_strong > 0 else ""
    yield _line(
        "saved",
        f"{saved:,.2f} USD{part}: {savings.usd:,.2f} spent; all at {strongest} {savings.usd_all_strong:,.2f}, all at the weakest "
        f"{savings.usd_all_weak:,.2f}, if answers were as long there; {savings.priced:,} requests with known prices",
    )


def _quality(quality: Quality, of: OfModel) -> Iterator[str]:
    if quality.wins:
        wins = ", ".join(f"{who} {count:,}" for who, count in quality.wins.items())
        yield _line("side by side", f"better was: {wins}")
    if not quality.rated:
        yield _line("quality", "not known: nothing was rated (POST /v1/feedback)")
        return
    plain = ", ".join(f"{tier} {_about(each)} of {each.rows:,}" for tier, each in quality.tiers.items())
    yield _line("ratings", f"{plain}; each tier had other requests, so these do not compare")
    served, weak, strong = quality.as_served, quality.all_weak, quality.all_strong
    if served is None or weak is None or strong is None:
        yield _line(
            "quality",
            f"what another tier's answers would have been rated is not known: of {quality.rated:,} rated requests "
            f"{quality.randomised:,} were chosen with some chance for both (`explore`), and not both tiers served any",
        )
        return
    yield _line(
        "quality",
        f"over {quality.randomised:,} rated requests that were drawn with known odds: as served {_about(served)}, all at "
        f"{of.weakest} {_about(weak)}, all at {of.strongest} {_about(strong)}",
    )
    if quality.loss is None or quality.loss.high is None or quality.loss.low is None:
        least = min(weak.effective, strong.effective)
        yield _line(
            "",
            f"too few to compare: they are worth {least:.0f} conversations, and it takes {LEAST}; explore more, or wait",
        )
    else:
        most = max(0.0, quality.loss.high)
        yield _line(
            "",
            f"{of.strongest} alone would have been rated {_signed(quality.loss)} more: at most {most:.3f} was lost "
            "(95 %, of those who rate)",
        )
        if quality.gain is not None and quality.gain.low is not None and quality.gain.low <= 0:
            yield _line(
                "",
                f"no gain of {of.strongest} over {of.weakest} is shown ({_signed(quality.gain)}): is it worth it?",
            )


def _drift(found: Drift) -> str:
    if found.judged is Judged.UNKNOWN or found.psi is None:
        return (
            f"{found.judged} whether they moved: {found.before:,} conversations before, {found.now:,} lately"
        )
    moved = f"median {found.median_before:.2f} before, {found.median_now:.2f} in the last fifth"
    advice = {
        Judged.STABLE: "",
        Judged.MOVED: "; look at the shares",
        Judged.CHANGED: "; a threshold that was set by hand does not mean what it did, and a classifier may need new labels",
    }[found.judged]
    return f"{found.judged} (PSI {found.psi:.2f}, KS {found.ks:.2f}): {moved}{advice}"


def _arms(arms: Arms) -> str:
    (a, b), (n, m), (x, y), verdict = arms.arms, arms.counts, arms.middles, arms.verdict
    higher = arms.outcome in {"rating", "answered"}
    what = "difference" if higher else "how much more often lower"
    told = (
        f"decided, {a if verdict.low + verdict.high > 0 else b} is better"
        if verdict.decided
        else "not decided yet: go on, and look as often as you like"
    )
    kind = "mean" if higher else "median"
    return (
        f"{arms.experiment}, {_CALLED[arms.outcome]}: {a} {kind} {x:.4g} of {n:,}, {b} {y:.4g} of {m:,}; {what} "
        f"[{verdict.low:+.3f}, {verdict.high:+.3f}]; {told}"
    )


def _shadow(shadow: Shadow) -> str:
    money = (
        f"; {shadow.usd_then:,.2f} USD instead of {shadow.usd:,.2f} over {shadow.priced:,}"
        if shadow.priced
        else "; costs are not known"
    )
    anyway = shadow.same / shadow.requests
    return f"would have sent {_counts(shadow.tiers, shadow.requests)}; {anyway:.1%} went there anyway{money}"


def _about(estimate: Estimate) -> str:
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.3f} (too few)"
    return f"{estimate.value:.3f} [{max(0.0, estimate.low):.3f}, {min(1.0, estimate.high):.3f}]"


def _signed(estimate: Estimate) -> str:
    return f"{estimate.value:+.3f} [{estimate.low:+.3f}, {estimate.high:+.3f}]"


def _counts(counts: dict[str, int], total: int) -> str:
    return ", ".join(f"{name or '(none)'} {n:,} ({n / total:.1%})" for name, n in counts.items())


def _line(label: str, text: str) -> str:
    return f"  {label:<13} {text}"


def _when(at: float) -> str:
    return f"{_EPOCH + timedelta(seconds=at):%Y-%m-%d %H:%M}"
