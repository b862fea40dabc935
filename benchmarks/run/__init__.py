"""One script played to one target, which may be anybody's."""
