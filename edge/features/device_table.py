"""Values that belong to a device and change seldom: the rows of a table, and how they join the vectors."""

from collections.abc import Mapping

import msgspec
import numpy as np
import numpy.typing as npt


class DeviceTable(msgspec.Struct, frozen=True):
    """A table that was read whole and found good.

    Args:
        index: device to its row.
        values: float32 (n, k), finite; one column for each of ``columns``.
        columns: their names.
        modified_ns: Unix time of the file's last change.
        version: tells this state of the file from any other.
    """

    index: Mapping[str, int]
    values: npt.NDArray[np.float32]
    columns: tuple[str, ...]
    modified_ns: int = 0
    version: tuple[int, ...] = ()

    def row(self, device: str, order: list[int]) -> npt.NDArray[np.float32] | None:
        """The values of a device, or None when it has no row.

        Args:
            device: whose.
            order: which columns, in the order of the vector.
        """
        at = self.index.get(device)
        return None if at is None else np.ascontiguousarray(self.values[at, order])
