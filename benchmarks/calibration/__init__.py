"""The engine model beside real vLLM: the same requests to both, one part of them to fit on, the other to judge by.

Arrivals and figures are one code for the measured and the modelled side; only where tokens come from differs.
"""
