"""What the reasons of decisions mean, in a sentence each: the rule that decided."""

_CACHED = {
    "cached": "It holds the longest part of the prompt, and what that saves is worth more than any wait there.",
    "cached_everywhere": "All hold as much of the prompt, so nothing cached tells them apart: the lowest cost.",
    "cached_elsewhere_but_busy": "Another holds more of the prompt, but waiting there costs more than computing it again.",
}

REASONS: dict[str, str] = {
    # of any policy
    "pinned": "It alone has what the request goes on from.",
    # predicted_latency, and those that look for what is cached
    **_CACHED,
    "uncached": "Nobody holds any of the prompt: the lowest cost.",
    "least_work": "Nobody holds any of the prompt: the least work before it.",
    "home": "It costs no more than the cheapest, as far as predictions go, and is this conversation's home.",
    "unheard": "It is idle and was passed over so often that its speed must be seen again.",
    # by session, by prefix, by load
    "session": "The session's home.",
    "session_spilled": "The session's home has more than its share of requests: the next in its order.",
    "prefix": "The home of prompts that begin so.",
    "prefix_spilled": "The home of prompts that begin so has more than its share of requests: the next in its order.",
    "least_loaded": "The fewest requests.",
    "less_loaded_of_two": "The fewer requests of two that were drawn.",
    "only_one": "Nobody else could have it.",
    "next_in_turn": "Its turn was longest ago.",
    "random": "Drawn at random.",
    # the peers' rules, as balancer/core/scheduling/README.md has them
    "imbalanced": "Loads are too far apart to look at anything else: the fewest requests.",
    "nothing_to_match": "The prompt is too short to match: the lowest cost.",
    "longest_match": "The longest match, which is long enough.",
    "smallest_tree": "No match is long enough: the smallest tree.",
    "highest_score": "The highest score.",
    "cold": "Nobody holds enough of the prompt: the fewest tokens before its end.",
    "saturated": "Those that hold the prompt are too far behind the others: the fewest tokens before its end.",
    "sticky": "Of those that hold enough of the prompt, the fewest tokens before its end.",
    "lowest_cost": "The lowest cost.",
    "lowest_product": "The lowest product.",
    "lowest_rate": "Nobody holds any of the prompt: the fewest requests lately.",
    "explored": "Less than half of the prompt is cached anywhere: the least load.",
    "exploited": "More than half of the prompt is cached there: the least load of those that hold it.",
    "rebalanced": "Those that hold the prompt have far more to do: one request in a while goes elsewhere.",
}
