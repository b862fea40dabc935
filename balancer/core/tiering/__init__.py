"""Which model: virtual names, rules, the complexity score, and one choice of tier and replica."""
