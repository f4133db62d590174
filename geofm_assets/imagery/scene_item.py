"""One local scene as rslearn keeps it with a window."""

from typing import Any

from rslearn.data_sources.data_source import Item
from rslearn.utils.geometry import STGeometry


class SceneItem(Item):
    """One scene as rslearn keeps it with a window.

    Attributes:
        file: path inside the scenes folder.
        content: digest of the file the window was prepared with.
        simulated: whether the scene was simulated.
    """

    def __init__(
        self, name: str, geometry: STGeometry, file: str, content: str, simulated: bool
    ) -> None:
        super().__init__(name, geometry)
        self.file = file
        self.content = content
        self.simulated = simulated

    def serialize(self) -> dict[str, Any]:
        """As rslearn writes it to items.json of a window."""
        return {
            **super().serialize(),
            "file": self.file,
            "content": self.content,
            "simulated": self.simulated,
        }

    @staticmethod
    def deserialize(d: dict[str, Any]) -> "SceneItem":
        """Back from items.json of a window."""
        geometry = STGeometry.deserialize(d["geometry"])
        return SceneItem(d["name"], geometry, d["file"], d["content"], d["simulated"])
