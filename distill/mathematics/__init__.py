"""Written mathematics: reading an answer's LaTeX into a small tree, and deciding whether two answers are equal.

spelling, phrases, numbers, units     one spelling, and what plain numbers and words mean
tree, latex, relations, names         sets, tuples, intervals, matrices, `x = 5`
leaves, values                        equal by spelling, by exact numbers, by plain arithmetic: in microseconds
symbolic, sets, caps                  symbolic algebra, which may hang: for a worker process only, within caps
"""
