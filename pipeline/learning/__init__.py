"""Models, losses, augmentation and the training loop. Nothing here ever sees a test label."""
