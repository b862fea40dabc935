"""What events there are. Each is an array: its kind, its time where it has one, and what is listed here.

Replicas, requests, plans, attempts (charges) and who waits are called by numbers that their own event gave them; names by
tables.py; block keys by chains.py. BEGIN opens every file and says what follows it: nothing before it is referred to, but numbers
of what still lives, which a reader who comes from the file before knows.
"""

from typing import Final

BEGIN: Final = 0  # what holds, as a mapping
REPLICA: Final = 1  # one that is there when a file begins: number, state
CONFIGURE: Final = 2  # health, limits, panic threshold, warm-up
JOIN: Final = 3  # number, state
LEAVE: Final = 4  # replica
DRAIN: Final = 5  # time, replica, whether
SERVES: Final = 6  # replica, models
BOUND: Final = 7  # replica, limits
TIER: Final = 8  # whether there are tiers, and whether they are others, or calibrated anew
REQUEST: Final = 9  # number, what decisions see of it, its chain
VIRTUAL: Final = 10  # number, a virtual model, what its floor needs
OPTION: Final = 11  # number, a tier
PLAN: Final = 12  # number, what the choice of a tier sees
DECIDE: Final = 13  # time, request, tried; decision
CHOOSE: Final = 14  # time, plan, request, tried, left; tier and decision
ADMIT: Final = 15  # time, replica; whether
DISPATCH: Final = 16  # time, attempt, request, replica, whether it was pinned
FIRST_TOKEN: Final = 17  # time, attempt
ENDED: Final = 18  # time, attempt, usage, events
ANSWERED: Final = 19  # time, replica, time of sending
DECLINED: Final = 20  # time, replica, Retry-After
FAILED: Final = 21  # time, replica, flags
PROBED: Final = 22  # time, replica, time of asking, flags
SAMPLED: Final = 23  # time, replica, in flight, fields that changed
UNREAD: Final = 24  # time, replica, whether it answered
WAITS: Final = 25  # time, number, request, tried; whether
WAITS_NO_MORE: Final = 26  # who
RELEASE: Final = 27  # time
RELEASED: Final = 28  # who; decision
RELEASE_ENDS: Final = 29  # whether to its end
GPUS: Final = 30  # time, replica, condition, slowness, share
QUOTE: Final = 31  # time, plan, request: asked, and not done
