"""The audit: what was done here, by whom, in a chain that shows any later change."""
