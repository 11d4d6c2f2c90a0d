"""A folder of photos -> batches: datasets (which photos, which classes), augment, loader (seeded, resumable)."""
