"""Reading a completion: its thinking, boxes, numbers, words, language and form; prompts; tables for people.

It judges no answer. The face names no modules: import the one you need (`from distill.text import language`),
since half of them load NumPy and the command line needs only `tables`.
"""
