"""A body on four round feet, one heavier, with few iterations of a chosen solver."""


def mjcf(
    *,
    solver: str,
    iterations: int,
    cone: str = "pyramidal",
    tolerance: float = 1e-8,
    height: float = 0.0995,
) -> str:
    return f"""
<mujoco>
  <option timestep="0.004" cone="{cone}" solver="{solver}" iterations="{iterations}"
          ls_iterations="5" tolerance="{tolerance}"/>
  <worldbody>
    <geom type="plane" size="5 5 .1" friction=".2"/>
    <body pos="0 0 {height}">
      <freejoint/>
      <geom size=".05" pos=".1 .1 -.0495" friction=".2" priority="1"/>
      <geom size=".05" pos="-.1 .1 -.05"/>
      <geom size=".05" pos="-.1 -.1 -.05"/>
      <geom size=".05" pos=".1 -.1 -.05" mass=".9"/>
    </body>
  </worldbody>
</mujoco>"""
