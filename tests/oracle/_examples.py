"""Single networks with a story."""

from __future__ import annotations

from jensen.network import ReLUNetwork, from_arrays


def beyond_icnn() -> ReLUNetwork:
    """Build a convex network of widths (2, 2) on the plane that no ICNN of widths (2, 2) represents.

    f = relu(h1 + h2 - 1) + relu(h2 - h1 - 2) with h = relu(x); one hidden weight is negative. Where the
    second neuron is on, h2 > 2, so the first is on, too, and
    f = max(0, x1 - 1, x2 - 1, x1 + x2 - 1, 2 x2 - 3), which is convex. That such functions exist is
    Proposition 2.1 of Gagneux, Massias, Soubies and Gribonval, "Convexity in ReLU neural networks: beyond
    ICNNs?" (2025); this example and its proof are our own.

    No ICNN of widths (2, 2) is f, not even with skips from the input to every layer. Such an ICNN is affine
    plus w_1 relu(z_1) + w_2 relu(z_2), w >= 0, z_j affine plus a nonnegative combination of relu(l_1) and
    relu(l_2). Three kinks of f meet at each of P = (0, 1), Q = (1, 0) and R = (0, 2):

    - P: up to R along x1 = 0; left along x2 = 1; to Q along x1 + x2 = 1;
    - Q: to P; down along x1 = 1; right along x2 = 0;
    - R: down to P; left along x2 = 2; up along x2 = x1 + 2.

    1. At each of them the subdifferential is a triangle. It is the Minkowski sum of those of the summands,
       and a triangle is a sum of its own scaled copies only: some w_j relu(z_j) has a triangle there.
    2. If z_j > 0 at the point, its summand is a zonotope; if z_j < 0, a point. So z_j = 0 there, and the
       summand is the hull of the origin and a shifted zonotope Z, spanned by those l_i that vanish at the
       point. The hull of a parallelogram and a point has at least four corners, so Z is a segment: the lines
       l_i = 0 through the point that z_j reads coincide; this line holds one of the three kinks, z_j > 0 on
       that kink near the point, and z_j < 0 on its extension beyond the point.
    3. z_j is convex on the line, so it stays positive all the way along the kink, and the line is a kink of f
       all the way: no jump cancels, since all weights are nonnegative. The kinks along x1 = 0 and along
       x1 + x2 = 1 end, so the line is one of the others: x2 = 1 at P, x1 = 1 or x2 = 0 at Q, x2 = 2 or
       x2 = x1 + 2 at R. That takes three different lines, and the first layer has two neurons.
    """
    return from_arrays([[[1, 0], [0, 1]], [[1, 1], [-1, 1]], [1, 1]], [[0, 0], [-1, -2], [0]])
