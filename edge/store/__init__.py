"""What is kept: recordings of what came in, and alerts until they are delivered."""
