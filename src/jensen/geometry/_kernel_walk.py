"""The compiled depth-first walk over the tree of regions."""

from __future__ import annotations

import numpy as np
from numba import njit

from jensen.geometry._arrays import Ints, Net, Out, Stack, Words
from jensen.geometry._bits import popcount, trailing_zeros
from jensen.geometry._kernel_forms import UNIT, layer_forms, mark_zeros, mixed_signs, signs, u64
from jensen.geometry._kernel_leaf import certain_jump, count_simple, crossed, facet_neurons
from jensen.geometry._kernel_refine import gather_rows, refine
from jensen.geometry._kernel_split import (
    BIT,
    NEURON,
    RAYS,
    REAL,
    SIDE,
    SIMPLE,
    SPLITTER,
    draw_sides,
    find_edges,
    new_rays,
    side_facets,
)
from jensen.geometry._kernel_store import active_bits, write_piece, write_rays
from jensen.geometry._program import ACTIVE, FIXED, FOLLOW, INACTIVE, SPLIT, ZERO
from jensen.network import FloatArray

DONE, RUNNING, GROW, FLUSH, VIOLATED = range(5)
"""Why the walk came back."""

SP, RANK, BASE, REGIONS, OPEN, STUCK, CHECK, STOP, STORE, LAST, STORED, N_RAYS, N_FACETS, RESTRICTED, PRUNE = range(15)
"""Integer registers of the walk."""

COARSE = 1e-9
"""Error bound from which on a new ray is worth solving for anew."""


@njit(cache=True, nogil=True)
def begin(net: Net, stack: Stack, k: int) -> None:
    """Compute the forms of all layers that a node before neuron k stands in or has behind it."""
    for layer in range(len(net.starts) - 1):
        if net.starts[layer] < k:
            _forms(net, stack, layer)


@njit(cache=True, nogil=True)
def _forms(net: Net, stack: Stack, layer: int) -> None:
    layer_forms(
        net.starts,
        net.weights,
        net.bias,
        net.slope,
        net.reads_ptr,
        net.reads,
        net.gamma[layer],
        stack.state,
        stack.forms,
        stack.size,
        stack.error,
        layer,
    )


@njit(cache=True, nogil=True)
def _cut_short(net: Net, stack: Stack, top: int, k: int, base: int) -> bool:
    """Whether no needed neuron can still have a facet below a node."""
    for v in range(k, len(net.needed)):
        if net.needed[v]:
            return False
    words = stack.facets.shape[1]
    mask = stack.work[3]
    if stack.frame[top, SIMPLE] == 1:
        mask[:] = stack.facets[top]
    else:
        mask[:] = u64(0)
        for at in range(stack.frame[top, RAYS] * words):
            mask[at % words] |= stack.bits[stack.frame[top, BIT] + at]
    for v in range(k):
        if net.needed[v] and (mask[(base + v) >> 6] >> u64((base + v) & 63)) & u64(1):
            return False
    return True


@njit(cache=True, nogil=True)
def _settle(net: Net, stack: Stack, k: int) -> int:
    """Set the states of the neurons from k on that need no look at the cone; returns the first that does.

    Stops at the start of a layer, whose forms are due first.
    """
    while k < len(net.kind) and net.kind[k] != SPLIT:
        if net.kind[k] == FIXED:
            stack.state[k] = net.state[k]
        elif net.kind[k] == FOLLOW:
            leading = stack.state[net.leader[k]]
            stack.state[k] = leading if leading == ZERO or net.same_sign[k] else 1 - leading
        k += 1
        if k < len(net.kind) and k == net.starts[net.layer_of[k]]:
            break
    return k


@njit(cache=True, nogil=True)
def _leave_open(stack: Stack, out: Out, reg: Ints, first: int, bits: Words) -> None:
    """Hand a facet out that needs exact arithmetic."""
    at = reg[OPEN]
    out.open_state[at, :] = stack.state
    out.open_bits[at, :] = bits
    out.open_first[at] = first
    reg[OPEN] += 1


