"""What a dataset, a teacher and a student are made of: the sections of the recipes, and how they are
loaded."""
