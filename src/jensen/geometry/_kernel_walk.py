"""The compiled depth-first walk over the tree of regions."""

from __future__ import annotations

import numpy as np
from numba import njit

from jensen.geometry._arrays import Ints, Net, Out, Stack, Words
from jensen.geometry._bits import popcount, trailing_zeros
from jensen.geometry._kernel_forms import layer_forms, mark_zeros, mixed_signs, signs, u64
from jensen.geometry._kernel_leaf import certain_jump, count_simple, crossed, facet_neurons
from jensen.geometry._kernel_sharpen import COARSE, mark_vanishing, sharpen, sharpen_new
from jensen.geometry._kernel_split import (
    BIT,
    NEURON,
    RAYS,
    REAL,
    SIDE,
    SIMPLE,
    SPLITTER,
    draw_sides,
    drop_zeros,
    find_edges,
    fork_facets,
    move_parent,
    new_rays,
    side_sizes,
)
from jensen.geometry._kernel_store import active_bits, write_piece, write_rays
from jensen.geometry._program import ACTIVE, FIXED, FOLLOW, INACTIVE, SPLIT, ZERO
from jensen.network import FloatArray

DONE, RUNNING, GROW, FLUSH, VIOLATED = range(5)
"""Why the walk came back."""

SP, RANK, BASE, REGIONS, OPEN, STUCK, CHECK, STOP = range(8)
STORE, LAST, STORED, N_RAYS, N_FACETS, RESTRICTED, PRUNE = range(8, 15)
"""Integer registers of the walk."""


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
    left = False
    for v in range(k):
        left = left or (net.needed[v] and (mask[(base + v) >> 6] >> u64((base + v) & 63)) & u64(1) != 0)
    return not left


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
    """Take a finished region: count, test or store its frontiers; True if a violation ends the walk.

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
    reg[REGIONS] += 1
    for w in range(words):
        left = mask[w]
        while left:
            bit = 64 * w + trailing_zeros(left)
            left &= left - u64(1)
            if bit < base and simple:
                continue
            v = facet_neurons(
                stack.bits,
                stack.frame[top, BIT],
                stack.frame[top, RAYS],
                simple,
                bit,
                fresh,
                base,
                bits,
                always,
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
            out.counts[v] += 1
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
def _finish(net: Net, stack: Stack, k: int) -> None:
    """Set the states of all neurons from k on, none of which splits."""
    while k < len(net.kind):
        k = _settle(net, stack, k)


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
def walk(net: Net, stack: Stack, out: Out, reg: Ints, least: FloatArray, nodes: int) -> int:
    """Take nodes from the stack until it is empty, a number of them is done, or Python is needed."""
    total, words, base, n = len(net.kind), stack.facets.shape[1], reg[BASE], stack.forms.shape[0]
    frame, reals, bits, z, sign = stack.frame, stack.reals, stack.bits, stack.z, stack.sign
    forms, size, error, state = stack.forms, stack.size, stack.error, stack.state
    kind, starts, layer_of, leader = net.kind, net.starts, net.layer_of, net.leader
    weights, bias, slope, reads_ptr, reads = net.weights, net.bias, net.slope, net.reads_ptr, net.reads
    facets, pairs, source, old = stack.facets, stack.pairs, stack.scratch, stack.scratch_bits
    count, sides = out.counts, stack.work[:2]
    quick = reg[CHECK] == 0
    last = reg[LAST] if reg[STORE] == 0 else -1
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
            if max(positive, negative) == rays:
                state[k] = ACTIVE if positive else INACTIVE
                k += 1
                continue
            sure = mixed_signs(
                reals, bits, z, sign, forms, k, size[k], error[k], off, bit_off, rays, words, base + k
            )  # fmt: skip
            if not sure:
                layer = layer_of[k]
                inputs = reads[reads_ptr[layer] : reads_ptr[layer + 1]]
                if mark_vanishing(
                    reals, bits, z, forms, weights, bias, slope, inputs, leader, state,
                    k, 1e-6 * size[k], off, bit_off, rays, words, base,
                ) or sharpen(net, stack, base, reg[RANK], top, k):  # fmt: skip
                    continue
            if not sure:
                at = reg[STUCK]
                out.stuck[at, :] = state
                out.stuck_at[at] = k
                reg[STUCK] += 1
                pending = False
            elif positive and negative:
                pending = False
                if k == last:
                    # Both sides are finished regions, and need not be built to be counted and tested.
                    fork_facets(bits, bit_off, sign, rays, facets, top, base + k, sides)
                    for side in range(2):
                        state[k] = ACTIVE if side else INACTIVE
                        if k + 1 < total:
                            _finish(net, stack, k + 1)
                        if quick and frame[top, SIMPLE] == 1:
                            reg[REGIONS] += 1
                            count_simple(count, sides[side], state, base)
                        elif _facets(net, stack, out, reg, least, top, sides[side], base + k):
                            return VIOLATED
                else:
                    edges = find_edges(bits, sign, pairs, old, bit_off, rays, reg[RANK], words)
                    lower, upper = (0, 0) if edges < 0 else side_sizes(sign, rays, edges)
                    if (
                        edges < 0
                        or off + (lower + upper) * (n + 1) > len(reals)
                        or bit_off + (lower + upper) * words > len(bits)
                        or (rays + edges) * (n + 1) > len(source)
                    ):
                        frame[top, NEURON] = k
                        return GROW
                    move_parent(reals, bits, off, bit_off, rays, n, words, source, old)
                    worst = new_rays(source, z, pairs, edges, rays, n, size[k], error[k])
                    if worst >= COARSE and reg[RANK] == n:
                        sharpen_new(net, stack, reg[BASE], rays, edges, base + k)
                    draw_sides(
                        reals, bits, frame, facets, sign, source, old, pairs, edges,
                        top, n, k, base + k, words, lower, upper,
                    )  # fmt: skip
                    reg[SP] += 2
            else:
                if last < 0 or not drop_zeros(bits, sign, base + k, bit_off, rays, words, facets, top):
                    mark_zeros(bits, sign, base + k, bit_off, rays, words)
                    frame[top, SIMPLE] = 0
                state[k] = ACTIVE if positive else (INACTIVE if negative else ZERO)
                k += 1
        if pending:
            if reg[STORE] == 1:
                if not _store(net, stack, out, reg, least, top):
                    frame[top, NEURON] = total
                    return FLUSH
            elif quick and frame[top, SIMPLE] == 1:
                reg[REGIONS] += 1
                count_simple(count, facets[top], state, base)
            elif _facets(net, stack, out, reg, least, top, facets[top], -1):
                return VIOLATED
        reg[SP] -= 1
    return DONE if reg[SP] == 0 else RUNNING
