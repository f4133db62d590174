"""Figures as Markdown images, so that they show in asset metadata without a server."""

import base64
import io

from matplotlib.figure import Figure


def figure_markdown(figure: Figure, alt: str) -> str:
    """A matplotlib figure as a Markdown image with its PNG inside."""
    sink = io.BytesIO()
    figure.savefig(sink, format="png", dpi=100, bbox_inches="tight", metadata={"Software": None})
    return f"![{alt}](data:image/png;base64,{base64.b64encode(sink.getvalue()).decode()})"


def new_figure(width: float, height: float) -> Figure:
    """A figure that is not tied to pyplot's global state (safe in threads), size in inches."""
    return Figure(figsize=(width, height), layout="constrained")
