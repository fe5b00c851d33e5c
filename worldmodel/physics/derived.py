"""Constants that MuJoCo's compiler derives from the parameters, recomputed in JAX.

``body_invweight0``, ``dof_invweight0`` and ``tendon_invweight0`` scale the softness of every
constraint, so a model with changed masses and stale derived constants simulates
something other than its own MJCF (MuJoCo, "Computation", impedance; ``engine_setconst.c``).
"""

import jax
import jax.numpy as jnp
import numpy as np

from worldmodel._mujoco import mjx, mujoco
from worldmodel.physics import _mjx
from worldmodel.scene import Scene


def with_derived_constants(scene: Scene, model: mjx.Model) -> mjx.Model:
    """``model`` with the constants that its parameters imply at ``qpos0``; differentiable.

    Args:
      scene: for its sizes and topology.
      model: with parameters already moved.
    """
    mj_model = scene.mj_model
    data = mjx.make_data(mj_model).replace(qpos=model.qpos0)
    data = mjx.com_pos(model, mjx.kinematics(model, data))
    data = mjx.tendon_armature(model, mjx.crb(model, mjx.tendon(model, data)))
    data = mjx.transmission(model, data)
    inverse = jnp.linalg.inv(mjx.full_m(model, data))

    tendon_jacobian, moment = _mjx.tendon_jacobian(data), _mjx.actuator_moment(data)
    return model.replace(
        body_subtreemass=_subtree_mass(mj_model, model.body_mass),
        body_invweight0=_body_invweight(scene, model, data, inverse),
        dof_invweight0=_dof_invweight(mj_model, inverse),
        tendon_invweight0=jnp.einsum("ti,ij,tj->t", tendon_jacobian, inverse, tendon_jacobian),
        actuator_acc0=jnp.linalg.norm(moment @ inverse, axis=1),
    )


def _subtree_mass(mj_model: mujoco.MjModel, mass: jax.Array) -> jax.Array:
    belongs = np.eye(mj_model.nbody)
    for body in range(mj_model.nbody - 1, 0, -1):
        belongs[mj_model.body_parentid[body]] += belongs[body]
    return jnp.asarray(belongs) @ mass


def _dof_invweight(mj_model: mujoco.MjModel, inverse: jax.Array) -> jax.Array:
    """diag(M⁻¹), averaged over a ball joint's and each half of a free joint's three axes."""
    mean = np.eye(mj_model.nv)
    for kind, start in zip(mj_model.jnt_type, mj_model.jnt_dofadr, strict=True):
        if kind == mujoco.mjtJoint.mjJNT_BALL:
            mean[start : start + 3, start : start + 3] = 1 / 3
        elif kind == mujoco.mjtJoint.mjJNT_FREE:
            mean[start : start + 3, start : start + 3] = 1 / 3
            mean[start + 3 : start + 6, start + 3 : start + 6] = 1 / 3
    return jnp.asarray(mean) @ jnp.diag(inverse)


def _body_invweight(
    scene: Scene, model: mjx.Model, data: mjx.Data, inverse: jax.Array
) -> jax.Array:
    """(nbody, 2) mean of J M⁻¹ Jᵀ at the centre of mass, translational and rotational."""
    moving = scene.mj_model.body_weldid > 0
    bodies = jnp.arange(scene.mj_model.nbody)
    # mjx.jac gives (nv, 3) each
    jacp, jacr = jax.vmap(lambda p, b: mjx.jac(model, data, p, b))(data.xipos, bodies)

    def mean(jacobian: jax.Array) -> jax.Array:
        return jnp.einsum("bik,ij,bjk->b", jacobian, inverse, jacobian) / 3

    weight = jnp.stack([mean(jacp), mean(jacr)], axis=1)
    # The compiler's shortcut for bodies that only slide along their own axes is 1 / mass, as
    # long as the inertial frame is the body's own and the joints are along its axes; otherwise
    # it is the mean as for all others.
    own_frame = (model.body_ipos == 0).all(1) & (model.body_iquat[:, 1:] == 0).all(1)
    belongs = np.arange(scene.mj_model.nbody)[:, None] == scene.mj_model.jnt_bodyid
    oblique = belongs @ ((model.jnt_axis != 0).sum(1) != 1)
    plain = jnp.asarray(scene.plain_sliders) & own_frame & ~oblique
    mass = jnp.where(plain, model.body_mass, 1.0)
    simple = jnp.stack([1.0 / mass, jnp.zeros_like(mass)], axis=1)
    return jnp.where(moving[:, None], jnp.where(plain[:, None], simple, weight), 0.0)
