"""The corruptions of the robustness benchmark of Hendrycks & Dietterich (ICLR 2019), as its files are named."""

from __future__ import annotations

# Those that its error is the mean over.
BENCHMARK = (
    "brightness", "contrast", "defocus_blur", "elastic_transform", "fog", "frost", "gaussian_noise", "glass_blur",
    "impulse_noise", "jpeg_compression", "motion_blur", "pixelate", "shot_noise", "snow", "zoom_blur",
)  # fmt: skip
# Four more that its authors leave to validation; CIFAR-10-C and CIFAR-100-C hold them too.
EXTRA = ("gaussian_blur", "saturate", "spatter", "speckle_noise")
