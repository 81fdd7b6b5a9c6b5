"""Where a network looks: heat maps of its classes.

========== =========================================================================================================
module     holds
========== =========================================================================================================
cams       Grad-CAM, Grad-CAM++ and LayerCAM, as formulas of a layer's output and gradients
layers     which layer of a network they are computed at
maps       heat maps of images: several classes at once, averaged over the training runs
overlay    heat maps as pictures, and back on the image that a file holds; without torch
scores     how well maps find what is known to be somewhere, against what needs no network; without torch
========== =========================================================================================================
"""
