"""Learned routers: from labelled requests to a classifier, and how far it can be trusted.

What a served request needs of them is in `core/tiering/learned`: here they are read, trained, judged and written.
"""
