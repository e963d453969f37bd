"""What goes along with training: norms in the logs, projections after a step, every `u` anew."""
