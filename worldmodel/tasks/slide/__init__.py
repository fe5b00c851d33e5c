"""Task "slide": a two-joint arm strikes a puck that must come to rest on a target."""
