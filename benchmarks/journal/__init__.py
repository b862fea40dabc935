"""What a journal of all decisions costs, and how fast it is made again."""
