"""In the agent: what training processes report, read from their event files, as events on the node timeline."""
