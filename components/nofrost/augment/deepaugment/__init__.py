"""DeepAugment (Hendrycks et al. 2021): images from an image-to-image network whose insides are distorted at random."""
