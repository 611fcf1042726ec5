"""The parts of retargeting: the robot's hand and what it follows, the solver of one frame, of a clip, and the object's surface."""
