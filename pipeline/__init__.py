"""MedMatrix: a medical-image classification study as one DVC pipeline."""
