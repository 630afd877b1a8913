"""Pictures as they stand inside a page."""

from __future__ import annotations

import base64
import io

from matplotlib.figure import Figure

_DPI = 100


def figure_png(figure: Figure) -> str:
    """A figure as an address of its own content."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=_DPI)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()
