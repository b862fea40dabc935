"""All that is known of vLLM's outside, across its versions: routes, metric names, answers, errors. Pure."""
