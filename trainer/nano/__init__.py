"""The recipe of ragweld-nano, the built-in model: world, corpus, tokenizer, pretraining, export, evaluation.

Promises that every artefact in `catalog/nano/` can be made again from a seed (`python -m trainer.nano --help`).
Nothing here runs inside the product: the gateway and the trainer only ever read the exported folder.
`tests/trainer/nano/` proves the exported folder, the split of the corpus and the sample dataset.
"""
