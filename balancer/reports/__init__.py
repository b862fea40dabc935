"""What the outcome log says: savings, shares, quality, drift, tests of arms. Reads the file, and changes nothing."""
