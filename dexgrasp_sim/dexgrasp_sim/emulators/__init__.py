"""The far ends of the real wires: a UR controller over TCP and a Dynamixel bus over a pseudo-terminal."""
