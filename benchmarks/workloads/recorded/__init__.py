"""Traffic that was recorded, read from files: traces of lengths, and logs of whole requests. Nothing is sent or timed here."""
