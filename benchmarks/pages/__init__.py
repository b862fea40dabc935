"""Results for readers: one self-contained HTML page, or Markdown, of any results of the benchmarks."""
