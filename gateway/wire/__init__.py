"""OpenAI's chat completions as bytes: requests read and bounded, answers and chunks written.

Source: OpenAI API reference, chat completions. `fields.FIELDS` says of every published field whether it is honoured.
"""
