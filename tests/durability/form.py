"""The short form of these tests, for each change, and the full one."""

import os

IS_SHORT = os.environ.get("TIM_SERVER_LONG") == "short"
KILLS = 3 if IS_SHORT else 50
LIFE_S = (0.1, 0.4) if IS_SHORT else (0.1, 1.0)
"""How long what is killed lives before."""
AWAY_S = (2.0,) if IS_SHORT else (3.0, 14.0)
"""How long PostgreSQL is away; in the full form also longer than writes wait for it."""
MESSAGES_ACROSS = 300 if IS_SHORT else 5_000
"""How many messages are sent between two servers while both are killed."""
MORE_SEEDS = range(2, 6 if IS_SHORT else 32)
"""Of random courses that are tried besides the first."""
