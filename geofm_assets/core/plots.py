"""Figures as Markdown images, so that they show in asset metadata without a server."""

import base64
import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def figure_png(figure: "Figure") -> bytes:
    """A matplotlib figure as a PNG; the same figure gives the same bytes."""
    sink = io.BytesIO()
    figure.savefig(sink, format="png", dpi=100, bbox_inches="tight", metadata={"Software": None})
    return sink.getvalue()


def figure_markdown(figure: "Figure", alt: str) -> str:
    """A matplotlib figure as a Markdown image with its PNG inside."""
    return png_markdown(figure_png(figure), alt)


def png_markdown(png: bytes, alt: str) -> str:
    """A PNG as a Markdown image."""
    return f"![{alt}](data:image/png;base64,{base64.b64encode(png).decode()})"


def new_figure(width: float, height: float) -> "Figure":
    """A figure that is not tied to pyplot's global state (safe in threads), size in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")
