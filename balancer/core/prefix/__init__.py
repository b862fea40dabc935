"""What each replica is believed to hold in its KV cache: block keys and the index over them."""
