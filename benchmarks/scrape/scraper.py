"""Scrapes a page for ever, as Prometheus does, in a process of its own. `python -m benchmarks.scrape.scraper URL INTERVAL_S`"""

import sys
import time
import urllib.request

from benchmarks.scrape.page import ACCEPT


def main(url: str, interval_s: float) -> None:
    due_s = time.monotonic()
    while True:
        request = urllib.request.Request(url, headers={"Accept": ACCEPT})  # noqa: S310 - the benchmark's own, on the loopback
        begun_s = time.monotonic()
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - as above
            page = answer.read()
        print(f"{time.monotonic() - begun_s:.6f} {len(page)}", flush=True)
        due_s += interval_s
        time.sleep(max(0.0, due_s - time.monotonic()))


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
