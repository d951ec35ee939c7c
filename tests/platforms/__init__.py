"""The plugin as other platforms would see it: stand-ins that a child loads as its `sitecustomize`, before anything of ours."""
