"""Fine-grained similarity: vectors in several sub-spaces, each compared with the best fitting one of the other side."""

from __future__ import annotations

from torch import Tensor


def fine_grained(left: Tensor, right: Tensor) -> Tensor:
    """(A, B) ``sum_m max_n <left_am, right_bn>``: every part of the left against the best part of the right.

    CTRL (Li et al. 2023, arXiv 2306.02841, eq. 7). With one part it is the plain product.

    Args:
        left: (A, M, D)
        right: (B, N, D)
    """
    parts, width = left.shape[1:]
    products = left.reshape(-1, width) @ right.reshape(-1, width).T  # (A M, B N)
    best: Tensor = products.view(len(left), parts, len(right), right.shape[1]).amax(3)
    return best.sum(1)
