"""The settings of tiering: tiers, virtual models and aliases. The rules that choose among them stand in tiering_rules.py.

What is wrong within one value is said where it is read, what is wrong between them in tiering_check.py.
"""

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from balancer.config.classifier_entry import BUNDLED, Classifier, ClassifierEntry
from balancer.config.group import Group
from balancer.config.kinds import Count, Header, Name, Period, Share, one_or_many
from balancer.config.tiering_kinds import Label, Labels, Languages, TroubleName, Usd, unmangled
from balancer.config.tiering_rules import DecisionEntry, SignalEntry, TenantEntry
from balancer.config.urls import ReplicaUrl


class Prices(Group):
    input: Usd
    """USD for a million tokens of a prompt."""

    output: Usd
    """USD for a million tokens of an answer."""

    cached_input: Usd | None = None
    """USD for a million tokens of a prompt that were cached. Default: as others."""


class Can(Group):
    images: bool | None = None
    """Read images. Default: not known, and then nobody is kept from it; so with all of these."""

    audio: bool | None = None
    """Hear audio."""

    tools: bool | None = None
    """Call tools."""

    structured: bool | None = None
    """Give structured output (JSON by a schema)."""

    languages: Languages | None = None
    """The languages it knows, by ISO 639-1."""

    context_tokens: Count | None = None
    """Most tokens of a prompt and its answer together. Default: `max_model_len`, as its replicas tell."""


class TierEntry(Group):
    model: Name
    """The model's name there."""

    replicas: Annotated[tuple[Name, ...], Field(min_length=1), BeforeValidator(one_or_many)] | None = None
    """Names of the replicas that are this tier. Default: whoever serves the model."""

    url: ReplicaUrl | None = None
    """An external provider that speaks the OpenAI API, in the place of replicas: the URL before `/chat/completions`, with its
    `/v1`."""

    api_key_env: Name | None = None
    """The environment variable that holds the provider's key. A client's own key never goes there."""

    max_in_flight: Count | None = None
    """Most requests that this balancer has with the provider at once."""

    requests_per_minute: Count | None = None
    """What the provider allows."""

    tokens_per_minute: Count | None = None
    """What the provider allows, of prompts and answers together."""

    max_attempts: Count | None = None
    """Attempts that may fail at the provider before the next of the chain is asked. Default: 2."""

    first_token_timeout_s: Period | None = None
    """How long the provider may take to its first token. Default: as `first_byte_timeout_s`."""

    usd_per_mtok: Annotated[Prices, "prices"] | None = None
    """Prices for a million tokens: `input`, `output` and `cached_input`."""

    replica_usd_per_hour: Usd | None = None
    """What one replica costs, from which, with the tokens it was seen to do, follows what a token costs."""

    can: Annotated[Can, "abilities"] = Can()
    """What the model can: `images`, `audio`, `tools`, `structured`, `languages`, `context_tokens`."""


class FallbackEntry(Group):
    to: Label
    """The tier that stands in."""

    on: Annotated[tuple[TroubleName, ...], Field(min_length=1), BeforeValidator(one_or_many)] = (
        "saturated",
        "failing",
        "context",
        "limited",
        "timeout",
    )
    """Why: its line is full (`saturated`), nobody there answers (`failing`), the prompt is too long for it (`context`), it
    refused by its limits (`limited`), or gave no first token in time (`timeout`)."""

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        return {"to": value} if isinstance(value, str) else unmangled(value)


class CanaryEntry(Group):
    to: Label
    """The tier that is tried."""

    share: Share
    """Of all conversations."""

    instead_of: Label | None = None
    """The tier that it stands for. Default: all that those conversations ask goes to it."""


class ArmEntry(Group):
    """What the share of an arm has in the place of the virtual model's own."""

    share: Share
    """Of all conversations; those of all arms make 1."""

    tiers: Labels | None = None
    """As the virtual model's; so with all that follow. Default: the virtual model's own."""

    strong_share: Share | None = None
    quality_floor: Share | None = None
    threshold: Share | None = None
    default: Label | None = None
    classifier: Classifier | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_share(cls, value: Any) -> Any:
        return {"share": value} if isinstance(value, int | float) and not isinstance(value, bool) else value


