"""FID and KID of drawn digits: features of a small network that learnt real digits, named and made here.

The extractor: the benchmark's classifier (two convolutions of 16 and 32 channels, 128 features before the last layer),
trained for four epochs with seed 0 on the real training images. Only figures by the same extractor compare; they are
not those by Inception in print. FID has a bias that falls with the number of images: `floor` is what as many real
training images score.
"""

import numpy as np
import torch

from privagams_metrics.kid import kernel_sums


class Likeness:
    """Compares with real images that nobody trained on."""

    def __init__(self, net, real, scaled):
        """`net`: trained classifier; `real`: test images "n 28 28"; `scaled`: uint8 images to its input."""
        self._net, self._scaled = net[:-1].eval(), scaled
        self._real = self._features(real)

    def of(self, images):
        """FID and KID."""
        drawn = self._features(images)
        alone = np.arange(len(self._real))
        sums = kernel_sums(self._real.astype(np.float32), alone, drawn.astype(np.float32), degree=3)
        return {
            "fid": round(fid(self._real, drawn), 2),
            "kid": round(sums.kid(np.ones(len(alone))), 2),
        }

    def _features(self, images):
        with torch.no_grad():
            parts = [
                self._net(self._scaled(part)).double().numpy()
                for part in np.array_split(images, len(images) // 500 + 1)
            ]
        return np.concatenate(parts)


def fid(first, second):
    """Heusel et al. (2017), arXiv 1706.08500: distance of two Gaussians fitted to features "n d"."""
    apart = first.mean(0) - second.mean(0)
    a, b = np.cov(first, rowvar=False), np.cov(second, rowvar=False)
    values, vectors = np.linalg.eigh(a)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    cross = np.sqrt(np.linalg.eigvalsh(root @ b @ root).clip(0)).sum()
    return float(apart @ apart + np.trace(a) + np.trace(b) - 2 * cross)