@njit(cache=True, nogil=True)
def _facets(
    net: Net, stack: Stack, out: Out, reg: Ints, least: FloatArray, top: int, mask: Words, fresh: int
) -> bool:
    """Count, test or store the frontiers of a region; True if a violation ends the walk.

    Parameters
    ----------
    mask : (W,) words
        Its facets, one bit each.
    fresh : int
        Bit of the neuron that splits the cone on top into this region and another one, or -1.
    """
    words, base, d = len(mask), reg[BASE], stack.forms.shape[0] - 1
    bits, always, active = stack.work[4], stack.work[5], stack.work[3]
    state, simple = stack.state, stack.frame[top, SIMPLE] == 1
    check, storing, restricted, gamma = reg[CHECK] == 1, reg[STORE] == 1, reg[RESTRICTED] == 1, net.gamma[-1]
    ready = len(net.starts) - 1
    for w in range(words):
        left = mask[w]
        while left:
            bit = 64 * w + trailing_zeros(left)
            left &= left - u64(1)
            if bit < base and simple:
                continue
            v = facet_neurons(
                stack.bits, stack.frame[top, BIT], stack.frame[top, RAYS], simple, bit, fresh, base, bits, always
            )
            if v < 0:
                continue
            several = 0
            for i in range(words):
                several += popcount(bits[i])
            row = reg[N_FACETS]
            if storing:
                for i in range(words):
                    out.facet_key[row, i] = bits[i]
                    out.facet_key[row, words + i] = active[i] & ~bits[i]
                out.facet[row, 0] = v
                out.facet[row, 1] = state[v] == ACTIVE
                out.facet_jump[row] = np.nan
                reg[N_FACETS] += 1
                for c in range(d):
                    out.facet_normal[row, c] = stack.forms[c, v]
            if state[v] != ACTIVE:
                continue
            out.count[v] += 1
            if not check or (not net.needed[v] and several == 1):
                continue
            if restricted:
                across = crossed(net.moving, stack.forms, stack.error[v], v)
                if across == 0:
                    continue
            else:
                across = 1
            sure = across == 1 and several == 1
            jump = 0.0
            if sure and net.known[v]:
                jump = net.known_jump[v]
            elif sure:
                jump, sure, ready = certain_jump(
                    net.weights,
                    net.slope,
                    net.out,
                    net.starts,
                    net.readers_ptr,
                    net.readers,
                    net.layer_of,
                    net.class_ptr,
                    net.members,
                    net.factor,
                    gamma,
                    state,
                    stack.adjoint,
                    v,
                    ready,
                )
            if storing:
                if sure:
                    out.facet_jump[row] = jump
            elif not sure:
                _leave_open(stack, out, reg, v, bits)
            elif jump < out.worst[v]:
                out.worst[v] = jump
                if jump < least[0]:
                    least[0] = jump
                    least[1] = v
                    out.bad[:] = state
                    if reg[STOP] == 1:
                        return True
    return False


@njit(cache=True, nogil=True)
def _visit(net: Net, stack: Stack, out: Out, reg: Ints, least: FloatArray, top: int, mask: Words, fresh: int) -> bool:
    """Take a finished region; True if a violation ends the walk."""
    reg[REGIONS] += 1
    if reg[CHECK] == 0 and stack.frame[top, SIMPLE] == 1:
        count_simple(out.count, mask, stack.state, reg[BASE])
        return False
    return _facets(net, stack, out, reg, least, top, mask, fresh)


@njit(cache=True, nogil=True)
def _fork(net: Net, stack: Stack, out: Out, reg: Ints, least: FloatArray, top: int, k: int) -> bool:
    """Visit both sides of the last split without building them; True if a violation ends the walk."""
    words, bit = stack.facets.shape[1], reg[BASE] + k
    bit_off = stack.frame[top, BIT]
    rays = u64(stack.frame[top, RAYS])
    own = stack.bits[bit_off : bit_off + stack.frame[top, RAYS] * words]
    sides = stack.work[:2]
    for w in range(words):
        below, above = side_facets(own, stack.sign, rays, u64(w), u64(words))
        sides[0, w] = below & stack.facets[top, w]
        sides[1, w] = above & stack.facets[top, w]
    for side in range(2):
        sides[side, bit >> 6] |= u64(1) << u64(bit & 63)
        stack.state[k] = ACTIVE if side else INACTIVE
        after = k + 1
        while after < len(net.kind):
            after = _settle(net, stack, after)
        if _visit(net, stack, out, reg, least, top, sides[side], bit):
            return True
    return False


@njit(cache=True, nogil=True)
def _sharpen_new(net: Net, stack: Stack, reg: Ints, rays: int, edges: int, bit: int) -> None:
    """Refine the new rays whose error bound has grown too much."""
    n, words, source = stack.forms.shape[0], stack.facets.shape[1], stack.scratch
    first = rays * (n + 1)
    tight = stack.work[2]
    for e in range(edges):
        if source[first + n * edges + e] < COARSE:
            continue
        p, q = stack.pairs[e, 0] * words, stack.pairs[e, 1] * words
        for w in range(words):
            tight[w] = stack.scratch_bits[p + w] & stack.scratch_bits[q + w]
        tight[bit >> 6] |= u64(1) << u64(bit & 63)
        count = gather_rows(
            tight, 0, words, reg[BASE], net.boundary, net.boundary_error,
            stack.forms, stack.size, stack.error, stack.rows,
        )  # fmt: skip
        if count >= n - 1:
            refine(source, first + e, edges, stack.rows, count, stack.chosen, stack.space)


