"""CoTracker3's point tracks (Karaev et al., CoTracker3: Simpler and Better Point Tracking by Pseudo-Labelling Real Videos, 2024):
the offline model, whose published checkpoint's tensor names are the attribute names here.

Written from the papers and the layout of that checkpoint. Modules here import torch: import them in a stage's `setup`.

    pictures ─▶ encoder ─▶ features at 1/4 ─▶ pyramid of four levels
    points on their frames ─▶ 7x7 features around each, at each level
    six times: features around the tracks so far, correlated with those around the points ─▶ one token a point and frame
               ─▶ transformer over time, and over points by way of 64 virtual tracks ─▶ tracks, visibility and confidence changed
"""
