"""The parts of retargeting: the robot's hand and what it follows, the solvers of a frame and a clip, the object's surface."""
