"""Parameters of each robot, a starter for a desktop, a probe for topics."""
