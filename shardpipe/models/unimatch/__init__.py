"""UniMatch's optical flow (Xu et al., Unifying Flow, Stereo and Depth Estimation, TPAMI 2023; GMFlow, CVPR 2022), flow alone.

One model: two scales and six refinements, as the published gmflow-scale2-regrefine6 checkpoints need it, whose tensor names
are the attribute names here. Written from the papers and the layout of those checkpoints. Modules here import torch: import
them in a stage's `setup`.

    two pictures ─▶ backbone ─▶ features at 1/8 and 1/4
    1/8: transformer ─▶ global matching ─▶ flow ─▶ propagation over the whole picture ─┐
    1/4: second picture's features moved by that flow, twice as large ◀───────────────┘
         transformer ─▶ local matching ─▶ flow added ─▶ propagation over 3x3 ─▶ 6 refinements ─▶ convex upsampling to 1/1
"""
