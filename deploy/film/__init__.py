"""`ragweld record`: a film of a real run, made by one command with a real browser.

`camera` keeps frames with their times, `cut` makes H.264 of them, `proof` looks at what came out, `story` is what is
filmed. Knows the house only as a person does: by its pages and by curl.
"""