@njit(cache=True, nogil=True)
def _split(net: Net, stack: Stack, reg: Ints, top: int, k: int) -> bool:
    """Replace the cone on top of the stack by its two sides; False (and nothing done) if there is no room."""
    frame, n, words = stack.frame, stack.forms.shape[0], stack.facets.shape[1]
    rays, off, bit_off = frame[top, RAYS], frame[top, REAL], frame[top, BIT]
    sign, reals, bits = stack.sign, stack.reals, stack.bits
    edges = find_edges(bits, sign, stack.pairs, stack.scratch_bits, bit_off, rays, reg[RANK], words)
    if edges < 0:
        return False
    zeros, above = 0, 0
    for r in range(rays):
        zeros += sign[r] == 0
        above += sign[r] == 1
    upper, lower = above + zeros + edges, rays - above + edges
    if (
        off + (lower + upper) * (n + 1) > len(reals)
        or bit_off + (lower + upper) * words > len(bits)
        or (rays + edges) * (n + 1) > len(stack.scratch)
    ):
        return False
    # The parent moves to the scratch arena, its edges' new rays behind it, and both sides are drawn from there.
    source, old = stack.scratch, stack.scratch_bits
    for i in range(u64(rays * (n + 1))):
        source[i] = reals[u64(off) + i]
    for i in range(u64(rays * words)):
        old[i] = bits[u64(bit_off) + i]
    worst = new_rays(source, stack.z, stack.pairs, edges, rays, n, stack.size[k], stack.error[k])
    if worst >= COARSE and reg[RANK] == n:
        _sharpen_new(net, stack, reg, rays, edges, reg[BASE] + k)
    draw_sides(
        reals, bits, frame, stack.facets, sign, source, old, stack.pairs, edges, top, n, k, reg[BASE] + k, words,
        lower, upper,
    )  # fmt: skip
    return True


@njit(cache=True, nogil=True)
def _store(net: Net, stack: Stack, out: Out, reg: Ints, least: FloatArray, top: int) -> bool:
    """Hand the region on top of the stack out; False if the buffers have no room for it."""
    frame, at = stack.frame, reg[STORED]
    facets = 0
    for w in range(stack.facets.shape[1]):
        facets += popcount(stack.facets[top, w])
    if (
        at == len(out.region_end)
        or reg[N_RAYS] + frame[top, RAYS] > len(out.ray)
        or reg[N_FACETS] + facets > len(out.facet)
    ):
        return False
    out.region_state[at, :] = stack.state
    write_piece(net.out, net.out_bias, net.slope, stack.state, stack.forms, out.region_piece[at])
    active = stack.work[3]
    active_bits(net.kind, stack.state, reg[BASE], active)
    n = stack.forms.shape[0]
    write_rays(
        stack.reals, stack.bits, frame[top, REAL], frame[top, BIT], frame[top, RAYS], n, active, reg[N_RAYS],
        out.ray, out.ray_key,
    )  # fmt: skip
    reg[N_RAYS] += frame[top, RAYS]
    _facets(net, stack, out, reg, least, top, stack.facets[top], -1)
    out.region_end[at, 0] = reg[N_RAYS]
    out.region_end[at, 1] = reg[N_FACETS]
    reg[STORED] += 1
    return True


@njit(cache=True, nogil=True)
def _vanishes(net: Net, stack: Stack, base: int, k: int, off: int, step: int, at: int) -> bool:
    """Whether a neuron is zero on a ray since all that it reads is: what floats cannot see in a sum."""
    d = stack.forms.shape[0] - 1
    if net.bias[k] != 0.0 and stack.reals[off + d * step] != 0.0:
        return False
    for c in range(d):
        if net.weights[c, k] != 0.0 and stack.reals[off + c * step] != 0.0:
            return False
    layer = net.layer_of[k]
    for source in range(net.reads_ptr[layer], net.reads_ptr[layer + 1]):
        for j in range(net.reads[source, 0], net.reads[source, 1]):
            slope = 1.0 if stack.state[j] == ACTIVE else net.slope[j]
            if slope == 0.0 or net.weights[d + j, k] == 0.0:
                continue
            bit = base + net.leader[j]
            if (stack.bits[at + (bit >> 6)] >> u64(bit & 63)) & u64(1):
                continue
            for c in range(d + 1):
                if stack.forms[c, j] != 0.0 and stack.reals[off + c * step] != 0.0:
                    return False
    return True


