"""What a page is made of: a section for each result, with its tables and plots. Pure."""

from dataclasses import dataclass, field

from benchmarks.report import Table


@dataclass(frozen=True, slots=True)
class Section:
    """`pictures` are SVG; `facts` says what it was measured on."""

    title: str
    tables: list[Table]
    pictures: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    facts: str = ""

    def markdown(self) -> str:
        parts = [f"## {self.title}", *self.notes, *(table.markdown() for table in self.tables)]
        return "\n\n".join([*parts, f"Measured on: {self.facts}." if self.facts else ""]).strip()
