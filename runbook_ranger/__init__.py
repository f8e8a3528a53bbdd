"""The public face: `rangerctl`, the embedded stack, the demo, and what authors import."""
