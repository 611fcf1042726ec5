"""MuJoCo models: 7-DoF arm, Allegro-style hand, objects; composed with `mujoco.MjSpec`."""
