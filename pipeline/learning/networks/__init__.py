"""Networks: built, started from trained weights, saved, and asked for logits."""
