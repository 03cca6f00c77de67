"""What happened when, printed as it happens."""

import time

from rich.console import Console


class Timeline:
    """Lines with seconds since the start."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began_s = time.perf_counter()

    def now_s(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self._began_s

    def tell(self, text: str, *, at_s: float | None = None, style: str = "") -> float:
        """Print one line; returns its time."""
        when_s = self.now_s() if at_s is None else at_s
        self._console.print(f"[dim]{when_s:8.3f} s[/dim]  {text}", style=style, highlight=False)
        return when_s
