"""The colours of pictures and terminals. Okabe and Ito's, which the colour-blind can tell apart; classes have letters as well.

Source: Okabe and Ito, "Color Universal Design" (2008).
"""

import numpy as np

from edge.kernels.lidar_ground import GROUND, NOISE, OBSTACLE, OVERHEAD

Colour = tuple[int, int, int]

BACK: Colour = (13, 17, 23)
GRID: Colour = (44, 52, 62)
FREE: Colour = (0, 110, 84)
CORRIDOR: Colour = (27, 36, 50)
EDGE: Colour = (94, 110, 132)
TEXT: Colour = (216, 222, 230)
VEHICLE: Colour = (230, 230, 230)
ALARM: Colour = (240, 228, 66)

CLASSES: tuple[Colour, ...] = ((86, 180, 233), (226, 110, 30), (176, 180, 186))  # vehicle, vulnerable, other
LETTERS = ("V", "P", "o")
LEGEND = "V vehicle   P person, bicycle, motorcycle   o other"

OBJECTS = np.array([(230, 159, 0), (0, 158, 115), (204, 121, 167), (64, 140, 220), (150, 220, 190)], np.uint8)
KINDS = np.zeros((4, 3), np.uint8)
KINDS[[GROUND, OBSTACLE, OVERHEAD, NOISE]] = (70, 78, 88), (230, 159, 0), (70, 92, 120), (96, 44, 48)

_LEVELS = 4  # of a colour over the background: pictures are drawn at twice their size and averaged


def palette() -> list[int]:
    """Every colour that a picture needs, as Pillow wants them: fixed, so that a thin arrow does not lose its colour to the many points."""
    pure = [GRID, FREE, CORRIDOR, EDGE, TEXT, VEHICLE, ALARM, *CLASSES, *OBJECTS.tolist(), *KINDS.tolist()]
    blends = [
        [back + (front - back) * level // _LEVELS for front, back in zip(colour, BACK, strict=True)]
        for colour in pure
        for level in (1, 2, 3, 4)
    ]
    return [*BACK, *(number for blend in blends for number in blend)]
