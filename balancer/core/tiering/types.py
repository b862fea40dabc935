"""The nouns of tiering. No behaviour.

A *tier* is a model and who serves it: replicas of the fleet, or an external provider, which is a replica like any other to
the fleet. A *virtual model* is a name that clients ask for, and stands for tiers, the weakest first. Money is USD.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar, NamedTuple

from balancer.core.types import Decision, ReplicaId, RequestView


class Price(NamedTuple):
    """USD per million tokens; `cached_input` is None where cached prompt tokens cost as much as others."""

    input: float
    output: float
    cached_input: float | None = None


@dataclass(frozen=True, slots=True)
class Abilities:
    """What a model can; None: not known, and then nobody is kept from it."""

    images: bool | None = None
    audio: bool | None = None
    tools: bool | None = None
    structured: bool | None = None
    languages: frozenset[str] | None = None  # ISO 639-1
    context_tokens: int | None = None  # None: what its replicas told (max_model_len)


@dataclass(frozen=True, slots=True)
class Tier:
    """`replicas` is None for whoever serves the model. `price` is None where it follows from `replica_usd_per_hour` and
    measured throughput, or where nobody told.
    """

    name: str
    model: str
    replicas: frozenset[ReplicaId] | None = None
    price: Price | None = None
    replica_usd_per_hour: float | None = None
    abilities: Abilities = Abilities()
    external: bool = False


class Trouble(StrEnum):
    """Why a request leaves a tier for the next of its chain."""

    SATURATED = "saturated"  # its line is full, or the wait there too long
    FAILING = "failing"  # nobody there can be reached, or all attempts failed
    CONTEXT = "context"  # the prompt, with what the answer may need, is too long for it
    LIMITED = "limited"  # it refused by its own limits: 429, or our own for it
    TIMEOUT = "timeout"  # no first token in time


class Fallback(NamedTuple):
    to: str
    on: frozenset[Trouble]


class StrongShare(NamedTuple):
    """The share of the requests that goes to the stronger tiers, held by a rolling quantile of recent scores."""

    share: float


class QualityFloor(NamedTuple):
    """The least strong share that keeps this part of the strong model's quality, by the classifier's calibration."""

    floor: float


class Threshold(NamedTuple):
    """Scores of at least this go to the stronger tier (as RouteLLM has it)."""

    score: float


Target = StrongShare | QualityFloor | Threshold


class Canary(NamedTuple):
    """A share of the conversations goes to `to`: all they ask, or only what `instead_of` would have served."""

    to: str
    share: float
    instead_of: str | None = None


class Arm(NamedTuple):
    """One arm of a test: what its share of the conversations has in place of the virtual model."""

    name: str
    share: float
    virtual: "VirtualModel"


class Experiment(NamedTuple):
    name: str
    arms: tuple[Arm, ...]


@dataclass(frozen=True, slots=True)
class VirtualModel:
    """`tiers` from the weakest to the strongest. `default` is where a request goes of which the classifier knows nothing.
    `shadow`: score and report, and send everything to `default`. `explore` is the share that is drawn at random.
    """

    name: str
    tiers: tuple[str, ...]
    target: Target
    default: str
    classifier: str = "prior"
    fallbacks: tuple[Fallback, ...] = ()
    sticky: bool = True
    shadow: bool = False
    explore: float = 0.0
    canary: Canary | None = None
    experiment: Experiment | None = None


class Score(NamedTuple):
    """How much a request gains from a stronger model: `value` in [0, 1], the share of the reference mix that gains less.
    `spread` is the half width of the score's own uncertainty. Not `known`: the classifier cannot say.
    `qualities` are expected qualities in [0, 1] per model, from classifiers that know more than two models.
    """

    value: float
    spread: float = 0.0
    known: bool = True
    why: str = ""
    qualities: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Text:
    """What classifier and rules see of a request: bounded text, never images. `last` is the last user turn, head and tail of
    it where it is long (`last_bytes` is how long), `before` a bounded view of the user turns before it, `system` of the
    instructions. `turns` counts user turns. `answer_tokens` is the answer's limit that the request names. `tool_failed`: the
    last result of a tool says that it failed.
    """

    last: str
    last_bytes: int
    before: str = ""
    system: str = ""
    turns: int = 1
    images: int = 0
    audio: int = 0
    tools: int = 0
    structured: bool = False
    answer_tokens: int | None = None
    tool_failed: bool = False


class Signs(NamedTuple):
    """What a conversation's last user turn shows of how it goes (core/tiering/sticky.py): `said` is a hash of it, 0 if it says
    nothing; `again`: it is long enough to repeat a turn by intent, `repeats`: it does repeat one that is still in the prompt.
    """

    said: int
    again: bool
    repeats: bool
    complains: bool
    tool_failed: bool


class Classifier(ABC):
    """`score` is bounded in time whatever the request is, and never raises."""

    name: ClassVar[str]

    @abstractmethod
    def score(self, text: Text) -> Score: ...


class Sort(StrEnum):
    PRICE = "price"
    THROUGHPUT = "throughput"
    LATENCY = "latency"


@dataclass(frozen=True, slots=True)
class Ask:
    """What a request says of who should serve it. `name` is a virtual model, a tier or a model, behind all aliases. `models` are
    what it falls back on, in order; `only` names tiers, `ignore` and `order` name tiers or models; `max_price` is the most it may
    cost. `heal`: it asks that broken JSON be mended.
    """

    name: str
    threshold: float | None = None
    models: tuple[str, ...] = ()
    order: tuple[str, ...] = ()
    only: frozenset[str] | None = None
    ignore: frozenset[str] = frozenset()
    allow_fallbacks: bool = True
    max_price: Price | None = None
    sort: Sort | None = None
    min_tier: str | None = None
    heal: bool = False


@dataclass(slots=True)
class Plan:
    """One request's way through the tiers. `options` may serve it, the weakest first, by all rules and by what was asked;
    `chain` is who is asked, in order, when one fails (whoever was asked before is passed over), `reserve` its tiers, and `left`
    tells which tiers it left and why.

    `forced` (asked, rule, canary) tells why no score is needed: there is one option, or all are equally good, and `ask.sort`
    tells them apart. Empty: the score decides, and is there. `arm` is `experiment/arm`; its virtual model has a name of its own,
    so that each holds a share of its own. `rating` is the last one that the conversation got, in [0, 1].
    """

    virtual: VirtualModel
    ask: Ask
    text: Text
    options: tuple[Tier, ...]
    rule: str = ""  # the decision rule that narrowed the options
    chain: tuple[Fallback, ...] = ()
    reserve: tuple[Tier, ...] = ()
    barred: tuple[
        tuple[str, str], ...
    ] = ()  # of those who would stand in, who may not, and by which hard rule
    score: Score | None = None
    conversation: bytes = b""
    tenant: str = ""
    draw: float = 1.0  # uniform in [0, 1), for exploration
    arm: str = ""
    forced: str = ""
    rating: float | None = None
    left: list[tuple[str, Trouble]] = field(default_factory=list)
    choice: "Choice | None" = None
    signs: Signs | None = None  # of `text`, if they were read before
    number: int = field(
        default=0, init=False, repr=False, compare=False
    )  # its place in the journal, if there is one


class Offer(NamedTuple):
    """What a tier would do with the request now. `ttft_s` and `cost_s`, which counts what others wait for it as well, are None
    where the policy counts in no seconds, `usd` where no price is known.
    """

    tier: Tier
    decision: Decision
    ttft_s: float | None
    usd: float | None
    uncached_tokens: int = 0
    cost_s: float | None = None


class Choice(NamedTuple):
    """The tier and the replica, why, and what it was chosen from: the receipt.

    `reason`: asked, rule, score, band, sticky, escalated, default, explore, shadow, canary, fallback.
    `request` is what is sent: the request as asked of the tier's model. `saved_usd` is what a conversation saves, waiting
    included, that moves down.
    """

    tier: Tier
    decision: Decision
    reason: str
    threshold: float | None = None
    propensity: float = 1.0
    shadow: str = ""  # the tier that would have been chosen
    offers: Sequence[Offer] = ()
    request: RequestView | None = None
    saved_usd: float | None = None
