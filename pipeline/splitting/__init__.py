"""Who is trained on, who is chosen on, who is only scored: one function per method, one audit for all of them.

A method takes the samples table, the class names and section ``split`` of params.yaml, and returns the part of every
row (train, val, test or unused). Groups, that is patients and identical images, never cross parts. A balancing
(`BALANCES`) then says how often training rows are drawn; a protocol (`PROTOCOLS`) is the order of the two.
"""