@njit(cache=True, nogil=True)
def _sharpen(net: Net, stack: Stack, reg: Ints, top: int, k: int) -> bool:
    """Settle what rays have an open sign on top: mark exact zeros, refine the others; True if that helped."""
    n, words, rays = stack.forms.shape[0], stack.facets.shape[1], stack.frame[top, RAYS]
    bit = reg[BASE] + k
    off, bit_off, better = stack.frame[top, REAL], stack.frame[top, BIT], False
    fixed = 1.2 * stack.error[k] + stack.size[k] * (n + 3) * (1.1 * UNIT)
    for r in range(rays):
        eps = stack.reals[off + n * rays + r]
        here = bit_off + r * words
        if abs(stack.z[r]) <= stack.size[k] * eps + fixed:
            if (stack.bits[here + (bit >> 6)] >> u64(bit & 63)) & u64(1):
                continue
            if _vanishes(net, stack, reg[BASE], k, off + r, rays, here):
                stack.bits[here + (bit >> 6)] |= u64(1) << u64(bit & 63)
                stack.frame[top, SIMPLE] = 0
                better = True
                continue
            if reg[RANK] != n:
                continue
            count = gather_rows(
                stack.bits, here, words, reg[BASE], net.boundary, net.boundary_error,
                stack.forms, stack.size, stack.error, stack.rows,
            )  # fmt: skip
            if count >= n - 1 and refine(
                stack.reals, off + r, rays, stack.rows, count, stack.chosen, stack.space
            ):
                better = True
    return better


@njit(cache=True, nogil=True)
def walk(net: Net, stack: Stack, out: Out, reg: Ints, least: FloatArray, nodes: int) -> int:
    """Take nodes from the stack until it is empty, a number of them is done, or Python is needed."""
    total, words, base, n = len(net.kind), stack.facets.shape[1], reg[BASE], stack.forms.shape[0]
    frame, reals, bits, z, sign = stack.frame, stack.reals, stack.bits, stack.z, stack.sign
    forms, size, error, state = stack.forms, stack.size, stack.error, stack.state
    kind, starts, layer_of = net.kind, net.starts, net.layer_of
    room, stuck_room = len(out.open_first), len(out.stuck_at)
    for _ in range(nodes):
        if reg[SP] == 0:
            return DONE
        if reg[OPEN] + 2 * total + 2 > room or reg[STUCK] == stuck_room:
            return FLUSH
        top = reg[SP] - 1
        k = frame[top, NEURON]
        if frame[top, SIDE] >= 0:
            state[frame[top, SPLITTER]] = frame[top, SIDE]
        pending = not (reg[PRUNE] == 1 and _cut_short(net, stack, top, k, base))
        rays, off, bit_off = frame[top, RAYS], frame[top, REAL], frame[top, BIT]
        while pending and k < total:
            if k == starts[layer_of[k]]:
                _forms(net, stack, layer_of[k])
            if kind[k] != SPLIT:
                k = _settle(net, stack, k)
                continue
            positive, negative = signs(reals, z, forms, k, size[k], error[k], off, rays)
            if positive == rays or negative == rays:
                state[k] = ACTIVE if positive else INACTIVE
                k += 1
                continue
            sure = mixed_signs(
                reals, bits, z, sign, forms, k, size[k], error[k], off, bit_off, rays, words, base + k
            )  # fmt: skip
            if not sure and _sharpen(net, stack, reg, top, k):
                continue
            if not sure:
                at = reg[STUCK]
                out.stuck[at, :] = state
                out.stuck_at[at] = k
                reg[STUCK] += 1
                pending = False
            elif positive and negative:
                if reg[STORE] == 0 and k == reg[LAST]:
                    if _fork(net, stack, out, reg, least, top, k):
                        return VIOLATED
                elif _split(net, stack, reg, top, k):
                    reg[SP] += 2
                else:
                    frame[top, NEURON] = k
                    return GROW
                pending = False
            else:
                mark_zeros(bits, sign, base + k, bit_off, rays, words)
                frame[top, SIMPLE] = 0
                state[k] = ACTIVE if positive else (INACTIVE if negative else ZERO)
                k += 1
        if pending:
            if reg[STORE] == 1:
                if not _store(net, stack, out, reg, least, top):
                    frame[top, NEURON] = total
                    return FLUSH
            elif _visit(net, stack, out, reg, least, top, stack.facets[top], -1):
                return VIOLATED
        reg[SP] -= 1
    return DONE if reg[SP] == 0 else RUNNING
