"""Two joints whose servo and motor have every number of a drive."""

from worldmodel.scene import Scene, load_scene

HZ, SUBSTEPS = 50.0, 8
SERVO = "12 0 0  .013 .02 .03 4  .02 .03 .1"  # gain, and the drive's seven numbers
MOTOR = "1 0 0  .03 .005 0 6  .01 0 0"
ARM = """<mujoco model="servos"><option integrator="implicitfast"/>
<default><geom type="capsule" size=".02" contype="0" conaffinity="0"/>
<joint axis="0 1 0" damping=".05" armature=".01"/></default>
<worldbody><body name="upper"><joint name="shoulder"/><geom fromto="0 0 0 .2 0 0"/>
<body name="lower" pos=".2 0 0"><joint name="elbow"/><geom fromto="0 0 0 .15 0 0"/></body></body>
</worldbody><actuator>
<general name="servo" joint="shoulder" gainprm="{servo}" biastype="affine" biasprm="0 -12 -.2"
 forcerange="-2 2" ctrlrange="-1 1"/>
<general name="motor" joint="elbow" gear="2" gainprm="{motor}" forcerange="-.6 .6"
 ctrlrange="-1 1"/>
</actuator></mujoco>"""


def servos(servo: str = SERVO, motor: str = MOTOR) -> Scene:
    """The arm at ``HZ`` with ``SUBSTEPS``; the arguments are ten numbers of ``gainprm`` each."""
    return load_scene(ARM.format(servo=servo, motor=motor), control_hz=HZ, substeps=SUBSTEPS)
