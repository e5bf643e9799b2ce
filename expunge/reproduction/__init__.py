"""The paper's experiments and its open questions as declared scenarios: what is trained, measured and concluded.

A scenario is a YAML file (`config`) and a module that measures (`registry`); it answers with `findings`, and `rules`
written in the YAML before the run turn estimates into conclusions.
"""
