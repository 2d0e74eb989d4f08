"""A small behaviour-tree library, and the match strategy built with it."""
