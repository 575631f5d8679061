"""What the comparisons of our attacks with those of other packages share: models, images, the attacks of each side."""
