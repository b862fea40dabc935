"""Load generators. Loops that check every byte, for what a proxy costs; and the player of scripts, for what a server gives."""
