"""Compiled descent on a piecewise-linear convex network, from kink to kink to the exact minimum.

An active-set method in the inputs alone. Some kinks, rows of the domain and bounds are held; the step is the
steepest descent within them, and goes on across kinks for as long as the function falls. Where it ends,
what stopped it is held, too. Where nothing is left to move, the multipliers tell: sigma_v = mu_v / g_v is
the slope that a held neuron's activation would need for a gradient of zero, and a neuron whose sigma_v lies
outside [slope, 1] is let go. Neurons of later layers bend with the earlier ones: when one of these
switches, the normals of those above it change by a rank-one term, and so does the step.

The epigraph's simplex method takes the same path in n + N variables, one kink at a time.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from jensen.minimize.walk._active import (
    free_part,
    hold,
    let_go,
    project,
    renew,
    reprice,
    slope_at,
    tilt_normals,
    worst,
)
from jensen.minimize.walk._passes import HELD, ON, Packed, normal_of, refresh, sensitivity
from jensen.minimize.walk._state import COUNT, DROPS, FLIPS, IDLE, ROUNDS, SOUND, Goal, Walk

OPTIMAL, MORE, UNBOUNDED, STUCK = 0, 1, 2, 3
"""What `walk` ends with."""
_STOPPED, _BENT = 0, 1
_TINY = 1e-13
"""Rates below this, relative to what they could be, are rounding errors."""
_TOLERANCE = 1e-11
_EAGER = 3.0
"""A row is let go before the end if its multiplier is off by this many times what is left to descend."""
_EVERY = 8
"""Rounds between two looks at the multipliers."""
_STILL = 1e-15
_PATIENCE = 8
"""So many kinks for each variable may be met on the spot before that counts as going in circles."""
_REFRESH = 64
"""Rounds between two recomputations of what is otherwise updated."""


@njit(cache=True, nogil=True)
def next_kink(net: Packed, goal: Goal, w: Walk, speed: float) -> tuple[float, int, int]:
    """Find the next event along the step: how far, which, and 0 for a neuron or row, 1 for a bound."""
    neurons = len(net.bias)
    far, which, kind = np.inf, -1, 0
    for i in range(len(w.z)):
        rate, z = w.dz[i], w.z[i]
        if w.state[i] == ON:
            rate, z = -rate, -z
        # Most are not next: divisions, and looks at what counts as zero, are for those that may be.
        if w.state[i] != HELD and rate > 0.0 and -z < rate * far:
            reach = net.reach[i] if i < neurons else goal.reach[i - neurons]
            if rate > _TINY * speed * reach:
                far, which = max(-z / rate, 0.0), i
    for i in range(net.inputs):
        if w.bound[i] == 0 and w.step[i] != 0.0:
            end = goal.lo[i] if w.step[i] < 0.0 else goal.hi[i]
            at = max((end - w.y[i]) / w.step[i], 0.0)
            if at < far:
                far, which, kind = at, i, 1
    return far, which, kind


@njit(cache=True, nogil=True)
def move(goal: Goal, w: Walk, far: float) -> None:
    """Go along the step."""
    w.y[:] += far * w.step
    w.z[:] += far * w.dz
    if goal.curvature > 0.0:
        w.gradient[:] += (goal.curvature * far) * w.step


@njit(cache=True, nogil=True)
def descend(net: Packed, goal: Goal, w: Walk) -> tuple[int, int]:
    """Search along the step, to where the function stops falling or the step must bend.

    Returns
    -------
    outcome : int
    neuron : int
        Where it bends: the neuron that switched; its normal is in `w.row`.
    """
    n, neurons = net.inputs, len(net.bias)
    w.dvalue[:n] = w.step
    refresh(net, w.state, w.dvalue, w.dz, False)
    if len(goal.right) > 0:
        w.dz[neurons:] = np.dot(goal.rows, w.step)
        for j in range(w.counts[COUNT]):
            if w.held[j] >= neurons:
                w.dz[w.held[j]] = 0.0
    speed = np.abs(w.step).max()
    slope, length = np.dot(w.gradient, w.step), np.dot(w.step, w.step)
    outcome, bent, stale = _STOPPED, -1, False
    still = _STILL * max(1.0, np.abs(w.y).max())
    while True:
        far, which, kind = next_kink(net, goal, w, speed)
        if goal.curvature > 0.0:
            best = -slope / (goal.curvature * length)
            if best <= far:
                move(goal, w, max(best, 0.0))
                break
        if which < 0:
            outcome = UNBOUNDED
            break
        w.counts[IDLE] = w.counts[IDLE] + 1 if far * speed <= still else 0
        move(goal, w, far)
        slope += goal.curvature * far * length
        if kind == 1:
            w.bound[which] = -1 if w.step[which] < 0.0 else 1
            w.y[which] = goal.lo[which] if w.step[which] < 0.0 else goal.hi[which]
            w.counts[SOUND] = 0
            break
        w.z[which] = 0.0
        if which >= neurons:
            w.row[:] = goal.rows[which - neurons]
            hold(net, w, which, w.row)
            break
        gain = sensitivity(net, w.state, which, w.dh, w.sens)
        whole, touched = gain, False
        for j in range(w.counts[COUNT]):
            if w.held[j] < neurons and w.sens[w.held[j]] != 0.0:
                whole += w.sens[w.held[j]] * w.multiplier[j]
                touched = True
        jump = (1.0 - net.slope[which]) * abs(w.dz[which]) * whole
        if slope + jump >= 0.0:
            normal_of(net, w.state, which, w.adjoint, w.back, w.row)
            hold(net, w, which, w.row)
            break
        w.counts[FLIPS] += 1
        slope += jump
        change = 1.0 - net.slope[which]
        if w.state[which] == ON:
            change = -change
        w.state[which] = 1 - w.state[which]
        if touched:
            normal_of(net, w.state, which, w.adjoint, w.back, w.row)
            tilt_normals(w, change, w.row)
            w.gradient[:] += (change * gain) * w.row
            outcome, bent = _BENT, which
            break
        w.dz[:neurons] += (change * w.dz[which]) * w.sens
        stale = True
    if stale:
        slope_at(net, goal, w)
    return outcome, bent


@njit(cache=True, nogil=True)
def settle(net: Packed, goal: Goal, w: Walk) -> None:
    """Remove the rounding errors that have piled up: step back onto all that is held."""
    renew(net, goal, w, False)
    k = w.counts[COUNT]
    if k > 0 and w.counts[SOUND] == k:
        c = np.zeros(k)
        for j in range(k):
            c[j] = (-w.z[w.held[j]] - np.dot(w.r[j, :j], c[:j])) / w.r[j, j]
        free, factors = free_part(w)
        w.y[free] += np.dot(c, factors[:k])
        for i in range(net.inputs):
            if w.bound[i] == 0:
                w.y[i] = min(max(w.y[i], goal.lo[i]), goal.hi[i])
        renew(net, goal, w, False)


@njit(cache=True, nogil=True)
def walk(net: Packed, goal: Goal, w: Walk, rounds: int) -> int:
    """Descend for some rounds; see `OPTIMAL` and its neighbours for what it returns."""
    neurons = len(net.bias)
    pending, sign, is_bound, at_end, patient = -1, 0.0, False, False, False
    slope_at(net, goal, w)
    scale = np.abs(w.gradient).max() + np.abs(goal.tilt).max()
    for _ in range(rounds):
        w.counts[ROUNDS] += 1
        project(w)
        for j in range(w.counts[COUNT]):
            if not w.r[j, j] > 0.0:
                return STUCK
        scale = max(scale, np.abs(w.gradient).max())
        size = np.abs(w.step).max()
        if not np.isfinite(size):
            return STUCK
        if pending >= 0 and size > _TOLERANCE * scale:
            along = w.step[pending] if is_bound else np.dot(w.row, w.step)
            if sign * along <= 0.0:
                if at_end:
                    return STUCK
                if is_bound:
                    w.bound[pending] = -1 if sign > 0.0 else 1
                    w.counts[SOUND] = 0
                else:
                    hold(net, w, pending, w.row)
                pending, patient = -1, True
                continue
        pending, at_end = -1, False
        end = size <= _TOLERANCE * scale
        if end or (not patient and w.counts[ROUNDS] % _EVERY == 0):
            reprice(net, goal, w)
            most, place, side = worst(net, w)
            if end and most <= _TOLERANCE * scale:
                settle(net, goal, w)
                return OPTIMAL
            if end or most > _EAGER * np.sqrt(np.dot(w.step, w.step)):
                w.counts[DROPS] += 1
                at_end, is_bound, pending = end, side == 2, place
                if is_bound:
                    sign = -float(w.bound[place])
                    w.bound[place] = 0
                    w.counts[SOUND] = 0
                else:
                    pending = let_go(net, w, place, side, w.row)
                    sign = 1.0 if side == ON and pending < neurons else -1.0
                continue
        patient = False
        outcome, bent = descend(net, goal, w)
        if outcome == UNBOUNDED:
            return UNBOUNDED
        if w.counts[IDLE] > _PATIENCE * (net.inputs + 20):
            return STUCK
        if outcome == _BENT:
            pending, is_bound = bent, False
            sign = 1.0 if w.state[bent] == ON else -1.0
        if w.counts[ROUNDS] % _REFRESH == 0:
            settle(net, goal, w)
            slope_at(net, goal, w)
    return MORE
