"""HTTP in: routes, keys, error bodies, the balancer's own pages. No decisions."""
