"""Scan to objects: region of interest, ground, clusters, boxes, tracks, time to collision. Owns geometry; never decides what to do."""
