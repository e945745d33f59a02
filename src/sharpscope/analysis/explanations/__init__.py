"""What a difference in sharpness may come from: the train loss, the confidence, the complexity of the function.

Each has a module that computes how much it leaves, or explains, and one of ``told_*`` that says so in a sentence.
"""
