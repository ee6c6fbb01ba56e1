"""Scans from above, as pictures and on the terminal. Owns colours and lines; what is seen is decided in edge.lidar."""
