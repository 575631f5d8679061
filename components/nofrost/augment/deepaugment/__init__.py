"""DeepAugment (Hendrycks et al. 2021): outputs of an image-to-image network with random distortions."""
