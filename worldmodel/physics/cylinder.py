"""The derivative of contacts between a cylinder and a sphere, capsule, ellipsoid or cylinder.

MJX finds such a contact by ten steps of gradient descent on signed distances. Their derivative is
NaN, and a cylinder's size has none. So MJX's contact keeps its value, and its derivative is that
of the point at which the descent would end: where both surfaces are equally far and their normals
are opposite. There the implicit function theorem gives the derivative, as in ``contact``.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from worldmodel._mujoco import mjx, mujoco
from worldmodel.physics import _mjx
from worldmodel.physics.derivative import with_derivative_of

_FINISHING = 8  # Newton steps from the end of MJX's descent
_SETTLED = 1e-3  # sum of the unit normals, and difference of the distances over the size
_FLAT = 1e-3  # [1/m] curvature below which a contact point does not slide along two surfaces

Body = tuple[jax.Array, jax.Array, jax.Array]  # position (3,), rotation (3, 3), size (3,)


def _norm(x: jax.Array) -> jax.Array:
    """Euclidean norm with a derivative of zero at zero."""
    square = x @ x
    return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1.0)), 0.0)


def _sphere(x: jax.Array, size: jax.Array) -> jax.Array:
    del size
    return _norm(x)


def _capsule(x: jax.Array, size: jax.Array) -> jax.Array:
    return _norm(x.at[2].add(-jnp.clip(x[2], -size[1], size[1])))


def _ellipsoid(x: jax.Array, size: jax.Array) -> jax.Array:
    scaled = _norm(x / size)
    return scaled * (scaled - 1.0) / jnp.maximum(_norm(x / size**2), mujoco.mjMINVAL)


def _cylinder(x: jax.Array, size: jax.Array) -> jax.Array:
    side, cap = _norm(x[:2]) - size[0], jnp.abs(x[2]) - size[1]
    rim = (side > 0) & (cap > 0)
    corner = _norm(jnp.where(rim, jnp.stack([side, cap]), 1.0))
    return jnp.where(rim, corner, jnp.maximum(side, cap))


# Of a sphere and a capsule it is the distance to their centre and axis, see ``_moved``.
_ROUND = (int(mujoco.mjtGeom.mjGEOM_SPHERE), int(mujoco.mjtGeom.mjGEOM_CAPSULE))
_DISTANCES: dict[int, Callable[[jax.Array, jax.Array], jax.Array]] = {
    _ROUND[0]: _sphere,
    _ROUND[1]: _capsule,
    int(mujoco.mjtGeom.mjGEOM_ELLIPSOID): _ellipsoid,
    int(mujoco.mjtGeom.mjGEOM_CYLINDER): _cylinder,
}
_PAIRS = [(kind, int(mujoco.mjtGeom.mjGEOM_CYLINDER)) for kind in _DISTANCES]


def fwd_position(model: mjx.Model, data: mjx.Data) -> mjx.Data:
    """``mjx.fwd_position``, differentiable through contacts of cylinders."""
    with _mjx.colliders({pair: _differentiable(*pair) for pair in _PAIRS}):
        return mjx.fwd_position(model, data)


def _differentiable(first: int, second: int) -> Callable[[_mjx.Collider], _mjx.Collider]:
    def wrapped(collider: _mjx.Collider) -> _mjx.Collider:
        def collide(model: mjx.Model, data: mjx.Data, key: Any, geom: jax.Array) -> tuple:
            values = collider(*jax.lax.stop_gradient((model, data)), key, geom)
            repeats = len(values[1]) // len(geom)  # contacts per pair

            def bodies(ids: jax.Array) -> Body:
                ids = jnp.repeat(ids, repeats)
                return data.geom_xpos[ids], data.geom_xmat[ids], model.geom_size[ids]

            moved = jax.vmap(functools.partial(_moved, first, second))(
                jax.lax.stop_gradient(values), bodies(geom[:, 0]), bodies(geom[:, 1])
            )
            return tuple(with_derivative_of(v, x) for v, x in zip(values, moved, strict=True))

        return collide

    return wrapped


def _moved(first: int, second: int, contact: tuple, a: Body, b: Body) -> tuple:
    """A contact, distance (), point (3,) and frame (3, 3), whose derivative in the bodies is right.

    Inside a cylinder the distance to its surface has no derivative along its rim. So a sphere and
    a capsule are reduced to their centre and axis, which are outside. Where that does not lead to
    a contact point, as of two cylinders, which touch at a rim or on flats, the point is held: its
    distance follows both bodies, its normal the second one.
    """
    _, point, frame = contact
    radius = a[2][0] if first in _ROUND else jnp.zeros(())

    def distances(x: jax.Array, a: Body, b: Body) -> tuple[jax.Array, jax.Array]:
        local = [rotation.T @ (x - position) for position, rotation, _ in (a, b)]
        return _DISTANCES[first](local[0], a[2]), _DISTANCES[second](local[1], b[2])

    def imbalance(x: jax.Array, a: Body, b: Body) -> tuple[jax.Array, ...]:
        """What is zero at the contact: normals that do not cancel, distances that differ."""
        gradients = jax.jacrev(distances)(x, a, b)
        normal = jax.lax.stop_gradient(gradients[0] - gradients[1])
        normal = normal / jnp.maximum(_norm(normal), mujoco.mjMINVAL)
        tangential = gradients[0] + gradients[1]
        tangential = tangential - (tangential @ normal) * normal
        here = distances(x, a, b)
        return tangential, here[0] - here[1], normal

    def newton(x: jax.Array, a: Body, b: Body) -> jax.Array:
        """One step towards the contact, differentiable in the bodies alone."""
        fixed = jax.lax.stop_gradient((x, a, b))
        hessians = jax.hessian(distances)(*fixed)
        tangential, difference, normal = imbalance(x, a, b)
        along = jnp.eye(3) - jnp.outer(normal, normal)
        curvature = along @ (hessians[0] + hessians[1]) @ along
        # A flat on a flat has no curvature: its contact point stays where it is.
        size = jnp.trace(curvature)
        flat = _FLAT + 10.0 * jnp.sqrt(jnp.finfo(x.dtype).eps) * size
        whole = curvature + (size + flat) * jnp.outer(normal, normal)
        inverse = whole @ jnp.linalg.inv(whole @ whole + flat**2 * jnp.eye(3))
        inverse = jax.lax.stop_gradient(inverse)
        return x - inverse @ tangential - 0.5 * difference * jax.lax.stop_gradient(normal)

    fixed_a, fixed_b = jax.lax.stop_gradient((a, b))

    def better(x: jax.Array, _: None) -> tuple[jax.Array, None]:
        moved = newton(x, fixed_a, fixed_b)
        before, after = (_norm(imbalance(y, fixed_a, fixed_b)[0]) for y in (x, moved))
        return jnp.where(after < before, moved, x), None

    if first != second:
        start = point - 0.5 * jax.lax.stop_gradient(radius) * frame[0]
        point = jax.lax.stop_gradient(jax.lax.scan(better, start, length=_FINISHING)[0])
    tangential, difference, fixed_normal = imbalance(point, fixed_a, fixed_b)
    # Bodies deep in one another have no such point; two cylinders have one that jumps.
    settled = (_norm(tangential) < _SETTLED) & (jnp.abs(difference) < _SETTLED * _norm(b[2]))
    settled = jax.lax.stop_gradient(settled) & (first != second)

    point = with_derivative_of(point, jnp.where(settled, newton(point, a, b), point))
    gradients = jax.jacrev(distances)(point, a, b)
    normal = gradients[0] - gradients[1]
    normal = normal / jnp.maximum(_norm(normal), mujoco.mjMINVAL)
    normal = jnp.where(settled, normal, b[1] @ (fixed_b[1].T @ fixed_normal))
    turn = jnp.cross(fixed_normal, normal)
    between = sum(distances(point, a, b)) - radius
    return between, point + 0.5 * radius * normal, jnp.cross(turn, frame)