class ExperimentEntry(Group):
    name: Label
    """What reports call it. Another name draws the conversations anew."""

    arms: Annotated[dict[Label, Annotated[ArmEntry, "arm"]], Field(min_length=2)]
    """By name: a share, or a mapping of `share` and what is other there."""


class VirtualEntry(Group):
    tiers: Labels
    """The tiers that may serve it, the weakest first."""

    strong_share: Share | None = None
    """The share of the requests that goes to stronger tiers; it is held whatever is asked."""

    quality_floor: Share | None = None
    """The part of the strongest tier's quality that is kept, by the classifier's calibration; as few as that needs go to stronger
    tiers."""

    threshold: Share | None = None
    """Requests that score at least this go to the stronger tier, as RouteLLM has it. The share that this makes is not held."""

    default: Label | None = None
    """The tier for requests of which the classifier knows nothing. Default: the strongest."""

    classifier: Classifier = ClassifierEntry(file=BUNDLED[0])
    """`prior`, which comes with the balancer, `length`, a file that `balancer tier train` wrote, or a mapping that says who else
    is asked. Default: `prior`."""

    fallback: Annotated[tuple[Annotated[FallbackEntry, "fallback"], ...], BeforeValidator(one_or_many)] = ()
    """Who stands in when a tier cannot serve a request, in this order: names of tiers, or mappings of `to` and `on`."""

    sticky: bool = True
    """Conversations stay with their tier: they go up freely, and down only where that pays for computing their history anew."""

    shadow: bool = False
    """Score and report, and send everything to `default`."""

    explore: Annotated[Share, Field(le=0.5)] = 0.0
    """Share of the conversations whose tier is drawn at random, so that reports can compare; 0.02 to 0.05 are usual."""

    canary: Annotated[CanaryEntry, "canary"] | None = None
    """A share of the conversations for a tier on trial: `to`, `share`, `instead_of`."""

    experiment: Annotated[ExperimentEntry, "experiment"] | None = None
    """An A/B test: `name` and `arms`. A conversation stays in its arm."""


class Tiering(Group):
    tiers: dict[Label, Annotated[TierEntry, "tier"]] = Field(default_factory=dict)
    """Models and who serves them, by the names that virtual models and rules use."""

    virtual_models: dict[Label, Annotated[VirtualEntry, "virtual model"]] = Field(default_factory=dict)
    """Names that clients may ask for, which stand for tiers."""

    model_aliases: dict[Name, Name] = Field(default_factory=dict)
    """Further names: of virtual models, of tiers, or of models."""

    signals: dict[Label, Annotated[SignalEntry, "signal"]] = Field(default_factory=dict)
    """What decisions may ask of a request, by name."""

    decisions: Annotated[tuple[Annotated[DecisionEntry, "decision"], ...], BeforeValidator(one_or_many)] = ()
    """Which tiers a request to a virtual model gets, by signals."""

    tenants: dict[Name, Annotated[TenantEntry, "tenant"]] = Field(default_factory=dict)
    """What tenants may use and spend; `*` stands for all others. They are named by their API key, or `tenant_header`."""

    tier_header: Header = "x-balancer-tier"
    """Request header that stands in for `model`; it may also name a tier, or, behind `>=`, the weakest that will do."""

    def classifiers(self) -> Iterator[tuple[tuple[str, ...], ClassifierEntry]]:
        """All that are named, and where."""
        for name, virtual in self.virtual_models.items():
            arms = {} if virtual.experiment is None else virtual.experiment.arms
            at: tuple[str, ...] = ("virtual_models", name)
            yield (*at, "classifier"), virtual.classifier
            for arm, entry in arms.items():
                if entry.classifier is not None:
                    yield (*at, "experiment", "arms", arm, "classifier"), entry.classifier
