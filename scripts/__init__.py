"""Programs of the project's own checkout; none of it is in the package."""
