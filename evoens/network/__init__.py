"""What evoens sees of a torch module: its logits, its tensors, the inputs it takes."""
