"""A lean load client: keep-alive connections, closed and open loops. It knows HTTP/1.1 and nothing of what it loads."""
