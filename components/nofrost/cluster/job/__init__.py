"""What a training job is: its specification, and the objects of Kubernetes that are made of it."""
