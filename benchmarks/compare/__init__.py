"""Several arms before the same replicas, under the same load, in an order that favours none, judged beyond their noise.

plan -> lanes -> run (fleet, front, script, play) -> journal -> gathered -> statistics -> judge, tables
"""
