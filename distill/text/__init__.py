"""Reading a completion: its thinking, its boxes, numbers, words, language and form."""
