"""Where a shop's listings come from: files of every common format, folders, product feeds, databases.

A URI enters; a `tables.Table` leaves (`opening`). Nothing here knows what a column means.
"""
