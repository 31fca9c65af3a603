"""What is trained: the projection of token vectors, and the fusion of the legs. Never on LoCoMo."""
