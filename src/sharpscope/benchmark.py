"""The corruptions of the robustness benchmark of Hendrycks & Dietterich (ICLR 2019), as its files are named."""

from __future__ import annotations

# Those that its error is the mean over.
BENCHMARK = (
    "brightness", "contrast", "defocus_blur", "elastic_transform", "fog", "frost", "gaussian_noise", "glass_blur",
    "impulse_noise", "jpeg_compression", "motion_blur", "pixelate", "shot_noise", "snow", "zoom_blur",
)  # fmt: skip
# Four more that its authors leave to validation; CIFAR-10-C and CIFAR-100-C hold them too.
EXTRA = ("gaussian_blur", "saturate", "spatter", "speckle_noise")

_OF_FAMILY = {
    "noise": ("gaussian_noise", "impulse_noise", "shot_noise", "speckle_noise"),
    "blur": ("defocus_blur", "gaussian_blur", "glass_blur", "motion_blur", "zoom_blur"),
    "weather": ("brightness", "fog", "frost", "snow", "spatter"),
    "digital": ("contrast", "elastic_transform", "jpeg_compression", "pixelate", "saturate"),
}
# Of each corruption.
FAMILIES = {corruption: family for family, corruptions in _OF_FAMILY.items() for corruption in corruptions}
