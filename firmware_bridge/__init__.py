"""The microcontroller's side of the road: importable alone, never imports `edge`."""
